//! From the spec that an operator wrote to a [`RequestAuthentication`].
//!
//! Entry point: [`RequestAuthentication::parse`]. Every text becomes a type here, once, and all that is wrong
//! is reported at once.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;

use super::{
    duration::milliseconds,
    forward::{self, header_name, is_token},
    jwk::{Key, Unfit},
    keys::{KeySet, Keys, MOST_KEYS, Reach, Source},
    rules::{Audiences, Forward, IssuerRule, Location, RequestAuthentication},
    spec::{ForwardSpec, IssuerSpec, JwksSpec, LocationSpec, RequestAuthenticationSpec},
    uri::{JwksUri, Place},
};
use crate::policy::{
    FieldError, PolicyKey, Warning,
    field::{Fault, Faults, FieldPath},
    read,
    selection::scope,
};

/// Bounds of one object.
const MOST_ISSUERS: usize = 32;
const MOST_LOCATIONS: usize = 8;
const MOST_FORWARDS: usize = 32;
const LONGEST_NAME: usize = 256;
/// Clocks that are further apart are to be set, not tolerated.
const LONGEST_LEEWAY: u64 = 600_000;
const LEEWAY: u64 = 60_000;
const REFRESH: u64 = 300_000;
const SHORTEST_REFRESH: u64 = 10_000;
const LONGEST_REFRESH: u64 = 86_400_000;
/// Where a URI may be a file, unless the mesh is set up otherwise; only a warning hangs on it.
const ROOT: &str = "weir-system";

impl RequestAuthentication {
    /// Reads and compiles the `spec` of a RequestAuthentication.
    ///
    /// # Errors
    /// Everything that is wrong with it: unknown fields, wrong types, keys that are none, and what would
    /// take any token or none by accident, each with its field and value. Private keys are not shown.
    pub fn parse(key: PolicyKey, spec: Value) -> Result<Self, Vec<FieldError>> {
        read::parse(&FieldPath::spec(), spec, |spec| compile(key, spec))
    }
}

fn compile(key: PolicyKey, spec: RequestAuthenticationSpec) -> Result<RequestAuthentication, Vec<Fault>> {
    let path = FieldPath::spec();
    let mut compiler =
        Compiler { in_root: &*key.namespace == ROOT, faults: Faults::default(), warnings: Vec::new() };
    let scope = scope(&mut compiler.faults, &path, spec.selector.as_ref(), spec.target_refs.as_deref());
    let issuers = compiler.issuers(&path.key("issuers"), &spec.issuers);
    let Compiler { faults, warnings, .. } = compiler;
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    Ok(RequestAuthentication { key, scope, issuers, warnings })
}

struct Compiler {
    in_root: bool,
    faults: Faults,
    warnings: Vec<Warning>,
}

impl Compiler {
    fn issuers(&mut self, path: &FieldPath, specs: &[IssuerSpec]) -> Vec<IssuerRule> {
        if specs.is_empty() {
            self.faults.add(path.clone(), "[]", "takes nobody's tokens: name an issuer");
        }
        self.bound(path, specs.len(), MOST_ISSUERS);
        let mut rules: Vec<IssuerRule> = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate().take(MOST_ISSUERS) {
            let path = path.index(index);
            if specs[..index].iter().any(|other| other.issuer == spec.issuer) {
                let message = "this issuer is in the list already: give it several places in from";
                self.faults.add(path.key("issuer"), &spec.issuer, message);
            }
            rules.extend(self.issuer(&path, spec));
        }
        rules
    }

    fn issuer(&mut self, path: &FieldPath, spec: &IssuerSpec) -> Option<IssuerRule> {
        let name = &spec.issuer;
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            self.faults.add(path.key("issuer"), name, "must be the claim iss of its tokens, exactly");
        }
        let audiences = self.audiences(&path.key("audiences"), &spec.audiences);
        let keys = match &spec.jwks {
            Some(jwks) => self.jwks(&path.key("jwks"), jwks),
            None => {
                self.faults.add(path.key("jwks"), "absent", "its keys are needed: inline, or a uri");
                None
            }
        };
        let locations = self.locations(&path.key("from"), spec.from.as_deref());
        let leeway = spec.clock_leeway.as_deref();
        let leeway = self.duration(path.key("clockLeeway"), leeway, LEEWAY, 0, LONGEST_LEEWAY);
        let forwards = spec.forward_claims.as_deref();
        let forwards = self.forwards(&path.key("forwardClaims"), forwards, &locations);
        let issuer = name.as_str().into();
        Some(IssuerRule { issuer, audiences, keys: keys?, locations, leeway: leeway / 1_000, forwards })
    }

    fn audiences(&mut self, path: &FieldPath, given: &[String]) -> Audiences {
        if given.is_empty() {
            let message = "for whom its tokens must be: without that, those for any other app would do. \
                           To take them all the same, write [\"*\"]";
            self.faults.add(path.clone(), "[]", message);
        }
        if given == ["*"] {
            self.warn(path, "takes a token that was issued for another app");
            return Audiences::Any;
        }
        for (index, audience) in given.iter().enumerate() {
            if audience.is_empty() || audience == "*" {
                self.faults.add(path.index(index), audience, "must be a value of the claim aud, exactly");
            }
        }
        Audiences::Of(given.to_vec())
    }

    fn jwks(&mut self, path: &FieldPath, spec: &JwksSpec) -> Option<Keys> {
        match (&spec.inline, &spec.uri) {
            (Some(set), None) => {
                for (field, value) in [("ca", &spec.ca), ("refresh", &spec.refresh)] {
                    if let Some(value) = value {
                        self.faults.add(path.key(field), value, "is for a uri: keys inline are not fetched");
                    }
                }
                self.inline(&path.key("inline"), set)
            }
            (None, Some(uri)) => self.fetched(path, spec, uri),
            (Some(_), Some(uri)) => {
                self.faults.add(path.key("uri"), uri, "inline and uri exclude each other");
                None
            }
            (None, None) => {
                self.faults.add(path.clone(), "{}", "its keys are needed: inline, or a uri");
                None
            }
        }
    }

    fn inline(&mut self, path: &FieldPath, set: &Value) -> Option<Keys> {
        let Some(list) = set.get("keys").and_then(Value::as_array) else {
            let message = "a key set is an object with the list keys (RFC 7517 §5)";
            self.faults.add(path.clone(), shape(set), message);
            return None;
        };
        let path = path.key("keys");
        self.bound(&path, list.len(), MOST_KEYS);
        let mut keys = Vec::new();
        let mut left_out = 0;
        for (index, jwk) in list.iter().enumerate().take(MOST_KEYS) {
            match Key::parse(jwk) {
                Ok(key) => keys.push(key),
                Err(unfit) if unfit.for_others => left_out += 1,
                Err(unfit) => self.unfit(path.index(index), jwk, unfit),
            }
        }
        if keys.is_empty() && left_out == list.len() {
            self.faults.add(path, "no key", "has no key that could verify a token");
        }
        Some(Keys::Inline(Arc::new(KeySet::new(keys, left_out))))
    }

    /// A key at fault. Nothing of it is shown that could be secret.
    fn unfit(&mut self, path: FieldPath, jwk: &Value, unfit: Unfit) {
        let Some(member) = unfit.member else {
            return self.faults.add(path, shape(jwk), unfit.message);
        };
        let public = ["kty", "crv", "use", "alg", "n", "e", "x", "y", "kid", "key_ops"].contains(&member);
        let value = match jwk.get(member) {
            None => "absent".into(),
            Some(value) if public => value.to_string(),
            Some(_) => "not shown".into(),
        };
        self.faults.add(path.key(member), value, unfit.message);
    }

    fn fetched(&mut self, path: &FieldPath, spec: &JwksSpec, text: &str) -> Option<Keys> {
        let refresh = spec.refresh.as_deref();
        let refresh = self.duration(path.key("refresh"), refresh, REFRESH, SHORTEST_REFRESH, LONGEST_REFRESH);
        let uri = match text.parse::<JwksUri>() {
            Ok(uri) => uri,
            Err(message) => {
                self.faults.add(path.key("uri"), text, message);
                return None;
            }
        };
        match uri.place() {
            Place::Web { tls: true, .. } => {}
            place => {
                if let Some(ca) = &spec.ca {
                    self.faults.add(path.key("ca"), first_line(ca), "is for a uri with https");
                }
                if matches!(place, Place::File(_)) && !self.in_root {
                    let message = "a file is only read for objects of the root namespace (weir-system)";
                    self.warn(&path.key("uri"), message);
                }
                if matches!(place, Place::Web { .. }) {
                    let message = "without TLS, whoever is between the node and the issuer can be anybody";
                    self.warn(&path.key("uri"), message);
                }
            }
        }
        let ca = spec.ca.as_deref();
        if let Some(ca) = ca
            && certificates(ca).is_none()
        {
            self.faults.add(path.key("ca"), first_line(ca), "must be PEM, one or more CERTIFICATE");
        }
        Some(Keys::Fetched(Arc::new(Source::new(uri, ca.map(Arc::from), refresh, Reach::Network))))
    }

    fn locations(&mut self, path: &FieldPath, given: Option<&[LocationSpec]>) -> Vec<Location> {
        let Some(given) = given else { return vec![Location::bearer()] };
        if given.is_empty() {
            self.faults.add(path.clone(), "[]", "an empty list takes tokens from nowhere: leave it out");
        }
        self.bound(path, given.len(), MOST_LOCATIONS);
        let mut locations = Vec::new();
        for (index, spec) in given.iter().enumerate() {
            let path = path.index(index);
            if let Some(location) = self.location(&path, spec) {
                if locations.contains(&location) {
                    self.faults.add(path, &location, "is in the list already");
                }
                locations.push(location);
            }
        }
        locations
    }

    fn location(&mut self, path: &FieldPath, spec: &LocationSpec) -> Option<Location> {
        match spec {
            LocationSpec { header: Some(header), prefix, cookie: None } => {
                let name = header.to_ascii_lowercase();
                if !is_token(&name) || matches!(&*name, "cookie" | "host" | "content-length") {
                    self.faults.add(path.key("header"), header, "a token's header is like x-token");
                }
                let usual = if name == "authorization" { "Bearer " } else { "" };
                let prefix = prefix.as_deref().unwrap_or(usual);
                let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
                if prefix.len() > LONGEST_NAME || !prefix.bytes().all(visible) || prefix.starts_with(' ') {
                    let message = "a prefix is like \"Bearer \": visible ASCII, no space in front";
                    self.faults.add(path.key("prefix"), prefix, message);
                }
                Some(Location::Header { name: name.into(), prefix: prefix.into() })
            }
            LocationSpec { header: None, prefix: None, cookie: Some(cookie) } => {
                if !is_token(cookie) {
                    self.faults.add(path.key("cookie"), cookie, "a cookie has a name, like session");
                }
                Some(Location::Cookie(cookie.as_str().into()))
            }
            LocationSpec { header: None, prefix: Some(prefix), .. } => {
                self.faults.add(path.key("prefix"), prefix, "a prefix is for a header");
                None
            }
            LocationSpec { header: Some(_), cookie: Some(cookie), .. } => {
                self.faults.add(path.key("cookie"), cookie, "one place at a time: write two entries");
                None
            }
            LocationSpec { header: None, prefix: None, cookie: None } => {
                self.faults.add(path.clone(), "{}", "where is the token: in a header, or in a cookie");
                None
            }
        }
    }

    fn forwards(
        &mut self,
        path: &FieldPath,
        given: Option<&[ForwardSpec]>,
        locations: &[Location],
    ) -> Vec<Forward> {
        let given = given.unwrap_or_default();
        self.bound(path, given.len(), MOST_FORWARDS);
        let mut forwards: Vec<Forward> = Vec::with_capacity(given.len());
        for (index, spec) in given.iter().enumerate() {
            let path = path.index(index);
            if spec.claim.is_empty() || spec.claim.len() > LONGEST_NAME {
                self.faults.add(path.key("claim"), &spec.claim, "must be the name of a claim");
            }
            let header = match header_name(&spec.header) {
                Ok(header) => header,
                Err(message) => {
                    self.faults.add(path.key("header"), &spec.header, message);
                    continue;
                }
            };
            let holds_token = |at: &Location| matches!(at, Location::Header { name, .. } if *name == header);
            if forwards.iter().any(|other| *other.header == *header) {
                self.faults.add(path.key("header"), &spec.header, "another claim is in this header");
            } else if locations.iter().any(holds_token) {
                self.faults.add(path.key("header"), &spec.header, "the token itself is in this header");
            } else if !forward::is_reserved(&header) {
                let message = "a client's own header of this name reaches the app where this object does \
                               not select it, and when it is deleted; one that begins with weir-user- \
                               never does";
                self.warn(&path.key("header"), message);
            }
            forwards.push(Forward { claim: spec.claim.as_str().into(), header: Arc::from(header) });
        }
        forwards
    }

    /// A duration in milliseconds between `least` and `most`.
    fn duration(&mut self, path: FieldPath, given: Option<&str>, usual: u64, least: u64, most: u64) -> u64 {
        let Some(text) = given else { return usual };
        match milliseconds(text) {
            Ok(duration) if (least..=most).contains(&duration) => return duration,
            Ok(_) => {
                let message = format!("must be from {}s to {}s", least / 1_000, most / 1_000);
                self.faults.add(path, text, message);
            }
            Err(message) => self.faults.add(path, text, message),
        }
        usual
    }

    fn bound(&mut self, path: &FieldPath, given: usize, most: usize) {
        if given > most {
            self.faults.add(path.clone(), format!("{given} entries"), format!("has at most {most}"));
        }
    }

    fn warn(&mut self, path: &FieldPath, message: &str) {
        self.warnings.push(Warning { field: path.to_string(), message: message.into() });
    }
}

/// The certificates of a PEM text; none when there is none, or one that is not good PEM.
pub(super) fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()?;
    let good = |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok();
    Some(found).filter(|found| !found.is_empty() && found.iter().all(good))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What something is, without saying what is in it: it may be a private key.
fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
