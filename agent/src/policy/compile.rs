//! From the spec that an operator wrote to a [`Policy`] that can be asked.
//!
//! Entry points: [`Policy::parse`], [`Policy::compile`]. Every text becomes a type here, once. What
//! would match nothing or everything by accident is refused, and all that is wrong is reported at once.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    field::{Fault, Faults, FieldError, FieldPath},
    http::{HeaderMatch, HeaderName, HeaderValue, HostMatch, HttpPart, PathMatch},
    lint,
    names::{Action, PolicyKey},
    read,
    rule::{Entry, Part, Policy, Rule, Scope},
    source::parse_network,
    spec::{
        AccessPolicySpec, FromSpec, HeaderSpec, PortSpec, RuleSpec, SelectorSpec, TargetRefSpec, ToSpec,
        UserSpec, WhenSpec,
    },
};
use crate::identity::{Identity, TrustDomain};

impl Policy {
    /// Reads and compiles the `spec` of an AccessPolicy.
    ///
    /// # Errors
    /// Everything that is wrong with it: unknown fields, wrong types, and all that
    /// [`Policy::compile`] refuses.
    pub fn parse(key: PolicyKey, spec: Value) -> Result<Policy, Vec<FieldError>> {
        read::parse(&FieldPath::spec(), spec, |spec: AccessPolicySpec| compile(key, spec))
    }

    /// Compiles a spec.
    ///
    /// # Errors
    /// Every field that is not what it should be, or that would match nothing or everything by
    /// accident, with its value.
    pub fn compile(key: PolicyKey, spec: AccessPolicySpec) -> Result<Policy, Vec<FieldError>> {
        compile(key, spec).map_err(|faults| faults.into_iter().map(FieldError::from).collect())
    }
}

fn compile(key: PolicyKey, spec: AccessPolicySpec) -> Result<Policy, Vec<Fault>> {
    let path = FieldPath::spec();
    let mut compiler = Compiler { namespace: &key.namespace, faults: Faults::default() };
    let scope = compiler.scope(&path, &spec);
    if spec.action == Action::Deny && spec.rules.is_empty() {
        let message = "a deny policy without rules denies nothing: to deny everything, write [{}]";
        compiler.faults.add(path.key("rules"), "[]", message);
    }
    let rules = path.key("rules");
    let compiled = spec.rules.iter().enumerate().map(|(at, rule)| compiler.rule(&rules.index(at), rule));
    let compiled: Vec<Rule> = compiled.collect();
    let faults = compiler.faults.0;
    if !faults.is_empty() {
        return Err(faults);
    }
    let warnings = lint::warnings(spec.action, &compiled);
    let AccessPolicySpec { tier, mode, action, .. } = spec;
    Ok(Policy { key, tier, mode, action, scope, rules: compiled, warnings })
}

struct Compiler<'a> {
    namespace: &'a str,
    faults: Faults,
}

impl Compiler<'_> {
    fn scope(&mut self, path: &FieldPath, spec: &AccessPolicySpec) -> Scope {
        match (&spec.selector, &spec.target_refs) {
            (None, None) => Scope::Everyone,
            (Some(selector), None) => self.selector(&path.key("selector"), selector),
            (None, Some(targets)) => self.targets(path.key("targetRefs"), targets),
            (Some(_), Some(_)) => {
                let message = "selector and targetRefs exclude each other: write two policies";
                self.faults.add(path.key("targetRefs"), "present beside selector", message);
                Scope::Everyone
            }
        }
    }

    fn selector(&mut self, path: &FieldPath, selector: &SelectorSpec) -> Scope {
        let empty = match &selector.match_labels {
            None => Some(path.clone()),
            Some(labels) => labels.is_empty().then(|| path.key("matchLabels")),
        };
        if let Some(path) = empty {
            self.faults.add(path, "{}", "names no label: to select all workloads, leave spec.selector out");
        }
        let path = path.key("matchLabels");
        let labels = selector.match_labels.clone().unwrap_or_default();
        for (name, value) in &labels {
            if !is_label_name(name) || !is_label_value(value) {
                let message = "no workload has such a label (Kubernetes: label syntax)";
                self.faults.add(path.key(name), format!("{name}={value}"), message);
            }
        }
        Scope::Labels(labels)
    }

    fn targets(&mut self, path: FieldPath, targets: &[TargetRefSpec]) -> Scope {
        if targets.is_empty() {
            let message = "an empty list selects nothing: leave it out, or name a Service";
            self.faults.add(path.clone(), "[]", message);
        }
        let mut services: Vec<Arc<str>> = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let path = path.index(index);
            if !matches!(target.group.as_str(), "" | "core") {
                self.faults.add(path.key("group"), &target.group, "a Service is of the core group: \"\"");
            }
            if target.kind != "Service" {
                self.faults.add(path.key("kind"), &target.kind, "only Service can be a target");
            }
            match name(&target.name) {
                Ok(name) => services.push(Arc::from(&*name)),
                Err(message) => self.faults.add(path.key("name"), &target.name, message),
            }
        }
        services.sort_unstable();
        services.dedup();
        Scope::Services(services)
    }

    fn rule(&mut self, path: &FieldPath, rule: &RuleSpec) -> Rule {
        let from = self.entries(path.key("from"), rule.from.as_deref(), Self::from);
        let to = self.entries(path.key("to"), rule.to.as_deref(), Self::to);
        let when = rule.when.as_ref().map(|when| self.when(&path.key("when"), when));
        Rule { from, to, when }
    }

    /// The entries of a clause; each must have a part, for one without any would match everything.
    fn entries<T>(
        &mut self,
        path: FieldPath,
        entries: Option<&[T]>,
        mut compile: impl FnMut(&mut Self, &FieldPath, &T) -> Entry,
    ) -> Option<Vec<Entry>> {
        let entries = entries?;
        if entries.is_empty() {
            let message = "an empty list matches nothing: leave it out to match everything";
            self.faults.add(path.clone(), "[]", message);
        }
        let mut compiled = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let path = path.index(index);
            let before = self.faults.0.len();
            let entry = compile(self, &path, entry);
            if entry.is_empty() && self.faults.0.len() == before {
                self.faults.add(path, "{}", "an empty entry matches everything: name something");
            }
            compiled.push(entry);
        }
        Some(compiled)
    }

    fn from(&mut self, path: &FieldPath, spec: &FromSpec) -> Entry {
        let own = self.namespace;
        let faults = &mut self.faults;
        let accounts = spec.service_accounts.as_deref();
        let accounts = faults.list(path.key("serviceAccounts"), accounts, |text| account(own, text));
        let names = faults.list(path.key("namespaces"), spec.namespaces.as_deref(), |text| name(text));
        let identities = spec.identities.as_deref();
        let identities = faults.list(path.key("identities"), identities, |text| text.parse());
        let cidrs = faults.list(path.key("cidrs"), spec.cidrs.as_deref(), |text| parse_network(text));
        let parts = [
            accounts.map(|accounts| Part::ServiceAccounts(accounts.into_iter().collect())),
            names.map(|names| Part::Namespaces(names.into_iter().collect())),
            identities.map(|identities| Part::Identities(identities.into_iter().collect())),
            cidrs.map(|cidrs| Part::Cidrs(cidrs.into_iter().collect())),
        ];
        parts.into_iter().flatten().collect()
    }

    fn to(&mut self, path: &FieldPath, spec: &ToSpec) -> Entry {
        let faults = &mut self.faults;
        let ports = faults.list(path.key("ports"), spec.ports.as_deref(), |PortSpec(text)| text.parse());
        let methods = faults.list(path.key("methods"), spec.methods.as_deref(), |text| text.parse());
        let paths = faults.list(path.key("paths"), spec.paths.as_deref(), |text| text.parse::<PathMatch>());
        let hosts = faults.list(path.key("hosts"), spec.hosts.as_deref(), |text| text.parse::<HostMatch>());
        let headers = spec.headers.as_deref().map(|headers| self.headers(path.key("headers"), headers));
        let parts = [
            ports.map(Part::Ports),
            methods.map(|methods| Part::Http(HttpPart::Methods(methods))),
            paths.map(|paths| Part::Http(HttpPart::Paths(paths.into_iter().collect()))),
            hosts.map(|hosts| Part::Http(HttpPart::Hosts(hosts.into_iter().collect()))),
            headers.map(|headers| Part::Http(HttpPart::Headers(headers))),
        ];
        parts.into_iter().flatten().collect()
    }

    fn headers(&mut self, path: FieldPath, headers: &[HeaderSpec]) -> Vec<HeaderMatch> {
        if headers.is_empty() {
            self.faults.add(path.clone(), "[]", "an empty list asks for nothing: leave it out");
        }
        let mut compiled = Vec::with_capacity(headers.len());
        for (index, header) in headers.iter().enumerate() {
            let path = path.index(index);
            let parse = |value: &String| value.parse::<HeaderValue>();
            let values = self.faults.list(path.key("values"), Some(&header.values), parse);
            match header.name.parse::<HeaderName>() {
                Ok(name) => compiled.push(HeaderMatch::new(name, values.unwrap_or_default())),
                Err(message) => self.faults.add(path.key("name"), &header.name, message),
            }
        }
        compiled
    }

    fn when(&mut self, path: &FieldPath, when: &WhenSpec) -> Entry {
        const NOTHING: &str = "a condition that asks for nothing: name a user's issuers, audiences or claims";
        let Some(user) = &when.user else {
            self.faults.add(path.clone(), "{}", NOTHING);
            return Entry::new();
        };
        let path = path.key("user");
        if *user == UserSpec::default() {
            self.faults.add(path.clone(), "{}", NOTHING);
        }
        let UserSpec { issuers, audiences, claims } = user;
        let issuers = self.faults.list(path.key("issuers"), issuers.as_deref(), |value| text(value));
        let audiences = self.faults.list(path.key("audiences"), audiences.as_deref(), |value| text(value));
        let claims = claims.as_ref().map(|claims| self.claims(path.key("claims"), claims));
        let parts = [
            issuers.map(HttpPart::Issuers),
            audiences.map(HttpPart::Audiences),
            claims.map(HttpPart::Claims),
        ];
        parts.into_iter().flatten().map(Part::Http).collect()
    }

    fn claims(
        &mut self,
        path: FieldPath,
        claims: &BTreeMap<String, Vec<String>>,
    ) -> BTreeMap<String, Vec<String>> {
        if claims.is_empty() {
            self.faults.add(path.clone(), "{}", "asks for no claim: leave it out, or name one");
        }
        let mut compiled = BTreeMap::new();
        for (claim, values) in claims {
            let values =
                self.faults.list(path.key(claim), Some(values), |value| text(value)).unwrap_or_default();
            compiled.insert(claim.clone(), values);
        }
        compiled
    }
}

/// `namespace/name`, or `name` in the policy's own namespace.
fn account(own: &str, text: &str) -> Result<(Box<str>, Box<str>), String> {
    let (namespace, account) = text.split_once('/').unwrap_or((own, text));
    match Identity::new(&TrustDomain::default(), namespace, account) {
        Ok(_) => Ok((namespace.into(), account.into())),
        Err(_) => Err("a service account is like shop/cart, or cart for the policy's own namespace".into()),
    }
}

/// The name of a Kubernetes object: what can stand in an identity.
fn name(text: &str) -> Result<Box<str>, String> {
    match Identity::new(&TrustDomain::default(), text, "any") {
        Ok(_) => Ok(text.into()),
        Err(_) => Err("not a name: lower-case letters, digits, '-' and '.' only, exactly as it is".into()),
    }
}

/// Any text but an empty one.
fn text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty text matches nothing".into());
    }
    Ok(text.into())
}

/// Kubernetes' syntax: an optional DNS prefix and `/`, then as a value that is not empty.
fn is_label_name(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("any", text));
    self::name(prefix).is_ok() && !name.is_empty() && is_label_value(name)
}

/// Kubernetes' syntax: at most 63 letters, digits, `-`, `_`, `.`, the outer ones alphanumeric.
fn is_label_value(text: &str) -> bool {
    let outer = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63
        && text.bytes().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().next_back())
}
