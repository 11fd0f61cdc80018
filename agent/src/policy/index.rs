//! All policies of the cluster, found by the workloads that they select.
//!
//! Entry points: [`PolicyIndex`], [`PolicyIndex::select`]. Persistent: a clone costs a few counters,
//! and shares what does not change.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    applicable::Applicable,
    names::PolicyKey,
    rule::{Policy, Scope},
};

/// A destination workload, as far as policies select by it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Names, in its namespace, of the Services whose endpoints it is.
    pub services: &'a [Arc<str>],
}

/// All policies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PolicyIndex {
    /// The namespace whose policies select workloads of the whole mesh.
    root: Arc<str>,
    policies: imbl::OrdMap<PolicyKey, Shelved>,
    shelves: imbl::HashMap<Arc<str>, Shelf>,
}

/// A policy, and where on its namespace's shelf it lies.
#[derive(Clone, Debug)]
struct Shelved {
    policy: Arc<Policy>,
    /// The label under which a policy with a selector lies.
    label: Option<(Arc<str>, Arc<str>)>,
}

/// The policies of one namespace.
#[derive(Clone, Debug, Default)]
struct Shelf {
    everyone: Bucket,
    /// By name and value of one label of the selector.
    labels: imbl::HashMap<Arc<str>, imbl::HashMap<Arc<str>, Bucket>>,
    services: imbl::HashMap<Arc<str>, Bucket>,
}

type Bucket = imbl::OrdMap<PolicyKey, Arc<Policy>>;

impl Default for PolicyIndex {
    /// No policies; the root namespace is `weir-system`.
    fn default() -> Self {
        Self::new("weir-system")
    }
}

impl PolicyIndex {
    /// No policies; those that come to be in the namespace `root` select workloads of the whole mesh.
    pub fn new(root: impl Into<Arc<str>>) -> Self {
        Self { root: root.into(), policies: imbl::OrdMap::new(), shelves: imbl::HashMap::new() }
    }

    /// These policies and `policy`, in place of one with the same key.
    #[must_use]
    pub fn with_policy(&self, policy: Arc<Policy>) -> Self {
        let mut index = self.clone();
        index.insert(policy);
        index
    }

    /// These policies without the one named `key`.
    #[must_use]
    pub fn without(&self, key: &PolicyKey) -> Self {
        let mut index = self.clone();
        index.remove(key);
        index
    }

    /// Adds `policy`, in place of one with the same key.
    pub fn insert(&mut self, policy: Arc<Policy>) {
        self.remove(&policy.key);
        let shelf = self.shelves.entry(policy.key.namespace.clone()).or_default();
        let label = shelf.put(&policy);
        self.policies.insert(policy.key.clone(), Shelved { policy, label });
    }

    /// Removes the policy named `key`, and returns it.
    pub fn remove(&mut self, key: &PolicyKey) -> Option<Arc<Policy>> {
        let shelved = self.policies.remove(key)?;
        if let Some(shelf) = self.shelves.get_mut(&key.namespace) {
            shelf.take(&shelved);
            if shelf.is_empty() {
                self.shelves.remove(&key.namespace);
            }
        }
        Some(shelved.policy)
    }

    /// The policy named `key`.
    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(key).map(|shelved| &shelved.policy)
    }

    /// All policies, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values().map(|shelved| &shelved.policy)
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is no policy.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies that select `target`: those of its own namespace and of the root namespace.
    ///
    /// Its cost grows with the labels and Services of `target` and with the policies that lie under
    /// one of them, not with the policies that select other workloads.
    pub fn select(&self, target: &Target<'_>) -> Arc<Applicable> {
        let mut selected = Vec::new();
        if let Some(shelf) = self.shelves.get(target.namespace) {
            shelf.by_label(target, &mut selected);
            shelf.by_service(target, &mut selected);
        }
        if target.namespace != &*self.root
            && let Some(shelf) = self.shelves.get(&self.root)
        {
            // A Service is only ever one of the policy's own namespace, so none of these selects by it.
            shelf.by_label(target, &mut selected);
        }
        Arc::new(Applicable::new(selected))
    }
}

impl Shelf {
    /// Puts `policy` where `select` looks for it; returns the label under which it lies.
    fn put(&mut self, policy: &Arc<Policy>) -> Option<(Arc<str>, Arc<str>)> {
        let entry = (policy.key.clone(), policy.clone());
        match &policy.scope {
            Scope::Everyone => {
                self.everyone.insert(entry.0, entry.1);
                None
            }
            Scope::Services(services) => {
                for service in services {
                    let bucket = self.services.entry(service.clone()).or_default();
                    bucket.insert(entry.0.clone(), entry.1.clone());
                }
                None
            }
            Scope::Labels(labels) => {
                // Under its rarest label: thousands of policies that share `env=prod` and differ in
                // `app` must not lie in one heap.
                let (name, value) = labels.iter().min_by_key(|(name, value)| self.under(name, value))?;
                let label: (Arc<str>, Arc<str>) = (name.as_str().into(), value.as_str().into());
                let values = self.labels.entry(label.0.clone()).or_default();
                values.entry(label.1.clone()).or_default().insert(entry.0, entry.1);
                Some(label)
            }
        }
    }

    /// Takes away what `put` put there, and whatever is empty then.
    fn take(&mut self, shelved: &Shelved) {
        let key = &shelved.policy.key;
        match (&shelved.policy.scope, &shelved.label) {
            (Scope::Services(services), _) => {
                services.iter().for_each(|service| take_from(&mut self.services, service, key));
            }
            (_, Some((name, value))) => {
                if let Some(values) = self.labels.get_mut(name) {
                    take_from(values, value, key);
                    if values.is_empty() {
                        self.labels.remove(name);
                    }
                }
            }
            (_, None) => {
                self.everyone.remove(key);
            }
        }
    }

    /// How many policies lie under a label.
    fn under(&self, name: &str, value: &str) -> usize {
        self.labels.get(name).and_then(|values| values.get(value)).map_or(0, Bucket::len)
    }

    fn is_empty(&self) -> bool {
        self.everyone.is_empty() && self.labels.is_empty() && self.services.is_empty()
    }

    /// Those that select by label or select everyone.
    fn by_label(&self, target: &Target<'_>, selected: &mut Vec<Arc<Policy>>) {
        selected.extend(self.everyone.values().cloned());
        for (name, value) in target.labels {
            let bucket = self.labels.get(name.as_str()).and_then(|values| values.get(value.as_str()));
            let policies = bucket.into_iter().flat_map(Bucket::values);
            selected.extend(policies.filter(|policy| has_all(target.labels, &policy.scope)).cloned());
        }
    }

    /// Those that select by Service; one that names several of the target's comes several times.
    fn by_service(&self, target: &Target<'_>, selected: &mut Vec<Arc<Policy>>) {
        let buckets = target.services.iter().filter_map(|service| self.services.get(service));
        selected.extend(buckets.flat_map(Bucket::values).cloned());
    }
}

fn take_from(buckets: &mut imbl::HashMap<Arc<str>, Bucket>, at: &Arc<str>, key: &PolicyKey) {
    if let Some(bucket) = buckets.get_mut(at) {
        bucket.remove(key);
        if bucket.is_empty() {
            buckets.remove(at);
        }
    }
}

fn has_all(labels: &BTreeMap<String, String>, scope: &Scope) -> bool {
    let Scope::Labels(wanted) = scope else { return false };
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

#[cfg(test)]
impl PolicyIndex {
    /// Whether not even an empty shelf or bucket is left.
    pub(super) fn holds_nothing(&self) -> bool {
        self.policies.is_empty() && self.shelves.is_empty()
    }

    /// The most policies under one label.
    pub(super) fn fullest_bucket(&self) -> usize {
        let values = self.shelves.values().flat_map(|shelf| shelf.labels.values());
        values.flat_map(|values| values.values()).map(Bucket::len).max().unwrap_or(0)
    }
}
