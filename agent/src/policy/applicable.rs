//! The policies that select one workload, and the verdict they give together.
//!
//! Entry points: [`Applicable`], [`Applicable::decide`]. A verdict is a function of the policies and
//! the request alone; the order in which objects came never shows in it.

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    names::{Action, Mode, PolicyRef, Tier},
    ports::PortSet,
    rule::{Part, Policy, Request},
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
    needs_layer7: bool,
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
                Part::Http(_) => applicable.needs_layer7 = true,
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

    /// Whether some rule can only be judged at layer 7.
    pub fn needs_layer7(&self) -> bool {
        self.needs_layer7
    }

    /// Decides about `request`. Its cost grows with the rules that apply, not with what they list.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let audit = self.would_deny(request);
        let denied = |by| Decision { allowed: false, by: Some(by), audit: audit.clone() };
        if let Some(rule) = first_match(&self.enforced.denies, request) {
            return denied(rule);
        }
        let mut by = None;
        for (tier, allows) in Tier::ALL.into_iter().zip(&self.enforced.allows) {
            if allows.is_empty() {
                continue;
            }
            match first_match(allows, request) {
                None => return denied(PolicyRef::default_deny(tier)),
                // A later tier is more specific, and names the verdict.
                rule => by = rule,
            }
        }
        Decision { allowed: true, by, audit }
    }

    /// What audit policies would have denied.
    fn would_deny(&self, request: &Request<'_>) -> Vec<PolicyRef> {
        let denies = self.audited.denies.iter();
        let mut would: Vec<PolicyRef> = denies.flat_map(|policy| policy.matching_rules(request)).collect();
        let tiers = Tier::ALL.into_iter().zip(self.enforced.allows.iter().zip(&self.audited.allows));
        for (tier, (enforced, audited)) in tiers {
            // Beside an enforced allow policy, one more could only widen its tier.
            let changes = enforced.is_empty() && !audited.is_empty();
            if changes && first_match(audited, request).is_none() {
                would.push(PolicyRef::default_deny(tier));
            }
        }
        would
    }
}

fn first_match(policies: &[Arc<Policy>], request: &Request<'_>) -> Option<PolicyRef> {
    policies.iter().find_map(|policy| policy.matching_rule(request))
}
