//! `cargo xtask demo`: two nodes on this machine, real connections between their pods, and what Weir says.
//!
//! Entry point: [`run`]. Every step checks what it shows; one that did not happen ends the demo with an error.

mod after;
mod interrupt;
mod requests;
mod screen;
mod stage;
mod steps;
mod wire;

use std::{fs::File, time::Instant};

use anyhow::{Context, Result, bail};
use weir_tests::{Topology, remove_named, take_programs_from};

use self::{interrupt::Interrupt, screen::Screen, stage::Stage};
use crate::{build, checkout::Checkout, command, packages};

/// Names all that the demo makes on this machine: `weir-demo`.
const NAME: &str = "demo";

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave the nodes and pods up, and say how to look around.
    #[arg(long)]
    keep: bool,
    /// Remove what --keep has left.
    #[arg(long, conflicts_with_all = ["keep", "release"])]
    remove: bool,
    /// The optimised agent.
    #[arg(long)]
    release: bool,
}

/// Builds, shows, cleans up.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !command::is_root() {
        bail!("network namespaces and eBPF need root: sudo -E cargo xtask demo");
    }
    let _alone = only_one()?;
    if options.remove {
        println!("{}", if remove_named(NAME)? { "the demo is removed" } else { "there is no demo" });
        return Ok(());
    }
    let checkout = Checkout::find()?;
    let weir = build::agent(&checkout, packages::FOR_DEMO, options.release)?;
    take_programs_from(weir.parent().context("the agent lies in no directory")?);

    let interrupt = Interrupt::watch(NAME)?;
    let topology = Topology::named(NAME)?;
    let played = play(&topology, Screen::new(checkout.show(&weir).to_string()), options.keep);
    interrupt.end_if_it_came();
    if played.is_ok() && options.keep {
        topology.keep();
        return Ok(());
    }
    topology.remove();
    played?;
    after::nothing_is_left(NAME)
}

/// The whole demo on an empty topology.
fn play(topology: &Topology, screen: Screen, keep: bool) -> Result<()> {
    let began = Instant::now();
    screen.opening();
    let mut stage = Stage::set(topology, screen)?;
    if let Err(error) = steps::all(&mut stage) {
        eprintln!("\n{}", stage.logs());
        return Err(error);
    }
    stage.screen.closing(began.elapsed());
    if keep {
        after::how_to_look_around(&stage)?;
        stage.leave();
    }
    Ok(())
}

/// Two at once would remove each other's nodes.
fn only_one() -> Result<File> {
    let file = File::create("/run/weir-demo.lock").context("/run/weir-demo.lock")?;
    file.try_lock().ok().context("a demo is already running")?;
    Ok(file)
}
