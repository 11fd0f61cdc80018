//! The root certificate of a local CA: how it is made, and what must hold before it may sign.
//!
//! Entry points: [`make`] and [`Root::read`]. Works on texts; where they are kept is `directory`'s business.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{
    directory::{CERTIFICATE, KEY, OpenError, Pems},
    random,
};
use crate::identity::{Identity, TrustDomain};

/// How long a root lives.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A root is valid from this long ago, so that leaves, which are backdated too, stay inside it.
const BACKDATED: Duration = Duration::from_secs(3600);
/// X.520: a common name or an organisation has at most 64 characters.
const MAX_NAME: usize = 64;

/// A root that was checked and can sign.
pub(super) struct Root {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A new root for `trust_domain`, under `key` when there is one already.
pub(super) fn make(
    directory: &Path,
    trust_domain: &TrustDomain,
    key: Option<&str>,
    now: SystemTime,
) -> Result<Pems, OpenError> {
    let path = directory.join(KEY);
    let key = match key {
        Some(text) => read_key(&path, text)?,
        None => KeyPair::generate().map_err(|e| unfit(&path, format!("no key can be made ({e})"), REPORT))?,
    };
    let certificate = root_params(trust_domain, &key, now)
        .and_then(|params| params.self_signed(&key).map_err(|e| e.to_string()))
        .map_err(|e| unfit(&directory.join(CERTIFICATE), format!("it cannot be made ({e})"), REPORT))?;
    Ok(Pems { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn root_params(
    trust_domain: &TrustDomain,
    key: &KeyPair,
    now: SystemTime,
) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(now - BACKDATED);
    params.not_after = OffsetDateTime::from(now + LIFETIME);
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The same key always has the same name, so a certificate that is made again for it replaces the old one.
    let key_id: String =
        params.key_identifier(key).iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    let organisation: String = trust_domain.as_str().chars().take(MAX_NAME).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, format!("Weir local CA {key_id}"));
    // X.509-SVID §3.1: a signing certificate names its trust domain, without a path.
    let name = format!("spiffe://{trust_domain}").try_into().map_err(|e: rcgen::Error| e.to_string())?;
    params.subject_alt_names = vec![SanType::URI(name)];
    Ok(params)
}

impl Root {
    /// The root in `pems`, once everything that a peer would check was checked.
    ///
    /// # Errors
    /// [`OpenError::Unfit`] with the file that is wrong: not a CA, not valid now, of another trust domain, a
    /// key that is not the certificate's, or one with which a certificate comes out that no peer accepts.
    pub(super) fn read(
        directory: &Path,
        pems: &Pems,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, OpenError> {
        let (path, key_path) = (directory.join(CERTIFICATE), directory.join(KEY));
        let certificate = read_certificate(&path, &pems.certificate)?;
        let key = read_key(&key_path, &pems.key)?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|e| unfit(&path, format!("is not an X.509 certificate ({e})"), RESTORE))?;
        let (not_before, not_after) = may_sign(&path, &parsed, trust_domain, now)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(unfit(&key_path, format!("is not the key of {}", path.display()), RESTORE));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|e| unfit(&path, format!("cannot be used to sign ({e})"), RESTORE))?;
        let root = Self { certificate, not_before, not_after, issuer };
        root.try_out(&path, trust_domain, now)?;
        Ok(root)
    }

    /// A certificate for `identity` with `key`, from `not_before` to `not_after`.
    pub(super) fn sign(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<CertificateDer<'static>, String> {
        let mut params = CertificateParams::default();
        params.not_before = OffsetDateTime::from(not_before);
        params.not_after = OffsetDateTime::from(not_after);
        params.serial_number = Some(serial()?);
        // RFC 5280 §4.2.1.6: with an empty subject the alternative name is critical; rcgen makes it so.
        params.distinguished_name = DistinguishedName::new();
        let name = identity.to_string().try_into().map_err(|e: rcgen::Error| e.to_string())?;
        params.subject_alt_names = vec![SanType::URI(name)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer).map_err(|e| e.to_string())?.into())
    }

    /// Signs a certificate that is thrown away and checks it as a peer would: whatever is odd about a root
    /// that somebody brought along shows at the start, not at the first connection.
    fn try_out(&self, path: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), OpenError> {
        let attempt = || -> Result<(), String> {
            let identity = Identity::new(trust_domain, "weir-system", "try").map_err(|e| e.to_string())?;
            let key = KeyPair::generate().map_err(|e| e.to_string())?;
            let leaf = self.sign(&identity, &key, now, self.not_after)?;
            let leaf = ParsedCertificate::try_from(&leaf).map_err(|e| e.to_string())?;
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).map_err(|e| e.to_string())?;
            let now =
                UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
            let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, algorithms)
                .map_err(|e| e.to_string())
        };
        attempt().map_err(|e| unfit(path, format!("what it signs is not accepted ({e})"), RESTORE))
    }
}

fn read_certificate(path: &Path, text: &str) -> Result<CertificateDer<'static>, OpenError> {
    let mut found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| unfit(path, format!("is not PEM ({e})"), RESTORE))?;
    match (found.pop(), found.len()) {
        (Some(certificate), 0) => Ok(certificate),
        (None, _) => Err(unfit(path, "holds no certificate".into(), RESTORE)),
        (Some(_), more) => {
            Err(unfit(path, format!("holds {} certificates", more + 1), "keep only the root in it"))
        }
    }
}

fn read_key(path: &Path, text: &str) -> Result<KeyPair, OpenError> {
    // The reason is left out: what a parser says about a private key does not belong in a log.
    KeyPair::from_pem(text).map_err(|_| unfit(path, "holds no private key in PEM".into(), RESTORE))
}

/// Whether the certificate may sign for `trust_domain` now; the time from and to which it may.
fn may_sign(
    path: &Path,
    certificate: &X509Certificate<'_>,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), OpenError> {
    if !certificate.is_ca() {
        return Err(unfit(path, "is not the certificate of a CA".into(), RESTORE));
    }
    let usage =
        certificate.key_usage().map_err(|e| unfit(path, format!("has a bad key usage ({e})"), RESTORE))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(unfit(path, "may not sign certificates (key usage)".into(), RESTORE));
    }
    let (from, to) =
        (certificate.validity().not_before.to_datetime(), certificate.validity().not_after.to_datetime());
    if SystemTime::from(to) <= now {
        return Err(unfit(path, format!("expired on {}", to.date()), RENEW));
    }
    if SystemTime::from(from) > now {
        return Err(unfit(path, format!("is not valid before {from}"), "set the machine's clock"));
    }
    if let Some(other) = other_trust_domain(certificate, trust_domain) {
        let problem = format!("is of {other}, the agent's trust domain is {trust_domain}");
        return Err(unfit(path, problem, "give the agent that --trust-domain, or another directory"));
    }
    Ok((from.into(), to.into()))
}

/// The trust domain that the certificate names, if it names one and not `trust_domain`.
fn other_trust_domain(certificate: &X509Certificate<'_>, trust_domain: &TrustDomain) -> Option<String> {
    let names = certificate.subject_alternative_name().ok().flatten()?;
    let mut spiffe = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://"),
        _ => None,
    });
    spiffe.find(|name| *name != trust_domain.as_str()).map(str::to_owned)
}

/// A serial number of 128 random bits (RFC 5280 §4.1.2.2 allows 159).
fn serial() -> Result<SerialNumber, String> {
    let mut octets = [0; 16];
    random::fill(&mut octets).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(SerialNumber::from_slice(&octets))
}

const RESTORE: &str = "put both files back from a copy, or remove both for a new root and restart every agent \
                       that shares the directory";
const RENEW: &str =
    "remove ca.pem to make it anew for the same key, and restart every agent that shares the directory";
const REPORT: &str = "look at the system's entropy and disk";

fn unfit(path: &Path, problem: String, remedy: &'static str) -> OpenError {
    OpenError::Unfit { path: PathBuf::from(path), problem, remedy }
}
