//! Policies from YAML, workloads and requests in a word.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    identity::{Identity, TrustDomain},
    policy::{
        Applicable, ConnectionDecision, Decision, Explanation, FieldError, HttpRequest, PathError, Policy,
        PolicyIndex, PolicyKey, Request, Source, SourceAddress, Target, User, normalise,
    },
};

/// `namespace/name`.
pub(super) fn key(text: &str) -> PolicyKey {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    PolicyKey::new(namespace, name)
}

/// What reading the `spec` in `yaml` gives.
pub(super) fn parsed(name: &str, yaml: &str) -> Result<Policy, Vec<FieldError>> {
    Policy::parse(key(name), serde_norway::from_str(yaml).expect("YAML"))
}

/// A policy without mistakes.
pub(super) fn policy(name: &str, yaml: &str) -> Arc<Policy> {
    Arc::new(parsed(name, yaml).expect("a right policy"))
}

/// Everything wrong with a policy, as `field: value: message`.
pub(super) fn mistakes(yaml: &str) -> Vec<String> {
    let errors = parsed("shop/wrong", yaml).expect_err("a wrong policy");
    errors.iter().map(FieldError::to_string).collect()
}

/// The policies together, as if they all selected one workload.
pub(super) fn together<const N: usize>(policies: [(&str, &str); N]) -> Applicable {
    Applicable::new(policies.map(|(name, yaml)| policy(name, yaml)))
}

pub(super) fn index<const N: usize>(policies: [(&str, &str); N]) -> PolicyIndex {
    let mut index = PolicyIndex::default();
    policies.iter().for_each(|(name, yaml)| index.insert(policy(name, yaml)));
    index
}

/// A destination workload.
pub(super) struct Pod {
    namespace: String,
    labels: BTreeMap<String, String>,
    services: Vec<Arc<str>>,
}

pub(super) fn pod(namespace: &str) -> Pod {
    Pod { namespace: namespace.into(), labels: BTreeMap::new(), services: Vec::new() }
}

impl Pod {
    pub(super) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    pub(super) fn service(mut self, name: &str) -> Self {
        self.services.push(name.into());
        self
    }

    pub(super) fn select(&self, index: &PolicyIndex) -> Arc<Applicable> {
        let target = Target { namespace: &self.namespace, labels: &self.labels, services: &self.services };
        index.select(&target)
    }

    /// The names of the policies that select it.
    pub(super) fn selected_by(&self, index: &PolicyIndex) -> Vec<String> {
        self.select(index).policies().iter().map(|policy| policy.key().to_string()).collect()
    }
}

/// A user whom a token of `issuer` names; claims as `name=value`.
pub(super) fn user(issuer: &str, audiences: &[&str], claims: &[&str]) -> User {
    let mut user = User {
        issuer: issuer.into(),
        subject: "ann".into(),
        audiences: audiences.iter().map(|text| text.to_string()).collect(),
        claims: BTreeMap::new(),
    };
    for claim in claims {
        let (name, value) = claim.split_once('=').expect("name=value");
        user.claims.entry(name.into()).or_default().push(value.into());
    }
    user
}

/// A request in the making.
#[derive(Clone)]
pub(super) struct Asking {
    identity: Option<Identity>,
    address: SourceAddress,
    port: u16,
    http: Option<Http>,
}

/// A request's head as it is sent.
#[derive(Clone)]
struct Http {
    method: String,
    path: Result<String, PathError>,
    host: String,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    user: Option<User>,
}

/// `namespace/account` asks, from 10.1.2.3, for port 8080.
pub(super) fn from(account: &str) -> Asking {
    let (namespace, account) = account.split_once('/').expect("namespace/account");
    let identity = Identity::new(&TrustDomain::default(), namespace, account).expect("an identity");
    Asking { identity: Some(identity), ..plaintext() }
}

/// Somebody without an identity asks, from 10.1.2.3, for port 8080.
pub(super) fn plaintext() -> Asking {
    let address = SourceAddress::Address(IpAddr::from([10, 1, 2, 3]));
    Asking { identity: None, address, port: 8080, http: None }
}

impl Asking {
    pub(super) fn identity(mut self, text: &str) -> Self {
        self.identity = Some(text.parse().expect("an identity"));
        self
    }

    pub(super) fn at(mut self, address: &str) -> Self {
        self.address = SourceAddress::Address(address.parse().expect("an address"));
        self
    }

    pub(super) fn within(mut self, network: &str) -> Self {
        self.address = SourceAddress::Network(network.parse().expect("a network"));
        self
    }

    pub(super) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// By HTTP, to the host `pay.shop`; `path` is as sent.
    pub(super) fn sends(
        mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        user: Option<&User>,
    ) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_string().into(), value.to_string().into()));
        self.http = Some(Http {
            method: method.into(),
            path: normalise(path.as_bytes()).map(Cow::into_owned),
            host: "pay.shop".into(),
            headers: headers.collect(),
            user: user.cloned(),
        });
        self
    }

    /// `GET path`.
    pub(super) fn gets(self, path: &str) -> Self {
        self.sends("GET", path, &[], None)
    }

    /// To another host than `pay.shop`.
    pub(super) fn host(mut self, host: &str) -> Self {
        self.http.as_mut().expect("an HTTP request").host = host.into();
        self
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source { identity: self.identity.as_ref(), address: self.address }
    }

    fn asked<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let http = self.http.as_ref().map(|http| HttpRequest {
            method: &http.method,
            path: http.path.as_deref().map_err(|error| *error),
            host: &http.host,
            headers: &http.headers,
            user: http.user.as_ref(),
        });
        ask(&Request { source: self.source(), port: self.port, http: http.as_ref() })
    }

    pub(super) fn of(&self, applicable: &Applicable) -> Decision {
        self.asked(|request| applicable.decide(request))
    }

    pub(super) fn why(&self, applicable: &Applicable) -> Explanation {
        self.asked(|request| applicable.explain(request))
    }

    /// What is decided about the connection.
    pub(super) fn connects(&self, applicable: &Applicable) -> ConnectionDecision {
        applicable.decide_connection(self.source(), self.port)
    }

    /// `allowed` or `denied`, and by what.
    pub(super) fn verdict(&self, applicable: &Applicable) -> String {
        let Decision { allowed, by, .. } = self.of(applicable);
        let verdict = if allowed { "allowed" } else { "denied" };
        match by {
            Some(by) => format!("{verdict} by {by}"),
            None => verdict.into(),
        }
    }

    /// Whether a rule, the only one of an allow policy of the namespace `shop`, matches.
    pub(super) fn matches(&self, rule: &str) -> bool {
        self.of(&together([("shop/rule", &format!("{{rules: [{rule}]}}"))])).allowed
    }
}
