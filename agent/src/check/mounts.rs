//! Where cgroup2 and the BPF file system are, or could be.
//!
//! Entry points: [`cgroup2_root`], [`cgroup2`], [`bpffs`]. They judge what the caller read of /proc; what kind
//! of file system a path is on is asked through a function, [`kind`] on a real machine.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::Item;

/// `CGROUP2_SUPER_MAGIC` and `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
const BPF_MAGIC: u64 = 0xcafe_4a11;

/// What kind of file system a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cgroup2,
    Bpf,
    Other,
}

/// The kind of file system that `path` is on.
pub(super) fn kind(path: &Path) -> io::Result<Kind> {
    // The field has 32 or 64 bits, signed or not, by architecture; the magic numbers have 32.
    match rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff {
        CGROUP2_MAGIC => Ok(Kind::Cgroup2),
        BPF_MAGIC => Ok(Kind::Bpf),
        _ => Ok(Kind::Other),
    }
}

/// Where the whole cgroup2 hierarchy is mounted, by `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
///
/// Where both versions are in use it is beside the old ones, most often at `/sys/fs/cgroup/unified`.
pub fn cgroup2_root(mountinfo: &str) -> Option<PathBuf> {
    cgroup2_mounts(mountinfo).find(|(root, _)| root == Path::new("/")).map(|(_, at)| at)
}

/// What of the hierarchy is mounted, and where.
fn cgroup2_mounts(mountinfo: &str) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        Some((unescape(fields.next()?), unescape(fields.next()?)))
    })
}

/// A path of mountinfo, in which space, tab, line feed and backslash are three octal digits.
fn unescape(text: &str) -> PathBuf {
    let (bytes, mut path, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(escaped) => {
                path.push(escaped);
                at += 4;
            }
            None => {
                path.push(*byte);
                at += 1;
            }
        }
    }
    OsString::from_vec(path).into()
}

/// Judges where the programs are to be attached: `wanted` (`--cgroup`), or else what mountinfo shows.
pub(super) fn cgroup2(
    wanted: Option<&Path>,
    mountinfo: &str,
    kind: impl Fn(&Path) -> io::Result<Kind>,
) -> Item {
    let name = "cgroup2";
    if let Some(path) = wanted {
        return match kind(path) {
            Ok(Kind::Cgroup2) => Item::ok(name, path.display().to_string()),
            Ok(_) => {
                let remedy = match cgroup2_root(mountinfo) {
                    Some(root) => format!("give --cgroup a directory below {}", root.display()),
                    None => MOUNT_CGROUP2.into(),
                };
                Item::fail(name, format!("{} is not in a cgroup2 file system", path.display()), remedy)
            }
            Err(error) => Item::fail(
                name,
                format!("{}: {error}", path.display()),
                "make that cgroup, or give --cgroup another directory",
            ),
        };
    }
    if let Some(root) = cgroup2_root(mountinfo) {
        return Item::ok(name, root.display().to_string());
    }
    match cgroup2_mounts(mountinfo).next() {
        Some((part, at)) => Item::warn(
            name,
            format!("only {} of it is mounted, at {}", part.display(), at.display()),
            "mount the whole of the host's /sys/fs/cgroup, or name the part with --cgroup",
        ),
        None => Item::fail(name, "not mounted", MOUNT_CGROUP2),
    }
}

const MOUNT_CGROUP2: &str = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified";

/// Judges whether pins can be kept in `directory` (`--bpffs`), which need not exist.
pub(super) fn bpffs(
    directory: &Path,
    filesystems: &str,
    may_mount: bool,
    kind: impl Fn(&Path) -> io::Result<Kind>,
) -> Item {
    let name = "bpffs";
    let nearest = directory.ancestors().find_map(|path| kind(path).ok().map(|kind| (path, kind)));
    let shown = directory.display();
    match nearest {
        Some((path, Kind::Bpf)) if path == directory => Item::ok(name, shown.to_string()),
        Some((path, Kind::Bpf)) => Item::ok(name, format!("{shown} can be made in {}", path.display())),
        _ if !known(filesystems, "bpf") => {
            Item::fail(name, "this kernel has no BPF file system", "run a kernel with CONFIG_BPF_SYSCALL=y")
        }
        _ if may_mount => {
            Item::ok(name, format!("{shown} is not in a BPF file system yet; the agent mounts one"))
        }
        _ => Item::fail(
            name,
            format!("{shown} is not in a BPF file system, and this process may not mount one"),
            "mount -t bpf bpf /sys/fs/bpf (in a container: mount the host's)",
        ),
    }
}

/// Whether `/proc/filesystems` names `wanted`.
fn known(filesystems: &str, wanted: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().next_back() == Some(wanted))
}
