//! How requests to a Service are treated: retries, load balancing, ejection, limits, faults (docs/traffic.md).
//!
//! Entry points, in the order of their use: [`TrafficPolicy::parse`] reads an object, [`TrafficIndex`] says
//! which holds for a Service, [`Balancer`] is what a request goes through at the client's node, [`Limiter`]
//! at the server's. Pure: no clock (a [`Moment`] is passed in), no chance but a [`Random`] that is passed in,
//! no runtime, no sockets, no codec.
//!
//! # Who owns what
//! One [`Registry`] for each agent. One [`Balancer`] for each worker and port of a Service, with latencies,
//! ejections and the retry budget's share of its own; the workers' balancers of one Service have a
//! [`Shared`] in common. One [`Limiter`] for each captured workload and each of its Services whose policy
//! has limits; a request must pass all of them.
//!
//! # The calls of one request
//! ```
//! use std::{sync::Arc, time::Duration};
//! use weir_agent::traffic::{
//!     Attempt, Balancer, Endpoint, Moment, Outcome, PickContext, Proximity, Random, Registry, Retry,
//!     RetryDecision, Traffic,
//! };
//! # let address = |text: &str| weir_agent::addr::EndpointAddr::new(text.parse().unwrap());
//! # let now = Moment::at(Duration::from_secs(1));
//! # let (unix_now, deadline) = (1_700_000_000, None);
//! # let send = |to: weir_agent::addr::EndpointAddr| {
//! #     if to.to_string() == "10.0.0.1:80" { Outcome::Connect } else { Outcome::Status(200) }
//! # };
//! // When a worker first needs the Service's port, and `update` whenever snapshot or policy change.
//! let mut random = Random::seeded(7);
//! let registry = Registry::default();
//! let traffic = Arc::new(Traffic { retry: Some(Retry::default()), ..Traffic::default() });
//! let shared = registry.of("shop", "pay", &traffic);
//! let endpoints = ["10.0.0.1:80", "10.0.0.2:80"]
//!     .map(|text| Endpoint { address: address(text), proximity: Proximity::Elsewhere });
//! let balancer = Balancer::new(&endpoints, traffic, shared, now, &mut random);
//!
//! // A request comes: once, whatever its tries.
//! let traffic = balancer.traffic();
//! balancer.began(now);
//! let fault = traffic.fault.decide(&mut random);
//! assert_eq!(fault.abort, None); // otherwise: wait `fault.delay`, answer with `fault.abort`
//! let hash = traffic.hash_of(|_| None, || "10.0.0.9".into());
//! let mut tried = Vec::new();
//! let answer = loop {
//!     // Each try: refused with 503 when there is no endpoint or the circuit breaker is open.
//!     let context = PickContext { now, random: &mut random, hash, tried: &tried };
//!     let picked = balancer.pick(context).expect("an endpoint");
//!     tried.push(picked.address());
//!     // Get a connection (`breaker.enter(Bound::Pending)` while waiting, `Bound::Connections` for each that
//!     // is made), send, wait for the head at most `retry.per_try_timeout`; then `picked.responded(now)`.
//!     let outcome = send(picked.address());
//!     // Here, when the response or its trailers are over; dropped on the way, it counts as under way no more.
//!     picked.finished(now, outcome);
//!     let Some(retry) = &traffic.retry else { break outcome };
//!     let attempt = Attempt {
//!         now, unix_now, deadline, method: "GET", grpc: false, body_kept: true, head_sent: false,
//!         retries: tried.len() as u32 - 1, outcome, retry_after: None, grpc_push_back: None,
//!     };
//!     match balancer.decide(retry, &attempt, &mut random) {
//!         RetryDecision::Retry(wait) => assert!(wait < Duration::from_millis(250)), // sleep so long
//!         RetryDecision::GiveUp(_) => break outcome,
//!     }
//! };
//! assert_eq!(answer, Outcome::Status(200));
//! ```
//! A response whose status is retried is decided on at its head, before a byte of it goes to the client; a
//! gRPC status in trailers that follow a body comes too late (`head_sent`), one in a response without a body
//! does not. With a route's own retries, `retry` is [`Retry::for_route`]'s.

mod balance;
mod breaker;
mod compile;
mod duration;
mod fault;
mod form;
mod hash;
mod index;
mod limit;
mod lint;
mod moment;
mod outcome;
mod outlier;
mod random;
mod retry;
mod settings;
mod shared;
mod spec;

pub use balance::{
    Balancer, Counts, Endpoint, EndpointStatus, PickContext, PickError, Picked, Place, Proximity,
};
pub use breaker::{Bound, Breaker, Permit};
pub use duration::parse as parse_duration;
pub use fault::{FaultDecision, grpc_status};
pub use index::{ServiceKey, TrafficConflict, TrafficIndex, TrafficPolicy};
pub use limit::{Limited, Limiter, MOST_SOURCES, SourceKey};
pub use moment::Moment;
pub use outcome::Outcome;
pub use random::Random;
pub use retry::{Attempt, Budget, Conditions, Floor, GiveUp, GrpcCodes, RetryDecision, RouteRetry};
pub use settings::{
    Algorithm, Backoff, Balancing, BreakerLimits, BudgetSettings, Fault, HashOn, Locality, Outlier, Percent,
    Rate, RateLimits, Retry, SuccessRate, Traffic,
};
pub use shared::{Registry, Shared};
pub use spec::{LimitBy, TrafficPolicySpec};

#[cfg(test)]
mod tests;
