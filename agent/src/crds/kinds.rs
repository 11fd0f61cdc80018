//! Weir's kinds as objects of the Kubernetes API: for definitions, and for whoever writes their status.
//!
//! Entry points: [`AccessPolicy`], [`RequestAuthentication`], [`TrafficPolicy`], [`WorkloadSlice`], [`Status`].
//!
//! Their `spec` is kept as it is served, and only its schema is that of the type that reads it. Were it that type itself,
//! one object that it cannot read would fail the whole list in which it comes; so it is parsed one by one, and what is
//! wrong with it can be said of that object (`Policy::parse` and its like). Also, the readers know no `kube`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{policy, policy::form::forms, slices, traffic, users};

/// Who may talk to the workloads that it selects, and on what conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "AccessPolicy",
    plural = "accesspolicies",
    doc = "AccessPolicy says who may talk to a workload.",
    namespaced,
    status = "Status",
    shortname = "ap",
    category = "weir",
    printcolumn = r#"{"name":"Tier","type":"string","jsonPath":".spec.tier"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Action","type":"string","jsonPath":".spec.action"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type=='Accepted')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type=='Accepted')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct AccessPolicySpec(#[schemars(with = "policy::AccessPolicySpec")] pub Value);

/// Which workloads take tokens, and whose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "RequestAuthentication",
    plural = "requestauthentications",
    doc = "RequestAuthentication says whose tokens a workload takes: JSON Web Tokens that name the user on whose behalf a call is made.",
    namespaced,
    status = "Status",
    shortname = "reqauth",
    category = "weir",
    printcolumn = r#"{"name":"Issuers","type":"string","jsonPath":".spec.issuers[*].issuer"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type=='Accepted')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type=='Accepted')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct RequestAuthenticationSpec(#[schemars(with = "users::RequestAuthenticationSpec")] pub Value);

/// To which Services requests are treated so, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "TrafficPolicy",
    plural = "trafficpolicies",
    doc = "TrafficPolicy says how requests to a Service are treated: what is tried again, which endpoint gets a request, how much is too much.",
    namespaced,
    status = "Status",
    shortname = "tp",
    category = "weir",
    printcolumn = r#"{"name":"Services","type":"string","jsonPath":".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type=='Accepted')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type=='Accepted')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct TrafficPolicySpec(#[schemars(with = "traffic::TrafficPolicySpec")] pub Value);

/// Pods as every node has to know them, many in one object. Written by the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "WorkloadSlice",
    plural = "workloadslices",
    doc = "WorkloadSlice says what all nodes have to know of some pods. The controller writes it; whatever else is written in it is overwritten.",
    namespaced,
    shortname = "wls",
    printcolumn = r#"{"name":"Of","type":"string","description":"The namespace of its pods","jsonPath":".spec.namespace"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct WorkloadSliceSpec(#[schemars(with = "slices::WorkloadSliceSpec")] pub Value);

/// What the controller found out about the object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct Status {
    /// The generation of the object that the conditions speak of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: whether the object is in force as it stands, and if not, which field is wrong and why.
    #[schemars(default, with = "Vec<ConditionForm>", length(max = 16), extend(
        "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

forms! {
    /// A condition as every kind of Kubernetes has it (metav1.Condition).
    ConditionForm: json!({
        "type": "object", "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {
                "description": "What is said: Accepted.", "type": "string", "maxLength": 316,
                "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
                            (([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            },
            "status": {
                "description": "Whether it is so.", "type": "string", "enum": ["True", "False", "Unknown"],
            },
            "observedGeneration": {
                "description": "The generation of the object of which it is said.",
                "type": "integer", "format": "int64", "minimum": 0,
            },
            "lastTransitionTime": {
                "description": "Since when the status is what it is.", "type": "string", "format": "date-time",
            },
            "reason": {
                "description": "Why, in one word.", "type": "string", "minLength": 1, "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "message": {
                "description": "Why, for a person: with the field and its value.",
                "type": "string", "maxLength": 32768,
            },
        },
    });
}
