//! What becomes of a request that a rule matches.
//!
//! Entry point: [`Rule::outcome`]. Where the request goes is drawn by weight; whether a backend has
//! endpoints is for those to see who send it there.

use std::sync::Arc;

use super::{
    filters::{Filters, Redirect, Share},
    route::{Retry, RuleRef, Timeouts},
};
use crate::state::model::NamespacedName;

/// A rule in force at one Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which one.
    pub reference: Arc<RuleRef>,
    /// Applied whatever the backend.
    pub filters: Arc<Filters>,
    /// Where copies go whatever the backend; those that lead nowhere are left out.
    pub mirrors: Vec<Mirror>,
    /// Where requests go.
    pub backends: Vec<Backend>,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// When they are tried again; absent: nothing is said.
    pub retry: Option<Retry>,
    pub(super) unusable: Option<Arc<str>>,
    pub(super) total_weight: u64,
}

/// One of a rule's `backendRefs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// From 0 to 1 000 000.
    pub weight: u32,
    /// The Service, or why there is none: then its share of requests is answered with an error.
    pub destination: Result<Destination, Arc<str>>,
    /// Applied to requests for this backend alone, after those of the rule.
    pub filters: Arc<Filters>,
    /// Where copies of requests for this backend go.
    pub mirrors: Vec<Mirror>,
}

/// A port of a Service: of its endpoints, whatever routes attach to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The Service.
    pub service: NamespacedName,
    /// The Service's port.
    pub port: u16,
}

/// `RequestMirror`: copies go to one endpoint of a Service, and their answers nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// Which of the requests.
    pub share: Share,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// It is answered with a redirect.
    Redirect(&'a Redirect),
    /// It is forwarded; without ready endpoints it is answered with 503.
    Forward(&'a Destination, &'a Backend),
    /// It is answered with 500, gRPC with UNAVAILABLE; why, for people.
    Fail(&'a str),
}

impl Rule {
    /// What becomes of a request with the random number `random`, of which each is as likely. A
    /// preflight request is answered by `filters.cors` before.
    pub fn outcome(&self, random: u32) -> Outcome<'_> {
        if let Some(why) = &self.unusable {
            return Outcome::Fail(why);
        }
        if let Some(redirect) = &self.filters.redirect {
            return Outcome::Redirect(redirect);
        }
        let Some(backend) = self.pick(random) else {
            return Outcome::Fail("the rule has no backend to forward to");
        };
        match (&backend.destination, &backend.filters.redirect) {
            (Err(why), _) => Outcome::Fail(why),
            (Ok(_), Some(redirect)) => Outcome::Redirect(redirect),
            (Ok(destination), None) => Outcome::Forward(destination, backend),
        }
    }

    /// The backend for a request with the random number `random`: each has its share by weight, whether
    /// it leads anywhere or not. None when no backend has any weight.
    pub fn pick(&self, random: u32) -> Option<&Backend> {
        let mut left = (u64::from(random) * self.total_weight) >> 32;
        self.backends.iter().find(|backend| {
            let weight = u64::from(backend.weight);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        })
    }

    /// The backends that lead somewhere: for who prepares connections to them.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.backends.iter().filter_map(|backend| backend.destination.as_ref().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(weights: &[u32]) -> Rule {
        let backends: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(n, weight)| Backend {
                weight: *weight,
                destination: Ok(Destination {
                    service: NamespacedName::new("shop", format!("s{n}")),
                    port: 80,
                }),
                filters: Arc::default(),
                mirrors: vec![],
            })
            .collect();
        Rule {
            reference: Arc::new(RuleRef::new(&NamespacedName::new("shop", "r"), 0, None)),
            filters: Arc::default(),
            mirrors: vec![],
            total_weight: weights.iter().map(|weight| u64::from(*weight)).sum(),
            backends,
            timeouts: Timeouts::default(),
            retry: None,
            unusable: None,
        }
    }

    #[test]
    fn each_backend_has_its_share_by_weight_and_none_has_nothing() {
        let tables: [&[u32]; 6] = [&[1], &[1, 1], &[90, 10], &[0, 3, 0, 1], &[1_000_000, 1], &[5, 0]];
        for weights in tables {
            let rule = rule(weights);
            let draws = 10_000u32;
            let mut counts = vec![0u32; weights.len()];
            for n in 0..draws {
                let random = (u64::from(n) * u64::from(u32::MAX) / u64::from(draws - 1)) as u32;
                let picked = rule.pick(random).expect("a backend");
                let at = rule.backends.iter().position(|of| std::ptr::eq(of, picked)).expect("one of them");
                counts[at] += 1;
            }
            for (weight, count) in weights.iter().zip(&counts) {
                let share = f64::from(*weight) / rule.total_weight as f64 * f64::from(draws);
                assert!((f64::from(*count) - share).abs() <= 1.0, "{weights:?}: {counts:?}");
                assert!(*weight > 0 || *count == 0, "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn where_no_backend_has_weight_the_request_fails() {
        for weights in [&[][..], &[0], &[0, 0]] {
            assert!(matches!(rule(weights).outcome(7), Outcome::Fail(_)), "{weights:?}");
        }
    }
}
