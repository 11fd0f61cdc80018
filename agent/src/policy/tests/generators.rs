//! Policies and requests at random, alike enough to meet.
//!
//! Entry points: [`policies`], [`asking`].

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    identity::{Identity, TrustDomain},
    policy::{
        AccessPolicySpec, Action, Applicable, FromSpec, HeaderSpec, HttpRequest, Mode, PathError, Policy,
        PolicyKey, PortSpec, Request, RuleSpec, SelectorSpec, Source, SourceAddress, TargetRefSpec, Tier,
        ToSpec, User, UserSpec, WhenSpec,
    },
};

pub(super) const ROOT: &str = "weir-system";
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
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
    let rarely =
        |of: &'static [&'static str]| option::weighted(0.2, vec(select(of).prop_map(String::from), 1..3));
    let header = select(&["prod", "test"][..])
        .prop_map(|value| vec![HeaderSpec { name: "x-env".into(), values: vec![value.into()] }]);
    let lists = (
        some(&PORTS),
        rarely(&["GET", "POST"]),
        rarely(&["/v1/*", "/v1/pay", "*/admin", "*.php", "*"]),
        rarely(&["pay.local", "*.local"]),
        option::weighted(0.2, header),
    );
    lists.prop_map(|(ports, methods, paths, hosts, headers)| {
        let is_empty = methods.is_none() && paths.is_none() && hosts.is_none() && headers.is_none();
        let or_one = || is_empty.then(|| vec![PORTS[1].to_string()]);
        let ports = ports.or_else(or_one).map(|ports| ports.into_iter().map(PortSpec).collect());
        ToSpec { ports, methods, paths, hosts, headers }
    })
}

fn a_condition() -> impl Strategy<Value = WhenSpec> {
    let claims = select(&["dev", "ops"][..])
        .prop_map(|group| BTreeMap::from([("groups".to_string(), vec![group.to_string()])]));
    (option::of(Just(vec!["me".to_string()])), claims).prop_map(|(issuers, claims)| WhenSpec {
        user: Some(UserSpec { issuers, audiences: None, claims: Some(claims) }),
    })
}

fn a_rule() -> impl Strategy<Value = RuleSpec> {
    let clauses = (
        option::of(vec(a_source(), 1..3)),
        option::of(vec(an_operation(), 1..3)),
        option::weighted(0.15, a_condition()),
    );
    clauses.prop_map(|(from, to, when)| RuleSpec { from, to, when })
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
pub(super) fn policies() -> impl Strategy<Value = Vec<Arc<Policy>>> {
    vec((select(&["a", "b", ROOT][..]), a_spec()), 0..8).prop_map(|specs| {
        let named = specs.into_iter().enumerate();
        named.map(|(n, (namespace, spec))| compiled(namespace, &format!("p-{n}"), spec)).collect()
    })
}

fn compiled(namespace: &str, name: &str, spec: AccessPolicySpec) -> Arc<Policy> {
    Arc::new(Policy::compile(PolicyKey::new(namespace, name), spec).expect("a right spec"))
}

/// One more policy, of this mode and action.
pub(super) fn one_more(mode: Mode, action: Action) -> impl Strategy<Value = Arc<Policy>> {
    a_spec().prop_map(move |spec| compiled("a", "more", AccessPolicySpec { mode, action, ..spec }))
}

#[derive(Clone, Debug)]
pub(super) struct Asking {
    identity: Option<Identity>,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    http: Option<HttpRequest<'static>>,
}

impl Asking {
    pub(super) fn request(&self) -> Request<'_> {
        let address = SourceAddress::Address(self.address);
        let source = Source { identity: self.identity.as_ref(), address };
        Request { source, port: self.port, http: self.http.as_ref() }
    }
}

type Headers = &'static [(Cow<'static, str>, Cow<'static, str>)];

/// Requests that rules tell apart, and requests of which something cannot be told.
pub(super) fn http() -> impl Strategy<Value = HttpRequest<'static>> {
    const PROD: (Cow<'static, str>, Cow<'static, str>) = (Cow::Borrowed("x-env"), Cow::Borrowed("prod"));
    const TEST: (Cow<'static, str>, Cow<'static, str>) = (Cow::Borrowed("x-env"), Cow::Borrowed("test"));
    const HEADERS: [Headers; 5] = [&[], &[PROD], &[TEST], &[PROD, TEST], &[PROD, PROD]];
    static USERS: LazyLock<[User; 3]> = LazyLock::new(|| {
        let user = |issuer: &str, group: &str| User {
            issuer: issuer.into(),
            claims: BTreeMap::from([("groups".to_string(), vec![group.to_string()])]),
            ..User::default()
        };
        [user("me", "dev"), user("me", "ops"), user("you", "dev")]
    });
    let paths = vec![
        Ok("/"),
        Ok("/v1/"),
        Ok("/v1/pay"),
        Ok("/a/admin"),
        Ok("/v1/a.php"),
        Ok("*"),
        Err(PathError::EncodedSlash),
    ];
    let parts = (
        select(&["GET", "POST", "DELETE"][..]),
        select(paths),
        select(&["pay.local", "a.local", "other", ""][..]),
        select(&HEADERS[..]),
        option::of(select(USERS.iter().collect::<Vec<_>>())),
    );
    parts.prop_map(|(method, path, host, headers, user)| HttpRequest { method, path, host, headers, user })
}

pub(super) fn asking() -> impl Strategy<Value = Asking> {
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
    let parts = (option::weighted(0.8, identity), address, port, option::weighted(0.7, http()));
    parts.prop_map(|(identity, address, port, http)| Asking { identity, address, port, http })
}

pub(super) fn with(policies: &[Arc<Policy>], more: &Arc<Policy>) -> Applicable {
    Applicable::new(policies.iter().chain([more]).cloned())
}
