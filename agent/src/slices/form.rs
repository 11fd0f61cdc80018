//! What the texts of a WorkloadSlice look like to an API server.
//!
//! Entry points: the forms, as those of `policy::form`. They are what Kubernetes demands of the objects from which the
//! texts come.

use serde_json::json;

use crate::policy::form::{forms, text};

forms! {
    /// A Namespace, or nothing.
    Namespace: text(63, "^[a-z0-9-]*$");
    /// The name of an object.
    Name: text(253, "^[a-z0-9.-]+$");
    /// `metadata.uid`.
    Uid: json!({"type": "string", "minLength": 1, "maxLength": 128});
    /// An address of a pod.
    Address: text(45, "^[0-9A-Fa-f:.]+$");
    /// The word of what owns a pod.
    OwnerKind: json!({
        "type": "string", "enum": ["deployment", "statefulset", "daemonset", "job", "cronjob", "pod"],
    });
    /// `metadata.labels`.
    Labels: json!({
        "type": "object", "maxProperties": 256, "additionalProperties": {"type": "string", "maxLength": 63},
    });
    /// Those of `metadata.annotations` that are Weir's.
    Annotations: json!({
        "type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 4096},
    });
}
