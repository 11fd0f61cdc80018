//! The figures as tables that are read in a terminal and in Markdown alike.
//!
//! Entry points: [`render`], [`missed`].

use std::fmt::Write;

use super::{
    Report, Transport,
    figures::{Congestion, Figure, Goal, Place},
    http,
};

/// Largest resident memory of an agent after the load, bytes.
const MEMORY: f64 = 15e6;
/// Largest memory of an idle captured connection, bytes.
const IDLE: f64 = 40e3;
/// A decision takes at most twice as long among 100 000 other policies as among 10: ten thousand times as many
/// cost it caches, not steps.
const GROWTH: f64 = 2.0;

/// All tables of the parts that were measured.
pub(super) fn render(report: &Report) -> String {
    let transport = report.transport.as_ref().map(of_transport);
    let http = report.http.as_ref().map(http::table::render);
    [transport, http].into_iter().flatten().collect()
}

fn of_transport(transport: &Transport) -> String {
    let mut ratios = Table::new(&[
        "ratio to no mesh",
        "no mesh, same node",
        "same node",
        "goal",
        "same node, mTLS",
        "no mesh, cross node",
        "two plain relays",
        "cross node, mTLS",
        "goal",
    ]);
    for figure in transport.samples.figures() {
        ratios.row(row(transport, figure));
    }
    let mut costs = Table::new(&["cost of the agents", "figure", "goal"]);
    for (what, figure, goal) in cost_rows(transport) {
        costs.row(vec![what, figure, goal]);
    }
    format!("\n{}\n{}", ratios.render(), costs.render())
}

/// How many goals were missed, by the tables themselves.
pub(super) fn missed(tables: &str) -> usize {
    tables.matches(MISSED).count()
}

const REACHED: &str = "✓";
const MISSED: &str = "✗ missed";

/// The goal, and whether it was reached.
pub(super) fn mark(goal: impl std::fmt::Display, reached: bool) -> String {
    format!("{goal} {}", if reached { REACHED } else { MISSED })
}

fn judged(transport: &Transport, figure: Figure, place: Place) -> Option<(Goal, f64)> {
    figure.goal(place).zip(transport.samples.ratio(figure, place))
}

fn row(transport: &Transport, figure: Figure) -> Vec<String> {
    let plain =
        |place| transport.samples.median(figure, place).map_or_else(String::new, |value| figure.show(value));
    let ratio = |place| {
        transport.samples.ratio(figure, place).map_or_else(String::new, |ratio| format!("{ratio:.2} ×"))
    };
    let goal = |place| {
        judged(transport, figure, place)
            .map_or_else(String::new, |(goal, ratio)| mark(goal, goal.is_reached(ratio)))
    };
    vec![
        figure.title(),
        plain(Place::PlainNear),
        ratio(Place::Direct),
        goal(Place::Direct),
        ratio(Place::NearTunnel),
        plain(Place::PlainFar),
        ratio(Place::FarRelays),
        ratio(Place::FarTunnel),
        goal(Place::FarTunnel),
    ]
}

/// What, how much, and the goal with its mark.
fn cost_rows(transport: &Transport) -> Vec<(String, String, String)> {
    let costs = &transport.costs;
    let most = costs.after_load.iter().copied().max().unwrap_or(0) as f64;
    let mut rows = vec![
        ("RSS of the two agents when ready".to_owned(), megabytes(&costs.at_start), String::new()),
        ("RSS right after the load".to_owned(), megabytes(&costs.right_after_load), String::new()),
        (
            "RSS at rest after the load".to_owned(),
            megabytes(&costs.after_load),
            mark("≤ 15 MB", most <= MEMORY),
        ),
    ];
    for congestion in [Congestion::Bbr, Congestion::Cubic] {
        for (place, words) in [(Place::FarTunnel, "cross node"), (Place::Direct, "same node")] {
            if let Some(seconds) = costs.cpu_per_gigabyte(place, 1, congestion) {
                let what = format!("CPU of both agents, {words}, 1 stream, {congestion}");
                rows.push((what, format!("{seconds:.2} s/GB"), String::new()));
            }
        }
    }
    if let Some(idle) = &costs.idle {
        let what = format!("memory of an idle connection, of {}, both agents", idle.connections);
        let figure = format!("{:.1} KB", idle.each() / 1e3);
        rows.push((what, figure, mark("≤ 40 KB", idle.each() <= IDLE)));
        let figure = format!(
            "{} → {} → {}",
            megabytes(&idle.before),
            megabytes(&idle.with_all),
            megabytes(&idle.after)
        );
        rows.push(("RSS before, with, and after them".to_owned(), figure, String::new()));
    }
    let least = transport.decisions.first().map_or(0.0, |decision| decision.decide_ns);
    for decision in &transport.decisions {
        let what = format!("a policy decision, {} policies for others", grouped(decision.others));
        let figure = format!("{:.0} ns; with selection {:.0} ns", decision.decide_ns, decision.select_ns);
        let last = decision.others == 100_000;
        let goal =
            if last { mark("does not grow", decision.decide_ns <= least * GROWTH) } else { String::new() };
        rows.push((what, figure, goal));
    }
    rows
}

/// `14.9 and 15.0 MB`, of each process.
pub(super) fn megabytes(memory: &[u64]) -> String {
    let each: Vec<String> = memory.iter().map(|bytes| format!("{:.1}", *bytes as f64 / 1e6)).collect();
    format!("{} MB", each.join(" and "))
}

/// `100 000`.
pub(super) fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{} {:03}", grouped(number / 1_000), number % 1_000),
    }
}

/// A Markdown table whose columns stand under each other.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(out, "| {cell:<width$} ");
            }
            out.push_str("|\n");
            if index == 0 {
                widths.iter().for_each(|width| {
                    let _ = write!(out, "|{}", "-".repeat(width + 2));
                });
                out.push_str("|\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_and_stands_in_columns() {
        let mut table = Table::new(&["what", "µs"]);
        table.row(vec!["round trip".into(), "25".into()]);
        assert_eq!(table.render(), "| what       | µs |\n|------------|----|\n| round trip | 25 |\n");
    }

    #[test]
    fn what_is_missed_is_counted_in_the_tables() {
        let rows = [mark("≤ 2", false), mark("≥ 1", true), mark("≥ 3", false)];
        assert_eq!(missed(&rows.join(" | ")), 2);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(10), "10");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(100_000), "100 000");
    }
}
