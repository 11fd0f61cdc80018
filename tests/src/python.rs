//! Programs of a few lines in Python: for what no ready client or server does, such as an attacker.
//!
//! Entry point: [`python`], which gives the words of a command for a pod or a node to run.

use std::path::Path;

/// Debian's own interpreter where there is one: a version manager's takes longer to start than most tests.
const DEBIANS: &str = "/usr/bin/python3";

/// The words that run `program` with `arguments` (`sys.argv[1:]`).
pub fn python<S: Into<String>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Vec<String> {
    let interpreter = if Path::new(DEBIANS).exists() { DEBIANS } else { "python3" };
    let words = [interpreter, "-u", "-c", program].map(str::to_owned);
    words.into_iter().chain(arguments.into_iter().map(Into::into)).collect()
}
