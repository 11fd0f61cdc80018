//! The policies that select one workload, and the verdict they give together.
//!
//! Entry points: [`Applicable`], [`Applicable::decide`]; `connection` has what can be decided before the
//! first request. A verdict is a function of the policies and
//! the request alone; the order in which objects came never shows in it.

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    http::HttpPart,
    names::{Action, Mode, PolicyRef, Tier},
    ports::PortSet,
    rule::{Doubt, Part, Policy, Request},
};

/// What is decided about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes through.
    pub allowed: bool,
    /// What decided. Denied: the first rule that denies, or else the first tier whose default does.
    /// Allowed: the first rule that allows, in the most specific tier that has allow policies; none
    /// when no tier has any.
    pub by: Option<PolicyRef>,
    /// What audit policies would have denied, had they been enforced beside the others: each of their
    /// deny rules that matches, then each tier that would have denied by default for their sake.
    pub audit: Vec<PolicyRef>,
}

/// The policies that select one workload. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Applicable {
    /// All, by tier, namespace and name.
    policies: Vec<Arc<Policy>>,
    enforced: Verdicts,
    audited: Verdicts,
    ports: PortSet,
    networks: Vec<IpNet>,
    looks_at_http: bool,
    looks_at_paths: bool,
}

/// The policies of one mode, in the order of [`Applicable::policies`].
#[derive(Clone, Debug, Default)]
struct Verdicts {
    denies: Vec<Arc<Policy>>,
    /// By tier, in the order of [`Tier::ALL`].
    allows: [Vec<Arc<Policy>>; Tier::ALL.len()],
}

impl Applicable {
    /// Those `policies` together, whatever they select.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let mut policies: Vec<Arc<Policy>> = policies.into_iter().collect();
        policies.sort_unstable_by(|a, b| (a.tier, &a.key).cmp(&(b.tier, &b.key)));
        policies.dedup_by(|a, b| a.key == b.key);
        let mut applicable = Self::default();
        for policy in &policies {
            let verdicts = match policy.mode {
                Mode::Enforce => &mut applicable.enforced,
                Mode::Audit => &mut applicable.audited,
            };
            match policy.action {
                Action::Deny => verdicts.denies.push(policy.clone()),
                Action::Allow => verdicts.allows[policy.tier as usize].push(policy.clone()),
            }
        }
        let mut ranges = Vec::new();
        for part in policies.iter().flat_map(|policy| policy.parts()) {
            match part {
                Part::Ports(ports) => ranges.extend_from_slice(ports),
                Part::Cidrs(networks) => applicable.networks.extend_from_slice(networks.written()),
                Part::Http(part) => {
                    applicable.looks_at_http = true;
                    applicable.looks_at_paths |= matches!(part, HttpPart::Paths(_));
                }
                Part::ServiceAccounts(_) | Part::Namespaces(_) | Part::Identities(_) => {}
            }
        }
        applicable.ports = PortSet::new(ranges);
        applicable.networks.sort_unstable();
        applicable.networks.dedup();
        applicable.policies = policies;
        applicable
    }

    /// Whether no policy selects the workload, so that everything is allowed.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies, by tier, namespace and name.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Where the rules, of audit policies too, tell ports apart.
    pub fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// The networks that the rules, of audit policies too, name: sorted, each once. Two addresses with
    /// the same longest match among them are decided alike.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether the source's address can matter.
    pub fn uses_addresses(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether some rule, of audit policies too, looks at HTTP requests; whose, `needs_http` says.
    pub fn looks_at_http(&self) -> bool {
        self.looks_at_http
    }

    /// Whether some rule looks at paths: then the application has to be given the path that was judged,
    /// not the one that was sent, lest it reads that in another way.
    pub fn looks_at_paths(&self) -> bool {
        self.looks_at_paths
    }

    /// Decides about `request`. Its cost grows with the rules that apply, and by a logarithm at most with
    /// what they list; it allocates nothing but what audit policies would have denied.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let (allowed, by) = self.verdict(request, Doubt::FailsSafe);
        Decision { allowed, by, audit: self.would_deny(request) }
    }

    /// What the enforced policies decide: whether `request` is allowed, and by what.
    pub(super) fn verdict(&self, request: &Request<'_>, doubt: Doubt) -> (bool, Option<PolicyRef>) {
        if let Some(rule) = first_match(&self.enforced.denies, request, doubt) {
            return (false, Some(rule));
        }
        let mut by = None;
        for (tier, allows) in Tier::ALL.into_iter().zip(&self.enforced.allows) {
            if allows.is_empty() {
                continue;
            }
            match first_match(allows, request, doubt) {
                None => return (false, Some(PolicyRef::default_deny(tier))),
                // A later tier is more specific, and names the verdict.
                rule => by = rule,
            }
        }
        (true, by)
    }

    /// What audit policies would have denied.
    pub(super) fn would_deny(&self, request: &Request<'_>) -> Vec<PolicyRef> {
        let denies = self.audited.denies.iter();
        let matching = denies.flat_map(|policy| policy.matching_rules(request, Doubt::FailsSafe));
        let mut would: Vec<PolicyRef> = matching.collect();
        for (tier, audited) in self.audited_tiers() {
            if first_match(audited, request, Doubt::FailsSafe).is_none() {
                would.push(PolicyRef::default_deny(tier));
            }
        }
        would
    }

    /// Whether what audit policies would have denied hangs on what is not known of `request`.
    pub(super) fn audit_is_in_doubt(&self, request: &Request<'_>) -> bool {
        let decided = |audited, doubt| first_match(audited, request, doubt).is_some();
        self.audited.denies.iter().any(|policy| policy.is_in_doubt(request))
            || self
                .audited_tiers()
                .any(|(_, audited)| decided(audited, Doubt::FailsSafe) != decided(audited, Doubt::Benefits))
    }

    /// The tiers that audited allow policies would deny by default. Beside an enforced allow policy, one
    /// more could only widen its tier.
    fn audited_tiers(&self) -> impl Iterator<Item = (Tier, &[Arc<Policy>])> {
        let tiers = Tier::ALL.into_iter().zip(self.enforced.allows.iter().zip(&self.audited.allows));
        let changes = tiers.filter(|(_, (enforced, audited))| enforced.is_empty() && !audited.is_empty());
        changes.map(|(tier, (_, audited))| (tier, audited.as_slice()))
    }
}

fn first_match(policies: &[Arc<Policy>], request: &Request<'_>, doubt: Doubt) -> Option<PolicyRef> {
    policies.iter().find_map(|policy| policy.matching_rule(request, doubt))
}
