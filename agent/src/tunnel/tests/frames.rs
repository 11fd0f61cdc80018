//! The bytes on the wire, inside TLS, as other HBONE nodes see them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{hostile::raw, *};
use crate::tunnel::{
    ConnectRequest, Pool, PoolOptions, Refusal, RefusalStatus, ServerOptions, TlsConfigs,
    testing::{Authority, Server, identity, key, on_worker},
};

/// One frame: type, flags, stream, payload (RFC 9113 §4.1).
type Frame = (u8, u8, u32, Vec<u8>);

async fn frame(wire: &mut (impl AsyncReadExt + Unpin)) -> Frame {
    let mut head = [0; 9];
    wire.read_exact(&mut head).await.expect("a frame");
    let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
    wire.read_exact(&mut payload).await.expect("a payload");
    (kind, flags, u32::from_be_bytes([s0, s1, s2, s3]), payload)
}

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    values.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
}

fn empty(kind: u8, flags: u8) -> [u8; 9] {
    [0, 0, 0, kind, flags, 0, 0, 0, 0]
}

#[test]
fn a_clients_session_begins_byte_for_byte_like_this() {
    on_worker(async {
        let authority = Authority::new();
        let (client, server) = (authority.credentials("client"), authority.credentials("server"));
        let config = TlsConfigs::default().server(&server).expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let peer = async {
            let (socket, _) = listener.accept().await.expect("a connection");
            let mut wire = tokio_rustls::TlsAcceptor::from(config).accept(socket).await.expect("a handshake");
            assert_eq!(wire.get_ref().1.server_name(), None, "a server name was sent");
            assert_eq!(wire.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let mut preface = [0; 24];
            wire.read_exact(&mut preface).await.expect("a preface");
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            // ENABLE_PUSH 0, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE.
            let expected = settings(&[(2, 0), (4, 1 << 20), (5, (64 << 10) + 247), (6, 16 << 10)]);
            assert_eq!(frame(&mut wire).await, (SETTINGS, 0, 0, expected));
            let mut others = [frame(&mut wire).await, frame(&mut wire).await];
            others.sort();
            let [ping, window] = others;
            assert_eq!((ping.0, ping.1, ping.2, ping.3.len()), (PING, 0, 0, 8));
            assert_eq!(window, (WINDOW_UPDATE, 0, 0, ((16 << 20) - 65_535_u32).to_be_bytes().to_vec()));
            // Nothing of a stream comes before the PING is answered.
            let mut answer = empty(SETTINGS, 0).to_vec();
            answer.extend([0, 0, 8, PING, ACK, 0, 0, 0, 0]);
            answer.extend(ping.3);
            wire.write_all(&answer).await.expect("written");
            wire.flush().await.expect("flushed");
            loop {
                let frame = frame(&mut wire).await;
                if frame.0 == HEADERS {
                    return frame;
                }
                assert_eq!((frame.0, frame.1), (SETTINGS, ACK));
            }
        };
        let pool = Pool::new(PoolOptions::default());
        let key = key(&client, address, "server");
        let mut request = ConnectRequest::new("10.0.0.7:80".parse().expect("an address"));
        request.baggage.namespace = Some("shop".into());
        let connect = || TcpStream::connect(address);
        let ((_, flags, id, block), opened) = tokio::join!(peer, pool.open(&key, &client, connect, &request));
        opened.map(drop).expect("a stream");
        assert_eq!((flags, id), (END_HEADERS, 1));
        // RFC 7541: :method CONNECT, :authority 10.0.0.7:80, baggage k8s.namespace.name=shop.
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "4287bdab4e9c17b7ff4188081702e05ddb8f0340858c734c398b90eaf217a87495158c855ea1d2581139eb"
        );
    });
}

#[test]
fn a_servers_answers_are_byte_for_byte_like_this() {
    on_worker(async {
        let authority = Authority::new();
        let server = authority.credentials("server");
        let config = TlsConfigs::default().client(&server, &identity("server")).expect("a configuration");
        let server = Server::start(&server, ServerOptions::default(), |incoming: Incoming| async move {
            let refusal = match incoming.request.authority.port() {
                80 => return drop(incoming.accept().map(std::mem::forget)),
                401 => Refusal::new(RefusalStatus::Unauthorized, "policy_denied").by("shop/deny"),
                _ => Refusal::new(RefusalStatus::Unavailable, "upstream_refused"),
            };
            incoming.refuse(&refusal);
        })
        .await;
        let socket = TcpStream::connect(server.address).await.expect("a connection");
        let mut wire = raw(socket, config).await.expect("a handshake");
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(empty(SETTINGS, 0));
        wire.write_all(&hello).await.expect("written");
        wire.flush().await.expect("flushed");
        // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE.
        let expected = settings(&[(3, 1024), (4, 1 << 20), (5, (64 << 10) + 247), (6, 16 << 10)]);
        assert_eq!(frame(&mut wire).await, (SETTINGS, 0, 0, expected));
        for (id, port, expected) in [
            // :status 200
            (1, "80", "88"),
            // :status 401, weir-reason policy_denied, weir-denied-by shop/deny
            (
                3,
                "401",
                "488268014088f05358b5851a0f578aacf4189ea290b518b27f408bf05358b485a8c59168fd7f8744e7ad890b57af",
            ),
            // :status 503, weir-reason upstream_refused
            (5, "503", "48836c0cff7f018cb6b426c28e98ac2cb6a0b27f"),
        ] {
            // :method CONNECT and :authority as literals without indexing, not Huffman-coded (RFC 7541 §6.2.2).
            let authority = format!("10.0.0.7:{port}");
            let mut block = vec![0x02, 7];
            block.extend(b"CONNECT");
            block.extend([0x01, u8::try_from(authority.len()).expect("short")]);
            block.extend(authority.as_bytes());
            let mut request =
                vec![0, 0, u8::try_from(block.len()).expect("short"), HEADERS, END_HEADERS, 0, 0, 0, id];
            request.extend(block);
            wire.write_all(&request).await.expect("written");
            wire.flush().await.expect("flushed");
            let answer = loop {
                let frame = frame(&mut wire).await;
                if frame.0 == HEADERS {
                    break frame;
                }
            };
            assert_eq!(answer.2, u32::from(id));
            let hex: String = answer.3.iter().map(|byte| format!("{byte:02x}")).collect();
            let flags = if port == "80" { END_HEADERS } else { END_HEADERS | END_STREAM };
            assert_eq!((answer.1, port, &*hex), (flags, port, expected));
        }
    });
}
