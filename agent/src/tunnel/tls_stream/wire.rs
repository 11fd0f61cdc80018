//! How a session's socket fares: what waits for it, so that streams make no more than it takes, and when
//! the peer was heard last.
//!
//! Entry point: [`Wire`].

use std::{
    cell::{Cell, RefCell},
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::Instant;

/// Encrypted bytes above which streams stop reading from their applications.
const HIGH: usize = 512 * 1024;

/// Shared by a session and its streams; one thread.
pub(in crate::tunnel) struct Wire {
    unsent: Cell<usize>,
    flushes: Cell<u64>,
    /// Writes to the socket, for tests and measurements.
    pub(in crate::tunnel) writes: Cell<u64>,
    heard: Cell<Instant>,
    abandoned: Cell<bool>,
    waiting: RefCell<Vec<(u32, Waker)>>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            unsent: Cell::new(0),
            flushes: Cell::new(0),
            writes: Cell::new(0),
            heard: Cell::new(Instant::now()),
            abandoned: Cell::new(false),
            waiting: RefCell::default(),
        }
    }
}

impl Wire {
    /// For how long nothing came from the peer.
    pub(in crate::tunnel) fn quiet_for(&self) -> Duration {
        self.heard.get().elapsed()
    }

    /// Says that nothing of the session matters any more: its socket is to be closed by a reset, without
    /// waiting for a peer that may never answer.
    pub(in crate::tunnel) fn abandon(&self) {
        self.abandoned.set(true);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    pub(super) fn hear(&self) {
        self.heard.set(Instant::now());
    }

    pub(super) fn set(&self, unsent: usize) {
        self.unsent.set(unsent);
        if unsent == 0 {
            self.flushes.set(self.flushes.get() + 1);
        }
        if unsent == 0 || unsent < HIGH / 2 {
            self.wake();
        }
    }

    /// Wakes everybody who waits; also when the session ends.
    pub(in crate::tunnel) fn wake(&self) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.is_empty() {
            let woken = std::mem::take(&mut *waiting);
            drop(waiting);
            woken.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Whether more should wait.
    pub(in crate::tunnel) fn is_high(&self) -> bool {
        self.unsent.get() > HIGH
    }

    /// How often everything has left; grows.
    pub(in crate::tunnel) fn flushes(&self) -> u64 {
        self.flushes.get()
    }

    /// Wakes the task of stream `id` at the next change for the better.
    pub(in crate::tunnel) fn wait(&self, id: u32, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|(waiter, _)| *waiter == id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => waiting.push((id, cx.waker().clone())),
        }
    }
}
