//! The kernel: its version and its type information.
//!
//! Pure but for what the caller read. The version stands for what cannot be probed without loading programs.

use std::{fs::Metadata, io};

use super::Item;

/// The oldest kernel with `bpf_get_netns_cookie` in sock_ops, by which pods are told apart.
const MINIMUM: (u32, u32) = (5, 15);
/// From here on a refused connection is ECONNREFUSED (`bpf_set_retval`, 5.18) and all of it is tested.
const RECOMMENDED: (u32, u32) = (6, 1);

/// Judges `release`, as `uname -r` prints it.
pub(super) fn version(release: &str) -> Item {
    let name = "kernel";
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Item::unknown(
            name,
            format!("{release:?} is not a version that can be read; 5.15 is the oldest"),
        );
    };
    match (major, minor) {
        version if version < MINIMUM => Item::fail(
            name,
            format!("{release} is too old"),
            "run kernel 5.15 or newer; 6.1 or newer is recommended",
        ),
        version if version < RECOMMENDED => Item::warn(
            name,
            format!("{release} works, with EPERM instead of ECONNREFUSED before 5.18"),
            "run kernel 6.1 or newer",
        ),
        _ => Item::ok(name, release),
    }
}

/// Judges `/sys/kernel/btf/vmlinux`, from which offsets of kernel structures are read.
pub(super) fn btf(file: io::Result<Metadata>) -> Item {
    let name = "btf";
    match file {
        Ok(metadata) if metadata.is_file() => Item::ok(name, "/sys/kernel/btf/vmlinux"),
        Ok(_) => Item::fail(name, "/sys/kernel/btf/vmlinux is not a file", REMEDY),
        Err(error) => Item::fail(name, format!("/sys/kernel/btf/vmlinux: {error}"), REMEDY),
    }
}

const REMEDY: &str =
    "run a kernel with CONFIG_DEBUG_INFO_BTF=y (every current distribution has it), and mount /sys";
