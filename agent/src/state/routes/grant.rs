//! Who may refer to Services of another namespace.
//!
//! Entry points: [`ReferenceGrant::parse`], [`ReferenceGrant::allows`].

use serde_json::Value;

use super::{
    route::{RouteKey, RouteKind},
    spec::ReferenceGrantSpec,
};
use crate::{
    policy::{
        FieldError,
        field::{Fault, Faults, FieldPath},
        read,
    },
    state::model::NamespacedName,
};

pub(super) const GROUP: &str = "gateway.networking.k8s.io";
/// The specification's bound for `from` and for `to`.
const MOST_ENTRIES: usize = 16;

/// A ReferenceGrant (gateway.networking.k8s.io v1, v1beta1), as far as it concerns routes and Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    key: NamespacedName,
    from: Vec<(RouteKind, String)>,
    /// Names of Services; none in the place of a name: all of them.
    to: Vec<Option<String>>,
}

impl ReferenceGrant {
    /// Reads the `spec` of a ReferenceGrant. Kinds that are no routes, and objects that are no Services,
    /// are right and mean nothing here.
    ///
    /// # Errors
    /// Every field that is not what it should be.
    pub fn parse(key: NamespacedName, spec: Value) -> Result<Self, Vec<FieldError>> {
        read::parse(&FieldPath::spec(), spec, |spec: ReferenceGrantSpec| compile(key, &spec))
    }

    /// Namespace and name.
    pub fn key(&self) -> &NamespacedName {
        &self.key
    }

    /// Whether `route` may refer to the Service `to`.
    pub(super) fn allows(&self, route: &RouteKey, to: &NamespacedName) -> bool {
        self.key.namespace == to.namespace
            && self
                .from
                .iter()
                .any(|(kind, namespace)| *kind == route.kind && **namespace == *route.name.namespace)
            && self.to.iter().any(|name| name.as_deref().is_none_or(|name| *name == *to.name))
    }
}

fn compile(key: NamespacedName, spec: &ReferenceGrantSpec) -> Result<ReferenceGrant, Vec<Fault>> {
    let mut faults = Faults::default();
    let root = FieldPath::spec();
    for (field, count) in [("from", spec.from.len()), ("to", spec.to.len())] {
        if count == 0 || count > MOST_ENTRIES {
            faults.add(root.key(field), count, format!("must have from 1 to {MOST_ENTRIES} entries"));
        }
    }
    let mut from = Vec::new();
    for (index, entry) in spec.from.iter().enumerate() {
        let path = root.key("from").index(index);
        for (field, value) in [("kind", &entry.kind), ("namespace", &entry.namespace)] {
            if value.is_empty() {
                faults.add(path.key(field), "", "is missing");
            }
        }
        let kind = [RouteKind::Http, RouteKind::Grpc].into_iter().find(|kind| kind.word() == entry.kind);
        match (entry.group.as_deref(), kind) {
            (None, _) => {
                faults.add(path.key("group"), "", format!("is missing; routes are of the group {GROUP}"))
            }
            (Some(GROUP), Some(kind)) => from.push((kind, entry.namespace.clone())),
            _ => {}
        }
    }
    let mut to = Vec::new();
    for (index, entry) in spec.to.iter().enumerate() {
        let path = root.key("to").index(index);
        if entry.kind.is_empty() {
            faults.add(path.key("kind"), "", "is missing");
        }
        match entry.group.as_deref() {
            None => faults.add(path.key("group"), "", "is missing; Services are of the group \"\""),
            Some("") if entry.kind == "Service" => {
                to.push(entry.name.clone().filter(|name| !name.is_empty()));
            }
            _ => {}
        }
    }
    if faults.0.is_empty() { Ok(ReferenceGrant { key, from, to }) } else { Err(faults.0) }
}
