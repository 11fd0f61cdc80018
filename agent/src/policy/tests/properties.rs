//! What holds for all policies and all requests.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::generators::{NAMES, ROOT, asking, http, one_more, policies, with};
use crate::policy::{
    Action, Applicable, ConnectionDecision, Mode, Policy, PolicyIndex, Request, Scope, Source, SourceAddress,
    Target,
};

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
    #[test]
    fn what_is_decided_about_a_connection_holds_for_whatever_it_carries(
        policies in policies(),
        asking in asking(),
        requests in vec(option::weighted(0.9, http()), 1..8),
    ) {
        let applicable = Applicable::new(policies);
        let Request { source, port, .. } = asking.request();
        let connection = applicable.decide_connection(source, port);
        let needs_http = applicable.needs_http(source, port);
        prop_assert!(needs_http || connection != ConnectionDecision::PerRequest);
        let unseen = applicable.decide(&Request { source, port, http: None });
        prop_assert_eq!(applicable.decide_unseen(source, port).allowed, unseen.allowed);
        prop_assert_eq!(&applicable.decide_unseen(source, port).audit, &unseen.audit);
        for http in &requests {
            let decision = applicable.decide(&Request { source, port, http: http.as_ref() });
            match &connection {
                ConnectionDecision::Denied(of_connection) => {
                    prop_assert!(!decision.allowed && !of_connection.allowed);
                }
                ConnectionDecision::Allowed(of_connection) => {
                    prop_assert!(decision.allowed && of_connection.allowed);
                    prop_assert_eq!(&decision.audit, &of_connection.audit);
                }
                ConnectionDecision::PerRequest => {}
            }
            if !needs_http {
                prop_assert_eq!(&decision, &unseen);
            }
        }
    }

    #[test]
    fn what_is_decided_about_a_connection_is_the_same_for_all_ports_of_a_class(
        policies in policies(),
        asking in asking(),
    ) {
        let applicable = Applicable::new(policies);
        let source = asking.request().source;
        let class = applicable.ports().class_of(asking.port);
        let decide = |port| (applicable.decide_connection(source, port), applicable.needs_http(source, port));
        prop_assert_eq!(decide(asking.port), decide(*class.start()));
        prop_assert_eq!(decide(asking.port), decide(*class.end()));
    }
}
