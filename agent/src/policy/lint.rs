//! What a policy does that its author may not expect, though nothing in it is wrong.
//!
//! Entry point: [`warnings`]. Looks at one policy alone, never at workloads or at other policies.

use super::{
    field::{FieldPath, Warning},
    http::HttpPart,
    names::Action,
    ports::PortRange,
    rule::{Entry, Part, Rule},
};

/// The warnings of a policy with these rules, in the order of its fields.
pub(super) fn warnings(action: Action, rules: &[Rule]) -> Vec<Warning> {
    let mut found = Vec::new();
    let path = FieldPath::spec().key("rules");
    if rules.is_empty() && action == Action::Allow {
        found.push(warning(&path, "an allow policy without rules lets nothing through"));
    }
    for (index, rule) in rules.iter().enumerate() {
        rule_warnings(action, &path.index(index), rule, &mut found);
    }
    found
}

fn rule_warnings(action: Action, path: &FieldPath, rule: &Rule, found: &mut Vec<Warning>) {
    if rule.clauses().next().is_none() && action == Action::Deny {
        found.push(warning(path, "denies everything"));
    }
    if action == Action::Deny && denies_what_is_not_http(rule) {
        let message = "also denies whatever is not HTTP, on every port: name the ports that speak HTTP in \
                       to[].ports";
        found.push(warning(path, message));
    }
    for clause in rule.clauses() {
        let path = path.key(clause.field);
        for (index, entry) in clause.entries.iter().enumerate() {
            let path = if clause.field == "when" { path.clone() } else { path.index(index) };
            for part in entry {
                let path = part.field().split('.').fold(path.clone(), |path, key| path.key(key));
                found.extend(part_warnings(action, &path, part));
            }
        }
    }
    if action == Action::Deny && needs_identity(rule) {
        let message = "does not match plaintext, which has no identity: where plaintext could come from \
                       those that it names, annotate the workload weir.dev/mtls: strict";
        found.push(warning(&path.key("from"), message));
    }
}

fn part_warnings(action: Action, path: &FieldPath, part: &Part) -> Vec<Warning> {
    match (part, action) {
        (Part::Http(HttpPart::Paths(paths)), Action::Deny) => {
            let without = paths.without_their_top();
            let message = |top: &str| format!("does not match {top} itself: if it should, add {top}");
            without.map(|(index, top)| warning(&path.index(index), &message(top))).collect()
        }
        (Part::Http(HttpPart::Issuers(_) | HttpPart::Audiences(_) | HttpPart::Claims(_)), Action::Deny) => {
            vec![warning(path, "also denies requests without a verified user, who could be anyone")]
        }
        (Part::Ports(ranges), _) => overlaps(path, ranges),
        _ => Vec::new(),
    }
}

/// Ranges of one list that share ports: harmless, but one of them may be a slip.
fn overlaps(path: &FieldPath, ranges: &[PortRange]) -> Vec<Warning> {
    let mut sorted: Vec<(PortRange, usize)> = ranges.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    let mut found = Vec::new();
    let mut widest: Option<PortRange> = None;
    for (range, index) in sorted {
        match widest {
            Some(before) if before.overlaps(range) => {
                found.push(warning(&path.index(index), &format!("{range} overlaps {before}")));
                widest = Some(if before.last() < range.last() { range } else { before });
            }
            _ => widest = Some(range),
        }
    }
    found
}

/// Whether the rule matches, for failing safe, connections to any port that are not HTTP.
fn denies_what_is_not_http(rule: &Rule) -> bool {
    let looks_at_http = |entry: &Entry| entry.iter().any(|part| matches!(part, Part::Http(_)));
    let has_ports = |entry: &Entry| entry.iter().any(|part| matches!(part, Part::Ports(_)));
    let operations = rule.to.as_deref().unwrap_or_default();
    let on_any_port = operations.is_empty() || operations.iter().any(|entry| !has_ports(entry));
    let of_requests = operations.iter().any(looks_at_http) || rule.when.as_ref().is_some_and(looks_at_http);
    on_any_port && of_requests
}

/// Whether the rule names some of its sources by identity.
fn needs_identity(rule: &Rule) -> bool {
    let by_identity =
        |part: &Part| matches!(part, Part::ServiceAccounts(_) | Part::Namespaces(_) | Part::Identities(_));
    rule.from.as_ref().is_some_and(|entries| entries.iter().any(|entry| entry.iter().any(by_identity)))
}

fn warning(path: &FieldPath, message: &str) -> Warning {
    Warning { field: path.to_string(), message: message.into() }
}
