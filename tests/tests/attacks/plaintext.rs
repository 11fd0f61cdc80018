//! Plaintext and a strict workload: nothing gets through but the node's probes of declared ports.

use anyhow::Result;
use rustix::io::Errno;
use serde_json::json;
use weir_tests::{Topology, python};

use crate::mesh::{Mesh, PORT, SECRET, greets};

#[test]
fn plaintext_to_a_strict_workload_is_refused_at_once_and_recorded() -> Result<()> {
    let mut mesh = Mesh::new("strict", &[])?;
    let nodes = [mesh.a.node().clone(), mesh.b.node().clone()];
    for node in &nodes {
        let mallory = mesh.outsider(node)?;
        for to in [mesh.pay.v4(PORT), mesh.pay.v6(PORT), mesh.pay.v4(PORT + 1)] {
            let dialled = mallory.dial(to)?;
            assert!(dialled.refused_with(Errno::CONNREFUSED), "{to} from {}: {dialled:?}", node.name());
        }
        let from = format!("{}:", mallory.v4(0).ip());
        let flow = mesh.b.wait_flow("the refusal", |flow| {
            flow.is(&[("reason", "plaintext_refused")]) && flow.text("source.address").starts_with(&from)
        })?;
        let wanted = [
            ("direction", "inbound"),
            ("verdict", "denied"),
            ("destination.pod", "pay"),
            ("source.identity", ""),
        ];
        assert!(flow.is(&wanted), "{flow:?}");
    }
    // Cart, who has an identity, is welcome.
    assert!(mesh.cart.dial(mesh.pay.v4(PORT))?.received.starts_with(SECRET));
    Ok(())
}

/// What `weir.dev/mtls: strict` is measured against.
#[test]
fn plaintext_to_a_permissive_workload_is_carried_and_has_no_identity() -> Result<()> {
    let mut mesh = Mesh::new("permissive", &[])?;
    let mallory = mesh.outsider(mesh.a.node())?;
    assert!(mallory.dial(mesh.pay.v4(PORT))?.received.starts_with(SECRET));
    let flow = mesh.b.wait_flow("the passage", |flow| flow.is(&[("path", "passthrough")]))?;
    assert!(flow.is(&[("verdict", "forwarded"), ("source.identity", ""), ("tls.peer", "")]), "{flow:?}");
    Ok(())
}

#[test]
fn the_node_may_probe_a_declared_port_of_a_strict_workload_and_no_other() -> Result<()> {
    let topology = Topology::new()?;
    let pay = topology.node("a").pod("shop/pay")?;
    let probe = json!([{
        "name": "pay", "image": "pay", "ports": [{"name": "health", "containerPort": 8081}],
        "livenessProbe": {"httpGet": {"path": "/", "port": "health"}},
    }]);
    let manifest = pay.manifest().annotation("weir.dev/mtls", "strict").set("/spec/containers", probe);
    topology.state().put_all(&[weir_tests::Manifest::meshed("shop"), manifest])?;
    let _greets = greets(&pay)?;
    let _probed = pay.serve(weir_tests::Serve::Greet("healthy".to_owned()), 8081)?;
    let _agents = topology.agents()?;

    let get = "import socket, sys
try: print(socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).recv(99))
except OSError as error: print(type(error).__name__)";
    let mallory = topology.node("a").pod("outside/mallory")?;
    for address in [pay.v4(0).ip().to_string(), pay.v6(0).ip().to_string()] {
        let node = |node: &str, port: u16| {
            topology.node(node).run(python(get, [address.clone(), port.to_string()]))?.success()
        };
        assert!(node("a", 8081)?.contains("healthy"), "{address}");
        for port in [PORT, 8082] {
            assert_eq!(node("a", port)?, "ConnectionRefusedError\n", "{address} {port}");
        }
        // Another node is no kubelet of this pod, and a pod is no node.
        assert_eq!(node("b", 8081)?, "ConnectionRefusedError\n", "{address} from another node");
        let outsider = mallory.run(python(get, [address.clone(), "8081".to_owned()]))?.success()?;
        assert_eq!(outsider, "ConnectionRefusedError\n", "{address} from a pod");
    }
    Ok(())
}
