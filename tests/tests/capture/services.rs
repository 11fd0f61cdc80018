//! Services: their addresses are dialled, their endpoints are reached, and the client sees what it asked for.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use rustix::io::Errno;
use weir_tests::{Listener, Manifest, Pod, Serve, Topology};

use crate::mesh::{OneNode, TwoNodes, bytes, wait, wait_captured};

/// The cluster addresses of the Service `shop/pay`, which no interface has.
const VIPS: [&str; 2] = ["10.96.0.9", "fd10:96::9"];

fn vips() -> [SocketAddr; 2] {
    VIPS.map(|vip| SocketAddr::new(vip.parse().expect("an address"), 80))
}

/// The Service `shop/pay`, port 80, and its endpoints: port 8080 of `pods`.
fn pay(pods: &[&Pod]) -> Vec<Manifest> {
    let addresses = VIPS.map(|vip| vip.parse().expect("an address"));
    let mut objects = vec![Manifest::service("shop", "pay", &addresses).port("greet", 80, 8080)];
    objects.extend(Manifest::endpoint_slices("shop", "pay", ("greet", 8080), pods));
    objects
}

/// Serves its own name on port 8080.
fn serve_name(pod: &Pod) -> Result<Listener> {
    pod.serve(Serve::Greet(pod.name().to_owned()), 8080)
}

/// Dials until every one of `names` has answered; an answer of anybody else fails.
fn reaches_all(client: &Pod, to: SocketAddr, names: &[&str]) -> Result<()> {
    let mut missing: BTreeSet<&str> = names.iter().copied().collect();
    // Each answers with a chance of one in two: one in 2^40 runs fails without cause.
    for _ in 0..40 {
        let dialled = client.dial(to)?;
        assert_eq!(dialled.peer, Some(to), "{dialled:?}");
        let name = dialled.received.split(' ').next().unwrap_or_default();
        assert!(names.contains(&name), "{to}: {dialled:?}");
        missing.remove(name);
        if missing.is_empty() {
            return Ok(());
        }
    }
    panic!("{to} never led to {missing:?}")
}

#[test]
fn an_endpoint_on_the_same_node_is_reached_directly() -> Result<()> {
    let mut mesh = OneNode::with(&[], |[_, server]| Ok(pay(&[server])))?;
    let _greeter = serve_name(&mesh.server)?;
    for (family, vip) in vips().into_iter().enumerate() {
        let dialled = mesh.client.dial(vip)?;
        assert_eq!(dialled.peer, Some(vip), "{dialled:?}");
        assert_eq!(dialled.local.map(|local| local.ip()), Some(mesh.client.addresses()[family]));
        assert!(dialled.received.starts_with("server "), "{dialled:?}");
        let endpoint = SocketAddr::new(mesh.server.addresses()[family], 8080).to_string();
        let length = dialled.received.len() as u64;
        let flow = wait(
            &mut mesh.agent,
            &[
                ("direction", "outbound"),
                ("path", "direct"),
                ("destination.service", "shop/pay"),
                ("destination.pod", "server"),
                ("destination.address", &endpoint),
            ],
        )?;
        assert_eq!(bytes(&flow), (0, length));
        wait(&mut mesh.agent, &[("direction", "inbound"), ("destination.address", &endpoint)])?;
    }
    Ok(())
}

#[test]
fn a_pod_reaches_itself_by_its_service_without_a_tunnel() -> Result<()> {
    let mut mesh = OneNode::with(&[], |[client, _]| {
        Ok([pay(&[client]), vec![client.manifest().annotation("weir.dev/mtls", "strict")]].concat())
    })?;
    let _greeter = serve_name(&mesh.client)?;
    for (family, vip) in vips().into_iter().enumerate() {
        let dialled = mesh.client.dial(vip)?;
        assert_eq!(dialled.peer, Some(vip), "{dialled:?}");
        assert!(dialled.received.starts_with("client "), "{dialled:?}");
        let endpoint = SocketAddr::new(mesh.client.addresses()[family], 8080).to_string();
        let to = [("direction", "outbound"), ("path", "proxy"), ("destination.address", &*endpoint)];
        let flow = wait(&mut mesh.agent, &to)?;
        assert!(flow.is(&[("verdict", "forwarded"), ("destination.pod", "client")]), "{flow:?}");
    }
    Ok(())
}

#[test]
fn an_endpoint_on_the_other_node_is_reached_through_the_tunnel() -> Result<()> {
    let mut mesh = TwoNodes::with(|_, [_, server]| Ok(pay(&[server])))?;
    let _greeter = serve_name(&mesh.server)?;
    for (family, vip) in vips().into_iter().enumerate() {
        let dialled = mesh.client.dial(vip)?;
        assert_eq!(dialled.peer, Some(vip), "{dialled:?}");
        assert_eq!(dialled.local.map(|local| local.ip()), Some(mesh.client.addresses()[family]));
        assert!(dialled.received.starts_with("server "), "{dialled:?}");
        let endpoint = SocketAddr::new(mesh.server.addresses()[family], 8080).to_string();
        wait(
            &mut mesh.near,
            &[
                ("path", "tunnel"),
                ("destination.service", "shop/pay"),
                ("destination.identity", "spiffe://cluster.local/ns/shop/sa/server"),
                ("destination.address", &endpoint),
            ],
        )?;
        wait(&mut mesh.far, &[("direction", "inbound"), ("destination.address", &endpoint)])?;
    }
    // A mapped address is the same Service.
    let mapped = match vips()[0].ip() {
        IpAddr::V4(vip) => SocketAddr::new(vip.to_ipv6_mapped().into(), 80),
        IpAddr::V6(_) => unreachable!("the first is IPv4"),
    };
    assert_eq!(mesh.client.dial(mapped)?.peer, Some(mapped));
    Ok(())
}

#[test]
fn endpoints_on_both_nodes_are_all_reached_each_by_its_own_path() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let local = mesh.topology.node("a").pod("shop/local")?;
    mesh.topology.state().put(&local.manifest())?;
    wait_captured(&mesh.near, &local)?;
    mesh.topology.state().put_all(&pay(&[&local, &mesh.server]))?;
    let _greeters = [serve_name(&local)?, serve_name(&mesh.server)?];
    weir_tests::eventually("the service", || Ok(mesh.client.dial(vips()[0])?.connected.then_some(())))?;
    for vip in vips() {
        reaches_all(&mesh.client, vip, &["local", "server"])?;
    }
    for (pod, path) in [("local", "direct"), ("server", "tunnel")] {
        wait(
            &mut mesh.near,
            &[("path", path), ("destination.pod", pod), ("destination.service", "shop/pay")],
        )?;
    }
    Ok(())
}

#[test]
fn a_service_without_endpoints_refuses_at_once_and_its_flow_says_so() -> Result<()> {
    let mut mesh = OneNode::with(&[], |_| Ok(pay(&[])))?;
    for vip in vips() {
        let dialled = mesh.client.dial(vip)?;
        assert!(dialled.refused_with(Errno::CONNREFUSED), "{dialled:?}");
        wait(
            &mut mesh.agent,
            &[
                ("direction", "outbound"),
                ("verdict", "failed"),
                ("reason", "no_endpoints"),
                ("source.pod", "client"),
                ("destination.service", "shop/pay"),
                ("destination.address", &vip.to_string()),
            ],
        )?;
    }
    Ok(())
}

#[test]
fn endpoints_come_and_go_while_clients_dial() -> Result<()> {
    let mesh = OneNode::with(&[], |[_, server]| Ok(pay(&[server])))?;
    let node = mesh.topology.node("a");
    let other = node.pod("shop/other")?;
    mesh.topology.state().put(&other.manifest())?;
    wait_captured(&mesh.agent, &other)?;
    let _greeters = [serve_name(&mesh.server)?, serve_name(&other)?];
    let vip = vips()[0];
    let answers_only = |name: &str| {
        weir_tests::eventually(&format!("{name} to be all there is"), || {
            let dialled = mesh.client.dial(vip)?;
            Ok(dialled.received.starts_with(name).then_some(()))
        })
    };
    answers_only("server ")?;
    mesh.topology.state().put_all(&pay(&[&mesh.server, &other]))?;
    answers_only("other ")?;
    reaches_all(&mesh.client, vip, &["server", "other"])?;
    mesh.topology.state().put_all(&pay(&[&other]))?;
    // A client that dials meanwhile reaches one or the other, never nobody.
    weir_tests::eventually("the server to be left alone", || {
        let mut answers = BTreeSet::new();
        for _ in 0..8 {
            let dialled = mesh.client.dial(vip)?;
            assert!(dialled.connected, "{dialled:?}");
            answers.insert(dialled.received.split(' ').next().unwrap_or_default().to_owned());
        }
        Ok((answers == BTreeSet::from(["other".to_owned()])).then_some(()))
    })?;
    mesh.topology.state().put_all(&pay(&[]))?;
    weir_tests::eventually("the last endpoint to go", || {
        Ok(mesh.client.dial(vip)?.refused_with(Errno::CONNREFUSED).then_some(()))
    })
}

/// Gives a pod outside the mesh the Service's addresses, and the node the way there: as if kube-proxy did.
fn answer_for_the_service(topology: &Topology, pod: &Pod) -> Result<()> {
    let [v4, v6] = pod.addresses();
    let own = format!("ip addr add {} dev lo && ip addr add {} dev lo", VIPS[0], VIPS[1]);
    pod.run(["sh", "-c", &own])?.success()?;
    let route = format!("ip route add {} via {v4} && ip route add {} via {v6}", VIPS[0], VIPS[1]);
    topology.node("a").run(["sh", "-c", &route])?.success().map(drop)
}

#[test]
fn a_service_of_which_no_endpoint_is_in_the_mesh_is_left_to_whoever_serves_it() -> Result<()> {
    let mut mesh = OneNode::with(&[], |[_, server]| {
        let outside = server.manifest().annotation("weir.dev/mesh", "disabled");
        Ok([pay(&[server]), vec![outside]].concat())
    })?;
    let _greeter = mesh.server.serve(Serve::Greet("outside".to_owned()), 80)?;
    answer_for_the_service(&mesh.topology, &mesh.server)?;
    for vip in vips() {
        let dialled = mesh.client.dial(vip)?;
        assert_eq!(dialled.peer, Some(vip), "{dialled:?}");
        assert!(dialled.received.starts_with("outside "), "{dialled:?}");
        let flow = wait(
            &mut mesh.agent,
            &[
                ("direction", "outbound"),
                ("path", "passthrough"),
                ("verdict", "forwarded"),
                ("destination.service", "shop/pay"),
                ("destination.address", &vip.to_string()),
            ],
        )?;
        assert_eq!(bytes(&flow), (0, dialled.received.len() as u64));
        assert_eq!(flow.text("destination.identity"), "");
    }
    Ok(())
}

#[test]
fn endpoints_inside_and_outside_the_mesh_are_all_reached() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let stranger = mesh.topology.node("a").pod("other/stranger")?;
    let _greeters = [serve_name(&mesh.server)?, serve_name(&stranger)?];
    mesh.topology.state().put(&Manifest::namespace("other"))?;
    mesh.topology.state().put(&stranger.manifest())?;
    mesh.topology.state().put_all(&pay(&[&mesh.server, &stranger]))?;
    weir_tests::eventually("the service", || {
        Ok(mesh.client.dial_with(vips()[0], &["--timeout", "200"])?.connected.then_some(()))
    })?;
    for vip in vips() {
        reaches_all(&mesh.client, vip, &["server", "stranger"])?;
    }
    for (pod, path) in [("server", "direct"), ("stranger", "passthrough")] {
        let flow =
            wait(&mut mesh.agent, &[("direction", "outbound"), ("path", path), ("destination.pod", pod)])?;
        assert_eq!(flow.text("destination.service"), "shop/pay", "{flow:?}");
    }
    Ok(())
}
