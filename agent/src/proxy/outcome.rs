//! From the end of a copy, or of an attempt, to the words of a flow record.
//!
//! Entry points: [`Outcome`], [`of_copy`], [`of_tunnel_error`], [`of_refusal`]. Pure.

use std::sync::Arc;

use super::{
    copy::{CopyOutcome, End, Ended},
    dial,
    live::Ending,
};
use crate::{
    flows::record::{FlowRecord, PolicyRef, Reason, Verdict},
    tunnel::{Refusal, RefusalStatus, TunnelError},
};

/// How a connection ended, as a record says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason, where one is due.
    pub reason: Option<Reason>,
    /// In words.
    pub detail: Option<Arc<str>>,
    /// The policy that the other end names.
    pub policy: Option<PolicyRef>,
}

impl Outcome {
    /// Carried to its end.
    pub fn forwarded() -> Self {
        Self { verdict: Verdict::Forwarded, reason: None, detail: None, policy: None }
    }

    /// Carried, and then ended in an unusual way.
    pub(in crate::proxy) fn forwarded_until(reason: Reason, detail: impl Into<Arc<str>>) -> Self {
        Self { reason: Some(reason), detail: Some(detail.into()), ..Self::forwarded() }
    }

    /// Not carried.
    pub fn failed(reason: Reason, detail: impl Into<Arc<str>>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::forwarded_until(reason, detail) }
    }

    /// Refused.
    pub fn denied(reason: Reason, detail: impl Into<Arc<str>>, policy: Option<PolicyRef>) -> Self {
        Self { verdict: Verdict::Denied, policy, ..Self::forwarded_until(reason, detail) }
    }

    /// Puts it into a record.
    pub fn write(self, record: &mut FlowRecord) {
        record.verdict = self.verdict;
        record.reason = self.reason;
        record.detail = self.detail;
        if self.policy.is_some() {
            record.policy = self.policy;
        }
    }
}

/// How a connection ended that may have carried HTTP, and what it was.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) outcome: Outcome,
    pub(super) protocol: &'static str,
    /// Bytes from the client and to it.
    pub(super) bytes: (u64, u64),
}

/// How a copy ended.
pub fn of_copy(copied: &CopyOutcome) -> Outcome {
    match &copied.ended {
        Ended::Clean => Outcome::forwarded(),
        Ended::Reset(End::Near) => Outcome::forwarded_until(Reason::Reset, "reset by the near end"),
        Ended::Reset(End::Far) => Outcome::forwarded_until(Reason::Reset, "reset by the far end"),
        Ended::Refused(refusal) => of_refusal(refusal),
        Ended::Failed(error) => of_tunnel_error(error),
    }
}

/// Why a connection was ended from our side.
pub fn of_ending(ending: &Ending) -> Outcome {
    let policy = ending.policy.as_ref().map(PolicyRef::from);
    match ending.reason {
        Reason::NoLongerAllowed => Outcome::denied(ending.reason, ending.detail.clone(), policy),
        reason => Outcome::forwarded_until(reason, ending.detail.clone()),
    }
}

/// What the other end's refusal says.
pub fn of_refusal(refusal: &Refusal) -> Outcome {
    let named = refusal.reason.as_deref().and_then(Reason::from_word);
    let detail = refusal.to_string();
    match (refusal.status, named) {
        (RefusalStatus::Unauthorized, reason) => {
            let policy = refusal.policy.as_deref().and_then(policy_from_words);
            Outcome::denied(reason.unwrap_or(Reason::PolicyDenied), detail, policy)
        }
        (_, Some(reason)) => Outcome::failed(reason, detail),
        (RefusalStatus::Unavailable, None) => Outcome::failed(Reason::UpstreamRefused, detail),
        (_, None) => Outcome::failed(Reason::TunnelFailed, detail),
    }
}

/// Why a stream could not be opened or did not last.
pub fn of_tunnel_error(error: &TunnelError) -> Outcome {
    let reason = match error {
        TunnelError::Connect(error) => dial::reason_of(error),
        TunnelError::ConnectTimeout(_) => Reason::UpstreamTimeout,
        TunnelError::HandshakeTimeout(_) | TunnelError::Tls(_) => Reason::TlsFailed,
        TunnelError::IdentityMismatch { .. } => Reason::IdentityMismatch,
        TunnelError::Session(_) => Reason::TunnelFailed,
        TunnelError::LimitReached(_) => Reason::LimitReached,
        TunnelError::Refused(refusal) => return of_refusal(refusal),
        TunnelError::Withdrawn => {
            return Outcome::denied(Reason::NoLongerAllowed, error.to_string(), None);
        }
        TunnelError::Reset(_) => return Outcome::forwarded_until(Reason::Reset, error.to_string()),
    };
    Outcome::failed(reason, error.to_string())
}

/// Reads a policy's words back: `security shop/no-test rule 0 (deny)`, or
/// `application tier default (no allow policy matched)`. Words of another form name none.
fn policy_from_words(words: &str) -> Option<PolicyRef> {
    let (tier, rest) = words.split_once(' ')?;
    if !["platform", "security", "application"].contains(&tier) {
        return None;
    }
    if rest.starts_with("tier default") {
        return Some(PolicyRef {
            tier: tier.into(),
            namespace: Arc::default(),
            name: Arc::default(),
            rule: None,
            action: "default-deny".into(),
        });
    }
    let (key, rest) = rest.split_once(' ')?;
    let (namespace, name) = key.split_once('/')?;
    let rule =
        rest.strip_prefix("rule ").and_then(|rest| rest.split(' ').next()).and_then(|n| n.parse().ok());
    let action = if rest.contains("(allow)") { "allow" } else { "deny" };
    Some(PolicyRef {
        tier: tier.into(),
        namespace: namespace.into(),
        name: name.into(),
        rule,
        action: action.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    #[test]
    fn a_policy_is_read_back_from_the_words_that_name_it() {
        let rule = policy::PolicyRef {
            tier: policy::Tier::Security,
            key: Some(policy::PolicyKey::new("shop", "no-test")),
            rule: Some(3),
            action: policy::RefAction::Deny,
        };
        for decided in [rule, policy::PolicyRef::default_deny(policy::Tier::Application)] {
            assert_eq!(policy_from_words(&decided.to_string()), Some(PolicyRef::from(&decided)), "{decided}");
        }
        assert_eq!(policy_from_words("something else"), None);
    }

    #[test]
    fn a_refusal_by_policy_is_a_denial_that_names_it() {
        let refusal = Refusal::new(RefusalStatus::Unauthorized, "policy_denied")
            .by("application tier default (no allow policy matched)");
        let outcome = of_refusal(&refusal);
        assert_eq!((outcome.verdict, outcome.reason), (Verdict::Denied, Some(Reason::PolicyDenied)));
        assert_eq!(outcome.policy.map(|policy| policy.action.to_string()).as_deref(), Some("default-deny"));
    }

    #[test]
    fn a_refusal_of_a_stranger_without_words_still_has_a_reason() {
        let silent = Refusal { status: RefusalStatus::Other(500), reason: None, policy: None };
        assert_eq!(of_refusal(&silent).reason, Some(Reason::TunnelFailed));
    }
}
