//! The directory of a local CA: races, crashes, wrong files, wrong permissions.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
    sync::Barrier,
};

use super::*;

/// Set for a child process of the race test: the directory that it opens.
const RACE_DIRECTORY: &str = "WEIR_TEST_CA_DIRECTORY";

fn open(directory: &Path) -> Result<LocalCa, OpenError> {
    LocalCa::open(directory, TrustDomain::default())
}

fn words(result: Result<LocalCa, OpenError>) -> String {
    result.expect_err("refused").to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

/// A directory with a CA in it, and the paths of its two files.
fn made() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).expect("a CA");
    let (certificate, key) = (directory.path().join("ca.pem"), directory.path().join("ca.key"));
    (directory, certificate, key)
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    set_mode(path, 0o600);
}

#[test]
fn a_new_ca_is_readable_by_its_owner_alone() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("weir/ca");
    open(&directory).expect("a CA");
    assert_eq!(mode(&directory), 0o700);
    for name in ["ca.pem", "ca.key", "ca.lock"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
    let mut names: Vec<_> =
        fs::read_dir(&directory).expect("readable").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.key", "ca.lock", "ca.pem"], "nothing else is left behind");
}

#[test]
fn a_second_start_reads_the_same_root() {
    let (directory, ..) = made();
    let (first, second) = (open(directory.path()).expect("a CA"), open(directory.path()).expect("a CA"));
    assert_eq!(first.root.roots, second.root.roots);
}

#[test]
fn threads_that_start_at_once_share_one_root() {
    for _ in 0..10 {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("made/by/whom");
        let barrier = Barrier::new(8);
        let roots: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        open(&directory).expect("a CA").root.roots[0].clone()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
    }
}

#[test]
#[ignore = "a child of the next test; by itself it has nothing to open"]
fn a_process_of_the_race() {
    let Some(directory) = std::env::var_os(RACE_DIRECTORY) else { return };
    let root = open(Path::new(&directory)).expect("a CA").root.roots[0].clone();
    let octets: String = root.iter().map(|octet| format!("{octet:02x}")).collect();
    println!("root={octets}.");
}

#[test]
fn processes_that_start_at_once_share_one_root() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("ca");
    let children: Vec<_> = (0..6)
        .map(|_| {
            Command::new(std::env::current_exe().expect("this test"))
                .args([
                    "--ignored",
                    "--exact",
                    "ca::local::directory_tests::a_process_of_the_race",
                    "--nocapture",
                ])
                .env(RACE_DIRECTORY, &directory)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("a child")
        })
        .collect();
    let roots: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            let text = String::from_utf8(output.stdout).expect("text");
            let (_, rest) = text.split_once("root=").unwrap_or_else(|| panic!("no root in {text:?}"));
            rest.split_once('.').expect("whole").0.to_owned()
        })
        .collect();
    assert!(roots.iter().all(|root| *root == roots[0]));
    assert_eq!(open(&directory).expect("a CA").root.roots[0].len() * 2, roots[0].len());
}

#[test]
fn what_a_crash_left_half_written_is_made_again() {
    let directory = tempfile::tempdir().expect("a directory");
    put(&directory.path().join("ca.key.new"), "-----BEGIN PRIV");
    put(&directory.path().join("ca.pem.new"), "");
    put(&directory.path().join("ca.lock"), "");
    open(directory.path()).expect("a CA");
    assert!(!directory.path().join("ca.key.new").exists());
    assert!(!directory.path().join("ca.pem.new").exists());
}

#[test]
fn a_key_without_a_certificate_gets_one_under_which_what_it_signed_stays_good() {
    let (directory, certificate, key) = made();
    let before = open(directory.path()).expect("a CA");
    let old_key = fs::read(&key).expect("readable");
    fs::remove_file(&certificate).expect("removed");
    let after = open(directory.path()).expect("made again");
    assert_eq!(fs::read(&key).expect("readable"), old_key);
    let name = |ca: &LocalCa| {
        let (_, parsed) = x509_parser::parse_x509_certificate(&ca.root.roots[0]).expect("a certificate");
        (parsed.subject().as_raw().to_vec(), parsed.public_key().raw.to_vec())
    };
    assert_eq!(name(&before), name(&after));
}

#[test]
fn a_certificate_without_its_key_is_an_error_that_says_how_to_mend_it() {
    let (directory, certificate, key) = made();
    fs::remove_file(&key).expect("removed");
    let words = words(open(directory.path()));
    assert!(
        words.contains("ca.pem") && words.contains("put ca.key back") && words.contains("remove ca.pem"),
        "{words}"
    );
    fs::remove_file(&certificate).expect("removed");
    open(directory.path()).expect("a new root, as the words said");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (directory, _, key) = made();
    for bad in [0o640, 0o604, 0o660, 0o644, 0o610] {
        set_mode(&key, bad);
        let words = words(open(directory.path()));
        assert!(words.contains("ca.key") && words.contains("chmod 600"), "{words}");
    }
    set_mode(&key, 0o400);
    open(directory.path()).expect("read-only is fine");
}

#[test]
fn a_certificate_or_directory_that_others_can_replace_is_refused() {
    let (directory, certificate, _) = made();
    set_mode(&certificate, 0o664);
    assert!(words(open(directory.path())).contains("ca.pem: others may replace it (mode 0664)"));
    set_mode(&certificate, 0o644);
    open(directory.path()).expect("others may read a certificate");
    set_mode(directory.path(), 0o777);
    let said = words(open(directory.path()));
    assert!(said.contains("others may replace files in it (mode 0777): chmod go-w"), "{said}");
    set_mode(directory.path(), 0o1777);
    open(directory.path()).expect("the sticky bit keeps others from replacing files");
}

#[test]
fn a_key_of_another_user_is_refused() {
    let (directory, _, key) = made();
    if std::os::unix::fs::chown(&key, Some(4242), None).is_err() {
        return; // Only root can give a file away; CI runs as root.
    }
    let words = words(open(directory.path()));
    assert!(words.contains("belongs to user 4242"), "{words}");
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        ("ca.pem", "", "holds no certificate"),
        ("ca.pem", "hello", "holds no certificate"),
        ("ca.pem", garbage, "is not an X.509 certificate"),
        ("ca.key", "", "holds no private key"),
        ("ca.key", "hello", "holds no private key"),
        ("ca.key", garbage, "holds no private key"),
    ];
    for (name, text, expected) in cases {
        let (directory, ..) = made();
        put(&directory.path().join(name), text);
        let words = words(open(directory.path()));
        assert!(
            words.contains(name) && words.contains(expected) && words.contains("back from a copy"),
            "{words}"
        );
    }
}

#[test]
fn two_certificates_in_one_file_are_refused() {
    let (directory, certificate, _) = made();
    let (_other, other, _) = made();
    let both = fs::read_to_string(&certificate).expect("text") + &fs::read_to_string(other).expect("text");
    put(&certificate, &both);
    assert!(words(open(directory.path())).contains("holds 2 certificates"));
}

#[test]
fn the_key_of_another_root_is_refused() {
    let (directory, _, key) = made();
    let (_other, _, other) = made();
    put(&key, &fs::read_to_string(other).expect("text"));
    let words = words(open(directory.path()));
    assert!(words.contains("ca.key: is not the key of"), "{words}");
}

#[test]
fn a_certificate_that_is_not_a_ca_is_refused() {
    let (directory, certificate, key) = made();
    let own = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::default().self_signed(&own).expect("a certificate");
    put(&certificate, &leaf.pem());
    put(&key, &own.serialize_pem());
    assert!(words(open(directory.path())).contains("is not the certificate of a CA"));
}

#[test]
fn a_ca_that_may_not_sign_certificates_is_refused() {
    let (directory, certificate, key) = made();
    let own = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    put(&certificate, &params.self_signed(&own).expect("a certificate").pem());
    put(&key, &own.serialize_pem());
    assert!(words(open(directory.path())).contains("may not sign certificates"));
}

#[test]
fn a_root_of_another_kind_that_an_operator_brings_is_used() {
    let (directory, certificate, key) = made();
    let own = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    put(&certificate, &params.self_signed(&own).expect("a certificate").pem());
    put(&key, &own.serialize_pem());
    open(directory.path()).expect("any CA whose certificates peers accept");
}

#[test]
fn a_root_that_expired_or_is_not_valid_yet_is_refused_by_its_date() {
    let (directory, ..) = made();
    let at = |years: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(years * 365 * 24 * 3600);
        let options = LocalCaOptions { clock: Clock::from_fn(move || now), ..Default::default() };
        LocalCa::open_with(directory.path(), TrustDomain::default(), options)
    };
    assert!(words(at(100)).contains("ca.pem: expired on "));
    assert!(words(at(1)).contains("machine's clock"));
}

#[test]
fn a_directory_of_another_trust_domain_is_refused() {
    let (directory, ..) = made();
    let words = words(LocalCa::open(directory.path(), "other.example".parse().expect("a trust domain")));
    assert!(words.contains("is of cluster.local") && words.contains("--trust-domain"), "{words}");
}

#[test]
fn what_is_not_a_directory_or_not_a_file_is_named() {
    let parent = tempfile::tempdir().expect("a directory");
    let file = parent.path().join("file");
    put(&file, "");
    assert!(words(open(&file)).contains("file: cannot make it"));

    let (directory, certificate, _) = made();
    fs::remove_file(&certificate).expect("removed");
    fs::create_dir(&certificate).expect("made");
    assert!(words(open(directory.path())).contains("ca.pem: is not a file"));
}

#[test]
fn a_lock_that_is_a_symbolic_link_is_not_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let victim = directory.path().join("victim");
    symlink(&victim, directory.path().join("ca.lock")).expect("linked");
    assert!(words(open(directory.path())).contains("cannot make the lock"));
    assert!(!victim.exists());
}

#[test]
fn an_existing_ca_is_read_without_its_lock() {
    let (directory, ..) = made();
    let lock = fs::File::open(directory.path().join("ca.lock")).expect("is there");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
    open(directory.path()).expect("read all the same, as from a read-only volume");
}
