//! Layer 7: requests with mutual TLS, a route, a policy, metrics and records, beside no mesh and a pair of Envoys.
//!
//! Entry point: [`measure`]. The same pods stand three times: without agents and with two Envoys beside them; with
//! agents; with agents that know of a thousand routes and ten thousand policies of others. Rounds go from one way to
//! the next, as everywhere in the bench.

mod body;
mod client;
mod envoy;
mod neighbour;
mod objects;
mod samples;
mod stage;
pub(super) mod table;

use std::thread;

use anyhow::Result;

use self::{
    body::Body,
    client::Users,
    envoy::Pairs,
    neighbour::Neighbours,
    samples::{Protocol, Samples, Way},
    stage::Stage,
};
use super::{Plan, REST, cost::Memory, figures::Congestion, load::Load};
use crate::checkout::Checkout;

pub(super) use envoy::VERSION as ENVOY;

/// All that was found out about layer 7.
pub(super) struct Results {
    samples: Samples,
    memory: MemoryOf,
    bodies: Vec<Body>,
    neighbours: Neighbours,
}

/// Resident memory of each process, in bytes.
#[derive(Default)]
struct MemoryOf {
    /// The two agents when they were ready.
    at_start: Memory,
    /// The two agents when the last request was answered.
    right_after_load: Memory,
    /// The two agents once they had come to rest.
    after_load: Memory,
    /// The two Envoys for HTTP/1.1, then too.
    envoys: Memory,
    /// The two agents with the routes and policies of others, then too.
    crowded: Memory,
}

/// Fetches what is not there yet, so that measuring fetches nothing.
pub(super) fn prepare(checkout: &Checkout) -> Result<()> {
    envoy::program(checkout).map(drop)
}

/// The three stages, built and measured.
pub(super) fn measure(
    checkout: &Checkout,
    load: &Load,
    plan: &Plan,
    congestion: Congestion,
) -> Result<Results> {
    let users = Users::new()?;
    let plain = Stage::new(load, congestion)?;
    let pairs = Pairs::start(&envoy::program(checkout)?, load, &plain)?;
    let mut meshed = Stage::new(load, congestion)?;
    meshed.start_agents(&users.keys, false)?;
    let mut crowded = Stage::new(load, congestion)?;
    crowded.start_agents(&users.keys, true)?;

    let mut samples = Samples::default();
    let mut memory = MemoryOf { at_start: meshed.memory()?, ..MemoryOf::default() };
    let stages = Stages { plain: &plain, pairs: &pairs, meshed: &meshed, crowded: &crowded };
    for protocol in Protocol::ALL {
        for &way in Way::of(protocol) {
            stages.measure(load, plan, &users, protocol, way)?;
        }
    }
    for round in 1..=plan.request_rounds {
        eprintln!("requests, round {round} of {}", plan.request_rounds);
        for protocol in Protocol::ALL {
            for &way in Way::of(protocol) {
                samples.add(protocol, way, stages.measure(load, plan, &users, protocol, way)?);
            }
        }
    }
    memory.right_after_load = meshed.memory()?;
    thread::sleep(REST);
    memory.after_load = meshed.memory()?;
    memory.crowded = crowded.memory()?;
    memory.envoys = pairs.memory()?;
    drop(crowded);

    eprintln!("neighbours");
    let neighbours = neighbour::measure(load, plan, &plain, &meshed)?;
    eprintln!("large bodies");
    let bodies = body::measure(load, &meshed)?;
    Ok(Results { samples, memory, bodies, neighbours })
}

/// What stands for the ways of a request.
struct Stages<'a> {
    plain: &'a Stage,
    pairs: &'a Pairs,
    meshed: &'a Stage,
    crowded: &'a Stage,
}

impl Stages<'_> {
    fn measure(
        &self,
        load: &Load,
        plan: &Plan,
        users: &Users,
        protocol: Protocol,
        way: Way,
    ) -> Result<samples::Measured> {
        let (stage, address) = match way {
            Way::Plain => (self.plain, self.plain.pod_address(protocol)),
            Way::Envoy => (self.plain, envoy::address(protocol)),
            Way::Meshed | Way::Unchecked => (self.meshed, stage::service_address(protocol)),
            Way::Checked => (self.meshed, stage::CHECKED),
            Way::Crowded => (self.crowded, stage::service_address(protocol)),
        };
        let cpu = || match way {
            Way::Envoy => self.pairs.cpu(),
            _ => stage.cpu(),
        };
        let before = cpu()?;
        let mut measured = match protocol {
            Protocol::Http1 => {
                let users = matches!(way, Way::Checked | Way::Unchecked).then_some(users);
                client::wrk(stage, address, users, plan.requests)?
            }
            Protocol::Http2 | Protocol::Grpc => client::h2(load, stage, address, protocol, plan.requests)?,
        };
        measured.cpu_us = (cpu()? - before).as_secs_f64() * 1e6 / measured.count;
        Ok(measured)
    }
}
