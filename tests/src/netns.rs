//! Network namespaces by name, as `ip netns` keeps them.
//!
//! Entry points: [`add`], [`remove`], [`inside`] (code in one), [`configure`] (interfaces in one).

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Where named namespaces are bound to files.
const DIR: &str = "/run/netns";

/// The file of the namespace `name`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Makes the namespace `name`, with IPv6 addresses that are usable at once.
pub(crate) fn add(name: &str) -> Result<()> {
    // The first `ip netns add` of a machine sets up its folder, and two at once disturb each other.
    let _one_at_a_time = MachineLock::take()?;
    run(Command::new("ip").args(["netns", "add", name]))
}

/// Removes the namespace `name`. It lives on while a process or a socket is in it.
pub(crate) fn remove(name: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "del", name]))
}

/// All namespaces with a name.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(DIR).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Sets `sysctls` (name below /proc/sys, value) in the namespace `name`, then runs `ip` commands, a line each.
pub(crate) fn configure(name: &str, sysctls: &[(&str, &str)], ip: &str) -> Result<()> {
    let sysctls: Vec<(String, String)> =
        sysctls.iter().map(|(name, value)| (format!("/proc/sys/{name}"), (*value).to_owned())).collect();
    // /proc/sys/net shows the namespace of the thread that opens it.
    inside(&path(name), move || {
        sysctls.iter().try_for_each(|(file, value)| {
            fs::write(file, value).with_context(|| format!("writing {value} to {file}"))
        })
    })??;
    let mut batch = Command::new("ip");
    batch.args(["-n", name, "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = batch.spawn().context("cannot start ip")?;
    child.stdin.take().context("ip takes no input")?.write_all(ip.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("in {name}: ip: {}\n{ip}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Runs `code` on a thread of its own in the namespace at `netns`, in this process' cgroup.
pub fn inside<T: Send>(netns: &Path, code: impl FnOnce() -> T + Send) -> Result<T> {
    let file = File::open(netns).with_context(|| netns.display().to_string())?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .with_context(|| "entering a network namespace (needs root)".to_owned())?;
            Ok(code())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Held while something is done that this machine can do only once at a time.
pub(crate) struct MachineLock(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

impl MachineLock {
    pub(crate) fn take() -> Result<Self> {
        let file = File::create("/run/weir-tests.lock").context("/run/weir-tests.lock (needs root)")?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot start ip")?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        bail!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
