//! The `spec` of a TrafficPolicy as an operator writes it, before its texts become types.
//!
//! Entry point: [`TrafficPolicySpec`]. Which fields there are and of what shape; what their values mean,
//! and which are refused, is `compile`'s business.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::policy::{
    TargetRefSpec,
    spec::{present, read_from_objects_only},
};

/// `spec` of a TrafficPolicy (weir.dev/v1alpha1).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct TrafficPolicySpec {
    /// The Services of the policy's own namespace for whose requests it holds.
    pub target_refs: Vec<TargetRefSpec>,
    /// Absent: nothing is tried again, but where a route asks for it.
    #[serde(deserialize_with = "present")]
    pub retry: Option<RetrySpec>,
    /// Absent: no bound but the agent's own.
    #[serde(deserialize_with = "present")]
    pub circuit_breaker: Option<CircuitBreakerSpec>,
    /// Absent: no endpoint is ejected.
    #[serde(deserialize_with = "present")]
    pub outlier: Option<OutlierSpec>,
    /// Absent: the endpoint with the least latency of two.
    #[serde(deserialize_with = "present")]
    pub load_balancer: Option<LoadBalancerSpec>,
    /// At most one of each kind; absent: no limit.
    #[serde(deserialize_with = "present")]
    pub rate_limits: Option<Vec<RateLimitSpec>>,
    /// Absent: no faults but those that happen.
    #[serde(deserialize_with = "present")]
    pub fault: Option<FaultSpec>,
}

/// `spec.retry`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RetrySpec {
    /// Tries after the first one.
    #[serde(deserialize_with = "present")]
    pub attempts: Option<u32>,
    /// How long one try may take to its response's head (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub per_try_timeout: Option<String>,
    /// How long to wait before a retry.
    #[serde(deserialize_with = "present")]
    pub backoff: Option<BackoffSpec>,
    /// What is tried again: statuses, `5xx`, and words of the connection.
    #[serde(deserialize_with = "present")]
    pub on: Option<Vec<ConditionSpec>>,
    /// gRPC status codes by name. Naming them says that the Service's calls may be repeated.
    #[serde(deserialize_with = "present")]
    pub on_grpc: Option<Vec<String>>,
    /// Methods that may be repeated beside the idempotent ones.
    #[serde(deserialize_with = "present")]
    pub methods: Option<Vec<String>>,
    /// The largest body, in octets, that is kept to be sent again.
    #[serde(deserialize_with = "present")]
    pub max_body_bytes: Option<u32>,
    /// How much load retries may add.
    #[serde(deserialize_with = "present")]
    pub budget: Option<BudgetSpec>,
}

/// `spec.retry.backoff`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct BackoffSpec {
    /// The longest wait before the first retry; it doubles with each (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub base: Option<String>,
    /// The longest wait before any retry (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub max: Option<String>,
}

/// `spec.retry.budget`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct BudgetSpec {
    /// Retries for each hundred requests.
    #[serde(deserialize_with = "present")]
    pub percent: Option<u32>,
    /// Retries per second that are allowed however few the requests are.
    #[serde(deserialize_with = "present")]
    pub min_per_second: Option<u32>,
    /// How long a request counts (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub ttl: Option<String>,
}

/// `spec.circuitBreaker`: bounds on what one agent has under way to the Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct CircuitBreakerSpec {
    /// Connections.
    #[serde(deserialize_with = "present")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    #[serde(deserialize_with = "present")]
    pub max_pending: Option<u32>,
    /// Requests at the same time.
    #[serde(deserialize_with = "present")]
    pub max_requests: Option<u32>,
}

/// `spec.outlier`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct OutlierSpec {
    /// So many failures, one after the other, eject an endpoint.
    #[serde(deserialize_with = "present")]
    pub consecutive_5xx: Option<u32>,
    /// An endpoint that succeeds less often than its peers is ejected.
    #[serde(deserialize_with = "present")]
    pub success_rate: Option<SuccessRateSpec>,
    /// How often success rates are compared, and how long an endpoint must do well until one of its
    /// ejections is forgotten (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub interval: Option<String>,
    /// How long the first ejection lasts; it doubles with each (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub base_ejection: Option<String>,
    /// How long any ejection lasts at most (GEP-2257).
    #[serde(deserialize_with = "present")]
    pub max_ejection: Option<String>,
    /// The largest share of the endpoints that is ejected at the same time.
    #[serde(deserialize_with = "present")]
    pub max_ejected_percent: Option<u32>,
}

/// `spec.outlier.successRate`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct SuccessRateSpec {
    /// How many standard deviations below the mean are too few.
    #[serde(deserialize_with = "present")]
    pub deviations: Option<f64>,
    /// Endpoints with fewer requests in an interval are not compared.
    #[serde(deserialize_with = "present")]
    pub min_requests: Option<u32>,
    /// Fewer endpoints than these are not compared.
    #[serde(deserialize_with = "present")]
    pub min_endpoints: Option<u32>,
}

/// `spec.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct LoadBalancerSpec {
    /// `leastLatency` when absent.
    #[serde(rename = "type")]
    pub kind: BalancerKind,
    /// What `consistentHash` looks at.
    #[serde(deserialize_with = "present")]
    pub hash: Option<HashSpec>,
    /// Absent: wherever an endpoint is.
    #[serde(deserialize_with = "present")]
    pub locality: Option<LocalitySpec>,
}

/// `spec.loadBalancer.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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

/// `spec.loadBalancer.hash`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HashSpec {
    /// `header` or `source`.
    #[serde(deserialize_with = "present")]
    pub on: Option<HashOnSpec>,
    /// Name of the header.
    #[serde(deserialize_with = "present")]
    pub name: Option<String>,
}

/// `spec.loadBalancer.hash.on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HashOnSpec {
    /// The value of the header `name`.
    Header,
    /// Who sends: the address of the pod.
    Source,
}

/// `spec.loadBalancer.locality`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct LocalitySpec {
    /// `node`, `zone`, or both, the nearer first.
    pub prefer: Vec<LocalityWord>,
    /// With a smaller share of healthy endpoints a place is not preferred.
    #[serde(deserialize_with = "present")]
    pub min_healthy_percent: Option<u32>,
}

/// One of `spec.loadBalancer.locality.prefer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LocalityWord {
    /// The client's node.
    Node,
    /// The client's zone.
    Zone,
}

/// One of `spec.rateLimits`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RateLimitSpec {
    /// Requests per second.
    #[serde(deserialize_with = "present")]
    pub per_second: Option<u32>,
    /// Requests at once after a pause; as many as `per_second` when absent.
    #[serde(deserialize_with = "present")]
    pub burst: Option<u32>,
    /// Whose requests are counted together; `workload` when absent.
    pub by: LimitBy,
}

/// `spec.rateLimits[].by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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

/// `spec.fault`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct FaultSpec {
    /// Some requests wait before they are sent.
    #[serde(deserialize_with = "present")]
    pub delay: Option<DelaySpec>,
    /// Some requests are answered instead of sent.
    #[serde(deserialize_with = "present")]
    pub abort: Option<AbortSpec>,
}

/// `spec.fault.delay`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct DelaySpec {
    /// Of so many of a hundred requests.
    #[serde(deserialize_with = "present")]
    pub percent: Option<f64>,
    /// How long (GEP-2257).
    pub time: String,
}

/// `spec.fault.abort`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct AbortSpec {
    /// Of so many of a hundred requests.
    #[serde(deserialize_with = "present")]
    pub percent: Option<f64>,
    /// HTTP status of the answer.
    #[serde(deserialize_with = "present")]
    pub status: Option<u32>,
}

read_from_objects_only!(
    TrafficPolicySpec,
    RetrySpec,
    BackoffSpec,
    BudgetSpec,
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

/// One of `spec.retry.on`, still as text: `503`, `5xx`, `reset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionSpec(pub String);

impl fmt::Display for ConditionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConditionSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConditionVisitor;
        impl de::Visitor<'_> for ConditionVisitor {
            type Value = ConditionSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status or a word like \"reset\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ConditionSpec, E> {
                Ok(ConditionSpec(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ConditionSpec, E> {
                Ok(ConditionSpec(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ConditionSpec, E> {
                Ok(ConditionSpec(text.into()))
            }
        }
        deserializer.deserialize_any(ConditionVisitor)
    }
}
