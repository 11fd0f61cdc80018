//! The `bpf(2)` commands that aya 0.14 has not: putting another program behind a link, telling what a link is
//! attached to, socket storage by descriptor, a program loaded from instructions.
//!
//! Entry points: [`create_link`], [`update_link`], [`detach_link`], [`link_info`], [`pin`], [`pinned`],
//! [`lookup_by_fd`], [`update_by_fd`], [`create_frozen`], [`load_sk_lookup`].

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::bpf_insn;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_FREEZE: libc::c_int = 22;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The head of `union bpf_attr`, large enough for the commands used here; the kernel takes what is
/// beyond a command's own fields for zero.
#[repr(C, align(8))]
struct Attributes([u64; 16]);

fn bpf(command: libc::c_int, attributes: &mut Attributes) -> io::Result<libc::c_int> {
    // SAFETY: the attributes outlive the call; every pointer in them was made from a live reference by
    // the caller.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.0.as_mut_ptr(), size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn descriptor(command: libc::c_int, attributes: &mut Attributes) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the command gave a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to a cgroup or a namespace (`BPF_LINK_CREATE`, 5.7).
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(program.as_raw_fd(), target.as_raw_fd());
    attributes.0[1] = u64::from(attach_type);
    descriptor(BPF_LINK_CREATE, &mut attributes)
}

/// Pins a link at a path on bpffs.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = path.as_ptr() as u64;
    attributes.0[1] = u64::from(object.as_raw_fd().cast_unsigned());
    bpf(BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// Opens what is pinned at a path.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = path.as_ptr() as u64;
    descriptor(BPF_OBJ_GET, &mut attributes)
}

/// Puts another program behind a link, atomically (`BPF_LINK_UPDATE`, 5.7).
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(link.as_raw_fd(), program.as_raw_fd());
    bpf(BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Detaches a link's program now (`BPF_LINK_DETACH`, 5.9). Without it the kernel does so some time after the
/// last pin and descriptor of the link are gone.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = u64::from(link.as_raw_fd().cast_unsigned());
    bpf(BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// The program behind it.
    pub(super) program: u32,
    /// The cgroup's id, or the namespace's inode; 0 when it is gone.
    pub(super) target: u64,
}

/// Asks for a link's program and target.
///
/// `struct bpf_link_info` is type, id, prog_id, padding, and a union that begins with `cgroup.cgroup_id`
/// (u64) or `netns.netns_ino` (u32, and then the attach type).
pub(super) fn link_info(link: BorrowedFd<'_>, is_cgroup: bool) -> io::Result<LinkInfo> {
    let mut info = [0u64; 32];
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(link.as_raw_fd(), size_of_val(&info) as libc::c_int);
    attributes.0[1] = info.as_mut_ptr() as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    let target = if is_cgroup { info[2] } else { info[2] & 0xffff_ffff };
    Ok(LinkInfo { program: info[1] as u32, target })
}

/// A socket's entry in a socket storage map, by the socket's descriptor.
pub(super) fn lookup_by_fd<V: aya::Pod>(map: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<V> {
    let key = socket.as_raw_fd();
    let mut value = std::mem::MaybeUninit::<V>::zeroed();
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = u64::from(map.as_raw_fd().cast_unsigned());
    attributes.0[1] = (&raw const key) as u64;
    attributes.0[2] = value.as_mut_ptr() as u64;
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
    // SAFETY: `Pod`, zeroed, and then written by the kernel.
    Ok(unsafe { value.assume_init() })
}

/// Sets a socket's entry in a socket storage map, by the socket's descriptor.
pub(super) fn update_by_fd<V: aya::Pod>(
    map: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    value: &V,
) -> io::Result<()> {
    let key = socket.as_raw_fd();
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = u64::from(map.as_raw_fd().cast_unsigned());
    attributes.0[1] = (&raw const key) as u64;
    attributes.0[2] = (&raw const *value) as u64;
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// An array of one value that nobody can change any more: the constants of a program.
pub(super) fn create_frozen(value: &[u8]) -> io::Result<OwnedFd> {
    const ARRAY: libc::c_int = 2;
    const READ_ONLY_FOR_PROGRAMS: libc::c_int = 1 << 7;
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(ARRAY, size_of::<u32>() as libc::c_int);
    attributes.0[1] = pack(value.len() as libc::c_int, 1);
    attributes.0[2] = pack(READ_ONLY_FOR_PROGRAMS, 0);
    let map = descriptor(BPF_MAP_CREATE, &mut attributes)?;
    let key = 0u32;
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(map.as_raw_fd(), 0);
    attributes.0[1] = (&raw const key) as u64;
    attributes.0[2] = value.as_ptr() as u64;
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes)?;
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(map.as_raw_fd(), 0);
    bpf(BPF_MAP_FREEZE, &mut attributes)?;
    Ok(map)
}

/// Loads an SK_LOOKUP program; the error has the verifier's last words.
pub(super) fn load_sk_lookup(name: &str, license: &CStr, instructions: &[bpf_insn]) -> io::Result<OwnedFd> {
    let mut attributes = sk_lookup(name, license, instructions);
    let error = match descriptor(BPF_PROG_LOAD, &mut attributes) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let mut log = vec![0u8; 64 * 1024];
    attributes = sk_lookup(name, license, instructions);
    attributes.0[3] = pack(1, log.len() as libc::c_int);
    attributes.0[4] = log.as_mut_ptr() as u64;
    // Only what is written of the log counts: this time it fails as the first time.
    let _ = descriptor(BPF_PROG_LOAD, &mut attributes);
    let log = String::from_utf8_lossy(&log);
    let words: Vec<&str> = log.trim_end_matches('\0').lines().rev().take(2).collect();
    Err(io::Error::new(error.kind(), format!("{error}: {}", words.join(": "))))
}

fn sk_lookup(name: &str, license: &CStr, instructions: &[bpf_insn]) -> Attributes {
    const SK_LOOKUP: libc::c_int = 30;
    const AT_LOOKUP: libc::c_int = 36;
    let mut attributes = Attributes([0; 16]);
    attributes.0[0] = pack(SK_LOOKUP, instructions.len() as libc::c_int);
    attributes.0[1] = instructions.as_ptr() as u64;
    attributes.0[2] = license.as_ptr() as u64;
    // prog_name has 16 bytes, of which the last is zero.
    let mut own = [0u8; 16];
    let length = name.len().min(15);
    own[..length].copy_from_slice(&name.as_bytes()[..length]);
    let (low, high) = own.split_at(8);
    attributes.0[6] = low.try_into().map_or(0, u64::from_ne_bytes);
    attributes.0[7] = high.try_into().map_or(0, u64::from_ne_bytes);
    attributes.0[8] = pack(0, AT_LOOKUP);
    attributes
}

fn pack(low: libc::c_int, high: libc::c_int) -> u64 {
    u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
}
