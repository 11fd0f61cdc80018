//! The agents of a cluster, each asked where it runs, with the rights of whoever asks.
//!
//! Entry points: [`flows`], [`status`], [`check`]. A command is run in each agent's container (`pods/exec`), as
//! `kubectl exec` does, so that nothing has to listen for this, and Kubernetes says who may.

mod check;
mod exec;
mod merge;
mod nodes;

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use self::{
    exec::{Agent, Told},
    merge::{Newest, Waiting},
    nodes::NodeRow,
};
use super::{
    Outcome, Style, Verdict,
    args::{CheckArgs, ClusterArgs, FlowsArgs, Output, StatusArgs},
    client,
    flow_table::FlowTable,
};
use crate::{admin::StatusReport, source::kube};

/// Lines that have come and are not yet looked at; agents wait when it is full.
const TOLD: usize = 1024;
/// Records of all nodes together that are shown at most, unless `--last` says less.
const MOST: usize = 100_000;
/// How long a record waits for earlier ones of other nodes.
const PATIENCE: Duration = Duration::from_millis(300);

/// `weir flows --kube`.
pub(super) fn flows(args: &FlowsArgs) -> Outcome {
    client::run(async {
        let agents = find(&args.cluster).await?;
        let mut command = words(["weir", "flows", "-o", "json"]);
        for (name, value) in args.parameters() {
            let flag = format!("--{}", name.replace('_', "-"));
            command.extend(if name == "follow" { vec![flag] } else { vec![flag, value] });
        }
        let (told, _running) = ask(agents, &command);
        match args.follow {
            true => follow(told, args.at.output).await,
            false => show(told, args).await,
        }
    })
}

/// `weir status --kube`: a row for each node, the worst first; the answer is no when one is not well.
pub(super) fn status(args: &StatusArgs, cluster: &ClusterArgs) -> Outcome {
    let rows = client::run(rows(cluster))?;
    match args.output {
        Output::Json => {
            for row in &rows {
                super::write(&format!("{}\n", serde_json::to_string(row)?))?;
            }
        }
        Output::Table => super::write(&nodes::render(&rows, SystemTime::now(), Style::of_stdout()))?,
    }
    Ok(if rows.iter().all(NodeRow::is_well) { Verdict::Yes } else { Verdict::No })
}

/// `weir check --kube`: what an install needs of a cluster, and how one that is there does.
pub fn check(args: &CheckArgs) -> anyhow::Result<crate::check::Report> {
    client::run(async {
        let (client, _) = kube::client().await?;
        let rows = match exec::agents(&client, &args.cluster).await {
            Ok(agents) if !agents.is_empty() => statuses(agents).await,
            _ => Vec::new(),
        };
        anyhow::Ok(check::run(&client, &args.cluster.agents, &rows).await)
    })
}

async fn rows(cluster: &ClusterArgs) -> anyhow::Result<Vec<NodeRow>> {
    Ok(statuses(find(cluster).await?).await)
}

async fn find(cluster: &ClusterArgs) -> anyhow::Result<Vec<Agent>> {
    let (client, _) = kube::client().await?;
    let agents = exec::agents(&client, cluster).await?;
    if agents.is_empty() {
        let place = cluster.node.as_ref().map_or_else(String::new, |node| format!(" on node {node}"));
        anyhow::bail!("no agent{place}: no pods with {} in {}", exec::LABEL, cluster.agents);
    }
    Ok(agents)
}

async fn statuses(agents: Vec<Agent>) -> Vec<NodeRow> {
    let mut rows: Vec<NodeRow> = agents.iter().map(NodeRow::unheard).collect();
    let (mut told, _running) = ask(agents, &words(["weir", "status", "-o", "json"]));
    while let Some((index, told)) = told.recv().await {
        let row = &mut rows[index];
        match told {
            Told::Line(line) => match serde_json::from_slice::<StatusReport>(&line) {
                Ok(report) => row.hear(&report),
                Err(error) => row.fail(format!("what it says is not understood: {error}")),
            },
            Told::Failed(words) => row.fail(words),
        }
    }
    nodes::worst_first(&mut rows);
    rows
}

/// Runs a command at every agent; what each says comes with its place in the list.
fn ask(agents: Vec<Agent>, command: &[String]) -> (mpsc::Receiver<(usize, Told)>, JoinSet<()>) {
    let (sender, told) = mpsc::channel(TOLD);
    let mut running = JoinSet::new();
    for (index, agent) in agents.into_iter().enumerate() {
        running.spawn(agent.run(command.to_vec(), index, sender.clone()));
    }
    (told, running)
}

/// Everything there is, in the order of its time.
async fn show(mut told: mpsc::Receiver<(usize, Told)>, args: &FlowsArgs) -> Outcome {
    let mut newest = Newest::new(args.last.unwrap_or(MOST).min(MOST));
    let mut failed = false;
    while let Some((_, told)) = told.recv().await {
        match told {
            Told::Line(line) => newest.put(line),
            Told::Failed(words) => {
                failed = true;
                writeln!(io::stderr(), "weir: {words}")?;
            }
        }
    }
    let left_out = newest.left_out();
    let mut printer = Printer::new(args.at.output);
    for line in newest.into_sorted() {
        printer.print(&line)?;
    }
    printer.out.flush()?;
    if args.at.output == Output::Table && printer.table.is_empty() && !failed {
        writeln!(io::stderr(), "no flows match")?;
    }
    if left_out > 0 && args.last.is_none() {
        writeln!(io::stderr(), "{left_out} older records are not shown: say --since or --last")?;
    }
    Ok(if failed { Verdict::No } else { Verdict::Yes })
}

/// What comes, each record a moment later, so that those of several nodes stand in the order of their time.
async fn follow(mut told: mpsc::Receiver<(usize, Told)>, output: Output) -> Outcome {
    let mut waiting = Waiting::default();
    let mut printer = Printer::new(output);
    loop {
        let due = waiting.next_due().map_or_else(|| Instant::now() + PATIENCE, |at| at + PATIENCE);
        tokio::select! {
            next = told.recv() => match next {
                Some((_, Told::Line(line))) => waiting.put(line, Instant::now()),
                Some((_, Told::Failed(words))) => writeln!(io::stderr(), "weir: {words}")?,
                None => break,
            },
            () = tokio::time::sleep_until(due) => {}
        }
        let full = waiting.len() >= TOLD;
        while let Some(line) = waiting.take(Instant::now(), PATIENCE, full) {
            printer.print(&line)?;
        }
        printer.out.flush()?;
    }
    while let Some(line) = waiting.take(Instant::now(), PATIENCE, true) {
        printer.print(&line)?;
    }
    printer.out.flush()?;
    anyhow::bail!("every agent has ended")
}

struct Printer {
    output: Output,
    table: FlowTable,
    out: io::BufWriter<io::Stdout>,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self { output, table: FlowTable::new(Style::of_stdout()), out: io::BufWriter::new(io::stdout()) }
    }

    fn print(&mut self, line: &[u8]) -> io::Result<()> {
        match self.output {
            Output::Json => {
                self.out.write_all(line)?;
                self.out.write_all(b"\n")
            }
            Output::Table => self.out.write_all(self.table.line(line).as_bytes()),
        }
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
