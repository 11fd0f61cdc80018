//! Who may write which tier: roles as `deploy/rbac` has them, users that an administrator impersonates.

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{ApiServer, Manifest, Topology, eventually_within};

use super::api_server;

/// Who asks: a name, which is also the group that roles are bound to.
struct User<'a> {
    api: &'a ApiServer,
    name: &'static str,
}

impl User<'_> {
    /// `kubectl WORDS…` as this user.
    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let who = [format!("--as={}", self.name), format!("--as-group={}", self.name)];
        self.api.kubectl(who.into_iter().chain(words.iter().map(|word| (*word).to_owned())))
    }

    /// Writes an object, new or not.
    fn put(&self, object: &Value) -> Result<String> {
        let file = self.api.kubeconfig().with_file_name(format!("{}.yaml", self.name));
        std::fs::write(&file, object.to_string())?;
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file.display().to_string()])
    }

    /// Fails in a way that names the right which this user has not.
    fn is_refused(&self, outcome: Result<String>, right: &str) {
        let error = match outcome {
            Ok(done) => panic!("{}: {done}", self.name),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains("tiers.weir.dev") && error.contains(right), "{}: {error}", self.name);
    }
}

fn policy(namespace: &str, name: &str, tier: Option<&str>) -> Value {
    let mut object = Manifest::access_policy(namespace, name, json!({"rules": [{}]}));
    if let Some(tier) = tier {
        object = object.set("/spec/tier", json!(tier));
    }
    object.value().clone()
}

/// A developer with `edit` in two namespaces, and two teams with a role for all of the cluster.
fn roles(api: &ApiServer) -> Result<()> {
    api.deploy("rbac")?;
    api.put(&Manifest::namespace("weir-system"))?;
    for namespace in ["shop", "weir-system"] {
        api.kubectl(["-n", namespace, "create", "rolebinding", "dev", "--clusterrole=edit", "--group=dev"])?;
    }
    api.kubectl(["create", "clusterrolebinding", "sec", "--clusterrole=weir-security", "--group=sec"])?;
    api.kubectl(["create", "clusterrolebinding", "plat", "--clusterrole=weir-platform", "--group=plat"])?;
    let dev = User { api, name: "dev" };
    eventually_within(weir_tests::CLUSTER_LIMIT, "edit to have what weir-edit has", || {
        let can = ["-n", "shop", "auth", "can-i", "create", "accesspolicies", "--subresource=application"];
        Ok(dev.kubectl(&can).ok())
    })?;
    // A policy of the API server's own is in force some time after it is there.
    eventually_within(weir_tests::CLUSTER_LIMIT, "the tiers to be told apart", || {
        let refused = dev.put(&policy("shop", "probe", Some("platform")));
        Ok(refused.err().filter(|error| format!("{error:#}").contains("tiers.weir.dev")))
    })?;
    let _ = api.kubectl(["-n", "shop", "delete", "accesspolicy", "probe", "--ignore-not-found"])?;
    Ok(())
}

#[test]
fn each_team_writes_its_own_tier_and_touches_no_other() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let _controllers = api.run_controllers(&["clusterrole-aggregation-controller"])?;
    roles(&api)?;
    let [dev, sec, plat] = ["dev", "sec", "plat"].map(|name| User { api: &api, name });

    dev.put(&policy("shop", "app", None))?;
    dev.put(&policy("shop", "app", Some("application")))?;
    dev.is_refused(dev.put(&policy("shop", "other", Some("security"))), "accesspolicies/security");
    dev.is_refused(dev.put(&policy("shop", "other", Some("platform"))), "accesspolicies/platform");
    // Nor by promoting one's own.
    dev.is_refused(dev.put(&policy("shop", "app", Some("security"))), "accesspolicies/security");

    sec.put(&policy("shop", "sec", Some("security")))?;
    plat.put(&policy("shop", "plat", Some("platform")))?;
    sec.is_refused(sec.put(&policy("shop", "plat", Some("security"))), "accesspolicies/platform");
    plat.is_refused(plat.put(&policy("shop", "sec", Some("platform"))), "accesspolicies/security");
    sec.is_refused(sec.put(&policy("shop", "mine", None)), "accesspolicies/application");

    // Neither by taking it over, nor by changing what is beside its spec, nor by taking it away.
    dev.is_refused(dev.put(&policy("shop", "sec", Some("application"))), "accesspolicies/security");
    let label = dev.kubectl(&["-n", "shop", "label", "accesspolicy", "sec", "a=b"]);
    dev.is_refused(label, "accesspolicies/security");
    dev.is_refused(dev.kubectl(&["-n", "shop", "delete", "accesspolicy", "sec"]), "accesspolicies/security");
    let all = "/apis/weir.dev/v1alpha1/namespaces/shop/accesspolicies";
    dev.is_refused(dev.kubectl(&["delete", "--raw", all]), "accesspolicies/");
    sec.kubectl(&["-n", "shop", "delete", "accesspolicy", "sec"])?;
    plat.kubectl(&["-n", "shop", "delete", "accesspolicy", "plat"])?;
    Ok(())
}

#[test]
fn what_holds_for_the_whole_mesh_is_not_for_who_edits_its_namespace() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let _controllers = api.run_controllers(&["clusterrole-aggregation-controller"])?;
    roles(&api)?;
    let [dev, sec, plat] = ["dev", "sec", "plat"].map(|name| User { api: &api, name });
    let users = |namespace: &str| {
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "RequestAuthentication",
            "metadata": {"namespace": namespace, "name": "users"},
            "spec": {"issuers": [{
                "issuer": "https://id", "audiences": ["shop"], "jwks": {"uri": "https://id/keys"},
            }]},
        })
    };
    dev.is_refused(dev.put(&policy("weir-system", "app", None)), "whole mesh");
    dev.is_refused(dev.put(&users("weir-system")), "whole mesh");
    dev.put(&users("shop"))?;
    sec.put(&policy("weir-system", "sec", Some("security")))?;
    plat.put(&policy("weir-system", "plat", Some("platform")))?;
    sec.put(&users("weir-system"))?;
    let delete = dev.kubectl(&["-n", "weir-system", "delete", "requestauthentication", "users"]);
    dev.is_refused(delete, "whole mesh");

    // Who may make roles gives away no right that is not theirs.
    api.kubectl(["-n", "shop", "create", "rolebinding", "lead", "--clusterrole=admin", "--group=lead"])?;
    let lead = User { api: &api, name: "lead" };
    let grant = ["-n", "shop", "create", "rolebinding", "me", "--clusterrole=weir-security", "--group=lead"];
    let refused = lead.kubectl(&grant).expect_err("a right that the lead has not");
    assert!(format!("{refused:#}").contains("attempting to grant"), "{refused:#}");
    Ok(())
}

#[test]
fn a_namespace_goes_with_the_policies_of_every_tier() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = api_server(&topology)?;
    let _controllers =
        api.run_controllers(&["clusterrole-aggregation-controller", "namespace-controller"])?;
    roles(&api)?;
    User { api: &api, name: "sec" }.put(&policy("shop", "sec", Some("security")))?;
    api.kubectl(["delete", "namespace", "shop", "--timeout=60s"])?;
    Ok(())
}
