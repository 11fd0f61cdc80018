//! What comes to an enrolled pod from somebody without an identity, and the tunnel.
//!
//! Entry point: [`CHECKS`]. The stranger is a pod that is not enrolled.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use weir_agent::datapath::{diag, table::Network};
use weir_common::*;

use super::{
    Check,
    machine::{Machine, accept, address, carry, refused},
    same,
};

/// In this order or any other.
pub(super) const CHECKS: &[Check] = &[
    ("the tunnel's port is the agent's, whoever listens on it", tunnel),
    ("the virtual port is the agent's, whoever listens on it", virtual_port),
    ("plaintext goes to the agent where nothing is decided", plaintext),
    ("plaintext passes where that is decided, and its end is told", allowed),
    ("plaintext is refused where that is decided, and told", denied),
    ("plaintext to a strict pod is refused, and told", strict),
    ("a probe from the node reaches a strict pod on its probe port only", probe),
    ("a port without a listener refuses", silent),
    ("an application starts again while the agent holds connections to its port", starts_again),
    ("listening ports are listed, and known from listen(2) on", listening),
];

fn tunnel(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(workload::STRICT)?;
    let theirs = machine.server.listen(TUNNEL_PORT)?;
    let ours = machine.agent_listens(|machine| &machine.server, listener::TUNNEL)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        let stranger = machine.client.connect(ip, TUNNEL_PORT)?;
        let taken = accept(&ours)?;
        same("what it was sent to", taken.local_addr()?.port(), TUNNEL_PORT)?;
        carry(&stranger, &taken, "tunnel")?;
    }
    theirs.set_nonblocking(true)?;
    ensure!(theirs.accept().is_err(), "the application's listener got one");
    Ok(())
}

fn virtual_port(machine: &mut Machine) -> Result<()> {
    machine.enrol_client(0)?;
    machine.mesh_server(false)?;
    let theirs = machine.client.listen(machine.client.virtual_port)?;
    let ours = machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?;
    let app = machine.client.connect(machine.server.v4(), 8080)?;
    carry(&app, &accept(&ours)?, "redirected")?;
    theirs.set_nonblocking(true)?;
    ensure!(theirs.accept().is_err(), "the application's listener got one");
    // Dialled by hand it carries no original destination: the agent will close it.
    let dialled = machine.client.connect(Ipv4Addr::LOCALHOST.into(), machine.client.virtual_port)?;
    let taken = accept(&ours)?;
    let kept = machine.datapath()?.sockets().redirected(std::os::fd::AsFd::as_fd(&taken));
    ensure!(kept.is_none(), "{kept:?}, dialled from {}", dialled.local_addr()?);
    Ok(())
}

fn plaintext(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(0)?;
    let _application = machine.server.listen(8080)?;
    let ours = machine.agent_listens(|machine| &machine.server, listener::INBOUND)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        let stranger = machine.client.connect(ip, 8080)?;
        let taken = accept(&ours)?;
        let to = taken.local_addr()?;
        same("what it was sent to", (to.ip().to_canonical(), to.port()), (ip, 8080))?;
        carry(&stranger, &taken, "plaintext")?;
    }
    Ok(())
}

fn starts_again(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(0)?;
    let application = machine.server.listen(8080)?;
    let ours = machine.agent_listens(|machine| &machine.server, listener::INBOUND)?;
    let stranger = machine.client.connect(machine.server.v4(), 8080)?;
    let taken = accept(&ours)?;
    drop(application);
    let _again = machine.server.listen(8080)?;
    carry(&stranger, &taken, "unharmed")
}

/// Makes every IPv4 and IPv6 address one class of plaintext, and decides about it.
fn decide(machine: &mut Machine, action: u32) -> Result<()> {
    let netns = machine.server.cookie();
    for (prefix, ip) in [(64 + 96, Ipv4Addr::UNSPECIFIED.into()), (64, Ipv6Addr::UNSPECIFIED.into())] {
        let network = Network { prefix, key: NetworkKey { netns, address: address(ip) } };
        ensure!(machine.datapath()?.tables.plaintext_sources.set(network, 3), "no room");
    }
    machine.decide(PLAINTEXT | 3, ANY_PORT, action)
}

fn allowed(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(0)?;
    decide(machine, action::ALLOW)?;
    let application = machine.server.listen(8080)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        let stranger = machine.client.connect(ip, 8080)?;
        let taken = accept(&application)?;
        carry(&stranger, &taken, "twelve bytes")?;
        carry(&taken, &stranger, "four")?;
        let port = stranger.local_addr()?.port();
        drop((stranger, taken));
        let told = machine.event(event::CLOSED_INBOUND, |event| event.remote_port == port)?;
        same("bytes", (told.bytes_received, told.bytes_sent), (12, 4))?;
    }
    Ok(())
}

fn denied(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(0)?;
    decide(machine, action::DENY)?;
    let _application = machine.server.listen(8080)?;
    let before = machine.counted(counter::DENIED)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        refused(machine.client.dial(ip, 8080)?)?;
    }
    same("counted", machine.counted(counter::DENIED)? - before, 2)?;
    let told = machine.event(event::DENIED_INBOUND, |_| true)?;
    same("whose", told.netns, machine.server.cookie())?;
    same("from", told.remote, address(machine.client.v4()))?;
    same("to", told.local_port, 8080)
}

fn strict(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(workload::STRICT)?;
    decide(machine, action::ALLOW)?;
    let _application = machine.server.listen(8080)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        refused(machine.client.dial(ip, 8080)?)?;
    }
    let told = machine.event(event::PLAINTEXT_REFUSED, |_| true)?;
    same("whose", told.netns, machine.server.cookie())
}

fn probe(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(workload::STRICT)?;
    let (netns, node) = (machine.server.cookie(), address(machine.client.v4()));
    let tables = &mut machine.datapath()?.tables;
    tables.node_addresses.set(node, 1);
    tables.port_rules.set(PortKey { netns, port: 8080, rule: port_rule::PROBE, pad: 0 }, 1);
    let (probed, other) = (machine.server.listen(8080)?, machine.server.listen(8081)?);
    carry(&machine.client.connect(machine.server.v4(), 8080)?, &accept(&probed)?, "probe")?;
    refused(machine.client.dial(machine.server.v4(), other.local_addr()?.port())?)
}

fn silent(machine: &mut Machine) -> Result<()> {
    machine.enrol_server(0)?;
    let _ours = machine.agent_listens(|machine| &machine.server, listener::INBOUND)?;
    refused(machine.client.dial(machine.server.v4(), 9)?)?;
    refused(machine.client.dial(machine.server.v6(), 9)?)
}

fn listening(machine: &mut Machine) -> Result<()> {
    let before = machine.server.listen(8080)?;
    let listed = |machine: &Machine| -> Result<Vec<SocketAddr>> {
        let sockets = diag::sockets(&machine.server.netns, diag::states::LISTEN)?;
        Ok(sockets.into_iter().map(|socket| socket.local).collect())
    };
    same("listed", listed(machine)?, Vec::from([SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 8080)]))?;
    machine.enrol_server(0)?;
    let ours = machine.agent_listens(|machine| &machine.server, listener::INBOUND)?;
    // It was there before the hooks looked.
    refused(machine.client.dial(machine.server.v4(), 8080)?)?;
    let netns = machine.server.cookie();
    same("to seed", machine.datapath()?.tables.set_listening(netns, &[(8080, 1)].into()), 1)?;
    carry(&machine.client.connect(machine.server.v4(), 8080)?, &accept(&ours)?, "seeded")?;
    drop(before);
    machine.datapath()?.tables.set_listening(netns, &[].into());
    let after = machine.server.listen(8081)?;
    carry(&machine.client.connect(machine.server.v4(), 8081)?, &accept(&ours)?, "noted")?;
    drop(after);
    refused(machine.client.dial(machine.server.v4(), 8081)?)
}
