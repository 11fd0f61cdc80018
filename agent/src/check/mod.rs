//! What the machine must offer before Weir can run on it, found out by looking and not by asking versions.
//!
//! Entry points: [`run`] for `weir check`, [`run_at_start`] for the agent, which prints
//! [`Report::first_failure`] and ends. Each probe takes what it looked at as a value and judges it in a pure
//! function; nothing here changes the machine. Knows nothing of eBPF: what else is attached to the cgroup is
//! the data path's to say, as [`CheckOptions::extra`].

mod kernel;
mod mounts;
mod network;
mod process;
mod report;
mod sock_diag;
mod table;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use mounts::cgroup2_root;
pub use report::{Item, Outcome, Report};

/// What the agent will be told to use.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// `--cgroup`; absent, the root of the cgroup2 hierarchy.
    pub cgroup: Option<PathBuf>,
    /// `--bpffs`.
    pub bpffs: PathBuf,
    /// `--socket`.
    pub socket: PathBuf,
    /// `--metrics`.
    pub metrics: SocketAddr,
    /// What the caller found out itself, shown after the rest.
    pub extra: Vec<Item>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            cgroup: None,
            bpffs: "/sys/fs/bpf/weir".into(),
            socket: "/run/weir/agent.sock".into(),
            metrics: SocketAddr::from(([0, 0, 0, 0], 15020)),
            extra: Vec::new(),
        }
    }
}

/// Everything that can be said about this machine, a matter of milliseconds.
pub fn run(options: &CheckOptions) -> Report {
    let mut items = needed(options);
    let agent = network::agent_socket(&options.socket);
    items.push(network::metrics_port(options.metrics, agent.answers));
    items.push(agent.item);
    items.push(process::open_files());
    items.push(process::clock(SystemTime::now()));
    items.push(network::port_range(read("/proc/sys/net/ipv4/ip_local_port_range").as_deref()));
    items.push(network::ipv6(Path::new("/proc/net/if_inet6").exists()));
    items.push(sock_diag::destroy());
    items.extend(options.extra.iter().cloned());
    Report::new(items)
}

/// Only what the agent cannot do without, to be asked before it touches anything.
///
/// A taken socket or port is not among it: another agent may hold them, from which this one takes over.
pub fn run_at_start(options: &CheckOptions) -> Report {
    let mut items = needed(options);
    items.push(process::clock(SystemTime::now()));
    items.extend(options.extra.iter().cloned());
    Report::new(items)
}

fn needed(options: &CheckOptions) -> Vec<Item> {
    let status = read("/proc/self/status").unwrap_or_default();
    let uid_map = read("/proc/self/uid_map").unwrap_or_default();
    let filesystems = read("/proc/filesystems").unwrap_or_default();
    let mountinfo = read("/proc/self/mountinfo").unwrap_or_default();
    let may_mount = process::may_mount(&status, &uid_map);
    vec![
        kernel::version(rustix::system::uname().release().to_string_lossy().as_ref()),
        kernel::btf(fs::metadata("/sys/kernel/btf/vmlinux")),
        mounts::cgroup2(options.cgroup.as_deref(), &mountinfo, mounts::kind),
        mounts::bpffs(&options.bpffs, &filesystems, may_mount, mounts::kind),
        process::capabilities(&status, &uid_map),
    ]
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests;
