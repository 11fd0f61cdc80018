//! Links: made and pinned, or taken over with another program behind them.
//!
//! Entry points: [`attach_all`] for the cgroup, [`attach`] for one target.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use aya::Ebpf;

use super::{AT_CGROUP, Program, attach_error, program_fd};
use crate::datapath::{bpf, error::DatapathError};

/// What a program is attached to.
pub(super) struct Target<'a> {
    pub(super) words: &'a str,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) id: u64,
    pub(super) is_cgroup: bool,
    pub(super) attach_type: u32,
}

/// Attaches the cgroup's programs, or puts them behind the links that are there.
pub(super) fn attach_all(
    ebpf: &Ebpf,
    cgroup: &Path,
    directory: &Path,
) -> Result<Vec<Program>, DatapathError> {
    let cgroup = open_cgroup(cgroup)?;
    let id = cgroup.metadata().map_err(|error| attach_error("programs", "the cgroup", error))?.ino();
    AT_CGROUP
        .iter()
        .map(|(name, attach_type)| {
            let to = Target {
                words: "the cgroup",
                fd: cgroup.as_fd(),
                id,
                is_cgroup: true,
                attach_type: *attach_type,
            };
            attach(name, program_fd(ebpf, name)?.as_fd(), &to, &directory.join("links").join(name))
        })
        .collect()
}

/// Puts `program` behind the link pinned at `path` when it is attached to `target`; else attaches it anew.
pub(super) fn attach(
    name: &str,
    program: BorrowedFd<'_>,
    to: &Target<'_>,
    path: &Path,
) -> Result<Program, DatapathError> {
    let wrong = |error: io::Error| attach_error(name, to.words, error);
    let existing = bpf::pinned(path)
        .ok()
        .filter(|link| bpf::link_info(link.as_fd(), to.is_cgroup).is_ok_and(|found| found.target == to.id));
    let adopted = existing.is_some();
    let link = match existing {
        Some(link) => {
            bpf::update_link(link.as_fd(), program).map_err(wrong)?;
            link
        }
        None => {
            remove(path);
            let link = bpf::create_link(program, to.fd, to.attach_type).map_err(wrong)?;
            bpf::pin(link.as_fd(), path).map_err(wrong)?;
            link
        }
    };
    let id = bpf::link_info(link.as_fd(), to.is_cgroup).map(|found| found.program).unwrap_or(0);
    Ok(Program { name: name.into(), id, adopted })
}

pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a pin");
    }
}

pub(super) fn open_cgroup(path: &Path) -> Result<fs::File, DatapathError> {
    let wrong = |error| DatapathError::Cgroup { path: path.into(), error };
    let file = fs::File::open(path).map_err(wrong)?;
    // CGROUP2_SUPER_MAGIC (include/uapi/linux/magic.h).
    let magic = rustix::fs::fstatfs(&file).map_err(|error| wrong(error.into()))?.f_type as u64;
    if magic & 0xffff_ffff != 0x6367_7270 {
        return Err(wrong(io::Error::other("not on a cgroup2 file system")));
    }
    Ok(file)
}
