//! A real agent on a node: started as an operator starts it, asked through its command line and its socket.
//!
//! Entry points: [`AgentBuilder::start`], [`Agent::flows`], [`Agent::wait_flow`], [`Agent::status`],
//! [`Agent::metric`]. What an agent has logged is part of the output of its test, which shows when that fails.

use std::{path::PathBuf, process::ExitStatus};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    flows::{Flow, Follower},
    metrics,
    process::{Finished, Process, describe, eventually},
    programs,
    topology::Node,
};

/// `sh -c … sh FILE COMMAND…`
const TO_FILE: &str = r#"file=$1 && shift && exec "$@" >>"$file" 2>&1"#;

/// How an agent is to be started.
pub struct AgentBuilder {
    node: Node,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    under: Vec<String>,
    log_file: Option<PathBuf>,
}

impl AgentBuilder {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, arguments: Vec::new(), settings: Vec::new(), under: Vec::new(), log_file: None }
    }

    /// Adds words to the command line; a flag given here wins over the harness' own.
    pub fn args<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has it started by another program, such as setpriv.
    pub fn under<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.under = words.into_iter().map(Into::into).collect();
        self
    }

    /// Has it log to this file: for an agent that outlives this process, which reads the log otherwise.
    pub fn log_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.log_file = Some(file.into());
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Result<Agent> {
        self.spawn()?.ready()
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Result<Agent> {
        Ok(Agent {
            process: self.process()?,
            follower: None,
            node: self.node,
            logs_to_file: self.log_file.is_some(),
        })
    }

    /// Starts it and waits until it ends by itself: for what must not start.
    pub fn run(self) -> Result<Finished> {
        self.process()?.finish()
    }

    fn process(&self) -> Result<Process> {
        let mut words = Vec::new();
        if let Some(file) = &self.log_file {
            words.extend(["sh", "-c", TO_FILE, "sh"].map(str::to_owned));
            words.push(file.display().to_string());
        }
        words.extend(["env", "NO_COLOR=1"].map(str::to_owned));
        words.extend(self.settings.iter().map(|(name, value)| format!("{name}={value}")));
        words.extend(self.under.iter().cloned());
        words.extend([programs::weir()?.display().to_string(), "agent".to_owned()]);
        words.extend(self.defaults());
        words.extend(self.arguments.iter().cloned());
        self.node.spawn(&words)
    }

    fn defaults(&self) -> Vec<String> {
        let node = &self.node;
        let flags = [
            ("--node", node.name().to_owned()),
            ("--state", node.state_dir().display().to_string()),
            ("--ca", format!("local:{}", node.ca_dir().display())),
            ("--cgroup", node.cgroup().display().to_string()),
            ("--bpffs", node.bpffs().display().to_string()),
            ("--socket", node.socket().display().to_string()),
            ("--metrics", metrics::ADDRESS.to_string()),
        ];
        let given = |flag: &str| {
            let instead = if flag == "--state" { "--kube" } else { flag };
            self.arguments
                .iter()
                .any(|word| [flag, instead].contains(&word.split('=').next().unwrap_or(word)))
        };
        let wanted = flags.into_iter().filter(|(flag, _)| !given(flag));
        wanted.flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

/// A running agent; dropping it kills it, as a crash would.
pub struct Agent {
    node: Node,
    process: Process,
    follower: Option<Follower>,
    logs_to_file: bool,
}

impl Agent {
    /// Waits until it says that every enrolled pod of its node is captured.
    pub fn ready(mut self) -> Result<Self> {
        if self.logs_to_file {
            eventually("an agent to be ready", || {
                if !self.process.is_running()? {
                    bail!("the agent of {} has ended; its log says why", self.node.name());
                }
                Ok(self.http("/readyz").ok())
            })?;
        } else {
            self.wait_log("ready", |line| is_ready(line).then_some(()))?;
        }
        Ok(self)
    }

    /// The node that it runs on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it logs a line for which `choose` gives something; earlier lines count too.
    pub fn wait_log<T>(&mut self, what: &str, choose: impl FnMut(&str) -> Option<T>) -> Result<T> {
        self.process.wait_any_line(what, choose)
    }

    /// All flows that its command line shows, oldest first. Starts to follow at the first call; flows from
    /// before are there too, as far as the agent has kept them.
    pub fn flows(&mut self) -> Result<Vec<Flow>> {
        self.follower()?.all()
    }

    /// Waits for a flow for which `condition` holds; earlier ones count too.
    pub fn wait_flow(&mut self, what: &str, condition: impl FnMut(&Flow) -> bool) -> Result<Flow> {
        self.follower()?.wait(what, condition)
    }

    /// `weir status -o json`.
    pub fn status(&self) -> Result<Value> {
        let printed = self.weir(["status", "-o", "json"])?.success()?;
        serde_json::from_str(&printed).with_context(|| format!("weir status printed {printed}"))
    }

    /// Waits until `condition` holds for its status.
    pub fn wait_status(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) -> Result<Value> {
        eventually(what, || Ok(Some(self.status()?).filter(&mut condition)))
    }

    /// The sum of the samples of metric `name` that have these labels; `None` where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        Ok(metrics::sum(&self.http("/metrics")?, name, labels))
    }

    /// Waits until the metric is at least `wanted`.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], wanted: f64) -> Result<f64> {
        let what = format!("{name}{labels:?} to reach {wanted}");
        eventually(&what, || Ok(self.metric(name, labels)?.filter(|value| *value >= wanted)))
    }

    /// The body that its port on the node answers to `GET path`, if it is a 200.
    pub fn http(&self, path: &str) -> Result<String> {
        metrics::fetch(&self.node.netns(), metrics::ADDRESS, path)
    }

    /// Runs `weir WORDS… --socket …` to its end.
    pub fn weir<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<Finished> {
        self.node.weir(words)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until it ends, by itself or by a signal that it was sent.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait()
    }

    /// Ends it as an operator does, and waits until it has drained. Errors when it does not exit with 0.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the agent of {}: {}\n{}", self.node.name(), describe(status), self.log());
        }
        Ok(())
    }

    /// Leaves it running when this process ends. It must have a [file to log to](AgentBuilder::log_file).
    pub fn leave(mut self) {
        self.follower = None;
        std::mem::forget(self);
    }

    /// Ends it at once, as a crash does.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait()?;
        Ok(())
    }

    fn follower(&mut self) -> Result<&mut Follower> {
        if self.follower.is_none() {
            self.follower = Some(Follower::start(&self.node.socket())?);
        }
        self.follower.as_mut().context("a follower that was just made")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if programs::in_a_test() {
            // Captured with the rest of the test's output.
            println!("--- log of the agent of {}:\n{}---", self.node.name(), self.process.log());
        }
    }
}

/// `ready` as a message of its own, in text or in JSON.
fn is_ready(line: &str) -> bool {
    line.split_whitespace().any(|word| word == "ready") || line.contains("\"message\":\"ready\"")
}
