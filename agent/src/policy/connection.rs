//! What can be decided about a connection before its first request, and who has to see its requests.
//!
//! Entry points: [`Applicable::decide_connection`], [`Applicable::decide_unseen`], [`Applicable::needs_http`]. A connection is a request of
//! which only layer 4 is known: what is decided whichever way the rest turns out is decided for all of its
//! requests.

use super::{
    applicable::{Applicable, Decision},
    rule::{Doubt, Request},
    source::Source,
};

/// What is decided about a connection, whatever it will carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionDecision {
    /// No request whatever could be allowed, nor anything that is not HTTP. What the decision names denies
    /// them all; of a single request, an earlier rule might say so first.
    Denied(Decision),
    /// No request could be denied, nor anything that is not HTTP, and no audit policy has to see requests.
    Allowed(Decision),
    /// It hangs on the requests. If there are none, because it is not HTTP, `decide` without `http` fails
    /// safe.
    PerRequest,
}

impl Applicable {
    /// Decides about the connection from `source` to `port`, as far as layer 4 alone can.
    pub fn decide_connection(&self, source: Source<'_>, port: u16) -> ConnectionDecision {
        let request = Request { source, port, http: None };
        let decision = |(allowed, by)| Decision { allowed, by, audit: self.would_deny(&request) };
        let at_best = self.verdict(&request, Doubt::Benefits);
        if !at_best.0 {
            return ConnectionDecision::Denied(decision(at_best));
        }
        if !self.looks_at_http() {
            return ConnectionDecision::Allowed(decision(at_best));
        }
        let at_worst = self.verdict(&request, Doubt::FailsSafe);
        if !at_worst.0 || self.audit_is_in_doubt(&request) {
            return ConnectionDecision::PerRequest;
        }
        ConnectionDecision::Allowed(decision(at_worst))
    }

    /// What is decided about the connection from `source` to `port` when nobody sees its requests, or it has
    /// none: allowed only if all of them would be. Allows what `decide` without `http` does; but a denial
    /// names what surely denies, if anything does, before what only fails safe.
    pub fn decide_unseen(&self, source: Source<'_>, port: u16) -> Decision {
        match self.decide_connection(source, port) {
            ConnectionDecision::Denied(decision) | ConnectionDecision::Allowed(decision) => decision,
            ConnectionDecision::PerRequest => self.decide(&Request { source, port, http: None }),
        }
    }

    /// Whether some policy, enforced or audited, has a rule for connections from `source` to `port` that
    /// looks at HTTP requests. Where none has, every request is decided like its connection.
    pub fn needs_http(&self, source: Source<'_>, port: u16) -> bool {
        let request = Request { source, port, http: None };
        self.looks_at_http() && self.policies().iter().any(|policy| policy.is_in_doubt(&request))
    }
}
