//! Pods of one node: straight to each other when allowed, refused at once when not, with the same records
//! as between nodes.

use anyhow::Result;
use rustix::io::Errno;
use serde_json::json;
use weir_tests::{Flow, Manifest, Serve};

use crate::mesh::{OneNode, TwoNodes, bytes, redirected, wait};

fn deny_to_server() -> Manifest {
    let spec = json!({
        "action": "deny",
        "selector": {"matchLabels": {"app": "server"}},
        "rules": [{"from": [{"serviceAccounts": ["shop/client"]}]}],
    });
    Manifest::access_policy("shop", "no-clients", spec)
}

#[test]
fn allowed_pods_talk_directly_and_both_ends_have_a_flow_with_exact_bytes() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let _sink = mesh.server.serve(Serve::Sink, 9)?;
    let text = "x".repeat(100_000);
    for to in [mesh.server.v4(9), mesh.server.v6(9), mesh.server.v4_mapped(9)] {
        let dialled = mesh.client.ask(to, &text)?;
        assert_eq!((dialled.received.as_str(), dialled.peer), ("100000\n", Some(to)));
        let local = dialled.local.expect("a connected socket has an address");
        let source = (mesh.client.addresses()[usize::from(to == mesh.server.v6(9))], local.port());
        let source = std::net::SocketAddr::from(source).to_string();
        for direction in ["outbound", "inbound"] {
            let flow = wait(
                &mut mesh.agent,
                &[
                    ("direction", direction),
                    ("path", "direct"),
                    ("verdict", "forwarded"),
                    ("source.address", &source),
                    ("source.identity", "spiffe://cluster.local/ns/shop/sa/client"),
                    ("destination.pod", "server"),
                    ("destination.identity", "spiffe://cluster.local/ns/shop/sa/server"),
                ],
            )?;
            assert_eq!(bytes(&flow), (100_000, 7), "{flow:?}");
            assert!(flow.number("rtt_us").is_some_and(|rtt| rtt > 0), "{flow:?}");
            // On a busy machine there are some.
            assert!(flow.number("retransmits").is_some(), "{flow:?}");
            assert!(flow.number("duration_us") >= flow.number("connect_us"), "{flow:?}");
        }
    }
    assert_eq!(redirected(&mesh.agent, 3)?, 0);
    Ok(())
}

#[test]
fn bytes_are_exact_whoever_closes_first() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let _greeter = mesh.server.serve(Serve::Greet("hello".to_owned()), 80)?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    let mut expect = |what: &str, port: u16, wanted: (u64, u64)| -> Result<()> {
        let to = mesh.server.v4(port).to_string();
        for direction in ["outbound", "inbound"] {
            let found = |flow: &Flow| flow.is(&[("direction", direction), ("destination.address", &to)]);
            let flow = mesh.agent.wait_flow(what, found)?;
            assert_eq!(bytes(&flow), wanted, "{what}: {flow:?}");
        }
        Ok(())
    };

    // The server closes first; the client answers with its own end only then.
    let mut held = mesh.client.hold(mesh.server.v4(80))?;
    held.wait_closed()?;
    let greeting = held.received().len() as u64;
    drop(held);
    expect("the server closed first", 80, (0, greeting))?;

    // The client closes first.
    mesh.client.ask(mesh.server.v4(7), "seven b")?;
    expect("the client closed first", 7, (7, 7))
}

#[test]
fn same_node_tunnel_carries_them_over_mutual_tls() -> Result<()> {
    let mut mesh = OneNode::with(&["--same-node", "tunnel"], |_| Ok(vec![]))?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    for to in [mesh.server.v4(7), mesh.server.v6(7)] {
        let dialled = mesh.client.ask(to, "wrapped")?;
        assert_eq!((dialled.received.as_str(), dialled.peer), ("wrapped", Some(to)));
        for (direction, peer) in [("outbound", "server"), ("inbound", "client")] {
            let flow = wait(
                &mut mesh.agent,
                &[
                    ("direction", direction),
                    ("path", "tunnel"),
                    ("tls.version", "1.3"),
                    ("tls.group", "X25519MLKEM768"),
                    ("tls.peer", &format!("spiffe://cluster.local/ns/shop/sa/{peer}")),
                    ("source.pod", "client"),
                    ("destination.address", &to.to_string()),
                ],
            )?;
            assert_eq!(bytes(&flow), (7, 7));
        }
    }
    Ok(())
}

#[test]
fn a_denial_is_immediate_from_the_first_connection_on_and_names_its_policy() -> Result<()> {
    let mut mesh = OneNode::with(&[], |_| Ok(vec![deny_to_server()]))?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    // The very first connection of all.
    for to in [mesh.server.v4(7), mesh.server.v6(7), mesh.server.v4_mapped(7)] {
        let dialled = mesh.client.ask(to, "let me in")?;
        assert!(dialled.refused_with(Errno::CONNREFUSED), "{to}: {dialled:?}");
    }
    let named = [
        ("direction", "outbound"),
        ("verdict", "denied"),
        ("reason", "policy_denied"),
        ("policy.namespace", "shop"),
        ("policy.name", "no-clients"),
        ("policy.action", "deny"),
        ("source.pod", "client"),
        ("destination.pod", "server"),
    ];
    for to in [mesh.server.v4(7), mesh.server.v6(7)] {
        let to = to.to_string();
        wait(&mut mesh.agent, &[&named[..], &[("destination.address", &to)]].concat())?;
    }
    // The other way round nothing is denied.
    let _back = mesh.client.serve(Serve::Echo, 7)?;
    assert_eq!(mesh.server.ask(mesh.client.v4(7), "hello")?.received, "hello");
    Ok(())
}

#[test]
fn a_policy_that_comes_and_goes_holds_from_the_next_connection_on() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    let to = mesh.server.v4(7);
    let denied = || -> Result<Option<()>> {
        Ok(mesh.client.ask(to, "x")?.refused_with(Errno::CONNREFUSED).then_some(()))
    };
    assert_eq!(mesh.client.ask(to, "before")?.received, "before");
    mesh.topology.state().put(&deny_to_server())?;
    weir_tests::eventually("the denial", denied)?;
    mesh.topology.state().delete(&deny_to_server())?;
    weir_tests::eventually("the end of the denial", || {
        Ok((mesh.client.ask(to, "after")?.received == "after").then_some(()))
    })?;
    wait(&mut mesh.agent, &[("verdict", "denied"), ("policy.name", "no-clients")])?;
    Ok(())
}

#[test]
fn a_port_without_a_listener_refuses_on_the_same_node_as_if_there_were_no_mesh() -> Result<()> {
    let mut mesh = OneNode::new()?;
    for to in [mesh.server.v4(81), mesh.server.v6(81)] {
        assert!(mesh.client.dial(to)?.refused_with(Errno::CONNREFUSED));
        let flow = wait(
            &mut mesh.agent,
            &[
                ("direction", "outbound"),
                ("verdict", "failed"),
                ("reason", "upstream_refused"),
                ("destination.address", &to.to_string()),
            ],
        )?;
        assert_eq!(bytes(&flow), (0, 0));
    }
    Ok(())
}

#[test]
fn a_port_without_a_listener_on_the_other_node_resets_and_both_flows_say_why() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    for to in [mesh.server.v4(81), mesh.server.v6(81)] {
        let dialled = mesh.client.dial(to)?;
        let refused = dialled.errno.map(Errno::from_raw_os_error);
        assert!(matches!(refused, Some(Errno::CONNRESET | Errno::CONNREFUSED)), "{dialled:?}");
        let to = to.to_string();
        for (agent, direction) in [(&mut mesh.near, "outbound"), (&mut mesh.far, "inbound")] {
            wait(
                agent,
                &[
                    ("direction", direction),
                    ("path", "tunnel"),
                    ("verdict", "failed"),
                    ("reason", "upstream_refused"),
                    ("destination.address", &to),
                ],
            )?;
        }
    }
    Ok(())
}
