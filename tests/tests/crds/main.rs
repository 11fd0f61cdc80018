//! Weir's kinds on a real API server: what it takes, what it refuses, what it says of them, and who may write which.
//!
//! Alone it has no agents and no controller of Weir's: what is refused here never reaches one.

mod refused;
mod tiers;

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{ApiServer, CLUSTER_LIMIT, Example, Manifest, Topology, eventually_within, examples};

/// An API server that knows Weir's kinds, with the namespace `shop`.
fn api_server(topology: &Topology) -> Result<ApiServer> {
    let api = ApiServer::start(topology.node("a"))?;
    api.define()?;
    api.put(&Manifest::namespace("shop"))?;
    Ok(api)
}

#[test]
fn every_example_is_taken() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let examples = examples()?;
    assert!(examples.len() > 10, "{}", examples.len());
    for Example { file, text, object } in examples {
        let namespace = object.value()["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        api.put(&Manifest::namespace(&namespace))?;
        // As it stands there: kubectl reads YAML in its own way.
        if let Err(error) = api.apply(&text) {
            panic!("{}: {error:#}", file.display());
        }
    }
    Ok(())
}

#[test]
fn what_is_left_out_has_its_default_and_what_an_object_is_shows_in_its_columns() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let spec = json!({"rules": [{}], "targetRefs": [{"kind": "Service", "name": "pay"}]});
    api.put(&Manifest::access_policy("shop", "open", spec))?;
    let read: Value = serde_json::from_str(&api.kubectl(["-n", "shop", "get", "ap", "open", "-o", "json"])?)?;
    assert_eq!(
        (&read["spec"]["tier"], &read["spec"]["mode"], &read["spec"]["action"]),
        (&json!("application"), &json!("enforce"), &json!("allow")),
        "{read}"
    );

    let accepted = json!({"observedGeneration": 1, "conditions": [{
        "type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.rules[0]: {}: no",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    }]});
    api.set_status("accesspolicy/open", "shop", &accepted)?;
    let table = api.kubectl(["-n", "shop", "get", "weir", "-o", "wide"])?;
    let words = |line: usize| -> Vec<&str> {
        table.lines().nth(line).unwrap_or_default().split_whitespace().collect()
    };
    assert_eq!(words(0), ["NAME", "TIER", "MODE", "ACTION", "ACCEPTED", "REASON", "AGE"], "{table}");
    assert_eq!(words(1)[1..6], ["application", "enforce", "allow", "False", "Invalid"], "{table}");

    let limits = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"namespace": "shop", "name": "pay"},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": "pay"}], "loadBalancer": {}, "rateLimits": [{"perSecond": 1}],
        },
    });
    api.put(&Manifest::object(limits))?;
    let read: Value = serde_json::from_str(&api.kubectl(["-n", "shop", "get", "tp", "pay", "-o", "json"])?)?;
    assert_eq!(
        (&read["spec"]["loadBalancer"]["type"], &read["spec"]["rateLimits"][0]["by"]),
        (&json!("leastLatency"), &json!("workload")),
        "{read}"
    );
    Ok(())
}

#[test]
fn kubectl_explains_every_field() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let all = explained(&api, &["accesspolicy.spec", "--recursive"])?;
    for words in
        ["rules\t<[]Object>", "serviceAccounts\t<[]string>", "paths\t<[]string>", "enum: allow, deny"]
    {
        assert!(all.contains(words), "{words}: {all}");
    }
    let tier = explained(&api, &["accesspolicy.spec.tier"])?;
    for words in ["platform", "security", "application", "Whose concern the policy is"] {
        assert!(tier.contains(words), "{words}: {tier}");
    }
    for field in
        ["requestauthentication.spec.issuers.jwks.inline.keys.kty", "trafficpolicy.spec.retry.budget.percent"]
    {
        let text = explained(&api, &[field])?;
        assert!(text.contains("DESCRIPTION") && !text.contains("<empty>"), "{text}");
    }
    Ok(())
}

/// What `kubectl explain` says, as soon as the server has told what there is to explain.
fn explained(api: &ApiServer, words: &[&str]) -> Result<String> {
    eventually_within(CLUSTER_LIMIT, "an explanation", || {
        Ok(api.kubectl(["explain"].iter().chain(words)).ok().filter(|text| text.contains("DESCRIPTION")))
    })
}
