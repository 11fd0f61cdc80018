//! `cargo xtask lint`: what CI asks of the text of the code and of its manifests, apart from its tests.
//!
//! Entry point: [`run`]. cargo-deny checks licences, sources and duplicates by `deny.toml`. CI asks for it
//! with `--deny`; it is not built unasked, since that takes two minutes. Its advisories need the net.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{build, checkout::Checkout, command, crds, deploy, kubernetes, links, packages, setup};

const DENY_VERSION: &str = "0.20.2";

/// Options of `cargo xtask lint`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build cargo-deny if it is not there (two minutes), and check licences, sources and duplicates.
    #[arg(long)]
    deny: bool,
    /// Check known vulnerabilities too; fetches their database.
    #[arg(long)]
    advisories: bool,
}

/// Runs every lint and names those that failed, rather than stop at the first.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    build::object(&checkout, packages::FOR_BUILD)?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, outcome: Result<()>| {
        match &outcome {
            Ok(()) => println!("lint {name}: ok"),
            Err(error) => println!("lint {name}: FAIL {error:#}"),
        }
        if outcome.is_err() {
            failed.push(name);
        }
    };
    check("format", format(&checkout));
    check("links", links::check(&checkout));
    match kubernetes::helm(&checkout).is_file() {
        true => check("deploy", deploy::check(&checkout)),
        false => println!("lint deploy: not checked; `cargo xtask setup` builds helm"),
    }
    check("clippy", clippy(&checkout));
    check("ebpf", ebpf(&checkout));
    check("definitions", crds::check(&checkout));
    match deny_program(&checkout, options.deny || options.advisories)? {
        Some(program) => check("dependencies", deny(&checkout, &program, options.advisories)),
        None => println!("lint dependencies: not checked; `cargo xtask lint --deny` builds cargo-deny"),
    }
    if !failed.is_empty() {
        bail!("lint: {}", failed.join(", "));
    }
    Ok(())
}

fn format(checkout: &Checkout) -> Result<()> {
    for dir in [&checkout.root, &checkout.ebpf(), &checkout.fuzz()] {
        command::run(command::cargo("fmt").args(["--all", "--check"]).current_dir(dir))?;
    }
    Ok(())
}

fn clippy(checkout: &Checkout) -> Result<()> {
    let mut clippy = command::cargo("clippy");
    clippy.args([
        "--quiet",
        "--workspace",
        "--all-targets",
        "--features",
        "weir-tests/selftest,weir-tests/load,weir-agent/fuzzing",
    ]);
    clippy.args(["--", "-Dwarnings"]);
    command::run(clippy.current_dir(&checkout.root))
}

/// The eBPF crate needs the clippy of the compiler that has a `core` for BPF.
fn ebpf(checkout: &Checkout) -> Result<()> {
    let toolchain = setup::ensure(checkout, packages::FOR_BUILD)?;
    command::run(toolchain.cargo("check", checkout, true)?.arg("--quiet"))
}

fn deny(checkout: &Checkout, program: &PathBuf, advisories: bool) -> Result<()> {
    for dir in [&checkout.root, &checkout.ebpf(), &checkout.fuzz()] {
        let mut deny = Command::new(program);
        deny.current_dir(dir).arg("--config").arg(checkout.root.join("deny.toml"));
        deny.args([
            "check",
            "--hide-inclusion-graph",
            "-A",
            "unmatched-skip",
            "-A",
            "license-exception-not-encountered",
        ]);
        deny.args(["licenses", "bans", "sources"]);
        if advisories {
            deny.arg("advisories");
        }
        command::run(command::forget_cargo(&mut deny))?;
    }
    Ok(())
}

fn deny_program(checkout: &Checkout, build: bool) -> Result<Option<PathBuf>> {
    let ours = checkout.tools().join("bin/cargo-deny");
    if let Some(program) = Some(ours.clone()).filter(|file| file.is_file()).or(command::find("cargo-deny")) {
        return Ok(Some(program));
    }
    if !build {
        return Ok(None);
    }
    eprintln!("building cargo-deny {DENY_VERSION} into {}; two minutes", checkout.tools().display());
    let build_dir = checkout.tools().join("build");
    command::run(
        command::cargo("install")
            .args(["cargo-deny", "--version", DENY_VERSION, "--locked", "--quiet", "--debug"])
            .arg("--root")
            .arg(checkout.tools())
            .env("CARGO_TARGET_DIR", &build_dir)
            .env("CARGO_PROFILE_DEV_DEBUG", "0"),
    )?;
    std::fs::remove_dir_all(build_dir)?;
    Ok(Some(ours))
}
