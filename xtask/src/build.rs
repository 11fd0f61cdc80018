//! `cargo xtask build`: the eBPF object, then the agent with the object in it.
//!
//! Entry points: [`run`] for the task, [`agent`] for the tasks that run what it builds.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    checkout::Checkout,
    command, object,
    packages::{self, Needs},
    setup,
};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Optimised, as it is shipped.
    #[arg(long)]
    release: bool,
    /// The eBPF object only.
    #[arg(long)]
    object: bool,
}

/// Builds, and says where the binary is.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    if options.object {
        object(&checkout, packages::FOR_BUILD)?;
        println!("{}", checkout.show(&checkout.object()));
    } else {
        let agent = agent(&checkout, packages::FOR_BUILD, options.release)?;
        println!("{}", checkout.show(&agent));
    }
    Ok(())
}

/// The agent's binary, up to date, and beside it the programs that tests and the demo run in pods.
pub(crate) fn agent(checkout: &Checkout, needs: Needs, release: bool) -> Result<PathBuf> {
    object(checkout, needs)?;
    let mut cargo = command::cargo("build");
    cargo.current_dir(&checkout.root).args(["-p", "weir-agent", "-p", "weir-tests", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    Ok(checkout.program(release, "weir"))
}

/// The eBPF object, up to date. Without it nothing compiles that embeds the agent.
pub(crate) fn object(checkout: &Checkout, needs: Needs) -> Result<()> {
    let toolchain = setup::ensure(checkout, needs)?;
    object::ensure(checkout, &toolchain)
}
