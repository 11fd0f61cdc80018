//! The `spec` of a RequestAuthentication as an operator writes it, before its texts become types.
//!
//! Entry point: [`RequestAuthenticationSpec`]. Which fields there are and of what shape; what their texts
//! mean is `compile`'s business. A field that is present but null is refused, as in an AccessPolicy, and here too what
//! is said of a field is what `kubectl explain` says.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::form;
use crate::policy::{
    SelectorSpec, TargetRefSpec,
    form::{EXCLUSIVE, rules},
    spec::{present, read_from_objects_only},
};

/// Whose tokens the workloads that it selects take. It demands none: that an AccessPolicy does, with when.user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(&[
    ("!has(self.selector) || !has(self.targetRefs)", EXCLUSIVE),
])))]
pub struct RequestAuthenticationSpec {
    /// Which workloads, by label. Without it, and without targetRefs: the whole namespace, or in weir-system the whole
    /// mesh.
    #[serde(deserialize_with = "present")]
    pub selector: Option<SelectorSpec>,
    /// Which workloads, by the Services whose endpoints they are. Excludes selector.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 64))]
    pub target_refs: Option<Vec<TargetRefSpec>>,
    /// Whose tokens are taken; each issuer once.
    #[schemars(length(min = 1, max = 32), extend(
        "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["issuer"]
    ))]
    pub issuers: Vec<IssuerSpec>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_ISSUER)))]
pub struct IssuerSpec {
    /// The claim iss of its tokens, exactly.
    #[schemars(with = "form::Issuer")]
    pub issuer: String,
    /// A token must be for one of these (aud). ["*"] takes tokens for anybody, those for other apps too.
    #[schemars(with = "Vec<form::Audience>", length(min = 1, max = 64),
               extend("x-kubernetes-validations" = rules(&[form::AUDIENCES])))]
    pub audiences: Vec<String>,
    /// Its public keys: inline, or where they are.
    #[serde(deserialize_with = "present")]
    #[schemars(required)]
    pub jwks: Option<JwksSpec>,
    /// Where in a request its tokens are. Left out: authorization, after "Bearer ".
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-validations" = rules(&[form::LOCATIONS])))]
    pub from: Option<Vec<LocationSpec>>,
    /// How far its clock may be off, up to 10m. Left out: 60s.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Leeway>")]
    pub clock_leeway: Option<String>,
    /// What of a verified token is given to the app.
    #[serde(deserialize_with = "present")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules(&[form::FORWARDS])))]
    pub forward_claims: Option<Vec<ForwardSpec>>,
}

/// Keys: either inline or at a uri.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_JWKS)))]
pub struct JwksSpec {
    /// The key set itself (RFC 7517): public keys only.
    // Read as a value, not as the form: whatever is wrong in it is told without showing what may be secret.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::KeySet>")]
    pub inline: Option<Value>,
    /// Where the key set is: https://…, http://… or, for objects of weir-system, file:///….
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Uri>")]
    pub uri: Option<String>,
    /// PEM certificates that may vouch for the server at an https uri, in place of the node's own roots.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Certificates>")]
    pub ca: Option<String>,
    /// How often the keys are fetched, from 10s to 24h. Left out: 5m.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Refresh>")]
    pub refresh: Option<String>,
}

/// A place in a request: a header, or a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = rules(form::OF_LOCATION)))]
pub struct LocationSpec {
    /// Name of a header.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::TokenHeader>")]
    pub header: Option<String>,
    /// What stands before the token in the header, in any case. Left out: "Bearer " for authorization, nothing for
    /// another header.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Prefix>")]
    pub prefix: Option<String>,
    /// Name of a cookie, case-sensitive.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Cookie>")]
    pub cookie: Option<String>,
}

/// A claim, and where the app gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct ForwardSpec {
    /// A claim that is a text or a list of texts; iss, sub and aud too.
    #[schemars(with = "form::Claim")]
    pub claim: String,
    /// The header in which the app gets it; best one that begins with weir-user-.
    #[schemars(with = "form::ClaimHeader")]
    pub header: String,
}

read_from_objects_only!(RequestAuthenticationSpec, IssuerSpec, JwksSpec, LocationSpec, ForwardSpec);
