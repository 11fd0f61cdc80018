//! What one stream does to its peer and to its neighbours.

use super::*;
use crate::tunnel::{
    Pool, PoolOptions, Refusal, RefusalStatus, ServerOptions,
    testing::{Authority, Server, identity, key, on_worker, open},
};

const APPLICATION: &str = "10.0.0.7:80";

#[test]
fn bytes_and_half_closes_go_both_ways() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let to = APPLICATION.parse().expect("an address");
        let key = key(&client, server.address, "server");
        let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
        stream.answered().await.expect("accepted");
        let data: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let (sent, received) = tokio::join!(
            async {
                write(&mut stream.send, &data).await?;
                stream.send.finish()
            },
            read(&mut stream.receive, usize::MAX),
        );
        sent.expect("sent");
        assert!(received.expect("received") == data, "other bytes came back");
    });
}

#[test]
fn data_may_go_before_the_answer() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let to = APPLICATION.parse().expect("an address");
        let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
        write(&mut stream.send, b"early").await.expect("sent");
        assert_eq!(read(&mut stream.receive, 5).await.expect("an echo"), b"early");
    });
}

#[test]
fn the_handler_learns_the_verified_identity_and_the_clients_words() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::start(&server, ServerOptions::default(), move |incoming: Incoming| {
            let tell = tell.clone();
            async move {
                let _ = tell.send((incoming.peer.clone(), incoming.tls, incoming.request.authority));
                incoming
                    .refuse(&Refusal::new(RefusalStatus::Unauthorized, "policy_denied").by("shop/deny-all"));
            }
        })
        .await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let to = APPLICATION.parse().expect("an address");
        let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
        let Err(TunnelError::Refused(refusal)) = stream.answered().await else { panic!("not refused") };
        assert_eq!(refusal, Refusal::new(RefusalStatus::Unauthorized, "policy_denied").by("shop/deny-all"));
        let (peer, tls, authority) = told.recv().await.expect("a stream came");
        assert_eq!((peer, authority), (identity("client"), to));
        assert_eq!((tls.version, tls.group), ("TLSv1.3", "X25519MLKEM768"));
    });
}

#[test]
fn a_reset_is_a_reset_on_both_sides() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::start(&server, ServerOptions::default(), move |incoming: Incoming| {
            let tell = tell.clone();
            async move {
                let mut stream = incoming.accept().expect("a peer");
                if read(&mut stream.receive, 1).await.expect("a byte") == b"r" {
                    stream.reset();
                } else {
                    let _ = tell.send(read(&mut stream.receive, 1).await);
                }
            }
        })
        .await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let to = APPLICATION.parse().expect("an address");

        let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
        write(&mut stream.send, b"r").await.expect("sent");
        let error = read(&mut stream.receive, 1).await.expect_err("a reset");
        assert!(error.is_reset(), "{error}");

        let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
        write(&mut stream.send, b"w").await.expect("sent");
        stream.answered().await.expect("accepted");
        stream.reset();
        let error = told.recv().await.expect("told").expect_err("a reset");
        assert!(error.is_reset(), "{error}");
        assert_eq!(server.sessions.get(), 1, "a reset ended the session");
    });
}

#[test]
fn a_stalled_stream_does_not_stall_the_others() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        // A stream to port 1 is never read; the others are echoed.
        let server = Server::start(&server, ServerOptions::default(), |incoming: Incoming| async move {
            if incoming.request.authority.port() != 1 {
                return echo(incoming).await;
            }
            let _held = incoming.accept().expect("a peer");
            std::future::pending().await
        })
        .await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let mut stalled = Vec::new();
        for _ in 0..10 {
            let mut stream = open(&pool, &key, &client, "10.0.0.7:1".parse().expect("an address"))
                .await
                .expect("a stream");
            stream.answered().await.expect("accepted");
            // Fills the stream's window to its last byte.
            write(&mut stream.send, &vec![0; 1024 * 1024]).await.expect("within the window");
            let more = poll_fn(|cx| std::task::Poll::Ready(stream.send.poll_room(cx).is_ready())).await;
            assert!(!more, "the window is not full, so nothing stalls");
            stalled.push(stream);
        }
        let to = APPLICATION.parse().expect("an address");
        let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
        let data = vec![7; 8 * 1024 * 1024];
        let (sent, received) =
            tokio::join!(write(&mut stream.send, &data), read(&mut stream.receive, data.len()));
        sent.expect("sent");
        assert_eq!(received.expect("received").len(), data.len());
        assert_eq!(server.sessions.get(), 1, "another session was used");
    });
}

#[test]
fn what_one_turn_makes_leaves_in_one_write() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let to = APPLICATION.parse().expect("an address");
        let mut streams = Vec::new();
        for _ in 0..16 {
            let mut stream = open(&pool, &key, &client, to).await.expect("a stream");
            stream.answered().await.expect("accepted");
            streams.push(stream);
        }
        let before = streams[0].send.writes();
        for stream in &mut streams {
            poll_fn(|cx| stream.send.poll_room(cx)).await.expect("room");
            // Large enough that HTTP/2 would flush after each.
            stream.send.send(Chunk::from(vec![7; 1000])).expect("sent");
        }
        for stream in &mut streams {
            assert_eq!(read(&mut stream.receive, 1000).await.expect("an echo").len(), 1000);
        }
        assert_eq!(streams[0].send.writes() - before, 1);
    });
}
