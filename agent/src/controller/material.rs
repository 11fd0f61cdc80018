//! The authority's Secret and the ConfigMap of its roots: what they hold, and what is written to them.
//!
//! Entry points: [`Material::read`], [`read_published`], and what makes the objects. Pure. The Secret has the fields of
//! cert-manager's: `tls.crt` and `tls.key` sign, `ca.crt` has the roots; and, while a rotation that this controller began
//! is under way, `next.crt` and `next.key`.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::rotation::{Candidate, Published};
use crate::{
    ca::{
        istio::bundle,
        signer::{self, Part, Signer, Texts, read_certificates},
        trust::ROOTS,
    },
    identity::TrustDomain,
};

/// Set to anything new, it begins a rotation.
const ROTATE: &str = "weir.dev/rotate";
/// What it was when a rotation was begun last.
const ROTATED: &str = "weir.dev/rotated";
/// On a Secret whose root this controller made: it may make another in time.
const GENERATED: &str = "weir.dev/generated";
/// The field of the ConfigMap that says since when each root is there.
const HISTORY: &str = "history.json";
/// A root that was made here is followed by another when less than this part of its life is left.
const LAST_PART: u32 = 5;

/// What the Secret holds.
pub(super) struct Material {
    pub(super) active: Arc<Signer>,
    pub(super) next: Option<Arc<Signer>>,
    generated: bool,
    /// What asks for a rotation, and for which there was one.
    asked: Option<String>,
    rotated: Option<String>,
}

impl Material {
    /// Reads it.
    ///
    /// # Errors
    /// Words that name the field and what is wrong with it.
    pub(super) fn read(secret: &Secret, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, String> {
        let active = signer(secret, ["tls.crt", "tls.key", "ca.crt"], trust_domain, now)?;
        let active = active.ok_or("tls.crt: is missing")?;
        let next = signer(secret, ["next.crt", "next.key", ""], trust_domain, now)?;
        let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name).cloned();
        Ok(Self {
            active: Arc::new(active),
            next: next.map(Arc::new),
            generated: annotation(GENERATED).is_some(),
            asked: annotation(ROTATE),
            rotated: annotation(ROTATED),
        })
    }

    /// Whether another root is wanted: somebody asked for it, or this one was made here and is old.
    pub(super) fn wants_next(&self, now: SystemTime) -> bool {
        let old = || {
            let left = self.active.validity.to.duration_since(now).unwrap_or_default();
            self.generated && left < signer::ROOT_LIFETIME / LAST_PART
        };
        self.next.is_none() && (self.asked != self.rotated && self.asked.is_some() || old())
    }
}

/// How `plan` sees a signer.
pub(super) fn candidate(signer: &Signer) -> Candidate<'_> {
    Candidate { roots: &signer.roots, expires: signer.validity.to }
}

/// A Secret with a new root.
pub(super) fn new_secret(
    namespace: &str,
    name: &str,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Secret, String> {
    let (certificate, key) = signer::make(trust_domain, None, now).map_err(|unfit| unfit.problem)?;
    let mut secret = Secret {
        metadata: ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            annotations: Some(BTreeMap::from([(GENERATED.into(), "true".into())])),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".into()),
        ..Secret::default()
    };
    put(&mut secret, "ca.crt", certificate.clone());
    put(&mut secret, "tls.crt", certificate);
    put(&mut secret, "tls.key", key);
    Ok(secret)
}

/// The Secret with another root beside the one that signs.
pub(super) fn with_next(
    secret: &Secret,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Secret, String> {
    let (certificate, key) = signer::make(trust_domain, None, now).map_err(|unfit| unfit.problem)?;
    let mut secret = secret.clone();
    put(&mut secret, "next.crt", certificate);
    put(&mut secret, "next.key", key);
    let annotations = secret.metadata.annotations.get_or_insert_default();
    if let Some(asked) = annotations.get(ROTATE).cloned() {
        annotations.insert(ROTATED.into(), asked);
    }
    Ok(secret)
}

/// The Secret with the other root in the place of the one that signed.
pub(super) fn promoted(secret: &Secret) -> Secret {
    let mut secret = secret.clone();
    let data = secret.data.get_or_insert_default();
    if let (Some(certificate), Some(key)) = (data.remove("next.crt"), data.remove("next.key")) {
        data.insert("ca.crt".into(), certificate.clone());
        data.insert("tls.crt".into(), certificate);
        data.insert("tls.key".into(), key);
        secret.metadata.annotations.get_or_insert_default().insert(GENERATED.into(), "true".into());
    }
    secret
}

fn put(secret: &mut Secret, field: &str, text: String) {
    secret.data.get_or_insert_default().insert(field.into(), ByteString(text.into_bytes()));
}

fn signer(
    secret: &Secret,
    [certificate, key, roots]: [&str; 3],
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Option<Signer>, String> {
    let text = |field: &str| {
        let octets = secret.data.as_ref().and_then(|data| data.get(field));
        let text = octets.map(|octets| str::from_utf8(&octets.0).map_err(|_| format!("{field}: is no text")));
        // cert-manager leaves the field of roots empty where it knows none.
        text.transpose().map(|text| text.filter(|text| !text.trim().is_empty()))
    };
    let Some(certificate_text) = text(certificate)? else { return Ok(None) };
    let Some(key_text) = text(key)? else { return Err(format!("{key}: is missing")) };
    let texts = Texts { certificate: certificate_text, key: key_text, roots: text(roots)? };
    let read = Signer::read(texts, trust_domain, now).map_err(|unfit| {
        let field = match unfit.part {
            Part::Certificate => certificate,
            Part::Key => key,
            Part::Roots => roots,
        };
        format!("{field}: {}", unfit.problem)
    });
    read.map(Some)
}

/// What is said of a root beside it, RFC 3339.
#[derive(Debug, Serialize, Deserialize)]
struct History {
    sha256: String,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    until: Option<OffsetDateTime>,
}

/// The roots of a ConfigMap. One of which nothing is said was always there.
///
/// # Errors
/// Words that name the field and what is wrong with it.
pub(super) fn read_published(map: &ConfigMap) -> Result<Vec<Published>, String> {
    let field = |name: &str| map.data.as_ref().and_then(|data| data.get(name)).map_or("", String::as_str);
    if field(ROOTS).trim().is_empty() {
        return Ok(Vec::new());
    }
    let roots = read_certificates(Part::Roots, field(ROOTS))
        .map_err(|unfit| format!("{ROOTS}: {}", unfit.problem))?;
    // What is lost of it costs no more than a root that is trusted for longer.
    let history: Vec<History> = serde_json::from_str(field(HISTORY)).unwrap_or_default();
    let of = |root: CertificateDer<'static>| {
        let said = history.iter().find(|said| said.sha256 == fingerprint(&root));
        Published {
            since: said.map_or(SystemTime::UNIX_EPOCH, |said| said.since.into()),
            until: said.and_then(|said| said.until).map(SystemTime::from),
            root,
        }
    };
    Ok(roots.into_iter().map(of).collect())
}

/// The fields of a ConfigMap with these roots.
pub(super) fn published_fields(published: &[Published]) -> BTreeMap<String, String> {
    let roots: Vec<CertificateDer<'_>> = published.iter().map(|published| published.root.clone()).collect();
    // To the second: what is read is then what was written.
    let second = |time: SystemTime| {
        let time = OffsetDateTime::from(time);
        time.replace_nanosecond(0).unwrap_or(time)
    };
    let history: Vec<History> = published
        .iter()
        .map(|published| History {
            sha256: fingerprint(&published.root),
            since: second(published.since),
            until: published.until.map(second),
        })
        .collect();
    let history = serde_json::to_string_pretty(&history).unwrap_or_default();
    BTreeMap::from([(ROOTS.into(), bundle(&roots)), (HISTORY.into(), history)])
}

fn fingerprint(certificate: &[u8]) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests;
