//! Faults on purpose: which request is delayed, and which is answered instead of sent.
//!
//! Entry point: [`Fault::decide`], once for each request, before an endpoint is chosen: a retry gets no
//! fault of its own.

use std::time::Duration;

use super::{random::Random, settings::Fault};

/// What happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultDecision {
    /// It waits this long first.
    pub delay: Option<Duration>,
    /// It is then answered with this status and not sent.
    pub abort: Option<u16>,
}

impl Fault {
    /// Decides about one request; delay and abort are independent of each other.
    pub fn decide(&self, random: &mut Random) -> FaultDecision {
        FaultDecision {
            delay: self.delay.filter(|(share, _)| random.happens(*share)).map(|(_, time)| time),
            abort: self.abort.filter(|(share, _)| random.happens(*share)).map(|(_, status)| status),
        }
    }
}

/// The gRPC status by which a call is answered where a request would be with HTTP `status` (gRPC:
/// "HTTP to gRPC Status Code Mapping").
pub fn grpc_status(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::settings::Percent;

    #[test]
    fn faults_happen_to_their_share_of_requests_independently() {
        let half = Percent::of_hundred(50);
        let fault = Fault { delay: Some((half, Duration::from_secs(1))), abort: Some((half, 503)) };
        let mut random = Random::seeded(9);
        let decisions: Vec<FaultDecision> = (0..10_000).map(|_| fault.decide(&mut random)).collect();
        let count = |test: fn(&FaultDecision) -> bool| decisions.iter().filter(|of| test(of)).count();
        for (what, found, wanted) in [
            ("delayed", count(|of| of.delay == Some(Duration::from_secs(1))), 5_000),
            ("aborted", count(|of| of.abort == Some(503)), 5_000),
            ("both", count(|of| of.delay.is_some() && of.abort.is_some()), 2_500),
        ] {
            assert!(found.abs_diff(wanted) < 300, "{what}: {found}");
        }
    }

    #[test]
    fn without_faults_nothing_happens() {
        let mut random = Random::seeded(9);
        for fault in [Fault::default(), Fault { delay: None, abort: Some((Percent::NONE, 503)) }] {
            assert!((0..1000).all(|_| fault.decide(&mut random) == FaultDecision::default()));
        }
    }
}
