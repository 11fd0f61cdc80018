//! What the API answers, in the form in which it travels; the command line reads the same types.
//!
//! Entry points: [`StatusReport`], [`Explanation`], [`ExplainQuery`]. A field that a reader does not know
//! is skipped and one that is absent is empty, so that versions can be mixed for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flows::{filter::ParameterError, record::PolicyRef};

/// The agent as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReport {
    /// The agent's node.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// Whether every enrolled pod on the node is captured.
    pub ready: bool,
    /// What it still waits for, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    /// When every pod was looked at last, RFC 3339; absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// Generation of the snapshot in force.
    pub generation: u64,
    /// Generation of the policy in force.
    pub policy_generation: u64,
    /// Kernel programs.
    pub programs: Vec<ProgramStatus>,
    /// Workloads on this node.
    pub workloads: Vec<WorkloadStatus>,
    /// Objects and files that could not be used.
    pub problems: Vec<Problem>,
    /// Numbers worth a look, by name.
    pub counters: BTreeMap<String, u64>,
}

/// What a look at every pod of the node found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Captured pods.
    pub pods: u64,
    /// Of these, the ones that were captured in part and are in full again.
    pub repaired: u64,
    /// Enrolled pods that are not captured in full, or have no certificate.
    pub faulty: u64,
}

/// One kernel program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramStatus {
    /// Its name.
    pub name: String,
    /// Whether it is attached where it should be.
    pub attached: bool,
    /// The kernel's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// One workload on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadStatus {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Whether it is to be in the mesh.
    pub enrolled: bool,
    /// Whether it is.
    pub captured: bool,
    /// Why it is not, although it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// SPIFFE id.
    pub identity: String,
    /// When its certificate ends, RFC 3339; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expiry: Option<String>,
    /// `permissive` or `strict`.
    pub mtls: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// How often it was found captured in part, and mended.
    pub repairs: u64,
    /// Its connections that live now.
    pub connections: u64,
    /// Time of the processor that the agent took for it, in milliseconds.
    pub processor_ms: u64,
}

/// An object or file that could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Where it was read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Kind, namespace and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Path of the field, as in `spec.rules[0].to[0].ports[1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

/// A question: may `from` connect to `to`?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainQuery {
    /// Namespace and pod.
    pub from: (String, String),
    /// Namespace and pod or Service.
    pub to: (String, String),
    /// The port that is dialled.
    pub port: u16,
    /// HTTP method.
    pub method: Option<String>,
    /// HTTP path.
    pub path: Option<String>,
    /// HTTP headers.
    pub headers: Vec<(String, String)>,
    /// Claims of the user's token, a JSON object.
    pub user: Option<serde_json::Value>,
}

/// The answer to an [`ExplainQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// `namespace/pod`.
    pub from: String,
    /// `namespace/name` of the pod or Service.
    pub to: String,
    /// The port that is dialled.
    pub port: u16,
    /// The HTTP request that was asked about: its method, and its path as it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Whether every answer allows it.
    pub allowed: bool,
    /// One answer for each pod that the connection could reach.
    pub answers: Vec<Answer>,
}

/// What one destination pod's node would decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// `namespace/pod`.
    pub pod: String,
    /// The pod's port.
    pub port: u16,
    /// Whether it would be allowed.
    pub allowed: bool,
    /// Whether each request of the connection is decided by itself, and none was asked about: then
    /// `allowed` is for traffic that is not HTTP.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub per_request: bool,
    /// The word of the reason when it would not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The answer in words.
    pub detail: String,
    /// The rule that decides; absent when no policy selects the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRef>,
    /// Audit policies that would deny it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<PolicyRef>,
    /// Every policy that selects the pod, in the order of tiers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Considered>,
}

/// One policy that selects the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Considered {
    /// `platform`, `security` or `application`.
    pub tier: String,
    /// `namespace/name`.
    pub policy: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// `allow` or `deny`.
    pub action: String,
    /// The first rule that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Where its rules do not match, or fail safe because they cannot be judged; the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<Mismatch>,
}

/// A field of a rule that does not match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mismatch {
    /// Path of the field, as in `spec.rules[0].to[0].paths`.
    pub field: String,
    /// What the connection or the request has.
    pub had: String,
    /// What the field asks for.
    pub wanted: String,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// What a parameter names does not exist.
    #[error("{0}")]
    NotFound(ParameterError),
    /// A parameter cannot be used.
    #[error("{0}")]
    Bad(ParameterError),
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorReport {
    /// What is wrong, in words.
    pub error: String,
    /// The parameter that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl From<ParameterError> for ErrorReport {
    fn from(error: ParameterError) -> Self {
        Self { error: error.message, field: Some(error.field), value: Some(error.value) }
    }
}
