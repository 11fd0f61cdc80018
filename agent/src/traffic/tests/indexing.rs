//! Which policy holds for a Service.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;

use super::parse;
use crate::{
    policy::PolicyKey,
    traffic::{ServiceKey, TrafficIndex, TrafficPolicy},
};

fn policy(name: &str, created: Option<i64>, services: &[&str], attempts: u32) -> Arc<TrafficPolicy> {
    let targets: Vec<_> = services.iter().map(|name| json!({"kind": "Service", "name": name})).collect();
    let spec = json!({"targetRefs": targets, "retry": {"attempts": attempts}});
    Arc::new(parse(name, created, spec).expect("a right policy"))
}

fn pay() -> ServiceKey {
    ServiceKey::new("shop", "pay")
}

fn in_force(index: &TrafficIndex) -> Option<String> {
    Some(index.traffic(&pay())?.policy.as_ref()?.name.to_string())
}

#[test]
fn the_oldest_policy_of_a_service_holds_and_the_others_are_named() {
    let mut index = TrafficIndex::default();
    let mut put = |policy: Arc<TrafficPolicy>| index.put(policy.key(), Some(policy.clone())).len();
    assert_eq!(put(policy("undated", None, &["pay"], 1)), 1);
    assert_eq!(put(policy("young", Some(200), &["pay"], 1)), 1);
    assert_eq!(put(policy("old", Some(100), &["pay", "cart"], 1)), 2);
    assert_eq!(put(policy("a-young", Some(200), &["pay"], 1)), 0, "it changes nothing");
    assert_eq!(in_force(&index).as_deref(), Some("old"));
    let ignored: Vec<String> = index.conflicts().map(|of| of.ignored.name.to_string()).collect();
    assert_eq!(ignored, ["a-young", "young", "undated"]);
    let conflict = index.conflicts().next().expect("a conflict");
    assert_eq!((conflict.service, conflict.in_force.to_string()), (pay(), "shop/old".into()));

    let old = PolicyKey::new("shop", "old");
    assert_eq!(index.put(&old, None).len(), 2);
    assert_eq!(in_force(&index).as_deref(), Some("a-young"));
    assert_eq!(index.traffic(&ServiceKey::new("shop", "cart")), None);
    assert_eq!(index.traffic(&ServiceKey::new("other", "pay")), None, "a policy is of its own namespace");
}

proptest! {
    #[test]
    fn what_holds_depends_on_the_policies_and_not_on_the_order_in_which_they_came(
        steps in vec((select(&["a", "b", "c"][..]), option::of((option::of(0i64..3), 1u32..4, any::<bool>()))), 1..30),
    ) {
        let mut index = TrafficIndex::default();
        let mut last = std::collections::BTreeMap::new();
        for (name, of) in steps {
            let new = of.map(|(created, attempts, both)| {
                policy(name, created, if both { &["pay", "cart"] } else { &["cart"] }, attempts)
            });
            index.put(&PolicyKey::new("shop", name), new.clone());
            last.insert(name, new);
        }
        let mut afresh = TrafficIndex::default();
        for policy in last.values().rev().flatten() {
            afresh.put(policy.key(), Some(policy.clone()));
        }
        for service in [pay(), ServiceKey::new("shop", "cart")] {
            prop_assert_eq!(index.traffic(&service), afresh.traffic(&service));
        }
        prop_assert!(index.conflicts().eq(afresh.conflicts()));
        for (name, policy) in last {
            if policy.is_some() {
                index.put(&PolicyKey::new("shop", name), None);
            }
        }
        prop_assert!(index.is_empty());
    }
}
