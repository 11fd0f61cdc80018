//! Why a request is decided as it is: every policy that applies, rule by rule.
//!
//! Entry point: [`Applicable::explain`]. Walks the same parts that `decide` judges; for people and
//! for `weir policy explain`, not for the data path.

use std::fmt;

use serde::Serialize;

use super::{
    applicable::Applicable,
    names::{Action, Mode, PolicyKey, PolicyRef, Tier},
    rule::{Clause, Doubt, Judgement, Policy, Request, Rule, judge_entry},
};

/// More wanted values than this are counted, not written out.
const MOST_VALUES: usize = 8;

/// Why a request is decided as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Every policy that selects the workload, by tier, namespace and name.
    pub policies: Vec<PolicyExplanation>,
    /// Whether the request goes through.
    pub allowed: bool,
    /// What decided, as in a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<PolicyRef>,
    /// What audit policies would have denied.
    pub audit: Vec<PolicyRef>,
}

/// What one policy has to say of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyExplanation {
    /// Its tier.
    pub tier: Tier,
    /// Its namespace and name.
    #[serde(flatten)]
    pub key: PolicyKey,
    /// Its mode.
    pub mode: Mode,
    /// Its action.
    pub action: Action,
    /// The first rule that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<u32>,
    /// Every rule.
    pub rules: Vec<RuleExplanation>,
}

/// What one rule has to say of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleExplanation {
    /// Whether it matched.
    pub matched: bool,
    /// Whether it could not be judged by what is known of the request, and so failed safe.
    pub failed_safe: bool,
    /// Where it did not match, or could not be judged: of the first clause (`from`, `to`, `when`) that
    /// was not met, the first such field of each alternative. Empty when it truly matched.
    pub mismatches: Vec<Mismatch>,
}

/// One field that did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Like `spec.rules[0].from[1].namespaces`.
    pub field: String,
    /// What the request has.
    pub had: String,
    /// What the field asks for: any of these values.
    pub wanted: String,
}

impl Applicable {
    /// Decides about `request`, and says why.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let policies = self.policies().iter().map(|policy| explain_policy(policy, request)).collect();
        let decision = self.decide(request);
        Explanation { policies, allowed: decision.allowed, by: decision.by, audit: decision.audit }
    }
}

fn explain_policy(policy: &Policy, request: &Request<'_>) -> PolicyExplanation {
    let rules = policy.rules.iter().enumerate();
    PolicyExplanation {
        tier: policy.tier,
        key: policy.key.clone(),
        mode: policy.mode,
        action: policy.action,
        matched: policy.matching_rule(request, Doubt::FailsSafe).and_then(|rule| rule.rule),
        rules: rules.map(|(index, rule)| explain_rule(policy.action, index, rule, request)).collect(),
    }
}

fn explain_rule(action: Action, index: usize, rule: &Rule, request: &Request<'_>) -> RuleExplanation {
    let judgement = rule.judge(request);
    // Of two clauses that are not met, the one that surely is not says more.
    let unmet = rule.clauses().find(|clause| clause.judge(request) == judgement);
    let unmet = unmet.filter(|_| judgement != Judgement::Yes);
    RuleExplanation {
        matched: judgement.matches(action, Doubt::FailsSafe),
        failed_safe: judgement == Judgement::CannotTell,
        mismatches: unmet.map(|clause| mismatches(index, &clause, request)).unwrap_or_default(),
    }
}

fn mismatches(rule: usize, clause: &Clause<'_>, request: &Request<'_>) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for (index, entry) in clause.entries.iter().enumerate() {
        let judgement = judge_entry(entry, request);
        let Some(part) = entry.iter().find(|part| part.judge(request) == judgement) else { continue };
        let at = if clause.field == "when" { String::new() } else { format!("[{index}]") };
        found.push(Mismatch {
            field: format!("spec.rules[{rule}].{}{at}.{}", clause.field, part.field()),
            had: part.had(request),
            wanted: any_of(&part.wanted()),
        });
    }
    found
}

fn any_of(values: &[String]) -> String {
    let shown = values.get(..MOST_VALUES).unwrap_or(values);
    let mut text = shown.join(", ");
    if shown.len() < values.len() {
        text.push_str(&format!(" and {} more", values.len() - shown.len()));
    }
    text
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for policy in &self.policies {
            write!(f, "{policy}")?;
        }
        let verdict = if self.allowed { "allowed" } else { "denied" };
        match &self.by {
            Some(by) => writeln!(f, "{verdict} by {by}")?,
            None if self.policies.is_empty() => writeln!(f, "{verdict}: no policy selects this workload")?,
            None => writeln!(f, "{verdict}: no tier has an allow policy for this workload, nothing denied")?,
        }
        for rule in &self.audit {
            writeln!(f, "audit: would be denied by {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, key, mode, action, .. } = self;
        write!(f, "{tier} {key} ({mode}, {action}): ")?;
        match self.matched {
            Some(rule) => writeln!(f, "rule {rule} matched")?,
            None if self.rules.is_empty() => writeln!(f, "has no rules, so nothing matches")?,
            None => writeln!(f, "no rule matched")?,
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.write(index, f)?;
        }
        Ok(())
    }
}

impl RuleExplanation {
    fn write(&self, index: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matched = if self.matched { "matched" } else { "did not match" };
        let safe = if self.failed_safe { ", failing safe, for it cannot be judged" } else { "" };
        writeln!(f, "  rule {index} {matched}{safe}")?;
        for Mismatch { field, had, wanted } in &self.mismatches {
            writeln!(f, "    {field}: has {had}, wants {wanted}")?;
        }
        Ok(())
    }
}
