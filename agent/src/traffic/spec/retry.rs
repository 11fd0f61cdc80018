//! `spec.retry`: what is tried again, how, and how much load that may add.
//!
//! Entry point: [`RetrySpec`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::{
    policy::{
        form::rules,
        spec::{present, read_from_objects_only},
    },
    traffic::form,
};

/// What is tried again, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote)]
pub struct RetrySpec {
    /// Tries after the first one. Left out: 2.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: Option<u32>,
    /// How long one try may take to its response's head, from 1ms to 1h. Left out: as long as the request.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::TryTime>")]
    pub per_try_timeout: Option<String>,
    /// How long to wait before a retry.
    #[serde(deserialize_with = "present")]
    pub backoff: Option<BackoffSpec>,
    /// What is tried again: statuses from 400 to 599, 5xx, connect, refused, reset, timeout. Left out: 502, 503, 504 and
    /// all words.
    #[serde(deserialize_with = "present")]
    #[schemars(length(min = 1, max = 64))]
    pub retry_on: Option<Vec<ConditionSpec>>,
    /// gRPC statuses by name that are tried again. Naming them says that the Service's calls may be repeated. Left out:
    /// none.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<form::GrpcStatus>>", length(min = 1, max = 16))]
    pub on_grpc: Option<Vec<String>>,
    /// Methods that may be repeated beside the idempotent ones. Left out: none.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<crate::policy::form::Method>>", length(min = 1, max = 64))]
    pub methods: Option<Vec<String>>,
    /// The largest body, in bytes, that is kept to be sent again, up to 1048576. Left out: 65536.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 0, max = 1_048_576))]
    pub max_body_bytes: Option<u32>,
    /// How much load retries may add.
    #[serde(deserialize_with = "present")]
    pub budget: Option<BudgetSpec>,
}

/// How long to wait before a retry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1, "x-kubernetes-validations" = rules(form::OF_BACKOFF)))]
pub struct BackoffSpec {
    /// The longest wait before the first retry, from 1ms to 10s; it doubles with each. Left out: 25ms.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::BackoffBase>")]
    pub base: Option<String>,
    /// The longest wait before any retry, from 1ms to 60s. Left out: ten times the base.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::BackoffMost>")]
    pub max: Option<String>,
}

/// How much load retries may add.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, remote = "Self")]
#[schemars(!default, !remote, extend("minProperties" = 1, "x-kubernetes-validations" = rules(form::OF_BUDGET)))]
pub struct BudgetSpec {
    /// Retries for each hundred requests. Left out: 20.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<u32>,
    /// Retries per second of one agent that are allowed however few the requests are. Left out: 10.
    #[serde(deserialize_with = "present")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_per_second: Option<u32>,
    /// How long a request counts, from 1s to 60s. Left out: 10s.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<form::BudgetTime>")]
    pub ttl: Option<String>,
}

read_from_objects_only!(RetrySpec, BackoffSpec, BudgetSpec);

/// One of `spec.retry.retryOn`, still as text: `503`, `5xx`, `reset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionSpec(pub String);

impl fmt::Display for ConditionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConditionSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConditionVisitor;
        impl de::Visitor<'_> for ConditionVisitor {
            type Value = ConditionSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status or a word like \"reset\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ConditionSpec, E> {
                Ok(ConditionSpec(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ConditionSpec, E> {
                Ok(ConditionSpec(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ConditionSpec, E> {
                Ok(ConditionSpec(text.into()))
            }
        }
        deserializer.deserialize_any(ConditionVisitor)
    }
}
