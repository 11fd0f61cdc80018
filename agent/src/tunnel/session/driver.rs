//! What both ends' sessions do besides streams: move bytes once per turn, and notice a peer that is gone.
//!
//! Entry points: [`drive`] and [`Health`].

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use h2::PingPong;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::tunnel::tls_stream::{Shared, Side, Wire};

/// Polls HTTP/2, then writes all that it made in this turn at once, until `poll` is ready.
pub(in crate::tunnel) async fn drive<S: Side, T>(
    tls: &Shared<S>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> T {
    poll_fn(|cx| poll_turn(tls, &mut poll, cx)).await
}

/// One turn; the socket's errors reach HTTP/2 through its reads, so they are not told twice.
pub(in crate::tunnel) fn poll_turn<S: Side, T>(
    tls: &Shared<S>,
    poll: &mut impl FnMut(&mut Context<'_>) -> Poll<T>,
    cx: &mut Context<'_>,
) -> Poll<T> {
    let _: Poll<io::Result<bool>> = tls.poll_send(cx);
    loop {
        let polled = poll(cx);
        let has_room = matches!(tls.poll_send(cx), Poll::Ready(Ok(true)));
        if polled.is_ready() || !has_room {
            return polled;
        }
    }
}

/// How often and how long a peer is asked whether it is there.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct HealthOptions {
    /// A peer with open streams that was silent for so long is asked.
    pub(in crate::tunnel) interval: Duration,
    /// A peer that does not answer for so long is gone.
    pub(in crate::tunnel) timeout: Duration,
}

/// Whether the peer is there, by HTTP/2 PING (RFC 9113 §6.7).
pub(in crate::tunnel) struct Health {
    wire: Rc<Wire>,
    failed: Cell<bool>,
    wanted: Notify,
    answered: Notify,
}

impl Health {
    pub(in crate::tunnel) fn new(wire: Rc<Wire>) -> Self {
        Self { wire, failed: Cell::new(false), wanted: Notify::new(), answered: Notify::new() }
    }

    /// Asks the peer; whether it answered within `limit`.
    pub(in crate::tunnel) async fn probe(&self, limit: Duration) -> bool {
        let answered = self.answered.notified();
        self.wanted.notify_one();
        !self.failed.get() && timeout(limit, answered).await.is_ok() && !self.failed.get()
    }

    /// Tells those who ask that there will be no answer.
    pub(in crate::tunnel) fn fail(&self) {
        self.failed.set(true);
        self.answered.notify_waiters();
    }

    /// Asks when somebody wants it, and when a session that is `busy` has been silent; ends when the peer
    /// does not answer.
    pub(in crate::tunnel) async fn watch(
        &self,
        ping_pong: Option<PingPong>,
        options: HealthOptions,
        busy: impl Fn() -> bool,
    ) {
        // Taken once per connection, so it is always there; without it there is nothing to watch.
        let Some(mut ping_pong) = ping_pong else { return std::future::pending().await };
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                () = sleep(options.interval) => {
                    if !busy() || self.wire.quiet_for() < options.interval {
                        continue;
                    }
                }
            }
            if !matches!(timeout(options.timeout, ping_pong.ping(h2::Ping::opaque())).await, Ok(Ok(_))) {
                return;
            }
            self.answered.notify_waiters();
        }
    }
}
