//! One measurement: a load program in a pod of a world, run to its end, its figures read.
//!
//! Entry point: [`Load`]. The programs are the tests' own `load`, and `wrk` against nginx.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{Pod, Process};

use super::{
    figures::{Congestion, Place},
    world::{ANSWER, ECHO, HTTP, World},
};
use crate::command;

/// Knows where the load program lies.
pub(super) struct Load {
    program: String,
}

/// Where the one thread of a client or of a server runs. Left to the scheduler, both share a core or do not, by
/// chance and for a whole round: then a round trip takes a third or three times as long.
#[derive(Clone, Copy)]
pub(super) enum Core {
    Client,
    Server,
    Any,
}

impl Core {
    /// The words before a command that keep it there.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Client => &["taskset", "-c", "0"],
            Self::Server => &["taskset", "-c", "1"],
            Self::Any => &[],
        }
    }
}

/// What one bulk transfer came to.
pub(super) struct Poured {
    pub(super) bytes: f64,
    pub(super) gbit_s: f64,
}

impl Load {
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program: program.display().to_string() }
    }

    /// Starts `load WORDS` in a pod.
    pub(super) fn spawn(&self, pod: &Pod, core: Core, words: &[&str]) -> Result<Process> {
        pod.spawn(core.words().iter().chain(&[self.program.as_str()]).chain(words))
    }

    /// Runs `load WORDS` on this machine itself, where it measures nothing; what it printed.
    pub(super) fn output_of(&self, words: &[&str]) -> Result<String> {
        command::output(Command::new(&self.program).args(words))
    }

    /// One byte there and back: p50 and p99 in µs.
    pub(super) fn ping(&self, world: &World, place: Place, time: Duration) -> Result<[f64; 2]> {
        self.percentiles(world, place, "ping", ECHO, time)
    }

    /// Connect, 64 bytes each way, close: p50 and p99 in µs.
    pub(super) fn connect(&self, world: &World, place: Place, time: Duration) -> Result<[f64; 2]> {
        self.percentiles(world, place, "connect", ANSWER, time)
    }

    fn percentiles(
        &self,
        world: &World,
        place: Place,
        what: &str,
        port: u16,
        time: Duration,
    ) -> Result<[f64; 2]> {
        let address = world.address(place, port).to_string();
        let congestion = world.first_congestion();
        let figures =
            self.run(world, Core::Client, &[what, &address, &time.as_millis().to_string()], congestion)?;
        Ok([number(&figures, "p50_us")?, number(&figures, "p99_us")?])
    }

    /// So many streams at once.
    pub(super) fn bulk(
        &self,
        world: &World,
        place: Place,
        time: Duration,
        streams: usize,
        congestion: Congestion,
    ) -> Result<Poured> {
        let address = world.address(place, world.sink(congestion)).to_string();
        let words = ["bulk", &address, &time.as_millis().to_string(), &streams.to_string()];
        let figures = self.run(world, Core::Any, &words, congestion)?;
        Ok(Poured { bytes: number(&figures, "bytes")?, gbit_s: number(&figures, "gbit_s")? })
    }

    fn run(&self, world: &World, core: Core, words: &[&str], congestion: Congestion) -> Result<Value> {
        let words = [words, &["--congestion", congestion.name()]].concat();
        let printed = self.spawn(world.client(), core, &words)?.finish()?.success()?;
        let figures: Value = serde_json::from_str(&printed).with_context(|| format!("load: {printed}"))?;
        ensure!(figures["congestion"] == congestion.name(), "a socket is not on {congestion}: {printed}");
        Ok(figures)
    }

    /// HTTP/1.1 requests a second over so many connections.
    pub(super) fn http(&self, world: &World, place: Place, connections: usize) -> Result<f64> {
        let url = format!("http://{}/", world.address(place, HTTP));
        let connections = format!("-c{connections}");
        let words = ["wrk", "-t1", &connections, "-d1s", &url];
        let printed = world.client().run(Core::Client.words().iter().chain(&words))?.success()?;
        ensure!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "wrk: {printed}");
        let rate = printed.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        let rate = rate.with_context(|| format!("wrk: {printed}"))?;
        Ok(rate.trim().parse()?)
    }
}

/// A figure of this name.
pub(super) fn number(figures: &Value, name: &str) -> Result<f64> {
    figures[name].as_f64().with_context(|| format!("load gave no {name}: {figures}"))
}
