//! One name for all that one topology makes on this machine, so that it can be found and removed.
//!
//! Entry points: [`Scope::new`], its `Drop`; [`remove_named`]. The name carries the process: what a process that is gone has
//! left is swept by the next one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};

use crate::{cgroup, netns};

const PREFIX: &str = "weir-";
const BPFFS: &str = "/sys/fs/bpf";
/// `f_type` of bpffs, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Owns everything on this machine whose name is, or begins with, its own.
pub(crate) struct Scope {
    name: String,
    /// The folder for files.
    pub(crate) dir: PathBuf,
    /// The cgroup that all processes are in.
    pub(crate) cgroup: PathBuf,
    /// The folder for pins.
    pub(crate) bpffs: PathBuf,
    keep: AtomicBool,
}

impl Scope {
    /// A scope of this process, unlike all others.
    pub(crate) fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::make(format!("{PREFIX}{}-{count}", std::process::id()))
    }

    /// A scope with a name of its own, which no sweep removes. What had the name before is removed.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let name = Self::name_of(name);
        remove(&name);
        Self::make(name)
    }

    /// The whole name of a scope with a name of its own.
    pub(crate) fn name_of(name: &str) -> String {
        format!("{PREFIX}{name}")
    }

    fn make(name: String) -> Result<Self> {
        let scope = Self {
            dir: std::env::temp_dir().join(&name),
            cgroup: cgroup::mount_point()?.join(&name),
            bpffs: Path::new(BPFFS).join(&name),
            keep: AtomicBool::new(false),
            name,
        };
        fs::create_dir(&scope.dir).with_context(|| scope.dir.display().to_string())?;
        cgroup::make(&scope.cgroup)?;
        mount_bpffs()?;
        fs::create_dir(&scope.bpffs).with_context(|| format!("{} (needs root)", scope.bpffs.display()))?;
        Ok(scope)
    }

    /// Its cgroup, from the root of the hierarchy.
    pub(crate) fn relative_cgroup(&self) -> &Path {
        Path::new(&self.name)
    }

    /// The name of a namespace of this scope.
    pub(crate) fn netns(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    /// Leaves everything where it is when this is dropped.
    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed) {
            remove(&self.name);
        }
    }
}

/// Removes the scope that was made with this name, if it is there, and says whether it was.
pub fn remove_named(name: &str) -> Result<bool> {
    let name = format!("{PREFIX}{name}");
    let there = cgroup::mount_point()?.join(&name).exists() || std::env::temp_dir().join(&name).exists();
    remove(&name);
    Ok(there)
}

/// Removes what belongs to processes that are gone.
fn sweep() {
    let cgroups = cgroup::mount_point().map(|mount| list(&mount)).unwrap_or_default();
    let mut names: Vec<String> =
        [netns::names(), cgroups, list(Path::new(BPFFS)), list(&std::env::temp_dir())]
            .into_iter()
            .flatten()
            .filter_map(|name| left_by_a_dead_process(&name))
            .collect();
    names.sort();
    names.dedup();
    names.iter().for_each(|name| remove(name));
}

/// The scope that `name` belongs to, if it names a process and there is none of that number.
fn left_by_a_dead_process(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (process, count) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse::<u32>().ok()?);
    let alive = Path::new("/proc").join(process.to_string()).exists();
    (!alive).then(|| format!("{PREFIX}{process}-{count}"))
}

/// Removes all of scope `name`, processes first: they hold the rest. Goes on where a part fails.
fn remove(name: &str) {
    let complain = |outcome: Result<()>| {
        if let Err(error) = outcome {
            eprintln!("left behind of {name}: {error:#}");
        }
    };
    complain(cgroup::mount_point().and_then(|mount| cgroup::remove(&mount.join(name))));
    complain(cgroup::remove_version_1(Path::new(name)));
    let prefix = format!("{name}-");
    netns::names()
        .iter()
        .filter(|netns| netns.starts_with(&prefix))
        .for_each(|netns| complain(netns::remove(netns)));
    for dir in [Path::new(BPFFS).join(name), std::env::temp_dir().join(name)] {
        if dir.exists() {
            complain(fs::remove_dir_all(&dir).with_context(|| dir.display().to_string()));
        }
    }
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn mount_bpffs() -> Result<()> {
    let _one_at_a_time = netns::MachineLock::take()?;
    let mounted = rustix::fs::statfs(BPFFS).is_ok_and(|fs| fs.f_type == BPF_FS_MAGIC);
    if mounted {
        return Ok(());
    }
    let no_flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("bpf", BPFFS, "bpf", no_flags, None)
        .with_context(|| format!("mounting bpffs at {BPFFS} (needs root)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_process_left_is_swept() {
        let own = std::process::id();
        // Above the kernel's largest: no process ever has it.
        let dead = 4_194_304 + 1;
        assert_eq!(left_by_a_dead_process(&format!("weir-{own}-0-node-a")), None);
        assert_eq!(left_by_a_dead_process("weir-demo-node-a"), None);
        assert_eq!(left_by_a_dead_process("weir-tests.lock"), None);
        assert_eq!(left_by_a_dead_process(&format!("weir-{dead}-7-a")), Some(format!("weir-{dead}-7")));
        assert_eq!(left_by_a_dead_process(&format!("weir-{dead}-7")), Some(format!("weir-{dead}-7")));
    }
}
