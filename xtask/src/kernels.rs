//! `cargo xtask kernels`: the eBPF programs on every kernel that Weir supports, each booted under qemu.
//!
//! Entry points: [`run`] for the task, [`matrix`] for `test`. A guest holds a static program, `kernel-selftest`
//! of `weir-tests`, with the agent's own loader and object in it; what that checks is its own business.
//! Emulation, not virtualisation: it runs anywhere, and a boot takes some seconds.

mod fetch;
mod guest;

use std::{path::PathBuf, process::Command, time::Instant};

use anyhow::{Result, bail};

use crate::{build, checkout::Checkout, command, packages, test::Count};

/// One row of the matrix.
struct Kernel {
    /// What it is called here; also its folder.
    name: &'static str,
    /// Debian's package that depends on the newest image of this line.
    package: &'static str,
    /// Archive and suite pairs where it and its dependencies are.
    suites: &'static [(&'static str, &'static str)],
}

/// The oldest that is recommended, the long-term one after it, and the newest that Debian builds.
const MATRIX: &[Kernel] = &[
    Kernel {
        name: "6.1",
        package: "linux-image-cloud-amd64",
        suites: &[("debian-security", "bookworm-security"), ("debian", "bookworm")],
    },
    Kernel {
        name: "6.12",
        package: "linux-image-6.12-cloud-amd64",
        suites: &[("debian-security", "bookworm-security")],
    },
    Kernel { name: "newest", package: "linux-image-cloud-amd64", suites: &[("debian", "trixie-backports")] },
];

/// Options of `cargo xtask kernels`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these kernels; all of the matrix by default.
    #[arg(value_name = "KERNEL")]
    only: Vec<String>,
    /// Show the guests' consoles.
    #[arg(long)]
    console: bool,
    /// Ask for newer packages of the kernels that are there.
    #[arg(long)]
    refresh: bool,
}

/// Boots, prints a line for each kernel, and the sum.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    let known: Vec<_> = MATRIX.iter().map(|kernel| kernel.name).collect();
    if let Some(unknown) = options.only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no kernel {unknown} in the matrix; there are {}", known.join(", "));
    }
    build::object(&checkout, packages::FOR_KERNELS)?;
    if options.refresh {
        let _ = std::fs::remove_dir_all(folder(&checkout));
    }
    let count = matrix(&checkout, &options.only)?;
    if options.console {
        for name in known {
            print!("{}", std::fs::read_to_string(console_file(&checkout, name)).unwrap_or_default());
        }
    }
    println!("{count}");
    if count.failed > 0 {
        bail!("{} of the checks failed; consoles in {}", count.failed, checkout.show(&folder(&checkout)));
    }
    Ok(())
}

/// Boots the kernels named in `only`, or all, one after another. The eBPF object must be up to date.
pub(crate) fn matrix(checkout: &Checkout, only: &[String]) -> Result<Count> {
    let selftest = build_selftest(checkout)?;
    let mut total = Count::default();
    for kernel in
        MATRIX.iter().filter(|kernel| only.is_empty() || only.iter().any(|name| name == kernel.name))
    {
        let began = Instant::now();
        let outcome = fetch::ensure(kernel, &folder(checkout).join(kernel.name)).and_then(|image| {
            let fetched = began.elapsed();
            let console = guest::boot(&image, &selftest)?;
            std::fs::write(console_file(checkout, kernel.name), &console)?;
            Ok((guest::judge(&console), fetched))
        });
        match outcome {
            Ok((report, fetched)) => {
                let booted = began.elapsed() - fetched;
                println!(
                    "kernel {} ({}): {}; fetched in {:.1} s, booted and checked in {:.1} s",
                    kernel.name,
                    report.release,
                    report.count,
                    fetched.as_secs_f64(),
                    booted.as_secs_f64()
                );
                report.failures.iter().for_each(|line| println!("  {line}"));
                total += report.count;
            }
            Err(error) => {
                println!("kernel {}: FAIL {error:#}", kernel.name);
                total.failed += 1;
            }
        }
    }
    Ok(total)
}

/// Links only the last step statically: its parts are those of every other build.
fn build_selftest(checkout: &Checkout) -> Result<PathBuf> {
    let mut cargo = command::cargo("rustc");
    cargo.current_dir(&checkout.root);
    cargo.args(["--quiet", "-p", "weir-tests", "--features", "selftest", "--bin", "kernel-selftest"]);
    cargo.args(["--", "-Ctarget-feature=+crt-static"]);
    command::run(&mut cargo)?;
    let built = checkout.program(false, "kernel-selftest");
    let small = folder(checkout).join("kernel-selftest");
    std::fs::create_dir_all(folder(checkout))?;
    command::run(Command::new("strip").arg("-o").arg(&small).arg(built))?;
    Ok(small)
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.target.join("kernels")
}

fn console_file(checkout: &Checkout, name: &str) -> PathBuf {
    folder(checkout).join(format!("{name}.console"))
}
