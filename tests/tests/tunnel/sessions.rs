//! Sessions: shared by many connections, of proved identities, made anew when the other side went.

use anyhow::Result;

use crate::pair::Pair;

const COUNT: usize = 500;

#[test]
fn hundreds_of_connections_at_once_share_sessions_and_each_is_recorded_with_both_identities() -> Result<()> {
    let mut pair = Pair::new()?;
    let _server = pair.serve(
        "
def handle(made):
    while data := made.recv(64): made.sendall(data)
serve(handle)",
    )?;
    pair.run(
        &format!(
            "
all = [dial() for _ in range({COUNT})]
for index, made in enumerate(all): made.sendall(b'%08d' % index)
for index, made in enumerate(all): assert exactly(made, 8) == b'%08d' % index
for made in all: made.close()"
        ),
        0,
    )?;
    for (agent, direction, peer) in [(&mut pair.a, "outbound", "server"), (&mut pair.b, "inbound", "client")]
    {
        let mut found = 0;
        let wanted = [
            ("direction", direction),
            ("path", "tunnel"),
            ("verdict", "forwarded"),
            ("source.identity", "spiffe://cluster.local/ns/shop/sa/client"),
            ("destination.identity", "spiffe://cluster.local/ns/shop/sa/server"),
            ("tls.version", "1.3"),
            ("tls.group", "X25519MLKEM768"),
            ("tls.peer", &format!("spiffe://cluster.local/ns/shop/sa/{peer}")),
        ];
        agent.wait_flow("one record for each", |flow| {
            assert!(flow.is(&wanted), "{flow:?}");
            assert_eq!((flow.number("bytes_sent"), flow.number("bytes_received")), (Some(8), Some(8)));
            found += 1;
            found == COUNT
        })?;
    }
    let sessions = pair.a.wait_metric("weir_tunnel_sessions", &[("role", "client")], 1.0)?;
    assert!(sessions < 50.0, "{sessions} sessions for {COUNT} connections");
    Ok(())
}

#[test]
fn after_the_agent_of_the_other_node_was_killed_and_started_again_the_next_connection_works() -> Result<()> {
    let pair = Pair::new()?;
    let _greets = pair.server.serve(weir_tests::Serve::Greet("hello".into()), 8080)?;
    let mut held_there = pair.server.serve(weir_tests::Serve::Echo, 7)?;
    assert!(pair.client.dial(pair.server.v4(8080))?.received.starts_with("hello"));
    let mut held = pair.client.hold(pair.server.v4(7))?;
    held.echo("before")?;

    let Pair { b, a, client, server, topology } = pair;
    b.kill()?;
    // A tunnel that died is not silence: the application is told.
    assert!(held.wait_closed()?.is_some(), "an orderly end");
    let b = topology.node("b").agent().start()?;

    assert!(client.dial(server.v4(8080))?.received.starts_with("hello"));
    client.hold(server.v4(7))?.echo("after")?;
    assert!(held_there.process.is_running()?);
    drop((a, b));
    Ok(())
}
