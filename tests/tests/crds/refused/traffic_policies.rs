//! TrafficPolicies that are refused.
//!
//! Entry point: [`traffic_policies`].

use serde_json::{Value, json};

use super::Bad;

pub(super) fn traffic_policies() -> Vec<Bad> {
    let hash = json!({"by": "source"});
    vec![
        traffic(json!({}), "spec", "asks for nothing"),
        traffic(json!({"targetRefs": [], "retry": {}}), "spec.targetRefs", "spec.targetRefs"),
        traffic(json!({"retry": null}), "spec.retry", "retry"),
        traffic(json!({"retry": {"attempts": 0}}), "spec.retry.attempts", "spec.retry.attempts"),
        traffic(json!({"retry": {"attempts": 11}}), "spec.retry.attempts", "spec.retry.attempts"),
        traffic(json!({"retry": {"attempts": null}}), "spec.retry.attempts", "attempts"),
        traffic(
            json!({"retry": {"perTryTimeout": "0s"}}),
            "spec.retry.perTryTimeout",
            "spec.retry.perTryTimeout",
        ),
        traffic(
            json!({"retry": {"perTryTimeout": "2h"}}),
            "spec.retry.perTryTimeout",
            "spec.retry.perTryTimeout",
        ),
        traffic(
            json!({"retry": {"perTryTimeout": "soon"}}),
            "spec.retry.perTryTimeout",
            "spec.retry.perTryTimeout",
        ),
        traffic(json!({"retry": {"backoff": {}}}), "spec.retry.backoff", "spec.retry.backoff"),
        traffic(
            json!({"retry": {"backoff": {"base": "2s", "max": "1s"}}}),
            "spec.retry.backoff.max",
            "max: is below base",
        ),
        traffic(
            json!({"retry": {"backoff": {"max": "10ms"}}}),
            "spec.retry.backoff.max",
            "max: is below base",
        ),
        traffic(json!({"retry": {"retryOn": []}}), "spec.retry.retryOn", "spec.retry.retryOn"),
        traffic(json!({"retry": {"retryOn": [200]}}), "spec.retry.retryOn[0]", "spec.retry.retryOn[0]"),
        traffic(json!({"retry": {"retryOn": ["6xx"]}}), "spec.retry.retryOn[0]", "spec.retry.retryOn[0]"),
        traffic(json!({"retry": {"onGrpc": ["OK"]}}), "spec.retry.onGrpc[0]", "spec.retry.onGrpc[0]"),
        traffic(json!({"retry": {"methods": ["post"]}}), "spec.retry.methods[0]", "spec.retry.methods[0]"),
        traffic(
            json!({"retry": {"maxBodyBytes": 1_048_577}}),
            "spec.retry.maxBodyBytes",
            "spec.retry.maxBodyBytes",
        ),
        traffic(json!({"retry": {"budget": {}}}), "spec.retry.budget", "spec.retry.budget"),
        traffic(
            json!({"retry": {"budget": {"percent": 101}}}),
            "spec.retry.budget.percent",
            "spec.retry.budget.percent",
        ),
        traffic(
            json!({"retry": {"budget": {"percent": 0, "minPerSecond": 0}}}),
            "spec.retry.budget.minPerSecond",
            "minPerSecond: with percent 0",
        ),
        traffic(
            json!({"retry": {"budget": {"ttl": "2m"}}}),
            "spec.retry.budget.ttl",
            "spec.retry.budget.ttl",
        ),
        traffic(json!({"circuitBreaker": {}}), "spec.circuitBreaker", "spec.circuitBreaker"),
        traffic(
            json!({"circuitBreaker": {"maxRequests": 0}}),
            "spec.circuitBreaker.maxRequests",
            "maxRequests",
        ),
        traffic(json!({"outlier": {"consecutive5xx": 0}}), "spec.outlier.consecutive5xx", "consecutive5xx"),
        traffic(
            json!({"outlier": {"baseEjection": "2m", "maxEjection": "1m"}}),
            "spec.outlier.maxEjection",
            "maxEjection: is below",
        ),
        traffic(
            json!({"outlier": {"maxEjection": "10s"}}),
            "spec.outlier.maxEjection",
            "maxEjection: is below",
        ),
        traffic(
            json!({"outlier": {"maxEjectedPercent": 0}}),
            "spec.outlier.maxEjectedPercent",
            "maxEjectedPercent",
        ),
        traffic(
            json!({"outlier": {"successRate": {"deviations": 0.05}}}),
            "spec.outlier.successRate.deviations",
            "deviations",
        ),
        traffic(
            json!({"outlier": {"successRate": {"minEndpoints": 1}}}),
            "spec.outlier.successRate.minEndpoints",
            "minEndpoints",
        ),
        traffic(
            json!({"loadBalancer": {"type": "random"}}),
            "spec.loadBalancer.type",
            "spec.loadBalancer.type",
        ),
        traffic(
            json!({"loadBalancer": {"type": "consistentHash"}}),
            "spec.loadBalancer.hash",
            "hash: consistentHash needs it",
        ),
        traffic(
            json!({"loadBalancer": {"hash": hash}}),
            "spec.loadBalancer.hash",
            "hash: only type consistentHash",
        ),
        traffic(
            json!({"loadBalancer": {"type": "consistentHash", "hash": {}}}),
            "spec.loadBalancer.hash.by",
            "spec.loadBalancer.hash.by",
        ),
        traffic(
            json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "header"}}}),
            "spec.loadBalancer.hash.name",
            "name: a header has a name",
        ),
        traffic(
            json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "source", "name": "a"}}}),
            "spec.loadBalancer.hash.name",
            "name: only {by: header}",
        ),
        traffic(
            json!({"loadBalancer": {"type": "consistentHash", "hash": hash, "locality": {"prefer": ["node"]}}}),
            "spec.loadBalancer.locality",
            "locality: with consistentHash",
        ),
        traffic(
            json!({"loadBalancer": {"locality": {}}}),
            "spec.loadBalancer.locality.prefer",
            "locality.prefer",
        ),
        traffic(
            json!({"loadBalancer": {"locality": {"prefer": ["zone", "node"]}}}),
            "spec.loadBalancer.locality.prefer",
            "prefer: is [node]",
        ),
        traffic(
            json!({"loadBalancer": {"locality": {"prefer": ["zone"], "minHealthyPercent": 0}}}),
            "spec.loadBalancer.locality.minHealthyPercent",
            "minHealthyPercent",
        ),
        traffic(json!({"rateLimits": []}), "spec.rateLimits", "spec.rateLimits"),
        traffic(json!({"rateLimits": [{}]}), "spec.rateLimits[0].perSecond", "spec.rateLimits[0].perSecond"),
        traffic(
            json!({"rateLimits": [{"perSecond": 0}]}),
            "spec.rateLimits[0].perSecond",
            "spec.rateLimits[0].perSecond",
        ),
        traffic(
            json!({"rateLimits": [{"perSecond": 1}, {"perSecond": 2, "by": "workload"}]}),
            "spec.rateLimits[1].by",
            "by: there is another limit",
        ),
        traffic(json!({"fault": {}}), "spec.fault", "spec.fault"),
        traffic(
            json!({"fault": {"delay": {"time": "1s"}}}),
            "spec.fault.delay.percent",
            "spec.fault.delay.percent",
        ),
        traffic(
            json!({"fault": {"delay": {"percent": 101, "time": "1s"}}}),
            "spec.fault.delay.percent",
            "spec.fault.delay.percent",
        ),
        traffic(
            json!({"fault": {"delay": {"percent": 1}}}),
            "spec.fault.delay.time",
            "spec.fault.delay.time",
        ),
        traffic(
            json!({"fault": {"abort": {"percent": 1, "status": 200}}}),
            "spec.fault.abort.status",
            "spec.fault.abort.status",
        ),
    ]
}

/// A TrafficPolicy for the Service `pay`.
fn traffic(other: Value, field: &'static str, says: &'static str) -> Bad {
    let mut spec = json!({"targetRefs": [{"kind": "Service", "name": "pay"}]});
    for (name, value) in other.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    Bad { kind: "TrafficPolicy", spec, field, says }
}
