//! The `spec` of a RequestAuthentication as an operator writes it, before its texts become types.
//!
//! Entry point: [`RequestAuthenticationSpec`]. Which fields there are and of what shape; what their texts
//! mean is `compile`'s business. A field that is present but null is refused, as in an AccessPolicy.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::policy::{
    SelectorSpec, TargetRefSpec,
    spec::{present, read_from_objects_only},
};

/// `spec` of a RequestAuthentication (weir.dev/v1alpha1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RequestAuthenticationSpec {
    /// Which workloads, by label. Absent, and no `target_refs`: the whole namespace, or the whole mesh
    /// when the object is in the root namespace.
    #[serde(deserialize_with = "present")]
    pub selector: Option<SelectorSpec>,
    /// Which workloads, by the Services whose endpoints they are; excludes `selector`.
    #[serde(deserialize_with = "present")]
    pub target_refs: Option<Vec<TargetRefSpec>>,
    /// Whose tokens are taken.
    pub issuers: Vec<IssuerSpec>,
}

/// One of `spec.issuers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct IssuerSpec {
    /// The claim `iss` of its tokens, exactly.
    pub issuer: String,
    /// A token is for one of these (`aud`); `["*"]`: for anybody.
    pub audiences: Vec<String>,
    /// Its keys.
    #[serde(deserialize_with = "present")]
    pub jwks: Option<JwksSpec>,
    /// Where in a request its tokens are; absent: `authorization: Bearer …`.
    #[serde(deserialize_with = "present")]
    pub from: Option<Vec<LocationSpec>>,
    /// How far its clock may be from the node's: a duration like `30s`; absent: a minute.
    #[serde(deserialize_with = "present")]
    pub clock_leeway: Option<String>,
    /// What of a verified token is given to the app.
    #[serde(deserialize_with = "present")]
    pub forward_claims: Option<Vec<ForwardSpec>>,
}

/// `issuers[].jwks`: exactly one of `inline` and `uri` (RFC 7517 §5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct JwksSpec {
    /// The key set itself, an object with `keys`.
    #[serde(deserialize_with = "present")]
    pub inline: Option<Value>,
    /// Where it is: `https://…`, `http://…` or `file:///…`.
    #[serde(deserialize_with = "present")]
    pub uri: Option<String>,
    /// PEM: who may vouch for the server at `uri`, in place of the node's own roots.
    #[serde(deserialize_with = "present")]
    pub ca: Option<String>,
    /// How often it is fetched: a duration like `5m`, which it is when absent.
    #[serde(deserialize_with = "present")]
    pub refresh: Option<String>,
}

/// One of `issuers[].from`: either `header`, or `cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct LocationSpec {
    /// Name of a header.
    #[serde(deserialize_with = "present")]
    pub header: Option<String>,
    /// What stands before the token in the header, in any case; absent: `Bearer ` for `authorization`,
    /// and nothing for any other header.
    #[serde(deserialize_with = "present")]
    pub prefix: Option<String>,
    /// Name of a cookie, case-sensitive.
    #[serde(deserialize_with = "present")]
    pub cookie: Option<String>,
}

/// One of `issuers[].forwardClaims`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct ForwardSpec {
    /// Name of a claim whose value is a text or a list of texts; `iss`, `sub` and `aud` too.
    pub claim: String,
    /// The header in which the app gets it.
    pub header: String,
}

read_from_objects_only!(RequestAuthenticationSpec, IssuerSpec, JwksSpec, LocationSpec, ForwardSpec);
