//! `cargo xtask demo`: two nodes on this machine, real connections between their pods, and what Weir says.
//!
//! Entry point: [`run`].

use anyhow::{Result, bail};

use crate::{build, checkout::Checkout, packages};

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave the nodes and pods up, and say how to look around.
    #[arg(long)]
    keep: bool,
}

/// Builds, shows, cleans up.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    build::agent(&checkout, packages::FOR_DEMO, false)?;
    let _ = options.keep;
    bail!("there is no demo yet");
}
