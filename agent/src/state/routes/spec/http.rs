//! `spec` of an HTTPRoute.
//!
//! Entry point: [`HttpRouteSpec`] (Gateway API, `HTTPRouteSpec`).

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::{BackendRefSpec, FilterSpec, ParentRefSpec, ValueMatchSpec, present, read_from_objects_only};

/// `spec` of an HTTPRoute (gateway.networking.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HttpRouteSpec {
    /// To what the route attaches.
    #[serde(deserialize_with = "present")]
    pub parent_refs: Option<Vec<ParentRefSpec>>,
    /// Concerns Gateways; read and left alone.
    #[serde(deserialize_with = "present")]
    pub use_default_gateways: Option<String>,
    /// Means nothing where the parent is a Service (GEP-1294); read and left alone.
    #[serde(deserialize_with = "present")]
    pub hostnames: Option<Vec<String>>,
    /// Absent: one rule that matches everything and forwards nowhere.
    #[serde(deserialize_with = "present")]
    pub rules: Option<Vec<HttpRuleSpec>>,
}

/// One of `spec.rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HttpRuleSpec {
    /// Unique within the route.
    #[serde(deserialize_with = "present")]
    pub name: Option<String>,
    /// Any of these; absent or empty: every request.
    #[serde(deserialize_with = "present")]
    pub matches: Option<Vec<HttpMatchSpec>>,
    /// What is done to the request and its answer.
    #[serde(deserialize_with = "present")]
    pub filters: Option<Vec<FilterSpec>>,
    /// Where the request goes.
    #[serde(deserialize_with = "present")]
    pub backend_refs: Option<Vec<BackendRefSpec>>,
    /// How long it may take.
    #[serde(deserialize_with = "present")]
    pub timeouts: Option<TimeoutsSpec>,
    /// When it is tried again (experimental channel).
    #[serde(deserialize_with = "present")]
    pub retry: Option<RetrySpec>,
    /// Not supported: its presence is an error (experimental channel).
    #[serde(deserialize_with = "present")]
    pub session_persistence: Option<serde_json::Value>,
}

/// One of `rules[].matches`: matches when every part that is present does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HttpMatchSpec {
    /// Absent: every path.
    #[serde(deserialize_with = "present")]
    pub path: Option<PathMatchSpec>,
    /// All of these headers.
    #[serde(deserialize_with = "present")]
    pub headers: Option<Vec<ValueMatchSpec>>,
    /// All of these query parameters.
    #[serde(deserialize_with = "present")]
    pub query_params: Option<Vec<ValueMatchSpec>>,
    /// The method, in upper case.
    #[serde(deserialize_with = "present")]
    pub method: Option<String>,
}

/// `rules[].matches[].path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct PathMatchSpec {
    /// `Exact`, `PathPrefix` (when absent) or `RegularExpression`.
    #[serde(rename = "type", deserialize_with = "present")]
    pub kind: Option<String>,
    /// Absent: `/`.
    #[serde(deserialize_with = "present")]
    pub value: Option<String>,
}

/// `rules[].timeouts`; durations as GEP-2257 has them, zero: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct TimeoutsSpec {
    /// From the request's beginning to the end of the answer, all tries together.
    #[serde(deserialize_with = "present")]
    pub request: Option<String>,
    /// The same for one try.
    #[serde(deserialize_with = "present")]
    pub backend_request: Option<String>,
}

/// `rules[].retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RetrySpec {
    /// Statuses from 400 to 599.
    #[serde(deserialize_with = "present")]
    pub codes: Option<Vec<i64>>,
    /// Most retries of one request.
    #[serde(deserialize_with = "present")]
    pub attempts: Option<i64>,
    /// Least time between two tries.
    #[serde(deserialize_with = "present")]
    pub backoff: Option<String>,
}

read_from_objects_only!(HttpRouteSpec, HttpRuleSpec, HttpMatchSpec, PathMatchSpec, TimeoutsSpec, RetrySpec);
