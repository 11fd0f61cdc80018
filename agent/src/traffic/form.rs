//! What the texts of a TrafficPolicy look like to an API server, and which of its fields do not go together.
//!
//! Entry points: the forms, as those of `policy::form`, and the rules. They say in OpenAPI's and CEL's words what
//! `compile` says in Rust.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::retry::GrpcCodes;
use crate::policy::form::{TOKEN, duration, forms, text};

pub(super) const OF_POLICY: &[(&str, &str)] = &[(
    "has(self.retry) || has(self.circuitBreaker) || has(self.outlier) || has(self.loadBalancer) || \
     has(self.rateLimits) || has(self.fault)",
    "asks for nothing: name retry, circuitBreaker, outlier, loadBalancer, rateLimits or fault",
)];
pub(super) const OF_BACKOFF: &[(&str, &str)] = &[(
    "!has(self.max) || duration(self.max) >= duration(has(self.base) ? self.base : '25ms')",
    "max: is below base",
)];
pub(super) const OF_BUDGET: &[(&str, &str)] = &[(
    "!has(self.percent) || !has(self.minPerSecond) || self.percent > 0 || self.minPerSecond > 0",
    "minPerSecond: with percent 0 no retry is ever allowed: leave spec.retry out",
)];
pub(super) const OF_OUTLIER: &[(&str, &str)] = &[(
    "!has(self.maxEjection) || duration(self.maxEjection) >= \
     duration(has(self.baseEjection) ? self.baseEjection : '30s')",
    "maxEjection: is below baseEjection",
)];
pub(super) const OF_BALANCER: &[(&str, &str)] = &[
    (
        "self.type != 'consistentHash' || has(self.hash)",
        "hash: consistentHash needs it: {by: source}, or {by: header, name: x-user}",
    ),
    ("self.type == 'consistentHash' || !has(self.hash)", "hash: only type consistentHash looks at it"),
    (
        "self.type != 'consistentHash' || !has(self.locality)",
        "locality: with consistentHash each node would send the same key elsewhere: leave one of them out",
    ),
];
pub(super) const OF_HASH: &[(&str, &str)] = &[
    ("self.by != 'source' || !has(self.name)", "name: only {by: header} has a name"),
    ("self.by != 'header' || has(self.name)", "name: a header has a name, like x-user"),
];
pub(super) const PREFERENCE: (&str, &str) = (
    "self == ['node'] || self == ['zone'] || self == ['node', 'zone']",
    "prefer: is [node], [zone] or [node, zone]: the nearer first",
);
pub(super) const LIMITS: (&str, &str) =
    ("self.all(a, self.exists_one(b, a.by == b.by))", "by: there is another limit by the same");

forms! {
    /// One of `retry.retryOn`.
    Condition: json!({
        "x-kubernetes-int-or-string": true, "minimum": 400, "maximum": 599,
        "pattern": "^(connect|refused|reset|timeout|5xx|[45][0-9]{2})$",
    });
    /// One of `retry.onGrpc`.
    GrpcStatus: json!({"type": "string", "enum": GrpcCodes::NAMES[1..]});
    /// `retry.perTryTimeout`.
    TryTime: duration("1ms", "1h");
    /// `retry.backoff.base`.
    BackoffBase: duration("1ms", "10s");
    /// `retry.backoff.max`.
    BackoffMost: duration("1ms", "60s");
    /// `retry.budget.ttl`.
    BudgetTime: duration("1s", "60s");
    /// `outlier.interval`, `outlier.baseEjection`.
    EjectionTime: duration("1s", "1h");
    /// `outlier.maxEjection`.
    EjectionMost: duration("1s", "24h");
    /// `fault.delay.time`.
    DelayTime: duration("1ms", "1h");
    /// `loadBalancer.hash.name`.
    HashHeader: text(256, TOKEN);
}

impl JsonSchema for super::spec::ConditionSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ConditionSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Condition::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        policy::form::tests::{passes, texts_of},
        traffic::{Conditions, duration},
    };

    proptest! {
        #[test]
        fn a_duration_passes_when_its_parser_takes_it(time in "([0-9]{0,6}(h|m|s|ms|d| )){0,5}") {
            prop_assert_eq!(passes::<TryTime>(&time), duration::parse(&time).is_ok(), "{}", time);
        }

        #[test]
        fn what_is_tried_again_passes_when_it_can_be(condition in texts_of::<Condition>()) {
            prop_assert!(Conditions::parse(&condition).is_ok(), "{condition}");
        }
    }
}
