//! Removes what agents left in the kernel: every pinned link and map.
//!
//! Entry point: [`uninstall`]. When it is done nothing is attached any more.

use std::{fs, io, os::fd::AsFd, path::Path};

use super::bpf;

/// Removes every pin below `bpffs`, of any version, and the directories; says how many pins there were.
///
/// # Errors
/// When a pin cannot be removed.
pub fn uninstall(bpffs: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for version in directories(bpffs)? {
        // Attachments first: programs without maps refuse, maps without programs do nothing.
        for (part, holds_links) in [("links", true), ("pods", true), ("maps", false)] {
            let directory = version.join(part);
            for entry in entries(&directory)? {
                if holds_links {
                    detach(&entry);
                }
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

/// Detaches what is behind a link. Where the kernel cannot do so now, it does soon after the pin is gone.
fn detach(pin: &Path) {
    if let Err(error) = bpf::pinned(pin).and_then(|link| bpf::detach_link(link.as_fd())) {
        tracing::debug!(pin = %pin.display(), %error, "not detached at once");
    }
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
