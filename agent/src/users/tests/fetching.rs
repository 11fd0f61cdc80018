//! The fetcher against servers that answer, answer badly, or do not answer, and requests that wait for it.

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::fixtures::{ISSUER, NOW, bearer, claims, ed25519, index, object};
use crate::{
    policy::Target,
    users::{Authentication, Authenticator, KeyFetcherTask, Reach, Source, TokenError, fetch::fetch, spawn},
};

/// A web server that answers everything with these bytes, and counts.
struct Server {
    port: u16,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

impl Server {
    async fn answering(answer: impl Into<Vec<u8>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let server = Self {
            port,
            answer: Arc::new(Mutex::new(answer.into())),
            asked: Arc::default(),
            last: Arc::default(),
        };
        let (answer, asked, last) = (server.answer.clone(), server.asked.clone(), server.last.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                asked.fetch_add(1, Relaxed);
                let answer = answer.lock().expect("no panic").clone();
                let mut request = vec![0; 4096];
                if let Some(tls) = &tls {
                    let Ok(mut stream) = tls.accept(stream).await else { continue };
                    let _read = stream.read(&mut request).await;
                    let _written = stream.write_all(&answer).await;
                    let _ended = stream.shutdown().await;
                } else {
                    let read = stream.read(&mut request).await.unwrap_or(0);
                    *last.lock().expect("no panic") = String::from_utf8_lossy(&request[..read]).into_owned();
                    let _written = stream.write_all(&answer).await;
                }
            }
        });
        server
    }

    fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("no panic") = answer;
    }

    fn uri(&self) -> String {
        format!("http://127.0.0.1:{}/keys?a=b", self.port)
    }

    fn source(&self, reach: Reach) -> Source {
        Source::new(self.uri().parse().expect("a URI"), None, 300_000, reach)
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn keys(jwks: &[Value]) -> Vec<u8> {
    ok(&json!({"keys": jwks}).to_string())
}

/// What a workload asks that trusts the keys at `uri`, by an object of the root namespace.
fn rules_for(uri: &str) -> Arc<Authentication> {
    let spec = json!({"issuers": [{"issuer": ISSUER, "audiences": ["shop"], "jwks": {"uri": uri}}]});
    let labels = Default::default();
    let target = Target { namespace: "shop", labels: &labels, services: &[] };
    index(vec![object("weir-system/users", spec)]).select(&target)
}

fn authenticator() -> (Authenticator, KeyFetcherTask) {
    let (keys, task) = spawn(1);
    (Authenticator::new(keys), task)
}

#[tokio::test]
async fn a_key_set_is_asked_for_and_read() {
    let server = Server::answering(keys(&[ed25519().jwk("a")]), None).await;
    assert_eq!(fetch(&server.source(Reach::Node)).await.map(|set| set.len()), Ok(1));
    let request = server.last.lock().expect("no panic").clone();
    assert!(request.starts_with("GET /keys?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)), "{request}");
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_an_error_without_its_content() {
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":\"secret".to_vec(), vec![b'x'; 300_000]].concat();
    let broken = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{secret".to_vec();
    let head = [b"HTTP/1.1 200 OK\r\nx: secret".to_vec(), vec![b'x'; 100_000], b"\r\n\r\n".to_vec()].concat();
    for (answer, words) in [
        (ok("<html>secret</html>"), "is not JSON"),
        (ok("{}"), "no list named keys"),
        (b"HTTP/1.1 404 secret\r\ncontent-length: 0\r\n\r\n".to_vec(), "404"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://secret/\r\ncontent-length: 0\r\n\r\n".to_vec(), "302"),
        (b"SSH-2.0-secret\r\n".to_vec(), "HTTP"),
        (b"".to_vec(), "HTTP"),
        (endless, "more than 262144 bytes"),
        (broken, "breaks off"),
        (head, "HTTP"),
    ] {
        let server = Server::answering(answer, None).await;
        let error = fetch(&server.source(Reach::Node)).await.expect_err(words);
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_namespaces_object_reaches_neither_loopback_nor_files() {
    let server = Server::answering(keys(&[ed25519().jwk("a")]), None).await;
    let error = fetch(&server.source(Reach::Network)).await.expect_err("loopback");
    assert!(error.contains("root namespace"), "{error}");
    assert_eq!(server.asked.load(Relaxed), 0);
    let by_name = format!("http://localhost:{}/", server.port).parse().expect("a URI");
    fetch(&Source::new(by_name, None, 300_000, Reach::Network)).await.expect_err("loopback by name");
    let file = Source::new("file:///etc/hostname".parse().expect("a URI"), None, 300_000, Reach::Network);
    let error = fetch(&file).await.expect_err("a file");
    assert!(error.contains("root namespace"), "{error}");
}

#[tokio::test]
async fn a_file_is_read_if_it_is_one() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(json!({"keys": [ed25519().jwk("a")]}).to_string().as_bytes()).expect("written");
    let read = async |path: &str| {
        let uri = format!("file://{path}").parse().expect("a URI");
        fetch(&Source::new(uri, None, 300_000, Reach::Node)).await.map(|set| set.len())
    };
    assert_eq!(read(file.path().to_str().expect("a path")).await, Ok(1));
    read("/none/such").await.expect_err("no file");
    assert_eq!(read("/dev/zero").await, Err("is not a file".into()));
    assert_eq!(read("/proc").await, Err("is not a file".into()));
    file.as_file().set_len(1024 * 1024).expect("longer");
    let error = read(file.path().to_str().expect("a path")).await.expect_err("too long");
    assert!(error.contains("more than"), "{error}");
}

#[tokio::test]
async fn a_server_is_believed_only_with_a_certificate_of_the_given_root_and_its_own_name() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    let jwks = keys(&[ed25519().jwk("a")]);
    let server = Server::answering(jwks, Some(TlsAcceptor::from(Arc::new(config)))).await;
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ask = async |host: &str, ca: Option<String>| {
        let uri = format!("https://{host}:{}/keys", server.port).parse().expect("a URI");
        fetch(&Source::new(uri, ca.map(Arc::from), 300_000, Reach::Node)).await.map(|set| set.len())
    };
    assert_eq!(ask("localhost", Some(made.cert.pem())).await, Ok(1));
    for (host, ca) in
        [("127.0.0.1", Some(made.cert.pem())), ("localhost", Some(other.cert.pem())), ("localhost", None)]
    {
        ask(host, ca).await.expect_err(host);
    }
}

#[tokio::test]
async fn the_first_request_waits_for_the_keys_and_the_next_ones_need_no_look() {
    let key = ed25519();
    let server = Server::answering(keys(&[key.jwk("a")]), None).await;
    let (authenticator, _task) = authenticator();
    let rules = rules_for(&server.uri());
    let headers = bearer(&key.token("a", &claims()));
    for _ in 0..3 {
        let verified = authenticator.authenticate(&rules, &headers, NOW).await.expect("a good token");
        assert_eq!(verified.expect("a user").user.subject, "alice");
    }
    assert_eq!(authenticator.authenticate(&rules, &[], NOW).await, Ok(None));
    assert_eq!(server.asked.load(Relaxed), 1);
    let counts = authenticator.counts();
    assert_eq!((counts.verified, counts.cache_hits), (3, 2));
}

#[tokio::test]
async fn a_rotated_key_is_fetched_when_a_token_needs_it_and_then_not_for_a_while() {
    let (old, new) = (ed25519(), ed25519());
    let server = Server::answering(keys(&[old.jwk("a")]), None).await;
    let (authenticator, _task) = authenticator();
    let rules = rules_for(&server.uri());
    let ask = async |token: String| {
        let headers = bearer(&token);
        authenticator.authenticate(&rules, &headers, NOW).await.map(|verified| verified.is_some())
    };
    assert_eq!(ask(new.token("b", &claims())).await, Err(TokenError::UnknownKey), "first fetched for it");
    server.answers(keys(&[new.jwk("b")]));
    assert_eq!(ask(old.token("a", &claims())).await, Ok(true));
    assert_eq!(ask(new.token("b", &claims())).await, Err(TokenError::UnknownKey), "within the floor");
    assert_eq!(server.asked.load(Relaxed), 1);
    assert_eq!(authenticator.counts().refused.iter().map(|(_, count)| count).sum::<u64>(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_down_from_the_start_makes_requests_wait_once_and_fail() {
    let key = ed25519();
    let server = Server::answering(b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n", None).await;
    let (keys_of, _task) = spawn(1);
    let authenticator = Authenticator::new(keys_of.clone());
    let rules = rules_for(&server.uri());
    let headers = bearer(&key.token("a", &claims()));
    let unavailable = Err(TokenError::KeysUnavailable);
    assert_eq!(authenticator.authenticate(&rules, &headers, NOW).await, unavailable);
    assert_eq!(authenticator.authenticate(&rules, &headers, NOW).await, unavailable);
    assert_eq!((keys_of.counts().failed, keys_of.counts().floored), (1, 1));
    let (status, _) = keys_of.status();
    assert!(status[0].error.as_deref().is_some_and(|error| error.contains("503")), "{status:?}");
    // It comes back, and is asked again without anybody's wish.
    server.answers(keys(&[key.jwk("a")]));
    while keys_of.counts().fetched == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(authenticator.authenticate(&rules, &headers, NOW).await.is_ok());
    keys_of.use_only(&[]);
    assert_eq!(keys_of.status().0, []);
}

#[tokio::test]
async fn a_server_that_never_answers_holds_a_request_for_two_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let (authenticator, task) = authenticator();
    let rules = rules_for(&format!("http://127.0.0.1:{port}/"));
    let headers = bearer(&ed25519().token("a", &claims()));
    let before = std::time::Instant::now();
    let refused = authenticator.authenticate(&rules, &headers, NOW).await;
    assert_eq!(refused, Err(TokenError::KeysUnavailable));
    assert!((1..4).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    task.stop().await;
}
