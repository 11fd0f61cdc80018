//! `spec` of a GRPCRoute.
//!
//! Entry point: [`GrpcRouteSpec`] (Gateway API, `GRPCRouteSpec`).

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::{BackendRefSpec, FilterSpec, ParentRefSpec, ValueMatchSpec, present, read_from_objects_only};

/// `spec` of a GRPCRoute (gateway.networking.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct GrpcRouteSpec {
    /// To what the route attaches.
    #[serde(deserialize_with = "present")]
    pub parent_refs: Option<Vec<ParentRefSpec>>,
    /// Concerns Gateways; read and left alone.
    #[serde(deserialize_with = "present")]
    pub use_default_gateways: Option<String>,
    /// Means nothing where the parent is a Service (GEP-1294); read and left alone.
    #[serde(deserialize_with = "present")]
    pub hostnames: Option<Vec<String>>,
    /// Absent or empty: the route matches nothing.
    #[serde(deserialize_with = "present")]
    pub rules: Option<Vec<GrpcRuleSpec>>,
}

/// One of `spec.rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct GrpcRuleSpec {
    /// Unique within the route.
    #[serde(deserialize_with = "present")]
    pub name: Option<String>,
    /// Any of these; absent or empty: every request.
    #[serde(deserialize_with = "present")]
    pub matches: Option<Vec<GrpcMatchSpec>>,
    /// What is done to the request and its answer.
    #[serde(deserialize_with = "present")]
    pub filters: Option<Vec<FilterSpec>>,
    /// Where the request goes.
    #[serde(deserialize_with = "present")]
    pub backend_refs: Option<Vec<BackendRefSpec>>,
    /// Not supported: its presence is an error (experimental channel).
    #[serde(deserialize_with = "present")]
    pub session_persistence: Option<serde_json::Value>,
}

/// One of `rules[].matches`: matches when every part that is present does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct GrpcMatchSpec {
    /// Absent: every service and method.
    #[serde(deserialize_with = "present")]
    pub method: Option<GrpcMethodSpec>,
    /// All of these headers.
    #[serde(deserialize_with = "present")]
    pub headers: Option<Vec<ValueMatchSpec>>,
}

/// `rules[].matches[].method`: of the two at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct GrpcMethodSpec {
    /// `Exact` (when absent) or `RegularExpression`, for both.
    #[serde(rename = "type", deserialize_with = "present")]
    pub kind: Option<String>,
    /// Absent or empty: every service.
    #[serde(deserialize_with = "present")]
    pub service: Option<String>,
    /// Absent or empty: every method.
    #[serde(deserialize_with = "present")]
    pub method: Option<String>,
}

read_from_objects_only!(GrpcRouteSpec, GrpcRuleSpec, GrpcMatchSpec, GrpcMethodSpec);
