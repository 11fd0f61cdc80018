//! Events in, changes out: the one place where state moves.
//!
//! Entry point: [`State::apply_all`]. An event only replaces an object and marks what depends on it;
//! what is marked is then derived anew from the objects in force. So the result depends on the objects
//! alone, never on the order of events, and a thousand pods of one Service cost one look at it.

mod settle;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use super::{
    few::Few,
    input::{Event, Kind, Namespace, Object, Pod, WorkloadSlice},
    inputs::{Inputs, service_of},
    model::{NamespacedName, Node, ObjectKey},
    routes::{Route, RouteInputs, RouteKey, RouteKind},
    slices::Slices,
    snapshot::{Conflict, Snapshot},
    stand_ins::StandIns,
};
use crate::{
    identity::{Identity, TrustDomain},
    interned::Interned,
    policy::{Policy, PolicyIndex, PolicyKey},
    traffic::{RateLimits, TrafficPolicy},
    users::{AuthenticationIndex, RequestAuthentication},
};

/// What the whole mesh has in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The trust domain of every workload's identity.
    pub trust_domain: TrustDomain,
    /// The namespace whose policies select workloads of the whole mesh.
    pub root_namespace: Arc<str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { trust_domain: TrustDomain::default(), root_namespace: "weir-system".into() }
    }
}

/// Something that is not as it was, for those who must look at it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// A node came, went, or has other addresses or another place.
    Node(Arc<str>),
    /// Policies or request authentications came, went or differ.
    Policies,
    /// The routes of a Service differ, or what is to be said of them: to whom they send its requests, and
    /// whether layer 7 is needed for it.
    Routes(NamespacedName),
    /// A Service came, went or differs, or its address became, or is no longer, its alone.
    Service(NamespacedName),
    /// Requests to a Service are to be treated in another way.
    Traffic(NamespacedName),
    /// A workload came, went or differs, or its address became, or is no longer, its alone.
    Workload(NamespacedName),
}

/// The cluster's state; one task owns it, everyone else reads snapshots.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    inputs: Inputs,
    stand_ins: StandIns,
    slices: Slices,
    routes: RouteInputs,
    /// The members of each Service that has any, and its inverse.
    members: HashMap<NamespacedName, BTreeSet<Arc<str>>>,
    services_of: HashMap<NamespacedName, Few<Arc<str>>>,
    identities: Interned<Identity>,
    /// The lists of Services of which pods are members: one for all pods of a Deployment.
    memberships: Interned<Arc<[Arc<str>]>>,
    view: Snapshot,
    published: OnceLock<Arc<Snapshot>>,
}

/// What is to be derived anew, and what has changed so far.
#[derive(Default)]
struct Marks {
    services: BTreeSet<NamespacedName>,
    /// Services whose routes are to be derived.
    routed: BTreeSet<NamespacedName>,
    workloads: BTreeSet<NamespacedName>,
    changes: BTreeSet<Change>,
    decisions: bool,
}

impl State {
    /// A cluster with nothing in it.
    pub fn new(settings: Settings) -> Self {
        let root = settings.root_namespace.clone();
        let view = Snapshot::new(PolicyIndex::new(root.clone()), AuthenticationIndex::new(root));
        Self {
            settings,
            inputs: Inputs::default(),
            stand_ins: StandIns::default(),
            slices: Slices::default(),
            routes: RouteInputs::default(),
            members: HashMap::new(),
            services_of: HashMap::new(),
            identities: Interned::default(),
            memberships: Interned::default(),
            view,
            published: OnceLock::new(),
        }
    }

    /// Applies one event; what did not change anything answers with no change.
    pub fn apply(&mut self, event: Event) -> Vec<Change> {
        self.apply_all([event])
    }

    /// Applies events together: each thing they touch is derived once.
    pub fn apply_all(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Change> {
        let mut marks = Marks::default();
        for event in events {
            match event {
                Event::Apply(object) => self.put(object, &mut marks),
                Event::Delete(key) => self.delete(&key, &mut marks),
            }
        }
        self.conclude(marks)
    }

    /// Notes the addresses that its network gave a pod, known to its kubelet by `uid`, for as long as the API does not
    /// tell them: see [`StandIns`]. Answers with no change where there is no such pod, or it has no address of its own.
    pub fn stand_in(&mut self, key: &NamespacedName, uid: &str, addresses: Vec<IpAddr>) -> Vec<Change> {
        let mut marks = Marks::default();
        let pod = self.inputs.pod(key).filter(|pod| *pod.kubelet_uid == *uid && !pod.host_network);
        if let Some(pod) = pod.cloned() {
            let pod = Arc::new(self.stand_ins.note(&pod, addresses.into()));
            self.replace_pod(key, Some(pod), &mut marks);
        }
        self.conclude(marks)
    }

    /// Takes back what a pod was given: what the API told counts.
    pub fn withdraw(&mut self, key: &NamespacedName) -> Vec<Change> {
        let mut marks = Marks::default();
        if let Some(pod) = self.inputs.pod(key).and_then(|pod| self.stand_ins.withdraw(pod)) {
            self.replace_pod(key, Some(Arc::new(pod)), &mut marks);
        }
        self.conclude(marks)
    }

    /// The namespaces whose pods are in the mesh unless they say otherwise.
    pub fn enrolled_namespaces(&self) -> BTreeSet<Arc<str>> {
        let enrolled = self.inputs.namespaces().filter(|namespace| namespace.settings.mesh == Some(true));
        enrolled.map(|namespace| namespace.name.clone()).collect()
    }

    /// Whether a namespace is one of those; none when there is no such namespace.
    pub fn is_enrolled(&self, namespace: &str) -> Option<bool> {
        self.inputs.namespace(namespace).map(|namespace| namespace.settings.mesh == Some(true))
    }

    fn conclude(&mut self, mut marks: Marks) -> Vec<Change> {
        self.settle(&mut marks);
        if !marks.changes.is_empty() {
            self.view.generation += 1;
            self.view.policy_generation += u64::from(marks.decisions);
            self.published = OnceLock::new();
        }
        marks.changes.into_iter().collect()
    }

    /// The state as it is now. Costs the same whatever the state's size.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.get_or_init(|| Arc::new(self.view.clone())).clone()
    }

    /// Addresses that several pods, or several Services, claim: none of them has it.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.view.conflicts()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
            && self.stand_ins.is_empty()
            && self.slices.is_empty()
            && self.routes.is_empty()
            && self.members.is_empty()
            && self.services_of.is_empty()
            && self.view.is_empty()
    }

    fn put(&mut self, object: Object, marks: &mut Marks) {
        match object {
            Object::Namespace(namespace) => {
                let name = namespace.name.clone();
                self.put_namespace(&name, Some(namespace), marks);
            }
            Object::Node(node) => self.put_node(&node.name.clone(), Some(node), marks),
            // A finished pod is as good as gone: its address may already be another's.
            Object::Pod(pod) => {
                let key = pod.key.clone();
                self.put_pod(&key, Some(pod).filter(|pod| !pod.finished), marks);
            }
            Object::WorkloadSlice(slice) => self.put_workload_slice(&slice.key.clone(), Some(slice), marks),
            Object::Service(service) => {
                let key = service.key.clone();
                let old = self.inputs.put_service(&key, Some(service.clone()));
                if old.as_ref() != Some(&service) {
                    marks.services.insert(key);
                }
            }
            Object::EndpointSlice(slice) => {
                let key = slice.key.clone();
                let old = self.inputs.put_slice(&key, Some(slice.clone()));
                if old.as_ref() != Some(&slice) {
                    marks.services.extend(
                        [Some(service_of(&slice)), old.as_deref().map(service_of)].into_iter().flatten(),
                    );
                }
            }
            Object::Route(route) => self.put_route(&route.key().clone(), Some(route), marks),
            Object::ReferenceGrant(grant) => {
                marks.routed.extend(self.routes.put_grant(&grant.key().clone(), Some(grant)));
            }
            Object::AccessPolicy(policy) => self.put_policy(&policy.key().clone(), Some(policy), marks),
            Object::RequestAuthentication(object) => {
                self.put_authentication(&object.key().clone(), Some(object), marks);
            }
            Object::TrafficPolicy(policy) => self.put_traffic(&policy.key().clone(), Some(policy), marks),
        }
    }

    fn delete(&mut self, ObjectKey { kind, namespace, name }: &ObjectKey, marks: &mut Marks) {
        let Ok(kind) = kind.parse() else {
            return;
        };
        let key = NamespacedName::new(namespace.clone(), name.clone());
        match kind {
            Kind::Namespace => self.put_namespace(name, None, marks),
            Kind::Node => self.put_node(name, None, marks),
            Kind::Pod => self.put_pod(&key, None, marks),
            Kind::WorkloadSlice => self.put_workload_slice(&key, None, marks),
            Kind::Service => {
                if self.inputs.put_service(&key, None).is_some() {
                    marks.services.insert(key);
                }
            }
            Kind::EndpointSlice => {
                let old = self.inputs.put_slice(&key, None);
                marks.services.extend(old.as_deref().map(service_of));
            }
            Kind::HttpRoute => self.put_route(&RouteKey { kind: RouteKind::Http, name: key }, None, marks),
            Kind::GrpcRoute => self.put_route(&RouteKey { kind: RouteKind::Grpc, name: key }, None, marks),
            Kind::ReferenceGrant => marks.routed.extend(self.routes.put_grant(&key, None)),
            Kind::AccessPolicy => {
                self.put_policy(&PolicyKey::new(namespace.clone(), name.clone()), None, marks);
            }
            Kind::RequestAuthentication => {
                self.put_authentication(&PolicyKey::new(namespace.clone(), name.clone()), None, marks);
            }
            Kind::TrafficPolicy => {
                self.put_traffic(&PolicyKey::new(namespace.clone(), name.clone()), None, marks);
            }
        }
    }

    fn put_namespace(&mut self, name: &Arc<str>, new: Option<Arc<Namespace>>, marks: &mut Marks) {
        let old = self.inputs.put_namespace(name, new.clone());
        if old != new {
            marks.workloads.extend(self.inputs.pods_of_namespace(name));
        }
    }

    fn put_node(&mut self, name: &Arc<str>, new: Option<Arc<Node>>, marks: &mut Marks) {
        let old = match new.clone() {
            Some(new) => self.view.nodes.insert(name.clone(), new),
            None => self.view.nodes.remove(name),
        };
        if old != new {
            marks.changes.insert(Change::Node(name.clone()));
        }
    }

    fn put_pod(&mut self, key: &NamespacedName, new: Option<Arc<Pod>>, marks: &mut Marks) {
        let new = self.stand_ins.resolve(key, new).or_else(|| self.slices.pod(key).cloned());
        self.replace_pod(key, new, marks);
    }

    fn put_workload_slice(
        &mut self,
        key: &NamespacedName,
        new: Option<Arc<WorkloadSlice>>,
        marks: &mut Marks,
    ) {
        for pod in self.slices.put(key, new) {
            // One that was told itself is better known so.
            if self.inputs.pod(&pod).is_none_or(|known| known.sliced) {
                let said = self.slices.pod(&pod).cloned();
                self.replace_pod(&pod, said, marks);
            }
        }
    }

    fn replace_pod(&mut self, key: &NamespacedName, new: Option<Arc<Pod>>, marks: &mut Marks) {
        if self.inputs.pod(key) == new.as_ref() {
            return;
        }
        let old = self.inputs.put_pod(key, new.clone());
        marks.workloads.insert(key.clone());
        if old.as_deref().map(endpoint_face) != new.as_deref().map(endpoint_face) {
            for pod in [&old, &new].into_iter().flatten() {
                marks.services.extend(self.inputs.services_selecting(pod).cloned());
            }
        }
        let (before, after) = (claimed(old.as_deref()), claimed(new.as_deref()));
        for address in before.difference(&after) {
            self.view.workload_addresses.release(*address, key);
            self.mark_address(*address, marks);
        }
        for address in after.difference(&before) {
            self.view.workload_addresses.claim(*address, key);
            self.mark_address(*address, marks);
        }
    }

    /// Marks all that can depend on who claims a pod's address.
    fn mark_address(&self, address: IpAddr, marks: &mut Marks) {
        marks.services.extend(self.inputs.services_at(address));
        for claimant in self.view.workload_addresses.claimants(address) {
            marks.changes.insert(Change::Workload(claimant.clone()));
            if let Some(pod) = self.inputs.pod(claimant) {
                marks.services.extend(self.inputs.services_selecting(pod).cloned());
            }
        }
    }

    fn put_route(&mut self, key: &RouteKey, new: Option<Arc<Route>>, marks: &mut Marks) {
        marks.routed.extend(self.routes.put_route(key, new));
    }

    fn put_policy(&mut self, key: &PolicyKey, new: Option<Arc<Policy>>, marks: &mut Marks) {
        let policies = &mut self.view.policies;
        if policies.policy(key) == new.as_ref() {
            return;
        }
        *policies = match new {
            Some(new) => policies.with_policy(new),
            None => policies.without(key),
        };
        self.view.policies_version += 1;
        marks.decisions = true;
        marks.changes.insert(Change::Policies);
    }

    fn put_authentication(
        &mut self,
        key: &PolicyKey,
        new: Option<Arc<RequestAuthentication>>,
        marks: &mut Marks,
    ) {
        let authentications = &mut self.view.authentications;
        if authentications.object(key) == new.as_ref() {
            return;
        }
        match new {
            Some(new) => authentications.insert(new),
            None => _ = authentications.remove(key),
        }
        self.view.authentications_version += 1;
        // Who is a user, and whether layer 7 must be carried to know, is a part of every decision.
        marks.decisions = true;
        marks.changes.insert(Change::Policies);
    }

    fn put_traffic(&mut self, key: &PolicyKey, new: Option<Arc<TrafficPolicy>>, marks: &mut Marks) {
        if self.view.traffic.policy(key) == new.as_ref() {
            return;
        }
        let limits = |policy: Option<&Arc<TrafficPolicy>>| {
            policy.is_some_and(|policy| policy.traffic().rate_limits != RateLimits::default())
        };
        if limits(self.view.traffic.policy(key)) || limits(new.as_ref()) {
            // Whether requests must be counted is a part of every decision.
            marks.decisions = true;
            marks.changes.insert(Change::Policies);
        }
        let services = self.view.traffic.put(key, new);
        let named = services.into_iter().map(|of| NamespacedName::new(of.namespace, of.name));
        marks.changes.extend(named.map(Change::Traffic));
    }
}

/// What Services see of a pod beyond its name and address.
fn endpoint_face(pod: &Pod) -> impl PartialEq + '_ {
    (&pod.labels, &pod.addresses, pod.ready, pod.host_network, &pod.named_ports)
}

/// The addresses that are a pod's own: a host-network pod has none, it shares its node's.
fn claimed(pod: Option<&Pod>) -> BTreeSet<IpAddr> {
    let own = pod.filter(|pod| !pod.host_network);
    own.map(|pod| pod.addresses.iter().copied().collect()).unwrap_or_default()
}
