//! State is a function of the objects in force: the order of events and detours do not show.

use proptest::{prelude::*, sample::subsequence};

use super::cluster::{
    Cluster, authentication, endpoint, grant, grpc_route, http_route, ip, named, namespace, node, pod,
    policy, service, slice, unready,
};
use crate::state::{Event, Object, Settings, Snapshot, State};

/// Objects that touch each other in every way: shared addresses, selectors, slices, namespaces. Several
/// have one name: the later of two in a history is the one in force.
fn objects() -> Vec<Object> {
    let enabled = &[("weir.dev/mesh", "enabled")];
    let pay = &[("app", "pay")];
    let mut eager = service("a/eager", "10.96.0.3").selecting(&[("app", "pay"), ("x", "y")]);
    eager.publish_not_ready = true;
    vec![
        namespace("a", enabled).into(),
        namespace("a", &[("weir.dev/mtls", "strict")]).into(),
        namespace("b", &[]).into(),
        node("n", "192.168.0.1").into(),
        node("n", "192.168.0.2").into(),
        pod("a/p", &["10.0.0.1"]).labelled(pay).into(),
        pod("a/p", &["10.0.0.2", "fd00::2"]).labelled(&[("app", "pay"), ("x", "y")]).into(),
        pod("a/p", &["10.0.0.1"]).labelled(pay).with(|pod| pod.finished = true).into(),
        pod("a/q", &["10.0.0.1"]).labelled(pay).with(|pod| pod.ready = false).into(),
        pod("a/h", &["192.168.0.1"]).labelled(pay).with(|pod| pod.host_network = true).into(),
        pod("b/p", &["10.0.0.2"]).labelled(pay).annotated(enabled).into(),
        service("a/pay", "10.96.0.1").selecting(pay).into(),
        service("a/pay", "10.96.0.2").into(),
        service("b/pay", "10.96.0.2").selecting(pay).into(),
        eager.into(),
        slice("a/pay-1", "pay", vec![endpoint("10.0.0.1", "a/p"), endpoint("10.0.0.2", "")]).into(),
        slice("a/pay-1", "eager", vec![unready("10.0.0.1", "a/q"), endpoint("10.0.0.2", "b/p")]).into(),
        slice("a/pay-2", "pay", vec![endpoint("10.0.0.9", "a/gone"), unready("10.0.0.2", "a/p")]).into(),
        slice("b/pay-1", "pay", vec![endpoint("10.0.0.1", "")]).into(),
        http_route("a/r", "a/pay").into(),
        http_route("a/r", "b/pay").into(),
        http_route("b/r", "b/pay").into(),
        grpc_route("a/g", "a/eager").into(),
        grant("b/g").into(),
        policy("a/x").into(),
        policy("weir-system/y").into(),
        authentication("a/u", "one").into(),
        authentication("a/u", "two").into(),
        authentication("weir-system/u", "two").into(),
    ]
}

/// Everything that a reader can learn from a snapshot, but for its generations.
fn readable(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for workload in snapshot.workloads() {
        let policies = snapshot.applicable(workload);
        let authentication = snapshot.authentication(workload);
        let sources: Vec<_> = authentication.sources().map(|source| source.id()).collect();
        text += &format!("{workload:?} {policies:?} {sources:?}\n");
    }
    for item in snapshot.services() {
        text += &format!("{item:?}\n");
    }
    for item in snapshot.nodes() {
        text += &format!("{item:?} {:?}\n", snapshot.node_addresses(&item.name));
    }
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.9", "fd00::2", "192.168.0.1", "10.96.0.1", "10.96.0.2"] {
        let workload = snapshot.workload_by_address(ip(address)).map(|workload| &workload.key);
        let service = snapshot.service_by_address(ip(address), 80).map(|(service, _)| &service.key);
        text += &format!("{address} {workload:?} {service:?} {}\n", snapshot.is_service_address(ip(address)));
    }
    for node in ["node-a", "n"] {
        let keys: Vec<_> = snapshot.workloads_on_node(node).map(|workload| &workload.key).collect();
        text += &format!("{node} {keys:?}\n");
    }
    for status in snapshot.route_statuses() {
        text += &format!("{status:?}\n");
    }
    for client in ["a", "b", "c"] {
        let routes = snapshot.routes(client, &named("a/pay"), 80);
        let rules: Option<Vec<_>> = routes.map(|routes| routes.rules().collect());
        text += &format!("{client} {:?} {rules:?}\n", routes.map(|routes| routes.kind));
    }
    let policies: Vec<_> = snapshot.policies().iter().collect();
    let authentications: Vec<_> = snapshot.authentications().iter().collect();
    text + &format!("{:?} {policies:?} {authentications:?}", snapshot.conflicts())
}

/// An order in which to give a choice of the objects, of which some are taken away again.
fn history() -> impl Strategy<Value = Vec<(Object, bool)>> {
    let objects = objects();
    let many = objects.len();
    subsequence([objects.clone(), objects].concat(), 0..=2 * many).prop_shuffle().prop_flat_map(|objects| {
        let kept = prop::collection::vec(prop::bool::weighted(0.8), objects.len());
        kept.prop_map(move |kept| objects.iter().cloned().zip(kept).collect())
    })
}

fn event((object, keep): &(Object, bool)) -> Event {
    if *keep { Event::Apply(object.clone()) } else { Event::Delete(object.key()) }
}

/// The last word of the history on each object.
fn in_force(history: &[(Object, bool)]) -> Vec<Object> {
    let mut last = std::collections::BTreeMap::new();
    for (object, keep) in history {
        last.insert(object.key(), Some(object.clone()).filter(|_| *keep));
    }
    last.into_values().flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_history_leaves_what_its_last_objects_alone_make(history in history()) {
        let mut lived = Cluster::new();
        for step in &history {
            lived.0.apply(event(step));
            // Caches must not outlive what they were filled from.
            readable(&lived.snapshot());
        }
        let mut fresh = State::new(Settings::default());
        fresh.apply_all(in_force(&history).into_iter().map(Event::Apply));
        prop_assert_eq!(readable(&lived.snapshot()), readable(&fresh.snapshot()));
    }

    #[test]
    fn the_order_of_independent_objects_does_not_matter(
        order in Just(in_force(&objects().into_iter().map(|o| (o, true)).collect::<Vec<_>>())).prop_shuffle()
    ) {
        let (mut one, mut other) = (Cluster::new(), Cluster::new());
        for object in &order {
            one.put(object.clone());
        }
        let mut sorted = order;
        sorted.sort_by_key(Object::key);
        other.0.apply_all(sorted.into_iter().map(Event::Apply));
        prop_assert_eq!(readable(&one.snapshot()), readable(&other.snapshot()));
    }

    #[test]
    fn when_everything_is_deleted_nothing_is_left(history in history()) {
        let mut lived = Cluster::new();
        lived.0.apply_all(history.iter().map(event));
        for object in objects() {
            lived.0.apply(Event::Delete(object.key()));
        }
        prop_assert_eq!(readable(&lived.snapshot()), readable(&Cluster::new().snapshot()));
        prop_assert!(lived.0.is_empty(), "{:?}", lived.0);
    }

    #[test]
    fn every_reader_that_must_look_again_is_told(history in history()) {
        let mut lived = Cluster::new();
        for step in &history {
            let before = lived.snapshot();
            let changes = lived.0.apply(event(step));
            let after = lived.snapshot();
            prop_assert_eq!(changes.is_empty(), readable(&before) == readable(&after));
            prop_assert_eq!(after.generation > before.generation, !changes.is_empty());
        }
    }
}

#[test]
fn a_pod_before_its_namespace_and_a_slice_before_its_service_arrive_at_the_same() {
    let mut cluster = Cluster::new();
    cluster.put(slice("a/pay-1", "pay", vec![endpoint("10.0.0.1", "a/p")]));
    cluster.put(pod("a/p", &["10.0.0.1"]));
    cluster.put(service("a/pay", "10.96.0.1"));
    cluster.put(namespace("a", &[("weir.dev/mesh", "enabled")]));
    let workload = cluster.workload("a/p");
    assert!(workload.enrolled);
    assert_eq!(*workload.services, ["pay".into()]);
    assert_eq!(cluster.endpoints("a/pay"), ["10.0.0.1:8080"]);
    assert!(cluster.snapshot().workload(&named("a/p")).is_some());
}
