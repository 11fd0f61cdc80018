//! The plugin on the node: its file, its entry in the chain, and what it goes by without an agent; kept there, and removed.
//!
//! Entry points: [`Keeper`], which an agent runs; [`uninstall`]. Another plugin's installer may rewrite the chain at any time,
//! so it is watched. Every file is replaced in one step, and left alone when somebody else has written it meanwhile.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    PLUGIN, chain, namespaces,
    plan::{self, File, Plan, Step},
};
use crate::source::yaml::watch::Watch;

/// So often the plugin's own file is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Between two changes of the chain, so that two who disagree do not keep each other busy.
const PAUSE: Duration = Duration::from_millis(500);
/// Larger files are no configuration.
const LARGEST: u64 = 4 << 20;

/// Where things are on the node.
#[derive(Clone, Debug)]
pub struct Directories {
    /// The runtime's directory of networks.
    pub conf: PathBuf,
    /// The runtime's directory of plugins.
    pub bin: PathBuf,
    /// What must outlive the agent.
    pub state: PathBuf,
}

/// How it is with the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Whether the plugin is in it.
    pub installed: bool,
    /// How often it was put in, or taken out of a file in which it was no longer needed.
    pub changes: u64,
    /// How often that could not be done.
    pub failures: u64,
    /// The file at fault, and what is wrong with it.
    pub problem: Option<(PathBuf, String)>,
}

/// The namespaces that are enrolled; none while another agent is to do this.
pub type Wanted = Option<Arc<BTreeSet<String>>>;

/// Keeps the plugin installed.
#[derive(Debug)]
pub struct Keeper {
    directories: Directories,
    entry: Value,
    wanted: watch::Receiver<Wanted>,
    told: watch::Sender<Installed>,
    /// What the plugin is a copy of: this very program.
    program: PathBuf,
    /// The file of the plugin as it was put there: device, inode and size.
    plugin: Option<(u64, u64, u64)>,
}

impl Keeper {
    /// One for these directories, and where it tells how things are. The plugin will ask at `socket`.
    pub fn new(
        directories: Directories,
        socket: &Path,
        wanted: watch::Receiver<Wanted>,
    ) -> (Self, watch::Receiver<Installed>) {
        let (told, installed) = watch::channel(Installed::default());
        let entry = chain::entry(socket, &directories.state);
        (Self { directories, entry, wanted, told, program: "/proc/self/exe".into(), plugin: None }, installed)
    }

    /// Runs until nobody wants anything any more.
    pub async fn run(mut self) {
        let mut watch = Watch::start(&self.directories.conf);
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if let Some(namespaces) = wanted {
                watch.before_scan();
                // It blocks on the disk, and the plugin's file is large.
                let Ok(back) = tokio::task::spawn_blocking(move || {
                    self.once(&namespaces);
                    self
                })
                .await
                else {
                    return;
                };
                self = back;
                sleep(PAUSE).await;
            }
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                _ = timeout(LOOK, watch.changed()) => {}
            }
        }
    }

    /// Does what is missing. The entry comes last: from then on the runtime runs the plugin.
    fn once(&mut self, namespaces: &BTreeSet<String>) {
        let result = self.steps(namespaces);
        self.told.send_if_modified(|told| {
            let before = told.clone();
            match result {
                Ok((installed, changes)) => {
                    told.installed = installed;
                    told.changes += changes;
                    told.problem = None;
                }
                Err((path, message)) => {
                    told.installed = false;
                    let problem = Some((path, message));
                    // The same again is no news.
                    told.failures += u64::from(told.problem != problem);
                    told.problem = problem;
                }
            }
            if let Some((path, message)) = told.problem.as_ref().filter(|_| told.problem != before.problem) {
                tracing::error!(file = %path.display(), "the CNI plugin cannot be installed: {message}");
            } else if told.changes > before.changes {
                tracing::info!(directory = %self.directories.conf.display(), "the CNI plugin is in the chain");
            }
            *told != before
        });
    }

    fn steps(&mut self, namespaces: &BTreeSet<String>) -> Result<(bool, u64), (PathBuf, String)> {
        let Directories { conf, bin, state } = &self.directories;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| (path, error.to_string())
        };
        namespaces::write(state, namespaces).map_err(at(&namespaces::path(state)))?;
        let plugin = bin.join(PLUGIN);
        if self.plugin.is_none() || stamp(&plugin) != self.plugin {
            copy(&self.program, &plugin).map_err(at(&plugin))?;
            self.plugin = stamp(&plugin);
        }
        let files = read(conf).map_err(at(conf))?;
        let plan = plan::install(&files, &self.entry);
        carry_out(conf, &files, &plan)?;
        match plan.fault {
            Some((file, fault)) => Err((conf.join(file), fault.to_string())),
            None => Ok((plan.has_network, plan.steps.len() as u64)),
        }
    }
}

/// Takes the plugin out of the chain, and then removes its file and what it went by; says what was changed or removed.
///
/// # Errors
/// With the path at fault.
pub fn uninstall(directories: &Directories) -> anyhow::Result<Vec<PathBuf>> {
    use anyhow::Context as _;
    let Directories { conf, bin, state } = directories;
    let files = match read(conf) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        files => files.with_context(|| conf.display().to_string())?,
    };
    let plan = plan::uninstall(&files);
    let carried_out = carry_out(conf, &files, &plan);
    carried_out.map_err(|(path, message)| anyhow::anyhow!("{}: {message}", path.display()))?;
    let mut done: Vec<PathBuf> =
        plan.steps.iter().map(|(Step::Write { name, .. } | Step::Remove { name })| conf.join(name)).collect();
    for file in [bin.join(PLUGIN), namespaces::path(state)] {
        if remove(&file).with_context(|| file.display().to_string())? {
            done.push(file);
        }
    }
    // Others may have something there.
    let _ = fs::remove_dir(state);
    Ok(done)
}

fn carry_out(conf: &Path, files: &[File], plan: &Plan) -> Result<(), (PathBuf, String)> {
    for step in &plan.steps {
        let (Step::Write { name, .. } | Step::Remove { name }) = step;
        // What a link names is what is to be replaced.
        let path = fs::canonicalize(conf.join(name)).unwrap_or_else(|_| conf.join(name));
        let result = match step {
            Step::Write { content, like, .. } => {
                let known = files.iter().find(|file| file.name == *name).map(|file| file.text.as_bytes());
                let mode =
                    fs::metadata(conf.join(like)).map_or(0o600, |found| found.permissions().mode() & 0o777);
                serde_json::to_vec_pretty(content).map_err(io::Error::from).and_then(|mut text| {
                    text.push(b'\n');
                    replace_known(&path, known, &text, mode)
                })
            }
            Step::Remove { .. } => remove(&path).map(drop),
        };
        result.map_err(|error| (path, error.to_string()))?;
    }
    Ok(())
}

/// The files that a runtime would look at.
fn read(conf: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(conf)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if !plan::is_looked_at(&name) || fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            continue;
        }
        match fs::metadata(&path).and_then(|found| match found.len() > LARGEST {
            true => Err(io::Error::other("is too large")),
            false => fs::read_to_string(&path),
        }) {
            Ok(text) => files.push(File { name, text }),
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It takes its part in the order, as something that cannot be used.
            Err(error) => files.push(File { name, text: error.to_string() }),
        }
    }
    Ok(files)
}

/// Puts a program at `path`, unless it is there.
fn copy(program: &Path, path: &Path) -> io::Result<()> {
    let own = || fs::File::open(program);
    if fs::File::open(path).is_ok_and(|found| own().is_ok_and(|own| are_alike(own, found).unwrap_or(false))) {
        return fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    }
    replace_with(path, 0o755, |file| io::copy(&mut own()?, file).map(drop))
}

/// Whether two files hold the same.
fn are_alike(one: fs::File, other: fs::File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let count = left.len().min(right.len());
        if left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(left.len() == right.len());
        }
        one.consume(count);
        other.consume(count);
    }
}

fn stamp(path: &Path) -> Option<(u64, u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size()))
}

/// Removes a file; says whether it was there.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn replace_known(path: &Path, known: Option<&[u8]>, text: &[u8], mode: u32) -> io::Result<()> {
    let found = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found?),
    };
    if found.as_deref() != known {
        return Err(io::Error::other("somebody else is writing it"));
    }
    replace(path, text, mode)
}

/// Puts `content` at `path` in one step, on the disk before it is there.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path, mode, |file| file.write_all(content))
}

fn replace_with(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No runtime looks at a name that begins or ends like this.
    let new = path.with_file_name(format!(".{name}.weir-new"));
    let result = (|| {
        let mut file = fs::File::create(&new)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fill(&mut file)?;
        file.sync_all()?;
        // Nothing can be run that is open for writing.
        drop(file);
        fs::rename(&new, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&new);
    }
    result
}

#[cfg(test)]
mod tests;
