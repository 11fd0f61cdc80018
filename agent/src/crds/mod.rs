//! Weir's kinds as an API server is told of them: CustomResourceDefinitions, made of the types that read them.
//!
//! Entry points: [`files`], what `cargo xtask crds` writes into `deploy/crds`; [`kinds`], the objects as a client of the
//! API sees them. The schema of a `spec` is derived where the `spec` is read (`policy::spec`, `users::spec`,
//! `traffic::spec`). Knows no API server.

mod admission;
pub mod kinds;
mod structural;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::CustomResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use kinds::{AccessPolicy, RequestAuthentication, TrafficPolicy, WorkloadSlice};

const MADE: &str = "# Made by `cargo xtask crds` of the types in agent/src that read these objects.\n";

/// The files by their names.
///
/// # Errors
/// When a definition has no schema, or does not become YAML.
pub fn files() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut policies = Vec::new();
    for definition in
        [AccessPolicy::crd(), RequestAuthentication::crd(), TrafficPolicy::crd(), WorkloadSlice::crd()]
    {
        let name = format!("{}.yaml", definition.spec.names.plural);
        let people_write = definition.spec.names.plural != "workloadslices";
        let mut definition = serde_json::to_value(definition)?;
        structural::finish(&mut definition).with_context(|| name.clone())?;
        if people_write {
            policies.extend(admission::policy(&definition)?);
        }
        files.insert(name, yaml([&definition])?);
    }
    files.insert("admission.yaml".into(), yaml(&policies)?);
    let resources: Vec<&String> = files.keys().collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources,
    });
    files.insert("kustomization.yaml".into(), yaml([&kustomization])?);
    Ok(files)
}

fn yaml<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Result<String> {
    let written = documents.into_iter().map(written).collect::<Result<Vec<_>>>()?;
    Ok(format!("{MADE}{}", written.join("---\n")))
}

fn written(document: &impl Serialize) -> Result<String> {
    Ok(serde_norway::to_string(document)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every property of the schemas, by its path.
    fn properties(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            properties(property, &path, found);
            found.push((path, property.clone()));
        }
        if schema["items"].is_object() {
            properties(&schema["items"], &format!("{path}[]"), found);
        }
    }

    fn all_properties() -> Vec<(String, Value)> {
        let mut found = Vec::new();
        for (name, text) in files().expect("files") {
            let value: Value = match name.as_str() {
                "admission.yaml" | "kustomization.yaml" => continue,
                _ => serde_norway::from_str(&text).expect("YAML"),
            };
            let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            properties(schema, &name, &mut found);
        }
        found
    }

    #[test]
    fn every_field_is_described() {
        let properties = all_properties();
        assert!(properties.len() > 100, "{}", properties.len());
        for (path, property) in properties {
            let text = property["description"].as_str().unwrap_or_default();
            // The struct's own names are nothing to whoever asks kubectl.
            assert!(!text.is_empty() && !text.contains(['`', '_']), "{path}: {text:?}");
        }
    }

    #[test]
    fn every_list_and_text_has_a_bound() {
        for (path, property) in all_properties() {
            if path.contains(".status") {
                continue;
            }
            let bounded = match property["type"].as_str() {
                Some("array") => property["maxItems"].is_u64(),
                Some("string") => property["maxLength"].is_u64() || property["enum"].is_array(),
                Some("integer" | "number") => !property["maximum"].is_null(),
                _ => true,
            };
            assert!(bounded, "{path}: {property}");
        }
    }
}
