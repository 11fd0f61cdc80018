//! Which session serves whom, and when sessions come and go.

use std::{rc::Rc, time::Duration};

use futures::future::join_all;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::*;
use crate::tunnel::{
    Bound, Pool, PoolOptions, ServerOptions,
    testing::{Authority, Server, key, on_worker, open},
};

fn to() -> std::net::SocketAddr {
    "10.0.0.7:80".parse().expect("an address")
}

#[test]
fn all_who_come_at_once_share_one_handshake() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let streams = join_all((0..100).map(|_| open(&pool, &key, &client, to()))).await;
        assert!(streams.iter().all(Result::is_ok));
        assert_eq!((server.sessions.get(), pool.stats().established), (1, 1));
        // The session is full; the next stream gets another one.
        let more = open(&pool, &key, &client, to()).await;
        assert!(more.is_ok());
        assert_eq!((server.sessions.get(), pool.stats().streams), (2, 101));
    });
}

#[test]
fn the_peers_bound_on_streams_is_kept() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let options = ServerOptions { streams_per_session: 3, ..ServerOptions::default() };
        let server = Server::start(&server, options, echo).await;
        let pool = Pool::new(PoolOptions { sessions_per_destination: 2, ..PoolOptions::default() });
        let key = key(&client, server.address, "server");
        let mut streams = Vec::new();
        for _ in 0..6 {
            let mut stream = open(&pool, &key, &client, to()).await.expect("a stream");
            stream.answered().await.expect("accepted");
            streams.push(stream);
        }
        assert_eq!(server.sessions.get(), 2);
        let Err(error) = open(&pool, &key, &client, to()).await else { panic!("a seventh stream") };
        assert!(matches!(error, TunnelError::LimitReached(Bound::SessionsPerDestination)), "{error}");
        assert_eq!(pool.stats().limited, 1);
    });
}

#[test]
fn pods_and_identities_never_share_a_session() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions { sessions: 2, ..PoolOptions::default() });
        let first = key(&client, server.address, "server");
        let second = crate::tunnel::PoolKey { source_pod: "another".into(), ..first.clone() };
        let held = open(&pool, &first, &client, to()).await.expect("a stream");
        let also_held = open(&pool, &second, &client, to()).await.expect("a stream");
        assert_eq!(server.sessions.get(), 2);
        // The worker's bound is reached, until one of the sessions is not used.
        let third = crate::tunnel::PoolKey { source_pod: "third".into(), ..first.clone() };
        let Err(error) = open(&pool, &third, &client, to()).await else { panic!("a third session") };
        assert!(matches!(error, TunnelError::LimitReached(Bound::SessionsPerWorker)), "{error}");
        drop(also_held);
        open(&pool, &third, &client, to()).await.expect("the place of the idle one");
        drop(held);
    });
}

#[test]
fn another_identity_than_expected_is_named() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("other"));
        let mut server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let Err(error) = open(&pool, &key, &client, to()).await else { panic!("a stream to somebody else") };
        let TunnelError::IdentityMismatch { expected, presented } = &error else { panic!("{error}") };
        assert_eq!(expected, &key.expected);
        assert_eq!(&**presented, "spiffe://cluster.local/ns/test/sa/other");
        assert_eq!(pool.stats().failed, 1);
        let ended = server.ended.recv().await.expect("told").expect_err("refused by the client");
        assert_eq!(ended.word(), "tls_failed");
    });
}

#[test]
fn a_peer_that_refuses_our_certificate_is_a_failure_of_tls() {
    on_worker(async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let client = ours.credentials("client");
        // The server shows a certificate that we trust, but trusts another root than ours.
        let mut server = (*ours.credentials("server")).clone();
        server.roots = theirs.credentials("x").roots.clone();
        let mut server = Server::start(&std::sync::Arc::new(server), ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let Err(error) = open(&pool, &key, &client, to()).await else { panic!("a stream") };
        assert!(matches!(error, TunnelError::Tls(_)), "{error}");
        let ended = server.ended.recv().await.expect("told").expect_err("refused");
        assert_eq!(ended.word(), "untrusted");
    });
}

#[test]
fn a_renewed_certificate_is_used_at_once_and_breaks_no_stream() {
    on_worker(async {
        let authority = Authority::new();
        let (old, server) = (authority.credentials("client"), authority.credentials("server"));
        let mut server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&old, server.address, "server");
        let mut before = open(&pool, &key, &old, to()).await.expect("a stream");
        let renewed = authority.credentials("client");
        let mut after = open(&pool, &key, &renewed, to()).await.expect("a stream");
        assert_eq!(server.sessions.get(), 2);
        for stream in [&mut before, &mut after] {
            write(&mut stream.send, b"x").await.expect("sent");
            assert_eq!(read(&mut stream.receive, 1).await.expect("an echo"), b"x");
        }
        drop(before);
        server.ended.recv().await.expect("told").expect("the old session ended with its stream");
    });
}

#[test]
fn an_idle_session_ends() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let mut server = Server::start(&server, ServerOptions::default(), echo).await;
        let options = PoolOptions { idle_timeout: Duration::from_millis(200), ..PoolOptions::default() };
        let pool = Pool::new(options);
        let key = key(&client, server.address, "server");
        drop(open(&pool, &key, &client, to()).await.expect("a stream"));
        server.ended.recv().await.expect("told").expect("a clean end");
    });
}

#[test]
fn a_server_that_shuts_down_keeps_its_streams_and_gets_no_new_ones() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let mut server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let mut old = open(&pool, &key, &client, to()).await.expect("a stream");
        old.answered().await.expect("accepted");
        server.shutdown.notify_waiters();
        write(&mut old.send, b"x").await.expect("sent");
        assert_eq!(read(&mut old.receive, 1).await.expect("an echo"), b"x");
        let mut new = open(&pool, &key, &client, to()).await.expect("a stream");
        new.answered().await.expect("accepted");
        assert_eq!(server.sessions.get(), 2);
        old.send.finish().expect("finished");
        assert_eq!(read(&mut old.receive, 1).await.expect("the end"), b"");
        server.ended.recv().await.expect("told").expect("a clean end");
    });
}

#[test]
fn streams_that_outlast_the_drain_are_ended() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let options = ServerOptions { drain: Duration::from_millis(10), ..ServerOptions::default() };
        let mut server = Server::start(&server, options, echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let mut stream = open(&pool, &key, &client, to()).await.expect("a stream");
        stream.answered().await.expect("accepted");
        server.shutdown.notify_waiters();
        read(&mut stream.receive, 1).await.expect_err("the end of the session");
        server.ended.recv().await.expect("told").expect("an end as wished");
    });
}

#[test]
fn a_session_whose_peer_vanished_is_replaced_before_it_is_used() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        // A wire that goes dead without a word when it is told to.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let wire = listener.local_addr().expect("an address");
        let (cut, to_server) = (Rc::new(Notify::new()), server.address);
        let dead = cut.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (mut near, _) = listener.accept().await.expect("a connection");
                let dead = dead.clone();
                tokio::task::spawn_local(async move {
                    let mut far = TcpStream::connect(to_server).await.expect("the server");
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = dead.notified() => std::future::pending().await,
                    }
                });
            }
        });
        let options = PoolOptions {
            check_after: Duration::ZERO,
            ping_timeout: Duration::from_secs(1),
            ..PoolOptions::default()
        };
        let pool = Pool::new(options);
        let key = key(&client, wire, "server");
        let mut stream = open(&pool, &key, &client, to()).await.expect("a stream");
        stream.answered().await.expect("accepted");
        let before = server.sessions.get();
        cut.notify_waiters();
        let mut fresh = open(&pool, &key, &client, to()).await.expect("a stream on a fresh session");
        write(&mut fresh.send, b"x").await.expect("sent");
        assert_eq!(read(&mut fresh.receive, 1).await.expect("an echo"), b"x");
        assert_eq!(server.sessions.get(), before + 1);
        // The stream of the dead session has been told.
        read(&mut stream.receive, 1).await.expect_err("the session's end");
    });
}

#[test]
fn a_pod_that_is_gone_has_no_sessions() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let mut server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let mut stream = open(&pool, &key, &client, to()).await.expect("a stream");
        pool.forget("pod");
        read(&mut stream.receive, 1).await.expect_err("the session's end");
        server.ended.recv().await.expect("told").expect("the peer just left");
        assert_eq!(pool.stats().sessions, 0);
    });
}

#[test]
fn a_port_without_a_listener_is_an_error_of_the_connection() {
    on_worker(async {
        let authority = Authority::new();
        let client = authority.credentials("client");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let nobody = listener.local_addr().expect("an address");
        drop(listener);
        let pool = Pool::new(PoolOptions::default());
        let Err(error) = open(&pool, &key(&client, nobody, "server"), &client, to()).await else {
            panic!("a stream to nobody")
        };
        assert!(
            matches!(&error, TunnelError::Connect(io) if io.kind() == std::io::ErrorKind::ConnectionRefused)
        );
        assert_eq!(pool.stats().sessions, 0);
    });
}
