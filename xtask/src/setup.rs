//! `cargo xtask setup`: what is missing on this machine is installed, and nothing else.
//!
//! Entry points: [`run`] for the task, [`ensure`] for the other tasks. Packages go to the system by apt;
//! everything else goes into the target directory.

use std::time::Instant;

use anyhow::Result;

use crate::{
    checkout::Checkout,
    clients, command, image, kubernetes,
    packages::{self, Needs},
    toolchain::{self, Toolchain, Way},
};

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The way to a BPF toolchain; by default the first that works here.
    #[arg(long, value_enum, env = "WEIR_BPF_TOOLCHAIN")]
    toolchain: Option<Way>,
}

/// Installs what is missing and says what is ready.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    let began = Instant::now();
    let toolchain = install(&checkout, options.toolchain, packages::ALL)?;
    image::install_target()?;
    clients::ensure(&checkout)?;
    kubernetes::ensure(&checkout)?;
    kubernetes::ensure_conformance(&checkout)?;
    println!("ready ({:.1} s):", began.elapsed().as_secs_f64());
    println!("  eBPF    {}", toolchain.describe());
    println!("  linker  {}", checkout.show(&toolchain.linker()));
    println!("  tools   {}", packages::programs());
    println!("next: cargo xtask demo");
    Ok(())
}

/// Installs what is missing of `needs` and of the BPF toolchain; takes a millisecond if nothing is.
pub(crate) fn ensure(checkout: &Checkout, needs: Needs) -> Result<Toolchain> {
    if let Some(toolchain) = Toolchain::ready(checkout)
        && packages::missing(needs).is_empty()
    {
        return Ok(toolchain);
    }
    eprintln!("something is missing; running setup");
    install(checkout, None, needs)
}

fn install(checkout: &Checkout, way: Option<Way>, needs: Needs) -> Result<Toolchain> {
    let missing = packages::missing(needs);
    let found = way.or_else(toolchain::installed_way);
    let needs_toolchain = found.is_none_or(|way| !way.is_installed());
    if (needs_toolchain || !missing.is_empty()) && command::is_root() && packages::has_apt() {
        packages::update_lists()?;
    }
    let way = found.map_or_else(toolchain::choose_way, Ok)?;

    let mut wanted: Vec<(&str, &str)> = missing.iter().map(|need| (need.package, need.purpose)).collect();
    wanted.extend(way.missing_packages().into_iter().map(|package| (package, "building: eBPF programs")));
    if !wanted.is_empty() {
        eprintln!("setup installs packages of this system:");
        for (package, purpose) in &wanted {
            eprintln!("  {package:24} {purpose}");
        }
        packages::install(&wanted.iter().map(|(package, _)| *package).collect::<Vec<_>>())?;
    }
    toolchain::install(checkout, way)
}
