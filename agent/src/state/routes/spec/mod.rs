//! The `spec` of routes and grants as an operator writes them, before their texts become types.
//!
//! Entry points: [`HttpRouteSpec`], [`GrpcRouteSpec`], [`ReferenceGrantSpec`]. These types say which
//! fields there are and of what shape (Gateway API, `apis/v1/*_types.go`); what their texts mean is
//! `compile`'s business. An unknown field is refused, and so is one that is present but null.

mod filters;
mod grant;
mod grpc;
mod http;

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::policy::spec::{present, read_from_objects_only};

pub use filters::{
    CorsSpec, FilterSpec, FractionSpec, HeaderModifierSpec, HeaderSpec, MirrorSpec, ObjectRefSpec,
    PathModifierSpec, RedirectSpec, RewriteSpec,
};
pub use grant::{GrantFromSpec, GrantToSpec, ReferenceGrantSpec};
pub use grpc::{GrpcMatchSpec, GrpcMethodSpec, GrpcRouteSpec, GrpcRuleSpec};
pub use http::{HttpMatchSpec, HttpRouteSpec, HttpRuleSpec, PathMatchSpec, RetrySpec, TimeoutsSpec};

/// One of `spec.parentRefs` (`ParentReference`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct ParentRefSpec {
    /// Absent: `gateway.networking.k8s.io`. A Service is of the group `""`, which must be written out.
    #[serde(deserialize_with = "present")]
    pub group: Option<String>,
    /// Absent: `Gateway`.
    #[serde(deserialize_with = "present")]
    pub kind: Option<String>,
    /// Absent: the route's own.
    #[serde(deserialize_with = "present")]
    pub namespace: Option<String>,
    /// Name of the parent.
    pub name: String,
    /// Of a Service: the name of a port. Absent or empty: every port.
    #[serde(deserialize_with = "present")]
    pub section_name: Option<String>,
    /// Of a Service: the number of a port. Absent: every port.
    #[serde(deserialize_with = "present")]
    pub port: Option<i64>,
}

/// One of `rules[].backendRefs` (`HTTPBackendRef`, `GRPCBackendRef`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct BackendRefSpec {
    /// Absent or empty: the core group.
    #[serde(deserialize_with = "present")]
    pub group: Option<String>,
    /// Absent: `Service`.
    #[serde(deserialize_with = "present")]
    pub kind: Option<String>,
    /// Name of the backend.
    pub name: String,
    /// Absent: the route's own.
    #[serde(deserialize_with = "present")]
    pub namespace: Option<String>,
    /// Number of the Service's port.
    #[serde(deserialize_with = "present")]
    pub port: Option<i64>,
    /// Share of the requests, in relation to the other weights; absent: 1.
    #[serde(deserialize_with = "present")]
    pub weight: Option<i64>,
    /// Applied to requests for this backend alone.
    #[serde(deserialize_with = "present")]
    pub filters: Option<Vec<FilterSpec>>,
}

/// One of a match's `headers` or `queryParams`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct ValueMatchSpec {
    /// `Exact` (when absent) or `RegularExpression`.
    #[serde(rename = "type", deserialize_with = "present")]
    pub kind: Option<String>,
    /// Name of the header (any case) or of the parameter (exact).
    pub name: String,
    /// What its value is to be, or to match as a whole.
    pub value: String,
}

read_from_objects_only!(ParentRefSpec, BackendRefSpec, ValueMatchSpec);
