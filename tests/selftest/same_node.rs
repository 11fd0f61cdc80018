//! Two pods of one node: straight to each other when that is decided, vouched for, and ended when need be.
//!
//! Entry point: [`CHECKS`].

use std::{
    io::{self, Read},
    net::TcpListener,
};

use anyhow::{Result, ensure};
use weir_agent::datapath::diag;
use weir_common::*;

use super::{
    Check,
    machine::{Machine, accept, carry, refused},
    same,
};

/// In this order or any other.
pub(super) const CHECKS: &[Check] = &[
    ("an allowed connection goes straight, past a strict pod's refusal of plaintext", direct),
    ("an allowed connection is refused while no agent listens", deserted),
    ("its end is told at both ends with every byte", counted),
    ("what nobody vouches for is refused, though it bears the allowed pod's address", unvouched),
    ("a refusal is ECONNREFUSED at once, and told", denied),
    ("a verdict for a port of its own wins over the one for all", by_port),
    ("a verdict of an earlier generation is void", stale),
    ("a connection is ended from outside", destroyed),
];

/// Both enrolled, on this node, the server strict, and a verdict about all ports; gives the agent's listener.
fn pair(machine: &mut Machine, action: u32) -> Result<TcpListener> {
    machine.enrol_client(0)?;
    machine.enrol_server(workload::STRICT)?;
    machine.mesh_server(true)?;
    machine.decide(machine.client.cookie(), ANY_PORT, action)?;
    machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)
}

fn direct(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::ALLOW)?;
    let application = machine.server.listen(8080)?;
    let before = machine.counted(counter::DIRECT)?;
    for (ip, own) in [(machine.server.v4(), machine.client.v4()), (machine.server.v6(), machine.client.v6())]
    {
        let app = machine.client.connect(ip, 8080)?;
        let taken = accept(&application)?;
        same("the client's address", taken.peer_addr()?.ip().to_canonical(), own)?;
        carry(&app, &taken, "direct")?;
    }
    same("counted", machine.counted(counter::DIRECT)? - before, 2)
}

fn deserted(machine: &mut Machine) -> Result<()> {
    let agent = pair(machine, action::ALLOW)?;
    let _application = machine.server.listen(8080)?;
    machine.client.connect(machine.server.v4(), 8080)?;
    drop(agent);
    refused(machine.client.dial(machine.server.v4(), 8080)?)?;
    refused(machine.client.dial(machine.server.v6(), 8080)?)?;
    let told = machine.event(event::AGENT_UNAVAILABLE, |_| true)?;
    same("whose", told.netns, machine.client.cookie())
}

fn counted(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::ALLOW)?;
    let application = machine.server.listen(8080)?;
    let app = machine.client.connect(machine.server.v4(), 8080)?;
    let taken = accept(&application)?;
    let port = app.local_addr()?.port();
    carry(&app, &taken, &"x".repeat(100_000))?;
    carry(&taken, &app, "answer")?;
    // Ended from one side and then from the other, so that both FINs are counted for what they are.
    app.shutdown(std::net::Shutdown::Write)?;
    same("the end", (&taken).read(&mut [0])?, 0)?;
    drop(taken);
    same("the other end", (&app).read(&mut [0])?, 0)?;
    drop(app);
    let sent = machine.event(event::CLOSED_DIRECT, |event| event.local_port == port)?;
    same("bytes at the client", (sent.bytes_sent, sent.bytes_received), (100_000, 6))?;
    ensure!(sent.established_ns > sent.started_ns && sent.time_ns > sent.established_ns, "{sent:?}");
    let taken = machine.event(event::CLOSED_VOUCHED, |event| event.remote_port == port)?;
    same("bytes at the server", (taken.bytes_sent, taken.bytes_received), (6, 100_000))
}

fn unvouched(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::ALLOW)?;
    let _application = machine.server.listen(8080)?;
    // The hooks leave the agent's socket alone, so none of them vouches for it.
    refused(machine.agent_dials(machine.server.v4(), 8080)?)?;
    refused(machine.agent_dials(machine.server.v6(), 8080)?)
}

fn denied(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::DENY)?;
    let application = machine.server.listen(8080)?;
    let before = machine.counted(counter::DENIED)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        refused(machine.client.dial(ip, 8080)?)?;
    }
    same("counted", machine.counted(counter::DENIED)? - before, 2)?;
    let told = machine.event(event::DENIED, |_| true)?;
    same("whose", told.netns, machine.client.cookie())?;
    same("the port", told.remote_port, 8080)?;
    application.set_nonblocking(true)?;
    ensure!(application.accept().is_err(), "a connection came");
    Ok(())
}

fn by_port(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::DENY)?;
    machine.decide(machine.client.cookie(), 8081, action::ALLOW)?;
    let (_denied, allowed) = (machine.server.listen(8080)?, machine.server.listen(8081)?);
    refused(machine.client.dial(machine.server.v4(), 8080)?)?;
    carry(&machine.client.connect(machine.server.v4(), 8081)?, &accept(&allowed)?, "allowed")
}

fn stale(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::ALLOW)?;
    machine.configure(0)?;
    let _application = machine.server.listen(8080)?;
    // Nothing is known of it any more: it goes to the agent, which decides.
    let ours = machine.agent_listens(|machine| &machine.client, listener::OUTBOUND)?;
    carry(&machine.client.connect(machine.server.v4(), 8080)?, &accept(&ours)?, "asked")
}

fn destroyed(machine: &mut Machine) -> Result<()> {
    let _agent = pair(machine, action::ALLOW)?;
    let application = machine.server.listen(8080)?;
    let app = machine.client.connect(machine.server.v4(), 8080)?;
    let mut taken = accept(&application)?;
    carry(&app, &taken, "alive")?;
    let own = app.local_addr()?;
    let sockets = diag::sockets(&machine.client.netns, diag::states::ESTABLISHED)?;
    let socket = sockets.iter().find(|socket| socket.local == own);
    let socket = socket.ok_or_else(|| anyhow::anyhow!("{own} is not listed in {sockets:?}"))?;
    diag::destroy(&machine.client.netns, socket)?;
    let outcome = taken.read(&mut [0]).map_err(|error| error.kind());
    same("what the server reads", outcome, Err(io::ErrorKind::ConnectionReset))?;
    machine.event(event::CLOSED_DIRECT, |event| event.local_port == own.port()).map(drop)
}
