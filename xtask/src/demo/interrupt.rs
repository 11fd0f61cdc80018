//! Ctrl-C during the demo: everything is removed, and the process ends.
//!
//! Entry point: [`Interrupt::watch`].

use std::{
    process::exit,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use weir_tests::remove_named;

/// Knows whether the user wants to stop.
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on a signal to end removes the topology called `name`, then ends this process.
    pub(super) fn watch(name: &'static str) -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals")?;
        let came = Arc::new(AtomicBool::new(false));
        let flag = came.clone();
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                flag.store(true, Ordering::Relaxed);
                eprintln!("\ninterrupted; removing everything");
                let _ = remove_named(name);
                exit(128 + signal);
            }
        });
        Ok(Self(came))
    }

    /// Waits for the end if a signal came: what fails then fails because its processes are being removed.
    pub(super) fn end_if_it_came(&self) {
        while self.0.load(Ordering::Relaxed) {
            thread::park();
        }
    }
}
