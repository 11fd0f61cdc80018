//! One agent after another on the same node: the new one adopts, the old one drains.
//!
//! Entry point: [`Predecessor::find`]. The new agent asks the old one to leave the kernel alone (SIGUSR2),
//! adopts links and maps and puts its own sockets in place, and then asks it to end (SIGTERM).

use std::{os::unix::net::UnixStream, path::Path, time::Duration};

use rustix::{
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};

/// How long the predecessor's metrics port is waited for.
const PAUSE: Duration = Duration::from_millis(20);

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

/// Tries until it works or `limit` is over; then gives the last error.
pub(super) async fn retry<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
