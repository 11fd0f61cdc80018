//! The link between the nodes, looked at while something is sent over it.
//!
//! Entry points: [`Wire::watch`], [`Wire::seen`]. The program is `wire.py`.

use std::fs;

use anyhow::{Context, Result};
use weir_tests::Process;

use super::stage::Stage;

const PROGRAM: &str = include_str!("wire.py");

/// Someone who listens on the link from node-a to node-b.
pub(super) struct Wire(Process);

/// What went over it.
pub(super) struct Seen {
    /// The listener's own words.
    pub(super) words: String,
    /// Whether it was TLS.
    pub(super) is_tls: bool,
    /// Whether the text could be read.
    pub(super) readable: bool,
}

impl Wire {
    /// Begins to look for `text`.
    pub(super) fn watch(stage: &Stage<'_>, text: &str) -> Result<Self> {
        let program = stage.dir.join("wire.py");
        fs::write(&program, PROGRAM)?;
        stage.screen.command("node-a", &format!("python3 wire.py to-node-b {text} &"));
        let program = program.display().to_string();
        let mut process = stage.node(0).spawn(["python3", &program, "to-node-b", text])?;
        process.wait_line("the link", |line| line.starts_with("listening").then_some(()))?;
        Ok(Self(process))
    }

    /// Ends it.
    pub(super) fn seen(self, stage: &Stage<'_>) -> Result<Seen> {
        let printed = self.0.finish()?.success()?;
        let words = printed.lines().last().context("wire.py said nothing")?.to_owned();
        stage.screen.command("node-a", "wait");
        stage.screen.output(&words);
        let is_tls = !words.contains("; 0 of them");
        Ok(Seen { is_tls, readable: words.ends_with("is there to read"), words })
    }
}
