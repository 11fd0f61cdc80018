//! The client's socket: however it is made and connected, it is carried, and sees the addresses it expects.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use rustix::io::Errno;
use weir_tests::{Pod, Serve};

use crate::mesh::{OneNode, TwoNodes, bytes, wait, wait_captured};

/// The address of `pod` that a socket dialling `to` shows as its own.
fn own(pod: &Pod, to: SocketAddr) -> IpAddr {
    let is_mapped = matches!(to.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    let shown = if to.is_ipv4() {
        pod.v4(0)
    } else if is_mapped {
        pod.v4_mapped(0)
    } else {
        pod.v6(0)
    };
    shown.ip()
}

#[test]
fn blocking_polling_and_epoll_clients_of_each_family_are_carried_and_see_the_addresses_they_expect()
-> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let (client, server) = (&mesh.client, &mesh.server);
    let _echo = server.serve(Serve::Echo, 7)?;
    for to in [server.v4(7), server.v6(7), server.v4_mapped(7)] {
        for way in ["block", "poll", "epoll"] {
            let text = format!("{way} to {to}");
            let dialled = client.dial_with(to, &["--way", way, "--send", &text])?;
            assert_eq!(dialled.received, text, "{dialled:?}");
            assert_eq!(dialled.peer, Some(to), "{text}");
            assert_eq!(dialled.local.map(|local| local.ip()), Some(own(client, to)), "{text}");

            let unmapped = if to == server.v4_mapped(7) { server.v4(7) } else { to };
            let length = text.len() as u64;
            for (agent, direction) in [(&mut mesh.near, "outbound"), (&mut mesh.far, "inbound")] {
                let flow = agent.wait_flow(&format!("{direction}: {text}"), |flow| {
                    flow.is(&[
                        ("direction", direction),
                        ("path", "tunnel"),
                        ("verdict", "forwarded"),
                        ("source.identity", "spiffe://cluster.local/ns/shop/sa/client"),
                        ("destination.identity", "spiffe://cluster.local/ns/shop/sa/server"),
                        ("destination.address", &unmapped.to_string()),
                    ]) && flow.number("bytes_sent") == Some(length)
                })?;
                assert_eq!(bytes(&flow), (length, length), "{flow:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_socket_bound_to_the_pods_address_keeps_that_address_and_port() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    for (to, from) in [
        (mesh.server.v4(7), mesh.client.v4(40_001)),
        (mesh.server.v6(7), mesh.client.v6(40_002)),
        (mesh.server.v4_mapped(7), mesh.client.v4_mapped(40_003)),
    ] {
        let dialled = mesh.client.dial_with(to, &["--bind", &from.to_string(), "--send", "bound"])?;
        assert_eq!((dialled.received.as_str(), dialled.peer, dialled.local), ("bound", Some(to), Some(from)));
        let unmapped = if from.port() == 40_003 { mesh.client.v4(40_003) } else { from };
        wait(&mut mesh.near, &[("source.address", &unmapped.to_string()), ("path", "tunnel")])?;
    }
    Ok(())
}

/// What `clients/fastopen.py` prints.
#[derive(serde::Deserialize)]
struct FastOpened {
    peer: (String, u16),
    local: String,
    received: String,
}

fn fast_open(pod: &Pod, how: &str, to: SocketAddr, text: &str) -> Result<FastOpened> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/fastopen.py");
    let (address, port) = (to.ip().to_string(), to.port().to_string());
    let printed = pod.run(["python3", script, how, &address, &port, text])?.success()?;
    Ok(serde_json::from_str(&printed)?)
}

/// Data in the SYN without a cookie, sent by every client and taken by every listener: the first connection
/// is as fast as any later one (Documentation/networking/ip-sysctl.rst, tcp_fastopen).
fn enable_fast_open(pod: &Pod) -> Result<()> {
    pod.run(["sh", "-c", "echo 0x607 > /proc/sys/net/ipv4/tcp_fastopen"])?.success().map(drop)
}

/// Connections that a pod made whose SYN carried data, and had it acknowledged (TCPFastOpenActive).
fn fast_opened(pod: &Pod) -> Result<u64> {
    let text = pod.run(["cat", "/proc/net/netstat"])?.success()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = lines.next().zip(lines.next()).expect("a line of names, a line of values");
    let (_, value) = names.zip(values).find(|(name, _)| *name == "TCPFastOpenActive").expect("its counter");
    Ok(value.parse()?)
}

#[test]
fn tcp_fast_open_is_carried_to_the_other_node() -> Result<()> {
    // Before the agent listens there: then its listeners take data in a SYN too.
    let mut mesh = TwoNodes::with(|_, [client, _]| enable_fast_open(client).map(|()| vec![]))?;
    let usual = mesh.topology.node("a").pod("shop/usual")?;
    mesh.topology.state().put(&usual.manifest())?;
    wait_captured(&mesh.near, &usual)?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    // The second asks for a cookie, which nobody gives it.
    for (client, opened_fast) in [(&mesh.client, 4), (&usual, 0)] {
        for to in [mesh.server.v4(7), mesh.server.v6(7)] {
            for how in ["connect", "sendto"] {
                let text = format!("{} by {how} to {to}", client.name());
                let opened = fast_open(client, how, to, &text)?;
                assert_eq!(opened.received, text);
                assert_eq!(opened.peer, (to.ip().to_string(), to.port()));
                assert_eq!(opened.local, own(client, to).to_string());
                let flow = mesh.near.wait_flow(&text, |flow| {
                    flow.is(&[("path", "tunnel"), ("verdict", "forwarded"), ("source.pod", client.name())])
                        && flow.number("bytes_sent") == Some(text.len() as u64)
                })?;
                assert_eq!(flow.text("destination.address"), to.to_string());
            }
        }
        assert_eq!(fast_opened(client)?, opened_fast);
    }
    Ok(())
}

#[test]
fn tcp_fast_open_goes_straight_to_a_pod_of_the_same_node_and_its_bytes_are_counted() -> Result<()> {
    let mut mesh = OneNode::new()?;
    enable_fast_open(&mesh.client)?;
    enable_fast_open(&mesh.server)?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    for to in [mesh.server.v4(7), mesh.server.v6(7)] {
        for how in ["connect", "sendto"] {
            let text = format!("fast open by {how} to {to}");
            let opened = fast_open(&mesh.client, how, to, &text)?;
            assert_eq!((opened.received, opened.peer.0), (text.clone(), to.ip().to_string()));
            let length = text.len() as u64;
            for direction in ["outbound", "inbound"] {
                let what = format!("{direction}: {length} bytes, {text}");
                let flow = mesh.agent.wait_flow(&what, |flow| {
                    flow.is(&[("direction", direction), ("path", "direct")])
                        && flow.text("destination.address") == to.to_string()
                        && flow.number("bytes_sent") == Some(length)
                })?;
                assert_eq!(bytes(&flow), (length, length), "{flow:?}");
            }
        }
    }
    assert_eq!(fast_opened(&mesh.client)?, 4);
    Ok(())
}

#[test]
fn a_socket_of_multipath_tcp_is_carried_to_either_node() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let neighbour = mesh.topology.node("a").pod("shop/neighbour")?;
    mesh.topology.state().put(&neighbour.manifest())?;
    wait_captured(&mesh.near, &neighbour)?;
    for (pod, path) in [(&mesh.server, "tunnel"), (&neighbour, "direct")] {
        let _echo = pod.serve(Serve::Echo, 7)?;
        for to in [pod.v4(7), pod.v6(7)] {
            let dialled = mesh.client.dial_with(to, &["--way", "mptcp", "--send", "many paths"])?;
            assert_eq!(dialled.received, "many paths", "{dialled:?}");
            wait(&mut mesh.near, &[("path", path), ("destination.address", &to.to_string())])?;
        }
    }
    Ok(())
}

#[test]
fn a_socket_bound_to_a_device_is_refused_at_once_and_its_flow_says_why() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let stranger = mesh.topology.node("a").pod("other/stranger")?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    let _stranger = stranger.serve(Serve::Echo, 7)?;
    let device = ["--device", "eth0", "--send", "by eth0"];
    for to in [mesh.server.v4(7), mesh.server.v6(7)] {
        let dialled = mesh.client.dial_with(to, &device)?;
        assert!(dialled.refused_with(Errno::CONNREFUSED), "{dialled:?}");
        wait(
            &mut mesh.near,
            &[
                ("direction", "outbound"),
                ("verdict", "denied"),
                ("reason", "bound_to_device"),
                ("source.pod", "client"),
                ("destination.address", &to.to_string()),
            ],
        )?;
    }
    // It is not for the mesh to say what leaves by which device otherwise.
    assert_eq!(mesh.client.dial_with(stranger.v4(7), &device)?.received, "by eth0");
    Ok(())
}
