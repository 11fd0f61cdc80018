//! Where programs and maps are pinned: a directory on a BPF file system, mounted if need be.
//!
//! Entry point: [`prepare`].

use std::{
    ffi::CStr,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{fs::statfs, mount};

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const MAGIC: u64 = 0xcafe_4a11;

/// The usual mount point.
const USUAL: &str = "/sys/fs/bpf";

/// Why no pin directory could be had; says how to mend it.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {path} to pin programs: {what}: mount a BPF file system there (mount -t bpf bpf {mount_point})"
)]
pub struct BpffsError {
    path: PathBuf,
    mount_point: PathBuf,
    what: io::Error,
}

/// Makes `directory` a directory on a BPF file system; mounts one at the usual place, or at the
/// directory itself when it lies elsewhere.
///
/// # Errors
/// When the file system cannot be mounted or the directory cannot be made.
pub fn prepare(directory: &Path) -> Result<(), BpffsError> {
    let usual = Path::new(USUAL);
    let mount_point = if directory.starts_with(usual) { usual } else { directory };
    attempt(directory, mount_point).map_err(|what| BpffsError {
        path: directory.into(),
        mount_point: mount_point.into(),
        what,
    })
}

fn attempt(directory: &Path, mount_point: &Path) -> io::Result<()> {
    if !is_within(directory) {
        fs::create_dir_all(mount_point)?;
        let mode: Option<&CStr> = Some(c"mode=0700");
        mount::mount("bpf", mount_point, "bpf", mount::MountFlags::empty(), mode)?;
    }
    fs::create_dir_all(directory)
}

/// Whether `directory`, which need not exist, is or would be on a BPF file system.
pub fn is_within(directory: &Path) -> bool {
    is_bpffs(nearest(directory))
}

/// Whether `path` lies on a BPF file system.
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.f_type as u64 & 0xffff_ffff == MAGIC)
}

fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}
