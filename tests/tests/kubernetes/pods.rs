//! Pods that come by other ways than the API server: static pods, and sandboxes that are made anew in place.

use anyhow::Result;
use serde_json::json;
use weir_tests::{CLUSTER_LIMIT, eventually_within};

use crate::shop::{Shop, pod};

#[test]
fn a_static_pod_is_captured_when_its_namespace_is_enrolled_and_so_is_its_successor() -> Result<()> {
    let shop = Shop::meshed()?;
    let node = &shop.cluster.nodes()[1];
    for (round, text) in [(1, "one"), (2, "two")] {
        let script = format!("mkdir -p /www; echo {text} > /www/index.html; exec httpd -f -p 8080 -h /www");
        let mut manifest = pod("static", "node-2", &script).remove(1);
        // Nobody can give it another account than this one, which its kubelet knows nothing of.
        manifest["spec"] = json!({
            "terminationGracePeriodSeconds": 0, "containers": manifest["spec"]["containers"],
        });
        node.run_static("static", &manifest)?;
        // Its kubelet gives it the node's name.
        let name = "static-node-2";
        eventually_within(CLUSTER_LIMIT, &format!("an answer of round {round}'s"), || {
            Ok(shop.ask(name).is_ok_and(|said| said.trim() == text).then_some(()))
        })?;
        shop.agents[1].wait_captured(&["far", name])?;
        eventually_within(CLUSTER_LIMIT, "it to be asked through the tunnel", || {
            assert_eq!(shop.ask(name)?.trim(), text);
            let address = shop.address(name)? + ":8080";
            let flows = shop.agents[1].weir(["flows", "--last", "1000", "-o", "json"])?.success()?;
            Ok(flows.lines().any(|flow| flow.contains(&address) && flow.contains("sa/cart")).then_some(()))
        })?;
    }
    Ok(())
}
