//! One guest: an initramfs with busybox, the self-test and modules, booted until it powers off, then judged.
//!
//! Entry points: [`boot`], [`judge`].
//!
//! What a self-test prints on the console: `check NAME: ok` or `check NAME: FAIL detail` for each check, and
//! last `selftest: N passed, M failed`. A guest without that last line failed, whatever else it printed.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::fetch::Image;
use crate::{command, test::Count};

/// A guest that takes longer hangs: checks and boot together take some seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// The guest's first process. The self-test finds cgroup2 and bpffs where every system has them.
const INIT: &str = "#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
echo 0 > /proc/sys/kernel/printk
ip link set lo up
for module in /modules/*; do insmod $module || echo \"init: $module is not loaded\"; done
echo \"init: kernel $(uname -r)\"
/kernel-selftest || echo \"init: self-test exited with $?\"
poweroff -f
";

/// What a console says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// `uname -r`, or `?` when it never got there.
    pub(crate) release: String,
    /// Checks that held and that did not.
    pub(crate) count: Count,
    /// The lines of those that did not, or the console's end when the guest broke off.
    pub(crate) failures: Vec<String>,
}

/// Boots `image` with `selftest` and returns the console. Errors when the guest does not end in time.
pub(crate) fn boot(image: &Image, selftest: &Path) -> Result<String> {
    let work = selftest.with_extension(format!("guest-{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let console = make_initramfs(&work, image, selftest).and_then(|initramfs| {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "768", "-nodefaults", "-no-reboot"]);
        qemu.args(["-display", "none", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(&image.vmlinuz).arg("-initrd").arg(initramfs);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"]);
        console_of(&mut qemu)
    });
    let _ = fs::remove_dir_all(&work);
    console
}

/// Counts the checks on `console`.
pub(crate) fn judge(console: &str) -> Report {
    let release = console.lines().find_map(|line| line.strip_prefix("init: kernel "));
    let mut failures: Vec<String> = console
        .lines()
        .filter(|line| line.starts_with("check ") && line.contains(": FAIL"))
        .map(str::to_owned)
        .collect();
    let last = console.lines().rev().find_map(|line| line.strip_prefix("selftest: "));
    let mut count = last.and_then(parse_count).unwrap_or_default();
    if last.is_none() {
        let lines: Vec<_> = console.lines().collect();
        failures.push("the self-test did not end; the console's last lines:".to_owned());
        failures.extend(lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("| {line}")));
        count.failed += 1;
    }
    Report { release: release.unwrap_or("?").to_owned(), count, failures }
}

/// `N passed, M failed`; none passed and none failed is no result either.
fn parse_count(text: &str) -> Option<Count> {
    let (passed, failed) = text.split_once(" passed, ")?;
    let failed = failed.trim().strip_suffix(" failed")?.parse().ok()?;
    let passed = passed.parse().ok()?;
    Some(if passed == 0 && failed == 0 { Count { passed, failed: 1 } } else { Count { passed, failed } })
}

fn make_initramfs(work: &Path, image: &Image, selftest: &Path) -> Result<std::path::PathBuf> {
    let root = work.join("root");
    for dir in ["bin", "dev", "modules", "proc", "sys", "run", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let busybox = command::find("busybox").context("busybox-static is missing")?;
    fs::copy(&busybox, root.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", root.join("bin/sh"))?;
    fs::copy(selftest, root.join("kernel-selftest"))?;
    for (place, module) in image.modules.iter().enumerate() {
        unpack_module(module, &root.join(format!("modules/{place}.ko")))?;
    }
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;

    let initramfs = work.join("initramfs");
    let mut list = Command::new("find").arg(".").current_dir(&root).stdout(Stdio::piped()).spawn()?;
    let names = list.stdout.take().context("find has no output")?;
    let mut cpio = Command::new(busybox);
    cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(&root).stdin(names);
    command::run(cpio.stdout(File::create(&initramfs)?).stderr(Stdio::null()))?;
    list.wait()?;
    Ok(initramfs)
}

fn unpack_module(module: &Path, to: &Path) -> Result<()> {
    let tool = match module.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => {
            fs::copy(module, to)?;
            return Ok(());
        }
    };
    command::run(Command::new(tool).arg("-dc").arg(module).stdout(File::create(to)?))
}

/// Runs a guest to its end, or kills it at [`LIMIT`]. Reading ends when qemu does.
fn console_of(qemu: &mut Command) -> Result<String> {
    let mut guest =
        Guest(qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start qemu")?);
    let mut output = guest.0.stdout.take().context("qemu has no output")?;
    let reader = std::thread::spawn(move || {
        let mut console = Vec::new();
        // What was printed until an error is still worth judging.
        let _ = output.read_to_end(&mut console);
        String::from_utf8_lossy(&console).replace('\r', "")
    });
    let began = Instant::now();
    while !reader.is_finished() && began.elapsed() < LIMIT {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let hung = !reader.is_finished();
    drop(guest);
    let console = reader.join().unwrap_or_default();
    if hung {
        bail!("the guest did not end in {} s; its console:\n{console}", LIMIT.as_secs());
    }
    Ok(console)
}

/// A running qemu, which does not outlive this value.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_with_a_last_line_is_counted_and_failures_are_shown() {
        let console =
            "init: kernel 6.1.0\ncheck load: ok\ncheck attach: FAIL no\nselftest: 1 passed, 1 failed\n";
        let report = judge(console);
        assert_eq!(report.release, "6.1.0");
        assert_eq!(report.count, Count { passed: 1, failed: 1 });
        assert_eq!(report.failures, ["check attach: FAIL no"]);
    }

    #[test]
    fn a_guest_that_broke_off_failed() {
        let report = judge("init: kernel 6.1.0\ncheck load: ok\nKernel panic\n");
        assert_eq!(report.count, Count { passed: 0, failed: 1 });
        assert!(report.failures.iter().any(|line| line.contains("Kernel panic")));
    }

    #[test]
    fn a_self_test_without_checks_failed() {
        assert_eq!(judge("selftest: 0 passed, 0 failed\n").count, Count { passed: 0, failed: 1 });
    }
}
