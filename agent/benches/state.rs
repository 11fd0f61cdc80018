//! What one pod's change costs in a cluster of 100 000 pods and 10 000 Services.
//!
//! `cargo bench -p weir-agent --bench state`

#![allow(missing_docs, reason = "a program, not a library")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use weir_agent::state::{
    Event, Object, Settings, State,
    input::{Pod, PortSpec, ServiceSpec, TargetPort},
    model::NamespacedName,
};

const PODS: u32 = 100_000;
const SERVICES: u32 = 10_000;
const NAMESPACES: u32 = 100;

fn labels(app: u32) -> BTreeMap<String, String> {
    [("app".into(), format!("app-{app}")), ("part-of".into(), "all".into())].into()
}

fn pod(n: u32) -> Pod {
    let app = n % SERVICES;
    let key = NamespacedName::new(format!("ns-{}", app % NAMESPACES), format!("pod-{n}"));
    Pod {
        uid: format!("uid-{n}").into(),
        kubelet_uid: format!("uid-{n}").into(),
        owner: format!("app-{app}").into(),
        owner_kind: "deployment",
        node: format!("node-{}", n % 1000).into(),
        service_account: format!("app-{app}").into(),
        labels: Arc::new(labels(app)),
        addresses: [IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))].into(),
        host_network: false,
        finished: false,
        ready: true,
        named_ports: BTreeMap::new(),
        probe_ports: vec![],
        settings: Default::default(),
        sliced: false,
        key,
    }
}

fn service(n: u32) -> ServiceSpec {
    ServiceSpec {
        key: NamespacedName::new(format!("ns-{}", n % NAMESPACES), format!("svc-{n}")),
        addresses: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n))],
        ports: vec![PortSpec {
            port: 80,
            name: "".into(),
            app_protocol: None,
            target: TargetPort::Number(8080),
        }],
        selector: labels(n),
        publish_not_ready: false,
    }
}

fn events() -> Vec<Event> {
    let services = (0..SERVICES).map(|n| Object::from(service(n)));
    services.chain((0..PODS).map(|n| Object::from(pod(n)))).map(Event::Apply).collect()
}

fn large() -> State {
    let mut state = State::new(Settings::default());
    state.apply_all(events());
    state
}

fn one_pod(criterion: &mut Criterion) {
    let mut state = large();
    let mut group = criterion.benchmark_group("100k pods");
    let mut published = state.snapshot();

    let mut flip = false;
    group.bench_function("one pod's readiness, and a snapshot", |bencher| {
        bencher.iter(|| {
            flip = !flip;
            let changes = state.apply(Event::Apply(Pod { ready: flip, ..pod(4242) }.into()));
            published = state.snapshot();
            changes
        });
    });
    let mut moved = 0;
    group.bench_function("one pod's address, and a snapshot", |bencher| {
        bencher.iter(|| {
            moved = (moved + 1) % 2;
            let addresses = [IpAddr::V4(Ipv4Addr::from_bits(0x0c00_0000 + moved))].into();
            let changes = state.apply(Event::Apply(Pod { addresses, ..pod(4242) }.into()));
            published = state.snapshot();
            changes
        });
    });
    group.bench_function("one pod gone and back, and two snapshots", |bencher| {
        let key = Object::from(pod(77)).key();
        bencher.iter(|| {
            state.apply(Event::Delete(key.clone()));
            published = state.snapshot();
            state.apply(Event::Apply(pod(77).into()));
            published = state.snapshot();
        });
    });
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + 5));
    group.bench_function("a pod by its address", |bencher| {
        bencher.iter(|| published.workload_by_address(black_box(address)).is_some());
    });
    let workload = published.workload_by_address(address).expect("it is there").clone();
    group.bench_function("a pod's policies, remembered", |bencher| {
        bencher.iter(|| published.applicable(black_box(&workload)));
    });
    group.finish();
}

fn everything(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100k pods");
    group.sample_size(10);
    group.bench_function("all at once", |bencher| {
        let fresh = || (State::new(Settings::default()), events());
        let fill = |(mut state, events): (State, Vec<Event>)| {
            let changes = state.apply_all(events).len();
            (state, changes)
        };
        bencher.iter_batched(fresh, fill, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, one_pod, everything);
criterion_main!(benches);
