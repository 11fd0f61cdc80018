//! `cargo xtask image`: a container image with nothing in it but the agent and the roots of the web's certificates.
//!
//! Entry points: [`run`] for the task, [`ensure`] for the tests that start pods of it. The program is linked with musl, so
//! that it needs no file of any system. The image is for machines as this one is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use weir_tests::{Image, weir_image};

use crate::{build, checkout::Checkout, command, packages};

/// Where Debian keeps the certificates of authorities, and where they are looked for in the image.
const ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";

/// Options of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Not optimised: quicker to build.
    #[arg(long)]
    dev: bool,
    /// The archive to write [default: target/image/weir.tar, with --dev weir-dev.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image's name
    #[arg(long, value_name = "NAME:TAG", default_value_t = weir_image())]
    tag: String,
}

/// Builds and writes it, and says how large it is.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    let output = options.output.clone().unwrap_or_else(|| archive(&checkout, options.dev));
    write(&checkout, options.dev, &options.tag, &output)?;
    println!("{} {} ({})", checkout.show(&output), options.tag, size(&output)?);
    Ok(())
}

/// The archive that tests import: of this source, not optimised.
pub(crate) fn ensure(checkout: &Checkout) -> Result<()> {
    write(checkout, true, &weir_image(), &archive(checkout, true))
}

/// The standard library for the target, if rustup is here and it is not.
pub(crate) fn install_target() -> Result<()> {
    let target = target();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut lib = Command::new(rustc);
    lib.args(["--print", "target-libdir", "--target", &target]);
    let lib = command::output(command::forget_cargo(&mut lib))?;
    if Path::new(lib.trim()).is_dir() {
        return Ok(());
    }
    if command::find("rustup").is_none() {
        bail!("this rustc has no standard library for {target}, and there is no rustup to bring it");
    }
    eprintln!("setup installs rustup's {target}");
    command::run(command::forget_cargo(Command::new("rustup").args(["target", "add", &target])))
}

fn write(checkout: &Checkout, dev: bool, tag: &str, output: &Path) -> Result<()> {
    build::object(checkout, packages::FOR_IMAGE)?;
    install_target()?;
    let program = program(checkout, dev)?;
    if let Some(dir) = output.parent() {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let roots = Path::new("/").join(ROOTS);
    Image::scratch(tag)
        .entrypoint(&["/bin/weir"])
        .program(&program, "bin/weir")?
        .file(&roots, ROOTS)?
        .write(output)
}

/// The agent, linked statically and stripped.
fn program(checkout: &Checkout, dev: bool) -> Result<PathBuf> {
    let target = target();
    let mut cargo = command::cargo("build");
    cargo.current_dir(&checkout.root).args(["-p", "weir-agent", "--bin", "weir", "--target", &target]);
    if !dev {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    let dir = checkout.target.join(&target).join(if dev { "debug" } else { "release" });
    let stripped = dir.join("weir.stripped");
    command::run(Command::new("strip").arg("-o").arg(&stripped).arg(dir.join("weir")))?;
    println!("{} ({})", checkout.show(&stripped), size(&stripped)?);
    Ok(stripped)
}

fn archive(checkout: &Checkout, dev: bool) -> PathBuf {
    checkout.target.join("image").join(if dev { "weir-dev.tar" } else { "weir.tar" })
}

fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn size(file: &Path) -> Result<String> {
    let bytes = fs::metadata(file).with_context(|| file.display().to_string())?.len();
    Ok(format!("{:.1} MB", bytes as f64 / 1e6))
}
