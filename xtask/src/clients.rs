//! Clients and servers that others wrote, made ready for tests: programs in Go, and a Python with its packages.
//!
//! Entry point: [`ensure`]. All goes into the target directory, once for each state of the sources in `tests/clients`;
//! the versions of all that is fetched, and their hashes, stand there. Knows nothing of what tests do with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{checkout::Checkout, command};

/// The interpreter that tests use, too: Debian's own where there is one.
const PYTHON: &str = "/usr/bin/python3";

/// Builds and fetches what is not there, or not of these sources; otherwise it takes a millisecond.
pub(crate) fn ensure(checkout: &Checkout) -> Result<()> {
    let place = Place::of(checkout);
    let stamp = place.stamp()?;
    if fs::read(place.stamp_file()).is_ok_and(|made| made == stamp) {
        return Ok(());
    }
    let began = Instant::now();
    eprintln!("setup makes clients and servers for the tests in {}", checkout.show(&place.made));
    fs::create_dir_all(&place.made)?;
    // Gone until all is made: what is there is then of no state in particular.
    let _ = fs::remove_file(place.stamp_file());
    environment(&place.made.join("python"), &place.sources.join("python/requirements.txt"))?;
    place.go_programs()?;
    fs::write(place.stamp_file(), stamp)?;
    eprintln!("they are there ({:.1} s)", began.elapsed().as_secs_f64());
    Ok(())
}

struct Place {
    sources: PathBuf,
    made: PathBuf,
}

impl Place {
    fn of(checkout: &Checkout) -> Self {
        Self { sources: checkout.root.join("tests/clients"), made: checkout.tools().join("clients") }
    }

    fn stamp_file(&self) -> PathBuf {
        self.made.join("stamp")
    }

    /// All that decides what is made.
    fn stamp(&self) -> Result<Vec<u8>> {
        let interpreter = fs::canonicalize(PYTHON).unwrap_or_default();
        let mut stamp = interpreter.into_os_string().into_encoded_bytes();
        for file in files(&self.sources.join("go"))?.into_iter().chain(files(&self.sources.join("python"))?) {
            stamp.extend(file.as_os_str().as_encoded_bytes());
            stamp.extend(fs::read(&file).with_context(|| file.display().to_string())?);
        }
        Ok(stamp)
    }

    /// Every `main` package of the module, under the name of its folder.
    fn go_programs(&self) -> Result<()> {
        let module = self.sources.join("go");
        let go = self.go(&module)?;
        let mut build = Command::new(&go);
        build.current_dir(&module).args(["build", "-mod=readonly", "-buildvcs=false", "-o"]);
        // Statically: a pod of another user space could run it, too.
        build.arg(&self.made).arg("./...").env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local");
        command::quiet(&mut build)
    }

    /// The machine's own Go if it is new enough, else one from Python's registry, which Debian's pip can reach.
    fn go(&self, module: &Path) -> Result<PathBuf> {
        let wanted = fs::read_to_string(module.join("go.mod"))?;
        let wanted =
            wanted.lines().find_map(|line| line.strip_prefix("go ")).context("go.mod names no go")?;
        let mut asked = Command::new("go");
        asked.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local");
        if let Ok(version) = command::output(&mut asked)
            && is_at_least(version.trim().trim_start_matches("go"), wanted)
        {
            return Ok(PathBuf::from("go"));
        }
        let environment_dir = self.made.join("go-toolchain");
        environment(&environment_dir, &module.join("toolchain.txt"))?;
        let mut lib = fs::read_dir(environment_dir.join("lib"))?;
        let python = lib.next().context("an environment without packages")??;
        Ok(python.path().join("site-packages/go/bin/go"))
    }
}

/// A Python environment of its own with what `requirements` lists, and nothing else.
fn environment(dir: &Path, requirements: &Path) -> Result<()> {
    let interpreter = if Path::new(PYTHON).exists() { PYTHON } else { "python3" };
    command::quiet(Command::new(interpreter).args(["-m", "venv", "--clear"]).arg(dir))?;
    let mut pip = Command::new(dir.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]);
    command::quiet(pip.arg(requirements))
}

/// The files below `dir`, in order.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
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
