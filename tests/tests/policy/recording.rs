//! What a verdict leaves behind: flows at both ends that name the rule, counts of what was only audited.

use anyhow::Result;
use serde_json::{Value, json};

use crate::world::{Reach, World, for_servers, reach};

#[test]
fn a_denial_between_nodes_names_the_policy_at_both_ends() -> Result<()> {
    let rules =
        json!([{"from": [{"namespaces": ["nowhere"]}]}, {"from": [{"serviceAccounts": ["shop/other"]}]}]);
    let policy = for_servers("not-other", json!({"tier": "security", "action": "deny", "rules": rules}));
    let mut world = World::new(&[policy])?;
    assert_eq!(reach(&world.other, &[world.pay.v4(8080)])?, [Reach::Reset]);
    let target = world.pay.v4(8080).to_string();

    for (index, direction) in ["outbound", "inbound"].into_iter().enumerate() {
        let flow = world.agents[index].wait_flow("the denial", |flow| flow.text("verdict") == "denied")?;
        let wanted = [
            ("direction", direction),
            ("reason", "policy_denied"),
            ("path", "tunnel"),
            ("source.pod", "other"),
            ("source.identity", "spiffe://cluster.local/ns/shop/sa/other"),
            ("destination.pod", "pay"),
            ("destination.address", &target),
            ("policy.tier", "security"),
            ("policy.namespace", "shop"),
            ("policy.name", "not-other"),
            ("policy.action", "deny"),
        ];
        assert!(flow.is(&wanted), "{direction}: {flow:?}");
        assert_eq!(flow.number("policy.rule"), Some(1), "{direction}: {flow:?}");
    }
    // Judged at one end, counted at one end.
    let labels = [("policy", "security/shop/not-other"), ("verdict", "denied")];
    assert_eq!(world.b().metric("weir_policy_verdicts_total", &labels)?, Some(1.0));
    assert_eq!(world.a().metric("weir_policy_verdicts_total", &labels)?, None);
    Ok(())
}

#[test]
fn a_denial_on_one_node_is_immediate_and_is_a_flow_that_names_the_tier() -> Result<()> {
    let policy = for_servers("callers", json!({"rules": [{"from": [{"serviceAccounts": ["shop/cart"]}]}]}));
    let mut world = World::new(&[policy])?;
    for target in [world.near.v4(8080), world.near.v6(8080)] {
        assert_eq!(reach(&world.other, &[target])?, [Reach::Refused]);
        let to = target.to_string();
        let flow = world.a().wait_flow("the denial", |flow| {
            flow.is(&[("verdict", "denied"), ("destination.address", &to)])
        })?;
        let wanted = [
            ("reason", "policy_denied"),
            ("source.pod", "other"),
            ("destination.pod", "near"),
            ("policy.tier", "application"),
            ("policy.action", "default-deny"),
        ];
        assert!(flow.is(&wanted), "{flow:?}");
    }
    Ok(())
}

#[test]
fn a_connection_that_is_allowed_names_the_rule_that_allowed_it() -> Result<()> {
    let policy = for_servers("callers", json!({"rules": [{"from": [{"serviceAccounts": ["shop/cart"]}]}]}));
    let mut world = World::new(&[policy])?;
    assert_eq!(reach(&world.cart, &[world.near.v4(8080), world.pay.v4(8080)])?, [Reach::Open; 2]);
    let wanted = [
        ("direction", "inbound"),
        ("verdict", "forwarded"),
        ("policy.namespace", "shop"),
        ("policy.name", "callers"),
        ("policy.action", "allow"),
    ];
    for (index, pod) in ["near", "pay"].into_iter().enumerate() {
        let flow = world.agents[index]
            .wait_flow("it", |flow| flow.is(&[("direction", "inbound"), ("destination.pod", pod)]))?;
        assert!(flow.is(&wanted) && flow.number("policy.rule") == Some(0), "{flow:?}");
    }
    Ok(())
}

#[test]
fn what_an_audit_policy_would_deny_goes_on_and_is_counted_by_policy_and_source() -> Result<()> {
    let rules = json!([{"from": [{"serviceAccounts": ["shop/cart"]}]}]);
    let policy = for_servers("callers-soon", json!({"mode": "audit", "rules": rules}));
    let mut world = World::new(&[policy])?;
    let (near, pay) = (world.near.v4(8080), world.pay.v4(8080));
    assert_eq!(reach(&world.other, &[near, pay, pay, pay])?, [Reach::Open; 4]);
    assert_eq!(reach(&world.cart, &[near, pay])?, [Reach::Open; 2]);

    for (index, pod) in ["near", "pay"].into_iter().enumerate() {
        let of =
            |who: &'static str| [("direction", "inbound"), ("destination.pod", pod), ("source.pod", who)];
        let audited = world.agents[index].wait_flow("the hit", |flow| flow.is(&of("other")))?;
        assert!(audited.is(&[("verdict", "audited"), ("audit.tier", "application")]), "{audited:?}");
        let allowed = world.agents[index].wait_flow("the other", |flow| flow.is(&of("cart")))?;
        assert!(allowed.is(&[("verdict", "forwarded"), ("audit.tier", "")]), "{allowed:?}");
    }
    let labels = [("source_workload", "other"), ("destination_workload", "pay")];
    world.b().wait_metric("weir_policy_audit_denials_total", &labels, 3.0)?;
    let printed = world.b().weir(["policy", "audit", "-o", "json"])?.success()?;
    let rows: Vec<Value> =
        printed.lines().map(serde_json::from_str).collect::<serde_json::Result<Vec<Value>>>()?;
    assert_eq!(rows.len(), 1, "{printed}");
    assert_eq!(rows[0]["count"], 3, "{printed}");
    assert_eq!(
        (&rows[0]["source"]["workload"], &rows[0]["port"]),
        (&"other".into(), &8080.into()),
        "{printed}"
    );
    let table = world.b().weir(["policy", "audit"])?.success()?;
    assert!(table.contains("shop/other") && table.contains("shop/pay:8080"), "{table}");
    Ok(())
}
