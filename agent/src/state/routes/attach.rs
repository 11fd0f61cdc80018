//! What routes amount to at one Service: who attaches to which port, what their references lead to,
//! and what is to be said of them.
//!
//! Entry points: [`derive`], [`ServiceRoutes`]. A pure function of the objects in force, so that the
//! order in which they came cannot matter. From GEP-1294 (xRoutes Mesh Binding): producer and consumer
//! routes, ports, and which kind of route wins.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    conditions::{Condition, ConditionType, ParentStatus, Reason, Unresolved},
    index::Routes,
    resolve::{Referents, resolve},
    route::{ParentRef, Route, RouteKind},
    rule::Rule,
};
use crate::state::model::{NamespacedName, Service, ServicePort};

/// The routes of one Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceRoutes {
    producer: Ports,
    /// By the namespace of the clients, which is that of the routes.
    consumers: BTreeMap<Arc<str>, Ports>,
    statuses: Vec<ParentStatus>,
}

/// The ports of a Service to which anything attaches.
type Ports = BTreeMap<u16, Arc<Routes>>;

impl ServiceRoutes {
    /// The routes for clients of a namespace on one port: consumer routes of that namespace, or else
    /// the Service's own. None: no route attaches, and requests are forwarded to the Service as it is.
    pub fn on_port(&self, client_namespace: &str, port: u16) -> Option<&Arc<Routes>> {
        let own = self.consumers.get(client_namespace).and_then(|ports| ports.get(&port));
        own.or_else(|| self.producer.get(&port))
    }

    /// Whether any route attaches, for whichever client and port.
    pub fn any(&self) -> bool {
        !self.producer.is_empty() || self.consumers.values().any(|ports| !ports.is_empty())
    }

    /// The namespaces whose clients have routes of their own on some port.
    pub fn consumers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.consumers.keys()
    }

    /// What is to be said of the routes that name this Service as a parent, in the order of their names.
    pub fn statuses(&self) -> &[ParentStatus] {
        &self.statuses
    }
}

/// What `routes` amount to at the Service `key`; each names it as a parent.
pub(super) fn derive(
    key: &NamespacedName,
    service: Option<&Service>,
    routes: &[&Arc<Route>],
    referents: &impl Referents,
) -> ServiceRoutes {
    let mut groups: BTreeMap<Option<&Arc<str>>, Vec<&Arc<Route>>> = BTreeMap::new();
    for route in routes {
        let namespace = &route.key().name.namespace;
        let consumer = Some(namespace).filter(|namespace| **namespace != key.namespace);
        groups.entry(consumer).or_default().push(route);
    }
    let mut derived = ServiceRoutes::default();
    for (consumer, routes) in groups {
        let group = Group::new(key, service, &routes, referents);
        derived.statuses.extend(group.statuses());
        let ports = group.ports();
        match consumer {
            None => derived.producer = ports,
            Some(namespace) if !ports.is_empty() => {
                derived.consumers.insert(namespace.clone(), ports);
            }
            Some(_) => {}
        }
    }
    derived
        .statuses
        .sort_by(|one, other| (&one.route, one.parent.index).cmp(&(&other.route, other.parent.index)));
    derived
}

/// Routes of one Service that count for the same clients: only these are merged, and only among these
/// is there a conflict between kinds. Another namespace's routes must not push a Service's own aside.
struct Group<'a> {
    service: Option<&'a Service>,
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    route: &'a Route,
    /// Those of its parents that are the Service.
    parents: Vec<&'a ParentRef>,
    rules: Vec<Arc<Rule>>,
    unresolved: Vec<Unresolved>,
}

impl<'a> Group<'a> {
    fn new(
        key: &NamespacedName,
        service: Option<&'a Service>,
        routes: &[&'a Arc<Route>],
        referents: &impl Referents,
    ) -> Self {
        let member = |route: &&'a Arc<Route>| {
            let (rules, unresolved) = resolve(route, &key.namespace, referents);
            let parents = route.parents.iter().filter(|parent| parent.service == *key).collect();
            Member { route, parents, rules, unresolved }
        };
        let members = routes.iter().map(member).collect();
        // A headless Service has no address at which a client would ask for it.
        let service = service.filter(|service| !service.addresses.is_empty());
        Self { service, members }
    }

    fn service_ports(&self) -> impl Iterator<Item = &'a ServicePort> {
        self.service.into_iter().flat_map(|service| &service.ports)
    }

    /// The members that attach to a port, whatever their kind.
    fn on_port(&self, port: &ServicePort) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(|member| {
            member.route.attaches() && member.parents.iter().any(|parent| selects(parent, port))
        })
    }

    /// The kind of route that a port has: GRPCRoutes before HTTPRoutes (GEP-1294, "Route types").
    fn kind_on_port(&self, port: &ServicePort) -> Option<RouteKind> {
        self.on_port(port).map(|member| member.route.key().kind).min()
    }

    fn ports(&self) -> Ports {
        let mut ports = Ports::new();
        // Ports with the same routes share them.
        let mut made: Vec<(Vec<*const Route>, Arc<Routes>)> = Vec::new();
        for port in self.service_ports() {
            let Some(kind) = self.kind_on_port(port) else {
                continue;
            };
            let members: Vec<_> =
                self.on_port(port).filter(|member| member.route.key().kind == kind).collect();
            let which: Vec<_> = members.iter().map(|member| std::ptr::from_ref(member.route)).collect();
            let routes = match made.iter().find(|(of, _)| *of == which) {
                Some((_, routes)) => routes.clone(),
                None => {
                    let members: Vec<_> =
                        members.iter().map(|member| (member.route, &member.rules[..])).collect();
                    let routes = Arc::new(Routes::new(kind, &members));
                    made.push((which, routes.clone()));
                    routes
                }
            };
            ports.insert(port.port, routes);
        }
        ports
    }

    fn statuses(&self) -> impl Iterator<Item = ParentStatus> {
        self.members.iter().flat_map(|member| member.parents.iter().map(|parent| self.status(member, parent)))
    }

    fn status(&self, member: &Member<'_>, parent: &ParentRef) -> ParentStatus {
        let route = member.route;
        let accepted = self.accepted(member, parent);
        let mut conditions = vec![accepted];
        conditions.push(match member.unresolved.first() {
            None => condition(ConditionType::ResolvedRefs, true, Reason::ResolvedRefs, "all references"),
            Some(first) => {
                let all: Vec<_> = member.unresolved.iter().map(ToString::to_string).collect();
                condition(ConditionType::ResolvedRefs, false, first.reason, all.join("; "))
            }
        });
        if conditions[0].status && !route.faults.is_empty() {
            let reason = Reason::UnsupportedValue;
            conditions.push(condition(ConditionType::PartiallyInvalid, true, reason, dropped(route)));
        }
        ParentStatus {
            route: route.key().clone(),
            generation: route.generation,
            parent: parent.clone(),
            conditions,
            unresolved: member.unresolved.clone(),
            parent_exists: self.service.is_some(),
        }
    }

    fn accepted(&self, member: &Member<'_>, parent: &ParentRef) -> Condition {
        let no = |reason, message: String| condition(ConditionType::Accepted, false, reason, message);
        let service = &parent.service;
        if self.service.is_none() {
            let message = format!("there is no Service {service} with an address of its own");
            return no(Reason::NoMatchingParent, message);
        }
        let meant: Vec<_> = self.service_ports().filter(|port| selects(parent, port)).collect();
        if meant.is_empty() {
            return no(Reason::NoMatchingParent, format!("Service {service} has no such TCP port"));
        }
        let route = member.route;
        if !route.is_acceptable() {
            return no(Reason::UnsupportedValue, dropped(route));
        }
        let kind = route.key().kind;
        if meant.iter().all(|port| self.kind_on_port(port).is_some_and(|winner| winner != kind)) {
            let message = format!("a GRPCRoute is attached to the same ports of Service {service}");
            return no(Reason::Conflicted, message);
        }
        condition(ConditionType::Accepted, true, Reason::Accepted, format!("attached to Service {service}"))
    }
}

/// Whether a parent reference means this port of the Service.
fn selects(parent: &ParentRef, port: &ServicePort) -> bool {
    parent.port.is_none_or(|number| number == port.port)
        && parent.section.as_ref().is_none_or(|name| *name == port.name)
}

/// The words that the specification asks for: `Dropped Rule`, and which.
fn dropped(route: &Route) -> String {
    let faults: Vec<_> = route.faults.iter().map(ToString::to_string).collect();
    format!("Dropped Rule(s): {}", faults.join("; "))
}

fn condition(kind: ConditionType, status: bool, reason: Reason, message: impl Into<String>) -> Condition {
    Condition { kind, status, reason, message: message.into() }
}
