//! Network namespaces: opened by path, known by cookie, entered for a moment to make sockets.
//!
//! Entry point: [`Netns::open`]. A namespace lives as long as anybody holds a descriptor of it or of a
//! socket in it, so whoever holds a [`Netns`] must let go of it when the pod goes.

use std::{
    fs::File,
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    sync::OnceLock,
};

use rustix::{
    fs::{fstat, fstatfs},
    net::{AddressFamily, SocketType, socket},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// `NSFS_MAGIC` (`include/uapi/linux/magic.h`).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// `SO_NETNS_COOKIE` (5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Why a path is no network namespace that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// It cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    /// It is a file of another kind.
    #[error("is not a network namespace")]
    NotOne,
    /// It cannot be entered.
    #[error("cannot be entered: {0}")]
    Enter(io::Error),
    /// The kernel has no cookie for it.
    #[error("has no cookie (kernel older than 5.14?): {0}")]
    Cookie(io::Error),
}

/// An open network namespace.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    cookie: u64,
    inode: u64,
}

impl Netns {
    /// Opens the namespace that `path` names (`/run/netns/NAME`, `/proc/PID/ns/net`).
    ///
    /// # Errors
    /// When there is nothing, or something else, or it cannot be entered.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let file: OwnedFd = File::open(path).map_err(NetnsError::Open)?.into();
        let magic = fstatfs(&file).map_err(|error| NetnsError::Open(error.into()))?.f_type as u64;
        if magic & 0xffff_ffff != NSFS_MAGIC {
            return Err(NetnsError::NotOne);
        }
        let inode = fstat(&file).map_err(|error| NetnsError::Open(error.into()))?.st_ino;
        let probe = Self { file, cookie: 0, inode };
        let socket = probe
            .enter(|| socket(AddressFamily::INET, SocketType::DGRAM, None))
            .map_err(NetnsError::Enter)?
            .map_err(|error| NetnsError::Cookie(error.into()))?;
        let cookie = socket_cookie(&socket).map_err(NetnsError::Cookie)?;
        Ok(Self { cookie, ..probe })
    }

    /// The number by which the kernel's hooks know the namespace; never used again while the machine runs.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// The inode number on nsfs, as links report it.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether `path` still names this namespace.
    pub fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|found| found.st_ino == self.inode)
    }

    /// Runs `work` inside the namespace, on this thread, and comes back. `work` must not wait for
    /// anything: it makes a socket, binds, listens.
    ///
    /// # Errors
    /// When the namespace cannot be entered. When the way back fails the process ends: a worker left in a
    /// pod's namespace would make every later socket there.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = home()?;
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        let result = work();
        if let Err(error) = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)) {
            tracing::error!(%error, "cannot leave a pod's network namespace");
            std::process::abort();
        }
        Ok(result)
    }

    /// Every address of every interface in the namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered or its addresses cannot be read.
    pub fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        self.enter(interface_addresses)?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The agent's own namespace, the one that `enter` comes back to.
fn home() -> io::Result<&'static File> {
    static HOME: OnceLock<File> = OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let opened = File::open("/proc/self/ns/net")?;
    Ok(HOME.get_or_init(|| opened))
}

fn socket_cookie(socket: &OwnedFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the pointers are to live locals of the stated length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Every address of every interface in the current namespace.
///
/// # Errors
/// When getifaddrs(3) fails.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: writes the head of a list that is freed below.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: an entry of the list, which is alive until freeifaddrs.
        let entry = unsafe { &*next };
        if let Some(address) = ip_of(entry.ifa_addr) {
            found.push(address);
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list that getifaddrs made.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null; the family says which structure it is.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()))
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::from(v6.sin6_addr.s6_addr))
            }
            _ => None,
        }
    }
}
