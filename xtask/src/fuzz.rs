//! `cargo xtask fuzz`: the fuzz targets, built and run for a while each, as many at a time as there are cores.
//!
//! Entry point: [`run`]. The targets lie in `fuzz/`, a cargo-fuzz layout, with the inputs to start from. cargo-fuzz
//! and nightly are not needed: what instruments the code is in every rustc, and the fuzzer is a crate. There is no
//! address sanitizer, since there is no unsafe code in what is fuzzed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::available_parallelism,
};

use anyhow::{Context, Result, bail};

use crate::{build, checkout::Checkout, command, packages};

/// What makes LLVM tell libFuzzer which edges an input takes, and what it is compared with.
const INSTRUMENTED: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Seconds that one input may take.
const TIMEOUT: u32 = 30;
/// Memory that a target may take, in MiB.
const MEMORY: u32 = 2048;
/// How much of the log of a target that failed is shown, in lines.
const SHOWN: usize = 60;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The targets; all when none is named.
    targets: Vec<String>,
    /// How long each of them runs.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Where things of one target are.
struct Target {
    name: String,
    program: PathBuf,
    /// Inputs that are kept in the repository.
    seeds: PathBuf,
    /// Inputs that were found, kept from run to run.
    corpus: PathBuf,
    /// Inputs that break something begin with this.
    broken: PathBuf,
    log: PathBuf,
}

/// Builds and runs; errors when an input breaks something, with what and where it is.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    let names = names(&checkout, &options.targets)?;
    build::object(&checkout, packages::FOR_FUZZ)?;
    let programs = compile(&checkout, &names)?;
    let targets: Vec<Target> =
        names.into_iter().map(|name| Target::new(&checkout, &programs, name)).collect::<Result<_>>()?;
    let at_once = available_parallelism().map_or(1, usize::from);
    let mut broken = Vec::new();
    for some in targets.chunks(at_once) {
        let started: Vec<(&Target, Child)> =
            some.iter().map(|target| Ok((target, target.start(options.seconds)?))).collect::<Result<_>>()?;
        for (target, mut child) in started {
            let status = child.wait().with_context(|| format!("waiting for {}", target.name))?;
            let (log, name) = (fs::read(&target.log).unwrap_or_default(), &target.name);
            let log = String::from_utf8_lossy(&log);
            if status.success() {
                println!("fuzz {name}: ok: {}", summary(&log));
                continue;
            }
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
            println!("fuzz {name}: FAIL ({status}); all of it: {}", checkout.show(&target.log));
            println!("  again: {} FILE, with one of:", checkout.show(&target.program));
            target.found_broken().iter().for_each(|file| println!("  {}", checkout.show(file)));
            broken.push(name.as_str());
        }
    }
    if !broken.is_empty() {
        bail!("fuzz: {}", broken.join(", "));
    }
    Ok(())
}

impl Target {
    fn new(checkout: &Checkout, programs: &Path, name: String) -> Result<Self> {
        let own = checkout.target.join("fuzz");
        let target = Self {
            program: programs.join(&name),
            seeds: checkout.fuzz().join("corpus").join(&name),
            corpus: own.join("corpus").join(&name),
            broken: own.join("broken").join(format!("{name}-")),
            log: own.join("logs").join(&name),
            name,
        };
        for dir in [&target.corpus, &own.join("broken"), &own.join("logs")] {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        // What an earlier run found is no part of what this one says.
        target.found_broken().iter().try_for_each(fs::remove_file).context("removing what broke before")?;
        Ok(target)
    }

    fn start(&self, seconds: u32) -> Result<Child> {
        let log = File::create(&self.log).with_context(|| self.log.display().to_string())?;
        println!("fuzz {}: {seconds} s", self.name);
        Command::new(&self.program)
            .args([&self.corpus, &self.seeds])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .arg(format!("-artifact_prefix={}", self.broken.display()))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }

    fn found_broken(&self) -> Vec<PathBuf> {
        let files = self.broken.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten();
        let prefix = format!("{}-", self.name);
        files
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().starts_with(&prefix))
            .map(|file| file.path())
            .collect()
    }
}

/// Those that were asked for, or all that there are.
fn names(checkout: &Checkout, asked: &[String]) -> Result<Vec<String>> {
    let dir = checkout.fuzz().join("fuzz_targets");
    let mut all: Vec<String> = fs::read_dir(&dir)
        .with_context(|| dir.display().to_string())?
        .flatten()
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    all.sort();
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {unknown}; there are {}", all.join(", "));
    }
    Ok(if asked.is_empty() { all } else { asked.to_vec() })
}

/// Builds `targets` and gives the directory that they are in. Another compiler's flags, so a directory apart.
fn compile(checkout: &Checkout, targets: &[String]) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target_dir = checkout.target.join("fuzz");
    let mut cargo = command::cargo("build");
    cargo
        // Said in words, so that build scripts and macros are not instrumented.
        .args(["--release", "--locked", "--quiet", "--target", &triple])
        .args(targets.iter().flat_map(|name| ["--bin", name]))
        .current_dir(checkout.fuzz())
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\x1f"))
        .env("WEIR_BPF_OBJECT", checkout.object())
        .env_remove("RUSTFLAGS");
    command::run(&mut cargo)?;
    Ok(target_dir.join(triple).join("release"))
}

/// What libFuzzer says at the end: how many inputs were tried, how much of the code they saw.
fn summary(log: &str) -> String {
    let done = log.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or("Done");
    let covered = log.lines().rev().find_map(|line| line.split_once("cov: "));
    let covered = covered.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?");
    format!("{}, {covered} edges seen", done.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up_by_the_fuzzers_last_words() {
        let log = "#8\tINITED cov: 5 ft: 6\n#900\tpulse  cov: 17 ft: 21\nDone 942 runs in 61 second(s)\n";
        assert_eq!(summary(log), "done 942 runs in 61 second(s), 17 edges seen");
    }
}
