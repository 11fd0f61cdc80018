//! Programs in Go that tests use, built into the target directory.
//!
//! Entry points: [`Go::find`], [`Go::build`], [`Go::build_tests`], [`Go::sources_of`]. Knows nothing of what the programs do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{checkout::Checkout, command, python};

/// A Go that is new enough.
pub(crate) struct Go(PathBuf);

impl Go {
    /// The machine's own if it is new enough for `module`, else one from Python's registry, which Debian's pip can reach.
    pub(crate) fn find(checkout: &Checkout, module: &Path) -> Result<Self> {
        let wanted = fs::read_to_string(module.join("go.mod"))?;
        let wanted =
            wanted.lines().find_map(|line| line.strip_prefix("go ")).context("go.mod names no go")?;
        let mut asked = Command::new("go");
        asked.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local");
        if let Ok(version) = command::output(&mut asked)
            && is_at_least(version.trim().trim_start_matches("go"), wanted)
        {
            return Ok(Self(PathBuf::from("go")));
        }
        let requirements = checkout.root.join("tests/clients/go/toolchain.txt");
        let environment = checkout.tools().join("go-toolchain");
        if !environment.join("ready").exists() {
            python::environment(&environment, &requirements)?;
            fs::write(environment.join("ready"), "")?;
        }
        let mut lib = fs::read_dir(environment.join("lib"))?;
        let python = lib.next().context("an environment without packages")??;
        Ok(Self(python.path().join("site-packages/go/bin/go")))
    }

    /// Builds `packages` of the module into `out`, statically: a pod of another user space could run them, too.
    pub(crate) fn build(&self, module: &Path, out: &Path, flags: &[&str], packages: &str) -> Result<()> {
        let mut build = self.command(module, "build");
        build.arg("-buildvcs=false").args(flags).arg("-o").arg(out).arg(packages);
        command::quiet(&mut build)
    }

    /// The same of the tests of the module's own package.
    pub(crate) fn build_tests(&self, module: &Path, out: &Path, flags: &[&str]) -> Result<()> {
        let mut build = self.command(module, "test");
        build.args(["-c", "-buildvcs=false"]).args(flags).arg("-o").arg(out).arg(".");
        command::quiet(&mut build)
    }

    /// Where the sources of `dependency` of the module are, which were fetched to build it.
    pub(crate) fn sources_of(&self, module: &Path, dependency: &str) -> Result<PathBuf> {
        let mut list = self.command(module, "list");
        list.args(["-m", "-f", "{{.Dir}}", dependency]);
        Ok(PathBuf::from(command::output(&mut list)?.trim()))
    }

    fn command(&self, module: &Path, subcommand: &str) -> Command {
        let mut go = Command::new(&self.0);
        go.current_dir(module).arg(subcommand).arg("-mod=readonly");
        go.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local");
        go
    }
}

/// Of versions such as `1.25.0`; what is no number counts as 0, as in `1.26rc1`.
fn is_at_least(version: &str, wanted: &str) -> bool {
    let numbers =
        |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    numbers(version) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, wanted, enough) in [
            ("1.26.8", "1.25.0", true),
            ("1.25.0", "1.25.0", true),
            ("1.19.8", "1.25.0", false),
            ("1.100.0", "1.25.0", true),
            ("1.25", "1.25.0", false),
            ("", "1.25.0", false),
        ] {
            assert_eq!(is_at_least(version, wanted), enough, "{version}");
        }
    }
}
