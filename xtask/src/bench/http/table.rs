//! Layer 7 in tables.
//!
//! Entry point: [`render`].

use super::{
    super::{
        figures::Goal,
        table::{Table, grouped, mark, megabytes},
    },
    Results,
    neighbour::Noise,
    objects,
    samples::{Measured, Protocol, Way},
};

/// Largest resident memory of an agent after the load, bytes.
const MEMORY: f64 = 25e6;
/// Ten times the body takes the same memory; what differs is what a turn of the scheduler left in buffers.
const SAME_MEMORY: f64 = 1.25;
/// The same figure as without the objects of others; a tenth is noise.
const SAME_RATE: f64 = 0.9;

/// Both tables.
pub(in crate::bench) fn render(results: &Results) -> String {
    let mut requests = Table::new(&[
        "requests across nodes",
        "no mesh",
        "Envoy pair",
        "Weir",
        "to no mesh",
        "goal",
        "to the Envoy pair",
        "goal",
    ]);
    for protocol in Protocol::ALL {
        for figure in Figure::ALL {
            requests.row(request_row(results, protocol, figure));
        }
    }
    let mut more = Table::new(&["more of layer 7", "figure", "goal"]);
    for (what, figure, goal) in more_rows(results) {
        more.row(vec![what, figure, goal]);
    }
    format!("\n{}\n{}", requests.render(), more.render())
}

/// What is said of requests of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Rate,
    P50,
    P99,
    Cpu,
}

impl Figure {
    const ALL: [Self; 4] = [Self::Rate, Self::P50, Self::P99, Self::Cpu];

    fn title(self) -> &'static str {
        match self {
            Self::Rate => "requests",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Cpu => "processor time between",
        }
    }

    fn of(self) -> fn(&Measured) -> f64 {
        match self {
            Self::Rate => |measured| measured.rate,
            Self::P50 => |measured| measured.p50_us,
            Self::P99 => |measured| measured.p99_us,
            Self::Cpu => |measured| measured.cpu_us,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{:.1}k/s", value / 1e3),
            _ => format!("{value:.0} µs"),
        }
    }

    /// As a ratio to no mesh, and as one to the pair of Envoys.
    fn goals(self) -> [Option<Goal>; 2] {
        match self {
            Self::Rate => [Some(Goal::AtLeast(0.25)), Some(Goal::AtLeast(2.5))],
            Self::P99 => [None, Some(Goal::AtMost(1.0))],
            Self::P50 | Self::Cpu => [None, None],
        }
    }
}

fn request_row(results: &Results, protocol: Protocol, figure: Figure) -> Vec<String> {
    let show = |way| match (figure, way) {
        (Figure::Cpu, Way::Plain) => String::new(),
        _ => results
            .samples
            .median(protocol, way, figure.of())
            .map_or_else(String::new, |value| figure.show(value)),
    };
    let mut row = vec![
        format!("{}: {}", protocol.title(), figure.title()),
        show(Way::Plain),
        show(Way::Envoy),
        show(Way::Meshed),
    ];
    for (to, goal) in [Way::Plain, Way::Envoy].into_iter().zip(figure.goals()) {
        let ratio = results.samples.ratio(protocol, (Way::Meshed, to), figure.of());
        let ratio = ratio.filter(|ratio| ratio.is_finite());
        row.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} ×")));
        let judged = goal.zip(ratio).map(|(goal, ratio)| mark(goal, goal.is_reached(ratio)));
        row.push(judged.unwrap_or_default());
    }
    row
}

type Row = (String, String, String);

/// What, how much, and the goal with its mark.
fn more_rows(results: &Results) -> Vec<Row> {
    let samples = &results.samples;
    let compared = |what: String, protocol, ways, goal: Goal| -> Option<Row> {
        let rate = samples.ratio(protocol, ways, |measured| measured.rate)?;
        let p99 = samples.ratio(protocol, ways, |measured| measured.p99_us)?;
        let figure = format!("{rate:.2} × the requests, {p99:.2} × the p99");
        Some((what, figure, mark(goal, goal.is_reached(rate))))
    };
    let checked = "requests with tokens: verified, to looked at by nobody".to_owned();
    let ways = (Way::Checked, Way::Unchecked);
    let mut rows = Vec::from_iter(compared(checked, Protocol::Http1, ways, Goal::AtLeast(0.7)));
    let (routes, policies) = (objects::OTHERS, objects::OTHERS * objects::POLICIES_OF_EACH);
    rows.extend(Protocol::ALL.into_iter().filter_map(|protocol| {
        let (routes, policies) = (grouped(routes as u64), grouped(policies as u64));
        let what = format!("{}: beside {routes} routes and {policies} policies of others", protocol.title());
        compared(what, protocol, (Way::Crowded, Way::Meshed), Goal::AtLeast(SAME_RATE))
    }));
    rows.extend(memory_rows(results));
    rows.extend(body_rows(results));
    rows.extend(neighbour_rows(results));
    rows
}

fn memory_rows(results: &Results) -> Vec<Row> {
    let memory = &results.memory;
    let row = |what: &str, memory: &[u64], goal: String| (what.to_owned(), megabytes(memory), goal);
    let most = memory.after_load.iter().copied().max().unwrap_or(0) as f64;
    vec![
        row("RSS of the two agents when ready", &memory.at_start, String::new()),
        row("RSS right after the requests", &memory.right_after_load, String::new()),
        row("RSS at rest after the requests", &memory.after_load, mark("≤ 25 MB", most <= MEMORY)),
        row("RSS with the routes and policies of others, then too", &memory.crowded, String::new()),
        row("RSS of the two Envoys, then too", &memory.envoys, String::new()),
    ]
}

fn body_rows(results: &Results) -> Vec<Row> {
    let row = |body: &super::Body| {
        let figure = format!(
            "{} → {} with 0.1 GB → {} with 1 GB; {:.1} Gbit/s",
            megabytes(&body.before),
            megabytes(&body.large),
            megabytes(&body.very_large),
            body.gbit_s
        );
        let goal = mark("as with 0.1 GB", body.growth() <= SAME_MEMORY);
        (format!("a large body, {}: RSS before, and the most", body.title), figure, goal)
    };
    results.bodies.iter().map(row).collect()
}

fn neighbour_rows(results: &Results) -> Vec<Row> {
    let row = |noise: Noise| -> Option<Row> {
        let of = |of| results.neighbours.median(noise, of);
        let (alone, beside) = (of(|beside| beside.alone_us)?, of(|beside| beside.beside_us)?);
        let ratio = of(|beside| beside.beside_us / beside.alone_us)?;
        let loud = of(|beside| beside.noise)? / 1e3;
        let figure = format!("{alone:.0} µs → {beside:.0} µs, {ratio:.1} ×; the neighbour {loud:.1}k/s");
        let what = match noise {
            Noise::Plain => "no mesh".to_owned(),
            Noise::Free => "held by nothing but the agents".to_owned(),
            Noise::Limited => format!("held to {} requests a second", grouped(objects::LIMIT.into())),
        };
        let goal = Goal::AtMost(2.0);
        let goal = if noise == Noise::Plain { String::new() } else { mark(goal, goal.is_reached(ratio)) };
        Some((format!("p99 alone → beside a noisy neighbour, {what}"), figure, goal))
    };
    Noise::ALL.into_iter().filter_map(row).collect()
}
