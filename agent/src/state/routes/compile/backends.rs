//! `rules[].backendRefs`, and the references of mirrors.
//!
//! Entry points: `Compiler::backends`, `Compiler::reference` (Gateway API, `HTTPBackendRef`,
//! `BackendObjectReference`).

use std::sync::Arc;

use super::{Compiler, MOST_BACKENDS, values};
use crate::{
    policy::field::FieldPath,
    state::{
        model::NamespacedName,
        routes::{
            route::{BackendRef, Matches, Reference, Referent},
            spec::{BackendRefSpec, ObjectRefSpec},
        },
    },
};

const MOST_WEIGHT: u32 = 1_000_000;

impl Compiler<'_> {
    pub(super) fn backends(
        &mut self,
        path: &FieldPath,
        given: &[BackendRefSpec],
        matches: Option<&Matches>,
    ) -> Vec<BackendRef> {
        self.at_most(path, given.len(), MOST_BACKENDS);
        let given = given.iter().enumerate();
        given.filter_map(|(index, of)| self.backend(&path.index(index), of, matches)).collect()
    }

    fn backend(
        &mut self,
        path: &FieldPath,
        given: &BackendRefSpec,
        matches: Option<&Matches>,
    ) -> Option<BackendRef> {
        let weight = self.within(path.key("weight"), given.weight.unwrap_or(1), 0, MOST_WEIGHT);
        let of_filters = given.filters.as_deref().unwrap_or_default();
        let filters = self.filters(&path.key("filters"), of_filters, matches);
        let reference = self.reference(
            path,
            &ObjectRefSpec {
                group: given.group.clone(),
                kind: given.kind.clone(),
                name: given.name.clone(),
                namespace: given.namespace.clone(),
                port: given.port,
            },
        );
        Some(BackendRef {
            reference: reference?,
            weight: weight?,
            filters: Arc::new(filters.filters),
            mirrors: filters.mirrors,
            unusable: filters.unusable,
        })
    }

    pub(super) fn reference(&mut self, path: &FieldPath, given: &ObjectRefSpec) -> Option<Reference> {
        let group = given.group.as_deref().unwrap_or_default();
        let kind = given.kind.as_deref().unwrap_or("Service");
        let name = self.parsed(path.key("name"), &given.name, values::name(&given.name));
        let namespace = match given.namespace.as_deref() {
            None | Some("") => Some(self.key.name.namespace.clone()),
            Some(text) => {
                self.parsed(path.key("namespace"), text, values::name(text).map(|()| Arc::from(text)))
            }
        };
        let port = match given.port {
            Some(port) => Some(self.port(path.key("port"), port)?),
            None => None,
        };
        let (_, namespace) = (name?, namespace?);
        let field = path.to_string();
        if (group, kind) != ("", "Service") {
            let group = if group.is_empty() { "core" } else { group };
            let kind = format!("{kind} ({group}) {namespace}/{}", given.name);
            return Some(Reference { field, object: Referent::Other { kind } });
        }
        let Some(port) = port else {
            self.faults.add(path.key("port"), "", "is missing: a reference to a Service has a port");
            return None;
        };
        let service = NamespacedName::new(namespace, given.name.as_str());
        Some(Reference { field, object: Referent::Service { service, port } })
    }
}
