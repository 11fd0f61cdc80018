//! What the references of a route lead to.
//!
//! Entry point: [`resolve`]. A reference that leads nowhere fails its own share of the requests and
//! nothing else.

use std::sync::Arc;

use super::{
    conditions::{Reason, Unresolved},
    route::{BackendRef, MirrorRef, Reference, Referent, Route, RouteKey, RouteRule},
    rule::{Backend, Destination, Mirror, Rule},
};
use crate::state::model::{NamespacedName, Service};

/// What a route can refer to.
pub(super) trait Referents {
    /// The Service of this name.
    fn service(&self, key: &NamespacedName) -> Option<&Service>;
    /// Whether some ReferenceGrant lets `route` refer to the Service `to`.
    fn is_granted(&self, route: &RouteKey, to: &NamespacedName) -> bool;
}

/// The rules of `route` at a Service of `parent_namespace`, and the references that lead nowhere.
///
/// A consumer route may refer to any namespace (GEP-1294, "Namespace boundaries"): its clients are of
/// its own namespace, and could go there themselves. A producer route needs a ReferenceGrant: it sends
/// the clients of other namespaces, under their identity, to where they did not mean to go.
pub(super) fn resolve(
    route: &Route,
    parent_namespace: &str,
    referents: &impl Referents,
) -> (Vec<Arc<Rule>>, Vec<Unresolved>) {
    let producer = *route.key().name.namespace == *parent_namespace;
    let mut resolver = Resolver { route: route.key(), producer, referents, unresolved: Vec::new() };
    let rules = route.rules.iter().map(|rule| Arc::new(resolver.rule(rule))).collect();
    (rules, resolver.unresolved)
}

struct Resolver<'a, R> {
    route: &'a RouteKey,
    producer: bool,
    referents: &'a R,
    unresolved: Vec<Unresolved>,
}

impl<R: Referents> Resolver<'_, R> {
    fn rule(&mut self, rule: &RouteRule) -> Rule {
        Rule {
            reference: rule.reference.clone(),
            filters: rule.filters.clone(),
            mirrors: self.mirrors(&rule.mirrors),
            total_weight: rule.backends.iter().map(|backend| u64::from(backend.weight)).sum(),
            backends: rule.backends.iter().map(|backend| self.backend(backend)).collect(),
            timeouts: rule.timeouts,
            retry: rule.retry.clone(),
            unusable: rule.unusable.clone(),
        }
    }

    fn backend(&mut self, backend: &BackendRef) -> Backend {
        let destination = self.destination(&backend.reference);
        Backend {
            weight: backend.weight,
            destination: match &backend.unusable {
                None => destination,
                Some(why) => Err(why.clone()),
            },
            filters: backend.filters.clone(),
            mirrors: self.mirrors(&backend.mirrors),
        }
    }

    fn mirrors(&mut self, mirrors: &[MirrorRef]) -> Vec<Mirror> {
        let mirror = |of: &MirrorRef| {
            let destination = self.destination(&of.reference).ok()?;
            Some(Mirror { destination, share: of.share })
        };
        mirrors.iter().filter_map(mirror).collect()
    }

    fn destination(&mut self, reference: &Reference) -> Result<Destination, Arc<str>> {
        let (service, port) = match &reference.object {
            Referent::Service { service, port } => (service, *port),
            Referent::Other { kind } => {
                let message = "nothing can be sent to an object of this kind, only to a Service";
                return Err(self.note(reference, kind.clone(), Reason::InvalidKind, message.into(), false));
            }
        };
        let known = self.referents.service(service);
        let has_port = known.is_some_and(|known| known.ports.iter().any(|of| of.port == port));
        let referent = format!("Service {service}:{port}");
        // Whether it exists is nobody's business to whom it is not granted.
        let foreign = service.namespace != self.route.name.namespace;
        if foreign && self.producer && !self.referents.is_granted(self.route, service) {
            let message = format!(
                "no ReferenceGrant in {} lets a {} of {} refer to it",
                service.namespace, self.route.kind, self.route.name.namespace
            );
            return Err(self.note(reference, referent, Reason::RefNotPermitted, message, known.is_some()));
        }
        if !has_port {
            let message = match known {
                None => "there is no such Service",
                Some(_) => "the Service has no such TCP port",
            };
            let exists = known.is_some();
            return Err(self.note(reference, referent, Reason::BackendNotFound, message.into(), exists));
        }
        Ok(Destination { service: service.clone(), port })
    }

    /// Notes a reference that leads nowhere, and says so for the requests that it would have had.
    fn note(
        &mut self,
        reference: &Reference,
        referent: String,
        reason: Reason,
        message: String,
        exists: bool,
    ) -> Arc<str> {
        let words = format!("{referent}: {message}");
        self.unresolved.push(Unresolved {
            field: reference.field.clone(),
            referent,
            reason,
            message,
            exists,
        });
        words.into()
    }
}
