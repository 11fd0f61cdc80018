//! How the demo talks: numbered steps, each command as one would type it, its real output, what it proves.
//!
//! Entry point: [`Screen`]. Colours only on a terminal, and not where NO_COLOR is set.

use std::{
    cell::Cell,
    env,
    io::{IsTerminal, stdout},
    time::Duration,
};

const BOLD: &str = "1";
const GREEN: &str = "32";
const CYAN: &str = "36";
const QUIET: &str = "2";

/// Standard output of the demo.
pub(super) struct Screen {
    colour: bool,
    step: Cell<u8>,
    /// The agent's binary, as the reader finds it.
    pub(super) weir: String,
}

impl Screen {
    pub(super) fn new(weir: String) -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb, step: Cell::new(0), weir }
    }

    pub(super) fn opening(&self) {
        println!(
            "{}",
            self.paint(BOLD, "Weir: two nodes on this machine, with an agent each, and their pods")
        );
        println!(
            "{}",
            self.paint(QUIET, "Before each $ stands where the command runs: on a node, or in a pod.")
        );
    }

    pub(super) fn closing(&self, took: Duration) {
        self.heading(&format!("All {} steps in {:.0} s.", self.step.get(), took.as_secs_f64()));
    }

    /// Begins the next step.
    pub(super) fn step(&self, title: &str) {
        self.step.set(self.step.get() + 1);
        self.heading(&format!("{}. {title}", self.step.get()));
    }

    /// A heading that is no step.
    pub(super) fn heading(&self, title: &str) {
        println!("\n{}", self.paint(BOLD, title));
    }

    /// A command, before it runs.
    pub(super) fn command(&self, place: &str, command: &str) {
        println!("{} $ {}", self.paint(CYAN, place), self.paint(BOLD, command));
    }

    /// What a command printed.
    pub(super) fn output(&self, text: &str) {
        if !text.is_empty() {
            println!("{}", text.trim_end());
        }
    }

    /// Fields of a record, names in a column.
    pub(super) fn fields(&self, fields: &[(&str, &str)]) {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields {
            println!("  {name:width$}  {value}");
        }
    }

    /// What was just seen and checked.
    pub(super) fn proved(&self, words: &str) {
        println!("{} {words}", self.paint(GREEN, "✓"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
