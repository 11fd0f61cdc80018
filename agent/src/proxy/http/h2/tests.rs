//! Streams of HTTP/2 through `Direct`, over real sockets: what is forwarded, refused, reset.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use h2::client::SendRequest;
use tokio::{io::DuplexStream, net::TcpListener};

use super::*;
use crate::proxy::http::{
    direct::Direct,
    io::{Reader, Writer},
    testing::Gate,
};

/// A server that says its fields back, returns what it is sent, and ends with trailers.
async fn server() -> (SocketAddr, Rc<RefCell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let connections = Rc::new(RefCell::new(0));
    let counted = connections.clone();
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            *counted.borrow_mut() += 1;
            tokio::task::spawn_local(async move {
                let mut connection = h2::server::handshake(socket).await.expect("a client");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::task::spawn_local(echo(request, respond));
                }
            });
        }
    });
    (address, connections)
}

async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    if request.uri().path() == "/reset" {
        return respond.send_reset(Reason::REFUSED_STREAM);
    }
    if request.uri().path() == "/never" {
        return std::future::pending().await;
    }
    let mut response = Response::new(());
    for (name, value) in request.headers() {
        response.headers_mut().insert(name, value.clone());
    }
    let mut body = request.into_body();
    let Ok(mut send) = respond.send_response(response, false) else { return };
    let mut count = 0;
    let _ = pass_and_end(&mut body, &mut send, &mut count).await;
}

async fn pass_and_end(
    body: &mut RecvStream,
    send: &mut SendStream<Bytes>,
    count: &mut u64,
) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        *count += data.len() as u64;
        let _ = body.flow_control().release_capacity(data.len());
        send.reserve_capacity(data.len());
        let mut rest = data;
        while !rest.is_empty() {
            let Some(room) = poll_fn(|cx| send.poll_capacity(cx)).await else { return Ok(()) };
            send.send_data(rest.split_to(room?.min(rest.len())), false)?;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}

/// Runs `test` with a client's handle; gives what was done.
async fn with<F, T>(test: impl FnOnce(SendRequest<Bytes>) -> F) -> (T, Vec<String>, usize)
where
    F: Future<Output = T>,
{
    tokio::task::LocalSet::new()
        .run_until(async {
            let (address, connections) = server().await;
            let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
            let (read, write) = tokio::io::split(far);
            let mut far = End { reader: Reader::new(read), writer: Writer::new(write) };
            let gate = Rc::new(Gate::new(address));
            let serving = gate.clone();
            let served = tokio::task::spawn_local(async move {
                serve(&mut far, &Direct::new(&*serving, None), &Ends::default()).await
            });
            let (requests, connection) = h2::client::handshake(near).await.expect("a server");
            let driven = tokio::task::spawn_local(connection);
            let result = test(requests).await;
            driven.abort();
            let _ = served.await;
            let done = gate.done.take();
            let connections = *connections.borrow();
            (result, done, connections)
        })
        .await
}

fn request(path: &str, kind: &str) -> Request<()> {
    let request = Request::post(format!("http://pay{path}")).header("content-type", kind);
    request.header("x-forwarded-for", "1.1.1.1").body(()).expect("a request")
}

#[tokio::test]
async fn streams_are_carried_with_their_bodies_and_trailers_over_one_connection() {
    let (_, done, connections) = with(async |requests| {
        for _ in 0..3 {
            let mut requests = requests.clone().ready().await.expect("ready");
            let (answer, mut send) =
                requests.send_request(request("/pay.Pay/Charge", "application/grpc"), false).expect("sent");
            send.send_data(Bytes::from(vec![7; 200_000]), true).expect("sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.headers()["x-forwarded-for"], "10.0.0.1");
            let mut body = answer.into_body();
            let mut count = 0;
            while let Some(data) = body.data().await {
                let data = data.expect("data");
                count += data.len();
                body.flow_control().release_capacity(data.len()).expect("came");
            }
            assert_eq!(count, 200_000);
            let trailers = body.trailers().await.expect("whole").expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
        }
    })
    .await;
    assert_eq!(done, ["/pay.Pay/Charge 200 server grpc 0"; 3]);
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn a_denied_call_is_told_so_in_the_words_of_its_protocol() {
    let (_, done, connections) = with(async |requests| {
        for (kind, status, grpc) in [("application/grpc", 200, Some("7")), ("application/json", 403, None)] {
            let mut requests = requests.clone().ready().await.expect("ready");
            let (answer, _) = requests.send_request(request("/admin/x", kind), true).expect("sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(answer.headers().get("grpc-status").map(|code| code.to_str().expect("text")), grpc);
            assert_eq!(answer.headers()["weir-denied-by"], "application shop/no-admin rule 0 (deny)");
        }
    })
    .await;
    assert_eq!(done, ["/admin/x 403 refused grpc 7", "/admin/x 403 refused"]);
    assert_eq!(connections, 0, "the server was not even dialled");
}

#[tokio::test]
async fn a_stream_that_the_server_resets_does_not_touch_the_others() {
    let (_, done, _) = with(async |requests| {
        for (path, expected) in [("/reset", 502), ("/a", 200)] {
            let mut requests = requests.clone().ready().await.expect("ready");
            let (answer, _) = requests.send_request(request(path, "text/plain"), true).expect("sent");
            assert_eq!(answer.await.expect("an answer").status().as_u16(), expected, "{path}");
        }
    })
    .await;
    assert!(done[0].starts_with("/reset 502 failed"), "{done:?}");
}

#[tokio::test]
async fn requests_whose_client_goes_before_their_answers_are_recorded() {
    let (_answers, done, _) = with(async |mut requests| {
        let mut answers = Vec::new();
        for _ in 0..3 {
            requests = requests.ready().await.expect("ready");
            // None is given up; the connection goes under all of them.
            answers.push(requests.send_request(request("/never", "text/plain"), true).expect("sent"));
        }
        // The server has them when it has answered this one.
        requests = requests.ready().await.expect("ready");
        let (answer, _) = requests.send_request(request("/a", "text/plain"), true).expect("sent");
        assert_eq!(answer.await.expect("an answer").status().as_u16(), 200);
        answers
    })
    .await;
    assert_eq!(done.iter().filter(|done| done.starts_with("/never ")).count(), 3, "{done:?}");
}

#[tokio::test]
async fn a_host_that_contradicts_the_authority_is_refused() {
    let (_, done, _) = with(async |requests| {
        let mut requests = requests.clone().ready().await.expect("ready");
        let lie = Request::get("http://pay/a").header("host", "other").body(()).expect("a request");
        let (answer, _) = requests.send_request(lie, true).expect("sent");
        let error = answer.await.expect_err("no answer");
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    })
    .await;
    assert_eq!(done, ["Target"], "no request, and said so");
}
