//! The command line: what can be asked, and the commands that are clients of a running agent.
//!
//! Entry points: [`Cli`] (the arguments), [`status`], [`ready`], [`flows`], [`policy_explain`], [`policy_audit`] (the
//! clients), [`exit`] (what the shell sees). What runs in this process (the agent, check, lint, uninstall)
//! is dispatched by `main`.

pub mod args;
mod audit;
pub mod client;
mod cluster;
pub mod cni;
mod explain;
mod flow_table;
mod human;
mod ready;
mod status;
mod table;

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Context;

pub use self::{
    args::{Cli, Command},
    cluster::check,
    table::{Column, Style, Table},
};
use self::{
    args::{ExplainArgs, FlowsArgs, NodeStatusArgs, Output, StatusArgs},
    client::{ClientError, Lines},
    flow_table::FlowTable,
};
use crate::admin::{AuditRow, Explanation, StatusReport, Verified, query};

/// What a command answered, when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done; or yes.
    Yes,
    /// The answer is no.
    No,
}

/// What a command came to.
pub type Outcome = anyhow::Result<Verdict>;

/// The exit status for an outcome: 0 done, 1 the answer is no or something failed, 2 bad use. A failure is
/// written to standard error in one line. A reader of our output that went away is no failure.
pub fn exit(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "weir: {error:#}");
            let is_bad_use = matches!(error.downcast_ref(), Some(ClientError::BadUse(_)));
            ExitCode::from(if is_bad_use { 2 } else { 1 })
        }
    }
}

/// `weir status`.
pub fn status(args: &NodeStatusArgs) -> Outcome {
    if args.cluster.kube {
        return cluster::status(&args.at, &args.cluster);
    }
    let mut found = Verified::default();
    if args.verify {
        let lines =
            client::run(async { client::post(&args.at.socket, "/v1/verify", &()).await?.all().await })?;
        found = serde_json::from_slice(&lines.concat()).context("the agent's answer is not understood")?;
    }
    let status: Answer<StatusReport> = fetch(&args.at, "/v1/status")?;
    print(args.at.output, &status, |report, style| status::render(report, SystemTime::now(), style))?;
    Ok(if found.faulty == 0 { Verdict::Yes } else { Verdict::No })
}

/// `weir ready`.
pub fn ready(socket: &Path) -> Outcome {
    let Some(instead) = ready::answer(socket)? else { return Ok(Verdict::Yes) };
    writeln!(io::stderr(), "{instead}")?;
    Ok(Verdict::No)
}

/// `weir flows`.
pub fn flows(args: &FlowsArgs) -> Outcome {
    if args.cluster.kube {
        return cluster::flows(args);
    }
    let parameters = args.parameters();
    let query = query::write(parameters.iter().map(|(name, value)| (*name, value.as_str())));
    let path = if query.is_empty() { "/v1/flows".to_owned() } else { format!("/v1/flows?{query}") };
    client::run(async {
        let mut lines = client::get(&args.at.socket, &path).await?;
        let mut table = FlowTable::new(Style::of_stdout());
        let mut out = io::BufWriter::new(io::stdout().lock());
        loop {
            while let Some(line) = lines.buffered() {
                match args.at.output {
                    Output::Json => out.write_all(&line)?,
                    Output::Table => out.write_all(table.line(&line).as_bytes())?,
                }
            }
            // Before waiting, so that a follower sees what there is.
            out.flush()?;
            if !lines.fill().await? {
                break;
            }
        }
        if args.follow {
            anyhow::bail!("the agent at {} has ended", args.at.socket.display());
        }
        if args.at.output == Output::Table && table.is_empty() {
            writeln!(io::stderr(), "no flows match")?;
        }
        Ok(Verdict::Yes)
    })
}

/// `weir policy explain`: the answer is no when the connection would be denied.
pub fn policy_explain(args: &ExplainArgs) -> Outcome {
    let parameters = args.parameters()?;
    let query = query::write(parameters.iter().map(|(name, value)| (*name, value.as_str())));
    let answer: Answer<Explanation> = fetch(&args.at, &format!("/v1/policy/explain?{query}"))?;
    print(args.at.output, &answer, explain::render)?;
    Ok(if answer.value.allowed { Verdict::Yes } else { Verdict::No })
}

/// `weir policy audit`.
pub fn policy_audit(args: &StatusArgs) -> Outcome {
    let lines = client::run(async { client::get(&args.socket, "/v1/policy/audit").await?.all().await })?;
    let rows = lines.iter().map(|line| serde_json::from_slice::<AuditRow>(line));
    let value = rows.collect::<Result<Vec<_>, _>>().context("the agent's answer is not understood")?;
    print(args.output, &Answer { value, text: lines.concat() }, |rows, style| audit::render(rows, style))?;
    Ok(Verdict::Yes)
}

/// An answer, and its text as it came.
struct Answer<T> {
    value: T,
    text: Vec<u8>,
}

fn fetch<T: serde::de::DeserializeOwned>(args: &StatusArgs, path: &str) -> anyhow::Result<Answer<T>> {
    let lines = client::run(async {
        let lines: Lines = client::get(&args.socket, path).await?;
        lines.all().await
    })?;
    let text = lines.concat();
    let value = serde_json::from_slice(&text).context("the agent's answer is not understood")?;
    Ok(Answer { value, text })
}

fn print<T>(output: Output, answer: &Answer<T>, table: impl FnOnce(&T, Style) -> String) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => out.write_all(&answer.text)?,
        Output::Table => out.write_all(table(&answer.value, Style::of_stdout()).as_bytes())?,
    }
    out.flush()
}

/// Writes to standard output.
///
/// # Errors
/// Those of standard output; [`exit`] knows a reader that went away.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl Style {
    /// As standard output wants it: coloured on a terminal unless NO_COLOR is set (no-color.org) or the
    /// terminal is dumb, 120 columns wide unless COLUMNS says more.
    pub fn of_stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            colour: io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            width: columns.unwrap_or(120).clamp(120, 400),
        }
    }
}

#[cfg(test)]
mod tests;
