//! Subtrees of this machine's cgroup2 hierarchy: made, emptied by force, removed.
//!
//! Entry points: [`mount_point`], [`make`], [`remove`].

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::LIMIT;

/// Where cgroup2 is mounted: alone, or beside version 1.
pub(crate) fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let cgroup2 = mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
    });
    cgroup2.map(PathBuf::from).context("cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

/// Makes `dir` and its parents.
pub(crate) fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cgroup {} (needs root)", dir.display()))
}

/// Makes `relative` in every hierarchy of this machine, those of version 1 too: a kubelet wants it there.
pub(crate) fn make_everywhere(relative: &Path) -> Result<()> {
    make(&mount_point()?.join(relative))?;
    for mount in version_1()? {
        let dir = mount.join(relative);
        make(&dir)?;
        // A set of processors begins empty, also inside one that is not.
        for own in
            relative.ancestors().filter(|own| !own.as_os_str().is_empty()).collect::<Vec<_>>().iter().rev()
        {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (from, to) = (mount.join(file), mount.join(own).join(file));
                if to.exists() {
                    fs::write(&to, fs::read(from)?).with_context(|| to.display().to_string())?;
                }
            }
        }
    }
    Ok(())
}

/// Removes `relative` from the hierarchies of version 1, once its processes are gone.
pub(crate) fn remove_version_1(relative: &Path) -> Result<()> {
    let dirs = version_1()?.into_iter().map(|mount| mount.join(relative));
    dirs.filter(|dir| dir.exists()).try_for_each(|dir| remove_folders(&dir))
}

/// Where hierarchies of version 1 are mounted.
fn version_1() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let mount = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("cgroup ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    };
    Ok(mounts.lines().filter_map(mount).collect())
}

/// The processes in `dir` and below it.
pub(crate) fn processes(dir: &Path) -> Result<Vec<u32>> {
    let listed = fs::read_to_string(dir.join("cgroup.procs")).with_context(|| dir.display().to_string())?;
    let mut found: Vec<u32> = listed.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // Pods come and go meanwhile.
            found.extend(processes(&entry.path()).unwrap_or_default());
        }
    }
    Ok(found)
}

/// Kills everything in `dir` and below it, waits until it is gone, removes the folders.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    kill(dir)?;
    remove_folders(dir)
}

/// Kills everything in `dir` and below it, and waits until it is gone.
pub(crate) fn kill(dir: &Path) -> Result<()> {
    fs::write(dir.join("cgroup.kill"), "1").with_context(|| format!("killing {}", dir.display()))?;
    wait_until_empty(dir)
}

/// `cgroup.events` wakes its pollers when the last process has gone.
fn wait_until_empty(dir: &Path) -> Result<()> {
    let events = dir.join("cgroup.events");
    let file = File::open(&events)?;
    let began = Instant::now();
    while fs::read_to_string(&events)?.lines().any(|line| line == "populated 1") {
        if began.elapsed() > LIMIT {
            bail!("processes in {} do not die", dir.display());
        }
        let tick = Timespec::try_from(Duration::from_millis(100))?;
        poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&tick))?;
    }
    Ok(())
}

fn remove_folders(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path())?;
        }
    }
    fs::remove_dir(dir).with_context(|| format!("removing {}", dir.display()))
}
