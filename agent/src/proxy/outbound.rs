//! A connection that a pod of this node makes: original destination → source → destination → tunnel →
//! copy → record.
//!
//! Entry point: [`serve`].

use std::{cell::Cell, net::SocketAddr, os::fd::AsFd, rc::Rc, sync::Arc, time::SystemTime};

use tokio::net::TcpStream;

use super::{
    context::{Context, Worker, count},
    copy::{self, Counters},
    dial,
    http::outbound::Outbound,
    live::Subject,
    outcome::{self, Outcome},
    pod::LocalPod,
    report,
};
use crate::{
    addr::{ClientAddr, EndpointAddr},
    datapath::{events::monotonic_ns, sockets::Redirected},
    flows::record::{Direction, FlowRecord, Path, Reason, TlsInfo, Verdict},
    state::{
        Layer7, Snapshot,
        model::{NamespacedName, Workload},
    },
    tunnel::{Baggage, ConnectRequest, PoolKey, TUNNEL_PORT, WorkloadType},
};

/// Where a connection goes.
#[derive(Debug)]
struct Destination {
    endpoint: EndpointAddr,
    workload: Option<Arc<Workload>>,
    service: Option<NamespacedName>,
    /// The port of the service whose requests are looked at, and whether it says that it speaks HTTP.
    requests: Option<(u16, bool)>,
}

/// Carries one connection of `pod` from its first byte to its flow record.
pub async fn serve(worker: Rc<Worker>, pod: Arc<LocalPod>, mut app: TcpStream, client: ClientAddr) {
    let context = worker.context.clone();
    let Some(redirected) = context.sockets.redirected(app.as_fd()) else {
        return not_redirected(&context, &pod, &app, client);
    };
    let _ = app.set_nodelay(true);
    let snapshot = context.snapshot.load_full();
    let destination = destination(&snapshot, &pod, redirected);
    let client = ClientAddr::new(own_address(&pod, client, redirected.original.socket()));
    let mut record = begin(&context, &snapshot, &pod, client, &destination);
    let Some(_place) = pod.place() else {
        count(&context.counters.limited);
        finish(&context, record, refused(&app, Reason::LimitReached, "the pod has too many connections"));
        return;
    };
    let subject = Subject::Outbound {
        pod: pod.clone(),
        destination: destination
            .workload
            .as_ref()
            // Each of its requests may go elsewhere.
            .filter(|_| destination.requests.is_none())
            .map(|workload| (workload.key.clone(), workload.identity.clone())),
        unseen: destination
            .service
            .clone()
            .filter(|_| destination.requests.is_none())
            .map(|service| (service, redirected.original.port())),
    };
    let guard = worker.live.enter(subject);
    let counters = Counters::default();
    let announced = Rc::new(Cell::new(false));
    let connection = Connection {
        worker: &worker,
        pod: &pod,
        redirected,
        counters: &counters,
        announced: announced.clone(),
    };
    let outcome = tokio::select! {
        outcome = connection.carry(&mut app, &destination, client, &mut record) => outcome,
        ending = guard.entry.ended_at(copy::at_rest(&counters)) => {
            if !ending.gently {
                let _ = copy::reset(&app);
            }
            outcome::of_ending(&ending)
        }
    };
    if record.protocol == "tcp" && destination.requests.is_none() {
        record.bytes_sent = counters.sent();
        record.bytes_received = counters.received();
    }
    record.duration_us = Some(monotonic_ns().saturating_sub(redirected.started_ns) / 1000);
    if announced.get() {
        context.recorder.closed(ended(record, outcome));
    } else {
        finish(&context, record, outcome);
    }
}

struct Connection<'a> {
    worker: &'a Rc<Worker>,
    pod: &'a Arc<LocalPod>,
    redirected: Redirected,
    counters: &'a Counters,
    /// Whether the recorder has been told that the connection lives.
    announced: Rc<Cell<bool>>,
}

impl Connection<'_> {
    async fn carry(
        &self,
        app: &mut TcpStream,
        destination: &Destination,
        client: ClientAddr,
        record: &mut FlowRecord,
    ) -> Outcome {
        if let (Some(service), Some((port, declared))) = (&destination.service, destination.requests) {
            let asked = (service.clone(), port, declared);
            return self.by_requests(app, asked, (destination.endpoint, client), record).await;
        }
        match &destination.workload {
            Some(workload) if workload.enrolled && !self.pod.is_at(destination.endpoint.ip()) => {
                record.path = Path::Tunnel;
                self.through_tunnel(app, workload, destination, client, record).await
            }
            Some(_) => {
                record.path = Path::Proxy;
                self.in_plaintext(app, destination.endpoint, record).await
            }
            // Known to the mesh when it was captured, and to nobody now: gone, or claimed by two.
            None => refused(app, Reason::UpstreamUnreachable, "no pod of the mesh has this address alone"),
        }
    }

    /// Request by request, each to where its route says.
    async fn by_requests(
        &self,
        app: &mut TcpStream,
        asked: (NamespacedName, u16, bool),
        (endpoint, client): (EndpointAddr, ClientAddr),
        record: &mut FlowRecord,
    ) -> Outcome {
        self.worker.context.recorder.opened(record);
        self.announced.set(true);
        let requests = Outbound::new((self.worker, self.pod), client, asked, endpoint, record.clone());
        let (read, write) = app.split();
        // Apart, as it is large: a connection that is carried as bytes has no room for it.
        let carrying = Box::pin(requests.carry(read, write));
        let carried = self.worker.until_stopping(&requests.ends, carrying).await;
        (record.bytes_sent, record.bytes_received) = carried.bytes;
        record.protocol = carried.protocol;
        record.tls = requests.tls();
        if record.tls.is_some() {
            record.path = Path::Tunnel;
        }
        if carried.outcome != Outcome::forwarded() {
            let _ = copy::reset(app);
        }
        carried.outcome
    }

    async fn through_tunnel(
        &self,
        app: &mut TcpStream,
        workload: &Workload,
        destination: &Destination,
        client: ClientAddr,
        record: &mut FlowRecord,
    ) -> Outcome {
        let context = &self.worker.context;
        let credentials = match self.worker.credentials(self.pod).await {
            Ok(credentials) => credentials,
            Err(error) => return refused(app, Reason::NoCertificate, &error.to_string()),
        };
        let key = PoolKey {
            source: self.pod.identity.clone(),
            source_pod: self.pod.uid.clone(),
            destination: SocketAddr::new(destination.endpoint.ip(), TUNNEL_PORT),
            expected: workload.identity.clone(),
        };
        let request = request(context, self.pod, destination.endpoint, client);
        let connect = || dial::connect_tunnel(context.sockets.clone(), self.pod.clone(), key.destination);
        let opened = self.worker.pool.open(&key, &credentials, connect, &request).await;
        let (mut stream, tls) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = copy::reset(app);
                return outcome::of_tunnel_error(&error);
            }
        };
        record.connect_us = Some(self.age_us());
        record.tls = Some(TlsInfo {
            version: tls.version.trim_start_matches("TLSv").into(),
            group: tls.group.into(),
            peer: Some(workload.identity.to_string().into()),
        });
        let (recorder, opened, announced) =
            (context.recorder.clone(), record.clone(), self.announced.clone());
        stream.when_accepted(move || {
            recorder.opened(&opened);
            announced.set(true);
        });
        outcome::of_copy(&copy::through_tunnel(app, &mut stream, self.counters).await)
    }

    /// To a pod outside the mesh that a service chose, or to the pod itself.
    async fn in_plaintext(
        &self,
        app: &mut TcpStream,
        endpoint: EndpointAddr,
        record: &mut FlowRecord,
    ) -> Outcome {
        let context = &self.worker.context;
        let limit = context.options.dial_timeout;
        let dialled =
            dial::connect_within(limit, context.sockets.clone(), self.pod.clone(), endpoint.socket()).await;
        let mut upstream = match dialled {
            Ok(upstream) => upstream,
            Err(error) => return refused(app, error.reason(), &error.to_string()),
        };
        record.connect_us = Some(self.age_us());
        context.recorder.opened(record);
        self.announced.set(true);
        outcome::of_copy(&copy::plain(app, &mut upstream, self.counters).await)
    }

    /// Microseconds since the application's connect(2).
    fn age_us(&self) -> u64 {
        monotonic_ns().saturating_sub(self.redirected.started_ns) / 1000
    }
}

/// The application's end is reset: it must not take silence for an answer.
fn refused(app: &TcpStream, reason: Reason, detail: &str) -> Outcome {
    let _ = copy::reset(app);
    match reason {
        Reason::PolicyDenied => Outcome::denied(reason, detail, None),
        _ => Outcome::failed(reason, detail),
    }
}

/// Somebody dialled the listener itself; it carries nothing.
fn not_redirected(context: &Context, pod: &LocalPod, app: &TcpStream, client: ClientAddr) {
    let _ = copy::reset(app);
    count(&context.counters.not_redirected);
    let snapshot = context.snapshot.load();
    let source = match snapshot.workload(&pod.key) {
        Some(workload) => report::workload(workload, Some(client.socket())),
        None => report::stranger(client.socket()),
    };
    let to = app.local_addr().map(crate::addr::canonical).map(report::stranger).unwrap_or_default();
    let mut record = FlowRecord::new(
        SystemTime::now(),
        context.node.clone(),
        Direction::Outbound,
        (source, to),
        Path::Proxy,
        Verdict::Denied,
    );
    let words = "somebody in the pod dialled the agent's listener itself";
    Outcome::denied(Reason::NotRedirected, words, None).write(&mut record);
    context.recorder.record(record);
}

/// The endpoint, whose it is, and the service by which it was dialled. The kernel has chosen one; the
/// snapshot is asked again only when that one has gone meanwhile.
fn destination(snapshot: &Snapshot, pod: &LocalPod, redirected: Redirected) -> Destination {
    let original = redirected.original;
    let by_service = snapshot.service_by_address(original.ip(), original.port());
    let mut endpoint = redirected.endpoint;
    let mut workload = snapshot.workload_by_address(endpoint.ip()).cloned();
    if workload.is_none()
        && let Some((_, port)) = by_service
        && let Some(other) = port.endpoints.iter().find(|other| {
            other.ip().is_ipv4() == original.ip().is_ipv4()
                && snapshot.workload_by_address(other.ip()).is_some()
        })
    {
        endpoint = *other;
        workload = snapshot.workload_by_address(other.ip()).cloned();
    }
    let requests =
        by_service.and_then(|(service, port)| match snapshot.layer7(&pod.key.namespace, service, port) {
            Layer7::Off => None,
            Layer7::Declared(_) => Some((port.port, true)),
            Layer7::Asked => Some((port.port, false)),
        });
    Destination { endpoint, workload, service: by_service.map(|(service, _)| service.key.clone()), requests }
}

/// The pod's own address in place of the loopback address that redirection gave the socket.
fn own_address(pod: &LocalPod, client: ClientAddr, to: SocketAddr) -> SocketAddr {
    if !client.ip().is_loopback() {
        return client.socket();
    }
    let own = pod.addresses.iter().find(|address| address.is_ipv4() == to.is_ipv4());
    SocketAddr::new(own.copied().unwrap_or(client.ip()), client.port())
}

fn begin(
    context: &Context,
    snapshot: &Snapshot,
    pod: &LocalPod,
    client: ClientAddr,
    destination: &Destination,
) -> FlowRecord {
    let source = match snapshot.workload(&pod.key) {
        Some(workload) => report::workload(workload, Some(client.socket())),
        None => report::identity(&pod.identity, client.socket()),
    };
    let to = match &destination.workload {
        Some(workload) if workload.enrolled => {
            report::workload(workload, Some(destination.endpoint.socket()))
        }
        Some(workload) => report::unproved(workload, destination.endpoint.socket()),
        None => report::stranger(destination.endpoint.socket()),
    };
    let to = report::by_service(to, destination.service.as_ref());
    FlowRecord::new(
        SystemTime::now(),
        context.node.clone(),
        Direction::Outbound,
        (source, to),
        Path::Proxy,
        Verdict::Forwarded,
    )
}

fn finish(context: &Context, record: FlowRecord, outcome: Outcome) {
    context.recorder.record(ended(record, outcome));
}

fn ended(mut record: FlowRecord, outcome: Outcome) -> FlowRecord {
    record.time = SystemTime::now();
    outcome.write(&mut record);
    record
}

pub(super) fn request(
    context: &Context,
    pod: &LocalPod,
    endpoint: EndpointAddr,
    client: ClientAddr,
) -> ConnectRequest {
    let snapshot = context.snapshot.load();
    let mut baggage = Baggage {
        cluster: Some(context.cluster.clone()),
        namespace: Some(pod.key.namespace.clone()),
        ..Baggage::default()
    };
    if let Some(workload) = snapshot.workload(&pod.key) {
        let canonical = crate::flows::record::Canonical::new(&workload.labels, &workload.owner);
        baggage.workload = Some((workload_type(workload.owner_kind), workload.owner.clone()));
        baggage.service = Some(canonical.service);
        baggage.version = Some(canonical.revision);
    }
    if let Some(node) = snapshot.node(&context.node) {
        baggage.region = node.region.clone();
        baggage.zone = node.zone.clone();
    }
    let mut request = ConnectRequest::new(endpoint.socket()).forwarded_for(client.ip());
    request.baggage = baggage;
    request
}

fn workload_type(kind: &str) -> WorkloadType {
    match kind {
        "deployment" => WorkloadType::Deployment,
        "job" => WorkloadType::Job,
        "cronjob" => WorkloadType::CronJob,
        _ => WorkloadType::Pod,
    }
}
