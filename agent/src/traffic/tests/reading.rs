//! What a spec means, and what of it is refused.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{parse, traffic};
use crate::{
    policy::PolicyKey,
    traffic::{
        Algorithm, BreakerLimits, HashOn, Locality, Outcome, Percent, Rate, RateLimits, Retry, Traffic,
        TrafficPolicy,
    },
};

#[test]
fn every_field_is_read() {
    let all = traffic(json!({
        "retry": {"attempts": 3, "perTryTimeout": "1s500ms", "backoff": {"base": "10ms", "max": "2s"},
            "retryOn": [503, "reset", "5xx"], "onGrpc": ["UNAVAILABLE"], "methods": ["POST"], "maxBodyBytes": 1024,
            "budget": {"percent": 10, "minPerSecond": 3, "ttl": "5s"}},
        "circuitBreaker": {"maxConnections": 100, "maxPending": 0, "maxRequests": 1000},
        "outlier": {"consecutive5xx": 7, "successRate": {"deviations": 2.5, "minRequests": 50, "minEndpoints": 9},
            "interval": "5s", "baseEjection": "10s", "maxEjection": "1m", "maxEjectedPercent": 30},
        "loadBalancer": {"type": "roundRobin", "locality": {"prefer": ["node", "zone"], "minHealthyPercent": 60}},
        "rateLimits": [{"perSecond": 100, "burst": 200}, {"perSecond": 10, "by": "source"}],
        "fault": {"delay": {"percent": 0.5, "time": "2s"}, "abort": {"percent": 100, "status": 418}},
    }));
    let retry = all.retry.as_ref().expect("retries");
    assert_eq!((retry.attempts, retry.per_try_timeout), (3, Some(Duration::from_millis(1500))));
    assert_eq!((retry.backoff.base, retry.backoff.max), (Duration::from_millis(10), Duration::from_secs(2)));
    assert!(
        retry.on.has(Outcome::Status(599)) && retry.on.has(Outcome::Reset) && !retry.on.has(Outcome::Connect)
    );
    assert!(retry.on_grpc.has(14) && !retry.on_grpc.has(13));
    assert_eq!((&retry.methods[..], retry.max_body), (&["POST".into()][..], 1024));
    assert_eq!((retry.budget.share, retry.budget.min_per_second), (Percent::of_hundred(10), 3));
    assert_eq!(retry.budget.ttl, Duration::from_secs(5));
    assert_eq!(all.breaker, BreakerLimits { connections: Some(100), pending: Some(0), requests: Some(1000) });
    let outlier = all.outlier.expect("ejection");
    assert_eq!((outlier.consecutive, outlier.interval), (Some(7), Duration::from_secs(5)));
    assert_eq!(
        (outlier.base_ejection, outlier.max_ejection),
        (Duration::from_secs(10), Duration::from_secs(60))
    );
    assert_eq!(outlier.max_ejected, Percent::of_hundred(30));
    let rates = outlier.success_rate.expect("compared");
    assert_eq!((rates.deviations, rates.min_requests, rates.min_endpoints), (2.5, 50, 9));
    assert_eq!(all.balancing.algorithm, Algorithm::RoundRobin);
    let locality = Locality { node: true, zone: true, min_healthy: Percent::of_hundred(60) };
    assert_eq!(all.balancing.locality, Some(locality));
    let [workload, source] =
        [(100, 200), (10, 10)].map(|(per_second, burst)| Some(Rate { per_second, burst }));
    assert_eq!(all.rate_limits, RateLimits { workload, source });
    assert_eq!(all.fault.delay, Some((Percent::from_millionths(5_000), Duration::from_secs(2))));
    assert_eq!(all.fault.abort, Some((Percent::ALL, 418)));
    assert_eq!(all.policy, Some(PolicyKey::new("shop", "p")));
}

#[test]
fn what_is_absent_is_as_documented() {
    assert_eq!(traffic(json!({"retry": {}})).retry, Some(Retry::default()));
    let traffic = traffic(json!({"outlier": {}, "loadBalancer": {"type": "consistentHash",
        "hash": {"by": "header", "name": "X-User"}}, "fault": {"abort": {"percent": 1}}}));
    let outlier = traffic.outlier.expect("ejection");
    assert_eq!((outlier.consecutive, outlier.success_rate), (Some(5), None));
    assert_eq!(outlier.max_ejected, Percent::of_hundred(50));
    assert_eq!(traffic.balancing.algorithm, Algorithm::ConsistentHash(HashOn::Header("x-user".into())));
    assert_eq!(traffic.fault.abort, Some((Percent::of_hundred(1), 503)));
    assert_eq!((traffic.retry.clone(), traffic.rate_limits), (None, RateLimits::default()));
    assert_eq!(Traffic::default().breaker, BreakerLimits::default());
}

#[test]
fn success_rates_alone_eject_nobody_for_failures_in_a_row() {
    let outlier = traffic(json!({"outlier": {"successRate": {}}})).outlier.expect("ejection");
    assert_eq!(outlier.consecutive, None);
}

#[test]
fn what_is_wrong_is_refused_with_its_field_and_value() {
    for (spec, field, value) in [
        (json!({}), "spec", "{}"),
        (json!({"retry": {"atempts": 1}}), "spec.retry.atempts", "1"),
        (json!({"retry": null}), "spec.retry", "null"),
        (json!({"retry": [1]}), "spec.retry", "[1]"),
        (json!({"retry": {"attempts": 0}}), "spec.retry.attempts", "0"),
        (json!({"retry": {"attempts": 11}}), "spec.retry.attempts", "11"),
        (json!({"retry": {"attempts": -1}}), "spec.retry.attempts", "-1"),
        (json!({"retry": {"attempts": "2"}}), "spec.retry.attempts", "\"2\""),
        (json!({"retry": {"perTryTimeout": "2"}}), "spec.retry.perTryTimeout", "2"),
        (json!({"retry": {"perTryTimeout": "0s"}}), "spec.retry.perTryTimeout", "0s"),
        (json!({"retry": {"perTryTimeout": "2h"}}), "spec.retry.perTryTimeout", "2h"),
        (json!({"retry": {"backoff": {}}}), "spec.retry.backoff", "{}"),
        (json!({"retry": {"backoff": {"base": "2s", "max": "1s"}}}), "spec.retry.backoff.max", "1s"),
        (json!({"retry": {"retryOn": []}}), "spec.retry.retryOn", "[]"),
        (json!({"retry": {"retryOn": [503, 200]}}), "spec.retry.retryOn[1]", "200"),
        (json!({"retry": {"retryOn": ["resets"]}}), "spec.retry.retryOn[0]", "resets"),
        (json!({"retry": {"onGrpc": ["OK"]}}), "spec.retry.onGrpc[0]", "OK"),
        (json!({"retry": {"methods": ["post"]}}), "spec.retry.methods[0]", "post"),
        (json!({"retry": {"maxBodyBytes": 1048577}}), "spec.retry.maxBodyBytes", "1048577"),
        (json!({"retry": {"budget": {}}}), "spec.retry.budget", "{}"),
        (json!({"retry": {"budget": {"percent": 101}}}), "spec.retry.budget.percent", "101"),
        (json!({"retry": {"budget": {"ttl": "500ms"}}}), "spec.retry.budget.ttl", "500ms"),
        (
            json!({"retry": {"budget": {"percent": 0, "minPerSecond": 0}}}),
            "spec.retry.budget.minPerSecond",
            "0",
        ),
        (json!({"circuitBreaker": {}}), "spec.circuitBreaker", "{}"),
        (json!({"circuitBreaker": {"maxRequests": 0}}), "spec.circuitBreaker.maxRequests", "0"),
        (json!({"outlier": {"consecutive5xx": 0}}), "spec.outlier.consecutive5xx", "0"),
        (json!({"outlier": {"maxEjectedPercent": 0}}), "spec.outlier.maxEjectedPercent", "0"),
        (json!({"outlier": {"maxEjection": "10s"}}), "spec.outlier.maxEjection", "10s"),
        (
            json!({"outlier": {"successRate": {"deviations": 0.0}}}),
            "spec.outlier.successRate.deviations",
            "0",
        ),
        (json!({"loadBalancer": {"type": "random"}}), "spec.loadBalancer.type", "\"random\""),
        (json!({"loadBalancer": {"type": "consistentHash"}}), "spec.loadBalancer.hash", ""),
        (json!({"loadBalancer": {"hash": {"by": "source"}}}), "spec.loadBalancer.hash", "present"),
        (
            json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "header"}}}),
            "spec.loadBalancer.hash.name",
            "",
        ),
        (
            json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "source", "name": "x"}}}),
            "spec.loadBalancer.hash.name",
            "x",
        ),
        (
            json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "source"},
                "locality": {"prefer": ["node"]}}}),
            "spec.loadBalancer.locality",
            "present",
        ),
        (json!({"loadBalancer": {"locality": {}}}), "spec.loadBalancer.locality.prefer", "[]"),
        (
            json!({"loadBalancer": {"locality": {"prefer": ["zone", "node"]}}}),
            "spec.loadBalancer.locality.prefer",
            "[zone, node]",
        ),
        (json!({"rateLimits": []}), "spec.rateLimits", "[]"),
        (json!({"rateLimits": [{}]}), "spec.rateLimits[0].perSecond", ""),
        (json!({"rateLimits": [{"perSecond": 0}]}), "spec.rateLimits[0].perSecond", "0"),
        (json!({"rateLimits": [{"perSecond": 1, "burst": 0}]}), "spec.rateLimits[0].burst", "0"),
        (json!({"rateLimits": [{"perSecond": 1}, {"perSecond": 2}]}), "spec.rateLimits[1].by", "workload"),
        (json!({"fault": {}}), "spec.fault", "{}"),
        (json!({"fault": {"delay": {"percent": 1}}}), "spec.fault.delay.time", ""),
        (json!({"fault": {"delay": {"time": "1s"}}}), "spec.fault.delay.percent", ""),
        (json!({"fault": {"abort": {"percent": 100.1}}}), "spec.fault.abort.percent", "100.1"),
        (json!({"fault": {"abort": {"percent": 1, "status": 200}}}), "spec.fault.abort.status", "200"),
        (json!({"targetRefs": [], "retry": {}}), "spec.targetRefs", "[]"),
        (
            json!({"targetRefs": [{"kind": "Pod", "name": "a"}], "retry": {}}),
            "spec.targetRefs[0].kind",
            "Pod",
        ),
        (
            json!({"targetRefs": [{"kind": "Service", "name": "A"}], "retry": {}}),
            "spec.targetRefs[0].name",
            "A",
        ),
    ] {
        let errors = parse("p", None, spec.clone()).expect_err(&spec.to_string());
        let found: Vec<(&str, &str)> =
            errors.iter().map(|error| (error.field.as_str(), error.value.as_str())).collect();
        assert_eq!(found, [(field, value)], "{spec}");
    }
}

#[test]
fn all_errors_are_reported_together() {
    let spec = json!({"retry": {"attempts": 0, "retryOn": ["x"], "budget": {"ttl": "x"}}, "fault": 1,
        "rateLimits": [{"perSecond": 1, "by": "all"}]});
    let errors = parse("p", None, spec).expect_err("wrong");
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    let wanted = [
        "spec.fault",
        "spec.rateLimits[0].by",
        "spec.retry.attempts",
        "spec.retry.budget.ttl",
        "spec.retry.retryOn[0]",
    ];
    let mut sorted = fields.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted);
}

#[test]
fn what_may_surprise_is_warned_of() {
    for (spec, field) in [
        (json!({"retry": {"methods": ["POST"]}}), "spec.retry.methods"),
        (json!({"retry": {"onGrpc": ["UNAVAILABLE"]}}), "spec.retry.onGrpc"),
        (json!({"retry": {"budget": {"percent": 21}}}), "spec.retry.budget.percent"),
        (json!({"outlier": {"successRate": {"deviations": 2.5}}}), "spec.outlier.successRate.deviations"),
        (json!({"outlier": {"maxEjectedPercent": 100}}), "spec.outlier.maxEjectedPercent"),
        (json!({"fault": {"abort": {"percent": 1}}}), "spec.fault"),
    ] {
        let policy = parse("p", None, spec).expect("in force");
        let fields: Vec<&str> = policy.warnings().iter().map(|warning| warning.field.as_str()).collect();
        assert_eq!(fields, [field]);
    }
    let quiet = parse("p", None, json!({"retry": {}, "outlier": {"successRate": {}}})).expect("in force");
    assert!(quiet.warnings().is_empty(), "{:?}", quiet.warnings());
}

/// Any JSON, with the names of fields among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let names = [
        "retry",
        "retryOn",
        "budget",
        "percent",
        "outlier",
        "fault",
        "delay",
        "time",
        "rateLimits",
        "by",
        "loadBalancer",
        "hash",
        "locality",
        "prefer",
        "targetRefs",
        "kind",
        "name",
        "backoff",
        "base",
        "max",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&["1s", "99999h", "node", "source", "503", "", "\u{0}", "Service"][..])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop::sample::select(names.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_spec_makes_the_reader_panic(spec in any_json()) {
        if let Err(errors) = TrafficPolicy::parse(PolicyKey::new("shop", "p"), None, spec) {
            prop_assert!(!errors.is_empty());
        }
    }
}
