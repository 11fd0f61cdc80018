//! The programs under test and beside it: where cargo put them.
//!
//! Entry points: [`weir`], [`peer`], [`client`]; [`take_programs_from`] for those who want another profile's.

use std::{env, path::PathBuf, sync::OnceLock};

use anyhow::{Context, Result, bail};

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// From now on runs what lies in `dir`, such as a release build, rather than what lies beside this program.
pub fn take_programs_from(dir: impl Into<PathBuf>) {
    // The first choice stands: nodes of one process all run the same programs.
    let _ = CHOSEN.set(dir.into());
}

/// The agent's binary: `WEIR_BIN`, or what was built into this target directory.
pub fn weir() -> Result<PathBuf> {
    if let Some(path) = env::var_os("WEIR_BIN").map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("WEIR_BIN is {}, which is no file; run `cargo xtask build`", path.display());
    }
    built("weir")
}

/// The name of the image of this version.
pub fn weir_image() -> String {
    format!("weir.dev/weir:{}", env!("CARGO_PKG_VERSION"))
}

/// The archive with the image for tests, that `cargo xtask image --dev` writes.
pub fn weir_archive() -> Result<PathBuf> {
    let own = env::current_exe().context("where this program lies")?;
    let mut candidates = own.ancestors().map(|dir| dir.join("image/weir-dev.tar"));
    candidates
        .find(|file| file.is_file())
        .context("there is no image of Weir for tests; run `cargo xtask image --dev`")
}

/// The test peer of this crate.
pub(crate) fn peer() -> Result<PathBuf> {
    built("peer")
}

/// A program that setup has made of what others wrote: `grpc`, `httpget`, `nethttp`, as in `tests/clients/go`, or
/// `python/bin/python3`, with the packages in `tests/clients/python`.
pub fn client(name: &str) -> Result<String> {
    tool("clients", name)
}

/// A part of the Kubernetes that setup has built, such as `kubectl`.
pub(crate) fn kubernetes(part: &str) -> Result<String> {
    tool("kube", part)
}

/// A part of the Gateway API's conformance that setup has made: `suite`, `echo-client`, or a file of the suite's module.
pub(crate) fn conformance(part: &str) -> Result<PathBuf> {
    tool("conformance", part).map(PathBuf::from)
}

fn tool(folder: &str, name: &str) -> Result<String> {
    let own = env::current_exe().context("where this program lies")?;
    let mut candidates = own.ancestors().map(|dir| dir.join("tools").join(folder).join(name));
    let found = candidates.find(|file| file.exists());
    let found = found.with_context(|| format!("`{name}` is not there for tests; run `cargo xtask setup`"))?;
    Ok(found.display().to_string())
}

/// Whether this process is a test program, which cargo keeps apart from the others.
pub(crate) fn in_a_test() -> bool {
    env::current_exe().is_ok_and(|own| own.parent().is_some_and(|dir| dir.ends_with("deps")))
}

/// A test program lies in `<profile>/deps`, xtask in `<profile>`, and what they run beside them.
fn built(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("where this program lies")?;
    if let Some(dir) = CHOSEN.get() {
        let file = dir.join(name);
        return file
            .is_file()
            .then_some(file)
            .with_context(|| format!("`{name}` is not in {}", dir.display()));
    }
    let mut candidates = own.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    candidates
        .find(|file| file.is_file())
        .with_context(|| format!("`{name}` is not built beside {}; run `cargo xtask build`", own.display()))
}
