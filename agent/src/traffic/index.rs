//! Which TrafficPolicy holds for a Service.
//!
//! Entry point: [`TrafficIndex`]. Of several that name one Service the oldest holds, whole, and of two of
//! one age the one whose name comes first (Gateway API: "Conflicts"); the others are reported. Made of
//! persistent maps, so that a snapshot costs the same however many there are.

use std::{collections::BTreeSet, sync::Arc};

use super::settings::Traffic;
use crate::policy::{PolicyKey, Warning};

/// Namespace and name of a Service.
pub type ServiceKey = PolicyKey;

/// One TrafficPolicy, compiled; immutable. Made by `TrafficPolicy::parse`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficPolicy {
    pub(super) key: PolicyKey,
    /// `metadata.creationTimestamp`, in seconds since 1970; none, for an object that no API server made.
    pub(super) created: Option<i64>,
    /// Names of Services of its own namespace; sorted.
    pub(super) services: Vec<Arc<str>>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) warnings: Vec<Warning>,
}

impl TrafficPolicy {
    /// Namespace and name.
    pub fn key(&self) -> &PolicyKey {
        &self.key
    }

    /// What it asks for.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// The Services for which it asks.
    pub fn services(&self) -> impl Iterator<Item = ServiceKey> + '_ {
        self.services.iter().map(|name| ServiceKey::new(self.key.namespace.clone(), name.clone()))
    }

    /// What its author may not expect of it.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Comes first among the policies of one Service: a policy without a date counts as the youngest.
    fn precedence(&self) -> (i64, &str) {
        (self.created.unwrap_or(i64::MAX), &self.key.name)
    }
}

/// Several policies name one Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrafficConflict {
    /// The Service.
    pub service: ServiceKey,
    /// The policy that holds.
    pub in_force: PolicyKey,
    /// One that does not, for this Service.
    pub ignored: PolicyKey,
}

impl TrafficConflict {
    /// What to say of the policy that is ignored.
    pub fn message(&self) -> String {
        format!(
            "TrafficPolicy {} holds for this Service, since it is older, or of the same age and first by \
             name; nothing of this one does",
            self.in_force
        )
    }
}

/// All TrafficPolicies. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrafficIndex {
    policies: imbl::OrdMap<PolicyKey, Arc<TrafficPolicy>>,
    /// In the order of their precedence; none is empty.
    of_service: imbl::OrdMap<ServiceKey, Arc<[Arc<TrafficPolicy>]>>,
}

impl TrafficIndex {
    /// What holds for a Service; none when no policy names it.
    pub fn traffic(&self, service: &ServiceKey) -> Option<&Arc<Traffic>> {
        Some(self.of_service.get(service)?.first()?.traffic())
    }

    /// The policy with this name.
    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<TrafficPolicy>> {
        self.policies.get(key)
    }

    /// Every policy, in the order of their names.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<TrafficPolicy>> {
        self.policies.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.of_service.is_empty()
    }

    /// Replaces a policy, or takes it away; answers with the Services for which something else holds now.
    pub fn put(&mut self, key: &PolicyKey, new: Option<Arc<TrafficPolicy>>) -> BTreeSet<ServiceKey> {
        let old = match &new {
            Some(new) => self.policies.insert(key.clone(), new.clone()),
            None => self.policies.remove(key),
        };
        let touched: BTreeSet<ServiceKey> =
            [&old, &new].into_iter().flatten().flat_map(|policy| policy.services()).collect();
        let mut changed = BTreeSet::new();
        for service in touched {
            let before = self.traffic(&service).cloned();
            self.refile(&service, key, new.as_ref());
            if self.traffic(&service) != before.as_ref() {
                changed.insert(service);
            }
        }
        changed
    }

    /// Policies that do not hold for a Service that they name, by Service and precedence.
    pub fn conflicts(&self) -> impl Iterator<Item = TrafficConflict> + '_ {
        self.of_service.iter().flat_map(|(service, policies)| {
            let (first, others) =
                policies.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
            let conflict = move |first: &Arc<TrafficPolicy>, other: &Arc<TrafficPolicy>| TrafficConflict {
                service: service.clone(),
                in_force: first.key.clone(),
                ignored: other.key.clone(),
            };
            first.into_iter().flat_map(move |first| others.iter().map(move |other| conflict(first, other)))
        })
    }

    fn refile(&mut self, service: &ServiceKey, key: &PolicyKey, new: Option<&Arc<TrafficPolicy>>) {
        let filed = self.of_service.get(service).into_iter().flat_map(|policies| policies.iter());
        let mut policies: Vec<Arc<TrafficPolicy>> =
            filed.filter(|policy| policy.key != *key).cloned().collect();
        policies.extend(new.filter(|policy| policy.services.contains(&service.name)).cloned());
        policies.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        if policies.is_empty() {
            self.of_service.remove(service);
        } else {
            self.of_service.insert(service.clone(), policies.into());
        }
    }
}
