//! AccessPolicies that are refused.
//!
//! Entry point: [`access_policies`].

use serde_json::{Value, json};

use super::Bad;

pub(super) fn access_policies() -> Vec<Bad> {
    let service = json!([{"kind": "Service", "name": "pay"}]);
    vec![
        access(json!({"tier": "mine"}), "spec.tier", "spec.tier"),
        access(json!({"tier": null}), "spec.tier", "spec.tier"),
        access(json!({"mode": "on"}), "spec.mode", "spec.mode"),
        access(json!({"action": "refuse"}), "spec.action", "spec.action"),
        access(json!({"action": "deny"}), "spec.rules", "rules: a deny policy without rules"),
        access(json!({"action": "deny", "rules": []}), "spec.rules", "rules: a deny policy without rules"),
        access(json!({"rules": null}), "spec.rules", "rules"),
        access(json!({"rules": {}}), "spec.rules", "spec.rules"),
        access(json!({"rules": [[]]}), "spec.rules[0]", "spec.rules[0]"),
        access(json!({"selector": {}}), "spec.selector", "matchLabels"),
        access(json!({"selector": null}), "spec.selector", "selector"),
        access(json!({"selector": {"matchLabels": {}}}), "spec.selector.matchLabels", "matchLabels"),
        access(
            json!({"selector": {"matchLabels": {"a b": "c"}}}),
            "spec.selector.matchLabels.a b",
            "matchLabels",
        ),
        access(
            json!({"selector": {"matchLabels": {"a": "-c"}}}),
            "spec.selector.matchLabels.a",
            "matchLabels",
        ),
        access(
            json!({"selector": {"matchLabels": {"a": "b"}}, "targetRefs": service}),
            "spec.targetRefs",
            "targetRefs",
        ),
        access(json!({"targetRefs": []}), "spec.targetRefs", "spec.targetRefs"),
        access(json!({"targetRefs": null}), "spec.targetRefs", "targetRefs"),
        access(
            json!({"targetRefs": [{"name": "pay"}]}),
            "spec.targetRefs[0].kind",
            "spec.targetRefs[0].kind",
        ),
        access(
            json!({"targetRefs": [{"kind": "Pod", "name": "pay"}]}),
            "spec.targetRefs[0].kind",
            "spec.targetRefs[0].kind",
        ),
        access(
            json!({"targetRefs": [{"kind": "Service"}]}),
            "spec.targetRefs[0].name",
            "spec.targetRefs[0].name",
        ),
        access(
            json!({"targetRefs": [{"kind": "Service", "name": "Pay"}]}),
            "spec.targetRefs[0].name",
            "spec.targetRefs[0].name",
        ),
        access(
            json!({"targetRefs": [{"group": "apps", "kind": "Service", "name": "pay"}]}),
            "spec.targetRefs[0].group",
            "spec.targetRefs[0].group",
        ),
        rule(
            json!({"from": null}),
            "spec.rules[0].from",
            "spec.rules[]: a field that is present must not be null: from",
        ),
        rule(json!({"to": null}), "spec.rules[0].to", "must not be null: from, to"),
        rule(json!({"when": null}), "spec.rules[0].when", "must not be null: from, to, when"),
        rule(json!({"from": []}), "spec.rules[0].from", "spec.rules[0].from"),
        rule(json!({"to": []}), "spec.rules[0].to", "spec.rules[0].to"),
        rule(json!({"when": {}}), "spec.rules[0].when", "spec.rules[0].when.user"),
        rule(json!({"when": {"user": {}}}), "spec.rules[0].when.user", "spec.rules[0].when.user"),
        rule(json!({"when": {"user": {"issuers": []}}}), "spec.rules[0].when.user.issuers", "user.issuers"),
        rule(
            json!({"when": {"user": {"audiences": [""]}}}),
            "spec.rules[0].when.user.audiences[0]",
            "user.audiences[0]",
        ),
        rule(json!({"when": {"user": {"claims": {}}}}), "spec.rules[0].when.user.claims", "user.claims"),
        rule(
            json!({"when": {"user": {"claims": {"groups": []}}}}),
            "spec.rules[0].when.user.claims.groups",
            "user.claims.groups",
        ),
        rule(
            json!({"when": {"user": {"claims": {"groups": [""]}}}}),
            "spec.rules[0].when.user.claims.groups[0]",
            "user.claims.groups[0]",
        ),
        rule(
            json!({"when": {"user": {"issuers": ["a"], "claims": null}}}),
            "spec.rules[0].when.user.claims",
            "claims",
        ),
        from(json!({}), "spec.rules[0].from[0]", "spec.rules[0].from[0]"),
        from(json!({"namespaces": null}), "spec.rules[0].from[0].namespaces", "namespaces"),
        from(
            json!({"namespaces": null, "cidrs": ["10.0.0.0/8"]}),
            "spec.rules[0].from[0].namespaces",
            "namespaces",
        ),
        from(json!({"namespaces": []}), "spec.rules[0].from[0].namespaces", "from[0].namespaces"),
        from(json!({"namespaces": ["*"]}), "spec.rules[0].from[0].namespaces[0]", "from[0].namespaces[0]"),
        from(
            json!({"serviceAccounts": ["a/b/c"]}),
            "spec.rules[0].from[0].serviceAccounts[0]",
            "from[0].serviceAccounts[0]",
        ),
        from(
            json!({"serviceAccounts": [7]}),
            "spec.rules[0].from[0].serviceAccounts[0]",
            "from[0].serviceAccounts[0]",
        ),
        from(
            json!({"identities": ["spiffe://a/ns/b-*"]}),
            "spec.rules[0].from[0].identities[0]",
            "from[0].identities[0]",
        ),
        from(json!({"cidrs": ["10.0.0.0/33"]}), "spec.rules[0].from[0].cidrs[0]", "from[0].cidrs"),
        from(
            json!({"cidrs": ["10.0.0.1/8"]}),
            "spec.rules[0].from[0].cidrs[0]",
            "cidrs: bits are set beyond the prefix",
        ),
        from(json!({"cidrs": ["shop"]}), "spec.rules[0].from[0].cidrs[0]", "from[0].cidrs[0]"),
        to(json!({}), "spec.rules[0].to[0]", "spec.rules[0].to[0]"),
        to(json!({"ports": ["eighty"]}), "spec.rules[0].to[0].ports[0]", "to[0].ports[0]"),
        to(json!({"ports": [0]}), "spec.rules[0].to[0].ports[0]", "to[0].ports[0]"),
        to(json!({"ports": [65536]}), "spec.rules[0].to[0].ports[0]", "to[0].ports[0]"),
        to(json!({"ports": ["9010-9000"]}), "spec.rules[0].to[0].ports[0]", "ports: a range goes up"),
        to(json!({"methods": ["get"]}), "spec.rules[0].to[0].methods[0]", "to[0].methods[0]"),
        to(json!({"paths": ["v1"]}), "spec.rules[0].to[0].paths[0]", "to[0].paths[0]"),
        to(json!({"paths": ["/v1*"]}), "spec.rules[0].to[0].paths[0]", "to[0].paths[0]"),
        to(json!({"paths": ["/v1?a=b"]}), "spec.rules[0].to[0].paths[0]", "to[0].paths[0]"),
        to(json!({"paths": ["/v1/../a"]}), "spec.rules[0].to[0].paths[0]", "to[0].paths[0]"),
        to(json!({"paths": ["/v1%2Fa"]}), "spec.rules[0].to[0].paths[0]", "to[0].paths[0]"),
        to(json!({"paths": ["/%252e"]}), "spec.rules[0].to[0].paths[0]", "to[0].paths[0]"),
        to(json!({"hosts": ["pay:80"]}), "spec.rules[0].to[0].hosts[0]", "to[0].hosts[0]"),
        to(json!({"hosts": ["[1::2::3]"]}), "spec.rules[0].to[0].hosts[0]", "hosts: has no good address"),
        to(json!({"headers": []}), "spec.rules[0].to[0].headers", "to[0].headers"),
        to(
            json!({"headers": [{"name": "Host", "values": ["a"]}]}),
            "spec.rules[0].to[0].headers[0].name",
            "headers[0].name",
        ),
        to(
            json!({"headers": [{"name": "x env", "values": ["a"]}]}),
            "spec.rules[0].to[0].headers[0].name",
            "headers[0].name",
        ),
        to(
            json!({"headers": [{"name": "x-env"}]}),
            "spec.rules[0].to[0].headers[0].values",
            "headers[0].values",
        ),
        to(
            json!({"headers": [{"name": "x-env", "values": [","]}]}),
            "spec.rules[0].to[0].headers[0].values[0]",
            "headers[0].values[0]",
        ),
    ]
}

fn access(spec: Value, field: &'static str, says: &'static str) -> Bad {
    Bad { kind: "AccessPolicy", spec, field, says }
}

/// A rule of an AccessPolicy.
fn rule(rule: Value, field: &'static str, says: &'static str) -> Bad {
    access(json!({"rules": [rule]}), field, says)
}

fn from(from: Value, field: &'static str, says: &'static str) -> Bad {
    rule(json!({"from": [from]}), field, says)
}

fn to(to: Value, field: &'static str, says: &'static str) -> Bad {
    rule(json!({"to": [to]}), field, says)
}
