//! `cargo xtask cluster`: a Kubernetes of two nodes on this machine, for trying things out.
//!
//! Entry point: [`run`].

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Result, bail};
use clap::Subcommand;
use weir_tests::{Cluster, kubectl_in, remove_named, weir_archive};

use crate::{checkout::Checkout, command, image, kubernetes, packages, setup};

/// The cluster's name on this machine.
const NAME: &str = "cluster";

/// Options of `cargo xtask cluster`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start it; one that runs is removed first.
    Up,
    /// Remove it, with all that is in it.
    Down,
    /// Run kubectl with it.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// What kubectl is given.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !command::is_root() {
        bail!("network namespaces and containers need root: sudo -E cargo xtask cluster …");
    }
    match &options.what {
        What::Up => {
            let checkout = Checkout::find()?;
            setup::ensure(&checkout, packages::FOR_CLUSTER)?;
            kubernetes::ensure(&checkout)?;
            image::ensure(&checkout)?;
            let cluster = Cluster::named(NAME, &[weir_archive()?])?;
            let install = cluster.write_kustomization()?;
            cluster.keep();
            println!("two nodes are ready, with the image of Weir on each; next:");
            println!("  cargo xtask cluster kubectl get nodes");
            println!("  cargo xtask cluster kubectl apply -k {}", install.display());
            println!("  cargo xtask cluster down");
            Ok(())
        }
        What::Down => match remove_named(NAME)? {
            true => Ok(()),
            false => bail!("there is none"),
        },
        What::Kubectl { words } => {
            let command = kubectl_in(NAME)?;
            Err(Command::new(&command[0]).args(&command[1..]).args(words).exec().into())
        }
    }
}
