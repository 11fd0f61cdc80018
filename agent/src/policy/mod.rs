//! Access policy: who may talk to a workload, and which rule says so (design: docs/policy.md).
//!
//! Entry points, in the order of their use: [`Policy::parse`] reads an object, [`PolicyIndex`] holds
//! all of them, [`PolicyIndex::select`] finds those of one workload, [`Applicable::decide`] judges a
//! request; [`Applicable::decide_connection`] says what can be decided before the first one, and
//! [`normalise`] gives the path that a request is judged by. Pure: knows no objects but its own, no kernel, no sockets, no clock.

mod applicable;
mod compile;
mod connection;
mod explain;
pub(crate) mod field;
pub(crate) mod form;
mod http;
mod index;
mod lint;
mod names;
mod ports;
pub(crate) mod read;
mod rule;
pub(crate) mod selection;
mod source;
pub(crate) mod spec;

pub use applicable::{Applicable, Decision};
pub use connection::ConnectionDecision;
pub use explain::{Explanation, Mismatch, PolicyExplanation, RuleExplanation};
pub use field::{FieldError, Warning};
pub use http::{HttpRequest, PathError, User, normalise};
pub use index::{PolicyIndex, Target};
pub use names::{Action, Mode, PolicyKey, PolicyRef, RefAction, Tier};
pub use ports::{PortRange, PortSet};
pub use rule::{Policy, Request, Scope};
pub use source::{Source, SourceAddress};
pub use spec::{
    AccessPolicySpec, FromSpec, HeaderSpec, PortSpec, RuleSpec, SelectorSpec, TargetRefSpec, ToSpec,
    UserSpec, WhenSpec,
};

#[cfg(test)]
mod tests;
