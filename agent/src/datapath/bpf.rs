//! The `bpf(2)` commands for links and socket storage: aya 0.14 cannot put another program behind a link,
//! nor tell what a link is attached to, and keeps its links' descriptors to itself.
//!
//! Entry points: [`create_link`], [`update_link`], [`detach_link`], [`link_info`], [`pin`], [`pinned`],
//! [`lookup_by_fd`], [`update_by_fd`].

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
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

fn pack(low: libc::c_int, high: libc::c_int) -> u64 {
    u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
}
