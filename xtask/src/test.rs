//! `cargo xtask test`: everything that CI runs of tests, and one line at the end that counts them.
//!
//! Entry point: [`run`]. The data path needs root and real network namespaces: without root this fails
//! rather than skip.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    build,
    checkout::Checkout,
    clients, command, image, kernels, kubernetes,
    packages::{self, Needs},
};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Unit tests only: no root, no kernels.
    #[arg(long, conflicts_with = "no_kernels")]
    unit: bool,
    /// Leave the kernel matrix out.
    #[arg(long)]
    no_kernels: bool,
    /// Only tests whose name contains this (leaves the kernel matrix out), and options for the test
    /// programs.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// How many passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Checks that held.
    pub(crate) passed: u64,
    /// Checks that did not, and test programs that broke off.
    pub(crate) failed: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Builds, tests, boots kernels; the last line is the sum.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    let with_kernels = !options.unit && !options.no_kernels && options.filter.is_empty();
    if !options.unit && !command::is_root() {
        bail!("the data path is tested as root: sudo -E cargo xtask test; or: cargo xtask test --unit");
    }
    let began = Instant::now();
    build::object(&checkout, needs(options, with_kernels))?;
    if !options.unit {
        clients::ensure(&checkout)?;
        kubernetes::ensure(&checkout)?;
        kubernetes::ensure_conformance(&checkout)?;
        image::ensure(&checkout)?;
    }
    compile(&checkout, options)?;
    let mut phases = vec![("build", Count::default(), began.elapsed())];

    let began = Instant::now();
    phases.push(("tests", cargo_test(&checkout, options)?, began.elapsed()));
    if with_kernels {
        let began = Instant::now();
        phases.push(("kernels", kernels::matrix(&checkout, &[])?, began.elapsed()));
    }

    let mut total = Count::default();
    println!();
    for (name, count, took) in phases {
        println!("{name:8} {:6.1} s  {count}", took.as_secs_f64());
        total += count;
    }
    println!("{total}");
    if total.failed > 0 {
        bail!("{} of the tests failed", total.failed);
    }
    Ok(())
}

fn needs(options: &Options, with_kernels: bool) -> Needs {
    match (options.unit, with_kernels) {
        (true, _) => packages::FOR_BUILD,
        (false, true) => packages::FOR_TEST,
        (false, false) => packages::FOR_DATA_PATH,
    }
}

/// Programs and tests in one go: built apart, they would be built twice, with other features each time.
fn compile(checkout: &Checkout, options: &Options) -> Result<()> {
    let mut build = command::cargo("build");
    build.current_dir(&checkout.root).args(["--workspace", "--tests"]);
    if !options.unit {
        build.arg("--bins");
    }
    command::run(&mut build)
}

fn cargo_test(checkout: &Checkout, options: &Options) -> Result<Count> {
    let mut test = command::cargo("test");
    test.current_dir(&checkout.root).args(["--workspace", "--no-fail-fast"]);
    if options.unit {
        test.args(["--exclude", "weir-tests", "--lib", "--bins"]);
    } else {
        test.env("WEIR_BIN", checkout.program(false, "weir"));
    }
    if !options.filter.is_empty() {
        test.arg("--").args(&options.filter);
    }
    let (mut count, success) = count_results(&mut test)?;
    if !success && count.failed == 0 {
        // A test program that was killed or did not compile has no result line.
        count.failed = 1;
    }
    Ok(count)
}

/// Runs `command`, shows what it prints, and adds up libtest's result lines.
fn count_results(command: &mut Command) -> Result<(Count, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let lines = BufReader::new(child.stdout.take().context("cargo test has no output")?);
    let mut count = Count::default();
    for line in lines.split(b'\n') {
        let line = line?;
        std::io::stdout().write_all(&line)?;
        println!();
        count += result_line(&String::from_utf8_lossy(&line)).unwrap_or_default();
    }
    Ok((count, child.wait()?.success()))
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; …`
fn result_line(line: &str) -> Option<Count> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number_of = |word: &str| {
        let part = counts.split("; ").find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Count { passed: number_of("passed")?, failed: number_of("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.2s";
        assert_eq!(result_line(line), Some(Count { passed: 12, failed: 3 }));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(result_line("test links::tests::one ... ok"), None);
        assert_eq!(result_line("test result: nonsense"), None);
    }
}
