//! What an enrolled pod dials: left alone, refused, or handed to the agent with what was asked for.
//!
//! Entry point: [`CHECKS`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
};

use anyhow::{Result, ensure};
use weir_agent::addr::canonical;
use weir_common::*;

use super::{
    Check,
    machine::{Machine, accept, address, carry, refused},
    same,
};

/// An address that nobody has.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));

/// In this order or any other.
pub(super) const CHECKS: &[Check] = &[
    ("IPv4 is redirected, and the agent reads what was asked for", |machine| {
        redirects(machine, |machine| machine.server.v4())
    }),
    ("IPv6 is redirected, and the agent reads what was asked for", |machine| {
        redirects(machine, |machine| machine.server.v6())
    }),
    ("IPv4 in mapped form is redirected", |machine| {
        redirects(machine, |machine| match machine.server.v4() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            other => other,
        })
    }),
    ("a service's connection is redirected with its backend", redirects_service),
    ("a service without backends refuses", refuses_empty_service),
    ("a destination outside the mesh is left alone, and its end is told", passes),
    ("the pod's own address and loopback are left alone", passes_inside),
    ("the agent's own socket is left alone", exempts),
    ("a socket bound to a device is refused at once", refuses_bound),
    ("a listener is replaced by another agent's without a refusal", swaps),
    ("without an agent a redirected connection is refused at once, and told", closes),
    ("without an agent it is let through where that is asked for", opens),
];

/// A client of a mesh whose server is on another node.
fn far(machine: &mut Machine) -> Result<()> {
    machine.enrol_client(0)?;
    machine.mesh_server(false)
}

fn redirects(machine: &mut Machine, to: fn(&Machine) -> IpAddr) -> Result<()> {
    far(machine)?;
    let to = to(machine);
    let listener = machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?;
    let app = machine.client.connect(to, 8080)?;
    let agent = accept(&listener)?;
    let kept = machine.datapath()?.sockets().redirected(std::os::fd::AsFd::as_fd(&agent));
    let kept = kept.ok_or_else(|| anyhow::anyhow!("nothing is kept with the accepted socket"))?;
    let wanted = canonical(SocketAddr::new(to, 8080));
    same("the original destination", kept.original.socket(), wanted)?;
    same("the endpoint", kept.endpoint.socket(), wanted)?;
    ensure!(kept.started_ns != 0, "it was not said when it began");
    same("what the application sees as its peer", app.peer_addr()?, SocketAddr::new(to, 8080))?;
    let own = if wanted.is_ipv4() { machine.client.v4() } else { machine.client.v6() };
    same("what it sees as its own address", app.local_addr()?.ip().to_canonical(), own)?;
    carry(&app, &agent, "there")?;
    carry(&agent, &app, "and back")
}

fn redirects_service(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    let backend = Backend { address: address(machine.server.v4()), port: 8080, pad: 0 };
    let tables = &mut machine.datapath()?.tables;
    tables.backends.set(BackendKey { set: 7, index: 0, pad: 0 }, backend);
    let key = ServiceKey { address: address(SERVICE), port: 80, pad: 0 };
    tables.services.set(key, Service { set: 7, count: 1, flags: 0 });
    let listener = machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?;
    let app = machine.client.connect(SERVICE, 80)?;
    let agent = accept(&listener)?;
    let kept = machine.datapath()?.sockets().redirected(std::os::fd::AsFd::as_fd(&agent));
    let found = kept.map(|kept| (kept.original.socket(), kept.endpoint.socket()));
    let wanted = (SocketAddr::new(SERVICE, 80), SocketAddr::new(machine.server.v4(), 8080));
    same("original and endpoint", found, Some(wanted))?;
    same("the peer", app.peer_addr()?, wanted.0)
}

fn refuses_empty_service(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    let key = ServiceKey { address: address(SERVICE), port: 80, pad: 0 };
    machine.datapath()?.tables.services.set(key, Service { set: 7, count: 0, flags: 0 });
    refused(machine.client.dial(SERVICE, 80)?)?;
    let netns = machine.client.cookie();
    let told = machine.event(event::NO_BACKENDS, |event| event.netns == netns)?;
    same("what was asked for", (told.original, told.original_port), (address(SERVICE), 80))
}

fn passes(machine: &mut Machine) -> Result<()> {
    machine.enrol_client(0)?;
    let listener = machine.server.listen(8080)?;
    let app = machine.client.connect(machine.server.v4(), 8080)?;
    carry(&app, &accept(&listener)?, "plain")?;
    let port = app.local_addr()?.port();
    drop(app);
    let told = machine.event(event::CLOSED_PASSED, |event| event.local_port == port)?;
    same("bytes", (told.bytes_sent, told.bytes_received), (5, 0))
}

fn passes_inside(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    let client = &machine.client;
    let listener = client.listen(8080)?;
    for ip in [client.v4(), client.v6(), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        carry(&client.connect(ip, 8080)?, &accept(&listener)?, "inside")?;
    }
    Ok(())
}

fn exempts(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    let listener = machine.server.listen(8080)?;
    let agent = machine.agent_dials(machine.server.v4(), 8080)??;
    let app = accept(&listener)?;
    same("whom the application sees", app.peer_addr()?.ip().to_canonical(), machine.client.v4())?;
    carry(&agent, &app, "exempt")
}

fn refuses_bound(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    let to = SocketAddr::new(machine.server.v4(), 8080);
    let outcome = machine.client.inside(|| -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind_device(Some(b"eth0"))?;
        socket.connect(&to.into())?;
        Ok(socket.into())
    })?;
    refused(outcome)?;
    machine.event(event::BOUND_TO_DEVICE, |event| event.original_port == 8080).map(drop)
}

fn swaps(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    let old = machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?;
    let before = machine.client.connect(machine.server.v4(), 8080)?;
    let new = machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?;
    let after = machine.client.connect(machine.server.v4(), 8080)?;
    // What came before waits where it was taken in.
    carry(&before, &accept(&old)?, "to the old one")?;
    carry(&after, &accept(&new)?, "to the new one")
}

fn closes(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    drop(machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?);
    let before = machine.counted(counter::NO_LISTENER)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        refused(machine.client.dial(ip, 8080)?)?;
    }
    same("counted", machine.counted(counter::NO_LISTENER)? - before, 2)?;
    let told = machine.event(event::AGENT_UNAVAILABLE, |_| true)?;
    same("whose", told.netns, machine.client.cookie())?;
    same("what was asked for", told.original, address(machine.server.v4()))?;
    same("its port", told.original_port, 8080)
}

fn opens(machine: &mut Machine) -> Result<()> {
    far(machine)?;
    machine.enrol_server(workload::STRICT)?;
    drop(machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?);
    // The last sign of life was at the machine's start.
    machine.configure(config::OPEN)?;
    let listener = machine.server.listen(8080)?;
    carry(&machine.client.connect(machine.server.v4(), 8080)?, &accept(&listener)?, "open")
}
