//! What the specification wants said of a route at each of its parents.
//!
//! Entry points: [`ParentStatus`], [`Condition`] (Gateway API, `RouteParentStatus`). Kept in the
//! snapshot for whoever writes an object's status; nothing here decides anything.

use std::fmt;

use super::route::{ParentRef, RouteKey};

/// A route at one of its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentStatus {
    /// The route.
    pub route: RouteKey,
    /// `metadata.generation` of what was judged.
    pub generation: Option<i64>,
    /// Which of its parents.
    pub parent: ParentRef,
    /// `Accepted`, `ResolvedRefs`, and `PartiallyInvalid` where it is so.
    pub conditions: Vec<Condition>,
    /// Each reference that does not lead anywhere: `ResolvedRefs` in detail.
    pub unresolved: Vec<Unresolved>,
    /// Whether the parent exists.
    pub parent_exists: bool,
}

impl ParentStatus {
    /// The condition of a type, if it has one.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: ConditionType,
    /// `status`: `True` or `False`.
    pub status: bool,
    /// `reason`.
    pub reason: Reason,
    /// `message`, for people.
    pub message: String,
}

/// `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The route is in force at this parent.
    Accepted,
    /// Every reference leads somewhere.
    ResolvedRefs,
    /// Some rules are not in force.
    PartiallyInvalid,
}

/// `reason` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As it should be.
    Accepted,
    /// As it should be.
    ResolvedRefs,
    /// There is no such Service, or none of its ports is meant.
    NoMatchingParent,
    /// A value that is not known or not supported.
    UnsupportedValue,
    /// A GRPCRoute is attached to the same ports.
    Conflicted,
    /// No ReferenceGrant allows the reference.
    RefNotPermitted,
    /// The reference is to a kind to which nothing can be sent.
    InvalidKind,
    /// There is no such Service, or it has no such port.
    BackendNotFound,
}

/// A reference that does not lead anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Where it is written, like `spec.rules[0].backendRefs[1]`.
    pub field: String,
    /// What it refers to: `shop/pay:8080`, or a group and kind.
    pub referent: String,
    /// Why.
    pub reason: Reason,
    /// The same in words.
    pub message: String,
    /// Whether the object referred to exists, as far as is known.
    pub exists: bool,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.field, self.referent, self.message)
    }
}

impl ConditionType {
    /// The word of the field `type`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::PartiallyInvalid => "PartiallyInvalid",
        }
    }
}

impl Reason {
    /// The word of the field `reason`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::NoMatchingParent => "NoMatchingParent",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::Conflicted => "Conflicted",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::InvalidKind => "InvalidKind",
            Self::BackendNotFound => "BackendNotFound",
        }
    }
}

/// `ResolvedRefs=False (BackendNotFound): …`
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = if self.status { "True" } else { "False" };
        write!(f, "{}={status} ({}): {}", self.kind.word(), self.reason.word(), self.message)
    }
}
