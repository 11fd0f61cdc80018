//! `/metrics`, `/readyz` and `/livez` over HTTP.
//!
//! Entry point: [`serve`]. Nothing else is answered here: what names pods' connections one by one is on
//! the admin socket.

use std::{future::Future, io, time::Duration};

use hyper::{Method, Request, Response, StatusCode};

use super::{Metrics, catalogue, readiness::Readiness};
use crate::serve::{self, Body, Limits, respond};

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const LIMITS: Limits =
    Limits { connections: 64, lifetime: Duration::from_secs(600), silence: Duration::from_secs(90) };

/// Serves on `listener` until `shutdown`; must run inside a tokio runtime.
///
/// # Errors
/// When the listener cannot be made asynchronous.
pub async fn serve(
    listener: std::net::TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let refused = metrics.counters(&catalogue::HTTP_REFUSED).with(&["metrics"]);
    let ready = readiness.clone();
    metrics.read_one(&catalogue::READY, move || f64::from(u8::from(ready.is_ready())));
    let handler = move |request: Request<hyper::body::Incoming>| {
        let response = answer(request.method(), request.uri().path(), &metrics, &readiness);
        std::future::ready(response)
    };
    serve::serve(listener, LIMITS, refused, handler, shutdown).await;
    Ok(())
}

fn answer(method: &Method, path: &str, metrics: &Metrics, readiness: &Readiness) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is answered\n");
    }
    match path {
        "/metrics" => respond(StatusCode::OK, OPEN_METRICS, metrics.text()),
        "/livez" => respond(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" => match readiness.reasons() {
            reasons if reasons.is_empty() => respond(StatusCode::OK, TEXT, "ready\n"),
            reasons => respond(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("not ready, waiting for: {}\n", reasons.join("; ")),
            ),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "only /metrics, /readyz and /livez are here\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = format!("{request} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn metrics_and_health_are_answered_and_nothing_else() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let readiness = Readiness::default();
        let wait = readiness.waiting_for("capture of shop/cart-0");
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, Metrics::new("0"), readiness, async {
            let _ = stopped.await;
        }));

        let answer = get(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("waiting for: capture of shop/cart-0"), "{answer}");
        drop(wait);
        assert!(get(address, "GET /readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "GET /livez").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "GET /metrics").await;
        assert!(answer.contains("weir_agent_build_info{version=\"0\"} 1"), "{answer}");
        assert!(answer.contains("\nweir_agent_ready 1"), "{answer}");
        assert!(get(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(get(address, "GET /v1/flows").await.starts_with("HTTP/1.1 404"));

        drop(stop);
        server.await.expect("no panic").expect("served");
    }
}
