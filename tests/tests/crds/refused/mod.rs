//! What `weir policy lint` refuses, the API server refuses too: one table, judged by both.

mod access_policies;
mod request_authentications;
mod traffic_policies;

use access_policies::access_policies;
use anyhow::{Context, Result};
use request_authentications::request_authentications;
use serde_json::{Value, json};
use traffic_policies::traffic_policies;
use weir_agent::source::lint;
use weir_tests::{ApiServer, CLUSTER_LIMIT, Manifest, Topology, eventually_within};

use super::api_server;

/// An object that both refuse.
struct Bad {
    kind: &'static str,
    spec: Value,
    /// The field that lint names.
    field: &'static str,
    /// What the API server's answer has: at least the last name of that field.
    says: &'static str,
}

/// The object called `name` with this spec.
fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": kind,
        "metadata": {"namespace": "shop", "name": name}, "spec": spec,
    })
}

/// What lint says of an object.
fn lint(object: &Value) -> Vec<String> {
    lint::text("object.yaml", &object.to_string()).problems.iter().map(ToString::to_string).collect()
}

/// What the API server says to objects of which it is to make none.
fn refusal(api: &ApiServer, objects: &[Value]) -> Result<String> {
    let file = api.kubeconfig().with_file_name("refused.json");
    std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
    // Its own look at an object is not asked for: the server's is.
    let words = ["create", "--dry-run=server", "--validate=false", "-f", &file.display().to_string()];
    Ok(api.kubectl(words).err().map(|error| format!("{error:#}")).unwrap_or_default())
}

/// Policies beside the definitions are in force some time after they are there.
fn wait_for_admission(api: &ApiServer) -> Result<()> {
    let probes = [
        object("AccessPolicy", "probe", &json!({"rules": [{"from": null}]})),
        object(
            "RequestAuthentication",
            "probe",
            &json!({"selector": null, "issuers": [
                {"issuer": "a", "audiences": ["a"], "jwks": {"uri": "https://a"}},
            ]}),
        ),
        object(
            "TrafficPolicy",
            "probe",
            &json!({
                "targetRefs": [{"kind": "Service", "name": "a"}], "retry": {}, "fault": null,
            }),
        ),
    ];
    eventually_within(CLUSTER_LIMIT, "nulls to be refused", || {
        Ok((refusal(api, &probes)?.matches("must not be null").count() == 3).then_some(()))
    })
}

#[test]
fn what_lint_refuses_the_api_server_refuses_and_names_the_field() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    wait_for_admission(&api)?;
    let table: Vec<Bad> =
        [access_policies(), request_authentications(), traffic_policies()].into_iter().flatten().collect();
    let name = |index: usize| format!("bad-{index:03}");
    let objects: Vec<Value> =
        table.iter().enumerate().map(|(index, bad)| object(bad.kind, &name(index), &bad.spec)).collect();
    let refused = refusal(&api, &objects)?;

    let mut wrong = Vec::new();
    for (index, (bad, object)) in table.iter().zip(&objects).enumerate() {
        let linted = lint(object);
        let field = format!("{}: ", bad.field);
        if !linted.iter().any(|problem| problem.contains(&field)) {
            wrong.push(format!("lint does not name {}: {} {linted:?}", bad.field, bad.spec));
        }
        // What is said of an object stands between its name and the next one's.
        let said =
            refused.split_once(&name(index)).map(|(_, rest)| rest.split("\"bad-").next().unwrap_or(rest));
        match said {
            None => wrong.push(format!("the API server takes {} {}", bad.kind, bad.spec)),
            Some(said) if !said.contains(bad.says) => {
                wrong.push(format!("the API server does not say {:?} of {}: {said}", bad.says, bad.spec));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn a_field_that_is_not_known_is_refused() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let pay = json!([{"kind": "Service", "name": "pay"}]);
    for (kind, plural, spec, field) in [
        (
            "AccessPolicy",
            "accesspolicies",
            json!({"rules": [{"form": [{"namespaces": ["shop"]}]}]}),
            "spec.rules[0].form",
        ),
        (
            "RequestAuthentication",
            "requestauthentications",
            json!({"issuers": [{"issuer": "a", "audiences": ["a"], "jwks": {"url": "https://a"}}]}),
            "spec.issuers[0].jwks.url",
        ),
        (
            "TrafficPolicy",
            "trafficpolicies",
            json!({"targetRefs": pay, "retry": {"attempt": 2}}),
            "spec.retry.attempt",
        ),
    ] {
        let object = object(kind, "unknown", &spec);
        let file = api.kubeconfig().with_file_name("unknown.json");
        std::fs::write(&file, object.to_string())?;
        // As kubectl asks for it, once it knows that the server can.
        let url = format!("/apis/weir.dev/v1alpha1/namespaces/shop/{plural}?fieldValidation=Strict");
        let refused = api.kubectl(["create", "--raw", &url, "-f", &file.display().to_string()]);
        let refused = format!("{:#}", refused.expect_err("a field that is not known"));
        assert!(refused.contains(&format!("unknown field \"{field}\"")), "{refused}");
        let linted = lint(&object);
        assert!(linted.iter().any(|problem| problem.contains("unknown field")), "{linted:?}");
    }
    Ok(())
}

#[test]
fn objects_as_large_as_their_bounds_allow_are_judged_in_time() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    wait_for_admission(&api)?;
    let cidrs: Vec<String> = (0..128).map(|index| format!("10.{index}.0.0/16")).collect();
    let ports: Vec<String> = (1..=64).map(|index| format!("{index}-{}", index + 1)).collect();
    let hosts: Vec<String> = (0..256).map(|index| format!("host-{index}.shop.example")).collect();
    let rule = json!({"from": [{"cidrs": cidrs}], "to": [{"ports": ports, "hosts": hosts}]});
    let spec = json!({"rules": vec![rule; 64]});
    api.put(&Manifest::access_policy("shop", "large", spec)).context("a large policy")
}
