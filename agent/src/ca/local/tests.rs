//! What a local CA signs, and for whom.

use std::time::UNIX_EPOCH;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::*;
use crate::identity::Identity;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn at(now: Duration) -> Clock {
    Clock::from_fn(move || UNIX_EPOCH + now)
}

fn open(directory: &Path, options: LocalCaOptions) -> LocalCa {
    LocalCa::open_with(directory, TrustDomain::default(), options).expect("a CA")
}

fn request(trust_domain: &str) -> CertificateRequest {
    let trust_domain = trust_domain.parse().expect("a trust domain");
    let identity = Identity::new(&trust_domain, "shop", "cart").expect("valid");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().expect("ASCII"))];
    let key = KeyPair::generate().expect("a key");
    let csr = params.serialize_request(&key).expect("a CSR").der().clone();
    CertificateRequest { identity, csr }
}

fn answer(ca: &LocalCa, request: CertificateRequest) -> Result<Issued, CaError> {
    ca.issue(request).now_or_never().expect("a local CA answers at once")
}

fn issue(ca: &LocalCa) -> Issued {
    answer(ca, request("cluster.local")).expect("a certificate")
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).expect("a certificate").1
}

#[test]
fn the_root_has_the_constraints_and_usages_of_a_ca_and_lives_ten_years() {
    let directory = tempfile::tempdir().expect("a directory");
    let issued = issue(&open(directory.path(), LocalCaOptions { clock: at(NOW), ..Default::default() }));
    let root = parse(&issued.roots[0]);
    let constraints = root.basic_constraints().expect("readable").expect("present");
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().expect("readable").expect("present");
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert!(!usage.value.digital_signature());
    let subject = root.subject().to_string();
    assert!(subject.starts_with("O=cluster.local, CN=Weir CA "), "{subject}");
    assert!(
        root.get_extension_unique(&x509_parser::oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER)
            .expect("readable")
            .is_some()
    );
    let years = (root.validity().not_after.timestamp() - NOW.as_secs().cast_signed()) / (365 * 24 * 3600);
    assert_eq!(years, 10);
    root.verify_signature(None).expect("signed by itself");
}

#[test]
fn a_leaf_is_its_identity_for_a_day_and_nothing_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let issued = issue(&open(directory.path(), LocalCaOptions { clock: at(NOW), ..Default::default() }));
    let (leaf, root) = (parse(&issued.chain[0]), parse(&issued.roots[0]));
    leaf.verify_signature(Some(root.public_key())).expect("signed by the root");
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    assert_eq!(leaf.subject().iter().count(), 0);

    let names = leaf.subject_alternative_name().expect("readable").expect("present");
    assert!(names.critical);
    assert_eq!(names.value.general_names, [GeneralName::URI("spiffe://cluster.local/ns/shop/sa/cart")]);

    let usage = leaf.key_usage().expect("readable").expect("present");
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digitalSignature alone");
    let extended = leaf.extended_key_usage().expect("readable").expect("present").value;
    assert!(extended.server_auth && extended.client_auth && !extended.any && extended.other.is_empty());
    assert!(!leaf.is_ca());

    assert_eq!(leaf.validity().not_before.timestamp(), NOW.as_secs().cast_signed() - 60);
    assert_eq!(leaf.validity().not_after.timestamp(), NOW.as_secs().cast_signed() + 24 * 3600);
}

#[test]
fn a_leaf_names_the_roots_key_as_the_one_that_signed_it() {
    use x509_parser::extensions::ParsedExtension;
    let directory = tempfile::tempdir().expect("a directory");
    let issued = issue(&open(directory.path(), LocalCaOptions::default()));
    let (leaf, root) = (parse(&issued.chain[0]), parse(&issued.roots[0]));
    let authority = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let subject = root.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    assert!(authority.is_some());
    assert_eq!(authority, subject);
}

#[test]
fn no_two_certificates_have_one_serial_number() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = open(directory.path(), LocalCaOptions::default());
    let serials: std::collections::BTreeSet<Vec<u8>> =
        (0..50).map(|_| parse(&issue(&ca).chain[0]).raw_serial().to_vec()).collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| serial[0] < 0x80 && (8..=17).contains(&serial.len())));
}

#[test]
fn a_leaf_never_outlives_the_root() {
    let directory = tempfile::tempdir().expect("a directory");
    let end = open(directory.path(), LocalCaOptions { clock: at(NOW), ..Default::default() }).not_after();
    let an_hour_before = end.duration_since(UNIX_EPOCH).expect("after 1970") - Duration::from_secs(3600);
    let late = LocalCaOptions { clock: at(an_hour_before), ..Default::default() };
    let issued = issue(&open(directory.path(), late));
    let leaf = parse(&issued.chain[0]);
    assert_eq!(SystemTime::from(leaf.validity().not_after.to_datetime()), end);
}

#[test]
fn a_root_that_expires_while_the_agent_runs_signs_no_more() {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };
    let directory = tempfile::tempdir().expect("a directory");
    let seconds = Arc::new(AtomicU64::new(NOW.as_secs()));
    let shown = Arc::clone(&seconds);
    let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::Relaxed)));
    let ca = open(directory.path(), LocalCaOptions { clock, ..Default::default() });
    issue(&ca);
    seconds.fetch_add(11 * 365 * 24 * 3600, Ordering::Relaxed);
    let error = answer(&ca, request("cluster.local")).expect_err("expired");
    assert_eq!(error, CaError::Denied("the certificate of the authority has expired".into()));
}

#[test]
fn an_identity_of_another_trust_domain_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = open(directory.path(), LocalCaOptions::default());
    let error = answer(&ca, request("other.example")).expect_err("another domain");
    assert!(matches!(&error, CaError::Denied(words) if words.contains("other.example")), "{error}");
}

#[test]
fn a_request_for_more_than_the_identity_is_refused_by_the_ca() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = open(directory.path(), LocalCaOptions::default());
    let mut swapped = request("cluster.local");
    swapped.identity = Identity::new(&TrustDomain::default(), "shop", "payments").expect("valid");
    let error = answer(&ca, swapped).expect_err("the CSR names another");
    assert!(matches!(&error, CaError::Invalid(words) if words.contains("not for")), "{error}");
}
