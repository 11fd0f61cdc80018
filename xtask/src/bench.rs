//! `cargo xtask bench`: Weir measured against no mesh, in one run, on this machine.
//!
//! Entry point: [`run`]. The same topology stands three times: without agents, with agents, and with agents that
//! tunnel on the same node too. Rounds go from one to the next, so that what disturbs the machine disturbs all;
//! a ratio is the median over rounds of one round's figure by the same round's without a mesh. Layer 7 has stages of
//! its own, [`http`], and is measured the same way.

mod cost;
mod document;
mod enrol;
mod figures;
mod http;
mod load;
mod machine;
mod policy;
mod scale;
mod table;
mod world;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use weir_tests::take_programs_from;

use self::{
    cost::Costs,
    figures::{Congestion, Figure, Place, Samples},
    load::Load,
    world::{SameNode, World},
};
use crate::{build, checkout::Checkout, command, kubernetes, packages, setup};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the tables to docs/benchmarks.md; what stands there of what was missed stays.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Fewer and shorter rounds: two minutes, and rough.
    #[arg(long)]
    quick: bool,
    /// Fail where a goal was missed.
    #[arg(long)]
    strict: bool,
    /// One part of it.
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Connections and bytes.
    Tcp,
    /// Requests, beside a pair of Envoys.
    Http,
    /// A large cluster: its API server, controller and agents. Not in docs/benchmarks.md but in docs/scale.md.
    Scale,
    /// Of that, one agent that knows a large cluster.
    Agent,
    /// Of that, the authority when all agents ask at once.
    Authority,
    /// How long after its annotation a pod is captured, in a real Kubernetes. In docs/enrol.md.
    Enrol,
}

/// Until memory at rest is looked at.
const REST: Duration = Duration::from_secs(4);

/// How long and how often.
pub(crate) struct Plan {
    rounds: usize,
    /// One measurement of latency.
    latency: Duration,
    /// One measurement of throughput.
    bulk: Duration,
    /// Connections that do nothing.
    idle: usize,
    /// More of them where a second is measured at a time: a host that is busy for some is outvoted.
    request_rounds: usize,
    /// One measurement of requests; wrk counts whole seconds.
    requests: Duration,
    /// One measurement of requests at an even pace.
    pace: Duration,
}

/// All that one run has found out.
pub(crate) struct Report {
    machine: machine::Machine,
    rounds: usize,
    request_rounds: usize,
    transport: Option<Transport>,
    http: Option<http::Results>,
    took: Duration,
}

/// Of connections and bytes.
struct Transport {
    samples: Samples,
    costs: Costs,
    decisions: Vec<policy::Decision>,
}

/// Builds optimised, measures, prints the tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !command::is_root() {
        bail!("network namespaces and eBPF need root: sudo -E cargo xtask bench");
    }
    if thread::available_parallelism()?.get() < 2 {
        bail!("client and server need a core each");
    }
    let checkout = Checkout::find()?;
    match options.only {
        Some(Part::Scale) => return scale(&checkout, scale::Of::All, options.quick),
        Some(Part::Agent) => return scale(&checkout, scale::Of::Agent, options.quick),
        Some(Part::Enrol) => return enrol(&checkout, options.quick),
        Some(Part::Authority) => return scale(&checkout, scale::Of::Authority, options.quick),
        Some(Part::Tcp | Part::Http) | None => {}
    }
    build(&checkout)?;
    let (tcp, http) = (options.only != Some(Part::Http), options.only != Some(Part::Tcp));
    if tcp {
        policy::build(&checkout)?;
    }
    if http {
        http::prepare(&checkout)?;
    }
    let programs = checkout.program(true, "weir").with_file_name("");
    take_programs_from(&programs);
    let load = Load::new(programs.join("load"));

    let millis = Duration::from_millis;
    let plan = match options.quick {
        false => Plan {
            rounds: 5,
            request_rounds: 15,
            latency: millis(500),
            bulk: millis(800),
            idle: 10_000,
            requests: millis(1000),
            pace: millis(2000),
        },
        true => Plan {
            rounds: 2,
            request_rounds: 3,
            latency: millis(200),
            bulk: millis(300),
            idle: 2_000,
            requests: millis(1000),
            pace: millis(1000),
        },
    };
    let began = Instant::now();
    let machine = machine::Machine::look()?;
    let congestions = figures::available()?;
    let transport = tcp.then(|| measure(&checkout, &load, &plan, &congestions, options.quick)).transpose()?;
    let http = http.then(|| http::measure(&checkout, &load, &plan, congestions[0])).transpose()?;
    let report = Report {
        machine,
        rounds: plan.rounds,
        request_rounds: plan.request_rounds,
        transport,
        http,
        took: began.elapsed(),
    };
    let tables = table::render(&report);
    println!("{tables}");
    if options.write {
        let file = document::write(&checkout, &report, &tables)?;
        println!("written to {}", checkout.show(&file));
    }
    match table::missed(&tables) {
        0 => println!("every goal was reached"),
        missed if options.strict => bail!("{missed} goals were missed"),
        missed => println!("{missed} goals were missed"),
    }
    Ok(())
}

fn scale(checkout: &Checkout, of: scale::Of, quick: bool) -> Result<()> {
    setup::ensure(checkout, packages::FOR_CLUSTER)?;
    kubernetes::ensure(checkout)?;
    let fleet = scale::build(checkout)?;
    take_programs_from(checkout.program(true, "weir").with_file_name(""));
    let machine = machine::Machine::look()?;
    print(machine, &scale::measure(fleet, of, quick)?);
    Ok(())
}

fn enrol(checkout: &Checkout, quick: bool) -> Result<()> {
    scale::build(checkout)?;
    setup::ensure(checkout, packages::FOR_CLUSTER)?;
    kubernetes::ensure(checkout)?;
    take_programs_from(checkout.program(true, "weir").with_file_name(""));
    let machine = machine::Machine::look()?;
    print(machine, &enrol::measure(quick)?);
    Ok(())
}

fn print(machine: machine::Machine, tables: &str) {
    let machine::Machine { processor, cores, kernel, date, busy, .. } = machine;
    println!(
        "{cores} cores ({processor}), Linux {kernel}, {date}; the load average before was {busy:.1}\n\n{tables}"
    );
}

/// Everything optimised: the agent, and what runs in pods.
fn build(checkout: &Checkout) -> Result<()> {
    build::object(checkout, packages::FOR_BENCH)?;
    let mut cargo = command::cargo("build");
    cargo.current_dir(&checkout.root).args(["--release", "-p", "weir-agent", "-p", "weir-tests", "--bins"]);
    command::run(cargo.args(["--features", "weir-tests/load"]))
}

fn measure(
    checkout: &Checkout,
    load: &Load,
    plan: &Plan,
    congestions: &[Congestion],
    quick: bool,
) -> Result<Transport> {
    let mut samples = Samples::default();
    let mut costs = Costs::default();

    let mut worlds = Worlds::build(load, congestions)?;
    for (index, congestion) in congestions.iter().enumerate() {
        worlds.start_agents(*congestion)?;
        if index == 0 {
            costs.at_start = worlds.meshed.memory()?;
        }
        worlds.warm_up(load)?;
        for round in 1..=plan.rounds {
            eprintln!("round {round} of {}, {congestion}", plan.rounds);
            if index == 0 {
                worlds.latency(load, plan, &mut samples)?;
            }
            worlds.throughput(load, plan, *congestion, &mut samples, &mut costs)?;
        }
        if index == 0 {
            costs.right_after_load = worlds.meshed.memory()?;
            thread::sleep(REST);
            costs.after_load = worlds.meshed.memory()?;
        }
    }
    eprintln!("{} idle connections", plan.idle);
    worlds.meshed.start_agents(SameNode::Direct, congestions[0])?;
    costs.idle = Some(worlds.meshed.idle(load, plan.idle)?);
    drop(worlds);
    eprintln!("policy decisions");
    let decisions = policy::measure(checkout, quick)?;
    Ok(Transport { samples, costs, decisions })
}

/// The three topologies.
struct Worlds {
    plain: World,
    meshed: World,
    tunnelled: World,
}

impl Worlds {
    fn build(load: &Load, congestions: &[Congestion]) -> Result<Self> {
        let world = || World::new(load, congestions);
        Ok(Self { plain: world()?, meshed: world()?, tunnelled: world()? })
    }

    fn start_agents(&mut self, congestion: Congestion) -> Result<()> {
        self.meshed.start_agents(SameNode::Direct, congestion)?;
        self.tunnelled.start_agents(SameNode::Tunnel, congestion)
    }

    /// Every place, in the order in which a round visits them.
    fn places(&self) -> [(Place, &World); 6] {
        [
            (Place::PlainNear, &self.plain),
            (Place::Direct, &self.meshed),
            (Place::NearTunnel, &self.tunnelled),
            (Place::PlainFar, &self.plain),
            (Place::FarRelays, &self.plain),
            (Place::FarTunnel, &self.meshed),
        ]
    }

    /// Sessions made, verdicts known, pages touched.
    fn warm_up(&self, load: &Load) -> Result<()> {
        for (place, world) in self.places() {
            load.connect(world, place, Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn latency(&self, load: &Load, plan: &Plan, samples: &mut Samples) -> Result<()> {
        for (place, world) in self.places() {
            let [p50, p99] = load.ping(world, place, plan.latency)?;
            samples.add(Figure::RoundTrip50, place, p50);
            samples.add(Figure::RoundTrip99, place, p99);
            let [p50, p99] = load.connect(world, place, plan.latency)?;
            samples.add(Figure::Connect50, place, p50);
            samples.add(Figure::Connect99, place, p99);
        }
        for connections in [1, 32] {
            for (place, world) in self.places() {
                samples.add(Figure::Http(connections), place, load.http(world, place, connections)?);
            }
        }
        Ok(())
    }

    fn throughput(
        &self,
        load: &Load,
        plan: &Plan,
        congestion: Congestion,
        samples: &mut Samples,
        costs: &mut Costs,
    ) -> Result<()> {
        for streams in [1, 8] {
            for (place, world) in self.places() {
                let before = world.cpu()?;
                let poured = load.bulk(world, place, plan.bulk, streams, congestion)?;
                samples.add(Figure::Bulk(streams, congestion), place, poured.gbit_s);
                costs.poured(place, streams, congestion, world.cpu()? - before, poured.bytes);
            }
        }
        Ok(())
    }
}
