//! A request's tries: endpoint, connection, exchange, and whether there is another one.
//!
//! Entry point: [`Tries::run`]. What is tried again is `traffic`'s to say; here it is carried out.

use std::{cell::Cell, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::{
    super::{
        app::Refused,
        direct::may_repeat,
        exchange::{AnswerOut, BodyIn, Failure, Look, Progress, Relayed, grpc_status},
        kept::Kept,
        message::{Framing, RequestHead, ResponseHead, Version},
    },
    Outbound, Target, filters,
    view::View,
};
use crate::{
    addr::EndpointAddr,
    flows::record::{Reason, TlsInfo},
    proxy::context::Worker,
    state::{
        model::Service,
        routes::{Filters, Timeouts},
    },
    traffic::{Attempt, Balancer, Outcome, PickContext, PickError, Picked, Retry, RetryDecision},
    tunnel::{RefusalStatus, TunnelError},
};

/// What is to be done with a request.
pub(super) struct Tries<'a> {
    pub(super) outbound: &'a Outbound<'a>,
    pub(super) view: &'a View,
    pub(super) balancer: &'a Balancer,
    /// Where requests go.
    pub(super) service: &'a Arc<Service>,
    /// When they are tried again; none: never.
    pub(super) retry: Option<&'a Retry>,
    pub(super) timeouts: Timeouts,
    pub(super) hash: Option<u64>,
    /// What is done to the answer.
    pub(super) filters: &'a [&'a Arc<Filters>],
    pub(super) cors: &'a [(HeaderName, String)],
}

/// What tries came to.
#[derive(Default)]
pub(super) struct Tried {
    /// Tries after the first one.
    pub(super) retries: u32,
    /// Of the last one.
    pub(super) target: Option<Target>,
    pub(super) tls: Option<TlsInfo>,
}

/// One try's end.
struct Ended {
    relayed: Result<Relayed, Failure>,
    /// How long to wait, where another one follows.
    again: Option<Duration>,
}

/// Until when a try may take.
#[derive(Clone, Copy)]
struct Limits {
    /// To the end of the answer, and the time that it is.
    whole: Option<(Instant, Duration)>,
    /// To the answer's head.
    head: Option<(Instant, Duration)>,
}

impl Tries<'_> {
    /// Tries until the request is answered, or is not to be tried again.
    pub(super) async fn run<B: BodyIn>(
        &self,
        head: &RequestHead,
        (body, answer): (&mut Kept<B>, &mut impl AnswerOut),
        progress: &mut Progress,
    ) -> (Result<Result<Relayed, Failure>, Refused>, Tried) {
        let mut tried = Tried::default();
        let ended = self.tried(head, (body, answer), (progress, &mut tried)).await;
        (ended, tried)
    }

    async fn tried<B: BodyIn>(
        &self,
        head: &RequestHead,
        (body, answer): (&mut Kept<B>, &mut impl AnswerOut),
        (progress, tried): (&mut Progress, &mut Tried),
    ) -> Result<Result<Relayed, Failure>, Refused> {
        let began = Instant::now();
        let deadline = wanted(self.timeouts.request).map(|time| (began + time, time));
        let mut been: Vec<EndpointAddr> = Vec::new();
        loop {
            let worker = self.worker();
            let picked = {
                let random = &mut worker.random.borrow_mut();
                self.balancer.pick(PickContext { now: worker.now(), random, hash: self.hash, tried: &been })
            };
            let picked = picked.map_err(|error| self.unpicked(error))?;
            been.push(picked.address());
            let target = Target::of(&self.view.snapshot, self.outbound.pod, picked.address())?;
            tried.target = Some(target.clone());
            let one = wanted(self.timeouts.backend_request).map(|time| (Instant::now() + time, time));
            let per_try = self.retry.and_then(|retry| retry.per_try_timeout);
            let limits = Limits {
                whole: [deadline, one].into_iter().flatten().min_by_key(|(at, _)| *at),
                head: per_try.map(|time| (Instant::now() + time, time)),
            };
            let ended = self.one(head, (body, answer), (progress, tried), (&target, picked, limits)).await?;
            match ended.again.filter(|_| body.rewind()) {
                None => return Ok(ended.relayed),
                Some(wait) => {
                    tokio::time::sleep(wait).await;
                    tried.retries += 1;
                    *progress = Progress::default();
                }
            }
        }
    }

    /// One try at one endpoint.
    async fn one<B: BodyIn>(
        &self,
        head: &RequestHead,
        (body, answer): (&mut Kept<B>, &mut impl AnswerOut),
        (progress, tried): (&mut Progress, &mut Tried),
        (target, picked, limits): (&Target, Picked, Limits),
    ) -> Result<Ended, Refused> {
        let retries = tried.retries;
        let (answered, lost) = (Cell::new(false), body.lost());
        let again = Cell::new(None);
        let outcome = Cell::new(None);
        let relayed = {
            let mut look = |response: &mut ResponseHead| {
                let came = of_answer(head, response);
                let kept = !lost.get();
                picked.responded(self.worker().now());
                let wait = self.again(head, came, (retries, kept), Some(&response.fields), limits);
                if let Some(wait) = wait {
                    outcome.set(Some(came));
                    again.set(Some(wait));
                    return Look::Drop;
                }
                answered.set(true);
                self.adorn(&mut response.fields);
                Look::Pass
            };
            let carried = self.carry(head, (body, answer), (progress, tried), target, &mut look);
            tokio::select! {
                biased;
                carried = carried => carried?,
                late = up(limits, &answered) => Err(Failure::Late(late)),
            }
        };
        let came = outcome.take().unwrap_or_else(|| match &relayed {
            Ok(_) => of_end(head, progress),
            Err(failure) => of_failure(failure, progress),
        });
        picked.finished(self.worker().now(), came);
        let again = again.take().or_else(|| {
            let failed = relayed.is_err() && !progress.begun;
            let kept = !lost.get();
            if failed { self.again(head, came, (retries, kept), None, limits) } else { None }
        });
        Ok(Ended { relayed, again })
    }

    /// The exchange, on a connection that stood or a new one.
    async fn carry<B: BodyIn>(
        &self,
        head: &RequestHead,
        (body, answer): (&mut Kept<B>, &mut impl AnswerOut),
        (progress, tried): (&mut Progress, &mut Tried),
        target: &Target,
        look: &mut dyn FnMut(&mut ResponseHead) -> Look,
    ) -> Result<Result<Relayed, Failure>, Refused> {
        let outbound = self.outbound;
        let source = (outbound.worker, outbound.pod, outbound.client);
        let breaker = &self.balancer.shared().breaker;
        let mut fresh = false;
        loop {
            let http2 = head.version == Version::Http2;
            let lent = self.worker().upstreams.lend(source, target, (http2, fresh), breaker).await;
            let mut lent = match lent.map_err(|bound| self.unpicked(bound.into()))? {
                Ok(lent) => lent,
                Err(failure) => return Ok(Err(failure)),
            };
            tried.tls = lent.tls();
            let reused = lent.reused;
            let request = (head, &outbound.asserted);
            let (relayed, stays) =
                lent.link.exchange(request, (&mut *body, &mut *answer), progress, look).await;
            let broken = matches!(relayed, Err(Failure::Server(_) | Failure::Unseen(_)));
            self.worker().upstreams.give_back(lent, stays && !(broken && http2));
            // A server may close a connection just when a request is on its way (RFC 9112 §9.3.1).
            let unseen = matches!(relayed, Err(Failure::Unseen(_))) && http2;
            let stale = reused && broken && progress.status.is_none() && (may_repeat(&head.method) || unseen);
            if !stale || !body.rewind() {
                return Ok(relayed);
            }
            fresh = true;
        }
    }

    /// How long to wait before another try; none when there is none.
    fn again(
        &self,
        head: &RequestHead,
        outcome: Outcome,
        (retries, body_kept): (u32, bool),
        fields: Option<&HeaderMap>,
        limits: Limits,
    ) -> Option<Duration> {
        let worker = self.worker();
        let retry = self.retry?;
        let now = worker.now();
        let time_left = self
            .timeouts
            .request
            .and(limits.whole)
            .map(|(at, _)| now.after(at.saturating_duration_since(Instant::now())));
        let text = |name| fields.and_then(|fields| filters::text(fields, name));
        let attempt = Attempt {
            now,
            unix_now: std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs(),
            deadline: time_left,
            method: head.method.as_str(),
            grpc: head.is_grpc(),
            body_kept: body_kept || head.framing == Framing::Empty,
            head_sent: false,
            retries,
            outcome,
            retry_after: text("retry-after"),
            grpc_push_back: text("grpc-retry-pushback-ms"),
        };
        match self.balancer.decide(retry, &attempt, &mut worker.random.borrow_mut()) {
            RetryDecision::Retry(wait) => Some(wait),
            RetryDecision::GiveUp(_) => None,
        }
    }

    /// What routes make of an answer.
    fn adorn(&self, fields: &mut HeaderMap) {
        for (name, value) in self.cors {
            let Ok(value) = HeaderValue::try_from(value) else { continue };
            if *name == http::header::VARY {
                fields.append(name, value);
            } else {
                fields.insert(name, value);
            }
        }
        filters::response(self.filters, fields);
    }

    fn unpicked(&self, error: PickError) -> Refused {
        let reason = match error {
            PickError::NoEndpoints => Reason::NoEndpoints,
            PickError::TooMany(_) => Reason::CircuitOpen,
        };
        let words = format!("{}: {error}", self.service.key);
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason, words)
    }

    fn worker(&self) -> &Worker {
        self.outbound.worker
    }
}

/// A time of zero is none (GEP-2257).
fn wanted(time: Option<Duration>) -> Option<Duration> {
    time.filter(|time| !time.is_zero())
}

/// Waits until a try takes too long, and says how long it may take.
async fn up(limits: Limits, answered: &Cell<bool>) -> Duration {
    let head = async {
        match limits.head {
            Some((at, time)) => {
                sleep_until(at).await;
                if answered.get() { std::future::pending().await } else { time }
            }
            None => std::future::pending().await,
        }
    };
    let whole = async {
        match limits.whole {
            Some((at, time)) => {
                sleep_until(at).await;
                time
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        late = head => late,
        late = whole => late,
    }
}

/// What a response's head says of the try.
fn of_answer(head: &RequestHead, response: &ResponseHead) -> Outcome {
    match grpc_status(&response.fields).filter(|_| head.is_grpc()) {
        Some(code) => Outcome::Grpc(code),
        None => Outcome::Status(response.status.as_u16()),
    }
}

fn of_end(head: &RequestHead, progress: &Progress) -> Outcome {
    match (progress.grpc_status.filter(|_| head.is_grpc()), progress.status) {
        (Some(code), _) => Outcome::Grpc(code),
        (None, Some(status)) => Outcome::Status(status.as_u16()),
        (None, None) => Outcome::Reset,
    }
}

fn of_failure(failure: &Failure, progress: &Progress) -> Outcome {
    match (failure, failure.of_tunnel()) {
        // What the destination's node decided is an answer, and the same from every endpoint.
        (_, Some(TunnelError::Refused(refusal))) if refusal.status == RefusalStatus::Unauthorized => {
            Outcome::Status(403)
        }
        (_, Some(TunnelError::Withdrawn)) => Outcome::Status(403),
        (_, Some(TunnelError::Refused(_))) | (Failure::Unconnected(_), _) => Outcome::Connect,
        (Failure::Unseen(_), _) => Outcome::Refused,
        (Failure::Client(_) | Failure::Request(_), _) => Outcome::Cancelled,
        (Failure::Late(_), _) if progress.status.is_none() => Outcome::Timeout,
        (Failure::Late(_) | Failure::Server(_) | Failure::Response(_), _) => Outcome::Reset,
    }
}
