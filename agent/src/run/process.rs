//! What the agent asks of its own process: a log, limits, signals.
//!
//! Entry points: [`start_log`], [`raise_limits`], [`Signals`], [`end_at_a_signal`].

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

use crate::cli::args::LogFormat;

/// Logs to standard error from now on.
pub(super) fn start_log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Open files up to the hard limit: each connection takes two, each pod a few per worker.
pub(super) fn raise_limits() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: files.maximum, maximum: files.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    // Kernels before 5.11 charge maps to locked memory.
    let locked = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, locked) {
        tracing::debug!(%error, "cannot raise the limit on locked memory");
    }
}

/// The signals that the agent answers to.
pub(super) struct Signals {
    /// SIGTERM: stop, drain.
    terminate: Signal,
    /// SIGINT: the same.
    interrupt: Signal,
    /// SIGUSR2: a successor is starting; write nothing to the kernel any more.
    freeze: Signal,
}

impl Signals {
    /// Takes them from now on.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            freeze: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one, and says whether it is to stop.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.freeze.recv() => Asked::Freeze,
        }
    }
}

/// From now on a signal to stop ends the process at once. Where somebody is still to say that the process may end, the
/// first one only tells that.
pub(super) fn end_at_a_signal(mut signals: Signals, is_expected: bool) -> watch::Receiver<bool> {
    let (told, stopped) = watch::channel(false);
    // Runs as long as the process.
    drop(tokio::spawn(async move {
        let mut is_expected = is_expected;
        loop {
            match signals.next().await {
                Asked::Freeze => {}
                Asked::Stop if is_expected => {
                    is_expected = false;
                    told.send_replace(true);
                }
                Asked::Stop => {
                    tracing::warn!("stopping at once");
                    std::process::exit(1);
                }
            }
        }
    }));
    stopped
}

/// What a signal asks for.
pub(super) enum Asked {
    /// To drain and end.
    Stop,
    /// To leave the kernel to a successor.
    Freeze,
}
