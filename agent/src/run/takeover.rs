//! One agent after another on the same node: the new one adopts, the old one drains.
//!
//! Entry points: [`certified`], [`Predecessor::find`], [`outlived`]. The new agent asks the old one to leave the kernel alone (SIGUSR2),
//! adopts links and maps and puts its own sockets in place, and then asks it to end (SIGTERM).

use std::{collections::HashSet, os::unix::net::UnixStream, path::Path, time::Duration};

use rustix::{
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};
use tokio::{sync::watch, time::Instant};

use crate::{certs::Certificates, state::Snapshot};

/// How long the predecessor's metrics port is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// How often an agent that was taken over from looks whether its successor is still there.
const LOOK: Duration = Duration::from_millis(500);

/// For how long it may not be there; it binds its port before its socket.
const ALONE: Duration = Duration::from_secs(5);

/// For how long the certificates are waited for with which the next agent goes on.
const CERTIFIED: Duration = Duration::from_secs(10);

/// Waits for the certificates of the node's enrolled pods: who takes over before it has them keeps connections waiting that
/// the other agent would have served.
pub(super) async fn certified(certificates: &Certificates, snapshot: &Snapshot, node: &str) {
    let enrolled =
        snapshot.workloads_on_node(node).filter(|workload| workload.enrolled && !workload.host_network);
    let identities: HashSet<_> = enrolled.map(|workload| workload.identity.clone()).collect();
    certificates.want(identities.iter().cloned());
    let waits = identities.iter().map(|identity| certificates.wait(identity, CERTIFIED));
    let late = futures::future::join_all(waits).await.iter().filter(|result| result.is_err()).count();
    if late > 0 {
        tracing::warn!(late, of = identities.len(), "taking over without certificates for all identities");
    }
}

/// The agent that answers at the socket now.
pub(super) struct Predecessor {
    pid: Pid,
    process: std::os::fd::OwnedFd,
}

impl Predecessor {
    /// The process that listens at `socket`, if one does.
    pub(super) fn find(socket: &Path) -> Option<Self> {
        let connection = UnixStream::connect(socket).ok()?;
        let pid = socket_peercred(&connection).ok()?.pid;
        // By descriptor from here on: a pid may be another process by the time it is used.
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        (pid != getpid()).then_some(Self { pid, process })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Asks it to write nothing to the kernel any more, and to read no more events.
    pub(super) fn freeze(&self) {
        self.send(Signal::USR2);
    }

    /// Asks it to drain and end. Does not wait for its connections: it has its own time for them, and
    /// gives its port up at once.
    pub(super) fn end(self) {
        self.send(Signal::TERM);
    }

    fn send(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.process, signal) {
            tracing::warn!(pid = self.pid(), %error, "cannot signal the agent that is running");
        }
    }
}

/// Waits until this agent, which was taken over from and is done, is stopped, or until no agent has answered at `socket`
/// for a while.
///
/// Who runs it in a container would start it anew if it ended by itself, and it would take over in its turn. That is for
/// when its successor is gone.
pub(super) async fn outlived(socket: &Path, mut stopped: watch::Receiver<bool>) {
    let mut last = Instant::now();
    loop {
        tokio::select! {
            // An error means that nobody listens to signals any more.
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if Predecessor::find(socket).is_some() {
            last = Instant::now();
        } else if last.elapsed() > ALONE {
            tracing::warn!("the agent that took over from this one is gone; ending, to be started anew");
            return;
        }
    }
}

/// Tries until it works or `limit` is over; then gives the last error.
pub(super) async fn retry<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_was_taken_over_from_ends_when_its_successor_is_gone_but_not_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_told, stopped) = watch::channel(false);
        let began = Instant::now();
        outlived(&directory.path().join("agent.sock"), stopped).await;
        assert!(began.elapsed() > ALONE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_taken_over_from_ends_when_it_is_stopped() {
        let directory = tempfile::tempdir().expect("a directory");
        let (told, stopped) = watch::channel(false);
        told.send_replace(true);
        let began = Instant::now();
        outlived(&directory.path().join("agent.sock"), stopped).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
