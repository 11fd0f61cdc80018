//! What a TrafficPolicy asks for, compiled: values that the algorithms take as they are.
//!
//! Entry point: [`Traffic`]; its default is what holds for a Service without a policy. Every value is in
//! the range that `compile` documents, so nobody checks it again.

use std::{fmt, time::Duration};

use super::{
    hash::stable_hash,
    retry::conditions::{Conditions, GrpcCodes},
};
use crate::policy::PolicyKey;

/// How requests to one Service are to be treated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// The TrafficPolicy that says so; none for the defaults.
    pub policy: Option<PolicyKey>,
    /// What is tried again; none when only a route's own retries count.
    pub retry: Option<Retry>,
    /// Bounds on what is under way.
    pub breaker: BreakerLimits,
    /// When an endpoint is left alone for a time; none when never.
    pub outlier: Option<Outlier>,
    /// Which endpoint gets a request.
    pub balancing: Balancing,
    /// How many requests a workload takes.
    pub rate_limits: RateLimits,
    /// Faults on purpose.
    pub fault: Fault,
}

/// A share, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(1_000_000);

    /// A share in millionths; all, for more than there are.
    pub fn from_millionths(millionths: u32) -> Self {
        Self(millionths.min(1_000_000))
    }

    /// So many of a hundred; all, for more than there are.
    pub fn of_hundred(percent: u32) -> Self {
        Self::from_millionths(percent.saturating_mul(10_000))
    }

    /// The share in millionths, at most 1 000 000.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// This share of `whole`, rounded down.
    pub fn of(self, whole: usize) -> usize {
        (whole as u128 * u128::from(self.0) / 1_000_000) as usize
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

/// `spec.retry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries after the first one, at most.
    pub attempts: u32,
    /// From sending a try to its response's head, at most; none: the request's own time alone counts.
    pub per_try_timeout: Option<Duration>,
    /// How long to wait before a try.
    pub backoff: Backoff,
    /// Which outcomes are tried again.
    pub on: Conditions,
    /// Which gRPC statuses are; not empty only where the policy names them.
    pub on_grpc: GrpcCodes,
    /// Methods that the policy allows to be repeated beside the idempotent ones.
    pub methods: Vec<Box<str>>,
    /// Octets of a body that are kept to be sent again.
    pub max_body: usize,
    /// How much load tries may add.
    pub budget: BudgetSettings,
}

/// `spec.retry.backoff`: the wait before retry `n` (from 0) is anything up to `base`·2ⁿ, at most `max`, on
/// top of `least`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// No wait is shorter: what a route asks for; a policy does not.
    pub least: Duration,
    /// Upper end of the first wait; not zero.
    pub base: Duration,
    /// Upper end of any wait; not below `base`.
    pub max: Duration,
}

/// `spec.retry.budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Retries as a share of the requests of the last `ttl`.
    pub share: Percent,
    /// Retries per second that this agent may make however few the requests are.
    pub min_per_second: u32,
    /// How long a request counts; not zero.
    pub ttl: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            per_try_timeout: None,
            backoff: Backoff::default(),
            on: Conditions::default(),
            on_grpc: GrpcCodes::default(),
            methods: Vec::new(),
            max_body: 64 << 10,
            budget: BudgetSettings::default(),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { least: Duration::ZERO, base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { share: Percent::of_hundred(20), min_per_second: 10, ttl: Duration::from_secs(10) }
    }
}

/// `spec.circuitBreaker`; a bound that is none does not count anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Connections of this agent to the Service.
    pub connections: Option<u32>,
    /// Requests of this agent that wait for a connection.
    pub pending: Option<u32>,
    /// Requests of this agent at the same time, each try as one.
    pub requests: Option<u32>,
}

/// `spec.outlier`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// So many failures in a row eject; none: they do not.
    pub consecutive: Option<u32>,
    /// Whether, and how, endpoints are compared with each other.
    pub success_rate: Option<SuccessRate>,
    /// How often they are compared, and how long an endpoint does well until an ejection is forgotten.
    pub interval: Duration,
    /// Length of the first ejection; each further one is twice as long.
    pub base_ejection: Duration,
    /// Length of the longest.
    pub max_ejection: Duration,
    /// The largest share of the endpoints that is out at the same time.
    pub max_ejected: Percent,
}

/// `spec.outlier.successRate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// Standard deviations below the mean; positive.
    pub deviations: f64,
    /// Requests in an interval below which an endpoint is not compared.
    pub min_requests: u32,
    /// Endpoints below which none is compared.
    pub min_endpoints: u32,
}

/// `spec.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// How one is chosen among those that may be.
    pub algorithm: Algorithm,
    /// Which are preferred for where they are.
    pub locality: Option<Locality>,
}

/// `spec.loadBalancer.type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// The one with the lower load of two at random.
    #[default]
    LeastLatency,
    /// One after the other.
    RoundRobin,
    /// The same for the same key.
    ConsistentHash(HashOn),
}

/// `spec.loadBalancer.hash`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The first value of the header with this name, in lower case.
    Header(Box<str>),
    /// The address of who sends, without port.
    Source,
}

/// `spec.loadBalancer.locality`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locality {
    /// Endpoints on the client's node come first.
    pub node: bool,
    /// Then, or first, those in the client's zone.
    pub zone: bool,
    /// With a smaller share of healthy ones a place is not preferred.
    pub min_healthy: Percent,
}

/// `spec.rateLimits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// For all requests to one workload.
    pub workload: Option<Rate>,
    /// For those of one source to one workload.
    pub source: Option<Rate>,
}

/// One of `spec.rateLimits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests; from 1 to 1 000 000.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

/// `spec.fault`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Which share waits, and how long.
    pub delay: Option<(Percent, Duration)>,
    /// Which share is answered with which status.
    pub abort: Option<(Percent, u16)>,
}

impl Traffic {
    /// The key of a request for [`Algorithm::ConsistentHash`]: the same in every agent, whatever its
    /// version. None when the algorithm is another, or the request has no such header.
    ///
    /// `header` gives the first value of a name in lower case, `source` the sending pod's address as text.
    pub fn hash_of<'a>(
        &self,
        header: impl FnOnce(&str) -> Option<&'a [u8]>,
        source: impl FnOnce() -> String,
    ) -> Option<u64> {
        let Algorithm::ConsistentHash(on) = &self.balancing.algorithm else {
            return None;
        };
        match on {
            HashOn::Source => Some(stable_hash(source().as_bytes())),
            HashOn::Header(name) => Some(stable_hash(header(name)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_whole_is_rounded_down() {
        assert_eq!(Percent::of_hundred(50).of(3), 1);
        assert_eq!(Percent::of_hundred(10).of(9), 0);
        assert_eq!(Percent::ALL.of(usize::MAX), usize::MAX);
        assert_eq!(Percent::of_hundred(u32::MAX), Percent::ALL);
        assert_eq!(Percent::from_millionths(1_500).to_string(), "0.15 %");
    }

    #[test]
    fn a_request_is_hashed_by_what_the_policy_names_and_by_nothing_else() {
        let by = |on| Traffic {
            balancing: Balancing { algorithm: Algorithm::ConsistentHash(on), locality: None },
            ..Traffic::default()
        };
        let hash = |traffic: &Traffic, user: Option<&str>, source: &str| {
            let header =
                |name: &str| if name == "x-user" { user.map(str::as_bytes) } else { Some(&b"1"[..]) };
            traffic.hash_of(header, || source.to_owned())
        };
        let header = by(HashOn::Header("x-user".into()));
        let (ann, bob) = (Some("ann"), Some("bob"));
        assert_eq!(hash(&header, ann, "10.0.0.1"), hash(&header, ann, "10.0.0.2"));
        assert_ne!(hash(&header, ann, ""), hash(&header, bob, ""));
        assert_eq!(hash(&header, None, "10.0.0.1"), None);
        let source = by(HashOn::Source);
        assert_eq!(hash(&source, ann, "10.0.0.1"), hash(&source, None, "10.0.0.1"));
        assert_ne!(hash(&source, ann, "10.0.0.1"), hash(&source, ann, "10.0.0.2"));
        assert_eq!(hash(&Traffic::default(), ann, "10.0.0.1"), None);
    }
}
