//! Python environments of their own, for packages that tests use.
//!
//! Entry point: [`environment`].

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::command;

/// The interpreter that tests use, too: Debian's own where there is one.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// A Python environment in `dir` with what `requirements` lists, and nothing else.
pub(crate) fn environment(dir: &Path, requirements: &Path) -> Result<()> {
    let interpreter = if Path::new(PYTHON).exists() { PYTHON } else { "python3" };
    command::quiet(Command::new(interpreter).args(["-m", "venv", "--clear"]).arg(dir))?;
    let mut pip = Command::new(dir.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]);
    command::quiet(pip.arg(requirements))
}
