//! The words of access policy: tiers, modes, actions, and how a verdict names what decided it.
//!
//! Entry point: [`PolicyRef`]. Knows nothing of rules, requests or how policies are read.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Namespace and name of an AccessPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PolicyKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl PolicyKey {
    /// The policy `name` in `namespace`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whose concern a policy is. Each tier can narrow, none can widen what another has narrowed.
///
/// The order is from the widest concern to the most specific one, in which verdicts look at them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The platform team's.
    Platform,
    /// The security team's.
    Security,
    /// The application team's.
    #[default]
    Application,
}

impl Tier {
    /// Every tier, from the widest concern to the most specific.
    pub const ALL: [Tier; 3] = [Tier::Platform, Tier::Security, Tier::Application];

    /// The word of `spec.tier`.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Platform => "platform",
            Tier::Security => "security",
            Tier::Application => "application",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether a policy decides, or only says what it would have decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It changes nothing; its would-be denials are counted and shown.
    Audit,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
        })
    }
}

/// What a policy does with a request that one of its rules matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets it through, as far as this policy's tier is concerned.
    #[default]
    Allow,
    /// Refuses it, whatever any other policy says.
    Deny,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
        })
    }
}

/// What decided, in a [`PolicyRef`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefAction {
    /// A rule that allows.
    Allow,
    /// A rule that denies.
    Deny,
    /// A tier that has allow policies for the workload, none of which matched.
    DefaultDeny,
}

impl RefAction {
    /// `allow`, `deny` or `default-deny`: the words of a flow record.
    pub fn word(self) -> &'static str {
        match self {
            RefAction::Allow => "allow",
            RefAction::Deny => "deny",
            RefAction::DefaultDeny => "default-deny",
        }
    }
}

impl From<Action> for RefAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => RefAction::Allow,
            Action::Deny => RefAction::Deny,
        }
    }
}

/// The rule, or the tier's default, that decided or would have decided. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PolicyRef {
    /// The tier.
    pub tier: Tier,
    /// The policy; none when the tier's default denied.
    #[serde(flatten)]
    pub key: Option<PolicyKey>,
    /// Index in the policy's `spec.rules`; none when the tier's default denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What it did.
    pub action: RefAction,
}

impl PolicyRef {
    /// The default of a tier that has allow policies for the workload, none of which matched.
    pub fn default_deny(tier: Tier) -> Self {
        Self { tier, key: None, rule: None, action: RefAction::DefaultDeny }
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = &self.key else {
            return write!(f, "{} tier default (no allow policy matched)", self.tier);
        };
        write!(f, "{} {key}", self.tier)?;
        if let Some(rule) = self.rule {
            write!(f, " rule {rule}")?;
        }
        write!(f, " ({})", self.action.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_reads_like_a_sentence_about_its_rule() {
        let rule = PolicyRef {
            tier: Tier::Security,
            key: Some(PolicyKey::new("shop", "no-test")),
            rule: Some(0),
            action: RefAction::Deny,
        };
        assert_eq!(rule.to_string(), "security shop/no-test rule 0 (deny)");
        let default = PolicyRef::default_deny(Tier::Application);
        assert_eq!(default.to_string(), "application tier default (no allow policy matched)");
    }

    #[test]
    fn a_verdict_in_json_has_the_fields_of_a_flow_record() {
        let rule = PolicyRef {
            tier: Tier::Application,
            key: Some(PolicyKey::new("shop", "pay-callers")),
            rule: Some(2),
            action: RefAction::Allow,
        };
        let json = serde_json::to_value(&rule).expect("plain data");
        let wanted = serde_json::json!({"tier": "application", "namespace": "shop",
            "name": "pay-callers", "rule": 2, "action": "allow"});
        assert_eq!(json, wanted);
        let json = serde_json::to_value(PolicyRef::default_deny(Tier::Platform)).expect("plain data");
        assert_eq!(json, serde_json::json!({"tier": "platform", "action": "default-deny"}));
    }
}
