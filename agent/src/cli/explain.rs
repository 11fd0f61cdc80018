//! `weir policy explain` as a person reads it.
//!
//! Entry point: [`render`].

use std::fmt::Write;

use super::{
    flow_table::policy_name,
    table::{Cell, Column, Style, Table, clean, colour},
};
use crate::admin::{Answer, Explanation, Mismatch};

/// The answer, the rule behind it for each pod, and every policy that was considered.
pub(super) fn render(explanation: &Explanation, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} to {}:{}{} would be {}",
        clean(&explanation.from),
        clean(&explanation.to),
        explanation.port,
        explanation.request.as_ref().map_or_else(String::new, |request| format!(", {},", clean(request))),
        verdict(explanation.allowed, style)
    );
    for answer in &explanation.answers {
        let _ = writeln!(
            out,
            "\n{}:{} {} by {}",
            clean(&answer.pod),
            answer.port,
            verdict(answer.allowed, style),
            decided_by(answer)
        );
        if !answer.detail.is_empty() {
            let _ = writeln!(out, "  {}", clean(&answer.detail));
        }
        for audit in &answer.audit {
            let words = style.paint(colour::DOUBTFUL, "audit: would be denied");
            let _ = writeln!(out, "  {words} by {}", clean(&policy_name(audit)));
        }
        if !answer.considered.is_empty() {
            out.push_str(&considered(answer, style));
            out.push_str(&mismatches(answer));
        }
    }
    out
}

fn verdict(allowed: bool, style: Style) -> String {
    if allowed { style.paint(colour::GOOD, "allowed") } else { style.paint(colour::BAD, "denied") }
}

fn decided_by(answer: &Answer) -> String {
    clean(&match (&answer.policy, &answer.reason) {
        (Some(policy), _) => format!("{} ({}, {})", policy_name(policy), policy.tier, policy.action),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "no policy: none selects it".into(),
    })
}

fn considered(answer: &Answer, style: Style) -> String {
    let mut table = Table::new([
        Column::fixed("  TIER"),
        Column::elastic("POLICY", 20),
        Column::fixed("MODE"),
        Column::fixed("ACTION"),
        Column::fixed("MATCHES"),
    ]);
    for policy in &answer.considered {
        let matches = policy.rule.map_or_else(|| "no rule".into(), |rule| format!("rule {rule}"));
        let cells: [Cell; 5] = [
            format!("  {}", policy.tier).into(),
            (&policy.policy).into(),
            (&policy.mode).into(),
            (&policy.action).into(),
            matches.into(),
        ];
        table.row(cells.into());
    }
    table.render(style)
}

/// What each policy that was considered asks for and did not find.
fn mismatches(answer: &Answer) -> String {
    let mut out = String::new();
    for policy in &answer.considered {
        for Mismatch { field, had, wanted } in &policy.mismatches {
            let policy = clean(&policy.policy);
            let _ = writeln!(out, "  {policy} {}: has {}, wants {}", clean(field), clean(had), clean(wanted));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admin::Considered, flows::record::samples};

    #[test]
    fn an_answer_names_the_rule_and_what_else_was_considered() {
        let considered = |tier: &str, policy: &str, mode: &str, action: &str, rule| Considered {
            tier: tier.into(),
            policy: policy.into(),
            mode: mode.into(),
            action: action.into(),
            rule,
            mismatches: Vec::new(),
        };
        let explanation = Explanation {
            from: "shop/cart-0".into(),
            to: "shop/pay".into(),
            port: 80,
            request: None,
            allowed: false,
            answers: vec![Answer {
                pod: "shop/pay-0".into(),
                port: 8080,
                reason: Some("policy_denied".into()),
                detail: "rule 0 denies service account shop/cart".into(),
                policy: samples::full().policy,
                audit: samples::full().audit.into_iter().collect(),
                considered: vec![
                    considered("application", "shop/pay-callers", "enforce", "deny", Some(0)),
                    considered("application", "shop/pay-others", "enforce", "allow", None),
                ],
                ..Answer::default()
            }],
        };
        assert_eq!(
            render(&explanation, Style { colour: false, width: 120 }),
            "shop/cart-0 to shop/pay:80 would be denied\n\
             \n\
             shop/pay-0:8080 denied by shop/pay-callers[0] (application, deny)\n\
             \x20 rule 0 denies service account shop/cart\n\
             \x20 audit: would be denied by shop/pay-audit[1]\n\
             \x20 TIER         POLICY            MODE     ACTION  MATCHES\n\
             \x20 application  shop/pay-callers  enforce  deny    rule 0\n\
             \x20 application  shop/pay-others   enforce  allow   no rule\n"
        );
    }

    #[test]
    fn an_answer_about_a_request_says_which_and_what_it_lacks() {
        let lacks = Mismatch {
            field: "spec.rules[0].to[0].paths".into(),
            had: "/v2\u{1b}[2J".into(),
            wanted: "/v1/*".into(),
        };
        let considered =
            Considered { policy: "shop/readers".into(), mismatches: vec![lacks], ..Considered::default() };
        let explanation = Explanation {
            from: "shop/cart-0".into(),
            to: "shop/pay".into(),
            port: 80,
            request: Some("GET /v2".into()),
            answers: vec![Answer { considered: vec![considered], ..Answer::default() }],
            ..Explanation::default()
        };
        let text = render(&explanation, Style { colour: false, width: 120 });
        assert!(text.starts_with("shop/cart-0 to shop/pay:80, GET /v2, would be denied\n"), "{text}");
        let last = text.lines().last().expect("a line");
        assert!(last.starts_with("  shop/readers spec.rules[0].to[0].paths: has /v2"), "{text}");
        assert!(last.ends_with("wants /v1/*") && !last.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn an_answer_without_a_policy_says_so() {
        let explanation = Explanation {
            allowed: true,
            answers: vec![Answer { allowed: true, ..Answer::default() }],
            ..Explanation::default()
        };
        let text = render(&explanation, Style { colour: false, width: 120 });
        assert!(text.contains("allowed by no policy: none selects it"), "{text}");
    }
}
