//! The `spec` of a TrafficPolicy as an operator writes it, before its texts become types.
//!
//! Entry point: [`TrafficPolicySpec`]. Which fields there are and of what shape; what their values mean,
//! and which are refused, is `compile`'s business. What is said of a field here is what `kubectl explain` says, and its
//! attributes have the API server refuse what `compile` refuses.

mod retry;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

pub(super) use self::retry::{BackoffSpec, BudgetSpec, ConditionSpec, RetrySpec};
use super::form;
use crate::policy::{
    TargetRefSpec,
    form::rules,
    spec::{present, read_from_objects_only},
};

/// How requests to Services are treated.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_POLICY)))]
pub struct TrafficPolicySpec {
    /// The Services of the policy's own namespace for whose requests it holds. Of several policies of one Service the
    /// oldest holds.
    #[schemars(length(min = 1, max = 64))]
    pub target_refs: Vec<TargetRefSpec>,
    /// What is tried again. Left out: nothing, but where a route asks for it.
    #[serde(deserialize_with = "present")]
    pub retry: Option<RetrySpec>,
    /// Bounds on what one agent has under way to the Service. Left out: the agent's own only.
    #[serde(deserialize_with = "present")]
    pub circuit_breaker: Option<CircuitBreakerSpec>,
    /// Which endpoints are left alone for a while. Left out: none.
    #[serde(deserialize_with = "present")]
    pub outlier: Option<OutlierSpec>,
    /// Which endpoint gets a request. Left out: of two at random the one that is expected to answer sooner.
    #[serde(deserialize_with = "present")]
    pub load_balancer: Option<LoadBalancerSpec>,
    /// How much is too much: at most one of each kind. Left out: no limit.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-validations" = rules(&[form::LIMITS])))]
    pub rate_limits: Option<Vec<RateLimitSpec>>,
    /// Faults that are made on purpose. Left out: none.
    #[serde(deserialize_with = "present")]
    pub fault: Option<FaultSpec>,
}

/// Bounds on what one agent has under way to the Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1))]
pub struct CircuitBreakerSpec {
    /// Connections of one agent. Left out: no bound.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<u32>,
    /// Requests of one agent that wait for a connection. Left out: no bound.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_pending: Option<u32>,
    /// Requests of one agent at the same time, each try as one. Left out: no bound.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_requests: Option<u32>,
}

/// Which endpoints are left alone for a while.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_OUTLIER)))]
pub struct OutlierSpec {
    /// So many failures, one after the other, eject an endpoint. Left out: 5; with successRate, they do not count.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_5xx: Option<u32>,
    /// An endpoint that succeeds less often than its peers is ejected.
    #[serde(deserialize_with = "present")]
    pub success_rate: Option<SuccessRateSpec>,
    /// How often success rates are compared, and how long an endpoint must do well until one of its ejections is
    /// forgotten, from 1s to 1h. Left out: 10s.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::EjectionTime>")]
    pub interval: Option<String>,
    /// How long the first ejection lasts, from 1s to 1h; it doubles with each. Left out: 30s.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::EjectionTime>")]
    pub base_ejection: Option<String>,
    /// How long any ejection lasts at most, from 1s to 24h. Left out: 5m, or baseEjection if that is longer.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::EjectionMost>")]
    pub max_ejection: Option<String>,
    /// The largest share of the endpoints that is ejected at the same time. Left out: 50.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 100))]
    pub max_ejected_percent: Option<u32>,
}

/// An endpoint that succeeds less often than its peers is ejected.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct SuccessRateSpec {
    /// How many standard deviations below the mean are too few. Left out: 1.9.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 0.1, max = 10.0))]
    pub deviations: Option<f64>,
    /// Endpoints with fewer requests in an interval are not compared. Left out: 100.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: Option<u32>,
    /// Fewer endpoints than these are not compared. Left out: 5.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 2, max = 1000))]
    pub min_endpoints: Option<u32>,
}

/// Which endpoint gets a request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_BALANCER)))]
pub struct LoadBalancerSpec {
    /// leastLatency: of two endpoints at random the one that is expected to answer sooner. roundRobin: one after the other.
    /// consistentHash: the same endpoint for the same header or source.
    #[serde(rename = "type")]
    #[schemars(default)]
    pub kind: BalancerKind,
    /// What consistentHash looks at.
    #[serde(deserialize_with = "present")]
    pub hash: Option<HashSpec>,
    /// Endpoints near the client go first. Left out: wherever an endpoint is.
    #[serde(deserialize_with = "present")]
    pub locality: Option<LocalitySpec>,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BalancerKind {
    /// Of two endpoints at random the one with the lower latency and fewer requests.
    #[default]
    LeastLatency,
    /// One after the other.
    RoundRobin,
    /// The same endpoint for the same header or source.
    ConsistentHash,
}

/// What consistentHash looks at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_HASH)))]
pub struct HashSpec {
    /// header: the value of the header name. source: the address of the pod that sends.
    #[serde(deserialize_with = "present")]
    #[schemars(required)]
    pub by: Option<HashBySpec>,
    /// Name of the header.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::HashHeader>")]
    pub name: Option<String>,
}

/// What is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HashBySpec {
    /// The value of the header `name`.
    Header,
    /// Who sends: the address of the pod.
    Source,
}

/// Endpoints near the client go first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct LocalitySpec {
    /// [node], [zone] or [node, zone]: the client's, the nearer first.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-validations" = rules(&[form::PREFERENCE])))]
    pub prefer: Vec<LocalityWord>,
    /// With a smaller share of healthy endpoints a place is not preferred. Left out: 70.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 100))]
    pub min_healthy_percent: Option<u32>,
}

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LocalityWord {
    /// The client's node.
    Node,
    /// The client's zone.
    Zone,
}

/// A limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct RateLimitSpec {
    /// Requests per second.
    #[serde(deserialize_with = "present")]
    #[schemars(required, range(min = 1, max = 1_000_000))]
    pub per_second: Option<u32>,
    /// Requests at once after a pause. Left out: as many as perSecond.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// Whose requests are counted together: all that come to one workload of the Service (workload), or those of one source
    /// identity to one workload (source).
    #[schemars(default)]
    pub by: LimitBy,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LimitBy {
    /// All that come to one workload of the Service.
    #[default]
    Workload,
    /// Those of one source identity to one workload of the Service.
    Source,
}

impl LimitBy {
    /// The word of `by`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Source => "source",
        }
    }
}

/// Faults that are made on purpose.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1))]
pub struct FaultSpec {
    /// Some requests wait before they are sent.
    #[serde(deserialize_with = "present")]
    pub delay: Option<DelaySpec>,
    /// Some requests are answered instead of sent.
    #[serde(deserialize_with = "present")]
    pub abort: Option<AbortSpec>,
}

/// Requests that wait.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct DelaySpec {
    /// Of so many of a hundred requests, down to 0.0001.
    #[serde(deserialize_with = "present")]
    #[schemars(required, range(min = 0.0, max = 100.0))]
    pub percent: Option<f64>,
    /// How long, from 1ms to 1h.
    #[schemars(with = "form::DelayTime")]
    pub time: String,
}

/// Requests that are answered instead of sent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct AbortSpec {
    /// Of so many of a hundred requests, down to 0.0001.
    #[serde(deserialize_with = "present")]
    #[schemars(required, range(min = 0.0, max = 100.0))]
    pub percent: Option<f64>,
    /// HTTP status of the answer. Left out: 503.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u32>,
}

read_from_objects_only!(
    TrafficPolicySpec,
    CircuitBreakerSpec,
    OutlierSpec,
    SuccessRateSpec,
    LoadBalancerSpec,
    HashSpec,
    LocalitySpec,
    RateLimitSpec,
    FaultSpec,
    DelaySpec,
    AbortSpec
);
