//! A connection to a pod of this node whose policy looks at requests: sniffed, judged request by request, carried.
//!
//! Entry point: [`Inbound::carry`]. What is not HTTP is judged once, without a request, as policy fails safe.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    exchange::tunnel,
    forward::Client,
    h2,
    io::{End, FromTunnel, IntoTunnel, Reader, Writer},
    message::RequestHead,
    parse::Malformed,
    serve::{Done, DoneBy, Handler, Refused, Served, Server, over, serve},
    sniff::{Protocol, sniff},
};
use crate::{
    addr::{ClientAddr, EndpointAddr},
    flows::record::{FlowRecord, GrpcInfo, HttpInfo, PolicyRef, Reason, RequestInfo, Verdict},
    identity::Identity,
    policy::{Decision, HttpRequest, Request, Source, SourceAddress, normalise},
    proxy::{context::Worker, dial, outcome::Outcome, pod::LocalPod},
    tunnel::Stream,
};

/// For how long a client may be silent before it is clear what it speaks.
const FIRST: Duration = Duration::from_secs(30);
/// Longest path that a record keeps, in bytes.
const PATH: usize = 256;

/// One connection, accepted and not yet judged.
pub(in crate::proxy) struct Inbound<'a> {
    pub(in crate::proxy) worker: &'a Rc<Worker>,
    pub(in crate::proxy) pod: &'a Arc<LocalPod>,
    pub(in crate::proxy) source: Option<&'a Identity>,
    pub(in crate::proxy) peer: ClientAddr,
    pub(in crate::proxy) authority: EndpointAddr,
    /// What a record of each request begins with.
    pub(in crate::proxy) record: FlowRecord,
    /// Whether each request is judged; no longer, once it is clear that there are none.
    pub(in crate::proxy) by_request: Rc<Cell<bool>>,
    /// Of the request in hand.
    pub(in crate::proxy) decided: Cell<Option<Decision>>,
}

/// How a connection ended, and what it was.
pub(in crate::proxy) struct Carried {
    pub(in crate::proxy) outcome: Outcome,
    pub(in crate::proxy) protocol: &'static str,
    /// Bytes from the client and to it.
    pub(in crate::proxy) bytes: (u64, u64),
}

impl Inbound<'_> {
    /// Carries a tunnel's stream to its end.
    pub(in crate::proxy) async fn over_tunnel(&self, stream: &mut Stream) -> Carried {
        self.carry(FromTunnel::new(&mut stream.receive), IntoTunnel(&mut stream.send)).await
    }

    /// Carries a plaintext connection to its end.
    pub(in crate::proxy) async fn in_plaintext(&self, socket: &mut TcpStream) -> Carried {
        let (read, write) = socket.split();
        self.carry(read, write).await
    }

    async fn carry<R, W>(&self, read: R, write: W) -> Carried
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut client = End { reader: Reader::new(read), writer: Writer::new(write) };
        let (outcome, protocol) = self.carried(&mut client).await;
        Carried { outcome, protocol, bytes: (client.reader.count, client.writer.count) }
    }

    async fn carried<R, W>(&self, client: &mut End<R, W>) -> (Outcome, &'static str)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let without = self.decide(None);
        if !without.as_ref().is_none_or(|decision| decision.allowed) {
            // Only a request can be allowed, so nothing is done before there is one.
            return match timeout(FIRST, first(&mut client.reader)).await {
                Ok(Ok(Some(protocol @ (Protocol::Http1 | Protocol::Http2)))) => {
                    self.as_requests(protocol, client, None).await
                }
                Ok(Err(error)) => (Outcome::failed(Reason::Reset, error.to_string()), "tcp"),
                Ok(Ok(_)) | Err(_) => {
                    let policy = without.and_then(|decision| decision.by).as_ref().map(PolicyRef::from);
                    let words = "not HTTP, which the policy asks for";
                    (Outcome::denied(Reason::PolicyDenied, words, policy), "tcp")
                }
            };
        }
        let mut server = match self.connect().await {
            Ok(socket) => over(socket),
            Err(error) => return (Outcome::failed(error.reason(), error.to_string()), "tcp"),
        };
        // Whoever speaks first says what it is: a server that does, speaks no HTTP.
        let spoken = tokio::select! {
            spoken = first(&mut client.reader) => spoken,
            _ = server.reader.fill() => Ok(None),
        };
        match spoken {
            Ok(Some(protocol @ (Protocol::Http1 | Protocol::Http2))) => {
                self.as_requests(protocol, client, Some(server)).await
            }
            Ok(_) => (self.as_tcp(client, server).await, "tcp"),
            Err(error) => (Outcome::forwarded_until(Reason::Reset, error.to_string()), "tcp"),
        }
    }

    async fn as_requests<R, W>(
        &self,
        protocol: Protocol,
        client: &mut End<R, W>,
        server: Option<Server>,
    ) -> (Outcome, &'static str)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (served, protocol) = match protocol {
            Protocol::Http2 => (h2::serve(client, server, self).await, "http/2"),
            _ => (serve(client, server, self).await, "http/1.1"),
        };
        let outcome = match served {
            Served::Clean => Outcome::forwarded(),
            Served::Broken(why) => Outcome::forwarded_until(Reason::Reset, why),
        };
        (outcome, protocol)
    }

    /// Carried as it is, and judged from now on as any other connection.
    async fn as_tcp<R, W>(&self, client: &mut End<R, W>, mut server: Server) -> Outcome
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.by_request.set(false);
        // The policy may have changed while it was not clear what is spoken.
        if let Some(decision) = self.decide(None).filter(|decision| !decision.allowed) {
            let policy = decision.by.as_ref().map(PolicyRef::from);
            return Outcome::denied(Reason::PolicyDenied, "not HTTP, which the policy asks for", policy);
        }
        match tunnel(client, &mut server).await {
            Ok(()) => Outcome::forwarded(),
            Err(failure) => Outcome::forwarded_until(Reason::Reset, failure.to_string()),
        }
    }

    /// What the policy in force says; `None` when the pod is no longer known.
    fn decide(&self, http: Option<&HttpRequest<'_>>) -> Option<Decision> {
        let snapshot = self.worker.context.snapshot.load();
        let workload = snapshot.workload(&self.pod.key)?;
        let source = Source { identity: self.source, address: SourceAddress::Address(self.peer.ip()) };
        let request = Request { source, port: self.authority.port(), http };
        Some(snapshot.applicable(workload).decide(&request))
    }

    async fn connect(&self) -> Result<TcpStream, dial::DialError> {
        let context = &self.worker.context;
        let limit = context.options.dial_timeout;
        let to = self.authority.socket();
        dial::connect_within(limit, context.sockets.clone(), self.pod.clone(), to).await
    }

    fn record(&self, head: &RequestHead, status: Option<StatusCode>, grpc_status: Option<u16>) -> FlowRecord {
        let mut record = self.record.clone();
        record.time = SystemTime::now();
        record.protocol = head.protocol();
        let path = head.path();
        let cut = (0..=PATH.min(path.len())).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0);
        // "/package.Service/Method"
        let call = path.strip_prefix('/').and_then(|path| path.split_once('/')).filter(|_| head.is_grpc());
        record.request = Some(Box::new(RequestInfo {
            http: HttpInfo {
                method: head.method.as_str().into(),
                host: head.host().into(),
                path: path[..cut].into(),
                status: status.map(|status| status.as_u16()),
            },
            grpc: call.map(|(service, method)| GrpcInfo {
                service: service.into(),
                method: method.into(),
                status: grpc_status,
            }),
        }));
        record
    }
}

impl Handler for Inbound<'_> {
    fn judge(&self, head: &RequestHead) -> Result<(), Refused> {
        let path = normalise(head.path().as_bytes());
        let host = head.host();
        let headers: Vec<_> = head
            .fields
            .iter()
            .map(|(name, value)| (name.as_str().into(), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let request = HttpRequest {
            method: head.method.as_str(),
            path: path.as_deref().map_err(|error| *error),
            host: &host,
            headers: &headers,
            user: None,
        };
        let Some(decision) = self.decide(Some(&request)) else {
            return Err(Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                reason: Reason::UpstreamUnreachable,
                detail: "the pod is no longer known".into(),
                denied_by: None,
            });
        };
        let allowed = decision.allowed;
        let by = decision.by.as_ref().map(ToString::to_string);
        self.decided.set(Some(decision));
        if allowed {
            return Ok(());
        }
        Err(Refused {
            status: StatusCode::FORBIDDEN,
            reason: Reason::PolicyDenied,
            detail: format!("denied by {}", by.as_deref().unwrap_or("policy")),
            denied_by: by,
        })
    }

    async fn dial(&self) -> Result<TcpStream, Refused> {
        self.connect().await.map_err(|error| Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: error.reason(),
            detail: error.to_string(),
            denied_by: None,
        })
    }

    fn client(&self) -> Client<'_> {
        Client { address: self.peer.ip(), identity: self.source }
    }

    fn done(&self, done: Done<'_>) {
        let mut record = self.record(done.head, done.status, done.grpc_status);
        (record.bytes_sent, record.bytes_received) = done.bytes;
        record.duration_us = Some(elapsed(done.began));
        if let Some(decision) = self.decided.take() {
            record.judged_here = true;
            record.policy = decision.by.as_ref().map(PolicyRef::from);
            record.audit = decision.audit.first().map(PolicyRef::from);
        }
        let outcome = match done.end {
            DoneBy::Server => Outcome::forwarded(),
            DoneBy::Refused(refused) => match refused.reason {
                Reason::PolicyDenied | Reason::HttpMalformed => {
                    Outcome::denied(refused.reason, refused.detail.as_str(), None)
                }
                reason => Outcome::failed(reason, refused.detail.as_str()),
            },
            DoneBy::Failed(failure) => Outcome::failed(Reason::Reset, failure.to_string()),
        };
        let audited = record.audit.is_some() && outcome.verdict == Verdict::Forwarded;
        outcome.write(&mut record);
        if audited {
            record.verdict = Verdict::Audited;
        }
        self.worker.context.recorder.record(record);
    }

    fn malformed(&self, malformed: Malformed) {
        let mut record = self.record.clone();
        record.time = SystemTime::now();
        record.protocol = "http/1.1";
        Outcome::denied(Reason::HttpMalformed, malformed.to_string(), None).write(&mut record);
        self.worker.context.recorder.record(record);
    }
}

/// Reads until it is clear what is spoken; `None` when the client says nothing at all.
async fn first<R: AsyncRead + Unpin>(client: &mut Reader<R>) -> io::Result<Option<Protocol>> {
    loop {
        if let Some(protocol) = sniff(&client.buffer) {
            return Ok(Some(protocol));
        }
        if client.fill().await? == 0 {
            return Ok((!client.buffer.is_empty()).then_some(Protocol::Other));
        }
    }
}

fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}
