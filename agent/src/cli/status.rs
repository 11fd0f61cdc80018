//! `weir status` as a person reads it.
//!
//! Entry point: [`render`].

use std::{fmt::Write, time::SystemTime};

use super::{
    human,
    table::{Cell, Column, Style, Table, clean, colour},
};
use crate::admin::{StatusReport, WorkloadStatus};

/// The agent in one line, then its workloads, then what is wrong.
pub(super) fn render(report: &StatusReport, now: SystemTime, style: Style) -> String {
    let mut out = String::new();
    let ready = match report.ready {
        true => style.paint(colour::GOOD, "ready"),
        false => style.paint(colour::BAD, "not ready"),
    };
    let attached = report.programs.iter().filter(|program| program.attached).count();
    let _ = writeln!(
        out,
        "node {}: {ready}, version {}, generation {}, policy {}, {attached} of {} programs attached",
        clean(&report.node),
        clean(&report.version),
        report.generation,
        report.policy_generation,
        report.programs.len()
    );
    for reason in &report.waiting_for {
        let _ = writeln!(out, "  waiting for: {}", clean(reason));
    }
    for program in report.programs.iter().filter(|program| !program.attached) {
        let _ = writeln!(out, "  {}: {}", style.paint(colour::BAD, "not attached"), clean(&program.name));
    }
    if !report.workloads.is_empty() {
        out.push('\n');
        out.push_str(&workloads(&report.workloads, now, style));
    }
    for workload in report.workloads.iter().filter(|workload| workload.enrolled && !workload.captured) {
        let reason = workload.reason.as_deref().unwrap_or("it is being captured");
        let _ = writeln!(out, "  {}/{}: {}", clean(&workload.namespace), clean(&workload.pod), clean(reason));
    }
    for workload in report.workloads.iter().filter(|workload| workload.repairs > 0) {
        let (namespace, pod) = (clean(&workload.namespace), clean(&workload.pod));
        let _ =
            writeln!(out, "  {namespace}/{pod}: was captured in part and mended, {} times", workload.repairs);
    }
    if !report.problems.is_empty() {
        let _ = writeln!(out, "\n{}", style.paint(colour::BAD, "Problems"));
    }
    for problem in &report.problems {
        let place = [Some(problem.file.as_str()), problem.object.as_deref(), problem.field.as_deref()];
        let place: Vec<&str> = place.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let value = problem.value.as_ref().map_or_else(String::new, |value| format!(" {value:?}"));
        let _ = writeln!(out, "  {}{}: {}", clean(&place.join(": ")), clean(&value), clean(&problem.message));
    }
    if !report.counters.is_empty() {
        let counters: Vec<String> =
            report.counters.iter().map(|(name, value)| format!("{} {value}", clean(name))).collect();
        let _ = writeln!(out, "\n{}", in_lines(&counters, style.width));
    }
    out
}

/// `parts` with commas between, in lines that fit.
fn in_lines(parts: &[String], width: usize) -> String {
    let mut lines = vec![String::new()];
    for (index, part) in parts.iter().enumerate() {
        let comma = if index + 1 < parts.len() { "," } else { "" };
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = format!("{part}{comma}"),
            Some(line) if line.len() + 1 + part.len() + comma.len() <= width => {
                line.push_str(&format!(" {part}{comma}"));
            }
            _ => lines.push(format!("{part}{comma}")),
        }
    }
    lines.join("\n")
}

fn workloads(workloads: &[WorkloadStatus], now: SystemTime, style: Style) -> String {
    let mut table = Table::new([
        Column::elastic("WORKLOAD", 20),
        Column::fixed("MESH"),
        Column::fixed("MTLS"),
        Column::elastic("IDENTITY", 20),
        Column::fixed("CERTIFICATE"),
        Column::number("CONNS"),
        Column::elastic("ADDRESSES", 12),
    ]);
    for workload in workloads {
        let expiry = match &workload.certificate_expiry {
            Some(expiry) => human::until(expiry, now),
            None if workload.enrolled => "none".into(),
            None => "-".into(),
        };
        let identity = if workload.enrolled { workload.identity.as_str() } else { "-" };
        table.row(vec![
            format!("{}/{}", workload.namespace, workload.pod).into(),
            mesh(workload),
            if workload.enrolled { &workload.mtls } else { "-" }.into(),
            identity.into(),
            expiry.into(),
            workload.connections.to_string().into(),
            workload.addresses.join(",").into(),
        ]);
    }
    table.render(style)
}

fn mesh(workload: &WorkloadStatus) -> Cell {
    match (workload.enrolled, workload.captured) {
        (true, true) => Cell::coloured("captured", colour::GOOD),
        (true, false) => Cell::coloured("not captured", colour::BAD),
        (false, true) => Cell::coloured("leaving", colour::DOUBTFUL),
        (false, false) => Cell::coloured("not enrolled", colour::QUIET),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::{Problem, ProgramStatus};

    const PLAIN: Style = Style { colour: false, width: 120 };

    #[test]
    fn counters_stay_within_the_width() {
        let counters: Vec<String> = (0..30).map(|n| format!("counter_{n} 0")).collect();
        let lines = in_lines(&counters, 40);
        assert!(lines.lines().all(|line| line.len() <= 40), "{lines}");
        assert_eq!(lines.replace('\n', " "), counters.join(", "));
    }

    fn report() -> StatusReport {
        let workload = |pod: &str| WorkloadStatus {
            namespace: "shop".into(),
            pod: pod.into(),
            enrolled: true,
            captured: true,
            identity: format!("spiffe://cluster.local/ns/shop/sa/{}", pod.trim_end_matches("-0")),
            certificate_expiry: Some("2026-01-02T23:04:05Z".into()),
            mtls: "strict".into(),
            addresses: vec!["10.244.1.2".into(), "fd10::2".into()],
            connections: 12,
            processor_ms: 1500,
            repairs: u64::from(pod == "cart-0"),
            ..WorkloadStatus::default()
        };
        let missing = WorkloadStatus {
            captured: false,
            reason: Some("/run/netns/pay is not a network namespace".into()),
            certificate_expiry: None,
            connections: 0,
            processor_ms: 0,
            ..workload("pay-0")
        };
        let outside =
            WorkloadStatus { enrolled: false, captured: false, certificate_expiry: None, ..workload("db-0") };
        let program = |name: &str, attached| ProgramStatus { name: name.into(), attached, id: Some(7) };
        StatusReport {
            node: "node-a".into(),
            version: "0.1.0".into(),
            waiting_for: vec!["capture of shop/pay-0".into()],
            generation: 41,
            policy_generation: 7,
            programs: vec![program("connect4", true), program("connect6", false)],
            workloads: vec![workload("cart-0"), missing, outside],
            problems: vec![Problem {
                file: "policies.yaml".into(),
                object: Some("AccessPolicy shop/pay-callers".into()),
                field: Some("spec.rules[0].to[0].ports[1]".into()),
                value: Some("70000".into()),
                message: "a port from 1 to 65535 is needed".into(),
            }],
            counters: [("flows lost".to_owned(), 0), ("drift repairs".to_owned(), 2)].into(),
            ..StatusReport::default()
        }
    }

    #[test]
    fn a_status_says_what_runs_who_is_captured_and_what_is_wrong() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        assert_eq!(
            format!("\n{}", render(&report(), now, PLAIN)),
            r#"
node node-a: not ready, version 0.1.0, generation 41, policy 7, 1 of 2 programs attached
  waiting for: capture of shop/pay-0
  not attached: connect6

WORKLOAD     MESH          MTLS    IDENTITY                                CERTIFICATE  CONNS  ADDRESSES
shop/cart-0  captured      strict  spiffe://cluster.local/ns/shop/sa/cart  in 20h          12  10.244.1.2,fd10::2
shop/pay-0   not captured  strict  spiffe://cluster.local/ns/shop/sa/pay   none             0  10.244.1.2,fd10::2
shop/db-0    not enrolled  -       -                                       -               12  10.244.1.2,fd10::2
  shop/pay-0: /run/netns/pay is not a network namespace
  shop/cart-0: was captured in part and mended, 1 times

Problems
  policies.yaml: AccessPolicy shop/pay-callers: spec.rules[0].to[0].ports[1] "70000": a port from 1 to 65535 is needed

drift repairs 2, flows lost 0
"#
        );
    }

    #[test]
    fn an_empty_report_is_one_line() {
        assert_eq!(render(&StatusReport::default(), SystemTime::now(), PLAIN).lines().count(), 1);
    }
}
