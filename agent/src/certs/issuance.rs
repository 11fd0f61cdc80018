//! One certificate from a fresh key to credentials: the request, and whether the answer is what was asked.
//!
//! Entry points: [`Attempt::new`] and [`Attempt::accept`]. The key is made here and leaves the process in no
//! form; every renewal makes a new one. The CA is not trusted to have understood: what it answers is checked
//! as a peer would check it, so a wrong answer is an error here and not a refused connection there.

use std::{sync::Arc, time::SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::{
    ca::{CaError, CertificateRequest, Issued},
    identity::{Credentials, Identity},
};

/// The longest chain that is looked at.
const MAX_CHAIN: usize = 8;

/// A key that waits for its certificate.
pub(super) struct Attempt {
    identity: Identity,
    key: KeyPair,
}

/// Credentials, and what is told about them.
#[derive(Clone, Debug)]
pub(super) struct Obtained {
    pub(super) credentials: Arc<Credentials>,
    /// The certificate's serial number, hexadecimal.
    pub(super) serial: Arc<str>,
}

impl Attempt {
    /// A new P-256 key for `identity`, and the request to certify it.
    pub(super) fn new(identity: Identity) -> Result<(Self, CertificateRequest), CaError> {
        let failed = |error: rcgen::Error| invalid(format!("no request can be made: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().map_err(failed)?)];
        let csr = params.serialize_request(&key).map_err(failed)?.into();
        Ok((Self { identity: identity.clone(), key }, CertificateRequest { identity, csr }))
    }

    /// The credentials, once `issued` proved to be a certificate of this key for this identity.
    pub(super) fn accept(self, issued: Issued, now: SystemTime) -> Result<Obtained, CaError> {
        let roots = Arc::new(roots(&issued)?);
        let (leaf, intermediates) = match issued.chain.split_first() {
            Some(split) if issued.chain.len() <= MAX_CHAIN => split,
            Some(_) => return Err(invalid(format!("a chain of {} certificates came", issued.chain.len()))),
            None => return Err(invalid("an empty chain came")),
        };
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|e| invalid(format!("what came cannot be read: {e}")))?;
        let (not_before, not_after) = self.check(&parsed, now)?;
        let serial: String = parsed.raw_serial().iter().map(|octet| format!("{octet:02x}")).collect();

        let checked = ParsedCertificate::try_from(leaf).map_err(|e| invalid(e.to_string()))?;
        let unix = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let provider = aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&checked, &roots, intermediates, unix, algorithms)
            .map_err(|e| invalid(format!("peers would not accept it: {e}")))?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let certified_key = CertifiedKey::from_der(issued.chain, key, &provider)
            .map_err(|e| invalid(format!("it is for another key: {e}")))?;
        let credentials = Credentials {
            identity: self.identity,
            certified_key: Arc::new(certified_key),
            roots,
            not_before,
            not_after,
        };
        Ok(Obtained { credentials: Arc::new(credentials), serial: serial.into() })
    }

    /// Name, usage and time of the leaf; the chain and the key are rustls's business.
    fn check(
        &self,
        leaf: &X509Certificate<'_>,
        now: SystemTime,
    ) -> Result<(SystemTime, SystemTime), CaError> {
        let names = leaf.subject_alternative_name().ok().flatten();
        match names.as_ref().map(|names| names.value.general_names.as_slice()) {
            Some([GeneralName::URI(uri)]) if *uri == self.identity.to_string() => {}
            _ => return Err(invalid(format!("its only name is not {}", self.identity))),
        }
        let usage = leaf.extended_key_usage().ok().flatten();
        if !usage.is_some_and(|usage| usage.value.client_auth && usage.value.server_auth) {
            return Err(invalid("it is not for both clients and servers"));
        }
        let (from, to) = (leaf.validity().not_before.to_datetime(), leaf.validity().not_after.to_datetime());
        if SystemTime::from(from) > now {
            return Err(invalid(format!("it is not valid before {from}: is this machine's clock behind?")));
        }
        if SystemTime::from(to) <= now {
            return Err(invalid(format!("it expired at {to}: is this machine's clock ahead?")));
        }
        Ok((from.into(), to.into()))
    }
}

fn roots(issued: &Issued) -> Result<RootCertStore, CaError> {
    let mut roots = RootCertStore::empty();
    for root in &issued.roots {
        roots.add(root.clone()).map_err(|e| invalid(format!("a root that came cannot be used: {e}")))?;
    }
    if roots.is_empty() { Err(invalid("no roots came with it")) } else { Ok(roots) }
}

fn invalid(reason: impl Into<String>) -> CaError {
    CaError::Invalid(reason.into())
}

#[cfg(test)]
mod tests;
