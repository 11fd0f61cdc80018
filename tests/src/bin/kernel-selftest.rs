//! The self-test of a kernel, alone in a guest that has nothing but this program and busybox.
//!
//! Entry point: `main`, run by the guest's first process once cgroup2 and bpffs are mounted. The eBPF object
//! is the one that the agent embeds. Prints `check NAME: ok` or `check NAME: FAIL detail` for each check, and
//! last `selftest: N passed, M failed`, which `cargo xtask kernels` reads from the console.

#[path = "../../selftest/mod.rs"]
mod selftest;

use std::process::ExitCode;

fn main() -> ExitCode {
    if selftest::run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
