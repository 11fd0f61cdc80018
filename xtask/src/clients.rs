//! Clients and servers that others wrote, made ready for tests: programs in Go, and a Python with its packages.
//!
//! Entry point: [`ensure`]. All goes into the target directory, once for each state of the sources in `tests/clients`;
//! the versions of all that is fetched, and their hashes, stand there. Knows nothing of what tests do with it.

use std::fs;

use anyhow::Result;

use crate::{
    checkout::Checkout,
    golang::Go,
    python::{self, PYTHON},
    stamp,
};

/// Builds and fetches what is not there, or not of these sources; otherwise it takes a millisecond.
pub(crate) fn ensure(checkout: &Checkout) -> Result<()> {
    let sources = checkout.root.join("tests/clients");
    let (go, python) = (sources.join("go"), sources.join("python"));
    let made = checkout.tools().join("clients");
    let interpreter = fs::canonicalize(PYTHON).unwrap_or_default();
    let interpreter = interpreter.into_os_string().into_encoded_bytes();
    let what = format!("clients and servers for the tests in {}", checkout.show(&made));
    stamp::made(&made, &[go.clone(), python.clone()], &interpreter, &what, || {
        python::environment(&made.join("python"), &python.join("requirements.txt"))?;
        // Every `main` package, under the name of its folder.
        Go::find(checkout, &go)?.build(&go, &made, &[], "./...")
    })
}
