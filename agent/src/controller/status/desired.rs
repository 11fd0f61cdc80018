//! What an object's status should say.
//!
//! Entry points: [`of_own`] for Weir's kinds, [`of_route`] for routes. Pure: the object as it is in, its status out.

use serde_json::{Map, Value, json};

use crate::{policy::FieldError, state::routes::ParentStatus};

/// By which name entries of this controller are known in a route's status.
pub(super) const CONTROLLER: &str = "weir.dev/controller";
/// Longer messages are cut, in octets; the API takes 32 768.
const LONGEST: usize = 4096;
/// A route's status holds no more entries (gateway.networking.k8s.io/v1 RouteStatus).
const MOST_PARENTS: usize = 32;

/// One condition as it should be.
struct Wanted {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

/// The status of an object of Weir's own kinds, of which `faults` are wrong; `beside` is in force in its place somewhere.
pub(super) fn of_own(object: &Value, faults: &[FieldError], beside: &[String], now: &str) -> Value {
    let accepted = match faults {
        [] => {
            Wanted { kind: "Accepted", status: true, reason: "Accepted", message: "It is in force.".into() }
        }
        faults => {
            let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let message = format!("{}. The last version that was right stays in force.", words.join("; "));
            Wanted { kind: "Accepted", status: false, reason: "Invalid", message }
        }
    };
    let mut wanted = vec![accepted];
    if !beside.is_empty() {
        wanted.push(Wanted {
            kind: "Conflicted",
            status: true,
            reason: "AnotherIsInForce",
            message: beside.join("; "),
        });
    }
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let old = object.pointer("/status/conditions");
    let mut status = Map::from_iter([("conditions".to_owned(), conditions(wanted, generation, old, now))]);
    status.extend(generation.map(|generation| ("observedGeneration".to_owned(), generation.into())));
    Value::Object(status)
}

/// The status of a route: the entries of others as they are, and one of ours for each parent that is a Service.
pub(super) fn of_route(object: &Value, parents: &[&ParentStatus], now: &str) -> Value {
    let empty = Vec::new();
    let list = |at: &str| object.pointer(at).and_then(Value::as_array).unwrap_or(&empty).iter();
    let is_ours = |entry: &&Value| entry["controllerName"] == CONTROLLER;
    let references: Vec<&Value> = list("/spec/parentRefs").collect();
    let ours = parents.iter().filter_map(|parent| {
        // As it is written: whoever looks for it compares.
        let reference = *references.get(parent.parent.index)?;
        let old = list("/status/parents").find(|entry| is_ours(entry) && entry["parentRef"] == *reference);
        let wanted = parent.conditions.iter().map(|condition| Wanted {
            kind: condition.kind.word(),
            status: condition.status,
            reason: condition.reason.word(),
            message: condition.message.clone(),
        });
        let old = old.and_then(|entry| entry.get("conditions"));
        let conditions = conditions(wanted.collect(), parent.generation, old, now);
        Some(json!({"parentRef": reference, "controllerName": CONTROLLER, "conditions": conditions}))
    });
    let others = list("/status/parents").filter(|entry| !is_ours(entry)).cloned();
    json!({"parents": others.chain(ours).take(MOST_PARENTS).collect::<Vec<_>>()})
}

/// Conditions, each with the time since when it is so.
fn conditions(wanted: Vec<Wanted>, generation: Option<i64>, old: Option<&Value>, now: &str) -> Value {
    let old = old.and_then(Value::as_array);
    let since = |wanted: &Wanted, status: &str| {
        let same = old?.iter().find(|old| old["type"] == wanted.kind && old["status"] == status)?;
        same["lastTransitionTime"].as_str()
    };
    let of = |mut wanted: Wanted| {
        let status = if wanted.status { "True" } else { "False" };
        let end = wanted.message.floor_char_boundary(LONGEST);
        wanted.message.truncate(end);
        let mut condition = json!({
            "type": wanted.kind, "status": status, "reason": wanted.reason, "message": wanted.message,
            "lastTransitionTime": since(&wanted, status).unwrap_or(now),
        });
        if let Some(generation) = generation {
            condition["observedGeneration"] = generation.into();
        }
        condition
    };
    wanted.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{
        model::NamespacedName,
        routes::{Condition, ConditionType, ParentRef, Reason, RouteKey, RouteKind},
    };

    const NOW: &str = "2027-01-02T03:04:05Z";
    const THEN: &str = "2026-01-02T03:04:05Z";

    fn fault() -> FieldError {
        FieldError { field: "spec.action".into(), value: "perhaps".into(), message: "is no action".into() }
    }

    #[test]
    fn what_is_wrong_is_said_with_field_and_value() {
        let policy = json!({"metadata": {"generation": 3}});
        let status = of_own(&policy, &[fault()], &[], NOW);
        let accepted = &status["conditions"][0];
        assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("Invalid")));
        assert_eq!((&accepted["observedGeneration"], &status["observedGeneration"]), (&json!(3), &json!(3)));
        assert_eq!(accepted["lastTransitionTime"], NOW);
        let message = accepted["message"].as_str().expect("words");
        assert!(message.contains("spec.action") && message.contains("perhaps"), "{message}");
    }

    #[test]
    fn a_status_that_says_so_already_stays_as_it_is() {
        let mut policy = json!({"metadata": {"generation": 3}});
        policy["status"] = of_own(&policy, &[], &["x".into()], THEN);
        assert_eq!(of_own(&policy, &[], &["x".into()], NOW), policy["status"]);
        let turned = of_own(&policy, &[fault()], &["x".into()], NOW);
        assert_eq!(turned["conditions"][0]["lastTransitionTime"], NOW);
        assert_eq!(turned["conditions"][1]["lastTransitionTime"], THEN);
    }

    #[test]
    fn a_message_without_end_is_cut_between_characters() {
        let fault = FieldError { message: "ä".repeat(LONGEST), ..fault() };
        let status = of_own(&json!({}), &[fault], &[], NOW);
        assert!(status["conditions"][0]["message"].as_str().expect("words").len() <= LONGEST);
    }

    fn parent(index: usize, accepted: bool) -> ParentStatus {
        ParentStatus {
            route: RouteKey { kind: RouteKind::Http, name: NamespacedName::new("shop", "pay") },
            generation: Some(2),
            parent: ParentRef {
                index,
                service: NamespacedName::new("shop", "pay"),
                section: None,
                port: None,
            },
            conditions: vec![Condition {
                kind: ConditionType::Accepted,
                status: accepted,
                reason: if accepted { Reason::Accepted } else { Reason::NoMatchingParent },
                message: "words".into(),
            }],
            unresolved: Vec::new(),
            parent_exists: accepted,
        }
    }

    #[test]
    fn a_route_has_an_entry_for_each_of_its_services_and_those_of_others_stay() {
        let others = json!({"parentRef": {"name": "gateway"}, "controllerName": "example.com/gateway"});
        let stale = json!({"parentRef": {"name": "gone"}, "controllerName": CONTROLLER});
        let mut route = json!({
            "spec": {"parentRefs": [
                {"name": "gateway"}, {"group": "", "kind": "Service", "name": "pay", "port": 80},
            ]},
            "status": {"parents": [others, stale]},
        });
        let status = of_route(&route, &[&parent(1, true)], THEN);
        assert_eq!(status["parents"].as_array().map(Vec::len), Some(2));
        assert_eq!(status["parents"][0], others);
        let own = &status["parents"][1];
        assert_eq!((&own["controllerName"], &own["parentRef"]["port"]), (&json!(CONTROLLER), &json!(80)));
        assert_eq!(
            (&own["conditions"][0]["status"], &own["conditions"][0]["observedGeneration"]),
            (&json!("True"), &json!(2))
        );
        route["status"] = status.clone();
        assert_eq!(of_route(&route, &[&parent(1, true)], NOW), status);
        let turned = of_route(&route, &[&parent(1, false)], NOW);
        assert_eq!(turned["parents"][1]["conditions"][0]["reason"], "NoMatchingParent");
        // One that names a parent that the route no longer has is of an older version of it.
        assert_eq!(of_route(&route, &[&parent(7, true)], NOW)["parents"], json!([others]));
    }
}
