//! One large body, up and down, and what the agents' memory does meanwhile.
//!
//! Entry points: [`measure`], [`Body`].

use anyhow::Result;

use super::{
    super::{
        cost::{self, Memory},
        load::{Core, Load, number},
    },
    client::run,
    stage::{Stage, body_address},
};

/// Bytes of a body that is large, and of one that is very large.
const LARGE: u64 = 100_000_000;
const VERY_LARGE: u64 = 1_000_000_000;

/// One kind of it.
pub(super) struct Body {
    /// As the table has it.
    pub(super) title: &'static str,
    /// The agents' memory before, in bytes.
    pub(super) before: Memory,
    /// The most with 0.1 GB.
    pub(super) large: Memory,
    /// The most with 1 GB.
    pub(super) very_large: Memory,
    /// How fast that went.
    pub(super) gbit_s: f64,
}

impl Body {
    /// How many times as much memory ten times the bytes took, in the agent where that is most.
    pub(super) fn growth(&self) -> f64 {
        let growths = self.very_large.iter().zip(&self.large).map(|(more, less)| *more as f64 / *less as f64);
        growths.fold(0.0, f64::max)
    }
}

/// Every kind of it, one after the other.
pub(super) fn measure(load: &Load, stage: &Stage) -> Result<Vec<Body>> {
    let kinds = [
        ("HTTP/1.1, download", "http1", "get"),
        ("HTTP/1.1, upload", "http1", "put"),
        ("HTTP/2, download", "http2", "get"),
        ("HTTP/2, upload", "http2", "put"),
    ];
    let one = |(title, protocol, direction)| -> Result<Body> {
        let before = stage.memory()?;
        let (large, _) = carry(load, stage, protocol, direction, LARGE)?;
        let (very_large, gbit_s) = carry(load, stage, protocol, direction, VERY_LARGE)?;
        Ok(Body { title, before, large, very_large, gbit_s })
    };
    kinds.into_iter().map(one).collect()
}

/// The most memory of each agent, and how fast it went.
fn carry(load: &Load, stage: &Stage, protocol: &str, direction: &str, bytes: u64) -> Result<(Memory, f64)> {
    stage.agents().try_for_each(cost::forget_peak)?;
    let address = body_address(protocol).to_string();
    let words = ["body", &address, direction, &bytes.to_string(), protocol];
    let figures = run(load, &stage.client, Core::Any, &words)?;
    let peak = stage.agents().map(cost::peak).collect::<Result<_>>()?;
    Ok((peak, bytes as f64 * 8.0 / number(&figures, "seconds")? / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_agent_that_grew_most() {
        let body = Body {
            title: "",
            before: vec![10, 10],
            large: vec![20, 40],
            very_large: vec![30, 40],
            gbit_s: 1.0,
        };
        assert_eq!(body.growth(), 1.5);
    }
}
