//! Pods that are known from WorkloadSlices, beside those that are told themselves.

use std::sync::Arc;

use super::cluster::{Cluster, named, namespace, pod, workload_changed};
use crate::state::{
    Kind,
    input::{Pod, WorkloadSlice},
};

fn slice(name: &str, pods: &[Pod]) -> WorkloadSlice {
    let pods = pods.iter().map(|pod| Arc::new(Pod { sliced: true, ..pod.clone() })).collect();
    WorkloadSlice { key: named(&format!("weir-system/{name}")), complete: false, pods }
}

#[test]
fn a_pod_of_a_slice_is_a_workload_like_any_other() {
    let mut cluster = Cluster::new();
    cluster.put(namespace("shop", &[("weir.dev/mesh", "enabled")]));
    let pods = [pod("shop/a", &["10.0.0.1"]), pod("shop/b", &["10.0.0.2"])];
    assert_eq!(cluster.put(slice("s", &pods)), [workload_changed("shop/a"), workload_changed("shop/b")]);
    assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/a"));
    assert!(cluster.snapshot().workload(&named("shop/b")).expect("known").enrolled);
    // Told anew, the same changes nothing; and what has gone from it is gone.
    assert_eq!(cluster.put(slice("s", &pods)), []);
    assert_eq!(cluster.put(slice("s", &pods[..1])), [workload_changed("shop/b")]);
    assert_eq!(cluster.at("10.0.0.2"), None);
    cluster.delete(Kind::WorkloadSlice, "weir-system/s");
    assert_eq!(cluster.at("10.0.0.1"), None);
}

#[test]
fn what_is_told_of_a_pod_itself_counts_more_whichever_comes_first() {
    let (told, said) = (pod("shop/db-0", &["10.0.0.1"]), pod("shop/db-0", &["10.0.0.9"]));
    for told_first in [true, false] {
        let mut cluster = Cluster::new();
        if told_first {
            cluster.put(told.clone());
            assert_eq!(cluster.put(slice("s", std::slice::from_ref(&said))), []);
        } else {
            cluster.put(slice("s", std::slice::from_ref(&said)));
            cluster.put(told.clone());
        }
        assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/db-0"), "{told_first}");
        assert_eq!(cluster.at("10.0.0.9"), None);
        // Gone from here, it is where the slice says.
        cluster.delete(Kind::Pod, "shop/db-0");
        assert_eq!(cluster.at("10.0.0.9").as_deref(), Some("shop/db-0"));
        cluster.put(slice("s", &[]));
        assert_eq!(cluster.at("10.0.0.9"), None);
    }
}

#[test]
fn a_pod_that_moves_between_slices_is_somewhere_all_the_time() {
    let moving = pod("shop/a", &["10.0.0.1"]);
    for (from, to) in [("s", "t"), ("t", "s")] {
        let mut cluster = Cluster::new();
        cluster.put(slice(from, std::slice::from_ref(&moving)));
        cluster.put(slice(to, std::slice::from_ref(&moving)));
        assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/a"));
        cluster.delete(Kind::WorkloadSlice, &format!("weir-system/{from}"));
        assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/a"), "from {from} to {to}");
        cluster.delete(Kind::WorkloadSlice, &format!("weir-system/{to}"));
        assert!(cluster.at("10.0.0.1").is_none());
    }
}
