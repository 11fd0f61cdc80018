//! The connections that one worker carries now, so that they can be counted, judged again and ended.
//!
//! Entry point: [`Live`]. It decides nothing: it is told which to end, and why.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use tokio::sync::Notify;

use super::pod::LocalPod;
use crate::{flows::record::Reason, identity::Identity, policy::PolicyRef, state::model::NamespacedName};

/// Why a connection is ended from our side.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The reason's word.
    pub reason: Reason,
    /// The rule that no longer allows it.
    pub policy: Option<PolicyRef>,
    /// In words.
    pub detail: Arc<str>,
    /// Whether it waits until nothing is under way: what the connection does is still allowed.
    pub gently: bool,
}

/// What has to be known of a connection to judge it again.
#[derive(Clone, Debug)]
pub enum Subject {
    /// From a pod of this node.
    Outbound {
        /// The source.
        pod: Arc<LocalPod>,
        /// The destination pod and who it has to be, when it is in the mesh.
        destination: Option<(NamespacedName, Identity)>,
        /// The Service and port that were dialled, where nobody looks at requests.
        unseen: Option<(NamespacedName, u16)>,
    },
    /// To a pod of this node.
    Inbound {
        /// The destination.
        pod: Arc<LocalPod>,
        /// Who connects, when that is proved.
        source: Option<Identity>,
        /// From where.
        address: IpAddr,
        /// To which port.
        port: u16,
        /// Whether each of its requests is judged for itself.
        by_request: Rc<Cell<bool>>,
    },
}

impl Subject {
    /// The pod of this node.
    pub fn pod(&self) -> &Arc<LocalPod> {
        match self {
            Subject::Outbound { pod, .. } | Subject::Inbound { pod, .. } => pod,
        }
    }
}

/// One worker's connections.
#[derive(Debug, Default)]
pub struct Live {
    entries: RefCell<HashMap<u64, Rc<Entry>>>,
    next: Cell<u64>,
    emptied: Notify,
}

/// One connection.
#[derive(Debug)]
pub struct Entry {
    /// What it is.
    pub subject: Subject,
    ending: RefCell<Option<Ending>>,
    told: Notify,
}

impl Entry {
    /// Waits until somebody ends the connection, and says why.
    pub async fn ended(&self) -> Ending {
        self.ended_as(|_| true).await
    }

    /// As [`Entry::ended`], where a connection that is ended gently first has the time that `rest` takes.
    pub async fn ended_at(&self, rest: impl Future<Output = ()>) -> Ending {
        let ending = self.ended().await;
        if !ending.gently {
            return ending;
        }
        tokio::select! {
            () = rest => ending,
            at_once = self.ended_as(|ending| !ending.gently) => at_once,
        }
    }

    async fn ended_as(&self, wanted: impl Fn(&Ending) -> bool) -> Ending {
        loop {
            let told = self.told.notified();
            if let Some(ending) = self.ending.borrow().clone().filter(&wanted) {
                return ending;
            }
            told.await;
        }
    }

    fn end(&self, ending: &Ending) {
        let mut set = self.ending.borrow_mut();
        if set.as_ref().is_none_or(|set| set.gently && !ending.gently) {
            *set = Some(ending.clone());
            self.told.notify_waiters();
        }
    }
}

/// Takes a connection out of the table when it is over.
#[derive(Debug)]
pub struct Guard {
    live: Rc<Live>,
    id: u64,
    /// The connection's entry.
    pub entry: Rc<Entry>,
}

impl Live {
    /// Enters a connection.
    pub fn enter(self: &Rc<Self>, subject: Subject) -> Guard {
        let id = self.next.get();
        self.next.set(id + 1);
        let entry = Rc::new(Entry { subject, ending: RefCell::new(None), told: Notify::new() });
        self.entries.borrow_mut().insert(id, entry.clone());
        Guard { live: self.clone(), id, entry }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// Waits until there is none.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Ends every connection for which `judge` finds a reason; says how many.
    pub fn end_where(&self, mut judge: impl FnMut(&Subject) -> Option<Ending>) -> usize {
        // Collected first: whoever is told may drop its guard at once.
        let entries: Vec<Rc<Entry>> = self.entries.borrow().values().cloned().collect();
        let mut ended = 0;
        for entry in entries {
            if let Some(ending) = judge(&entry.subject) {
                entry.end(&ending);
                ended += 1;
            }
        }
        ended
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut entries = self.live.entries.borrow_mut();
        entries.remove(&self.id);
        if entries.is_empty() {
            drop(entries);
            self.live.emptied.notify_waiters();
        }
    }
}
