//! The authority's server: TLS, HTTP/2, Istio's certificate service.
//!
//! Entry point: [`serve`]. The caller binds the listener and owns the end. A request reads top to bottom: whose token,
//! on which node, for whom, has it a pod there, is the CSR right, sign.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;

use super::{authority::Authority, callers::Callers, counters::Counters, residents::Residents};
use crate::{
    ca::{CaError, istio},
    serve,
};

/// Connections at one time; an agent has one.
const CONNECTIONS: usize = 8192;
/// Requests of one connection at one time.
const STREAMS: u32 = 64;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often a silent client is tried, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a connection lives: agents spread over the replicas anew.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// What a connection has to end its requests then.
const GRACE: Duration = Duration::from_secs(10);

/// What answers.
pub(super) struct Service {
    pub(super) authority: Arc<Authority>,
    pub(super) callers: Callers,
    pub(super) residents: Arc<Residents>,
    pub(super) counters: Counters,
}

/// Serves on `listener` until `shutdown`; must run inside a tokio runtime.
pub(super) async fn serve(listener: TcpListener, service: Arc<Service>, shutdown: impl Future<Output = ()>) {
    let refused = service.counters.refused.clone();
    serve::accept(listener, CONNECTIONS, refused, |stream| one_connection(stream, service.clone()), shutdown)
        .await;
}

async fn one_connection(stream: TcpStream, service: Arc<Service>) {
    // Before there is a key nobody could know who this is.
    let Some(config) = service.authority.server_config() else { return };
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "no TLS"),
        Err(_) => return tracing::debug!("no TLS in time"),
    };
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(answer(service, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(32 * 1024)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    // Not all at once.
    let lifetime = LIFETIME.mul_f64(0.75 + 0.5 * fastrand::f64());
    let ended = match timeout(lifetime, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client of the authority broke off");
    }
}

async fn answer(service: Arc<Service>, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() != istio::PATH {
        return Status::unimplemented("only CreateCertificate is here").into_http();
    }
    let codec = ProstCodec::<istio::Response, istio::Request>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(istio::MAX_MESSAGE);
    let call = tower::service_fn(move |request: tonic::Request<istio::Request>| {
        let service = service.clone();
        async move { service.create(request).await.map(tonic::Response::new) }
    });
    grpc.unary(call, request).await
}

impl Service {
    async fn create(&self, request: tonic::Request<istio::Request>) -> Result<istio::Response, Status> {
        let begun = tokio::time::Instant::now();
        let (metadata, _, asked) = request.into_parts();
        let token = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let result = self.decide(token, &asked).await;
        self.counters.of(result.as_ref().map(drop), begun.elapsed());
        result.map_err(|error| status(&error))
    }

    async fn decide(&self, token: &str, asked: &istio::Request) -> Result<istio::Response, CaError> {
        let node = self.callers.node_of(token).await?;
        let request = asked.read()?;
        let identity = &request.identity;
        let (namespace, service_account) = (identity.namespace(), identity.service_account());
        if !self.residents.has(namespace, service_account, &node).await? {
            tracing::warn!(%identity, %node, "refused: it has no pod on the node that asks");
            return Err(CaError::Denied(format!("{identity} has no pod on {node}")));
        }
        let wanted = u64::try_from(asked.validity_duration).ok().filter(|seconds| *seconds > 0);
        let issued = self.authority.issue(&request, wanted.map(Duration::from_secs))?;
        tracing::debug!(%identity, %node, "issued");
        Ok(istio::Response::new(&issued))
    }
}

fn status(error: &CaError) -> Status {
    match error {
        CaError::Denied(words) => Status::permission_denied(words),
        CaError::Invalid(words) => Status::invalid_argument(words),
        CaError::Unreachable(words) => Status::unavailable(words),
    }
}
