//! `cargo xtask conformance`: the Gateway API's conformance suite, its tests of a mesh, against Weir.
//!
//! Entry point: [`run`]. A test counts when it passes and Weir carried its requests. What the whole suite says is kept in
//! `docs/conformance`, once all of it holds.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use weir_tests::{Conformance, Findings, take_programs_from};

use crate::{build, checkout::Checkout, command, kubernetes, packages};

/// Options of `cargo xtask conformance`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the test of this name, such as `MeshTrafficSplit`; nothing is written to docs/conformance.
    #[arg(long, value_name = "NAME")]
    run_test: Option<String>,
}

/// Builds, runs, shows, keeps.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !command::is_root() {
        bail!("network namespaces and containers need root: sudo -E cargo xtask conformance");
    }
    let checkout = Checkout::find()?;
    let weir = build::agent(&checkout, packages::FOR_CLUSTER, false)?;
    take_programs_from(weir.parent().context("the agent lies in no directory")?);
    kubernetes::ensure(&checkout)?;
    kubernetes::ensure_conformance(&checkout)?;

    let began = Instant::now();
    let conformance = Conformance::up()?;
    eprintln!("a cluster with Weir is up ({:.1} s); the suite runs", began.elapsed().as_secs_f64());
    let findings = conformance.run(options.run_test.as_deref())?;
    let logs = checkout.target.join("conformance");
    fs::create_dir_all(&logs)?;
    fs::write(logs.join("suite.log"), &findings.log)?;
    fs::write(logs.join("agents.log"), conformance.logs())?;
    println!("{}", findings.table());
    println!("{:.1} s; what was logged is in {}", began.elapsed().as_secs_f64(), checkout.show(&logs));

    let whole = options.run_test.is_none();
    let wrong = if whole { findings.wrong() } else { findings.wrong_tests() };
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    if whole {
        let kept = checkout.root.join("docs/conformance");
        keep(&kept, &findings)?;
        println!("kept in {}", checkout.show(&kept));
    }
    Ok(())
}

/// Writes the suite's report, and what Weir has seen of it.
fn keep(dir: &Path, findings: &Findings) -> Result<()> {
    let head = "# What Weir carried of the suite's requests\n\n\
                Written by `cargo xtask conformance` with [the report](report.yaml); [what the columns mean](README.md).\n\n";
    fs::write(dir.join("report.yaml"), &findings.report)?;
    Ok(fs::write(dir.join("carried.md"), format!("{head}{}", findings.table()))?)
}
