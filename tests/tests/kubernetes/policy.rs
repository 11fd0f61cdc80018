//! Policy by tier, written by those who may write it, down to a connection.

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{CLUSTER_LIMIT, eventually_within};

use crate::shop::Shop;

/// One to far, from cart.
fn of_cart(name: &str, tier: &str, action: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "tier": tier, "action": action, "selector": {"matchLabels": {"app": "far"}},
            "rules": [{"from": [{"serviceAccounts": ["shop/cart"]}]}],
        },
    })
}

/// Teams, each a service account with the role that it is given in docs, and who writes as one of them.
struct Team<'s> {
    shop: &'s Shop,
    name: &'static str,
}

impl Team<'_> {
    fn put(&self, object: &Value) -> Result<String> {
        let file = self.shop.cluster.api().kubeconfig().with_file_name("object-of-a-team.yaml");
        std::fs::write(&file, object.to_string())?;
        let account = format!("--as=system:serviceaccount:teams:{}", self.name);
        let file = file.display().to_string();
        self.shop.cluster.kubectl([&account, "apply", "--server-side", "--force-conflicts", "-f", &file])
    }
}

fn teams(shop: &Shop) -> Result<[Team<'_>; 2]> {
    shop.cluster.api().define()?;
    shop.cluster.api().deploy("rbac")?;
    shop.cluster.kubectl(["create", "namespace", "teams"])?;
    for (name, role) in [("app", "edit"), ("security", "weir-security")] {
        shop.cluster.kubectl(["-n", "teams", "create", "serviceaccount", name])?;
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount=teams:{name}"));
        match name {
            "app" => shop.kubectl(["create", "rolebinding", name, &role, &account])?,
            _ => shop.cluster.kubectl(["create", "clusterrolebinding", name, &role, &account])?,
        };
    }
    let [app, security] = ["app", "security"].map(|name| Team { shop, name });
    // What is made of roles, and what refuses, is in force some time after it is there.
    eventually_within(CLUSTER_LIMIT, "the tiers to be told apart", || {
        let refused = app.put(&of_cart("probe", "security", "deny"));
        Ok(refused.err().filter(|error| format!("{error:#}").contains("tiers.weir.dev")))
    })?;
    shop.kubectl(["delete", "accesspolicy", "probe", "--ignore-not-found"])?;
    Ok([app, security])
}

#[test]
fn a_team_decides_of_its_own_pods_until_security_says_no() -> Result<()> {
    let shop = Shop::meshed()?;
    let [app, security] = teams(&shop)?;
    let nobody = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "shop", "name": "callers"},
        "spec": {
            "selector": {"matchLabels": {"app": "far"}}, "action": "allow",
            "rules": [{"from": [{"serviceAccounts": ["shop/near"]}]}],
        },
    });
    app.put(&nobody)?;
    shop.wait_answer("far", false)?;
    app.put(&of_cart("callers", "application", "allow"))?;
    shop.wait_answer("far", true)?;

    let refused = app.put(&of_cart("no-cart", "security", "deny")).expect_err("a tier that is not theirs");
    assert!(format!("{refused:#}").contains("accesspolicies/security"), "{refused:#}");
    assert_eq!(shop.ask("far")?, "far\n");
    security.put(&of_cart("no-cart", "security", "deny"))?;
    shop.wait_answer("far", false)?;
    for agent in &shop.agents {
        let flow = agent.wait_flow("that was denied by security", |flow| {
            flow.is(&[("source.pod", "cart"), ("destination.pod", "far"), ("policy.name", "no-cart")])
        })?;
        assert!(flow.is(&[("verdict", "denied"), ("policy.tier", "security")]), "{flow:?}");
    }
    // Nor can the team take it away, nor allow what it denies.
    let account = "--as=system:serviceaccount:teams:app";
    assert!(shop.kubectl([account, "delete", "accesspolicy", "no-cart"]).is_err());
    app.put(&json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "shop", "name": "everybody"}, "spec": {"action": "allow", "rules": [{}]},
    }))?;
    shop.wait_answer("near", true)?;
    assert!(shop.ask("far").is_err(), "the team has overruled security");
    shop.kubectl(["delete", "accesspolicy", "no-cart"])?;
    shop.wait_answer("far", true)
}
