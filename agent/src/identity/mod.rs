//! Who a workload is: SPIFFE identities, parsed once at the edge.
//!
//! Entry points: [`Identity`], [`TrustDomain`]. Knows nothing of certificates, files or the clock.

mod credentials;

use std::{fmt, str::FromStr, sync::Arc};

use hashbrown::Equivalent;

pub use credentials::Credentials;

use crate::interned::Shared;

/// The name of a certificate authority's realm, the host part of a SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The trust domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self("cluster.local".into())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    /// SPIFFE-ID §2.1: lower-case letters, digits, `.`, `-` and `_`, at most 255 octets.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(IdentityError::TrustDomain(text.into()));
        }
        Ok(Self(text.into()))
    }
}

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<Parts>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    trust_domain: TrustDomain,
    namespace: String,
    service_account: String,
}

/// What an identity is made of: finds one among others, without making it.
#[derive(Hash)]
pub(crate) struct PartsOf<'a> {
    pub(crate) trust_domain: &'a TrustDomain,
    pub(crate) namespace: &'a str,
    pub(crate) service_account: &'a str,
}

impl Equivalent<Identity> for PartsOf<'_> {
    fn equivalent(&self, identity: &Identity) -> bool {
        let Parts { trust_domain, namespace, service_account } = &*identity.0;
        (self.trust_domain, self.namespace, self.service_account)
            == (trust_domain, namespace, service_account)
    }
}

impl Shared for Identity {
    fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

/// Why a text is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text does not have the form that [`Identity`] documents.
    #[error("{0:?} is not spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Form(String),
    /// The trust domain has characters outside SPIFFE-ID §2.1.
    #[error("{0:?} is not a trust domain: lower-case letters, digits, '.', '-' and '_' only")]
    TrustDomain(String),
}

impl Identity {
    /// The identity of `service_account` in `namespace`.
    ///
    /// # Errors
    /// When a part is empty or holds a character that no Kubernetes name has (RFC 1123).
    pub fn new(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        if !is_name(namespace) || !is_name(service_account) {
            return Err(IdentityError::Form(format!(
                "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
            )));
        }
        Ok(Self(Arc::new(Parts {
            trust_domain: trust_domain.clone(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        })))
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.0.service_account
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { trust_domain, namespace, service_account } = &*self.0;
        write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(text.into());
        let rest = text.strip_prefix("spiffe://").ok_or_else(form)?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().ok_or_else(form)?.parse()?;
        let mut expect = |word: &str| parts.next() == Some(word);
        if !expect("ns") {
            return Err(form());
        }
        let namespace = parts.next().ok_or_else(form)?;
        if parts.next() != Some("sa") {
            return Err(form());
        }
        let service_account = parts.next().ok_or_else(form)?;
        if parts.next().is_some() {
            return Err(form());
        }
        Self::new(&trust_domain, namespace, service_account).map_err(|_| form())
    }
}

impl serde::Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_from_its_text() {
        let identity = Identity::new(&TrustDomain::default(), "shop", "cart").expect("valid");
        assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/shop/sa/cart");
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn what_is_not_an_identity_is_refused_with_its_text() {
        for text in [
            "",
            "cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://cluster.local/ns/a/x/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/a%2fb/sa/b",
            "spiffe:///ns/a/sa/b",
        ] {
            let error = text.parse::<Identity>().expect_err(text);
            assert!(error.to_string().contains("not"), "{error}");
        }
    }
}
