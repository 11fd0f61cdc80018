//! A large cluster, without its nodes: what its pods cost an API server, a controller and an agent.
//!
//! Entry points: [`build`], [`measure`]. The API server, etcd, the controller and the agents are real; the other agents
//! are watches of one program (`agent/benches/fleet`), which asks as agents ask and throws away what it hears.

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use weir_tests::{Agent, ApiServer, Controller, Manifest, Process, Topology, eventually_within};

use super::cost::{cpu, peak, resident};
use crate::{build, checkout::Checkout, command, packages};

/// The longest that anything here takes.
const LONG: Duration = Duration::from_secs(900);
/// Until what follows a change has come everywhere.
const SETTLE: Duration = Duration::from_secs(3);
/// Namespaces of the large cluster; each has slices of its own.
const NAMESPACES: usize = 100;

/// Service accounts on a node.
const CERTIFICATES: usize = 5;

/// How large.
struct Size {
    agents: usize,
    /// For the fleet of agents.
    pods: usize,
    rolled: usize,
    /// For one agent.
    known: usize,
    services: usize,
    changes: usize,
}

/// Compiles the program, and Weir beside it, and says where the program is.
pub(super) fn build(checkout: &Checkout) -> Result<PathBuf> {
    build::object(checkout, packages::FOR_BENCH)?;
    let mut cargo = command::cargo("bench");
    cargo.current_dir(&checkout.root).args(["-p", "weir-agent", "--bench", "fleet", "--no-run"]);
    let printed = command::output(cargo.args(["--message-format", "json"]))?;
    let messages = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "fleet");
    let program = programs.find_map(|message| Some(message["executable"].as_str()?.to_owned()));
    Ok(program.context("cargo made no fleet")?.into())
}

/// Which part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// All.
    All,
    /// One agent that knows a large cluster.
    Agent,
    /// The authority, when all agents ask at once.
    Authority,
}

/// Measures, and says it in a table.
pub(super) fn measure(fleet: PathBuf, of: Of, quick: bool) -> Result<String> {
    let size = match quick {
        false => Size { agents: 1000, pods: 400, rolled: 40, known: 100_000, services: 10_000, changes: 200 },
        true => Size { agents: 100, pods: 200, rolled: 20, known: 10_000, services: 1_000, changes: 50 },
    };
    let mut table = Table::default();
    if of == Of::All {
        fan_out(&fleet, &size, &mut table)?;
        pushed(&fleet, &size, &mut table)?;
    }
    if of != Of::Agent {
        certified(&fleet, &size, &mut table)?;
    }
    if of != Of::Authority {
        one_agent(&fleet, &size, &mut table)?;
    }
    Ok(table.text())
}

/// What was found out.
#[derive(Default)]
pub(super) struct Table(String);

impl Table {
    /// As Markdown.
    pub(super) fn text(self) -> String {
        self.0
    }

    /// Adds a row, and says it at once.
    pub(super) fn row(&mut self, what: impl AsRef<str>, figure: impl AsRef<str>) {
        if self.0.is_empty() {
            self.0 += "| | |\n|---|---|\n";
        }
        let row = format!("| {} | {} |\n", what.as_ref(), figure.as_ref());
        eprint!("{row}");
        self.0 += &row;
    }
}

/// An API server with Weir's kinds.
struct World {
    api: ApiServer,
    fleet: PathBuf,
    topology: Topology,
}

impl World {
    fn new(fleet: &std::path::Path) -> Result<Self> {
        let topology = Topology::with_nodes(1)?;
        let api = ApiServer::start(topology.node("a"))?;
        api.define()?;
        api.put(&Manifest::namespace("weir-system"))?;
        Ok(Self { api, fleet: fleet.to_owned(), topology })
    }

    fn start(&self, words: &[&str]) -> Result<Process> {
        let kubeconfig = format!("KUBECONFIG={}", self.api.kubeconfig().display());
        let mut command = vec!["env".to_owned(), kubeconfig, self.fleet.display().to_string()];
        command.extend(words.iter().map(|word| (*word).to_owned()));
        self.topology.node("a").spawn(command)
    }

    fn run(&self, words: &[&str]) -> Result<Value> {
        let printed = self.start(words)?.finish_within(LONG)?.success()?;
        serde_json::from_str(printed.lines().last().unwrap_or_default()).with_context(|| printed.clone())
    }

    fn agent(&self, pods: &str) -> Result<Agent> {
        let kubeconfig = self.api.kubeconfig().display().to_string();
        let agent = self.topology.node("a").agent().args(["--kube", "--pods", pods]);
        let agent = agent.env("KUBECONFIG", &kubeconfig).spawn()?;
        eventually_within(LONG, "the agent to be ready", || Ok(agent.http("/readyz").ok()))?;
        Ok(agent)
    }

    /// Processor time of the API server so far.
    fn served(&self) -> Result<f64> {
        Ok(cpu(self.api.id())?.as_secs_f64())
    }
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or(f64::NAN)
}

/// The answer to the `nth` line, of a program that answers lines with objects.
fn answer(process: &mut Process, nth: usize) -> Result<Value> {
    process.wait_line_within(LONG, "an answer", |line| {
        serde_json::from_str(line).ok().filter(|answer: &Value| answer["nth"] == nth)
    })
}

/// Many agents, and a Deployment that is rolled.
fn fan_out(fleet: &std::path::Path, size: &Size, table: &mut Table) -> Result<()> {
    let world = World::new(fleet)?;
    let namespaces = size.pods / 100;
    world.run(&["pods", &namespaces.to_string(), "100"])?;
    let mut controller = writer(&world, size)?;
    let mut from = 0;
    let quiet = roll(&world, &controller, size, &mut from, None)?;
    table.row(
        "a pod replaced, nobody watching but the controller: API server / controller",
        format!("{:.1} ms / {:.2} ms", quiet.server * 1e3, quiet.controller * 1e3),
    );
    for what in ["pods", "slices"] {
        // What came before may have kept the API server so busy that this one waits to try again.
        controller.stop()?;
        controller = writer(&world, size)?;
        let before = world.served()?;
        let mut watches = world.start(&["watch", &size.agents.to_string(), what])?;
        let first = answer(&mut watches, 0)?;
        let served = world.served()? - before;
        table.row(
            format!(
                "{} agents begin to watch {} pods, {what}: all have them / API server / bytes for each",
                size.agents, size.pods
            ),
            format!(
                "{:.1} s / {served:.1} s / {:.2} MB",
                number(&first, "seconds"),
                number(&first, "bytes") / size.agents as f64 / 1e6
            ),
        );
        let rolled = roll(&world, &controller, size, &mut from, Some(&mut watches))?;
        table.row(
            format!(
                "a pod replaced before {} agents, {what}: API server / bytes to each agent / events",
                size.agents
            ),
            format!(
                "{:.1} ms / {:.1} kB / {:.1}",
                (rolled.server - quiet.server).max(0.0) * 1e3,
                rolled.bytes / size.agents as f64 / 1e3,
                rolled.events / size.agents as f64
            ),
        );
        drop(watches);
        let agent = world.agent(if what == "pods" { "all" } else { what })?;
        let before = cpu(agent.id())?;
        roll(&world, &controller, size, &mut from, None)?;
        let used = (cpu(agent.id())? - before).as_secs_f64() / size.rolled as f64;
        table.row(
            format!("a pod replaced, {what}: processor time of one agent"),
            format!("{:.2} ms", used * 1e3),
        );
        drop(agent);
        thread::sleep(SETTLE);
    }
    Ok(())
}

/// A controller that has written all slices.
fn writer(world: &World, size: &Size) -> Result<Controller> {
    let controller = world.api.controller(3, ["--slices"])?.ready()?;
    eventually_within(LONG, "all pods to be in slices", || {
        Ok((controller.metric("weir_controller_sliced_pods", &[])? == Some(size.pods as f64)).then_some(()))
    })?;
    thread::sleep(SETTLE);
    Ok(controller)
}

/// What one replaced pod costs.
struct Rolled {
    server: f64,
    controller: f64,
    bytes: f64,
    events: f64,
}

fn roll(
    world: &World,
    controller: &Controller,
    size: &Size,
    from: &mut usize,
    mut watches: Option<&mut Process>,
) -> Result<Rolled> {
    let heard = |watches: &mut Option<&mut Process>, nth| match watches {
        Some(watches) => {
            watches.send_line("")?;
            answer(watches, nth)
        }
        None => Ok(Value::Null),
    };
    let (server, writer, before) = (world.served()?, cpu(controller.id())?, heard(&mut watches, 1)?);
    world.run(&["roll", &from.to_string(), &size.rolled.to_string(), "10"])?;
    *from += size.rolled;
    thread::sleep(SETTLE);
    let after = heard(&mut watches, 2)?;
    let each = |total: f64| total / size.rolled as f64;
    Ok(Rolled {
        server: each(world.served()? - server),
        controller: each((cpu(controller.id())? - writer).as_secs_f64()),
        bytes: each(number(&after, "bytes") - number(&before, "bytes")),
        events: each(number(&after, "events") - number(&before, "events")),
    })
}

/// The least that a server of its own would cost the controller.
fn pushed(fleet: &std::path::Path, size: &Size, table: &mut Table) -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let words = [fleet.display().to_string(), "push".into(), size.agents.to_string(), size.pods.to_string()];
    let printed = topology.node("a").spawn(words)?.finish_within(LONG)?.success()?;
    let pushed: Value = serde_json::from_str(printed.trim())?;
    table.row(
        format!(
            "{} agents are pushed {} pods over TLS by a controller: its processor time",
            size.agents, size.pods
        ),
        format!("{:.1} s", number(&pushed["first"], "cpu")),
    );
    table.row(
        format!(
            "one pod's change pushed to {} agents: the controller's processor time / bytes to each",
            size.agents
        ),
        format!(
            "{:.1} ms / {:.1} kB",
            number(&pushed, "cpu_of_a_change") * 1e3,
            number(&pushed, "bytes_of_a_change") / size.agents as f64 / 1e3
        ),
    );
    Ok(())
}

/// All agents want certificates at once.
fn certified(fleet: &std::path::Path, size: &Size, table: &mut Table) -> Result<()> {
    let world = World::new(fleet)?;
    let controller = world.api.controller(0, [])?.ready()?;
    let mut agents =
        world.start(&["certify", &size.agents.to_string(), &CERTIFICATES.to_string(), "15012"])?;
    answer(&mut agents, 0)?;
    thread::sleep(SETTLE);
    let (served, signed) = (world.served()?, cpu(controller.id())?);
    agents.send_line("")?;
    let done = answer(&mut agents, 1)?;
    let (served, signed) = (world.served()? - served, (cpu(controller.id())? - signed).as_secs_f64());
    let refused = controller.metric("weir_ca_connections_refused_total", &[])?.unwrap_or_default();
    table.row(
        format!(
            "{} agents want {CERTIFICATES} certificates each at once: all have them / failed requests / connections turned away",
            size.agents
        ),
        format!("{:.1} s / {} / {refused}", number(&done, "seconds"), number(&done, "failed")),
    );
    table.row(
        "… processor time of the controller / of the API server / RSS of the controller at the most",
        format!("{signed:.1} s / {served:.1} s / {:.0} MB", peak(controller.id())? as f64 / 1e6),
    );
    Ok(())
}

/// One agent that knows a large cluster.
fn one_agent(fleet: &std::path::Path, size: &Size, table: &mut Table) -> Result<()> {
    let world = World::new(fleet)?;
    let namespaces = NAMESPACES.to_string();
    world.run(&["slices", &size.known.to_string(), &namespaces])?;
    world.run(&["services", &size.services.to_string(), &namespaces])?;
    let agent = world.agent("slices")?;
    let began = cpu(agent.id())?;
    thread::sleep(SETTLE);
    table.row(
        format!(
            "an agent that knows {} pods and {} Services: RSS, at rest / the most / processor time to begin",
            size.known, size.services
        ),
        format!(
            "{:.0} MB / {:.0} MB / {:.1} s",
            resident(agent.id())? as f64 / 1e6,
            peak(agent.id())? as f64 / 1e6,
            began.as_secs_f64()
        ),
    );
    let mut changes = world.start(&["change", "load-7"])?;
    let before = cpu(agent.id())?;
    for nth in 1..=size.changes {
        changes.send_line("")?;
        answer(&mut changes, nth)?;
    }
    thread::sleep(SETTLE);
    let used = (cpu(agent.id())? - before).as_secs_f64();
    table.row(
        "there, one pod's change: processor time of the agent, from the slice to the kernel's maps",
        format!("{:.2} ms", used / size.changes as f64 * 1e3),
    );
    Ok(())
}
