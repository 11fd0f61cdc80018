//! The `spec` of an AccessPolicy as an operator writes it, before its texts become types.
//!
//! Entry point: [`AccessPolicySpec`]. These types say which fields there are and of what shape; what
//! their texts mean, and which combinations are refused, is `compile`'s business. A field that is
//! present but null is refused: an empty `from:` must not come to mean "from anywhere".
//!
//! The CustomResourceDefinition is made of these types too: what is said of a field here is what `kubectl explain`
//! says, and its attributes have the API server refuse what `compile` refuses.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::{
    form,
    names::{Action, Mode, Tier},
};

/// Who may talk to the workloads that it selects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("x-kubernetes-validations" = form::rules(&[
    ("!has(self.selector) || !has(self.targetRefs)", form::EXCLUSIVE),
    ("self.action != 'deny' || (has(self.rules) && size(self.rules) > 0)",
     "rules: a deny policy without rules denies nothing: to deny everything, write [{}]"),
])))]
pub struct AccessPolicySpec {
    /// Whose concern the policy is: platform, security or application. A deny of any tier denies; each tier that has an
    /// allow policy for a workload must allow. Who may write which tier is a matter of roles (accesspolicies/TIER).
    #[schemars(default)]
    pub tier: Tier,
    /// Whether the policy decides (enforce), or only counts and shows what it would have denied (audit).
    #[schemars(default)]
    pub mode: Mode,
    /// Which workloads, by label. Without it, and without targetRefs: the whole namespace, or in weir-system the whole
    /// mesh.
    #[serde(deserialize_with = "present")]
    pub selector: Option<SelectorSpec>,
    /// Which workloads, by the Services whose endpoints they are. Excludes selector.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 64))]
    pub target_refs: Option<Vec<TargetRefSpec>>,
    /// What becomes of a request that a rule matches: allow or deny.
    #[schemars(default)]
    pub action: Action,
    /// The policy matches a request when any of these does. An allow policy without rules lets nothing through; the
    /// rule {} matches everything.
    #[schemars(default, length(max = 64))]
    pub rules: Vec<RuleSpec>,
}

/// Workloads, by label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct SelectorSpec {
    /// A workload is selected when it has all of these labels.
    #[serde(deserialize_with = "present")]
    #[schemars(required, with = "form::Labels")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// A Service of the object's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct TargetRefSpec {
    /// The core group: empty, or left out.
    #[schemars(default, with = "form::CoreGroup")]
    pub group: String,
    /// Service.
    #[schemars(with = "form::ServiceKind")]
    pub kind: String,
    /// Name of the Service.
    #[schemars(with = "form::Name")]
    pub name: String,
}

/// Matches when every part that is present does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct RuleSpec {
    /// Any of these sources. Left out: any source.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 16))]
    pub from: Option<Vec<FromSpec>>,
    /// Any of these operations. Left out: any operation.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 32))]
    pub to: Option<Vec<ToSpec>>,
    /// On this condition. Left out: on any.
    #[serde(deserialize_with = "present")]
    pub when: Option<WhenSpec>,
}

/// A source: matches when every list that is present has a value that does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1))]
pub struct FromSpec {
    /// Service accounts: namespace/name, or name for one of the policy's own namespace.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::ServiceAccount>>", length(min = 1, max = 1024))]
    pub service_accounts: Option<Vec<String>>,
    /// Names of namespaces.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Name>>", length(min = 1, max = 1024))]
    pub namespaces: Option<Vec<String>>,
    /// SPIFFE ids: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, or a * for whole parts at the end, like
    /// spiffe://TRUST-DOMAIN/ns/NAMESPACE/*.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::IdentityPattern>>", length(min = 1, max = 1024))]
    pub identities: Option<Vec<String>>,
    /// Networks like 10.0.0.0/8 and fd00::/8, or single addresses.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Network>>", length(min = 1, max = 128),
               extend("x-kubernetes-validations" = form::rules(form::NETWORKS)))]
    pub cidrs: Option<Vec<String>>,
}

/// An operation: matches when every list that is present has a value that does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1))]
pub struct ToSpec {
    /// Ports of the workload, from 1 to 65535, and ranges like 9000-9010.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 64))]
    pub ports: Option<Vec<PortSpec>>,
    /// HTTP methods, in upper case.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Method>>", length(min = 1, max = 64))]
    pub methods: Option<Vec<String>>,
    /// Paths without query: exact, everything below one (/v1/*), everything that ends so (*/admin, *.php), or any (*).
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Path>>", length(min = 1, max = 256))]
    pub paths: Option<Vec<String>>,
    /// Hosts without port: exact, or everything below one (*.local).
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Host>>", length(min = 1, max = 256))]
    pub hosts: Option<Vec<String>>,
    /// All of these headers.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 64))]
    pub headers: Option<Vec<HeaderSpec>>,
}

/// Matches when the header has these values and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct HeaderSpec {
    /// Name of the header, in any case. Host is none: write hosts.
    #[schemars(with = "form::Header")]
    pub name: String,
    /// Exact values, any of which matches.
    #[schemars(with = "Vec<form::HeaderText>", length(min = 1, max = 64))]
    pub values: Vec<String>,
}

/// A condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct WhenSpec {
    /// On behalf of whom the request is made, as its token proves.
    #[serde(deserialize_with = "present")]
    #[schemars(required)]
    pub user: Option<UserSpec>,
}

/// Matches when every part that is present does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1))]
pub struct UserSpec {
    /// Any of these issuers of the user's token.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Text>>", length(min = 1, max = 64))]
    pub issuers: Option<Vec<String>>,
    /// Any of these audiences of the user's token.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::Text>>", length(min = 1, max = 64))]
    pub audiences: Option<Vec<String>>,
    /// All of these claims, each with any of its values.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::Claims>")]
    pub claims: Option<BTreeMap<String, Vec<String>>>,
}

/// A derived struct also reads itself from a list of its fields' values, so that `rules: [[]]` would be
/// an empty rule, which matches everyone. These read themselves from an object and nothing else.
macro_rules! read_from_objects_only {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor;
                impl<'de> de::Visitor<'de> for ObjectVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: de::MapAccess<'de>>(self, fields: A) -> Result<$name, A::Error> {
                        // The function that the derive made, not the trait's.
                        $name::deserialize(de::value::MapAccessDeserializer::new(fields))
                    }
                }
                deserializer.deserialize_map(ObjectVisitor)
            }
        }
    )*};
}

pub(crate) use read_from_objects_only;

read_from_objects_only!(
    AccessPolicySpec,
    SelectorSpec,
    TargetRefSpec,
    RuleSpec,
    FromSpec,
    ToSpec,
    HeaderSpec,
    WhenSpec,
    UserSpec
);

/// A port number or a range, still as text: `8080`, `9000-9010`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSpec(pub String);

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PortSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl de::Visitor<'_> for PortVisitor {
            type Value = PortSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number, or a range like \"9000-9010\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortSpec, E> {
                Ok(PortSpec(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortSpec, E> {
                Ok(PortSpec(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortSpec, E> {
                Ok(PortSpec(text.into()))
            }
        }
        deserializer.deserialize_any(PortVisitor)
    }
}

/// Reads a field that may be left out, but not be null.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
