//! All RequestAuthentications of the cluster, and what those that select one workload ask together.
//!
//! Entry points: [`AuthenticationIndex::select`], [`Authentication`]. The order in which objects came never shows.
//!
//! A token is taken when any rule for its issuer takes it. Where the root namespace has a rule for an issuer,
//! those of other namespaces for that issuer do not count: whoever runs an app must not bring their own keys
//! for an issuer that the platform's policies rely on.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::{
    forward,
    keys::{Reach, Source},
    rules::{IssuerRule, Location, RequestAuthentication},
};
use crate::policy::{PolicyKey, Scope, Target};

/// All RequestAuthentications. Persistent: a clone costs a few counters.
#[derive(Clone, Debug)]
pub struct AuthenticationIndex {
    /// The namespace whose objects select workloads of the whole mesh.
    root: Arc<str>,
    objects: imbl::OrdMap<PolicyKey, Shelved>,
}

/// An object, and its rules with as much reach as its namespace has.
#[derive(Clone, Debug)]
struct Shelved {
    object: Arc<RequestAuthentication>,
    rules: Vec<Arc<IssuerRule>>,
}

impl AuthenticationIndex {
    /// No objects; those that come to be in the namespace `root` select workloads of the whole mesh.
    pub fn new(root: impl Into<Arc<str>>) -> Self {
        Self { root: root.into(), objects: imbl::OrdMap::new() }
    }

    /// The object named `key`.
    pub fn object(&self, key: &PolicyKey) -> Option<&Arc<RequestAuthentication>> {
        self.objects.get(key).map(|shelved| &shelved.object)
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.objects.values().map(|shelved| &shelved.object)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Adds `object`, in place of one with the same key.
    pub fn insert(&mut self, object: Arc<RequestAuthentication>) {
        let reach = if object.key.namespace == self.root { Reach::Node } else { Reach::Network };
        let rules = object.issuers.iter().map(|rule| Arc::new(rule.reaching(reach))).collect();
        self.objects.insert(object.key.clone(), Shelved { object, rules });
    }

    /// Removes the object named `key`, and returns it.
    pub fn remove(&mut self, key: &PolicyKey) -> Option<Arc<RequestAuthentication>> {
        self.objects.remove(key).map(|shelved| shelved.object)
    }

    /// What the objects that select `target` ask together: those of its own namespace and of the root
    /// namespace. Its cost grows with the objects of these two.
    pub fn select(&self, target: &Target<'_>) -> Arc<Authentication> {
        let mut rules: Vec<Arc<IssuerRule>> = self.selecting(&self.root, target).cloned().collect();
        let mut eclipsed = Vec::new();
        if target.namespace != &*self.root {
            let own = self.selecting(target.namespace, target).cloned();
            let (without, of_root): (Vec<_>, Vec<_>) =
                own.partition(|rule| rules.iter().all(|root| root.issuer != rule.issuer));
            rules.extend(without);
            eclipsed = of_root;
        }
        Arc::new(Authentication::new(rules, &eclipsed))
    }

    /// The rules of the objects in `namespace` that select `target`, in the order of the objects' names.
    fn selecting<'a>(
        &'a self,
        namespace: &str,
        target: &'a Target<'_>,
    ) -> impl Iterator<Item = &'a Arc<IssuerRule>> {
        let namespace: Arc<str> = namespace.into();
        // Within another namespace, a Service can only be one of that namespace.
        let own = *namespace == *target.namespace;
        let from = PolicyKey::new(namespace.clone(), "");
        let of_namespace = self.objects.range(from..).map(|(_, shelved)| shelved);
        of_namespace
            .take_while(move |shelved| shelved.object.key.namespace == namespace)
            .filter(move |shelved| {
                let by_service = matches!(shelved.object.scope, Scope::Services(_));
                (own || !by_service) && shelved.object.scope.selects(target)
            })
            .flat_map(|shelved| &shelved.rules)
    }
}

/// Whose tokens one workload takes, and from where in a request. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    rules: Vec<Arc<IssuerRule>>,
    locations: Vec<Location>,
    asserted: Vec<Arc<str>>,
    bucket: u64,
}

impl Authentication {
    /// Those rules in force. The app may trust the headers of `eclipsed` ones all the same, so that clients' are
    /// taken out.
    pub(super) fn new(rules: Vec<Arc<IssuerRule>>, eclipsed: &[Arc<IssuerRule>]) -> Self {
        let mut locations: Vec<Location> = Vec::new();
        for location in rules.iter().flat_map(|rule| &rule.locations) {
            if !locations.contains(location) {
                locations.push(location.clone());
            }
        }
        let forwards = rules.iter().chain(eclipsed).flat_map(|rule| &rule.forwards);
        let asserted: BTreeSet<Arc<str>> = forwards.map(|forward| forward.header.clone()).collect();
        let mut hasher = DefaultHasher::new();
        rules.iter().for_each(|rule| Arc::as_ptr(rule).hash(&mut hasher));
        Self { rules, locations, asserted: asserted.into_iter().collect(), bucket: hasher.finish() }
    }

    /// Whether no object selects the workload: then requests are not looked at, and nobody is a user.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The headers, in lower case, that only the agent may set: those of every client's request are to be
    /// taken out after the token has been read. So are, everywhere, those of [`forward::is_reserved`].
    pub fn asserted_headers(&self) -> &[Arc<str>] {
        &self.asserted
    }

    /// Whether a client's header `name` (lower case) is to be taken out.
    pub fn asserts(&self, name: &str) -> bool {
        forward::is_reserved(name) || self.asserted.iter().any(|header| **header == *name)
    }

    /// Where keys are fetched from.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.rules.iter().filter_map(|rule| rule.source())
    }

    /// Whose tokens are taken; first the root namespace's.
    pub(super) fn rules(&self) -> &[Arc<IssuerRule>] {
        &self.rules
    }

    /// Where tokens are looked for, each place once.
    pub(super) fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// Differs, most likely, where the rules differ: keeps what is remembered for one workload apart from
    /// what is remembered for others. Nothing may be concluded from its being the same.
    pub(super) fn bucket(&self) -> u64 {
        self.bucket
    }
}
