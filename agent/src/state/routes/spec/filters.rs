//! What routes do to requests and answers, as it is written.
//!
//! Entry point: [`FilterSpec`] (Gateway API, `HTTPRouteFilter`, of which `GRPCRouteFilter` is a part).

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{present, read_from_objects_only};

/// One of a rule's or a backend's `filters`: the field that its `type` names, and no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct FilterSpec {
    /// Which of the fields below is meant.
    #[serde(rename = "type")]
    pub kind: String,
    /// `RequestHeaderModifier`.
    #[serde(deserialize_with = "present")]
    pub request_header_modifier: Option<HeaderModifierSpec>,
    /// `ResponseHeaderModifier`.
    #[serde(deserialize_with = "present")]
    pub response_header_modifier: Option<HeaderModifierSpec>,
    /// `RequestMirror`.
    #[serde(deserialize_with = "present")]
    pub request_mirror: Option<MirrorSpec>,
    /// `RequestRedirect`.
    #[serde(deserialize_with = "present")]
    pub request_redirect: Option<RedirectSpec>,
    /// `URLRewrite`.
    #[serde(deserialize_with = "present")]
    pub url_rewrite: Option<RewriteSpec>,
    /// `CORS`.
    #[serde(deserialize_with = "present")]
    pub cors: Option<CorsSpec>,
    /// `ExternalAuth`: not supported, so that what is in it is not looked at.
    #[serde(deserialize_with = "present")]
    pub external_auth: Option<Value>,
    /// `ExtensionRef`: none is known, so that what is in it is not looked at.
    #[serde(deserialize_with = "present")]
    pub extension_ref: Option<Value>,
}

/// `HTTPHeaderFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HeaderModifierSpec {
    /// Replaces whatever values there are.
    #[serde(deserialize_with = "present")]
    pub set: Option<Vec<HeaderSpec>>,
    /// Adds to the values there are.
    #[serde(deserialize_with = "present")]
    pub add: Option<Vec<HeaderSpec>>,
    /// Takes the header away.
    #[serde(deserialize_with = "present")]
    pub remove: Option<Vec<String>>,
}

/// `HTTPHeader`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HeaderSpec {
    /// In any case.
    pub name: String,
    /// Not empty.
    pub value: String,
}

/// `HTTPRequestMirrorFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct MirrorSpec {
    /// Where the copies go.
    #[serde(deserialize_with = "present")]
    pub backend_ref: Option<ObjectRefSpec>,
    /// From 0 to 100; excludes `fraction`. Without either: all.
    #[serde(deserialize_with = "present")]
    pub percent: Option<i64>,
    /// Excludes `percent`.
    #[serde(deserialize_with = "present")]
    pub fraction: Option<FractionSpec>,
}

/// `Fraction`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct FractionSpec {
    /// At least 0, at most the denominator.
    #[serde(deserialize_with = "present")]
    pub numerator: Option<i64>,
    /// At least 1; absent: 100.
    #[serde(deserialize_with = "present")]
    pub denominator: Option<i64>,
}

/// `BackendObjectReference`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct ObjectRefSpec {
    /// Absent or empty: the core group.
    #[serde(deserialize_with = "present")]
    pub group: Option<String>,
    /// Absent: `Service`.
    #[serde(deserialize_with = "present")]
    pub kind: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Absent: the route's own.
    #[serde(deserialize_with = "present")]
    pub namespace: Option<String>,
    /// Number of the Service's port.
    #[serde(deserialize_with = "present")]
    pub port: Option<i64>,
}

/// `HTTPRequestRedirectFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RedirectSpec {
    /// `http` or `https`; absent: the request's.
    #[serde(deserialize_with = "present")]
    pub scheme: Option<String>,
    /// Absent: the request's.
    #[serde(deserialize_with = "present")]
    pub hostname: Option<String>,
    /// Absent: the request's.
    #[serde(deserialize_with = "present")]
    pub path: Option<PathModifierSpec>,
    /// Absent: that of the scheme given, or the one that the request came to.
    #[serde(deserialize_with = "present")]
    pub port: Option<i64>,
    /// 301, 302 (when absent), 303, 307 or 308.
    #[serde(deserialize_with = "present")]
    pub status_code: Option<i64>,
}

/// `HTTPURLRewriteFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RewriteSpec {
    /// Absent: the request's.
    #[serde(deserialize_with = "present")]
    pub hostname: Option<String>,
    /// Absent: the request's.
    #[serde(deserialize_with = "present")]
    pub path: Option<PathModifierSpec>,
}

/// `HTTPPathModifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct PathModifierSpec {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The new path.
    #[serde(deserialize_with = "present")]
    pub replace_full_path: Option<String>,
    /// What replaces the prefix that the rule's match names.
    #[serde(deserialize_with = "present")]
    pub replace_prefix_match: Option<String>,
}

/// `HTTPCORSFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct CorsSpec {
    /// `https://shop.example`, `https://*.shop.example`, or `*` alone.
    #[serde(deserialize_with = "present")]
    pub allow_origins: Option<Vec<String>>,
    /// Whether credentials may come along.
    #[serde(deserialize_with = "present")]
    pub allow_credentials: Option<bool>,
    /// Methods, or `*` alone.
    #[serde(deserialize_with = "present")]
    pub allow_methods: Option<Vec<String>>,
    /// Names of headers, or `*` alone.
    #[serde(deserialize_with = "present")]
    pub allow_headers: Option<Vec<String>>,
    /// Names of headers, or `*`.
    #[serde(deserialize_with = "present")]
    pub expose_headers: Option<Vec<String>>,
    /// Seconds for which the answer may be remembered; absent: 5.
    #[serde(deserialize_with = "present")]
    pub max_age: Option<i64>,
}

read_from_objects_only!(
    FilterSpec,
    HeaderModifierSpec,
    HeaderSpec,
    MirrorSpec,
    FractionSpec,
    ObjectRefSpec,
    RedirectSpec,
    RewriteSpec,
    PathModifierSpec,
    CorsSpec
);
