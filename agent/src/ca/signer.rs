//! What signs: a root, or an intermediate that an operator's own root signed, and its key.
//!
//! Entry points: [`make`] and [`Signer::read`]. Works on texts; where they are kept is its callers' business. What must
//! hold before it may sign is found out when it is read, not when a peer refuses what it signed.

use std::time::{Duration, SystemTime};

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

use super::{CaError, CertificateRequest, Issued, random};
use crate::identity::{Identity, TrustDomain};

/// How long a root lives.
pub(crate) const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A root is valid from this long ago, so that leaves, which are backdated too, stay inside it.
const ROOT_BACKDATED: Duration = Duration::from_secs(3600);
/// How long before now a certificate is valid already, for peers whose clock is behind.
pub(crate) const BACKDATED: Duration = Duration::from_secs(60);
/// X.520: a common name or an organisation has at most 64 characters.
const MAX_NAME: usize = 64;
/// Certificates in one text, at most.
const MOST: usize = 8;

/// The texts of a signer, PEM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts<'a> {
    /// Its certificate, then what leads from there to a root.
    pub(crate) certificate: &'a str,
    /// Its private key.
    pub(crate) key: &'a str,
    /// The roots by which it is known; none where it is a root itself.
    pub(crate) roots: Option<&'a str>,
}

/// Why texts are no signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) part: Part,
    pub(crate) problem: String,
}

/// Which of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Certificate,
    Key,
    Roots,
}

/// How long a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
}

/// What was checked and can sign.
pub(crate) struct Signer {
    /// What goes with each certificate: this one's own unless it is a root, and what leads to one.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The roots by which what it signs is known.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

/// A new root for `trust_domain`, under `key` when there is one already: its certificate and key, PEM.
pub(crate) fn make(
    trust_domain: &TrustDomain,
    key: Option<&str>,
    now: SystemTime,
) -> Result<(String, String), Unfit> {
    let key = match key {
        Some(text) => read_key(text)?,
        None => KeyPair::generate().map_err(|e| unfit(Part::Key, format!("no key can be made ({e})")))?,
    };
    let certificate = root_params(trust_domain, &key, now)
        .and_then(|params| params.self_signed(&key).map_err(|e| e.to_string()))
        .map_err(|e| unfit(Part::Certificate, format!("it cannot be made ({e})")))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn root_params(
    trust_domain: &TrustDomain,
    key: &KeyPair,
    now: SystemTime,
) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(now - ROOT_BACKDATED);
    params.not_after = OffsetDateTime::from(now + ROOT_LIFETIME);
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The same key always has the same name, so a certificate that is made again for it replaces the old one.
    let key_id: String =
        params.key_identifier(key).iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    let organisation: String = trust_domain.as_str().chars().take(MAX_NAME).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, format!("Weir CA {key_id}"));
    // X.509-SVID §3.1: a signing certificate names its trust domain, without a path.
    let name = format!("spiffe://{trust_domain}").try_into().map_err(|e: rcgen::Error| e.to_string())?;
    params.subject_alt_names = vec![SanType::URI(name)];
    Ok(params)
}

impl Signer {
    /// The signer in `texts`, once everything that a peer would check was checked.
    ///
    /// # Errors
    /// [`Unfit`] with the text that is wrong: not a CA, not valid now, of another trust domain, a key that is not
    /// the certificate's, no way to a root, or one with which a certificate comes out that no peer accepts.
    pub(crate) fn read(texts: Texts<'_>, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Unfit> {
        let mut certificates = read_certificates(Part::Certificate, texts.certificate)?;
        let key = read_key(texts.key)?;
        let certificate = certificates[0].clone();
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|e| unfit(Part::Certificate, format!("is not an X.509 certificate ({e})")))?;
        let validity = may_sign(&parsed, trust_domain, now)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(unfit(Part::Key, "is not the key of the certificate".into()));
        }
        let is_root = parsed.subject() == parsed.issuer();
        let roots = match texts.roots {
            // A root may be given beside itself, and others that are to be trusted as well.
            Some(roots) => read_certificates(Part::Roots, roots)?,
            None if is_root => vec![certificate.clone()],
            None => {
                return Err(unfit(Part::Roots, "is missing, and the certificate is no root itself".into()));
            }
        };
        if is_root {
            certificates.remove(0);
        }
        certificates.retain(|certificate| !roots.contains(certificate));
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|e| unfit(Part::Certificate, format!("cannot be used to sign ({e})")))?;
        let signer = Self { chain: certificates, roots, validity, issuer };
        signer.try_out(trust_domain, now)?;
        Ok(signer)
    }

    /// A certificate for what `request` asks for, for `lifetime` from `now` or as long as this signer lives.
    ///
    /// # Errors
    /// [`CaError`]: a request that is not right, or this signer has expired.
    pub(crate) fn issue(
        &self,
        request: &CertificateRequest,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let key = request.public_key()?;
        let validity = self.validity_for(lifetime, now)?;
        let leaf = self.sign(&request.identity, &key, validity).map_err(CaError::Invalid)?;
        Ok(self.issued(leaf))
    }

    /// A certificate by which a server with these DNS names is known, for `lifetime` from `now`.
    ///
    /// # Errors
    /// As [`Signer::issue`].
    pub(crate) fn issue_to_server(
        &self,
        names: &[String],
        key: &KeyPair,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let invalid = |error: rcgen::Error| CaError::Invalid(error.to_string());
        let mut params = leaf_params(self.validity_for(lifetime, now)?).map_err(CaError::Invalid)?;
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(invalid)?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(key, &self.issuer).map_err(invalid)?;
        Ok(self.issued(leaf.into()))
    }

    fn issued(&self, leaf: CertificateDer<'static>) -> Issued {
        let chain = [leaf].into_iter().chain(self.chain.iter().cloned()).collect();
        Issued { chain, roots: self.roots.clone() }
    }

    fn validity_for(&self, lifetime: Duration, now: SystemTime) -> Result<Validity, CaError> {
        if now >= self.validity.to {
            return Err(CaError::Denied("the certificate of the authority has expired".into()));
        }
        let from = (now - BACKDATED).max(self.validity.from);
        Ok(Validity { from, to: (now + lifetime).min(self.validity.to) })
    }

    fn sign(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> Result<CertificateDer<'static>, String> {
        let mut params = leaf_params(validity)?;
        let name = identity.to_string().try_into().map_err(|e: rcgen::Error| e.to_string())?;
        params.subject_alt_names = vec![SanType::URI(name)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(key, &self.issuer).map_err(|e| e.to_string())?.into())
    }

    /// Signs a certificate that is thrown away and checks it as a peer would: whatever is odd about what
    /// somebody brought along shows at the start, not at the first connection.
    fn try_out(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), Unfit> {
        let attempt = || -> Result<(), String> {
            let identity = Identity::new(trust_domain, "weir-system", "try").map_err(|e| e.to_string())?;
            let key = KeyPair::generate().map_err(|e| e.to_string())?;
            let leaf = self.sign(&identity, &key, Validity { from: now, to: self.validity.to })?;
            let leaf = ParsedCertificate::try_from(&leaf).map_err(|e| e.to_string())?;
            let mut roots = RootCertStore::empty();
            for root in &self.roots {
                roots.add(root.clone()).map_err(|e| e.to_string())?;
            }
            let now =
                UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
            let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &self.chain, now, algorithms)
                .map_err(|e| e.to_string())
        };
        attempt().map_err(|e| unfit(Part::Certificate, format!("what it signs is not accepted ({e})")))
    }
}

/// What every leaf has.
fn leaf_params(validity: Validity) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(validity.from);
    params.not_after = OffsetDateTime::from(validity.to);
    params.serial_number = Some(serial()?);
    // RFC 5280 §4.2.1.6: with an empty subject the alternative name is critical; rcgen makes it so.
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The certificates of a text, one at least.
pub(crate) fn read_certificates(part: Part, text: &str) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| unfit(part, format!("is not PEM ({e})")))?;
    match found.len() {
        0 => Err(unfit(part, "holds no certificate".into())),
        1..=MOST => Ok(found),
        more => Err(unfit(part, format!("holds {more} certificates, {MOST} are allowed"))),
    }
}

fn read_key(text: &str) -> Result<KeyPair, Unfit> {
    // The reason is left out: what a parser says about a private key does not belong in a log.
    KeyPair::from_pem(text).map_err(|_| unfit(Part::Key, "holds no private key in PEM".into()))
}

/// Whether the certificate may sign for `trust_domain` now, and how long.
fn may_sign(
    certificate: &X509Certificate<'_>,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Validity, Unfit> {
    let unfit = |problem| Err(unfit(Part::Certificate, problem));
    if !certificate.is_ca() {
        return unfit("is not the certificate of a CA".into());
    }
    match certificate.key_usage() {
        Err(error) => return unfit(format!("has a bad key usage ({error})")),
        Ok(Some(usage)) if !usage.value.key_cert_sign() => {
            return unfit("may not sign certificates (key usage)".into());
        }
        Ok(_) => {}
    }
    let (from, to) =
        (certificate.validity().not_before.to_datetime(), certificate.validity().not_after.to_datetime());
    if SystemTime::from(to) <= now {
        return unfit(format!("expired on {}", to.date()));
    }
    if SystemTime::from(from) > now {
        return unfit(format!("is not valid before {from}: is the machine's clock behind?"));
    }
    if let Some(other) = other_trust_domain(certificate, trust_domain) {
        return unfit(format!("is of {other}, the trust domain here is {trust_domain} (--trust-domain)"));
    }
    Ok(Validity { from: from.into(), to: to.into() })
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

fn unfit(part: Part, problem: String) -> Unfit {
    Unfit { part, problem }
}
