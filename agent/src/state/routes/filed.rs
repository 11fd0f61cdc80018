//! Routes and grants as they were last given, filed so that each event reaches only what it touches.
//!
//! Entry point: [`RouteInputs`]. The `put_*` functions replace one object (or take it away) and answer
//! with the Services whose routes are to be derived anew.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    attach::{self, ServiceRoutes},
    grant::ReferenceGrant,
    resolve::Referents,
    route::{Route, RouteKey},
};
use crate::state::model::{NamespacedName, Service};

type Services = BTreeSet<NamespacedName>;
type Index = BTreeMap<NamespacedName, BTreeSet<RouteKey>>;

/// Every route and grant in force.
#[derive(Debug, Default)]
pub(in crate::state) struct RouteInputs {
    routes: HashMap<RouteKey, Arc<Route>>,
    /// By the Services that are their parents.
    by_parent: Index,
    /// By the Services to which they refer.
    by_referent: Index,
    grants: BTreeMap<NamespacedName, Arc<ReferenceGrant>>,
}

impl RouteInputs {
    pub(in crate::state) fn put_route(&mut self, key: &RouteKey, new: Option<Arc<Route>>) -> Services {
        if self.routes.get(key) == new.as_ref() {
            return Services::new();
        }
        let old = self.routes.remove(key);
        let mut touched = Services::new();
        if let Some(old) = &old {
            for parent in &old.parents {
                unfile(&mut self.by_parent, &parent.service, key);
                touched.insert(parent.service.clone());
            }
            old.referents().for_each(|service| unfile(&mut self.by_referent, service, key));
        }
        if let Some(new) = new {
            for parent in &new.parents {
                self.by_parent.entry(parent.service.clone()).or_default().insert(key.clone());
                touched.insert(parent.service.clone());
            }
            for service in new.referents() {
                self.by_referent.entry(service.clone()).or_default().insert(key.clone());
            }
            self.routes.insert(key.clone(), new);
        }
        touched
    }

    pub(in crate::state) fn put_grant(
        &mut self,
        key: &NamespacedName,
        new: Option<Arc<ReferenceGrant>>,
    ) -> Services {
        if self.grants.get(key) == new.as_ref() {
            return Services::new();
        }
        match new {
            Some(new) => self.grants.insert(key.clone(), new),
            None => self.grants.remove(key),
        };
        let keys = of_namespace(&self.by_referent, &key.namespace).flat_map(|(_, keys)| keys);
        let foreign = keys.filter(|route| route.name.namespace != key.namespace);
        self.parents_of(foreign).cloned().collect()
    }

    /// The Services whose routes can differ when the Service `key` comes, goes, or has other ports.
    pub(in crate::state) fn touched_by_service(&self, key: &NamespacedName) -> Services {
        let own = self.by_parent.get_key_value(key).map(|(key, _)| key);
        let referring = self.by_referent.get(key).into_iter().flatten();
        own.into_iter().chain(self.parents_of(referring)).cloned().collect()
    }

    /// What the routes of the Service `key` amount to; none when no route names it.
    pub(in crate::state) fn derive(
        &self,
        key: &NamespacedName,
        services: &imbl::OrdMap<NamespacedName, Arc<Service>>,
    ) -> Option<ServiceRoutes> {
        let keys = self.by_parent.get(key)?;
        let routes: Vec<_> = keys.iter().filter_map(|key| self.routes.get(key)).collect();
        let service = services.get(key).map(|service| &**service);
        Some(attach::derive(key, service, &routes, &Known { inputs: self, services }))
    }

    /// Whether no object and no trace of one is left.
    #[cfg(test)]
    pub(in crate::state) fn is_empty(&self) -> bool {
        self.routes.is_empty()
            && self.by_parent.is_empty()
            && self.by_referent.is_empty()
            && self.grants.is_empty()
    }

    fn parents_of<'a>(
        &'a self,
        keys: impl Iterator<Item = &'a RouteKey>,
    ) -> impl Iterator<Item = &'a NamespacedName> {
        let routes = keys.filter_map(|key| self.routes.get(key));
        routes.flat_map(|route| route.parents.iter().map(|parent| &parent.service))
    }
}

struct Known<'a> {
    inputs: &'a RouteInputs,
    services: &'a imbl::OrdMap<NamespacedName, Arc<Service>>,
}

impl Referents for Known<'_> {
    fn service(&self, key: &NamespacedName) -> Option<&Service> {
        self.services.get(key).map(|service| &**service)
    }

    fn is_granted(&self, route: &RouteKey, to: &NamespacedName) -> bool {
        of_namespace(&self.inputs.grants, &to.namespace).any(|(_, grant)| grant.allows(route, to))
    }
}

/// The entries of one namespace.
fn of_namespace<'a, V>(
    map: &'a BTreeMap<NamespacedName, V>,
    namespace: &'a Arc<str>,
) -> impl Iterator<Item = (&'a NamespacedName, &'a V)> {
    let from = NamespacedName::new(namespace.clone(), "");
    map.range(from..).take_while(move |(key, _)| key.namespace == *namespace)
}

fn unfile(index: &mut Index, service: &NamespacedName, key: &RouteKey) {
    if let Some(keys) = index.get_mut(service) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(service);
        }
    }
}
