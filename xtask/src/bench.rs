//! `cargo xtask bench`: Weir measured against no mesh, in one run, on this machine.
//!
//! Entry point: [`run`].

use anyhow::{Result, bail};

use crate::{build, checkout::Checkout, packages};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the table to docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// Builds optimised, measures, prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    build::agent(&checkout, packages::FOR_BENCH, true)?;
    let _ = options.write;
    bail!("there is no bench yet");
}
