//! What a pod that asks as much as it can does to another one of the same nodes.
//!
//! Entry points: [`measure`], [`Neighbours`]. The quiet pod asks at an even pace, alone and then beside the noisy one.
//! The noisy pod's own programs, client and server, run only when nobody else wants the processor: on a machine
//! with two cores they would disturb the quiet pod's programs themselves, and that no mesh could help.

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    super::{
        Plan,
        figures::median,
        load::{Core, Load},
    },
    client::{self, REPORT, run, wrk_words},
    samples::Protocol,
    stage::{BUSY, HTTP1, IDLE, LIMITED, Stage, service_address},
};

/// Requests a second of the quiet pod, and its connections, which come to lie on every worker.
const RATE: &str = "400";
const CONNECTIONS: &str = "4";
/// Connections of the noisy one.
const NOISY: usize = 64;
/// Until the noise is there.
const LEAD: Duration = Duration::from_millis(500);

/// Who makes noise, and what holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Noise {
    /// Without a mesh.
    Plain,
    /// As much as agents let through.
    Free,
    /// To a Service with a bound on requests a second.
    Limited,
}

impl Noise {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Free, Self::Limited];
}

/// One round of one noise.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    /// The quiet pod's p99 without noise.
    pub(super) alone_us: f64,
    /// With it.
    pub(super) beside_us: f64,
    /// Requests a second of the noisy pod that were answered, if only by a refusal.
    pub(super) noise: f64,
}

/// Rounds by noise.
#[derive(Default)]
pub(super) struct Neighbours(BTreeMap<Noise, Vec<Beside>>);

impl Neighbours {
    /// The median over rounds of a figure.
    pub(super) fn median(&self, noise: Noise, of: fn(&Beside) -> f64) -> Option<f64> {
        median(self.0.get(&noise)?.iter().map(of).collect())
    }
}

/// Each noise once a round.
pub(super) fn measure(load: &Load, plan: &Plan, plain: &Stage, meshed: &Stage) -> Result<Neighbours> {
    let mut neighbours = Neighbours::default();
    for _ in 0..plan.rounds {
        for noise in Noise::ALL {
            let (stage, quiet, noisy) = match noise {
                Noise::Plain => (plain, plain.far.v4(HTTP1), plain.busy.v4(HTTP1)),
                Noise::Free => (meshed, service_address(Protocol::Http1), BUSY),
                Noise::Limited => (meshed, service_address(Protocol::Http1), LIMITED),
            };
            neighbours.0.entry(noise).or_default().push(one(load, plan.pace, stage, quiet, noisy)?);
        }
    }
    Ok(neighbours)
}

fn one(load: &Load, time: Duration, stage: &Stage, quiet: SocketAddr, noisy: SocketAddr) -> Result<Beside> {
    let paced = || -> Result<f64> {
        let words = ["pace", &quiet.to_string(), &time.as_millis().to_string(), RATE, CONNECTIONS];
        Ok(client::measured(&run(load, &stage.client, Core::Client, &words)?)?.p99_us)
    };
    let alone_us = paced()?;
    let words = wrk_words(stage, "noisy", NOISY, noisy, REPORT, time + 3 * LEAD)?;
    let mut noise = stage.noisy.spawn(IDLE.iter().copied().chain(words.iter().map(String::as_str)))?;
    thread::sleep(LEAD);
    let beside_us = paced()?;
    ensure!(noise.is_running()?, "the noise ended early: {}", noise.log());
    let (measured, _) = client::read(&noise.finish()?.success()?)?;
    Ok(Beside { alone_us, beside_us, noise: measured.rate })
}
