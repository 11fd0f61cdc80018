//! A connection of a pod of this node to a Service whose requests are looked at: each goes where its route says.
//!
//! Entry point: [`Outbound::carry`]. A request reads top to bottom in [`Outbound::forward`]: route, filters, limits of the
//! Service, and then `tries`, until one is answered. Policy is not judged here but at the destination's node.

mod balancers;
mod cors;
mod filters;
mod mirrors;
mod target;
mod tries;
mod upstreams;
mod view;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use self::{target::Target, tries::Tries, view::View};
use super::{
    app::{App, Concluded, Refused, conclude, enter},
    exchange::{AnswerOut, BodyIn, Failure, Progress, Relayed},
    forward::Client,
    io::{End, Reader, Writer},
    kept::Kept,
    link::Server,
    message::RequestHead,
    parse::Malformed,
    record,
    serve::{Ends, Served, serve},
    sniff::{Protocol, first, spoken},
    trace,
};
use crate::{
    addr::{ClientAddr, EndpointAddr},
    flows::record::{FlowRecord, Peer, Reason, TlsInfo},
    policy::normalise,
    proxy::{
        context::{Worker, count},
        outcome::{self, Carried, Outcome},
        pod::{Http2, LocalPod},
        report,
    },
    state::{
        model::NamespacedName,
        routes::{self, RequestUrl, RequestView, RuleRef, Scheme},
    },
    traffic::{Retry, RouteRetry},
    turns,
};

pub(in crate::proxy) use self::{balancers::Balancers, mirrors::Mirrors, upstreams::Upstreams};

/// For how long a client may be silent before it is clear what it speaks.
const FIRST: Duration = Duration::from_secs(30);
/// The same where the server cannot be reached: a client who waits for it to speak first is not kept waiting for long.
const ALONE: Duration = Duration::from_secs(2);

/// One connection, redirected and not yet read.
pub(in crate::proxy) struct Outbound<'a> {
    pub(in crate::proxy) worker: &'a Rc<Worker>,
    pub(in crate::proxy) pod: &'a Arc<LocalPod>,
    pub(in crate::proxy) client: ClientAddr,
    /// The Service that was dialled, and its port.
    pub(in crate::proxy) service: NamespacedName,
    pub(in crate::proxy) port: u16,
    /// What the kernel chose: for what turns out to be no HTTP.
    pub(in crate::proxy) chosen: EndpointAddr,
    /// Whether the port says that it speaks HTTP; else a server may well speak first.
    pub(in crate::proxy) declared: bool,
    /// What a record of each request begins with.
    pub(in crate::proxy) record: FlowRecord,
    /// By which the connection is ended between two requests.
    pub(in crate::proxy) ends: Rc<Ends>,
    /// The client as servers are told. Who it is, the destination's node says, where it is proved.
    asserted: Client,
    view: RefCell<Option<Rc<View>>>,
    /// Of a connection that is no HTTP.
    tls: Cell<Option<TlsInfo>>,
}

/// What a record says of a request beside the request.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) destination: Option<Peer>,
    pub(super) path: Option<crate::flows::record::Path>,
    pub(super) tls: Option<TlsInfo>,
    pub(super) route: Option<Arc<RuleRef>>,
    pub(super) retries: u32,
    /// That an answer of ours may be read from another origin.
    pub(super) cors: Vec<(HeaderName, String)>,
}

impl<'a> Outbound<'a> {
    /// A connection of `pod` to `port` of `service`.
    pub(in crate::proxy) fn new(
        (worker, pod): (&'a Rc<Worker>, &'a Arc<LocalPod>),
        client: ClientAddr,
        (service, port, declared): (NamespacedName, u16, bool),
        chosen: EndpointAddr,
        record: FlowRecord,
    ) -> Self {
        let ((view, tls, ends), asserted) = (Default::default(), Client::new(client.ip(), None));
        Self { worker, pod, client, service, port, chosen, declared, record, ends, asserted, view, tls }
    }

    /// What is known of the TLS session of a connection that was no HTTP.
    pub(in crate::proxy) fn tls(&self) -> Option<TlsInfo> {
        self.tls.take()
    }

    /// Carries the connection to its end.
    pub(in crate::proxy) async fn carry<R, W>(&self, read: R, write: W) -> Carried
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
        let (spoken, server) = if self.declared {
            let spoken = timeout(FIRST, first(&mut client.reader)).await;
            (spoken.unwrap_or(Ok(Some(Protocol::Other))), None)
        } else {
            match self.as_dialled().await {
                Ok(mut server) => (spoken(&mut client.reader, &mut server.reader).await, Some(server)),
                // Nobody is there who could speak first, but a request may be somebody else's to answer.
                Err(outcome) => match timeout(ALONE, first(&mut client.reader)).await {
                    Ok(spoken @ Ok(Some(Protocol::Http1 | Protocol::Http2))) => (spoken, None),
                    _ => return (outcome, "tcp"),
                },
            }
        };
        match spoken {
            Ok(Some(protocol @ (Protocol::Http1 | Protocol::Http2))) => {
                // Where the request goes is the route's to say.
                if let Some(server) = server {
                    turns::spawn(server.close());
                }
                let (served, protocol) = serve(protocol, client, self, &self.ends).await;
                let outcome = match served {
                    Served::Clean => Outcome::forwarded(),
                    Served::Broken(why) => Outcome::forwarded_until(Reason::Reset, why),
                };
                (outcome, protocol)
            }
            Ok(_) => (self.as_tcp(client, server).await, "tcp"),
            Err(error) => (Outcome::forwarded_until(Reason::Reset, error.to_string()), "tcp"),
        }
    }

    /// A connection to the endpoint that the kernel chose.
    async fn as_dialled(&self) -> Result<Server, Outcome> {
        let target = Target::of(&self.worker.context.snapshot.load(), self.pod, self.chosen);
        let target = target.map_err(|refused| record::of_refused(&refused))?;
        let (server, tls) = upstreams::open(self.worker, self.pod, self.client, &target)
            .await
            .map_err(|failure| record::of_failure(&failure))?;
        self.tls.set(tls);
        Ok(server)
    }

    async fn as_tcp<R, W>(&self, client: &mut End<R, W>, server: Option<Server>) -> Outcome
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut server = match server {
            Some(server) => server,
            None => match self.as_dialled().await {
                Ok(server) => server,
                Err(outcome) => return outcome,
            },
        };
        match super::io::tunnel(client, &mut server).await {
            Ok(()) => Outcome::forwarded(),
            Err(error) => match upstreams::of_tunnel(&error) {
                Some(error) => outcome::of_tunnel_error(error),
                None => Outcome::forwarded_until(Reason::Reset, error.to_string()),
            },
        }
    }

    /// The Service as it is now, looked up once for each state of the cluster.
    fn view(&self) -> Rc<View> {
        let snapshot = self.worker.context.snapshot.load();
        let mut kept = self.view.borrow_mut();
        match &*kept {
            Some(view) if view.generation == snapshot.generation => view.clone(),
            _ => {
                let view = View::new(snapshot.clone(), &self.pod.key.namespace, &self.service, self.port);
                kept.insert(Rc::new(view)).clone()
            }
        }
    }

    /// Finds out where the request goes and has it answered there.
    async fn forward(
        &self,
        head: &mut RequestHead,
        (body, answer): (&mut impl BodyIn, &mut impl AnswerOut),
        (seen, progress): (&mut Seen, &mut Progress),
    ) -> Result<Result<Relayed, Failure>, Refused> {
        let view = self.view();
        let random = || (self.worker.random.borrow_mut().bits() >> 32) as u32;
        let found = match &view.routes {
            None => None,
            Some(routes) => {
                let rule = find(routes, head).ok_or_else(|| {
                    let words = format!("no route of {} matches the request", self.service);
                    Refused::new(StatusCode::NOT_FOUND, Reason::NoRoute, words)
                })?;
                seen.route = Some(rule.reference.clone());
                Some(rule)
            }
        };
        let cors = found.as_ref().and_then(|rule| rule.filters.cors.as_ref());
        let origin = cors.and_then(|_| filters::text(&head.fields, "origin")).map(str::to_owned);
        if let Some(cors) = cors {
            if let Some(preflight) = cors::preflight(cors, head) {
                return Err(preflight);
            }
            seen.cors = origin.iter().flat_map(|origin| cors::answer(cors, origin)).collect();
        }
        let (destination, backend) = match &found {
            None => (view.itself.clone(), None),
            Some(rule) => match rule.outcome(random()) {
                routes::Outcome::Forward(destination, backend) => (destination.clone(), Some(backend)),
                routes::Outcome::Redirect(redirect) => return Err(self.redirect(redirect, head)),
                routes::Outcome::Fail(why) => {
                    return Err(Refused::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        Reason::RouteInvalid,
                        why.to_owned(),
                    ));
                }
            },
        };
        let chain: Vec<_> =
            found.iter().map(|rule| &rule.filters).chain(backend.map(|backend| &backend.filters)).collect();
        filters::request(&chain, head);
        let mirrors =
            found.iter().flat_map(|rule| &rule.mirrors).chain(backend.iter().flat_map(|of| &of.mirrors));
        let mirrors = mirrors.filter(|mirror| mirror.share.takes(random()));
        let mirrors: Vec<_> = mirrors.map(|mirror| mirror.destination.clone()).collect();
        let mut body = mirrors::tap(self, &view.snapshot, mirrors, head, body);

        let (balancer, service) = self.worker.balancers.of(
            self.worker,
            &view.snapshot,
            &destination,
            self.client.ip().is_ipv4(),
        )?;
        seen.destination = Some(report::by_service(Peer::default(), Some(&destination.service)));
        let traffic = balancer.traffic();
        balancer.began(self.worker.now());
        let fault = traffic.fault.decide(&mut self.worker.random.borrow_mut());
        if let Some(delay) = fault.delay {
            tokio::time::sleep(delay).await;
        }
        if let Some(status) = fault.abort {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return Err(Refused::new(status, Reason::FaultInjected, "a fault, on purpose"));
        }
        let (timeouts, asked) =
            found.as_ref().map(|rule| (rule.timeouts, rule.retry.as_ref())).unwrap_or_default();
        let routed;
        let retry = match asked {
            None => traffic.retry.as_ref(),
            Some(asked) => {
                let route =
                    RouteRetry { codes: &asked.codes, attempts: asked.attempts, backoff: asked.backoff };
                routed = Retry::for_route(traffic.retry.as_ref(), &route);
                Some(&routed)
            }
        };
        let hash = traffic.hash_of(
            |name| head.fields.get(name).map(HeaderValue::as_bytes),
            || self.client.ip().to_string(),
        );
        let tries = Tries {
            outbound: self,
            view: &view,
            balancer: &balancer,
            service: &service,
            retry,
            timeouts,
            hash,
            filters: &chain,
            cors: &seen.cors,
        };
        let mut body = Kept::new(&mut body, retry.map_or(0, |retry| retry.max_body), self.pod.room());
        let (carried, tried) = tries.run(head, (&mut body, answer), progress).await;
        if body.is_crowded() {
            count(&self.worker.context.counters.bodies_unkept);
        }
        seen.retries = tried.retries;
        if let Some(target) = tried.target {
            seen.destination = Some(target.peer(&destination.service));
            seen.path = Some(target.path());
            seen.tls = tried.tls;
        }
        carried
    }

    fn redirect(&self, redirect: &routes::Redirect, head: &RequestHead) -> Refused {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let host = head.host();
        let url = RequestUrl { scheme: Scheme::Http, host: &host, port: self.port, path, query };
        let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
        let fields = vec![(header::LOCATION, redirect.location(&url))];
        Refused { status, reason: None, detail: String::new(), denied_by: None, fields }
    }
}

/// The rule for a request.
fn find(routes: &routes::Routes, head: &RequestHead) -> Option<Arc<routes::Rule>> {
    let (raw, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let normal = normalise(raw.as_bytes());
    let (host, headers) = (head.host(), head.pairs());
    let path = normal.as_deref().unwrap_or(raw);
    let request = RequestView { method: head.method.as_str(), path, query, host: &host, headers: &headers };
    routes.find(&request).cloned()
}

impl App for Outbound<'_> {
    async fn answer(
        &self,
        mut head: RequestHead,
        body: &mut impl BodyIn,
        answer: &mut impl AnswerOut,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let (mut seen, mut progress) = (Seen::default(), Progress::default());
        let trace_id = trace::id(&mut head.fields, &self.worker.random);
        // What is recorded is what was asked, not what a route made of it.
        let mut record = record::of(&self.record, &head, None, None);
        let mut carried = match enter(&self.worker.context, self.pod) {
            Ok(_place) => self.forward(&mut head, (body, &mut *answer), (&mut seen, &mut progress)).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = &mut carried {
            refused.fields.append(&mut seen.cors);
        }
        let Concluded { status, grpc_status, outcome, told } =
            conclude(&head, carried, &progress, answer).await;
        (record.bytes_sent, record.bytes_received) = (progress.sent, progress.received);
        record.duration_us = Some(record::elapsed(began));
        record.trace_id = trace_id;
        record.tls = seen.tls;
        if let Some(path) = seen.path {
            record.path = path;
        }
        if let Some(destination) = seen.destination {
            record.destination = destination;
        }
        if let Some(request) = &mut record.request {
            request.http.status = status.map(|status| status.as_u16());
            request.http.route = seen.route.map(|rule| rule.name().clone());
            request.http.retries = (seen.retries > 0).then_some(seen.retries);
            if let Some(grpc) = &mut request.grpc {
                grpc.status = grpc_status;
            }
        }
        outcome.write(&mut record);
        self.worker.context.recorder.record(record);
        told
    }

    fn malformed(&self, malformed: Malformed) {
        self.worker.context.recorder.record(record::of_malformed(&self.record, malformed));
    }

    fn http2(&self) -> Http2 {
        self.pod.http2()
    }
}
