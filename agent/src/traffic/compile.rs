//! From the spec that an operator wrote to a [`TrafficPolicy`] that holds.
//!
//! Entry point: [`TrafficPolicy::parse`]. Every value becomes a type here, once, and its range is checked;
//! all that is wrong is reported at once. What each part of the spec means is said in [`parts`].

mod parts;

use std::sync::Arc;

use serde_json::Value;

use super::{index::TrafficPolicy, lint, settings::Traffic, spec::TrafficPolicySpec};
use crate::{
    identity::{Identity, TrustDomain},
    policy::{
        FieldError, PolicyKey, TargetRefSpec,
        field::{Fault, Faults, FieldPath},
        read,
    },
};

impl TrafficPolicy {
    /// Reads and compiles the `spec` of a TrafficPolicy. `created` is `metadata.creationTimestamp` in
    /// seconds since 1970.
    ///
    /// # Errors
    /// Everything that is wrong with it: unknown fields, wrong types, values out of range, and parts that ask
    /// for nothing.
    pub fn parse(key: PolicyKey, created: Option<i64>, spec: Value) -> Result<Self, Vec<FieldError>> {
        read::parse(&FieldPath::spec(), spec, |spec: TrafficPolicySpec| compile(key, created, &spec))
    }
}

fn compile(
    key: PolicyKey,
    created: Option<i64>,
    spec: &TrafficPolicySpec,
) -> Result<TrafficPolicy, Vec<Fault>> {
    let path = FieldPath::spec();
    let mut faults = Faults::default();
    let services = targets(&path.key("targetRefs"), &spec.target_refs, &mut faults);
    let traffic = Traffic { policy: Some(key.clone()), ..parts::traffic(&path, spec, &mut faults) };
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    let warnings = lint::warnings(&traffic);
    Ok(TrafficPolicy { key, created, services, traffic: Arc::new(traffic), warnings })
}

fn targets(path: &FieldPath, targets: &[TargetRefSpec], faults: &mut Faults) -> Vec<Arc<str>> {
    if targets.is_empty() {
        faults.add(path.clone(), "[]", "names no Service: nothing would be treated so");
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
        // What can stand in an identity is what a Kubernetes name is made of.
        match Identity::new(&TrustDomain::default(), &target.name, "any") {
            Ok(_) => services.push(Arc::from(&*target.name)),
            Err(_) => faults.add(
                path.key("name"),
                &target.name,
                "not a name: lower-case letters, digits, '-' and '.' only",
            ),
        }
    }
    services.sort_unstable();
    services.dedup();
    services
}
