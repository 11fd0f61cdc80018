//! What a policy decision costs, of a connection and of a request, with many policies that select other
//! workloads of the namespace.
//!
//! The cost must not grow with them.

use std::{borrow::Cow, collections::BTreeMap, hint::black_box, net::IpAddr, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_agent::{
    identity::{Identity, TrustDomain},
    policy::{
        HttpRequest, Policy, PolicyIndex, PolicyKey, Request, Source, SourceAddress, Target, User, normalise,
    },
};

/// How many policies select other workloads.
const OTHERS: [usize; 3] = [10, 1_000, 100_000];

fn policy(namespace: &str, name: &str, spec: serde_json::Value) -> Arc<Policy> {
    Arc::new(Policy::parse(PolicyKey::new(namespace, name), spec).expect("a right policy"))
}

/// `others` policies that select other workloads, and one of each tier that selects `app=pay`.
fn index(others: usize) -> PolicyIndex {
    let callers =
        serde_json::json!([{"from": [{"namespaces": ["shop"]}], "to": [{"ports": [8080, "9000-9010"]}]}]);
    let mut index = PolicyIndex::default();
    for n in 0..others {
        // All share a label with the workload that is asked about.
        let selector = serde_json::json!({"matchLabels": {"app": format!("x-{n}"), "env": "prod"}});
        let spec = serde_json::json!({"selector": selector, "rules": callers});
        index.insert(policy("shop", &format!("other-{n}"), spec));
    }
    let pay = serde_json::json!({"matchLabels": {"app": "pay"}});
    index.insert(policy("shop", "pay", serde_json::json!({"selector": pay, "rules": callers})));
    index.insert(policy("shop", "wide", serde_json::json!({"tier": "security", "rules": callers})));
    let deny = serde_json::json!({"tier": "platform", "action": "deny",
        "rules": [{"from": [{"namespaces": ["test"]}]}]});
    index.insert(policy("weir-system", "base", deny));
    index
}

fn decisions(criterion: &mut Criterion) {
    let identity = Identity::new(&TrustDomain::default(), "shop", "cart").expect("an identity");
    let address = SourceAddress::Address(IpAddr::from([10, 244, 1, 2]));
    let source = Source { identity: Some(&identity), address };
    let request = Request { source, port: 8080, http: None };
    let label = |name: &str, value: &str| (name.to_string(), value.to_string());
    let labels = BTreeMap::from([label("app", "pay"), label("env", "prod")]);
    let target = Target { namespace: "shop", labels: &labels, services: &["pay".into()] };

    let mut group = criterion.benchmark_group("policy");
    for others in OTHERS {
        let index = index(others);
        let applicable = index.select(&target);
        assert_eq!(applicable.policies().len(), 3);
        assert!(applicable.decide(&request).allowed);
        group.bench_function(BenchmarkId::new("select and decide", others), |bencher| {
            bencher.iter(|| index.select(black_box(&target)).decide(black_box(&request)));
        });
        group.bench_function(BenchmarkId::new("decide", others), |bencher| {
            bencher.iter(|| applicable.decide(black_box(&request)));
        });
        let changed = policy("shop", "changed", serde_json::json!({"rules": [{}]}));
        group.bench_function(BenchmarkId::new("clone and change", others), |bencher| {
            bencher.iter(|| black_box(&index).with_policy(changed.clone()));
        });
    }
    group.finish();
}

/// `others` policies for other workloads, and those of `app=pay`: who may read and write what, and that
/// only admins administrate.
fn layer7_index(others: usize) -> PolicyIndex {
    let mut index = PolicyIndex::default();
    for n in 0..others {
        let selector = serde_json::json!({"matchLabels": {"app": format!("x-{n}"), "env": "prod"}});
        let rules = serde_json::json!([{"to": [{"methods": ["GET"], "paths": [format!("/v1/x-{n}/*")]}]}]);
        let spec = serde_json::json!({"selector": selector, "rules": rules});
        index.insert(policy("shop", &format!("other-{n}"), spec));
    }
    let pay = serde_json::json!({"matchLabels": {"app": "pay"}});
    let rules = serde_json::json!([
        {"to": [{"methods": ["GET", "HEAD"], "paths": ["/healthz", "*.css"]}]},
        {"from": [{"namespaces": ["shop"]}], "to": [{"ports": [8080], "methods": ["POST"],
            "paths": ["/v1/pay", "/v1/pay/*"], "hosts": ["*.shop"],
            "headers": [{"name": "x-env", "values": ["prod"]}]}]},
    ]);
    index.insert(policy("shop", "pay", serde_json::json!({"selector": pay, "rules": rules})));
    let admin = serde_json::json!([{"to": [{"paths": ["/admin", "/admin/*", "*/admin"]}]}]);
    let deny = serde_json::json!({"tier": "security", "action": "deny", "rules": admin});
    index.insert(policy("weir-system", "no-admin", deny));
    let user = serde_json::json!([{"when": {"user": {"issuers": ["https://id.shop"],
        "claims": {"groups": ["payers", "admins"]}}}}]);
    index.insert(policy("shop", "users", serde_json::json!({"tier": "platform", "rules": user})));
    index
}

/// A request whose head is of usual size; every part of layer 7 is asked about.
fn requests(criterion: &mut Criterion) {
    let identity = Identity::new(&TrustDomain::default(), "shop", "cart").expect("an identity");
    let address = SourceAddress::Address(IpAddr::from([10, 244, 1, 2]));
    let source = Source { identity: Some(&identity), address };
    let user = User {
        issuer: "https://id.shop".into(),
        subject: "ann".into(),
        claims: BTreeMap::from([("groups".into(), vec!["dev".into(), "payers".into()])]),
        ..User::default()
    };
    let headers = ["accept", "user-agent", "content-type", "content-length", "traceparent", "cookie"]
        .map(|name| (Cow::from(name), Cow::from("a value of some length")));
    let headers: Vec<_> = headers.into_iter().chain([(Cow::from("x-env"), Cow::from("prod"))]).collect();
    let http = HttpRequest {
        method: "POST",
        path: Ok("/v1/pay/orders/4711/items"),
        host: "pay.shop",
        headers: &headers,
        user: Some(&user),
    };
    let request = Request { source, port: 8080, http: Some(&http) };
    let label = |name: &str, value: &str| (name.to_string(), value.to_string());
    let labels = BTreeMap::from([label("app", "pay"), label("env", "prod")]);
    let target = Target { namespace: "shop", labels: &labels, services: &["pay".into()] };

    let mut group = criterion.benchmark_group("policy, layer 7");
    for others in OTHERS {
        let index = layer7_index(others);
        let applicable = index.select(&target);
        assert_eq!(applicable.policies().len(), 3);
        assert!(applicable.decide(&request).allowed);
        group.bench_function(BenchmarkId::new("select and decide", others), |bencher| {
            bencher.iter(|| index.select(black_box(&target)).decide(black_box(&request)));
        });
        group.bench_function(BenchmarkId::new("decide", others), |bencher| {
            bencher.iter(|| applicable.decide(black_box(&request)));
        });
        group.bench_function(BenchmarkId::new("decide connection", others), |bencher| {
            bencher.iter(|| applicable.decide_connection(black_box(source), black_box(8080)));
        });
    }
    for (name, path) in
        [("normal", "/v1/pay/orders/4711/items"), ("spelled", "/v1/./x/%2e%2E//pay/orders/%34711/items")]
    {
        group.bench_function(BenchmarkId::new("normalise", name), |bencher| {
            bencher.iter(|| normalise(black_box(path.as_bytes())));
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, requests);
criterion_main!(benches);
