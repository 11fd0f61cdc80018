//! Which workloads an object speaks of: `selector` and `targetRefs`, the same for every kind that has them.
//!
//! Entry points: [`scope`] compiles, [`Scope::selects`] asks. Knows nothing of what is said of them.

use std::sync::Arc;

use super::{
    field::{Faults, FieldPath},
    index::Target,
    rule::Scope,
    spec::{SelectorSpec, TargetRefSpec},
};
use crate::identity::{Identity, TrustDomain};

/// Compiles the two fields of the spec at `path`, of which at most one may be there.
pub(crate) fn scope(
    faults: &mut Faults,
    path: &FieldPath,
    selector: Option<&SelectorSpec>,
    targets: Option<&[TargetRefSpec]>,
) -> Scope {
    match (selector, targets) {
        (None, None) => Scope::Everyone,
        (Some(selector), None) => labels(faults, &path.key("selector"), selector),
        (None, Some(targets)) => services(faults, path.key("targetRefs"), targets),
        (Some(_), Some(_)) => {
            let message = "selector and targetRefs exclude each other: write two objects";
            faults.add(path.key("targetRefs"), "present beside selector", message);
            Scope::Everyone
        }
    }
}

impl Scope {
    /// Whether `target` is selected, given that the object may speak of it: it is in the target's
    /// namespace, or, where the scope names no Services, in the root namespace.
    pub(crate) fn selects(&self, target: &Target<'_>) -> bool {
        match self {
            Scope::Everyone => true,
            Scope::Labels(wanted) => {
                wanted.iter().all(|(name, value)| target.labels.get(name) == Some(value))
            }
            Scope::Services(names) => target.services.iter().any(|service| names.contains(service)),
        }
    }
}

fn labels(faults: &mut Faults, path: &FieldPath, selector: &SelectorSpec) -> Scope {
    let empty = match &selector.match_labels {
        None => Some(path.clone()),
        Some(labels) => labels.is_empty().then(|| path.key("matchLabels")),
    };
    if let Some(path) = empty {
        faults.add(path, "{}", "names no label: to select all workloads, leave spec.selector out");
    }
    let path = path.key("matchLabels");
    let labels = selector.match_labels.clone().unwrap_or_default();
    for (name, value) in &labels {
        if !is_label_name(name) || !is_label_value(value) {
            let message = "no workload has such a label (Kubernetes: label syntax)";
            faults.add(path.key(name), format!("{name}={value}"), message);
        }
    }
    Scope::Labels(labels)
}

fn services(faults: &mut Faults, path: FieldPath, targets: &[TargetRefSpec]) -> Scope {
    if targets.is_empty() {
        faults.add(path.clone(), "[]", "an empty list selects nothing: leave it out, or name a Service");
    }
    let mut services: Vec<Arc<str>> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let path = path.index(index);
        if !matches!(target.group.as_str(), "" | "core") {
            faults.add(path.key("group"), &target.group, "a Service is of the core group: \"\"");
        }
        if target.kind != "Service" {
            faults.add(path.key("kind"), &target.kind, "only Service can be a target");
        }
        match name(&target.name) {
            Ok(name) => services.push(Arc::from(&*name)),
            Err(message) => faults.add(path.key("name"), &target.name, message),
        }
    }
    services.sort_unstable();
    services.dedup();
    Scope::Services(services)
}

/// The name of a Kubernetes object: what can stand in an identity.
pub(super) fn name(text: &str) -> Result<Box<str>, String> {
    match Identity::new(&TrustDomain::default(), text, "any") {
        Ok(_) => Ok(text.into()),
        Err(_) => Err("not a name: lower-case letters, digits, '-' and '.' only, exactly as it is".into()),
    }
}

/// Kubernetes' syntax: an optional DNS prefix and `/`, then as a value that is not empty.
fn is_label_name(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("any", text));
    self::name(prefix).is_ok() && !name.is_empty() && is_label_value(name)
}

/// Kubernetes' syntax: at most 63 letters, digits, `-`, `_`, `.`, the outer ones alphanumeric.
fn is_label_value(text: &str) -> bool {
    let outer = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63
        && text.bytes().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().next_back())
}
