//! HTTPRoutes, GRPCRoutes and ReferenceGrants of the Gateway API with a Service as parent (GAMMA,
//! GEP-1294): read, resolved, and asked what becomes of a request (docs/gateway-api.md).
//!
//! Entry points, in the order of their use: [`Route::http`], [`Route::grpc`] and
//! [`ReferenceGrant::parse`] read objects; `filed` keeps them and `attach` derives what they amount to
//! at each Service; [`Snapshot::routes`](super::Snapshot::routes) finds that, [`Routes::find`] the rule
//! for a request, and [`Rule::outcome`] what becomes of it. Pure: no sockets, no clock, no types of an
//! HTTP library; randomness is given.

mod attach;
mod compile;
mod conditions;
mod filed;
mod filters;
mod grant;
mod index;
mod lint;
mod matching;
mod pattern;
mod rank;
mod resolve;
mod route;
mod rule;
pub mod spec;

#[cfg(test)]
mod tests;

pub use attach::ServiceRoutes;
pub use conditions::{Condition, ConditionType, ParentStatus, Reason, Unresolved};
pub use filters::{
    Cors, Filters, HeaderModifier, HeaderOperation, PathModifier, Preflight, Redirect, RequestUrl, Rewrite,
    Scheme, Share,
};
pub use grant::ReferenceGrant;
pub use index::Routes;
pub use lint::warnings;
pub use matching::RequestView;
pub use route::{ParentRef, Retry, Route, RouteKey, RouteKind, RouteMeta, RuleRef, Timeouts};
pub use rule::{Backend, Destination, Mirror, Outcome, Rule};

pub(super) use filed::RouteInputs;
