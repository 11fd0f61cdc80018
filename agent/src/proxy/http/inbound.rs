//! A connection to a pod of this node whose policy looks at requests: sniffed, judged request by request, carried.
//!
//! Entry point: [`Inbound::carry`]. What is not HTTP is judged once, without a request, as policy fails safe.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    app::{Refused, enter},
    direct::{Direct, Done, Handler},
    forward::Client,
    io::{End, FromTunnel, IntoTunnel, Reader, Writer},
    link::{Server, over},
    message::RequestHead,
    parse::Malformed,
    record,
    serve::{Ends, Served, serve},
    sniff::{Protocol, first, spoken},
    trace,
};
use crate::{
    addr::{ClientAddr, EndpointAddr},
    flows::record::{FlowRecord, PolicyRef, Reason, TraceId, Verdict},
    identity::Identity,
    policy::{Decision, HttpRequest, Request, Source, SourceAddress, normalise},
    proxy::{
        context::Worker,
        dial,
        outcome::{Carried, Outcome},
        pod::{Http2, LocalPod, Place},
    },
    traffic::{LimitBy, Limiter, SourceKey},
    tunnel::Stream,
    users::{self, Authentication, Verified},
};

/// For how long a client may be silent before it is clear what it speaks.
const FIRST: Duration = Duration::from_secs(30);

/// One connection, accepted and not yet judged.
pub(in crate::proxy) struct Inbound<'a> {
    pub(in crate::proxy) worker: &'a Rc<Worker>,
    pub(in crate::proxy) pod: &'a Arc<LocalPod>,
    pub(in crate::proxy) source: Option<&'a Identity>,
    pub(in crate::proxy) peer: ClientAddr,
    /// The two, as the pod is told.
    pub(in crate::proxy) client: Client,
    pub(in crate::proxy) authority: EndpointAddr,
    /// What a record of each request begins with.
    pub(in crate::proxy) record: FlowRecord,
    /// Whether each request is judged; no longer, once it is clear that there are none.
    pub(in crate::proxy) by_request: Rc<Cell<bool>>,
    /// By which the connection is ended between two requests.
    pub(in crate::proxy) ends: Rc<Ends>,
    /// The rate limits of the pod, and the state of the cluster that they are of.
    pub(in crate::proxy) limits: RefCell<(u64, Vec<Arc<Limiter>>)>,
}

/// What is known of a request once it is judged.
#[derive(Default)]
pub(in crate::proxy) struct Judged {
    decision: Option<Decision>,
    user: Option<Arc<Verified>>,
    trace_id: Option<TraceId>,
    /// Among the pod's requests.
    place: Option<Place>,
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
        match spoken(&mut client.reader, &mut server.reader).await {
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
        let (served, protocol) = serve(protocol, client, &Direct::new(self, server), &self.ends).await;
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
        match super::io::tunnel(client, &mut server).await {
            Ok(()) => Outcome::forwarded(),
            Err(error) => Outcome::forwarded_until(Reason::Reset, error.to_string()),
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

    fn looks_at_paths(&self) -> bool {
        let snapshot = self.worker.context.snapshot.load();
        let workload = snapshot.workload(&self.pod.key);
        workload.is_none_or(|workload| snapshot.applicable(workload).looks_at_paths())
    }

    async fn connect(&self) -> Result<TcpStream, dial::DialError> {
        let context = &self.worker.context;
        let limit = context.options.dial_timeout;
        let to = self.authority.socket();
        dial::connect_within(limit, context.sockets.clone(), self.pod.clone(), to).await
    }

    /// Counts the request, where some limit does.
    fn limit(&self) -> Result<(), Refused> {
        let context = &self.worker.context;
        let snapshot = context.snapshot.load();
        let mut limits = self.limits.borrow_mut();
        if limits.0 != snapshot.generation {
            let workload = snapshot.workload(&self.pod.key).ok_or_else(unknown)?;
            *limits = (snapshot.generation, context.limits.of(&snapshot, workload));
        }
        if limits.1.is_empty() {
            return Ok(());
        }
        let source = match self.source {
            Some(identity) => SourceKey::Identity(identity.clone()),
            None => SourceKey::Address(self.peer.ip()),
        };
        let now = self.worker.now();
        limits.1.iter().try_for_each(|limiter| limiter.check(now, &source)).map_err(|limited| {
            let words = match limited.by {
                LimitBy::Workload => "too many requests to this workload",
                LimitBy::Source => "too many requests of this source",
            };
            let mut refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, Reason::RateLimited, words);
            refused.fields.push((http::header::RETRY_AFTER, limited.retry_after().to_string()));
            refused
        })
    }

    /// Whose tokens the pod takes; `None` when it is no longer known.
    fn authentication(&self) -> Option<Arc<Authentication>> {
        let snapshot = self.worker.context.snapshot.load();
        Some(snapshot.authentication(snapshot.workload(&self.pod.key)?))
    }

    /// On whose behalf the request is made; what a client says of that is taken out, and what is proved put in.
    async fn authenticate(&self, head: &mut RequestHead) -> Result<Option<Arc<Verified>>, Refused> {
        let rules = self.authentication().ok_or_else(unknown)?;
        let verified = if rules.is_empty() {
            None
        } else {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let authenticator = &self.worker.context.authenticator;
            authenticator.authenticate(&rules, &head.pairs(), now).await.map_err(|error| {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
                let mut refused = Refused::new(status, Reason::TokenInvalid, error.word());
                let challenge = error.challenge().map(|words| (http::header::WWW_AUTHENTICATE, words));
                refused.fields.extend(challenge);
                refused
            })?
        };
        let pretended = |name: &HeaderName| rules.asserts(name.as_str()) || users::is_reserved(name.as_str());
        let pretended: Vec<HeaderName> = head.fields.keys().filter(|name| pretended(name)).cloned().collect();
        for name in pretended {
            head.fields.remove(name);
        }
        for (name, value) in verified.iter().flat_map(|verified| &verified.headers) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::from_str(value)) {
                head.fields.insert(name, value);
            }
        }
        Ok(verified)
    }

    /// What policy says of the request, which gets the spelling that was judged.
    fn allow(&self, head: &mut RequestHead, judged: &mut Judged) -> Result<(), Refused> {
        let raw = head.path().to_owned();
        let path = normalise(raw.as_bytes());
        let request = HttpRequest {
            method: head.method.as_str(),
            path: path.as_deref().map_err(|error| *error),
            host: &head.host(),
            headers: &head.pairs(),
            user: judged.user.as_ref().map(|verified| &verified.user),
        };
        let decision = self.decide(Some(&request)).ok_or_else(unknown)?;
        // The application must read the path that was judged: one that decodes less could find another in it.
        if self.looks_at_paths()
            && let Ok(Cow::Owned(spelt)) = &path
        {
            head.target = format!("{spelt}{}", &head.target[raw.len()..]);
        }
        let decision = judged.decision.insert(decision);
        if decision.allowed {
            return Ok(());
        }
        let by = decision.by.as_ref().map(ToString::to_string);
        let words = format!("denied by {}", by.as_deref().unwrap_or("policy"));
        // No token might be all that is missing (RFC 6750 §3).
        Err(Refused { denied_by: by, ..Refused::new(StatusCode::FORBIDDEN, Reason::PolicyDenied, words) })
    }
}

fn unknown() -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, Reason::UpstreamUnreachable, "the pod is no longer known")
}

impl Handler for Inbound<'_> {
    type Judged = Judged;

    async fn judge(&self, head: &mut RequestHead) -> (Judged, Result<(), Refused>) {
        let mut judged =
            Judged { trace_id: trace::id(&mut head.fields, &self.worker.random), ..Judged::default() };
        let entered = enter(&self.worker.context, self.pod).and_then(|place| {
            judged.place = Some(place);
            self.limit()
        });
        if let Err(refused) = entered {
            return (judged, Err(refused));
        }
        let allowed = match self.authenticate(head).await {
            Ok(user) => {
                judged.user = user;
                self.allow(head, &mut judged)
            }
            Err(refused) => Err(refused),
        };
        (judged, allowed)
    }

    async fn dial(&self) -> Result<TcpStream, Refused> {
        self.connect()
            .await
            .map_err(|error| Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.reason(), error.to_string()))
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn done(&self, judged: Judged, done: Done<'_>) {
        let mut record = record::of(&self.record, done.head, done.status, done.grpc_status);
        (record.bytes_sent, record.bytes_received) = done.bytes;
        record.duration_us = Some(record::elapsed(done.began));
        record.trace_id = judged.trace_id;
        if let (Some(request), Some(verified)) = (&mut record.request, &judged.user) {
            request.user = Some(record::user(&verified.user));
        }
        if let Some(decision) = judged.decision {
            record.judged_here = true;
            record.policy = decision.by.as_ref().map(PolicyRef::from);
            record.audit = decision.audit.first().map(PolicyRef::from);
        }
        let audited = record.audit.is_some() && done.outcome.verdict == Verdict::Forwarded;
        done.outcome.write(&mut record);
        if audited {
            record.verdict = Verdict::Audited;
        }
        self.worker.context.recorder.record(record);
    }

    fn malformed(&self, malformed: Malformed) {
        self.worker.context.recorder.record(record::of_malformed(&self.record, malformed));
    }

    fn http2(&self) -> Http2 {
        self.pod.http2()
    }
}
