//! From one document to one object of the mesh's state.
//!
//! Entry points: [`read`] for what somebody wrote, [`read_served`] for what the API server gives. Pure. Which object it
//! is, is found out first, so that whatever else is wrong can be said of that object, and its last good version can
//! stay in force.

use std::sync::Arc;

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    policy::{FieldError, Policy, PolicyKey},
    source::{
        convert,
        fields::{error_at, join, typed, typed_as_served},
        names,
    },
    state::{
        Kind, Object,
        model::{NamespacedName, ObjectKey},
        routes::{ReferenceGrant, Route, RouteMeta},
    },
    traffic::TrafficPolicy,
    users::RequestAuthentication,
};

const KNOWN: &str = "v1 Namespace, v1 Node, v1 Pod, v1 Service, discovery.k8s.io/v1 EndpointSlice, \
                     gateway.networking.k8s.io/v1 HTTPRoute, gateway.networking.k8s.io/v1 GRPCRoute, \
                     gateway.networking.k8s.io/v1 ReferenceGrant, weir.dev/v1alpha1 AccessPolicy, \
                     weir.dev/v1alpha1 RequestAuthentication, weir.dev/v1alpha1 TrafficPolicy, \
                     weir.dev/v1alpha1 WorkloadSlice, v1 List";

/// One object of a file.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// It can be told which object it is; the rest is good or not.
    Object(ObjectKey, Result<Object, Vec<FieldError>>),
    /// It cannot be told which object it is, but perhaps its name.
    Unknown(Option<Arc<str>>, FieldError),
}

/// Reads one document; `place` says where in the file it stands.
pub(super) fn read(value: &Value, place: &str) -> Found {
    let name = value.pointer("/metadata/name").and_then(Value::as_str);
    match identify(value) {
        Err(error) => {
            let message = format!("{} ({place})", error.message);
            Found::Unknown(name.map(Arc::from), FieldError { message, ..error })
        }
        Ok((kind, key)) => {
            let named = NamespacedName::new(key.namespace.clone(), key.name.clone());
            Found::Object(key, parse(kind, named, value, Reading::Strict))
        }
    }
}

/// Reads an object that the API server has checked, so that a field unknown here is one that a later version knows.
///
/// # Errors
/// Every field that is not what it should be.
pub(crate) fn read_served(kind: Kind, key: NamespacedName, value: &Value) -> Result<Object, Vec<FieldError>> {
    parse(kind, key, value, Reading::Served)
}

/// What is wrong with an object that was read: all of it, or parts of one that is in force.
pub(crate) fn faults(read: &Result<Object, Vec<FieldError>>) -> impl Iterator<Item = FieldError> {
    let (route, errors) = match read {
        Ok(Object::Route(route)) => (Some(route), &[][..]),
        Ok(_) => (None, &[][..]),
        Err(errors) => (None, &errors[..]),
    };
    route.into_iter().flat_map(|route| route.faults()).chain(errors.iter().cloned())
}

/// What to think of a field that is not known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// That it is a mistake.
    Strict,
    /// That it is of a later version.
    Served,
}

impl Reading {
    fn typed<T: DeserializeOwned + Serialize>(self, value: &Value) -> Result<T, Vec<FieldError>> {
        match self {
            Self::Strict => typed("", value),
            Self::Served => typed_as_served("", value),
        }
    }
}

/// Which object it is: its kind, its namespace (`default` where none is given) and its name.
fn identify(value: &Value) -> Result<(Kind, ObjectKey), FieldError> {
    let Value::Object(fields) = value else {
        return Err(error_at("", value, "is not an object with apiVersion, kind and metadata"));
    };
    let given = fields.get("kind").unwrap_or(&Value::Null);
    let Some(kind) = given.as_str().and_then(|word| word.parse::<Kind>().ok()) else {
        return Err(error_at("kind", given, format!("unknown kind; known: {KNOWN}")));
    };
    // Another group's kind of the same name (serving.knative.dev Service) is not ours.
    let version = fields.get("apiVersion").unwrap_or(&Value::Null);
    if version.as_str().is_none_or(|text| group(text) != group(api_versions(kind)[0])) {
        let message = format!("a {kind} has apiVersion {}; known: {KNOWN}", api_versions(kind)[0]);
        return Err(error_at("apiVersion", version, message));
    }
    let metadata = fields.get("metadata").unwrap_or(&Value::Null);
    let text = |field: &str| metadata.get(field).unwrap_or(&Value::Null);
    let checked = |field: &str, check: fn(&str) -> Result<(), String>| {
        let value = text(field);
        let path = join("metadata", field);
        let name = value.as_str().ok_or_else(|| error_at(&path, value, "must be a name"))?;
        check(name).map_err(|message| error_at(&path, value, message))?;
        Ok::<Arc<str>, FieldError>(name.into())
    };
    let name = match kind {
        Kind::Namespace | Kind::Service => checked("name", names::label)?,
        _ => checked("name", names::subdomain)?,
    };
    let namespace = match (kind.namespaced(), text("namespace")) {
        (true, Value::Null) => "default".into(),
        (true, _) => checked("namespace", names::label)?,
        (false, _) => "".into(),
    };
    Ok((kind, ObjectKey { kind: kind.word().into(), namespace, name }))
}

fn parse(
    kind: Kind,
    key: NamespacedName,
    value: &Value,
    reading: Reading,
) -> Result<Object, Vec<FieldError>> {
    let version = value.get("apiVersion").unwrap_or(&Value::Null);
    let versions = api_versions(kind);
    if !versions.iter().any(|known| version == known) {
        return Err(vec![error_at("apiVersion", version, format!("must be {}", versions.join(" or ")))]);
    }
    let namespace = value.pointer("/metadata/namespace").unwrap_or(&Value::Null);
    if !kind.namespaced() && !namespace.is_null() {
        return Err(vec![error_at("metadata.namespace", namespace, format!("a {kind} is in no namespace"))]);
    }
    Ok(match kind {
        Kind::Namespace => convert::namespace(&key.name, &reading.typed::<core::Namespace>(value)?)?.into(),
        Kind::Node => {
            convert::node(&key.name, &reading.typed::<core::Node>(&with_quantities(value))?)?.into()
        }
        Kind::Pod => convert::pod(key, &reading.typed::<core::Pod>(&with_quantities(value))?)?.into(),
        Kind::WorkloadSlice => custom(value, |_, spec| convert::workload_slice(key, spec))?.into(),
        Kind::Service => convert::service(key, &reading.typed::<core::Service>(value)?)?.into(),
        Kind::EndpointSlice => {
            convert::endpoint_slice(key, &reading.typed::<discovery::EndpointSlice>(value)?)?.into()
        }
        Kind::HttpRoute => {
            custom(value, |meta, spec| Route::http(key, route_meta(meta), spec.clone()))?.into()
        }
        Kind::GrpcRoute => {
            custom(value, |meta, spec| Route::grpc(key, route_meta(meta), spec.clone()))?.into()
        }
        Kind::ReferenceGrant => custom(value, |_, spec| ReferenceGrant::parse(key, spec.clone()))?.into(),
        Kind::AccessPolicy => {
            let key = PolicyKey::new(key.namespace, key.name);
            custom(value, |_, spec| Policy::parse(key, spec.clone()))?.into()
        }
        Kind::RequestAuthentication => {
            let key = PolicyKey::new(key.namespace, key.name);
            custom(value, |_, spec| RequestAuthentication::parse(key, spec.clone()))?.into()
        }
        Kind::TrafficPolicy => {
            let key = PolicyKey::new(key.namespace, key.name);
            custom(value, |meta, spec| TrafficPolicy::parse(key, created(meta), spec.clone()))?.into()
        }
    })
}

fn route_meta(metadata: &ObjectMeta) -> RouteMeta {
    RouteMeta { created: created(metadata), generation: metadata.generation }
}

/// When the API server made an object, in seconds since 1970.
fn created(metadata: &ObjectMeta) -> Option<i64> {
    metadata.creation_timestamp.as_ref().map(|time| time.0.as_second())
}

/// An object of a kind that the API's own types do not have, whose `spec` is read by `parse`. `status`
/// may be there, since `kubectl get -o yaml` gives it; it is not looked at.
fn custom<T>(
    value: &Value,
    parse: impl FnOnce(&ObjectMeta, &Value) -> Result<T, Vec<FieldError>>,
) -> Result<T, Vec<FieldError>> {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let unknown = fields.iter().filter(|(field, _)| !known.contains(&field.as_str()));
    let mut errors: Vec<FieldError> =
        unknown.map(|(field, value)| error_at(&join("", field), value, "unknown field")).collect();
    let metadata = fields.get("metadata").unwrap_or(&Value::Null);
    let metadata = typed::<ObjectMeta>("metadata", metadata).unwrap_or_else(|more| {
        errors.extend(more);
        ObjectMeta::default()
    });
    let parsed = match fields.get("spec") {
        Some(spec) => parse(&metadata, spec),
        None => Err(vec![error_at("spec", &Value::Null, "is missing")]),
    };
    match parsed {
        Ok(object) if errors.is_empty() => Ok(object),
        Ok(_) => Err(errors),
        Err(more) => Err([errors, more].concat()),
    }
}

/// The versions of a kind that are read; all have one shape.
pub(super) fn api_versions(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace | Kind::Node | Kind::Pod | Kind::Service => &["v1"],
        Kind::EndpointSlice => &["discovery.k8s.io/v1"],
        Kind::HttpRoute | Kind::GrpcRoute => &["gateway.networking.k8s.io/v1"],
        Kind::ReferenceGrant => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"],
        Kind::WorkloadSlice | Kind::AccessPolicy | Kind::RequestAuthentication | Kind::TrafficPolicy => {
            &["weir.dev/v1alpha1"]
        }
    }
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Quantities may be written as numbers (`cpu: 2`); the API's own type takes only text.
fn with_quantities(value: &Value) -> Value {
    const HOLDERS: [&str; 5] = ["allocatable", "capacity", "limits", "overhead", "requests"];
    let text = |value: &Value| if value.is_number() { value.to_string().into() } else { value.clone() };
    match value {
        Value::Array(items) => items.iter().map(with_quantities).collect(),
        Value::Object(fields) => {
            let inside = |key: &String, value: &Value| match value {
                Value::Object(amounts) if HOLDERS.contains(&key.as_str()) => {
                    Value::Object(amounts.iter().map(|(key, value)| (key.clone(), text(value))).collect())
                }
                Value::Number(_) if key == "sizeLimit" => text(value),
                _ => with_quantities(value),
            };
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), inside(key, value))).collect())
        }
        plain => plain.clone(),
    }
}
