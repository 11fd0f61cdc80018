//! The copy over real sockets: a client and a server on either side of it.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::tunnel::{
    Incoming, Pool, PoolOptions, Refusal, RefusalStatus, ServerOptions, Stream,
    testing::{Authority, Server, key, on_worker, open},
};

/// Two connected sockets.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("a connection"), far.expect("a connection").0)
}

/// Both agents, between a client's socket and a server's, and how each one's copy ended.
struct Through {
    client: TcpStream,
    server: TcpStream,
    near: mpsc::UnboundedReceiver<CopyOutcome>,
    far: mpsc::UnboundedReceiver<CopyOutcome>,
    _pool: Pool,
}

async fn through() -> Through {
    let (server, upstream) = pair().await;
    through_with(server, upstream).await
}

async fn through_with(server: TcpStream, upstream: TcpStream) -> Through {
    let authority = Authority::new();
    let (ours, theirs) = (authority.credentials("client"), authority.credentials("server"));
    let (tell, far) = mpsc::unbounded_channel();
    let upstream = Arc::new(std::sync::Mutex::new(Some(upstream)));
    let tunnel = Server::start(&theirs, ServerOptions::default(), move |incoming: Incoming| {
        let (upstream, tell) = (upstream.lock().expect("one thread").take(), tell.clone());
        async move {
            let mut upstream = upstream.expect("one connection");
            let mut stream = incoming.accept().expect("a peer");
            let _ = tell.send(through_tunnel(&mut upstream, &mut stream, &Counters::default()).await);
        }
    })
    .await;
    let pool = Pool::new(PoolOptions::default());
    let key = key(&ours, tunnel.address, "server");
    let to: SocketAddr = "10.0.0.7:80".parse().expect("an address");
    let stream = open(&pool, &key, &ours, to).await.expect("a stream");
    let (client, application) = pair().await;
    let (tell, near) = mpsc::unbounded_channel();
    tokio::task::spawn_local(carry(application, stream, tell));
    Through { client, server, near, far, _pool: pool }
}

async fn carry(mut application: TcpStream, mut stream: Stream, tell: mpsc::UnboundedSender<CopyOutcome>) {
    let _ = tell.send(through_tunnel(&mut application, &mut stream, &Counters::default()).await);
}

#[test]
fn bytes_and_half_closes_go_through_the_tunnel_both_ways() {
    on_worker(async {
        let Through { mut client, mut server, mut near, mut far, _pool } = through().await;
        let up: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let down: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        // The client says all it has and closes its side; only then does the server answer.
        let client = async {
            client.write_all(&up).await.expect("sent");
            client.shutdown().await.expect("half-closed");
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.expect("an answer");
            got
        };
        let server = async {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.expect("a question");
            server.write_all(&down).await.expect("sent");
            server.shutdown().await.expect("closed");
            got
        };
        let (answer, question) = tokio::join!(client, server);
        assert!(question == up, "the question was changed");
        assert!(answer == down, "the answer was changed");
        let (near, far) = (near.recv().await.expect("told"), far.recv().await.expect("told"));
        assert!(matches!((&near.ended, &far.ended), (Ended::Clean, Ended::Clean)), "{near:?} {far:?}");
        assert_eq!((near.sent, near.received), (2_000_000, 3_000_000));
        assert_eq!((far.sent, far.received), (3_000_000, 2_000_000));
    });
}

#[test]
fn a_reset_goes_through_the_tunnel_in_either_direction() {
    on_worker(async {
        for client_resets in [true, false] {
            let Through { mut client, mut server, mut near, mut far, _pool } = through().await;
            client.write_all(b"x").await.expect("sent");
            let mut byte = [0];
            server.read_exact(&mut byte).await.expect("a byte");
            let (resetting, mut other) = if client_resets { (client, server) } else { (server, client) };
            reset(&resetting).expect("a socket");
            drop(resetting);
            let error = other.read(&mut byte).await.expect_err("a reset");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            let (near, far) = (near.recv().await.expect("told"), far.recv().await.expect("told"));
            let (first, second) = if client_resets { (near, far) } else { (far, near) };
            assert!(matches!(first.ended, Ended::Reset(End::Near)), "{first:?}");
            assert!(matches!(second.ended, Ended::Reset(End::Far)), "{second:?}");
        }
    });
}

#[test]
fn a_reset_after_the_half_close_is_seen_too() {
    on_worker(async {
        let Through { mut client, mut server, mut far, near: _near, _pool } = through().await;
        // The server has said all; the tunnel's stream towards the client is not read any more.
        server.shutdown().await.expect("half-closed");
        assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
        reset(&client).expect("a socket");
        drop(client);
        let far = far.recv().await.expect("told");
        assert!(matches!(far.ended, Ended::Reset(End::Far)), "{far:?}");
    });
}

#[test]
fn a_refusal_ends_the_copy_and_resets_the_application() {
    on_worker(async {
        let authority = Authority::new();
        let (ours, theirs) = (authority.credentials("client"), authority.credentials("server"));
        let refusal = Refusal::new(RefusalStatus::Unauthorized, "policy_denied").by("shop/deny");
        let said = refusal.clone();
        let tunnel = Server::start(&theirs, ServerOptions::default(), move |incoming: Incoming| {
            incoming.refuse(&said);
            std::future::ready(())
        })
        .await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&ours, tunnel.address, "server");
        let to = "10.0.0.7:80".parse().expect("an address");
        let stream = open(&pool, &key, &ours, to).await.expect("a stream");
        let (mut client, application) = pair().await;
        client.write_all(b"early").await.expect("sent");
        let (tell, mut near) = mpsc::unbounded_channel();
        tokio::task::spawn_local(carry(application, stream, tell));
        let ended = near.recv().await.expect("told").ended;
        assert!(matches!(&ended, Ended::Refused(said) if *said == refusal), "{ended:?}");
        let error = client.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn one_byte_writes_to_an_application_that_does_not_read_do_not_end_the_session() {
    on_worker(async {
        const WRITES: usize = 50_000;
        // Sockets that take next to nothing, so that the bytes have to wait in the agents.
        let listening = TcpSocket::new_v4().expect("a socket");
        listening.set_recv_buffer_size(2048).expect("a small buffer");
        listening.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = listening.listen(1).expect("a listener");
        let connecting = TcpSocket::new_v4().expect("a socket");
        connecting.set_send_buffer_size(2048).expect("a small buffer");
        let upstream = connecting.connect(listener.local_addr().expect("an address"));
        let (upstream, accepted) = tokio::join!(upstream, listener.accept());
        let server = accepted.expect("a connection").0;
        let through = through_with(server, upstream.expect("a connection")).await;
        let Through { mut client, mut server, mut near, mut far, _pool } = through;
        client.set_nodelay(true).expect("a socket");
        for _ in 0..WRITES {
            client.write_all(b"x").await.expect("the session lives");
            tokio::task::yield_now().await;
        }
        client.shutdown().await.expect("half-closed");
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.expect("all of it");
        assert_eq!(got.len(), WRITES);
        server.shutdown().await.expect("closed");
        let (near, far) = (near.recv().await.expect("told"), far.recv().await.expect("told"));
        assert!(matches!((&near.ended, &far.ended), (Ended::Clean, Ended::Clean)), "{near:?} {far:?}");
    });
}

#[test]
fn a_plain_copy_carries_bytes_half_closes_and_resets() {
    on_worker(async {
        for resets in [false, true] {
            let ((mut client, mut near), (mut far, mut server)) = (pair().await, pair().await);
            let counters = Arc::new(Counters::default());
            let seen = counters.clone();
            let copy = tokio::task::spawn_local(async move { plain(&mut near, &mut far, &seen).await });
            let question = vec![1; 1_000_000];
            let (sent, got) = tokio::join!(client.write_all(&question), async {
                let mut got = vec![0; 1_000_000];
                server.read_exact(&mut got).await.map(|_| got)
            });
            sent.expect("sent");
            assert!(got.expect("received") == question);
            // An open connection can be listed with what it carried so far.
            assert_eq!((counters.sent(), counters.received()), (1_000_000, 0));
            if resets {
                reset(&server).expect("a socket");
                drop(server);
                let error = client.read(&mut [0]).await.expect_err("a reset");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                assert!(matches!(copy.await.expect("joined").ended, Ended::Reset(End::Far)));
                continue;
            }
            client.shutdown().await.expect("half-closed");
            assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
            server.write_all(b"late").await.expect("sent");
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("an answer");
            assert_eq!(answer, b"late");
            let outcome = copy.await.expect("joined");
            assert!(matches!(outcome.ended, Ended::Clean), "{outcome:?}");
            assert_eq!((outcome.sent, outcome.received), (1_000_000, 4));
        }
    });
}
