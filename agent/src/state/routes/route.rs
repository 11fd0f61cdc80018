//! One HTTPRoute or GRPCRoute, compiled, before it is known what it attaches to.
//!
//! Entry points: [`Route`], [`RouteKey`], [`RuleRef`]. What it refers to may exist or not; `attach`
//! finds out.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    filters::{Filters, Share},
    matching::{GrpcMatch, HttpMatch},
};
use crate::{policy::Warning, state::model::NamespacedName};

/// Which kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// GRPCRoute. Comes first: it wins where both attach to one port.
    Grpc,
    /// HTTPRoute.
    Http,
}

impl RouteKind {
    /// The word of the field `kind`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The name of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// HTTPRoute or GRPCRoute.
    pub kind: RouteKind,
    /// Namespace and name.
    pub name: NamespacedName,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What a route's metadata say beside its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteMeta {
    /// `metadata.creationTimestamp`, in seconds since 1970: the oldest route wins.
    pub created: Option<i64>,
    /// `metadata.generation`, for `observedGeneration`.
    pub generation: Option<i64>,
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub(super) key: RouteKey,
    pub(super) created: Option<i64>,
    pub(super) generation: Option<i64>,
    /// Those of `spec.parentRefs` that are Services.
    pub(super) parents: Vec<ParentRef>,
    /// The rules that a request can match.
    pub(super) rules: Vec<Arc<RouteRule>>,
    /// How many rules are written.
    pub(super) written: usize,
    /// What is wrong with rules, so that they are dropped or answer with an error.
    pub(super) faults: Vec<RuleFault>,
    pub(super) warnings: Vec<Warning>,
}

impl Route {
    /// The kind and name.
    pub fn key(&self) -> &RouteKey {
        &self.key
    }

    /// What does not do what its author may expect, as far as the route alone can tell.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether at least one rule does what is written. A route without rules is right, and matches nothing.
    pub(super) fn is_acceptable(&self) -> bool {
        self.written == 0 || (0..self.written).any(|rule| self.faults.iter().all(|fault| fault.rule != rule))
    }

    /// Whether it stands in the place of the Service's own forwarding. A rule that only answers with an
    /// error does: what its filter was to keep out must not pass because the filter is not known.
    pub(super) fn attaches(&self) -> bool {
        self.written == 0 || !self.rules.is_empty()
    }

    /// The Services that it refers to for forwarding and mirroring.
    pub(super) fn referents(&self) -> impl Iterator<Item = &NamespacedName> {
        let references = self.rules.iter().flat_map(|rule| {
            let backends = rule.backends.iter();
            let mirrors = backends.clone().flat_map(|backend| &backend.mirrors).chain(&rule.mirrors);
            backends.map(|backend| &backend.reference).chain(mirrors.map(|mirror| &mirror.reference))
        });
        references.filter_map(|reference| match &reference.object {
            Referent::Service { service, .. } => Some(service),
            Referent::Other { .. } => None,
        })
    }
}

/// One of `spec.parentRefs` that is a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// Its place in the list.
    pub index: usize,
    /// The Service.
    pub service: NamespacedName,
    /// Only the port of this name; any when absent.
    pub section: Option<Arc<str>>,
    /// Only the port of this number; any when absent.
    pub port: Option<u16>,
}

/// Names one rule, for flows and metrics: `shop/pay-route/0`, or its name for its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// Place in `spec.rules`.
    pub index: usize,
    name: Arc<str>,
}

impl RuleRef {
    /// The rule of a route at this place of `spec.rules`, with the name that it may have.
    pub fn new(route: &NamespacedName, index: usize, name: Option<&str>) -> Self {
        let name = name.map_or_else(|| format!("{route}/{index}"), |name| format!("{route}/{name}"));
        Self { index, name: name.into() }
    }

    /// As it is shown.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A rule that cannot do what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleFault {
    pub(super) rule: usize,
    pub(super) field: String,
    pub(super) value: String,
    pub(super) message: String,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.field, self.value, self.message)
    }
}

/// One rule, with references that are still to be resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RouteRule {
    pub(super) reference: Arc<RuleRef>,
    pub(super) matches: Matches,
    pub(super) filters: Arc<Filters>,
    pub(super) mirrors: Vec<MirrorRef>,
    pub(super) backends: Vec<BackendRef>,
    pub(super) timeouts: Timeouts,
    pub(super) retry: Option<Retry>,
    /// Why it cannot do what is written, in words.
    pub(super) unusable: Option<Arc<str>>,
}

/// The matches of a rule, of which any must fit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matches {
    Http(Vec<HttpMatch>),
    Grpc(Vec<GrpcMatch>),
}

/// One of `backendRefs`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BackendRef {
    pub(super) reference: Reference,
    pub(super) weight: u32,
    pub(super) filters: Arc<Filters>,
    pub(super) mirrors: Vec<MirrorRef>,
    pub(super) unusable: Option<Arc<str>>,
}

/// A mirror whose destination is still to be resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MirrorRef {
    pub(super) reference: Reference,
    pub(super) share: Share,
}

/// What a backend or mirror refers to, and where this is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) field: String,
    pub(super) object: Referent,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Referent {
    Service {
        service: NamespacedName,
        port: u16,
    },
    /// Of a kind that nothing can be sent to: its group and kind in words.
    Other {
        kind: String,
    },
}

/// `rules[].timeouts`. Absent: nothing is said; zero: no timeout is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's beginning to the end of the answer, all tries together.
    pub request: Option<Duration>,
    /// The same for one try.
    pub backend_request: Option<Duration>,
}

/// `rules[].retry`. With it, failed connections are retried too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Statuses, from 400 to 599, sorted; empty when nothing is said.
    pub codes: Vec<u16>,
    /// Most retries of one request, at least 1; absent: nothing is said.
    pub attempts: Option<u32>,
    /// Least time between two tries; absent: nothing is said.
    pub backoff: Option<Duration>,
}
