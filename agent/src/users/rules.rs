//! What one RequestAuthentication asks, compiled.
//!
//! Entry point: [`RequestAuthentication`]. Immutable. Says whose tokens are taken and where they are; `verify` looks
//! at tokens.

use std::{fmt, sync::Arc};

use super::{
    forward::value,
    keys::{Keys, Reach, Source},
};
use crate::policy::{PolicyKey, Scope, User, Warning};

/// One RequestAuthentication, compiled. Made by `RequestAuthentication::parse`.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestAuthentication {
    pub(super) key: PolicyKey,
    pub(super) scope: Scope,
    pub(super) issuers: Vec<IssuerRule>,
    pub(super) warnings: Vec<Warning>,
}

impl RequestAuthentication {
    /// Namespace and name.
    pub fn key(&self) -> &PolicyKey {
        &self.key
    }

    /// Which workloads it selects.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What its author may not expect of it.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// One of `spec.issuers`: whose tokens are taken, and what must be true of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IssuerRule {
    pub(super) issuer: Box<str>,
    pub(super) audiences: Audiences,
    pub(super) keys: Keys,
    pub(super) locations: Vec<Location>,
    /// Seconds.
    pub(super) leeway: u64,
    pub(super) forwards: Vec<Forward>,
}

impl IssuerRule {
    /// The same for an object whose URIs may lead as far as `reach`.
    pub(super) fn reaching(&self, reach: Reach) -> Self {
        let keys = match &self.keys {
            Keys::Fetched(source) => Keys::Fetched(Arc::new(source.reaching(reach))),
            Keys::Inline(set) => Keys::Inline(set.clone()),
        };
        Self { keys, ..self.clone() }
    }

    /// Where its keys are fetched from; none when they are in the object.
    pub(super) fn source(&self) -> Option<&Arc<Source>> {
        match &self.keys {
            Keys::Fetched(source) => Some(source),
            Keys::Inline(_) => None,
        }
    }
}

/// `issuers[].audiences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audiences {
    /// `*`.
    Any,
    /// One of these.
    Of(Vec<String>),
}

impl Audiences {
    pub(super) fn take(&self, given: &[String]) -> bool {
        match self {
            Audiences::Any => true,
            Audiences::Of(wanted) => given.iter().any(|audience| wanted.contains(audience)),
        }
    }
}

/// Where in a request a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In a header (lower case), behind a prefix that may be empty.
    Header { name: Box<str>, prefix: Box<str> },
    /// In a cookie of this name (RFC 6265 §4.2).
    Cookie(Box<str>),
}

impl Location {
    /// `authorization: Bearer …` (RFC 6750 §2.1).
    pub(super) fn bearer() -> Self {
        Self::Header { name: "authorization".into(), prefix: "Bearer ".into() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, prefix } => write!(f, "{name}: {prefix}…"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

/// One of `issuers[].forwardClaims`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) claim: Box<str>,
    pub(super) header: Arc<str>,
}

impl Forward {
    /// The header's value for `user`; none when the token does not have the claim.
    pub(super) fn value(&self, user: &User) -> Option<String> {
        let one = |text: &String| Some(text).filter(|text| !text.is_empty()).map(|text| vec![text.clone()]);
        let texts = match &*self.claim {
            "iss" => one(&user.issuer)?,
            "sub" => one(&user.subject)?,
            "aud" => user.audiences.clone(),
            claim => user.claims.get(claim)?.clone(),
        };
        Some(value(&texts))
    }
}
