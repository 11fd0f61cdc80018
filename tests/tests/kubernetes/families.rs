//! A cluster whose pods and Services have addresses of both families.

use anyhow::Result;
use serde_json::json;
use weir_tests::{CLUSTER_LIMIT, Cluster, eventually_within};

use crate::shop::Shop;

#[test]
fn a_service_of_both_families_is_reached_by_each_with_an_identity() -> Result<()> {
    let shop = Shop::on(Cluster::dual_stack()?)?;
    shop.apply(&[json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "far"},
        "spec": {
            "ipFamilyPolicy": "RequireDualStack", "selector": {"app": "far"}, "ports": [{"port": 80, "targetPort": 8080}],
        },
    })])?;
    shop.annotate("namespace/shop", "weir.dev/mesh=enabled")?;
    shop.wait_captured()?;
    let lists = [("pod", ".status.podIPs[*].ip", 8080), ("service", ".spec.clusterIPs[*]", 80)];
    let mut pods = Vec::new();
    for (kind, path, port) in lists {
        let listed = shop.kubectl(["get", kind, "far", &format!("-o=jsonpath={{{path}}}")])?;
        let addresses: Vec<String> = listed.split(' ').map(bracketed).collect();
        assert_eq!(addresses.len(), 2, "{kind} has {addresses:?}");
        assert!(addresses[1].starts_with('['), "{kind} has {addresses:?}");
        if kind == "pod" {
            pods.clone_from(&addresses);
        }
        for (address, pod) in addresses.iter().zip(&pods) {
            let before = met(&shop, pod)?;
            let url = format!("http://{address}:{port}/");
            let said = eventually_within(CLUSTER_LIMIT, &format!("an answer at {url}"), || {
                Ok(shop.cluster.exec("shop/cart", ["wget", "-qO-", &url]).ok())
            })?;
            assert_eq!(said, "far\n");
            // By the family that was asked for, and by no other.
            eventually_within(CLUSTER_LIMIT, &format!("a record of {kind} at {pod}"), || {
                Ok((met(&shop, pod)? > before).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// How often cart has been met through the tunnel at this address of far's.
fn met(shop: &Shop, address: &str) -> Result<usize> {
    let address = format!("{address}:8080");
    let is_one = [
        ("path", "tunnel"),
        ("verdict", "forwarded"),
        ("source.identity", "spiffe://cluster.local/ns/shop/sa/cart"),
        ("destination.identity", "spiffe://cluster.local/ns/shop/sa/far"),
        ("destination.address", &address),
    ];
    Ok(shop.agents[1].flows()?.iter().filter(|flow| flow.is(&is_one)).count())
}

/// An address as it stands in a URL.
fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
