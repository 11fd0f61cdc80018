//! The sessions of one key.
//!
//! Entry point: [`Entry`].

use std::{rc::Rc, sync::Arc};

use tokio::sync::watch;

use crate::{
    identity::Credentials,
    tunnel::{
        error::TunnelError,
        session::{Place, Session},
    },
};

type Outcome = Option<Result<(), TunnelError>>;

/// Sessions in the order in which they came about, and the handshake under way.
#[derive(Default)]
pub(super) struct Entry {
    sessions: Vec<Rc<Session>>,
    connecting: Option<watch::Receiver<Outcome>>,
}

impl Entry {
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Rc<Session>> {
        self.sessions.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.connecting.is_none()
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// Sessions of other credentials, or that have ended, take no more streams. They end with those they
    /// have, and no longer count here.
    pub(super) fn retire_others(&mut self, credentials: &Arc<Credentials>) {
        self.sessions.retain(|session| {
            let serves = session.serves(credentials);
            if !serves {
                session.retire();
            }
            serves
        });
    }

    /// A place on the first session that has one, so that few sessions are used and the others can idle out.
    pub(super) fn place(&self) -> Option<(Rc<Session>, Place)> {
        self.sessions.iter().find_map(|session| Some((session.clone(), session.place()?)))
    }

    /// The handshake under way, if any.
    pub(super) fn connecting(&self) -> Option<watch::Receiver<Outcome>> {
        // One whose maker is gone is not under way.
        self.connecting.clone().filter(|outcome| outcome.has_changed().is_ok())
    }

    /// Begins a handshake, for which all others wait.
    pub(super) fn connect(&mut self) -> watch::Sender<Outcome> {
        let (done, outcome) = watch::channel(None);
        self.connecting = Some(outcome);
        done
    }

    pub(super) fn add(&mut self, session: Rc<Session>) {
        self.connecting = None;
        self.sessions.push(session);
    }

    pub(super) fn give_up(&mut self) {
        self.connecting = None;
    }

    pub(super) fn remove(&mut self, session: &Rc<Session>) {
        self.sessions.retain(|other| !Rc::ptr_eq(other, session));
    }
}
