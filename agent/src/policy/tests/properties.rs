//! What holds for all policies and all requests.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    identity::{Identity, TrustDomain},
    policy::{
        AccessPolicySpec, Action, Applicable, FromSpec, Mode, Policy, PolicyIndex, PolicyKey, PortSpec,
        Request, RuleSpec, Scope, SelectorSpec, Source, SourceAddress, Target, TargetRefSpec, Tier, ToSpec,
    },
};

const ROOT: &str = "weir-system";
const NAMES: [&str; 3] = ["a", "b", "c"];
const NETWORKS: [&str; 8] =
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "::/0", "fd00::/8", "fd00:1::/32"];
const PORTS: [&str; 9] = ["1", "80", "81", "8080", "80-90", "1-65535", "9000-9010", "9005-60000", "65535"];

/// One or two of these texts.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
    option::of(vec(select(of).prop_map(String::from), 1..3))
}

fn a_source() -> impl Strategy<Value = FromSpec> {
    let identities = ["spiffe://cluster.local/ns/a/sa/b", "spiffe://cluster.local/ns/b/*", "spiffe://*"];
    let identities = option::of(vec(select(identities.to_vec()).prop_map(String::from), 1..3));
    let lists = (some(&NAMES), some(&NAMES), identities, some(&NETWORKS));
    lists.prop_map(|(service_accounts, namespaces, identities, mut cidrs)| {
        if service_accounts.is_none() && namespaces.is_none() && identities.is_none() {
            cidrs.get_or_insert_with(|| vec![NETWORKS[1].into()]);
        }
        FromSpec { service_accounts, namespaces, identities, cidrs }
    })
}

fn an_operation() -> impl Strategy<Value = ToSpec> {
    let methods = option::weighted(0.2, Just(vec!["GET".to_string()]));
    (some(&PORTS), methods).prop_map(|(ports, methods)| {
        let or_one = || methods.is_none().then(|| vec![PORTS[1].to_string()]);
        let ports = ports.or_else(or_one).map(|ports| ports.into_iter().map(PortSpec).collect());
        ToSpec { ports, methods, ..ToSpec::default() }
    })
}

fn a_rule() -> impl Strategy<Value = RuleSpec> {
    let clauses = (option::of(vec(a_source(), 1..3)), option::of(vec(an_operation(), 1..3)));
    clauses.prop_map(|(from, to)| RuleSpec { from, to, when: None })
}

fn a_spec() -> impl Strategy<Value = AccessPolicySpec> {
    let labels = vec((select(&["app", "env"][..]), select(&NAMES[..])), 1..3);
    let labels = labels.prop_map(|labels| {
        labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<BTreeMap<_, _>>()
    });
    let target = select(&NAMES[..]).prop_map(|name| TargetRefSpec {
        kind: "Service".into(),
        name: name.into(),
        ..TargetRefSpec::default()
    });
    let scope = prop_oneof![
        Just((None, None)),
        labels.prop_map(|labels| (Some(SelectorSpec { match_labels: Some(labels) }), None)),
        vec(target, 1..3).prop_map(|targets| (None, Some(targets))),
    ];
    let mode = prop_oneof![3 => Just(Mode::Enforce), 1 => Just(Mode::Audit)];
    let action = prop_oneof![2 => Just(Action::Allow), 1 => Just(Action::Deny)];
    (select(&Tier::ALL[..]), mode, action, scope, vec(a_rule(), 1..4)).prop_map(
        |(tier, mode, action, (selector, target_refs), rules)| AccessPolicySpec {
            tier,
            mode,
            selector,
            target_refs,
            action,
            rules,
        },
    )
}

/// Policies with a name each, and the order in which they come.
fn policies() -> impl Strategy<Value = Vec<Arc<Policy>>> {
    vec((select(&["a", "b", ROOT][..]), a_spec()), 0..8).prop_map(|specs| {
        let named = specs.into_iter().enumerate();
        named.map(|(n, (namespace, spec))| compiled(namespace, &format!("p-{n}"), spec)).collect()
    })
}

fn compiled(namespace: &str, name: &str, spec: AccessPolicySpec) -> Arc<Policy> {
    Arc::new(Policy::compile(PolicyKey::new(namespace, name), spec).expect("a right spec"))
}

/// One more policy, of this mode and action.
fn one_more(mode: Mode, action: Action) -> impl Strategy<Value = Arc<Policy>> {
    a_spec().prop_map(move |spec| compiled("a", "more", AccessPolicySpec { mode, action, ..spec }))
}

#[derive(Clone, Debug)]
struct Asking {
    identity: Option<Identity>,
    address: IpAddr,
    port: u16,
}

impl Asking {
    fn request(&self) -> Request<'_> {
        let address = SourceAddress::Address(self.address);
        Request { source: Source { identity: self.identity.as_ref(), address }, port: self.port, http: None }
    }
}

fn asking() -> impl Strategy<Value = Asking> {
    let identity = (select(&NAMES[..]), select(&NAMES[..])).prop_map(|(namespace, account)| {
        Identity::new(&TrustDomain::default(), namespace, account).expect("an identity")
    });
    // In and around the networks that rules name, where a wrong answer would show.
    let near = [
        "10.0.0.1",
        "10.1.2.3",
        "10.1.2.4",
        "10.1.3.3",
        "10.2.0.0",
        "11.0.0.0",
        "fd00:1::1",
        "fd00:2::1",
        "2001::1",
    ];
    let near = select(near.to_vec()).prop_map(|text| text.parse().expect("an address"));
    let anywhere = any::<[u8; 16]>().prop_map(|octets| IpAddr::from(octets).to_canonical());
    let address = prop_oneof![4 => near, 1 => any::<[u8; 4]>().prop_map(IpAddr::from), 1 => anywhere];
    let port = prop_oneof![select(vec![1, 2, 79, 80, 81, 82, 90, 91, 9000, 9005, 9011, 65535]), any::<u16>()];
    (option::weighted(0.8, identity), address, port).prop_map(|(identity, address, port)| Asking {
        identity,
        address,
        port,
    })
}

fn with(policies: &[Arc<Policy>], more: &Arc<Policy>) -> Applicable {
    Applicable::new(policies.iter().chain([more]).cloned())
}

proptest! {
    #[test]
    fn the_order_of_objects_never_changes_a_verdict(
        (one, other) in policies().prop_flat_map(|one| (Just(one.clone()), Just(one).prop_shuffle())),
        labels in vec(select(&NAMES[..]), 2),
        service in select(&NAMES[..]),
        asking in asking(),
    ) {
        let labels = BTreeMap::from([
            ("app".to_string(), labels[0].to_string()),
            ("env".to_string(), labels[1].to_string()),
        ]);
        let target = Target { namespace: "a", labels: &labels, services: &[service.into()] };
        let decide = |policies: &[Arc<Policy>]| {
            let mut index = PolicyIndex::default();
            policies.iter().for_each(|policy| index.insert(policy.clone()));
            index.select(&target).explain(&asking.request())
        };
        prop_assert_eq!(decide(&one), decide(&other));
        // All of them at once as well, which the index seldom selects.
        let together = |policies: &[Arc<Policy>]| Applicable::new(policies.to_vec()).explain(&asking.request());
        prop_assert_eq!(together(&one), together(&other));
    }

    #[test]
    fn the_index_finds_what_looking_at_each_policy_finds(
        policies in policies(),
        removed in any::<prop::sample::Index>(),
        labels in vec(select(&NAMES[..]), 2),
        service in select(&NAMES[..]),
        namespace in select(&["a", "b", "c", ROOT][..]),
    ) {
        let labels = BTreeMap::from([
            ("app".to_string(), labels[0].to_string()),
            ("env".to_string(), labels[1].to_string()),
        ]);
        let services: [Arc<str>; 1] = [service.into()];
        let mut index = PolicyIndex::default();
        policies.iter().for_each(|policy| index.insert(policy.clone()));
        let gone = (!policies.is_empty()).then(|| removed.get(&policies).key().clone());
        gone.iter().for_each(|key| drop(index.remove(key)));
        let selects = |policy: &&Arc<Policy>| {
            let own = &*policy.key().namespace == namespace;
            let near = own || &*policy.key().namespace == ROOT;
            Some(policy.key()) != gone.as_ref() && match policy.scope() {
                Scope::Everyone => near,
                Scope::Labels(wanted) => near && wanted.iter().all(|(n, v)| labels.get(n) == Some(v)),
                Scope::Services(names) => own && names.contains(&services[0]),
            }
        };
        let expected = Applicable::new(policies.iter().filter(selects).cloned());
        let found = index.select(&Target { namespace, labels: &labels, services: &services });
        prop_assert_eq!(found.policies(), expected.policies());
    }

    #[test]
    fn an_allow_of_one_tier_never_widens_another(
        policies in policies(),
        more in one_more(Mode::Enforce, Action::Allow),
        asking in asking(),
    ) {
        // Denied for the sake of the other tiers alone: what this tier says must not matter.
        let others = policies.iter().filter(|policy| policy.tier() != more.tier()).cloned();
        let denied = !Applicable::new(others).decide(&asking.request()).allowed;
        if denied {
            prop_assert!(!with(&policies, &more).decide(&asking.request()).allowed);
        }
    }

    #[test]
    fn a_deny_never_allows_more(
        policies in policies(),
        more in one_more(Mode::Enforce, Action::Deny),
        asking in asking(),
    ) {
        let before = Applicable::new(policies.clone()).decide(&asking.request()).allowed;
        let after = with(&policies, &more).decide(&asking.request()).allowed;
        prop_assert!(before || !after);
    }

    #[test]
    fn an_audit_policy_changes_no_verdict(
        policies in policies(),
        more in prop_oneof![one_more(Mode::Audit, Action::Allow), one_more(Mode::Audit, Action::Deny)],
        asking in asking(),
    ) {
        let before = Applicable::new(policies.clone()).decide(&asking.request());
        let after = with(&policies, &more).decide(&asking.request());
        prop_assert_eq!((before.allowed, before.by), (after.allowed, after.by));
    }

    #[test]
    fn what_audit_policies_would_deny_is_what_they_deny_when_enforced(
        policies in policies(),
        asking in asking(),
    ) {
        let policies: Vec<_> = policies.into_iter().filter(|policy| policy.mode() == Mode::Audit).collect();
        let enforced = policies.iter().map(|policy| {
            let mut policy = Policy::clone(policy);
            policy.mode = Mode::Enforce;
            Arc::new(policy)
        });
        let decided = Applicable::new(enforced).decide(&asking.request());
        let audited = Applicable::new(policies.clone()).decide(&asking.request()).audit;
        prop_assert_eq!(decided.allowed, audited.is_empty());
        if !decided.allowed {
            prop_assert_eq!(decided.by.as_ref(), audited.first());
        }
    }

    #[test]
    fn a_verdict_is_the_same_for_all_ports_of_a_class(
        policies in policies(),
        asking in asking(),
    ) {
        let applicable = Applicable::new(policies);
        let decide = |port| applicable.decide(&Request { port, ..asking.request() });
        let class = applicable.ports().class_of(asking.port);
        prop_assert!(class.contains(&asking.port));
        prop_assert_eq!(decide(asking.port), decide(*class.start()));
        prop_assert_eq!(decide(asking.port), decide(*class.end()));
    }

    #[test]
    fn a_network_is_decided_like_the_addresses_it_is_the_longest_match_of(
        policies in policies(),
        asking in asking(),
    ) {
        let applicable = Applicable::new(policies);
        let everywhere: IpNet = match asking.address {
            IpAddr::V4(_) => "0.0.0.0/0".parse().expect("a network"),
            IpAddr::V6(_) => "::/0".parse().expect("a network"),
        };
        let matches = applicable.networks().iter().filter(|network| network.contains(&asking.address));
        let longest = matches.max_by_key(|network| network.prefix_len()).unwrap_or(&everywhere);
        let source = Source { address: SourceAddress::Network(*longest), ..asking.request().source };
        let of_network = applicable.decide(&Request { source, ..asking.request() });
        prop_assert_eq!(of_network, applicable.decide(&asking.request()));
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(policies in policies(), asking in asking()) {
        let applicable = Applicable::new(policies);
        let decision = applicable.decide(&asking.request());
        let why = applicable.explain(&asking.request());
        prop_assert_eq!((why.allowed, &why.by, &why.audit), (decision.allowed, &decision.by, &decision.audit));
        for policy in &why.policies {
            let first = policy.rules.iter().position(|rule| rule.matched);
            prop_assert_eq!(policy.matched.map(|rule| rule as usize), first);
            for rule in &policy.rules {
                // Nothing to point out only where the rule truly matched.
                prop_assert_eq!(rule.mismatches.is_empty(), rule.matched && !rule.failed_safe);
            }
        }
    }
}
