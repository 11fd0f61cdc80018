//! The task that asks the CA: what is due, in which order, and how many at a time.
//!
//! Entry point: [`spawn`]. Each request is a task of its own, so that one that panics costs one attempt.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    Shared,
    issuance::{Attempt, Obtained},
    schedule,
    slot::{Next, SlotState},
};
use crate::{
    ca::{self, CaError, CertificateAuthority},
    identity::Identity,
};

/// Over how long the renewals are spread when roots have changed: all nodes hear of it at once.
const SPREAD: Duration = Duration::from_secs(60);
/// The time of day may be set, and a machine may sleep: due times are looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The running task; ends it when dropped. Whoever waits is told that the agent is stopping.
#[must_use = "the certificates' task ends when this is dropped"]
pub struct CertificatesTask(JoinHandle<()>);

impl CertificatesTask {
    /// Ends the task and waits until it has.
    pub async fn stop(mut self) {
        self.0.abort();
        let _aborted = (&mut self.0).await;
    }
}

impl Drop for CertificatesTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn spawn(ca: Arc<dyn CertificateAuthority>, shared: Arc<Shared>) -> CertificatesTask {
    let stop = StopOnDrop(Arc::clone(&shared));
    let generations = ca.generations();
    let mut task = Task { shared, ca, generations, requests: JoinSet::new(), asked: HashMap::new() };
    CertificatesTask(tokio::spawn(async move {
        let _stop = stop;
        task.run().await;
    }))
}

/// Whether it has changed, or cannot any more.
async fn changed(generations: &mut Option<watch::Receiver<u64>>) -> bool {
    match generations {
        Some(generations) => generations.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// However the task ends, nobody waits for it any more.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Task {
    shared: Arc<Shared>,
    ca: Arc<dyn CertificateAuthority>,
    /// Until it cannot change any more.
    generations: Option<watch::Receiver<u64>>,
    requests: JoinSet<Result<Obtained, CaError>>,
    /// For whom each running request is.
    asked: HashMap<Id, Identity>,
}

impl Task {
    async fn run(&mut self) {
        loop {
            let idle = self.ask_for_what_is_due();
            tokio::select! {
                Some(done) = self.requests.join_next_with_id() => self.done(done),
                () = self.shared.wake.notified() => {}
                changed = changed(&mut self.generations) => match changed {
                    true => self.renew_all(),
                    false => self.generations = None,
                },
                () = tokio::time::sleep(idle) => {}
            }
        }
    }

    /// Starts as many requests as the bound allows, those first that somebody waits for, then the longest
    /// due; says how long there is nothing more to do.
    fn ask_for_what_is_due(&mut self) -> Duration {
        let options = &self.shared.options;
        let now = options.clock.now();
        let asked: HashSet<&Identity> = self.asked.values().collect();
        let mut idle = LONGEST_SLEEP;
        let mut due = Vec::new();
        for (identity, slot) in self.shared.slots() {
            let due_in = slot.due_in(now, options.longest_pause_while_waited_for);
            if asked.contains(&identity) {
                continue;
            } else if due_in.is_zero() {
                let expires = slot.state.borrow().obtained.as_ref().map(|o| o.credentials.not_after);
                due.push((Reverse(slot.is_waited_for()), expires, identity));
            } else {
                idle = idle.min(due_in);
            }
        }
        due.sort();
        let room = options.concurrency.max(1).saturating_sub(self.asked.len());
        for (.., identity) in due.into_iter().take(room) {
            self.ask(identity);
        }
        idle
    }

    /// Peers may soon have certificates of another root: each certificate is asked for again, with the roots of now.
    fn renew_all(&self) {
        let now = self.shared.options.clock.now();
        for (_, slot) in self.shared.slots() {
            slot.state.send_modify(|state| {
                match &mut state.next {
                    Next::At(at) => *at = (*at).min(now + SPREAD.mul_f64(ca::fraction())),
                    // It may have failed for want of roots.
                    next => *next = Next::Now,
                }
            });
        }
    }

    fn ask(&mut self, identity: Identity) {
        let (ca, limit, clock) =
            (Arc::clone(&self.ca), self.shared.options.request_limit, self.shared.options.clock.clone());
        let whose = identity.clone();
        let request = self.requests.spawn(async move {
            let (attempt, request) = Attempt::new(identity)?;
            let issued = tokio::time::timeout(limit, ca.issue(request))
                .await
                .map_err(|_| CaError::Unreachable(format!("no answer within {limit:?}")))??;
            attempt.accept(issued, clock.now())
        });
        self.asked.insert(request.id(), whose);
    }

    fn done(&mut self, done: Result<(Id, Result<Obtained, CaError>), JoinError>) {
        let (id, result) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Err(CaError::Invalid("the request ended in a panic".into()))),
        };
        let Some(identity) = self.asked.remove(&id) else { return };
        match &result {
            Ok(_) => self.shared.counters.issued.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.shared.counters.failed.fetch_add(1, Ordering::Relaxed),
        };
        // Not wanted any more: the key is dropped with its certificate.
        let Some(slot) = self.shared.slot(&identity) else { return };
        match result {
            Ok(obtained) => {
                tracing::debug!(%identity, serial = %obtained.serial, "certificate obtained");
                slot.state.send_modify(|state| self.obtained(state, obtained));
            }
            Err(error) => {
                slot.state.send_modify(|state| self.failed(&identity, state, error));
            }
        }
    }

    fn obtained(&self, state: &mut SlotState, obtained: Obtained) {
        let now = self.shared.options.clock.now();
        let at = schedule::renewal(now, obtained.credentials.not_after, ca::fraction());
        state.next = Next::At(at);
        state.renewals += u64::from(state.obtained.is_some());
        state.obtained = Some(obtained);
        state.last_error = None;
        state.failures = 0;
    }

    fn failed(&self, identity: &Identity, state: &mut SlotState, error: CaError) {
        let options = &self.shared.options;
        state.failures = state.failures.saturating_add(1);
        // Said again when it changes, and ever more rarely while it does not.
        if state.failures.is_power_of_two() || state.last_error.as_ref() != Some(&error) {
            tracing::warn!(%identity, failures = state.failures, %error, "no certificate");
        }
        let pause =
            schedule::pause(state.failures, options.first_pause, options.longest_pause, ca::fraction());
        state.next = Next::After { failed: Instant::now(), pause };
        state.last_error = Some(error);
    }
}
