//! Flow records as a user sees them: what `weir flows -o json` prints.
//!
//! Entry points: [`Follower`], which an agent's harness keeps, and [`Flow`].

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process::Process, programs};

/// One flow record.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow(pub Value);

impl Flow {
    /// The text at `path`, fields joined by dots: `source.pod`. Empty where there is none.
    pub fn text(&self, path: &str) -> &str {
        self.field(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number at `path`.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.field(path).and_then(Value::as_u64)
    }

    /// Whether every one of these paths has this text.
    pub fn is(&self, fields: &[(&str, &str)]) -> bool {
        fields.iter().all(|(path, text)| self.text(path) == *text)
    }

    fn field(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, key| value.get(key))
    }
}

/// The words by which `weir` follows, beginning with all that its agent has kept.
pub(crate) const FOLLOW: [&str; 6] = ["flows", "--follow", "--last", "1000000", "-o", "json"];

/// `weir flows --follow`, running.
pub(crate) struct Follower(Process);

impl Follower {
    /// Follows the agent at `socket`, beginning with all that it has kept.
    pub(crate) fn start(socket: &Path) -> Result<Self> {
        let mut command = Command::new(programs::weir()?);
        command.args(FOLLOW).arg("--socket").arg(socket);
        Ok(Self(Process::spawn("weir flows --follow", &mut command)?))
    }

    /// Reads what a `weir` with [`FOLLOW`] prints.
    pub(crate) fn of(process: Process) -> Self {
        Self(process)
    }

    /// What has been printed so far.
    pub(crate) fn all(&mut self) -> Result<Vec<Flow>> {
        self.after(0)
    }

    /// What has been printed so far but for the first `past` records.
    pub(crate) fn after(&mut self, past: usize) -> Result<Vec<Flow>> {
        if !self.0.is_running()? {
            bail!("weir flows --follow has ended: {}", self.0.stderr());
        }
        self.0.stdout().lines().skip(past).map(parse).collect()
    }

    /// Waits for a flow.
    pub(crate) fn wait(&mut self, what: &str, mut condition: impl FnMut(&Flow) -> bool) -> Result<Flow> {
        self.0.wait_line(&format!("a flow: {what}"), |line| match parse(line) {
            Ok(flow) => condition(&flow).then_some(Ok(flow)),
            Err(error) => Some(Err(error)),
        })?
    }
}

pub(crate) fn parse(line: &str) -> Result<Flow> {
    Ok(Flow(serde_json::from_str(line).with_context(|| format!("not a flow record: {line}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_path() {
        let flow =
            parse(r#"{"verdict":"denied","source":{"pod":"cart-0"},"bytes_sent":5}"#).expect("a record");
        assert!(flow.is(&[("verdict", "denied"), ("source.pod", "cart-0")]));
        assert!(!flow.is(&[("source.pod", "pay-0")]));
        assert_eq!(flow.text("source.identity"), "");
        assert_eq!(flow.number("bytes_sent"), Some(5));
        assert!(parse("half a rec").is_err());
    }
}
