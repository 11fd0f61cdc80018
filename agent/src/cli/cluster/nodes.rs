//! How each node's agent does, in a row.
//!
//! Entry points: [`NodeRow`], [`worst_first`], [`render`]. Pure.

use std::time::SystemTime;

use serde::Serialize;

use super::exec::Agent;
use crate::{
    admin::StatusReport,
    cli::{
        human,
        table::{Cell, Column, Style, Table, clean, colour},
    },
};

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct NodeRow {
    pub(super) node: String,
    pub(super) pod: String,
    /// Why its agent said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    pub(super) ready: bool,
    pub(super) version: String,
    /// Pods that are to be in the mesh.
    pub(super) enrolled: usize,
    /// Those of them that are not, with the reason.
    pub(super) uncaptured: Vec<String>,
    /// Programs that are not attached.
    pub(super) detached: Vec<String>,
    /// Objects and files that could not be used.
    pub(super) problems: usize,
    /// When the first certificate expires, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate_expiry: Option<String>,
}

impl NodeRow {
    /// Of an agent that has said nothing yet.
    pub(super) fn unheard(agent: &Agent) -> Self {
        let failure = Some(agent.down.clone().unwrap_or_else(|| "it says nothing".into()));
        Self { node: agent.node.clone(), pod: agent.pod.clone(), failure, ..Self::default() }
    }

    /// Takes in what the agent says.
    pub(super) fn hear(&mut self, report: &StatusReport) {
        let enrolled = || report.workloads.iter().filter(|workload| workload.enrolled);
        let why = |reason: &Option<String>| reason.clone().unwrap_or_else(|| "it is being captured".into());
        self.failure = None;
        self.ready = report.ready;
        self.version.clone_from(&report.version);
        self.enrolled = enrolled().count();
        self.uncaptured = enrolled()
            .filter(|workload| !workload.captured)
            .map(|workload| format!("{}/{}: {}", workload.namespace, workload.pod, why(&workload.reason)))
            .collect();
        let detached = report.programs.iter().filter(|program| !program.attached);
        self.detached = detached.map(|program| program.name.clone()).collect();
        self.problems = report.problems.len();
        // In one form and in UTC, so that text sorts as time.
        self.certificate_expiry = enrolled().filter_map(|workload| workload.certificate_expiry.clone()).min();
    }

    /// It could not be asked, or not understood.
    pub(super) fn fail(&mut self, words: String) {
        let said = format!("node {}: ", self.node);
        self.failure = Some(words.strip_prefix(&said).map_or(words.clone(), str::to_owned));
    }

    /// Whether nothing has to be looked at.
    pub(super) fn is_well(&self) -> bool {
        self.badness() == (0, 0, 0, 0)
    }

    fn badness(&self) -> (u8, usize, usize, usize) {
        let first = match (&self.failure, self.ready) {
            (Some(_), _) => 2,
            (None, false) => 1,
            (None, true) => 0,
        };
        (first, self.detached.len(), self.uncaptured.len(), self.problems)
    }
}

/// Those that have to be looked at first; the others by name.
pub(super) fn worst_first(rows: &mut [NodeRow]) {
    rows.sort_by(|a, b| b.badness().cmp(&a.badness()).then_with(|| a.node.cmp(&b.node)));
}

/// A table, and under it what is wrong.
pub(super) fn render(rows: &[NodeRow], now: SystemTime, style: Style) -> String {
    let mut table = Table::new([
        Column::elastic("NODE", 16),
        Column::fixed("AGENT"),
        Column::fixed("VERSION"),
        Column::number("ENROLLED"),
        Column::number("CAPTURED"),
        Column::fixed("CERTIFICATES"),
        Column::number("PROBLEMS"),
    ]);
    for row in rows {
        let state = match (&row.failure, row.ready) {
            (Some(_), _) => Cell::coloured("no answer", colour::BAD),
            (None, false) => Cell::coloured("not ready", colour::BAD),
            (None, true) => Cell::coloured("ready", colour::GOOD),
        };
        let expiry = row.certificate_expiry.as_ref().map_or("-".into(), |at| human::until(at, now));
        table.row(vec![
            row.node.as_str().into(),
            state,
            row.version.as_str().into(),
            row.enrolled.to_string().into(),
            (row.enrolled - row.uncaptured.len()).to_string().into(),
            expiry.into(),
            row.problems.to_string().into(),
        ]);
    }
    let mut out = table.render(style);
    for row in rows {
        let detached = row.detached.iter().map(|name| format!("{name} is not attached"));
        for words in row.failure.iter().cloned().chain(detached).chain(row.uncaptured.iter().cloned()) {
            out.push_str(&format!("  {}: {}\n", clean(&row.node), clean(&words)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::WorkloadStatus;

    fn row(node: &str) -> NodeRow {
        let mut row = NodeRow { node: node.into(), ..NodeRow::default() };
        let workload = |pod: &str, captured| WorkloadStatus {
            namespace: "shop".into(),
            pod: pod.into(),
            enrolled: true,
            captured,
            certificate_expiry: Some("2026-01-02T23:04:05Z".into()),
            ..WorkloadStatus::default()
        };
        let workloads = vec![workload("cart", true), workload("pay", node != "b")];
        let report = StatusReport { ready: true, version: "0.1.0".into(), workloads, ..Default::default() };
        row.hear(&report);
        row
    }

    #[test]
    fn the_worst_node_comes_first_with_what_is_wrong_under_the_table() {
        let mut silent = row("c");
        silent.fail("node c: its pod weir-agent-x does not run: CrashLoopBackOff".into());
        let mut rows = [row("a"), row("b"), silent];
        worst_first(&mut rows);
        let names: Vec<&str> = rows.iter().map(|row| row.node.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert_eq!(rows.each_ref().map(NodeRow::is_well), [false, false, true]);
        let text = render(&rows, SystemTime::now(), Style { colour: false, width: 120 });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("c ") && lines[1].contains("no answer"), "{text}");
        assert!(text.contains("  c: its pod weir-agent-x does not run: CrashLoopBackOff\n"), "{text}");
        assert!(text.contains("  b: shop/pay: it is being captured\n"), "{text}");
    }
}
