//! What is suspicious about a route beside other objects, when only some of these are known.
//!
//! Entry point: [`warnings`]. A Service that is not known may be elsewhere: nothing is said of it.

use std::collections::BTreeMap;

use super::{
    conditions::{ConditionType, ParentStatus, Reason},
    route::RouteKey,
};
use crate::{policy::Warning, state::Snapshot};

/// What does not hold of each route among the objects of `cluster`.
pub fn warnings(cluster: &Snapshot) -> BTreeMap<RouteKey, Vec<Warning>> {
    let mut warnings: BTreeMap<RouteKey, Vec<Warning>> = BTreeMap::new();
    for status in cluster.route_statuses() {
        for (field, message) in at_parent(status) {
            let of_route = warnings.entry(status.route.clone()).or_default();
            let warning = Warning { field, message };
            // Two parents say the same of one reference.
            if !of_route.contains(&warning) {
                of_route.push(warning);
            }
        }
    }
    warnings
}

fn at_parent(status: &ParentStatus) -> Vec<(String, String)> {
    let mut said = Vec::new();
    if let Some(accepted) = status.condition(ConditionType::Accepted)
        && !accepted.status
        && status.parent_exists
        // What is wrong with its rules is said as an error of them.
        && accepted.reason != Reason::UnsupportedValue
    {
        let field = format!("spec.parentRefs[{}]", status.parent.index);
        said.push((field, format!("{}: {}", accepted.reason.word(), accepted.message)));
    }
    for unresolved in &status.unresolved {
        if unresolved.exists || unresolved.reason == Reason::InvalidKind {
            let (reason, referent) = (unresolved.reason.word(), &unresolved.referent);
            said.push((unresolved.field.clone(), format!("{reason}: {referent}: {}", unresolved.message)));
        }
    }
    said
}
