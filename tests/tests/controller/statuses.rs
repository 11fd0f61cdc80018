//! What the controller writes into objects' status.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::eventually;

use crate::mesh::{Mesh, start};

/// A definition of a kind of ours that lets everything pass, with a status of its own.
fn definition(kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.weir.dev")},
        "spec": {
            "group": "weir.dev", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

impl Mesh {
    /// What the status of an object of `shop` says, once `condition` holds for it.
    fn wait_status(&self, object: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(&format!("the status of {object} to say {what}"), || {
            let printed = self.api.kubectl(["-n", "shop", "get", object, "-o=json"])?;
            let object: Value = serde_json::from_str(&printed)?;
            Ok(Some(object["status"].clone()).filter(&condition))
        })
    }
}

#[test]
fn an_objects_status_says_whether_it_is_in_force_and_what_is_wrong_with_it() -> Result<()> {
    let mesh = Mesh::new()?;
    mesh.api.apply(&definition("AccessPolicy", "accesspolicies").to_string())?;
    let controller = start(&mesh)?;
    let policy = |port: Value| {
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
            "metadata": {"namespace": "shop", "name": "callers"},
            "spec": {"tier": "application", "action": "allow", "rules": [{"to": [{"ports": [port]}]}]},
        })
        .to_string()
    };
    eventually("the kind to be there", || Ok(mesh.api.apply(&policy(json!(8080))).ok()))?;
    let accepted = |status: &Value, wanted: &str| status["conditions"][0]["status"] == wanted;
    let good = mesh.wait_status("accesspolicy/callers", "that it is in force", |of| accepted(of, "True"))?;
    assert_eq!(
        (&good["conditions"][0]["type"], &good["observedGeneration"]),
        (&json!("Accepted"), &json!(1))
    );
    mesh.api.apply(&policy(json!(99_999)))?;
    let bad = mesh.wait_status("accesspolicy/callers", "what is wrong", |of| accepted(of, "False"))?;
    let condition = &bad["conditions"][0];
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&json!("Invalid"), &json!(2)));
    let words = condition["message"].as_str().context("no words")?;
    assert!(words.contains("spec.rules[0].to[0].ports[0]") && words.contains("99999"), "{words}");
    mesh.api.apply(&policy(json!(8081)))?;
    mesh.wait_status("accesspolicy/callers", "that it is in force", |of| accepted(of, "True"))?;
    assert_eq!(
        controller.metric("weir_controller_status_writes_total", &[("result", "failed")])?.unwrap_or(0.0),
        0.0
    );
    controller.stop()
}

#[test]
fn a_routes_status_says_what_becomes_of_it_at_each_service_beside_what_others_say() -> Result<()> {
    let mesh = Mesh::new()?;
    mesh.api.install_gateway_api()?;
    let _controller = start(&mesh)?;
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name},
            "spec": {"ports": [{"port": 80}]},
        })
        .to_string()
    };
    mesh.api.apply(&service("pay"))?;
    let parent = json!({"group": "", "kind": "Service", "name": "pay", "port": 80});
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"});
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": "pay"},
        "spec": {
            "parentRefs": [gateway, parent], "rules": [{"backendRefs": [{"name": "pay-v2", "port": 80}]}],
        },
    });
    eventually("the kind to be there", || Ok(mesh.api.apply(&route.to_string()).ok()))?;
    let condition = |status: &Value, kind: &str| {
        let parents = status["parents"].as_array().cloned().unwrap_or_default();
        let ours = parents.into_iter().find(|entry| entry["controllerName"] == "weir.dev/controller")?;
        assert_eq!(ours["parentRef"], parent);
        ours["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
    };
    let is = |status: &Value, kind: &str, wanted: &str| {
        condition(status, kind).is_some_and(|condition| condition["status"] == wanted)
    };
    let found =
        mesh.wait_status("httproute/pay", "that a backend is missing", |of| is(of, "ResolvedRefs", "False"))?;
    let missing = condition(&found, "ResolvedRefs").context("no condition")?;
    assert_eq!(missing["reason"], "BackendNotFound");
    assert!(is(&found, "Accepted", "True"), "{found}");

    // Another controller says something of its own parent.
    let others = json!({
        "parentRef": gateway, "controllerName": "example.com/gateway",
        "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }],
    });
    let parents: Vec<Value> =
        found["parents"].as_array().context("no parents")?.iter().cloned().chain([others.clone()]).collect();
    mesh.api.set_status("httproute/pay", "shop", &json!({"parents": parents}))?;
    mesh.api.apply(&service("pay-v2"))?;
    let found =
        mesh.wait_status("httproute/pay", "that all is there", |of| is(of, "ResolvedRefs", "True"))?;
    assert!(found["parents"].as_array().is_some_and(|parents| parents.contains(&others)), "{found}");
    Ok(())
}
