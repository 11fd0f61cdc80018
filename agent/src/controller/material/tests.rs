//! What the Secret may hold, and that what is written is read as it was meant.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::*;
use crate::{
    ca::{CertificateRequest, signer::ROOT_LIFETIME},
    controller::rotation::{Choice, Situation, Times, plan},
    identity::Identity,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn domain() -> TrustDomain {
    TrustDomain::default()
}

fn read(secret: &Secret) -> Result<Material, String> {
    Material::read(secret, &domain(), now())
}

fn made() -> Secret {
    new_secret("weir-system", "weir-ca", &domain(), now()).expect("a secret")
}

fn words(secret: &Secret) -> String {
    read(secret).err().expect("unfit")
}

fn without(field: &str) -> Secret {
    let mut secret = made();
    secret.data.get_or_insert_default().remove(field);
    secret
}

#[test]
fn what_is_made_can_sign_and_wants_no_other() {
    let material = read(&made()).expect("fit");
    assert!(material.active.chain.is_empty());
    assert!(!material.wants_next(now()));
    assert!(material.wants_next(now() + ROOT_LIFETIME.mul_f64(0.81)));
}

#[test]
fn a_secret_that_is_not_fit_is_refused_with_the_field() {
    let with = |field: &str, text: &str| {
        let mut secret = made();
        put(&mut secret, field, text.into());
        secret
    };
    let other = made();
    let others = |field: &str| str::from_utf8(&other.data.as_ref().expect("data")[field].0).expect("text");
    for (secret, word) in [
        (Secret::default(), "tls.crt: is missing"),
        (without("tls.crt"), "tls.crt: is missing"),
        (without("tls.key"), "tls.key: is missing"),
        (with("tls.crt", "nothing"), "tls.crt: holds no certificate"),
        (with("tls.key", "nothing"), "tls.key: holds no private key"),
        (with("ca.crt", "nothing"), "ca.crt: holds no certificate"),
        (with("tls.key", others("tls.key")), "tls.key: is not the key"),
        (with("ca.crt", others("ca.crt")), "tls.crt: what it signs is not accepted"),
        (with("next.crt", others("tls.crt")), "next.key: is missing"),
    ] {
        let said = words(&secret);
        assert!(said.contains(word), "{said}");
    }
    let mut octets = made();
    octets.data.get_or_insert_default().insert("tls.crt".into(), ByteString(vec![0xff]));
    assert!(words(&octets).contains("tls.crt: is no text"));
    // A root needs nobody beside it.
    read(&without("ca.crt")).expect("fit");
}

#[test]
fn an_operators_intermediate_signs_and_goes_with_what_it_signs() {
    let root_key = KeyPair::generate().expect("a key");
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.not_before = (now() - DAY).into();
        params.not_after = (now() + 30 * DAY).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let root = params("root").self_signed(&root_key).expect("a root");
    let key = KeyPair::generate().expect("a key");
    let issuer = Issuer::new(params("root"), root_key);
    let certificate = params("intermediate").signed_by(&key, &issuer).expect("an intermediate");
    let mut secret = made();
    put(&mut secret, "tls.crt", format!("{}{}", certificate.pem(), root.pem()));
    put(&mut secret, "tls.key", key.serialize_pem());
    put(&mut secret, "ca.crt", root.pem());
    secret.metadata.annotations = None;

    let material = read(&secret).expect("fit");
    assert_eq!(material.active.chain, [certificate.der().clone()]);
    assert_eq!(material.active.roots, [root.der().clone()]);
    // It is not ours to replace, however old it is.
    assert!(!material.wants_next(now() + 29 * DAY));

    let identity = Identity::new(&domain(), "shop", "cart").expect("valid");
    let mut csr = CertificateParams::default();
    csr.distinguished_name = rcgen::DistinguishedName::new();
    csr.subject_alt_names = vec![rcgen::SanType::URI(identity.to_string().try_into().expect("ASCII"))];
    let leaf_key = KeyPair::generate().expect("a key");
    let csr = csr.serialize_request(&leaf_key).expect("a CSR").der().clone();
    let request = CertificateRequest { identity, csr };
    let issued = material.active.issue(&request, DAY, now()).expect("a certificate");
    assert_eq!(issued.chain[1..], [certificate.der().clone()]);
    assert_eq!(issued.roots, [root.der().clone()]);

    put(&mut secret, "ca.crt", String::new());
    assert!(words(&secret).contains("ca.crt: is missing, and the certificate is no root"));
}

#[test]
fn a_rotation_that_is_asked_for_happens_once() {
    let mut secret = made();
    secret.metadata.annotations.get_or_insert_default().insert(ROTATE.into(), "2027".into());
    assert!(read(&secret).expect("fit").wants_next(now()));
    let secret = with_next(&secret, &domain(), now()).expect("made");
    let material = read(&secret).expect("fit");
    assert!(!material.wants_next(now()));
    let next = material.next.expect("a next one").roots.clone();
    assert_ne!(next, material.active.roots);
    let after = read(&promoted(&secret)).expect("fit");
    assert_eq!(after.active.roots, next);
    assert!(after.next.is_none() && !after.wants_next(now()));
}

#[test]
fn what_is_published_is_read_as_it_was_written_and_changes_nothing_then() {
    let (secret, times) = (made(), Times { spread: DAY, lifetime: DAY });
    let material = read(&with_next(&secret, &domain(), now()).expect("made")).expect("fit");
    let next = material.next.as_deref().map(candidate);
    let active = candidate(&material.active);
    let at = now() + Duration::from_millis(1_234);
    let first = plan(&Situation { active, next, former: None, published: &[] }, times, at);
    let map = ConfigMap { data: Some(published_fields(&first.published)), ..ConfigMap::default() };
    let published = read_published(&map).expect("readable");
    assert_eq!(published.len(), 2);
    let second = plan(&Situation { active, next, former: None, published: &published }, times, at + DAY);
    assert_eq!((&second.published, second.choice), (&published, Choice::Active));
}

#[test]
fn roots_without_a_history_were_always_there_and_a_broken_text_is_an_error() {
    let certificate = String::from_utf8(made().data.expect("data")["tls.crt"].0.clone()).expect("text");
    let of = |text: &str| {
        let data = BTreeMap::from([(ROOTS.to_owned(), text.to_owned()), (HISTORY.into(), "[broken".into())]);
        read_published(&ConfigMap { data: Some(data), ..ConfigMap::default() })
    };
    let read = of(&certificate).expect("readable");
    assert_eq!((read.len(), read[0].since), (1, SystemTime::UNIX_EPOCH));
    assert!(of("-----BEGIN CERTIFICATE-----").expect_err("broken").starts_with("roots.pem: "));
    assert_eq!(of("").expect("readable"), []);
}
