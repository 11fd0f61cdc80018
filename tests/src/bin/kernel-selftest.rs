//! What every supported kernel must do, checked inside a guest that has nothing but this program.
//!
//! Entry point: `main`, run by the guest's first process once cgroup2 and bpffs are mounted. The eBPF object
//! is the one that the agent embeds. Prints `check NAME: ok` or `check NAME: FAIL detail` for each check, and
//! last `selftest: N passed, M failed`, which `cargo xtask kernels` reads from the console.

use std::process::ExitCode;

use anyhow::{Result, bail};

/// A check's name and what it does.
type Check = (&'static str, fn() -> Result<()>);

const CHECKS: &[Check] = &[
    ("cgroup2 is mounted", || is_mounted("cgroup2", "/sys/fs/cgroup")),
    ("bpffs is mounted", || is_mounted("bpf", "/sys/fs/bpf")),
];

fn main() -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => {
                println!("check {name}: ok");
                passed += 1;
            }
            Err(error) => {
                println!("check {name}: FAIL {error:#}");
                failed += 1;
            }
        }
    }
    println!("selftest: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_mounted(filesystem: &str, at: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let there = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    if !there.into_iter().any(|fields| fields.get(1) == Some(&at) && fields.get(2) == Some(&filesystem)) {
        bail!("no {filesystem} at {at}");
    }
    Ok(())
}
