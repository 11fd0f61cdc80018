//! TrafficPolicies as an operator writes them, and the façade as a request meets it.

mod balancing;
mod docs;
mod ejecting;
mod indexing;
mod reading;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Balancer, Endpoint, Moment, Outcome, PickContext, Picked, Proximity, Random, Shared, Traffic,
    TrafficPolicy,
};
use crate::{
    addr::EndpointAddr,
    policy::{FieldError, PolicyKey},
};

fn at(millis: u64) -> Moment {
    Moment::at(Duration::from_millis(millis))
}

fn address(number: usize) -> EndpointAddr {
    let [_, _, high, low] = (number as u32).to_be_bytes();
    EndpointAddr::new(std::net::SocketAddr::from(([10, 0, high, low], 80)))
}

fn endpoint(number: usize) -> Endpoint {
    Endpoint { address: address(number), proximity: Proximity::Elsewhere }
}

fn endpoints(count: usize) -> Vec<Endpoint> {
    (0..count).map(endpoint).collect()
}

/// The policy `shop/name` for the Service `pay`, with this besides.
fn parse(name: &str, created: Option<i64>, spec: Value) -> Result<TrafficPolicy, Vec<FieldError>> {
    let mut whole = serde_json::json!({"targetRefs": [{"kind": "Service", "name": "pay"}]});
    for (field, value) in spec.as_object().expect("fields") {
        whole[field] = value.clone();
    }
    TrafficPolicy::parse(PolicyKey::new("shop", name), created, whole)
}

fn traffic(spec: Value) -> Arc<Traffic> {
    let policy = parse("p", None, spec);
    policy.unwrap_or_else(|errors| panic!("{errors:?}")).traffic().clone()
}

/// A worker with a balancer.
struct Worker {
    balancer: Balancer,
    random: Random,
    hash: Option<u64>,
}

impl Worker {
    fn new(endpoints: &[Endpoint], traffic: Arc<Traffic>) -> Self {
        let mut random = Random::seeded(11);
        let shared = Shared::new(&traffic);
        let balancer = Balancer::new(endpoints, traffic, shared, at(0), &mut random);
        Self { balancer, random, hash: None }
    }

    fn pick(&mut self, now: Moment, tried: &[EndpointAddr]) -> Picked {
        let context = PickContext { now, random: &mut self.random, hash: self.hash, tried };
        self.balancer.pick(context).expect("an endpoint")
    }

    /// One request that ends like this after a millisecond; where it went.
    fn request(&mut self, now: Moment, outcome: impl Fn(EndpointAddr) -> Outcome) -> EndpointAddr {
        let picked = self.pick(now, &[]);
        let address = picked.address();
        picked.finished(now.after(Duration::from_millis(1)), outcome(address));
        address
    }

    /// How many of `count` picks, one after the other, went to each of the endpoints 0 to `of`.
    fn spread(&mut self, now: Moment, of: usize, count: usize) -> Vec<usize> {
        let mut spread = vec![0; of];
        for _ in 0..count {
            let address = self.request(now, |_| Outcome::Status(200));
            spread[(0..of).position(|number| self::address(number) == address).expect("a known endpoint")] +=
                1;
        }
        spread
    }

    fn ejected(&self) -> Vec<EndpointAddr> {
        let status = self.balancer.endpoints();
        status.iter().filter(|of| of.ejected_until.is_some()).map(|of| of.address).collect()
    }
}
