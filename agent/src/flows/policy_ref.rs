//! A policy's verdict as a flow record names it.
//!
//! Entry point: `record::PolicyRef::from`. Policy knows nothing of flows, so this stands here.

use std::sync::Arc;

use super::record;
use crate::policy;

impl From<&policy::PolicyRef> for record::PolicyRef {
    fn from(decided: &policy::PolicyRef) -> Self {
        let (namespace, name) = match &decided.key {
            Some(key) => (key.namespace.clone(), key.name.clone()),
            None => (Arc::default(), Arc::default()),
        };
        Self {
            tier: decided.tier.word().into(),
            namespace,
            name,
            rule: decided.rule,
            action: decided.action.word().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        flows::record,
        policy::{PolicyKey, PolicyRef, RefAction, Tier},
    };

    #[test]
    fn a_flow_names_a_rule_as_the_policy_does() {
        let rule = PolicyRef {
            tier: Tier::Application,
            key: Some(PolicyKey::new("shop", "pay-callers")),
            rule: Some(0),
            action: RefAction::Allow,
        };
        for decided in [rule, PolicyRef::default_deny(Tier::Security)] {
            let flow = serde_json::to_value(record::PolicyRef::from(&decided)).expect("plain data");
            assert_eq!(flow, serde_json::to_value(&decided).expect("plain data"));
        }
    }
}
