//! `spec.parentRefs`.
//!
//! Entry point: `Compiler::parents` (Gateway API, `ParentReference`). Parents that are not Services are
//! other controllers' business.

use std::{collections::BTreeMap, sync::Arc};

use super::{Compiler, MOST_PARENTS, values};
use crate::{
    policy::field::FieldPath,
    state::{
        model::NamespacedName,
        routes::{grant::GROUP, route::ParentRef, spec::ParentRefSpec},
    },
};

impl Compiler<'_> {
    /// The Services among the parents.
    pub(super) fn parents(&mut self, path: &FieldPath, given: &[ParentRefSpec]) -> Vec<ParentRef> {
        self.at_most(path, given.len(), MOST_PARENTS);
        let mut parents = Vec::new();
        for (index, spec) in given.iter().enumerate() {
            let path = path.index(index);
            let group = spec.group.as_deref().unwrap_or(GROUP);
            let kind = spec.kind.as_deref().unwrap_or("Gateway");
            if (group, kind) == ("", "Service") {
                parents.extend(self.parent(&path, index, spec));
            } else if kind == "Service" {
                let message =
                    "is not the core Service, so the route does not attach to it: write group: \"\"";
                self.warn(&path.key("group"), message);
            }
        }
        self.distinct(path, &parents);
        if parents.is_empty() {
            self.warn(path, "no parent is a Service: the route means nothing to the mesh");
        }
        parents
    }

    fn parent(&mut self, path: &FieldPath, index: usize, spec: &ParentRefSpec) -> Option<ParentRef> {
        let name = self.parsed(path.key("name"), &spec.name, values::name(&spec.name));
        let namespace = match spec.namespace.as_deref() {
            None | Some("") => Some(self.key.name.namespace.clone()),
            Some(text) => {
                self.parsed(path.key("namespace"), text, values::name(text).map(|()| Arc::from(text)))
            }
        };
        let section = spec.section_name.as_deref().filter(|section| !section.is_empty());
        if let Some(section) = section {
            self.parsed(path.key("sectionName"), section, values::name(section))?;
        }
        let port = match spec.port {
            None => None,
            Some(port) => Some(self.port(path.key("port"), port)?),
        };
        name?;
        let service = NamespacedName::new(namespace?, spec.name.as_str());
        Some(ParentRef { index, service, section: section.map(Arc::from), port })
    }

    /// Several references to one Service must say the same of it in different words.
    fn distinct(&mut self, path: &FieldPath, parents: &[ParentRef]) {
        let mut first: BTreeMap<&NamespacedName, &ParentRef> = BTreeMap::new();
        let mut seen = Vec::new();
        for parent in parents {
            let path = path.index(parent.index);
            let what = (&parent.service, &parent.section, parent.port);
            let before = *first.entry(&parent.service).or_insert(parent);
            let alike = before.section.is_some() == parent.section.is_some()
                && before.port.is_some() == parent.port.is_some();
            if seen.contains(&what) {
                self.faults.add(path, &parent.service, "is given twice");
            } else if !alike {
                let message = "another reference to this Service has other fields: all must have sectionName \
                               or none, and all must have port or none";
                self.faults.add(path, &parent.service, message);
            }
            seen.push(what);
        }
    }
}
