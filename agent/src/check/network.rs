//! Ports, sockets and address families.
//!
//! The probes bind or connect and let go at once; how what they saw is judged is in pure functions.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Item;

/// Ports for the pods of a node that is as full as Kubernetes recommends, many times over.
const ENOUGH_PORTS: u32 = 4096;

/// What is at the agent's socket.
pub(super) struct AgentSocket {
    pub(super) item: Item,
    /// Whether an agent runs already.
    pub(super) answers: bool,
}

/// Looks at `path`, connects to it where there is a socket, and says nothing to whoever answers.
pub(super) fn agent_socket(path: &Path) -> AgentSocket {
    let (name, shown) = ("agent socket", path.display());
    let free = |item| AgentSocket { item, answers: false };
    let address = match SockAddr::unix(path) {
        Ok(address) => address,
        Err(error) => {
            return free(Item::fail(name, format!("{shown}: {error}"), "give --socket a shorter path"));
        }
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return free(directory_of(path)),
        Err(error) => return free(Item::fail(name, format!("{shown}: {error}"), OTHER_PATH)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return free(Item::fail(name, format!("{shown} is there and is not a socket"), OTHER_PATH));
        }
        Ok(_) => {}
    }
    match answers(&address) {
        Ok(()) => AgentSocket {
            item: Item::ok(name, format!("an agent answers at {shown}; one that starts takes over from it")),
            answers: true,
        },
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            free(Item::ok(name, format!("{shown} was left by an agent that ended; it is replaced")))
        }
        Err(error) => free(Item::fail(name, format!("{shown}: {error}"), OTHER_PATH)),
    }
}

const OTHER_PATH: &str = "remove it, or give --socket another path";

/// Whether somebody listens. Does not block: a full queue is an answer too.
fn answers(address: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(address) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}

/// The socket can be made where its nearest directory that exists can be written to.
fn directory_of(path: &Path) -> Item {
    let (name, shown) = ("agent socket", path.display());
    let nearest = path.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("."));
    match rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK) {
        Ok(()) if nearest.is_dir() => Item::ok(name, format!("{shown} is free")),
        Ok(()) => Item::fail(name, format!("{} is not a directory", nearest.display()), OTHER_PATH),
        Err(error) => Item::fail(
            name,
            format!("{shown} cannot be made: {}: {error}", nearest.display()),
            "run as root, or give --socket a path that can be written to",
        ),
    }
}

/// Binds the address of `/metrics`, unless the agent that runs already has it.
pub(super) fn metrics_port(address: SocketAddr, an_agent_runs: bool) -> Item {
    judge_port(address, an_agent_runs, TcpListener::bind(address).map(drop))
}

pub(super) fn judge_port(address: SocketAddr, an_agent_runs: bool, bound: io::Result<()>) -> Item {
    let name = "metrics port";
    let Err(error) = bound else { return Item::ok(name, format!("{address} is free")) };
    match error.kind() {
        ErrorKind::AddrInUse if an_agent_runs => {
            Item::ok(name, format!("{address} is in use, as it should be while an agent runs"))
        }
        ErrorKind::AddrInUse => Item::fail(
            name,
            format!("{address} is in use by another program"),
            format!(
                "stop it (`ss -ltnp sport = :{}` names it), or give --metrics another port",
                address.port()
            ),
        ),
        ErrorKind::AddrNotAvailable => {
            let found = format!("this machine does not have the address {}", address.ip());
            Item::fail(name, found, "give --metrics an address of this machine, or 0.0.0.0")
        }
        _ => Item::fail(name, format!("{address}: {error}"), "give --metrics another address"),
    }
}

/// Judges `net.ipv4.ip_local_port_range`: the ports at which pods are captured must lie outside of it.
pub(super) fn port_range(sysctl: Option<&str>) -> Item {
    let name = "port range";
    let mut numbers = sysctl.unwrap_or_default().split_whitespace().map(|text| text.parse::<u16>().ok());
    let (Some(Some(low)), Some(Some(high)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Item::unknown(name, "net.ipv4.ip_local_port_range cannot be read");
    };
    let below = u32::from(low).saturating_sub(1024);
    let above = 65_535 - u32::from(high);
    let found = format!("{low} to {high} here (pods have their own) leave {} for capture", below + above);
    if below + above >= ENOUGH_PORTS {
        return Item::ok(name, found);
    }
    Item::warn(name, found, "sysctl -w net.ipv4.ip_local_port_range='32768 60999', in pods that set it, too")
}

/// Judges whether the kernel has IPv6.
pub(super) fn ipv6(has: bool) -> Item {
    if has {
        return Item::ok("ipv6", "available");
    }
    let found = "off: connections over IPv4 only are captured, and no others can be made";
    Item::warn("ipv6", found, "none if no pod uses it; else boot without ipv6.disable=1")
}
