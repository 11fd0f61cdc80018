//! What the plugin says to the container runtime: one JSON object on standard output, or nothing (CNI 1.1).
//!
//! Entry points: [`versions`], [`Fault`]. Pure.

use serde_json::{Value, json};

/// The version that is spoken where none is asked for.
pub const VERSION: &str = "1.1.0";

/// Versions that are spoken: those in which plugins hand on the result of the one before.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", VERSION];

/// Why a pod's network is not as it should be. A kubelet shows it as an event of the pod, and tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// As the specification numbers them.
    pub code: u32,
    /// What is wrong, and what would help.
    pub message: String,
}

impl Fault {
    /// The version of CNI is not one that is spoken.
    pub fn version(asked: &str) -> Self {
        Self { code: 1, message: format!("cniVersion: {asked:?}: must be one of {}", VERSIONS.join(", ")) }
    }

    /// An environment variable makes no sense.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into() }
    }

    /// The configuration cannot be decoded.
    pub fn undecodable(message: impl Into<String>) -> Self {
        Self { code: 6, message: message.into() }
    }

    /// The configuration makes no sense.
    pub fn config(message: impl Into<String>) -> Self {
        Self { code: 7, message: message.into() }
    }

    /// Not now, but it may work later.
    pub fn later(message: impl Into<String>) -> Self {
        Self { code: 11, message: message.into() }
    }

    /// As it is printed.
    pub fn to_json(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code, "msg": self.message})
    }
}

/// The answer to VERSION.
pub fn versions() -> Value {
    json!({"cniVersion": VERSION, "supportedVersions": VERSIONS})
}
