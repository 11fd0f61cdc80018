//! A namespace enters the mesh and leaves it while its pods talk, and nobody notices.

use anyhow::{Context, Result, ensure};
use weir_tests::{CLUSTER_LIMIT, KubeNode, eventually_within};

use crate::shop::Shop;

#[test]
fn no_request_fails_while_a_namespace_enters_the_mesh_and_leaves_it_and_then_nothing_of_ours_is_there()
-> Result<()> {
    let shop = Shop::new()?;
    let far = shop.address("far")?;
    let before = what_listens(&shop)?;
    let traffic = shop.traffic()?;
    // A connection from before, and one of each round, which goes on when no more are made like it.
    let mut held = vec![Held::open(&shop, "before")?];

    let [client, server] = &shop.agents[..] else { anyhow::bail!("two agents") };
    // At first each hears of it late when that is worse: the server's node on the way in, and the client's on the way out.
    // It has to be at first, since later somebody may still listen from the last time.
    for late in [true, false] {
        shop.annotate_while(late.then_some(server), "weir.dev/mesh=enabled", || {
            client.wait_captured(&["cart", "near"])
        })?;
        shop.wait_captured()?;
        traffic.goes_on()?;
        shop.wait_met(&far)?;
        held.push(Held::open(&shop, &format!("late-{late}"))?);
        shop.annotate_while(late.then_some(client), "weir.dev/mesh-", || server.wait_captured(&[]))?;
        shop.agents.iter().try_for_each(|agent| agent.wait_captured(&[]))?;
        traffic.goes_on()?;
        let (worked, failed) = traffic.so_far()?;
        ensure!(
            failed.is_empty(),
            "late: {late}, beside {worked} that worked: {failed:?}: {}",
            shop.troubles()?
        );
    }

    eventually_within(CLUSTER_LIMIT, "nobody of ours to listen in the pods", || {
        Ok((what_listens(&shop)? == before).then_some(()))
    })?;
    held.iter().try_for_each(|held| held.goes_on(&shop))?;
    assert_ne!(shop.carried()?, 0.0, "what was held was not carried");
    Held::end(&shop)?;
    eventually_within(CLUSTER_LIMIT, "nothing to be carried", || Ok((shop.carried()? == 0.0).then_some(())))?;
    for (agent, node) in shop.agents.iter().zip(shop.cluster.nodes()) {
        let pins = node.run(["sh", "-c", "ls /sys/fs/bpf/weir/v*/pods"])?.success()?;
        assert_eq!(pins, "", "programs are in namespaces of {}", node.name());
        for map in ["WORKLOADS", "ENDPOINTS", "VERDICTS"] {
            let entries = agent.metric("weir_map_entries", &[("map", map)])?;
            assert_eq!(entries, Some(0.0), "{map} on {}", node.name());
        }
    }
    // Whoever talks now is seen by nobody.
    let seen = || -> Result<Vec<f64>> {
        let all = shop.agents.iter().map(|agent| Ok(agent.metric("weir_flows_total", &[])?.unwrap_or(0.0)));
        all.collect()
    };
    let flows = seen()?;
    traffic.goes_on()?;
    assert_eq!(seen()?, flows);
    let (worked, failed) = traffic.stop()?;
    println!("{worked} requests worked");
    assert_eq!(failed, Vec::<String>::new());
    Ok(())
}

/// A connection of cart's to far, by which something goes there and back again and again.
struct Held(String);

impl Held {
    fn open(shop: &Shop, name: &str) -> Result<Self> {
        // What stays when the exec ends must hold none of its pipes.
        let script = format!(
            "rm -f /tmp/end-held; {{ while [ ! -e /tmp/end-held ]; do echo {name}; sleep 0.1; done \
             | nc {} 7 >/tmp/held.{name}; }} >/dev/null 2>&1 </dev/null &",
            shop.address("far")?
        );
        shop.cluster.exec("shop/cart", ["sh", "-c", &script])?;
        let held = Self(name.into());
        held.goes_on(shop)?;
        Ok(held)
    }

    fn goes_on(&self, shop: &Shop) -> Result<()> {
        let file = format!("/tmp/held.{}", self.0);
        let so_far =
            || Ok::<_, anyhow::Error>(shop.cluster.exec("shop/cart", ["cat", &file])?.lines().count());
        let before = so_far()?;
        eventually_within(CLUSTER_LIMIT, &format!("more by the connection {}", self.0), || {
            Ok((so_far()? > before).then_some(()))
        })
    }

    fn end(shop: &Shop) -> Result<()> {
        shop.cluster.exec("shop/cart", ["sh", "-c", ": > /tmp/end-held"]).map(drop)
    }
}

/// The ports at which somebody listens in each pod.
fn what_listens(shop: &Shop) -> Result<Vec<String>> {
    let [first, second] = shop.cluster.nodes() else { anyhow::bail!("two nodes") };
    let at = |node: &KubeNode, pod: &str| -> Result<String> {
        let address = shop.address(pod)?;
        let script = "for it in /run/netns/cni-*; do \
            nsenter --net=$it ip -o addr | grep -q \" $0/\" && nsenter --net=$it ss -Hltn; done; true";
        node.run(["sh", "-c", script, &address])?.success().context("sockets")
    };
    Ok(vec![at(first, "cart")?, at(first, "near")?, at(second, "far")?])
}
