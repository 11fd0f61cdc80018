//! A client's connection, whatever version it speaks, from its first request to its end.
//!
//! Entry points: [`serve`], and [`Ends`], by which a connection is ended between two requests.

use std::cell::Cell;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};

use super::{app::App, h1, h2, io::End, sniff::Protocol};

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Served {
    /// As HTTP ends.
    Clean,
    /// One end broke off, or nothing came in time.
    Broken(String),
}

/// Says that a connection is to end when what is under way on it is over: the client comes again on a new one, for
/// which other things may hold.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Ends {
    set: Cell<bool>,
    told: Notify,
}

impl Ends {
    /// Ends the connection at its next boundary.
    pub(in crate::proxy) fn set(&self) {
        self.set.set(true);
        self.told.notify_waiters();
    }

    /// Whether it is to end.
    pub(super) fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until it is to end.
    pub(super) async fn wait(&self) {
        while !self.set.get() {
            self.told.notified().await;
        }
    }
}

/// Serves `client`, who speaks `protocol`, until its connection ends; with it, the protocol's word in records.
pub(super) async fn serve<R, W>(
    protocol: Protocol,
    client: &mut End<R, W>,
    app: &impl App,
    ends: &Ends,
) -> (Served, &'static str)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match protocol {
        Protocol::Http2 => (h2::serve(client, app, ends).await, "http/2"),
        Protocol::Http1 | Protocol::Other => (h1::serve(client, app, ends).await, "http/1.1"),
    }
}
