//! A CA's answer is believed only as far as it can be checked.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, PublicKeyData};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::identity::TrustDomain;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn identity(name: &str) -> Identity {
    Identity::new(&TrustDomain::default(), "shop", name).expect("valid")
}

/// A CA that signs whatever it is told.
struct Root {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Root {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).expect("a certificate").into();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Issued {
        let leaf = params.signed_by(key, &self.issuer).expect("a certificate").into();
        Issued { chain: vec![leaf], roots: vec![self.der.clone()] }
    }
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity(name).to_string().try_into().expect("ASCII"))];
    params.not_before = (now() - DAY).into();
    params.not_after = (now() + DAY).into();
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What becomes of an answer that `answer` makes for the attempt's own key.
fn outcome(answer: impl FnOnce(&Root, &KeyPair) -> Issued) -> Result<Obtained, CaError> {
    let (attempt, _) = Attempt::new(identity("cart")).expect("a request");
    let issued = answer(&Root::new(), &attempt.key);
    attempt.accept(issued, now())
}

fn refusal(answer: impl FnOnce(&Root, &KeyPair) -> Issued) -> String {
    match outcome(answer) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_right_answer_becomes_credentials() {
    let obtained = outcome(|root, key| root.sign(&leaf("cart"), key)).expect("accepted");
    assert_eq!(obtained.credentials.identity, identity("cart"));
    assert_eq!(obtained.credentials.not_after, now() + DAY);
    assert_eq!(obtained.credentials.not_before, now() - DAY);
    obtained.credentials.certified_key.keys_match().expect("its own key");
    assert!(obtained.serial.bytes().all(|b| b.is_ascii_hexdigit()) && obtained.serial.len() >= 16);
}

#[test]
fn two_attempts_never_share_a_key() {
    let (first, _) = Attempt::new(identity("cart")).expect("a request");
    let (second, _) = Attempt::new(identity("cart")).expect("a request");
    assert_ne!(first.key.public_key_raw(), second.key.public_key_raw());
}

#[test]
fn a_request_passes_the_check_of_the_local_ca() {
    let (attempt, request) = Attempt::new(identity("cart")).expect("a request");
    let key = request.public_key().expect("it asks for no more than it may");
    assert_eq!(key.subject_public_key_info(), attempt.key.subject_public_key_info());
}

#[test]
fn a_certificate_for_another_identity_is_refused() {
    assert!(refusal(|root, key| root.sign(&leaf("payments"), key)).contains("its only name is not"));
    let second = |root: &Root, key: &KeyPair| {
        let mut params = leaf("cart");
        params.subject_alt_names.extend(leaf("payments").subject_alt_names);
        root.sign(&params, key)
    };
    assert!(refusal(second).contains("its only name is not"));
    let nameless = |root: &Root, key: &KeyPair| {
        let mut params = leaf("cart");
        params.subject_alt_names.clear();
        root.sign(&params, key)
    };
    assert!(refusal(nameless).contains("its only name is not"));
}

#[test]
fn a_certificate_for_another_key_is_refused() {
    let other = KeyPair::generate().expect("a key");
    assert!(refusal(|root, _| root.sign(&leaf("cart"), &other)).contains("for another key"));
}

#[test]
fn a_certificate_of_another_root_is_refused() {
    let words = refusal(|root, key| Issued { roots: vec![Root::new().der], ..root.sign(&leaf("cart"), key) });
    assert!(words.contains("peers would not accept it"), "{words}");
}

#[test]
fn a_certificate_that_is_not_valid_now_is_refused_and_the_clock_is_named() {
    let early = |root: &Root, key: &KeyPair| {
        let mut params = leaf("cart");
        params.not_before = (now() + DAY / 2).into();
        root.sign(&params, key)
    };
    assert!(refusal(early).contains("clock behind"));
    let late = |root: &Root, key: &KeyPair| {
        let mut params = leaf("cart");
        params.not_after = now().into();
        root.sign(&params, key)
    };
    assert!(refusal(late).contains("clock ahead"));
}

#[test]
fn a_certificate_for_servers_only_is_refused() {
    let server = |root: &Root, key: &KeyPair| {
        let mut params = leaf("cart");
        params.extended_key_usages.pop();
        root.sign(&params, key)
    };
    assert!(refusal(server).contains("both clients and servers"));
}

#[test]
fn answers_without_a_chain_or_roots_or_with_garbage_are_refused() {
    type Twist = fn(Issued) -> Issued;
    let cases: [(Twist, &str); 5] = [
        (|issued| Issued { chain: Vec::new(), ..issued }, "an empty chain"),
        (|issued| Issued { roots: Vec::new(), ..issued }, "no roots"),
        (|issued| Issued { chain: vec![vec![0x30; 40].into()], ..issued }, "cannot be read"),
        (|issued| Issued { roots: vec![vec![0x30; 40].into()], ..issued }, "a root that came"),
        (|issued| Issued { chain: vec![issued.chain[0].clone(); 9], ..issued }, "a chain of 9"),
    ];
    for (twist, expected) in cases {
        let words = refusal(|root, key| twist(root.sign(&leaf("cart"), key)));
        assert!(words.contains(expected), "{words}");
    }
}
