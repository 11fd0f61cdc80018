//! Requests of HTTP/1 through [`Direct`], over real sockets: what is forwarded, refused, tried again.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    net::TcpListener,
};

use super::*;
use crate::proxy::http::{
    h1,
    io::{End, Reader, Writer},
    serve::Ends,
    testing::Gate,
};

/// A client's end, and what became of the connection.
struct Talk {
    near: DuplexStream,
    gate: Gate,
    far: End<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>,
}

impl Talk {
    fn new(server: SocketAddr) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(far);
        let gate = Gate::new(server);
        Self { near, gate, far: End { reader: Reader::new(read), writer: Writer::new(write) } }
    }

    /// Sends `text`, says no more, and gives all that came back with what was done.
    async fn say(mut self, text: &[u8]) -> (String, Vec<String>) {
        self.near.write_all(text).await.expect("room");
        self.near.shutdown().await.expect("a client");
        let mut answer = Vec::new();
        let (served, read) = tokio::join!(
            async {
                h1::serve(&mut self.far, &Direct::new(&self.gate, None), &Ends::default()).await;
                drop(self.far);
            },
            self.near.read_to_end(&mut answer)
        );
        let () = served;
        read.expect("an end");
        (String::from_utf8(answer).expect("text"), self.gate.done.into_inner())
    }
}

/// A server whose connections read heads and give the answers of `scripts`, one script a connection; then they close.
async fn server(scripts: &'static [&'static [&'static str]]) -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let heard = Rc::new(RefCell::new(Vec::new()));
    let hears = heard.clone();
    tokio::task::spawn_local(async move {
        for script in scripts {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            for answer in *script {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match socket.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                hears.borrow_mut().push(String::from_utf8_lossy(&head).into_owned());
                socket.write_all(answer.as_bytes()).await.expect("a reader");
            }
        }
    });
    (address, heard)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn locally<F: Future>(test: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(test).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: pay\r\n\r\n")
}

#[tokio::test]
async fn requests_of_one_connection_go_over_one_connection_in_their_order() {
    locally(async {
        let (address, heard) = server(&[&[OK, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]]).await;
        let (answer, done) = Talk::new(address).say((get("/a") + &get("/b")).as_bytes()).await;
        assert_eq!(done, ["/a 200 server", "/b 404 server"]);
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 404 "),
            "{answer}"
        );
        assert_eq!(heard.borrow().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_denied_request_never_reaches_the_server_and_the_next_one_does() {
    locally(async {
        let (address, heard) = server(&[&[OK]]).await;
        let (answer, done) = Talk::new(address).say((get("/admin/x") + &get("/b")).as_bytes()).await;
        assert_eq!(done, ["/admin/x 403 refused", "/b 200 server"]);
        assert!(answer.starts_with(
            "HTTP/1.1 403 Forbidden\r\nweir-denied-by: application shop/no-admin rule 0 (deny)\r\n"
        ));
        assert!(heard.borrow().iter().all(|head| head.starts_with("GET /b ")), "{heard:?}");
    })
    .await;
}

#[tokio::test]
async fn a_denied_request_with_a_body_ends_the_connection_so_that_its_body_is_no_request() {
    locally(async {
        let (address, heard) = server(&[&[OK]]).await;
        let smuggled = get("/b");
        let text = format!(
            "POST /admin HTTP/1.1\r\nHost: pay\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        );
        let (answer, done) = Talk::new(address).say(text.as_bytes()).await;
        assert_eq!(done, ["/admin 403 refused"]);
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(heard.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_and_ends_the_connection() {
    locally(async {
        let (address, heard) = server(&[&[OK]]).await;
        let bad =
            "GET / HTTP/1.1\r\nHost: pay\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let (answer, done) = Talk::new(address).say((bad.to_owned() + &get("/b")).as_bytes()).await;
        assert_eq!(done, ["TwoLengths"]);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
        assert!(heard.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn bodies_and_the_fields_behind_them_are_passed_on_both_ways() {
    locally(async {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n\
                      3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::task::spawn_local(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut came = Vec::new();
            while !came.ends_with(b"0\r\nx-sum: 6\r\n\r\n") {
                let byte = socket.read_u8().await.expect("the whole body");
                came.push(byte);
            }
            socket.write_all(answer.as_bytes()).await.expect("a reader");
        });
        let text = "POST /a HTTP/1.1\r\nHost: pay\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Sum: 6\r\n\r\n";
        let (answer, done) = Talk::new(address).say(text.as_bytes()).await;
        assert_eq!(done, ["/a 200 server grpc 0"]);
        assert!(answer.ends_with("3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_a_body_leaves_the_connection_for_the_next() {
    locally(async {
        let (address, _) = server(&[&[
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            OK,
        ]])
        .await;
        let text = "HEAD /a HTTP/1.1\r\nHost: pay\r\n\r\n".to_owned() + &get("/b") + &get("/c") + &get("/d");
        let (answer, done) = Talk::new(address).say(text.as_bytes()).await;
        assert_eq!(done, ["/a 200 server", "/b 204 server", "/c 304 server", "/d 200 server"]);
        assert!(answer.contains("content-length: 100\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_closed_between_requests_is_dialled_again_only_for_what_may_be_repeated() {
    locally(async {
        let (address, _) = server(&[&[OK], &[OK]]).await;
        let (_, done) = Talk::new(address).say((get("/a") + &get("/b")).as_bytes()).await;
        assert_eq!(done, ["/a 200 server", "/b 200 server"]);

        let (address, _) = server(&[&[OK], &[OK]]).await;
        let post = "POST /b HTTP/1.1\r\nHost: pay\r\nContent-Length: 0\r\n\r\n";
        let (answer, done) = Talk::new(address).say((get("/a") + post).as_bytes()).await;
        assert_eq!(done, ["/a 200 server", "/b 502 failed"]);
        assert!(answer.contains("HTTP/1.1 502 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn words_before_the_answer_are_passed_on() {
    locally(async {
        let (address, _) =
            server(&[&["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]])
                .await;
        let (answer, done) = Talk::new(address).say(get("/a").as_bytes()).await;
        assert_eq!(done, ["/a 200 server"]);
        assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_change_of_protocol_passes_everything_on() {
    locally(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::task::spawn_local(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.expect("a head"));
            }
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            socket.write_all(switch.as_bytes()).await.expect("a reader");
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.expect("an end");
            socket.write_all(&rest).await.expect("a reader");
        });
        let text = "GET /chat HTTP/1.1\r\nHost: pay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}frames GET / ";
        let (answer, done) = Talk::new(address).say(text.as_bytes()).await;
        assert_eq!(done, ["/chat 101 server"]);
        assert!(answer.ends_with("upgrade: websocket\r\n\r\nhello\u{1}frames GET / "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_made_whole() {
    locally(async {
        let (address, _) = server(&[&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"]]).await;
        let (answer, done) = Talk::new(address).say((get("/a") + &get("/b")).as_bytes()).await;
        assert_eq!(done, ["/a 200 failed"]);
        assert!(answer.ends_with("hel"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn an_old_client_gets_a_body_that_ends_with_the_connection() {
    locally(async {
        let (address, _) =
            server(&[&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]]).await;
        let (answer, done) = Talk::new(address).say(b"GET /a HTTP/1.0\r\n\r\n").await;
        assert_eq!(done, ["/a 200 server"]);
        assert!(answer.contains("connection: close") && answer.ends_with("\r\n\r\nabc"), "{answer}");
    })
    .await;
}
