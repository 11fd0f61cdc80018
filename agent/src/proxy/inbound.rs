//! A connection that comes to a pod of this node: through the tunnel with a verified identity, or in
//! plaintext with none. Identity → destination → decision → application → copy → record.
//!
//! Entry points: [`tunnel`] for a session, [`plaintext`] for a connection.

mod records;

use std::{
    cell::Cell,
    net::SocketAddr,
    os::fd::AsFd,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use tokio::net::TcpStream;

use super::{
    context::{Context, Worker, count},
    copy::{self, Counters},
    dial,
    http::{Client, inbound as http},
    judge,
    live::{Guard, Subject},
    outcome::{self, Outcome},
    pod::LocalPod,
};
use crate::{
    addr::{ClientAddr, EndpointAddr},
    flows::record::{Direction, FlowRecord, Path, PolicyRef, Reason, TlsInfo, Verdict},
    identity::Identity,
    policy::{ConnectionDecision, Decision},
    state::{
        Snapshot,
        model::{Mtls, Workload},
    },
    tunnel::{
        Incoming, Refusal, RefusalStatus, ServerOptions, SessionError, TUNNEL_PORT, Windows,
        serve as serve_tunnel,
    },
};
use records::{begin, close, finish, own, stranger};

/// How long the sessions of a pod that is no longer captured have to end. Its namespace may have been cut
/// off from everyone, and is not held until somebody answers.
const RELEASE: Duration = Duration::from_millis(500);

/// How long those of a pod that left the mesh have: until their streams have ended.
const LEFT: Duration = Duration::from_secs(365 * 86_400);

/// How long those go on as they were. One that was taken in as the last would have to turn its first stream away.
const WORD: Duration = Duration::from_secs(1);

/// Takes one session in on `pod`'s tunnel port, and each of its streams as a connection.
pub async fn tunnel(worker: Rc<Worker>, pod: Arc<LocalPod>, socket: TcpStream, peer: ClientAddr) {
    let context = worker.context.clone();
    let Some(session) = pod.session(context.options.sessions_per_pod) else {
        count(&context.counters.limited);
        return;
    };
    let credentials = match worker.credentials(&pod).await {
        Ok(credentials) => credentials,
        Err(error) => {
            tracing::debug!(pod = %pod.key, %peer, %error, "a session found no certificate");
            return;
        }
    };
    let config = match worker.tls.server(&credentials) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(pod = %pod.key, %error, "the pod's certificate cannot be used");
            return;
        }
    };
    let (stopping, left, released) = (worker.stopping(), pod.left(), pod.released());
    let drain = context.options.server.drain;
    let left = async move {
        if left.await {
            return RELEASE;
        }
        tokio::time::sleep(WORD).await;
        LEFT
    };
    let stopping = async move {
        tokio::select! {
            () = stopping => drain,
            limit = left => limit,
        }
    };
    // One that was given more time has no more than others from then on.
    let released = async move {
        released.await;
        tokio::time::sleep(2 * RELEASE).await;
    };
    let handler = |incoming: Incoming| stream(worker.clone(), pod.clone(), incoming, peer);
    let options =
        ServerOptions { windows: Windows::of_nth(session.others()), ..context.options.server.clone() };
    let served = tokio::select! {
        served = serve_tunnel(socket, config, &options, stopping, handler) => served,
        () = released => Ok(()),
    };
    if let Err(error) = served {
        refused_session(&context, &pod, peer, &error);
    }
}

fn refused_session(context: &Context, pod: &LocalPod, peer: ClientAddr, error: &SessionError) {
    let word = error.word();
    if let Some(index) = SessionError::WORDS.iter().position(|known| *known == word) {
        context.counters.sessions_refused[index].fetch_add(1, Ordering::Relaxed);
    }
    tracing::debug!(pod = %pod.key, %peer, %error, "a tunnel session was refused");
    // A session that broke after its handshake has had its streams recorded one by one.
    if matches!(error, SessionError::Gone(_) | SessionError::Protocol(_)) {
        return;
    }
    let snapshot = context.snapshot.load();
    let destination = SocketAddr::new(pod.addresses.first().copied().unwrap_or(peer.ip()), TUNNEL_PORT);
    let mut record = FlowRecord::new(
        SystemTime::now(),
        context.node.clone(),
        Direction::Inbound,
        (stranger(&snapshot, peer), own(&snapshot, pod, destination)),
        Path::Tunnel,
        Verdict::Failed,
    );
    Outcome::failed(Reason::TlsFailed, error.to_string()).write(&mut record);
    context.recorder.record(record);
}

/// One connection in a session.
async fn stream(worker: Rc<Worker>, pod: Arc<LocalPod>, incoming: Incoming, peer: ClientAddr) {
    let context = worker.context.clone();
    let began = Instant::now();
    let snapshot = context.snapshot.load_full();
    let authority = EndpointAddr::new(incoming.request.authority);
    let identity = incoming.peer.clone();
    let mut record = begin(&context, &snapshot, &pod, Some(&identity), peer, authority, Path::Tunnel);
    record.tls = Some(TlsInfo {
        version: incoming.tls.version.trim_start_matches("TLSv").into(),
        group: incoming.tls.group.into(),
        peer: Some(identity.to_string().into()),
    });
    // No relay: a pod's tunnel port leads to that pod and nowhere else.
    if !pod.addresses.contains(&authority.ip()) || authority.port() == TUNNEL_PORT {
        let words = format!("{authority} is not {}'s", pod.key);
        incoming.refuse(&Refusal::new(RefusalStatus::BadRequest, Reason::RelayRefused.word()));
        return finish(&context, record, began, Outcome::denied(Reason::RelayRefused, words, None));
    }
    let requests = incoming.request.requests;
    let arrival = Arrival { worker: &worker, pod: &pod, source: Some(identity), peer, authority, requests };
    let (guard, counters) = match arrival.admit(&snapshot, &mut record) {
        Ok(admitted) => admitted,
        Err(refused) => {
            let (outcome, refusal) = *refused;
            incoming.refuse(&refusal);
            return finish(&context, record, began, outcome);
        }
    };
    if guard.looks_at_requests {
        let mut stream = match incoming.accept() {
            Ok(stream) => stream,
            Err(error) => return finish(&context, record, began, outcome::of_tunnel_error(&error)),
        };
        context.recorder.opened(&record);
        let requests = arrival.requests(&record, &guard);
        // Apart, as it is large: a connection that is carried as bytes has no room for it.
        let carrying = Box::pin(requests.over_tunnel(&mut stream));
        let carried = tokio::select! {
            carried = worker.until_stopping(&requests.ends, carrying) => Ok(carried),
            ending = guard.entry.ended() => Err(ending),
        };
        let outcome = match carried {
            Ok(carried) => {
                (record.bytes_sent, record.bytes_received) = carried.bytes;
                record.protocol = carried.protocol;
                if carried.outcome != Outcome::forwarded() {
                    stream.reset();
                }
                carried.outcome
            }
            Err(ending) => {
                match ending.reason {
                    Reason::NoLongerAllowed => stream.withdraw(),
                    _ => stream.reset(),
                }
                outcome::of_ending(&ending)
            }
        };
        return close(&context, record, began, outcome);
    }
    let mut app = match arrival.dial().await {
        Ok(app) => app,
        Err(error) => {
            incoming.refuse(&Refusal::new(RefusalStatus::Unavailable, error.reason().word()));
            return finish(&context, record, began, Outcome::failed(error.reason(), error.to_string()));
        }
    };
    record.connect_us = Some(began.elapsed().as_micros() as u64);
    let outcome = match incoming.accept() {
        Ok(mut stream) => {
            context.recorder.opened(&record);
            tokio::select! {
                copied = copy::through_tunnel(&mut app, &mut stream, &counters) => outcome::of_copy(&copied),
                ending = guard.entry.ended() => {
                    let _ = copy::reset(&app);
                    match ending.reason {
                        Reason::NoLongerAllowed => stream.withdraw(),
                        _ => stream.reset(),
                    }
                    outcome::of_ending(&ending)
                }
            }
        }
        Err(error) => {
            let _ = copy::reset(&app);
            return finish(&context, record, began, outcome::of_tunnel_error(&error));
        }
    };
    // Towards the application is what the source sent.
    record.bytes_sent = counters.received();
    record.bytes_received = counters.sent();
    close(&context, record, began, outcome);
}

/// One plaintext connection that the kernel could not judge alone.
pub async fn plaintext(worker: Rc<Worker>, pod: Arc<LocalPod>, mut client: TcpStream, peer: ClientAddr) {
    let context = worker.context.clone();
    let began = Instant::now();
    // The kernel's own account of this socket is ours to give.
    let _ = context.sockets.tag(client.as_fd());
    let snapshot = context.snapshot.load_full();
    let Ok(local) = client.local_addr() else { return };
    let authority = EndpointAddr::new(local);
    let mut record = begin(&context, &snapshot, &pod, None, peer, authority, Path::Proxy);
    if !pod.addresses.contains(&authority.ip()) {
        let _ = copy::reset(&client);
        let words = "somebody in the pod dialled the agent's listener itself";
        return finish(&context, record, began, Outcome::denied(Reason::NotRedirected, words, None));
    }
    let arrival = Arrival { worker: &worker, pod: &pod, source: None, peer, authority, requests: false };
    let (guard, counters) = match arrival.admit(&snapshot, &mut record) {
        Ok(admitted) => admitted,
        Err(refused) => {
            let _ = copy::reset(&client);
            return finish(&context, record, began, refused.0);
        }
    };
    if guard.looks_at_requests {
        context.recorder.opened(&record);
        let requests = arrival.requests(&record, &guard);
        let carrying = Box::pin(requests.in_plaintext(&mut client));
        let outcome = tokio::select! {
            carried = worker.until_stopping(&requests.ends, carrying) => {
                (record.bytes_sent, record.bytes_received) = carried.bytes;
                record.protocol = carried.protocol;
                carried.outcome
            }
            ending = guard.entry.ended() => outcome::of_ending(&ending),
        };
        if outcome != Outcome::forwarded() {
            let _ = copy::reset(&client);
        }
        return close(&context, record, began, outcome);
    }
    let mut app = match arrival.dial().await {
        Ok(app) => app,
        Err(error) => {
            let _ = copy::reset(&client);
            return finish(&context, record, began, Outcome::failed(error.reason(), error.to_string()));
        }
    };
    record.connect_us = Some(began.elapsed().as_micros() as u64);
    context.recorder.opened(&record);
    let outcome = tokio::select! {
        copied = copy::plain(&mut client, &mut app, &counters) => outcome::of_copy(&copied),
        ending = guard.entry.ended() => {
            let _ = (copy::reset(&client), copy::reset(&app));
            outcome::of_ending(&ending)
        }
    };
    record.bytes_sent = counters.sent();
    record.bytes_received = counters.received();
    close(&context, record, began, outcome);
}

/// A connection before it is let in.
struct Arrival<'a> {
    worker: &'a Rc<Worker>,
    pod: &'a Arc<LocalPod>,
    source: Option<Identity>,
    peer: ClientAddr,
    authority: EndpointAddr,
    /// Whether it is said to carry requests.
    requests: bool,
}

impl Arrival<'_> {
    /// Judges the connection; admitted, it is live from now on.
    fn admit(
        &self,
        snapshot: &Snapshot,
        record: &mut FlowRecord,
    ) -> Result<(Admitted, Counters), Box<(Outcome, Refusal)>> {
        let workload = snapshot.workload(&self.pod.key);
        let workload = workload.ok_or_else(|| unavailable("the pod is no longer known"))?;
        if self.source.is_none() && workload.mtls == Mtls::Strict {
            let words = "the workload takes no plaintext";
            let refusal = Refusal::new(RefusalStatus::Unauthorized, Reason::PlaintextRefused.word());
            return Err(Box::new((Outcome::denied(Reason::PlaintextRefused, words, None), refusal)));
        }
        let decided = self.decide(snapshot, workload);
        // Whoever sends requests knows that they are, and may have heard of a route before this node has.
        let declared = || self.requests || snapshot.declared_at(workload, self.authority.port()).is_some();
        let looks_at_requests = match decided {
            ConnectionDecision::PerRequest => true,
            ConnectionDecision::Allowed(_) => declared(),
            ConnectionDecision::Denied(_) => false,
        };
        if let ConnectionDecision::Allowed(decision) | ConnectionDecision::Denied(decision) = decided {
            record.judged_here = true;
            record.policy = decision.by.as_ref().map(PolicyRef::from);
            record.audit = decision.audit.first().map(PolicyRef::from);
            if !decision.allowed {
                return Err(denied(&decision));
            }
            if record.audit.is_some() {
                record.verdict = Verdict::Audited;
            }
        }
        let Some(place) = self.pod.place() else {
            count(&self.worker.context.counters.limited);
            let refusal = Refusal::new(RefusalStatus::Unavailable, Reason::LimitReached.word());
            let outcome = Outcome::failed(Reason::LimitReached, "the pod has too many connections");
            return Err(Box::new((outcome, refusal)));
        };
        let by_request = Rc::new(Cell::new(looks_at_requests));
        let guard = self.worker.live.enter(Subject::Inbound {
            pod: self.pod.clone(),
            source: self.source.clone(),
            address: self.peer.ip(),
            port: self.authority.port(),
            by_request: by_request.clone(),
        });
        Ok((Admitted { guard, looks_at_requests, by_request, _place: place }, Counters::default()))
    }

    /// The same connection, to be judged request by request.
    fn requests(&self, record: &FlowRecord, admitted: &Admitted) -> http::Inbound<'_> {
        http::Inbound {
            worker: self.worker,
            pod: self.pod,
            source: self.source.as_ref(),
            peer: self.peer,
            authority: self.authority,
            client: Client::new(self.peer.ip(), self.source.as_ref()),
            record: record.clone(),
            by_request: admitted.by_request.clone(),
            ends: Rc::default(),
            // No state of the cluster has this number.
            limits: std::cell::RefCell::new((u64::MAX, Vec::new())),
        }
    }

    fn decide(&self, snapshot: &Snapshot, workload: &Workload) -> ConnectionDecision {
        judge::inbound(snapshot, workload, self.source.as_ref(), self.peer.ip(), self.authority.port())
    }

    /// From inside the pod to itself, which steering lets through.
    async fn dial(&self) -> Result<TcpStream, dial::DialError> {
        let context = &self.worker.context;
        let limit = context.options.dial_timeout;
        let to = self.authority.socket();
        dial::connect_within(limit, context.sockets.clone(), self.pod.clone(), to).await
    }
}

struct Admitted {
    guard: Guard,
    /// Whether policy has to see each request.
    looks_at_requests: bool,
    /// Whether it does; changed when the connection turns out to carry none.
    by_request: Rc<Cell<bool>>,
    _place: super::pod::Place,
}

impl std::ops::Deref for Admitted {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

fn denied(decision: &Decision) -> Box<(Outcome, Refusal)> {
    let words = decision.by.as_ref().map(ToString::to_string).unwrap_or_default();
    let policy = decision.by.as_ref().map(PolicyRef::from);
    let refusal = Refusal::new(RefusalStatus::Unauthorized, Reason::PolicyDenied.word()).by(words.clone());
    Box::new((Outcome::denied(Reason::PolicyDenied, words, policy), refusal))
}

fn unavailable(words: &str) -> Box<(Outcome, Refusal)> {
    let refusal = Refusal::new(RefusalStatus::Unavailable, Reason::UpstreamUnreachable.word());
    Box::new((Outcome::failed(Reason::UpstreamUnreachable, words), refusal))
}
