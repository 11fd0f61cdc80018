//! 100 000 one-byte writes do not end a session, whatever the peer's patience with small frames.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{hostile::raw, *};
use crate::tunnel::{
    Pool, PoolOptions, ServerOptions, TlsConfigs,
    testing::{Authority, Server, identity, key, on_worker, open},
};

const WRITES: usize = 100_000;

/// Enough against a peer that lets 100 wait.
const SOME_WRITES: usize = 10_000;

/// Small frames that h2 0.4.16 to 0.4.18 let wait: 100, whatever the window.
const IMPATIENT: usize = 25_600;

#[test]
fn a_chatty_writer_survives_between_two_agents() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let server = Server::start(&server, ServerOptions::default(), echo).await;
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, server.address, "server");
        let to = "10.0.0.7:80".parse().expect("an address");
        let Stream { mut send, mut receive } = open(&pool, &key, &client, to).await.expect("a stream");
        let frames = Cell::new(0);
        let (sent, received) =
            tokio::join!(one_byte_writes(&mut send, WRITES), count_frames(&mut receive, &frames));
        sent.expect("the session lives");
        assert_eq!(received.expect("the session lives"), WRITES);
        assert!(frames.get() > WRITES / 2, "only {} frames: nothing was tested", frames.get());
    });
}

#[test]
fn a_chatty_writer_survives_an_impatient_server() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let config = TlsConfigs::default().server(&server).expect("a configuration");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let bytes = Rc::new(Cell::new(0));
        let counted = bytes.clone();
        let serve = async move {
            let (socket, _) = listener.accept().await.expect("a connection");
            let tls = tokio_rustls::TlsAcceptor::from(config).accept(socket).await.expect("a handshake");
            let mut builder = h2::server::Builder::new();
            builder.data_frame_budget(IMPATIENT);
            let mut connection = builder.handshake::<_, Bytes>(tls).await.expect("HTTP/2");
            while let Some(accepted) = connection.accept().await {
                let (request, mut respond) = accepted.expect("the session lives");
                let counted = counted.clone();
                tokio::task::spawn_local(async move {
                    let mut send = respond.send_response(http::Response::new(()), false).expect("answered");
                    let mut receive = request.into_body();
                    while let Some(data) = receive.data().await {
                        let data = data.expect("the session lives");
                        counted.set(counted.get() + data.len());
                        receive.flow_control().release_capacity(data.len()).expect("released");
                    }
                    send.send_data(Bytes::new(), true).expect("finished");
                });
            }
        };
        tokio::task::spawn_local(serve);
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, address, "server");
        let to = "10.0.0.7:80".parse().expect("an address");
        let Stream { mut send, mut receive } = open(&pool, &key, &client, to).await.expect("a stream");
        one_byte_writes(&mut send, SOME_WRITES).await.expect("the session lives");
        send.finish().expect("finished");
        assert_eq!(read(&mut receive, 1).await.expect("a clean end"), b"");
        assert_eq!(bytes.get(), SOME_WRITES);
    });
}

#[test]
fn a_chatty_answerer_survives_an_impatient_client() {
    on_worker(async {
        let authority = Authority::new();
        let server = authority.credentials("server");
        let config = TlsConfigs::default().client(&server, &identity("server")).expect("a configuration");
        let server = Server::start(&server, ServerOptions::default(), |incoming: Incoming| async move {
            let mut stream = incoming.accept().expect("a peer");
            one_byte_writes(&mut stream.send, SOME_WRITES).await.expect("the session lives");
            stream.send.finish().expect("finished");
        })
        .await;
        let socket = TcpStream::connect(server.address).await.expect("a connection");
        let tls = raw(socket, config).await.expect("a handshake");
        let mut builder = h2::client::Builder::new();
        builder.data_frame_budget(IMPATIENT);
        let (mut client, connection) = builder.handshake::<_, Bytes>(tls).await.expect("HTTP/2");
        tokio::task::spawn_local(connection);
        let request =
            http::Request::builder().method("CONNECT").uri("10.0.0.7:80").body(()).expect("a request");
        let (answer, _send) = client.send_request(request, false).expect("sent");
        let mut receive = answer.await.expect("an answer").into_body();
        let mut bytes = 0;
        while let Some(data) = receive.data().await {
            let data = data.expect("the session lives");
            bytes += data.len();
            receive.flow_control().release_capacity(data.len()).expect("released");
        }
        assert_eq!(bytes, SOME_WRITES);
    });
}

/// Each write is a chunk of its own, as an application's is that has TCP_NODELAY and waits between writes.
async fn one_byte_writes(send: &mut SendHalf, count: usize) -> Result<(), TunnelError> {
    for _ in 0..count {
        write(send, b"x").await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn count_frames(receive: &mut ReceiveHalf, frames: &Cell<usize>) -> Result<usize, TunnelError> {
    let mut bytes = 0;
    while bytes < WRITES {
        let Some(data) = poll_fn(|cx| receive.poll_data(cx)).await else { break };
        let data = data?;
        frames.set(frames.get() + 1);
        bytes += data.len();
        receive.release(data.len());
    }
    Ok(bytes)
}
