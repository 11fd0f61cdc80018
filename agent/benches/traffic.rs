//! What it costs to choose an endpoint and to learn from the answer.
//!
//! The cost must not grow with the endpoints.

use std::{hint::black_box, net::SocketAddr, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_agent::{
    addr::EndpointAddr,
    policy::PolicyKey,
    traffic::{
        Balancer, Endpoint, Limiter, Moment, Outcome, PickContext, Proximity, Random, Rate, RateLimits,
        Shared, SourceKey, Traffic, TrafficPolicy,
    },
};

const ENDPOINTS: [u32; 2] = [10, 1_000];

fn endpoints(count: u32) -> Vec<Endpoint> {
    let address = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        EndpointAddr::new(SocketAddr::from(([10, 0, high, low], 80)))
    };
    (0..count).map(|number| Endpoint { address: address(number), proximity: Proximity::Elsewhere }).collect()
}

fn traffic(spec: serde_json::Value) -> Arc<Traffic> {
    let mut whole = serde_json::json!({"targetRefs": [{"kind": "Service", "name": "pay"}]});
    whole["outlier"] = serde_json::json!({"consecutive5xx": 5});
    whole["loadBalancer"] = spec;
    TrafficPolicy::parse(PolicyKey::new("shop", "p"), None, whole).expect("a right policy").traffic().clone()
}

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("traffic");
    for (name, spec) in [
        ("least latency", serde_json::json!({"type": "leastLatency"})),
        ("round robin", serde_json::json!({"type": "roundRobin"})),
        ("consistent hash", serde_json::json!({"type": "consistentHash", "hash": {"on": "source"}})),
    ] {
        for count in ENDPOINTS {
            let (traffic, mut random) = (traffic(spec.clone()), Random::seeded(1));
            let mut now = Moment::at(Duration::from_secs(1));
            let shared = Shared::new(&traffic);
            let balancer = Balancer::new(&endpoints(count), traffic, shared, now, &mut random);
            group.bench_function(BenchmarkId::new(format!("pick and finish, {name}"), count), |bencher| {
                bencher.iter(|| {
                    now = now.after(Duration::from_micros(10));
                    let hash = Some(random.bits());
                    let context = PickContext { now, random: &mut random, hash, tried: &[] };
                    let picked = balancer.pick(black_box(context)).expect("an endpoint");
                    picked.finished(now.after(Duration::from_millis(1)), Outcome::Status(200));
                });
            });
        }
    }
    group.finish();
}

fn limits(criterion: &mut Criterion) {
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let limits = RateLimits { workload: Some(rate), source: Some(rate) };
    let limiter = Limiter::new(limits).expect("a limit");
    let sources: Vec<SourceKey> =
        (0..1000u32).map(|number| SourceKey::Address(number.to_be_bytes().into())).collect();
    let (mut now, mut turn) = (Moment::at(Duration::from_secs(1)), 0);
    criterion.bench_function("traffic/rate limits of workload and source", |bencher| {
        bencher.iter(|| {
            now = now.after(Duration::from_micros(10));
            turn = (turn + 1) % sources.len();
            limiter.check(now, black_box(&sources[turn]))
        });
    });
}

criterion_group!(benches, picks, limits);
criterion_main!(benches);
