//! The machine and the programs that a run was made with.
//!
//! Entry point: [`Machine::look`].

use std::{fs, process::Command, thread::available_parallelism};

use anyhow::Result;

use crate::command;

/// What a reader needs to judge the figures.
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) date: String,
    pub(super) nginx: String,
    pub(super) wrk: String,
    /// Load average of the last minute, before the run: on a machine that is not left alone it is not 0.
    pub(super) busy: f64,
}

impl Machine {
    pub(super) fn look() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let busy = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            cores: available_parallelism()?.get(),
            kernel: line(Command::new("uname").arg("-r")),
            date: line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
            nginx: version("nginx", "nginx/"),
            wrk: version("wrk", "wrk "),
            busy: busy.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        })
    }
}

fn line(command: &mut Command) -> String {
    command::output(command).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The word after `before` in what `program -v` says, wherever and however it ends.
fn version(program: &str, before: &str) -> String {
    let Some(file) = command::find(program) else { return "unknown".into() };
    let Ok(said) = Command::new(file).arg("-v").output() else { return "unknown".into() };
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let word = said.split_once(before).and_then(|(_, rest)| rest.split_whitespace().next());
    word.unwrap_or("unknown").to_owned()
}
