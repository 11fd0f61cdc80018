//! `spec` of a ReferenceGrant.
//!
//! Entry point: [`ReferenceGrantSpec`] (Gateway API, `ReferenceGrantSpec`).

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::{present, read_from_objects_only};

/// `spec` of a ReferenceGrant (gateway.networking.k8s.io v1, v1beta1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct ReferenceGrantSpec {
    /// Who may refer: any of these.
    pub from: Vec<GrantFromSpec>,
    /// To what: any of these, in the grant's own namespace.
    pub to: Vec<GrantToSpec>,
}

/// One of `spec.from`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct GrantFromSpec {
    /// `gateway.networking.k8s.io` for routes.
    #[serde(deserialize_with = "present")]
    pub group: Option<String>,
    /// `HTTPRoute`, `GRPCRoute`; others mean nothing here.
    pub kind: String,
    /// Where the routes are.
    pub namespace: String,
}

/// One of `spec.to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct GrantToSpec {
    /// Empty for Services.
    #[serde(deserialize_with = "present")]
    pub group: Option<String>,
    /// `Service`; others mean nothing here.
    pub kind: String,
    /// Absent or empty: all of the kind.
    #[serde(deserialize_with = "present")]
    pub name: Option<String>,
}

read_from_objects_only!(ReferenceGrantSpec, GrantFromSpec, GrantToSpec);
