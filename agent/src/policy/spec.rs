//! The `spec` of an AccessPolicy as an operator writes it, before its texts become types.
//!
//! Entry point: [`AccessPolicySpec`]. These types say which fields there are and of what shape; what
//! their texts mean, and which combinations are refused, is `compile`'s business. A field that is
//! present but null is refused: an empty `from:` must not come to mean "from anywhere".

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::names::{Action, Mode, Tier};

/// `spec` of an AccessPolicy (weir.dev/v1alpha1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct AccessPolicySpec {
    /// Whose concern it is; `application` when absent.
    pub tier: Tier,
    /// Whether it decides; `enforce` when absent.
    pub mode: Mode,
    /// Which workloads, by label. Absent, and no `target_refs`: the whole namespace, or the whole
    /// mesh when the policy is in the root namespace.
    #[serde(deserialize_with = "present")]
    pub selector: Option<SelectorSpec>,
    /// Which workloads, by the Services whose endpoints they are; excludes `selector`.
    #[serde(deserialize_with = "present")]
    pub target_refs: Option<Vec<TargetRefSpec>>,
    /// What happens to a request that a rule matches; `allow` when absent.
    pub action: Action,
    /// The policy matches when any of these does.
    pub rules: Vec<RuleSpec>,
}

/// `spec.selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct SelectorSpec {
    /// A workload is selected when it has all of these labels.
    #[serde(deserialize_with = "present")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// One of `spec.targetRefs`: a Service of the policy's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct TargetRefSpec {
    /// Absent or empty: the core group.
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// Name of the Service.
    pub name: String,
}

/// One of `spec.rules`: matches when every part that is present does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct RuleSpec {
    /// Any of these sources; absent: any source.
    #[serde(deserialize_with = "present")]
    pub from: Option<Vec<FromSpec>>,
    /// Any of these operations; absent: any operation.
    #[serde(deserialize_with = "present")]
    pub to: Option<Vec<ToSpec>>,
    /// On these conditions; absent: on any.
    #[serde(deserialize_with = "present")]
    pub when: Option<WhenSpec>,
}

/// One of `rules[].from`: matches when every list that is present has a value that does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct FromSpec {
    /// `namespace/name`, or `name` for one of the policy's own namespace.
    #[serde(deserialize_with = "present")]
    pub service_accounts: Option<Vec<String>>,
    /// Names of namespaces.
    #[serde(deserialize_with = "present")]
    pub namespaces: Option<Vec<String>>,
    /// SPIFFE ids, or whole parts of one followed by `/*` (see `source::Identities`).
    #[serde(deserialize_with = "present")]
    pub identities: Option<Vec<String>>,
    /// Networks, or single addresses.
    #[serde(deserialize_with = "present")]
    pub cidrs: Option<Vec<String>>,
}

/// One of `rules[].to`: matches when every list that is present has a value that does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct ToSpec {
    /// Port numbers and ranges.
    #[serde(deserialize_with = "present")]
    pub ports: Option<Vec<PortSpec>>,
    /// HTTP methods.
    #[serde(deserialize_with = "present")]
    pub methods: Option<Vec<String>>,
    /// Paths: exact, everything below one (`/v1/*`), everything that ends so (`*/admin`, `*.php`), or any
    /// (`*`).
    #[serde(deserialize_with = "present")]
    pub paths: Option<Vec<String>>,
    /// Hosts: exact, or everything below one (`*.local`).
    #[serde(deserialize_with = "present")]
    pub hosts: Option<Vec<String>>,
    /// All of these headers.
    #[serde(deserialize_with = "present")]
    pub headers: Option<Vec<HeaderSpec>>,
}

/// One of `rules[].to[].headers`: matches when the header has these values and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct HeaderSpec {
    /// Name of the header, in any case.
    pub name: String,
    /// Exact values.
    pub values: Vec<String>,
}

/// `rules[].when`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct WhenSpec {
    /// On behalf of whom.
    #[serde(deserialize_with = "present")]
    pub user: Option<UserSpec>,
}

/// `rules[].when.user`: matches when every part that is present does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
pub struct UserSpec {
    /// Any of these issuers of the user's token.
    #[serde(deserialize_with = "present")]
    pub issuers: Option<Vec<String>>,
    /// Any of these audiences of the user's token.
    #[serde(deserialize_with = "present")]
    pub audiences: Option<Vec<String>>,
    /// All of these claims, each with any of its values.
    #[serde(deserialize_with = "present")]
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
