//! What the mesh has nothing to say about goes as if there were no mesh.

use anyhow::Result;
use rustix::io::Errno;
use weir_tests::Serve;

use crate::mesh::{OneNode, TwoNodes, bytes, redirected, wait};

#[test]
fn a_pod_to_itself_and_over_loopback_is_left_alone_and_leaves_no_flow() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let pod = &mesh.client;
    let _everywhere = pod.serve(Serve::Echo, 9001)?;
    let _loopback4 = pod.serve_at(Serve::Echo, "127.0.0.1:9002".parse()?)?;
    let _loopback6 = pod.serve_at(Serve::Echo, "[::1]:9003".parse()?)?;
    let inside = [
        pod.v4(9001),
        pod.v6(9001),
        pod.v4_mapped(9001),
        "127.0.0.1:9001".parse()?,
        "[::1]:9001".parse()?,
        "[::ffff:127.0.0.1]:9001".parse()?,
        "127.0.0.1:9002".parse()?,
        "127.0.0.53:9001".parse()?,
        "[::1]:9003".parse()?,
    ];
    for to in inside {
        let dialled = pod.ask(to, "myself")?;
        assert_eq!((dialled.received.as_str(), dialled.peer), ("myself", Some(to)), "{dialled:?}");
        assert_eq!(dialled.local.map(|local| local.ip().is_loopback()), Some(to.ip().is_loopback()));
    }
    assert!(pod.dial(pod.v4(9004))?.refused_with(Errno::CONNREFUSED));

    // What follows in the ring tells that nothing was reported before.
    let _marker = mesh.server.serve(Serve::Echo, 7)?;
    pod.ask(mesh.server.v4(7), "marker")?;
    for direction in ["outbound", "inbound"] {
        wait(&mut mesh.agent, &[("direction", direction), ("destination.pod", "server")])?;
    }
    let flows = mesh.agent.flows()?;
    assert_eq!(flows.len(), 2, "{flows:?}");
    assert_eq!(redirected(&mesh.agent, 1)?, 0);
    Ok(())
}

#[test]
fn a_server_on_loopback_only_is_not_reached_through_the_mesh() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let private =
        [("127.0.0.1:9002".parse()?, mesh.server.v4(9002)), ("[::1]:9003".parse()?, mesh.server.v6(9003))];
    for (own, from_afar) in private {
        let _server = mesh.server.serve_at(Serve::Greet("private".to_owned()), own)?;
        assert!(mesh.server.dial(own)?.received.starts_with("private"));
        let dialled = mesh.client.dial(from_afar)?;
        assert_eq!((dialled.received.as_str(), dialled.errno.is_some()), ("", true), "{dialled:?}");
        wait(
            &mut mesh.far,
            &[
                ("direction", "inbound"),
                ("reason", "upstream_refused"),
                ("destination.address", &from_afar.to_string()),
            ],
        )?;
    }
    Ok(())
}

#[test]
fn destinations_that_the_mesh_knows_nothing_of_are_left_alone_and_counted() -> Result<()> {
    let mut mesh = OneNode::new()?;
    // In no file of the state.
    let unknown = mesh.topology.node("a").pod("other/unknown")?;
    let _greeter = unknown.serve(Serve::Greet("unknown".to_owned()), 80)?;
    let _sink = unknown.serve(Serve::Sink, 9)?;
    for to in [unknown.v4(80), unknown.v6(80), unknown.v4_mapped(80)] {
        let dialled = mesh.client.dial(to)?;
        assert_eq!(dialled.peer, Some(to), "{dialled:?}");
        let local = dialled.local.expect("a connected socket has an address");
        let seen =
            format!("{}]:{}\n", mesh.client.addresses()[usize::from(to == unknown.v6(80))], local.port());
        assert!(dialled.received.starts_with("unknown ") && dialled.received.ends_with(&seen));
    }
    assert_eq!(mesh.client.ask(unknown.v4(9), &"x".repeat(50_000))?.received, "50000\n");
    let flow = wait(
        &mut mesh.agent,
        &[
            ("direction", "outbound"),
            ("path", "passthrough"),
            ("verdict", "forwarded"),
            ("source.pod", "client"),
            ("destination.address", &unknown.v4(9).to_string()),
        ],
    )?;
    assert_eq!(bytes(&flow), (50_000, 6), "{flow:?}");
    assert_eq!((flow.text("destination.pod"), flow.text("destination.identity")), ("", ""));
    // The node itself is a host that no Pod stands for.
    let node = mesh.topology.node("a").clone();
    let gateway = "10.244.1.1:8088";
    let served = "import socket; s = socket.create_server(('10.244.1.1', 8088)); print('up', flush=True); \
                  s.accept()[0].sendall(b'node')";
    let mut server = node.spawn(["python3", "-c", served])?;
    server.wait_line("up", |line| line.starts_with("up").then_some(()))?;
    assert_eq!(mesh.client.dial(gateway.parse()?)?.received, "node");
    let flow = wait(&mut mesh.agent, &[("path", "passthrough"), ("destination.address", gateway)])?;
    assert_eq!(bytes(&flow), (0, 4));
    let _marker = mesh.server.serve(Serve::Echo, 7)?;
    mesh.client.ask(mesh.server.v4(7), "marker")?;
    assert_eq!(redirected(&mesh.agent, 1)?, 0);
    Ok(())
}

#[test]
fn a_destination_that_refuses_is_a_flow_too() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let unknown = mesh.topology.node("a").pod("other/unknown")?;
    assert!(mesh.client.dial(unknown.v4(81))?.refused_with(Errno::CONNREFUSED));
    wait(&mut mesh.agent, &[("path", "passthrough"), ("verdict", "failed"), ("reason", "upstream_refused")])?;
    Ok(())
}

#[test]
fn udp_is_left_alone_between_pods_of_the_mesh() -> Result<()> {
    let mesh = TwoNodes::new()?;
    // 15008 and any other port: there is no port of the mesh in UDP.
    let _servers = [mesh.server.serve(Serve::Udp, 53)?, mesh.server.serve(Serve::Udp, 15008)?];
    for to in [mesh.server.v4(53), mesh.server.v6(53), mesh.server.v4_mapped(53), mesh.server.v4(15008)] {
        assert_eq!(mesh.client.ask_udp(to, "a datagram")?, "a datagram", "{to}");
    }
    Ok(())
}
