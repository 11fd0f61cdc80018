//! `cargo xtask crds`: the definitions of Weir's kinds, made of the types that read them.
//!
//! Entry points: [`run`] for the task, [`check`] for `lint`. They are made by an example of the agent's crate, which
//! embeds the eBPF object: xtask, which builds that, cannot link it.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail};

use crate::{build, checkout::Checkout, command, packages};

/// Options of `cargo xtask crds`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing, and fail if deploy/crds is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Writes `deploy/crds`, or compares it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    build::object(&checkout, packages::FOR_BUILD)?;
    if options.check {
        return check(&checkout);
    }
    let dir = checkout.root.join("deploy/crds");
    let files = made(&checkout)?;
    fs::create_dir_all(&dir)?;
    for name in differing(&checkout, &files)? {
        let file = dir.join(&name);
        match files.get(&name) {
            Some(text) => fs::write(&file, text)?,
            None => fs::remove_file(&file)?,
        }
        println!("{}", checkout.show(&file));
    }
    Ok(())
}

/// Fails when `deploy/crds` is not what the types say. The eBPF object must be there.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let differing = differing(checkout, &made(checkout)?)?;
    if !differing.is_empty() {
        bail!("deploy/crds differs from the types: {}: run `cargo xtask crds`", differing.join(", "));
    }
    Ok(())
}

fn made(checkout: &Checkout) -> Result<BTreeMap<String, String>> {
    let mut cargo = command::cargo("run");
    cargo.current_dir(&checkout.root).args(["--quiet", "-p", "weir-agent", "--example", "crds"]);
    serde_json::from_str(&command::output(&mut cargo)?).context("the example crds printed no files")
}

/// The names of files that are not as they should be, or should not be.
fn differing(checkout: &Checkout, files: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let dir = checkout.root.join("deploy/crds");
    let mut there = BTreeMap::new();
    if dir.exists() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
            there.insert(name, fs::read_to_string(&path)?);
        }
    }
    let names = files.keys().chain(there.keys().filter(|name| !files.contains_key(*name)));
    Ok(names.filter(|name| files.get(*name) != there.get(*name)).cloned().collect())
}
