//! Removes what agents left in the kernel: every pinned link and map.
//!
//! Entry point: [`uninstall`]. A link goes with its pin, and with it the program's attachment.

use std::{fs, io, path::Path};

/// Removes every pin below `bpffs`, of any version, and the directories; says how many pins there were.
///
/// # Errors
/// When a pin cannot be removed.
pub fn uninstall(bpffs: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for version in directories(bpffs)? {
        // Attachments first: programs without maps refuse, maps without programs do nothing.
        for part in ["links", "pods", "maps"] {
            let directory = version.join(part);
            for entry in entries(&directory)? {
                fs::remove_file(&entry)?;
                removed += 1;
            }
            remove_directory(&directory)?;
        }
        remove_directory(&version)?;
    }
    remove_directory(bpffs)?;
    Ok(removed)
}

fn directories(path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    Ok(entries(path)?.into_iter().filter(|entry| entry.is_dir()).collect())
}

fn entries(path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A mount point: the directory stays, empty.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        other => other,
    }
}
