//! What the annotations `weir.dev/skip-…` take out of capture.

use anyhow::Result;
use rustix::io::Errno;
use weir_tests::{Manifest, Serve};

use crate::mesh::{OneNode, TwoNodes, wait};

#[test]
fn skipped_outbound_ports_and_networks_leave_as_they_are_and_others_do_not() -> Result<()> {
    let mut mesh = TwoNodes::with(|_, [client, server]| {
        let v6 = format!("{}/128", server.addresses()[1]);
        Ok(vec![
            client
                .manifest()
                .annotation("weir.dev/skip-outbound-ports", "3306, 5432")
                .annotation("weir.dev/skip-outbound-cidrs", &v6),
        ])
    })?;
    let _servers = [3306, 5432, 8080].map(|port| mesh.server.serve(Serve::Echo, port));
    let (by_port, by_network) = ([mesh.server.v4(3306), mesh.server.v4_mapped(5432)], mesh.server.v6(8080));
    for to in by_port.into_iter().chain([by_network]) {
        assert_eq!(mesh.client.ask(to, "as I am")?.received, "as I am");
        let to = if to.port() == 5432 { mesh.server.v4(5432) } else { to };
        let flow = wait(
            &mut mesh.near,
            &[("path", "passthrough"), ("destination.address", &to.to_string()), ("verdict", "forwarded")],
        )?;
        assert_eq!(flow.text("destination.identity"), "", "nobody proved it: {flow:?}");
        // The other end takes plaintext of somebody without an identity.
        let flow =
            wait(&mut mesh.far, &[("direction", "inbound"), ("destination.address", &to.to_string())])?;
        assert_eq!((flow.text("source.pod"), flow.text("source.identity")), ("client", ""), "{flow:?}");
    }
    assert_eq!(mesh.client.ask(mesh.server.v4(8080), "carried")?.received, "carried");
    wait(&mut mesh.near, &[("path", "tunnel"), ("destination.address", &mesh.server.v4(8080).to_string())])?;

    // Taken back: the next connection is carried again.
    mesh.topology.state().put(&mesh.client.manifest())?;
    weir_tests::eventually("a connection that is carried", || {
        mesh.client.ask(mesh.server.v4(3306), "again")?;
        let carried = mesh.near.flows()?.into_iter().any(|flow| {
            flow.is(&[("path", "tunnel"), ("destination.address", &mesh.server.v4(3306).to_string())])
        });
        Ok(carried.then_some(()))
    })
}

#[test]
fn a_skipped_inbound_port_of_a_strict_workload_takes_plaintext_and_others_do_not() -> Result<()> {
    let mut mesh = OneNode::with(&[], |[_, server]| {
        Ok(vec![
            server
                .manifest()
                .annotation("weir.dev/mtls", "strict")
                .annotation("weir.dev/skip-inbound-ports", "9100"),
        ])
    })?;
    let stranger = mesh.topology.node("a").pod("other/stranger")?;
    let _servers = [9100, 8080].map(|port| mesh.server.serve(Serve::Echo, port));
    for to in [mesh.server.v4(9100), mesh.server.v6(9100)] {
        assert_eq!(stranger.ask(to, "scrape")?.received, "scrape");
        wait(
            &mut mesh.agent,
            &[
                ("direction", "inbound"),
                ("path", "passthrough"),
                ("verdict", "forwarded"),
                ("destination.address", &to.to_string()),
            ],
        )?;
    }
    assert!(stranger.ask(mesh.server.v4(8080), "scrape")?.refused_with(Errno::CONNREFUSED));
    // Those in the mesh reach it as they reach any port.
    assert_eq!(mesh.client.ask(mesh.server.v4(9100), "friend")?.received, "friend");
    wait(&mut mesh.agent, &[("path", "direct"), ("destination.address", &mesh.server.v4(9100).to_string())])?;
    Ok(())
}

#[test]
fn a_namespace_s_skipped_ports_are_those_of_its_pods() -> Result<()> {
    let mut mesh = TwoNodes::with(|_, _| {
        Ok(vec![Manifest::meshed("shop").annotation("weir.dev/skip-outbound-ports", "3306")])
    })?;
    let _database = mesh.server.serve(Serve::Echo, 3306)?;
    assert_eq!(mesh.client.ask(mesh.server.v4(3306), "select 1")?.received, "select 1");
    wait(&mut mesh.near, &[("path", "passthrough"), ("source.pod", "client")])?;
    Ok(())
}
