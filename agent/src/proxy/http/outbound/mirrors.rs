//! Copies of requests: sent to one endpoint of another Service, answered to nobody.
//!
//! Entry points: [`tap`] for a request, [`Mirrors`] for their number. A copy never delays its original: one whose
//! server does not keep up with the body is given up.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{sync::mpsc, time::timeout};

use super::{
    super::{
        body::Piece,
        exchange::{AnswerOut, BodyIn, BodyOut, Failure, Gone, Look, Progress},
        forward::Client,
        message::{Framing, RequestHead, ResponseHead, Version},
    },
    Outbound, Target,
};
use crate::{
    addr::ClientAddr,
    proxy::{context::Worker, pod::LocalPod},
    state::{Snapshot, routes::Destination},
    traffic::{Outcome, PickContext},
    turns,
};

/// Copies of one pod's requests at a time; more are left out.
const MOST: u32 = 256;
/// Pieces of a body by which a copy may be behind.
const BEHIND: usize = 16;
/// For how long a copy may take.
const TIME: Duration = Duration::from_secs(30);

/// What one worker has of them.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Mirrors {
    /// Copies that a bound left out, or gave up.
    lost: Cell<u64>,
}

impl Mirrors {
    /// Copies that were left out or given up, so far.
    pub(in crate::proxy) fn lost(&self) -> u64 {
        self.lost.get()
    }

    fn lose(&self) {
        self.lost.set(self.lost.get() + 1);
    }
}

/// A body of which copies are made.
pub(super) struct Tapped<B> {
    inner: B,
    taps: Vec<mpsc::Sender<Piece>>,
    worker: Rc<Worker>,
}

impl<B: BodyIn> BodyIn for Tapped<B> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        let piece = ready!(self.inner.poll_piece(cx));
        if let Ok(piece) = &piece {
            let mirrors = &self.worker.mirrors;
            self.taps.retain(|tap| {
                let sent = tap.try_send(piece.clone()).is_ok();
                if !sent {
                    mirrors.lose();
                }
                sent
            });
        }
        Poll::Ready(piece)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        self.inner.poll_gone(cx)
    }

    fn switch(&mut self) {
        self.taps.clear();
        self.inner.switch();
    }
}

/// Sends copies of a request to `destinations`, with what will be read of `body`.
pub(super) fn tap<B: BodyIn>(
    outbound: &Outbound<'_>,
    snapshot: &Arc<Snapshot>,
    destinations: Vec<Destination>,
    head: &RequestHead,
    body: B,
) -> Tapped<B> {
    let mut taps = Vec::new();
    let worker = outbound.worker;
    for destination in destinations {
        let Some(place) = outbound.pod.mirror(MOST) else {
            worker.mirrors.lose();
            continue;
        };
        let (tap, pieces) = mpsc::channel(BEHIND);
        if head.framing != Framing::Empty {
            taps.push(tap);
        }
        let copy = Copy {
            worker: worker.clone(),
            pod: outbound.pod.clone(),
            client: outbound.client,
            snapshot: snapshot.clone(),
            destination,
            head: head.clone(),
        };
        turns::spawn(async move {
            let _place = place;
            let sent = timeout(TIME, copy.send(pieces)).await;
            if sent != Ok(true) {
                copy.worker.mirrors.lose();
            }
        });
    }
    Tapped { inner: body, taps, worker: worker.clone() }
}

struct Copy {
    worker: Rc<Worker>,
    pod: Arc<LocalPod>,
    client: ClientAddr,
    snapshot: Arc<Snapshot>,
    destination: Destination,
    head: RequestHead,
}

impl Copy {
    /// Whether it came to be answered.
    async fn send(&self, pieces: mpsc::Receiver<Piece>) -> bool {
        let (worker, ipv4) = (&self.worker, self.client.ip().is_ipv4());
        let Ok((balancer, _)) = worker.balancers.of(worker, &self.snapshot, &self.destination, ipv4) else {
            return false;
        };
        let picked = {
            let random = &mut worker.random.borrow_mut();
            balancer.pick(PickContext { now: worker.now(), random, hash: None, tried: &[] })
        };
        let Ok(picked) = picked else { return false };
        let Ok(target) = Target::of(&self.snapshot, &self.pod, picked.address()) else { return false };
        let source = (worker, &self.pod, self.client);
        let http2 = self.head.version == Version::Http2;
        let breaker = &balancer.shared().breaker;
        let Ok(Ok(mut lent)) = worker.upstreams.lend(source, &target, (http2, false), breaker).await else {
            return false;
        };
        let mut body = Copied { pieces, empty: self.head.framing == Framing::Empty };
        let mut progress = Progress::default();
        let client = Client::new(self.client.ip(), None);
        let mut pass = |_: &mut ResponseHead| Look::Pass;
        let (relayed, stays) = lent
            .link
            .exchange((&self.head, &client), (&mut body, &mut Nobody), &mut progress, &mut pass)
            .await;
        worker.upstreams.give_back(lent, stays);
        let outcome = match progress.status {
            Some(status) => Outcome::Status(status.as_u16()),
            None => Outcome::Reset,
        };
        picked.finished(worker.now(), outcome);
        relayed.is_ok()
    }
}

/// The body of a copy.
struct Copied {
    pieces: mpsc::Receiver<Piece>,
    empty: bool,
}

impl BodyIn for Copied {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        if self.empty {
            return Poll::Ready(Ok(Piece::End(None)));
        }
        // The original broke off, or left this one behind.
        let broken = || Failure::Client(std::io::ErrorKind::BrokenPipe.into());
        let piece = ready!(self.pieces.poll_recv(cx)).ok_or_else(broken);
        self.empty |= matches!(piece, Ok(Piece::End(_)));
        Poll::Ready(piece)
    }
}

/// Who is interested in the answer to a copy.
struct Nobody;

impl BodyOut for Nobody {
    async fn data(&mut self, _: Bytes) -> Result<(), Failure> {
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn end(&mut self, _: Option<HeaderMap>) -> Result<(), Failure> {
        Ok(())
    }
}

impl AnswerOut for Nobody {
    async fn inform(&mut self, _: &ResponseHead) -> Result<(), Failure> {
        Ok(())
    }

    async fn head(&mut self, _: ResponseHead) -> Result<(), Failure> {
        Ok(())
    }
}
