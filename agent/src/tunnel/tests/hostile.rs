//! Peers that do not do what they should: each is refused with its reason, in bounded time and memory.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    identity::{Credentials, Identity, TrustDomain},
    tunnel::{
        Pool, PoolOptions, ServerOptions, SessionError, TlsConfigs,
        testing::{Authority, Server, identity, key, on_worker, open},
    },
};

/// Gives up on silence soon, but not on a handshake that a busy machine delays.
fn quick() -> ServerOptions {
    ServerOptions { handshake_timeout: Duration::from_secs(2), ..ServerOptions::default() }
}

/// How a session ends whose client does `what` with its socket.
async fn session_of<F>(
    server: &Arc<Credentials>,
    what: impl FnOnce(TcpStream) -> F,
) -> Result<(), SessionError>
where
    F: Future<Output = ()>,
{
    let mut server = Server::start(server, quick(), echo).await;
    let socket = TcpStream::connect(server.address).await.expect("a connection");
    let (ended, ()) = tokio::join!(server.ended.recv(), what(socket));
    ended.expect("told")
}

/// A client that speaks HTTP/2 by hand.
pub(super) async fn raw(
    socket: TcpStream,
    config: Arc<ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    TlsConnector::from(config).connect(name, socket).await
}

fn word(outcome: Result<(), SessionError>) -> &'static str {
    outcome.expect_err("refused").word()
}

#[test]
fn garbage_silence_and_haste_are_refused() {
    on_worker(async {
        let server = Authority::new().credentials("server");
        let garbage = |mut socket: TcpStream| async move {
            let _ = socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        assert_eq!(word(session_of(&server, garbage).await), "tls_failed");
        let silence = |mut socket: TcpStream| async move {
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        assert_eq!(word(session_of(&server, silence).await), "handshake_timeout");
        let haste = |socket: TcpStream| async move { drop(socket) };
        assert_eq!(word(session_of(&server, haste).await), "gone");
        // A record that is announced and never comes, and a handshake message that never ends.
        let stall = |mut socket: TcpStream| async move {
            let _ = socket.write_all(&[22, 3, 1, 0x40, 0]).await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        assert_eq!(word(session_of(&server, stall).await), "handshake_timeout");
        let endless = |mut socket: TcpStream| async move {
            let mut record = vec![22, 3, 1, 0x40, 0];
            record.extend([1, 0xff, 0xff, 0xff]);
            record.resize(5 + 0x4000, 0);
            while socket.write_all(&record).await.is_ok() {
                record.truncate(5);
                record.resize(5 + 0x4000, 0);
            }
        };
        assert_eq!(word(session_of(&server, endless).await), "tls_failed");
    });
}

#[test]
fn a_peer_without_a_certificate_of_this_mesh_is_refused() {
    on_worker(async {
        let (authority, foreign) = (Authority::new(), Authority::new());
        let server = authority.credentials("server");
        let with = |credentials: Arc<Credentials>| {
            // Whoever attacks trusts the server, whatever roots it has itself.
            let mut credentials = (*credentials).clone();
            credentials.roots = server.roots.clone();
            let config = TlsConfigs::default()
                .client(&Arc::new(credentials), &identity("server"))
                .expect("a configuration");
            move |socket: TcpStream| async move {
                if let Ok(mut tls) = raw(socket, config).await {
                    let _ = tls.read_to_end(&mut Vec::new()).await;
                }
            }
        };
        assert_eq!(word(session_of(&server, with(foreign.credentials("client"))).await), "untrusted");
        let other_domain: TrustDomain = "other.example".parse().expect("a trust domain");
        let other = Identity::new(&other_domain, "test", "client").expect("a name");
        let uris: [&[&str]; 4] = [
            &[&other.to_string()],
            &[],
            &["https://example.com/"],
            &["spiffe://cluster.local/ns/test/sa/a", "spiffe://cluster.local/ns/test/sa/b"],
        ];
        for uris in uris {
            let odd = authority.credentials_with(identity("client"), uris);
            assert_eq!(word(session_of(&server, with(odd)).await), "no_identity", "{uris:?}");
        }
    });
}

fn lax(
    server: &Credentials,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[u8],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.roots.clone_from(&server.roots.roots);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

#[test]
fn a_peer_without_any_certificate_is_refused() {
    on_worker(async {
        let server = Authority::new().credentials("server");
        let verifier = TlsConfigs::default().client(&server, &identity("server")).expect("a configuration");
        // The mesh's configuration, less the certificate.
        let mut config = (*verifier).clone();
        config.client_auth_cert_resolver =
            lax(&server, &[&rustls::version::TLS13], b"h2").client_auth_cert_resolver;
        let bare = |socket: TcpStream| async move {
            if let Ok(mut tls) = raw(socket, Arc::new(config)).await {
                let _ = tls.read_to_end(&mut Vec::new()).await;
            }
        };
        assert_eq!(word(session_of(&server, bare).await), "no_peer_certificate");
    });
}

#[test]
fn a_peer_of_tls_1_2_or_without_http2_is_refused() {
    on_worker(async {
        let server = Authority::new().credentials("server");
        // A ClientHello of TLS 1.2, by hand: no extension says 1.3.
        let old = |mut socket: TcpStream| async move {
            let mut hello = vec![3, 3];
            hello.extend([7; 32]);
            hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
            // signature_algorithms: ecdsa_secp256r1_sha256
            hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
            let mut message = vec![1, 0, 0, u8::try_from(hello.len()).expect("short")];
            message.extend(hello);
            let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).expect("short")];
            record.extend(message);
            let _ = socket.write_all(&record).await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        assert_eq!(word(session_of(&server, old).await), "tls_failed");
        let verifier = TlsConfigs::default().client(&server, &identity("server")).expect("a configuration");
        for (alpn, expected) in [(vec![b"http/1.1".to_vec()], "not_http2"), (vec![], "not_http2")] {
            let mut config = (*verifier).clone();
            config.alpn_protocols = alpn;
            let http1 = |socket: TcpStream| async move {
                if let Ok(mut tls) = raw(socket, Arc::new(config)).await {
                    let _ = tls.read_to_end(&mut Vec::new()).await;
                }
            };
            assert_eq!(word(session_of(&server, http1).await), expected);
        }
    });
}

#[test]
fn after_tls_silence_and_garbage_are_refused_too() {
    on_worker(async {
        let server = Authority::new().credentials("server");
        for (bytes, expected) in
            [(&b""[..], "handshake_timeout"), (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", "protocol")]
        {
            let config = TlsConfigs::default().client(&server, &identity("server")).expect("a configuration");
            let client = |socket: TcpStream| async move {
                let mut tls = raw(socket, config).await.expect("a handshake");
                tls.write_all(bytes).await.expect("written");
                tls.flush().await.expect("flushed");
                let _ = tls.read_to_end(&mut Vec::new()).await;
            };
            assert_eq!(word(session_of(&server, client).await), expected);
        }
    });
}

#[test]
fn a_bad_connect_is_answered_with_400_and_leaves_the_session() {
    on_worker(async {
        let authority = Authority::new();
        let server = authority.credentials("server");
        let config = TlsConfigs::default().client(&server, &identity("server")).expect("a configuration");
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let socket = TcpStream::connect(server.address).await.expect("a connection");
        let tls = raw(socket, config).await.expect("a handshake");
        let (mut client, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
        tokio::task::spawn_local(connection);
        let long = "x".repeat(300);
        for (method, uri, baggage, reason) in [
            ("GET", "https://10.0.0.1:80/", "", "bad_method"),
            ("CONNECT", "cart.shop:80", "", "bad_authority"),
            ("CONNECT", "10.0.0.1:80", &*format!("service.name={long}"), "bad_baggage"),
        ] {
            let request = http::Request::builder().method(method).uri(uri).header("baggage", baggage);
            let (answer, _) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status(), 400, "{reason}");
            assert_eq!(answer.headers()["weir-reason"], reason);
        }
        // A header block beyond the bound: the request is refused, the session goes on.
        let request =
            http::Request::builder().method("CONNECT").uri("10.0.0.1:80").header("x", "y".repeat(20_000));
        let (answer, _) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
        assert_eq!(answer.await.expect("an answer").status(), 431);
        let request =
            http::Request::builder().method("CONNECT").uri("10.0.0.1:80").body(()).expect("a request");
        let (answer, _) = client.send_request(request, false).expect("sent");
        assert_eq!(answer.await.expect("an answer").status(), 200);
    });
}

#[test]
fn a_server_that_never_finishes_its_handshake_is_given_up() {
    on_worker(async {
        let client = Authority::new().credentials("client");
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let key = key(&client, silent.local_addr().expect("an address"), "server");
        let options = PoolOptions { handshake_timeout: Duration::from_millis(50), ..PoolOptions::default() };
        let pool = Pool::new(options);
        let to = "10.0.0.7:80".parse().expect("an address");
        let Err(error) = open(&pool, &key, &client, to).await else { panic!("a stream to silence") };
        assert!(matches!(error, TunnelError::HandshakeTimeout(_)), "{error}");
    });
}
