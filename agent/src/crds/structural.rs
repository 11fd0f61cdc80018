//! The last touches to a definition that was derived.
//!
//! Entry point: [`finish`].
//!
//! An API server drops a null where a field may not be null, before anybody sees it: `from:` with nothing after it would
//! become "from anyone". So every field of a `spec` that may be left out is declared nullable. The null then gets as far
//! as those who refuse it: `admission`, and behind it the reader.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// Changes a CustomResourceDefinition to what is written to its file.
///
/// # Errors
/// When it has no schema.
pub(super) fn finish(definition: &mut Value) -> Result<()> {
    let versions = definition.pointer_mut("/spec/versions/0").context("no version")?;
    let schema = versions.pointer_mut("/schema/openAPIV3Schema/properties").context("no schema")?;
    let spec = schema.get_mut("spec").context("no spec")?;
    nullable(spec);
    plain(definition);
    Ok(())
}

/// Declares nullable what may be left out, and nothing else.
fn nullable(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    let required: Vec<String> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        nullable(property);
        let Value::Object(property) = property else { continue };
        match required.contains(name) {
            true => property.remove("nullable"),
            false => property.insert("nullable".into(), true.into()),
        };
    }
    schema.get_mut("items").into_iter().for_each(nullable);
}

/// Removes what an API server does not know or need: formats of Rust's numbers, fractions that are none, the ends of a
/// comment's lines.
fn plain(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            whole_numbers(fields);
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(plain);
        }
        _ => {}
    }
}

fn whole_numbers(fields: &mut Map<String, Value>) {
    for bound in ["minimum", "maximum"] {
        let Some(value) = fields.get_mut(bound) else { continue };
        match value.as_f64() {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => *value = (number as i64).into(),
            _ => {}
        }
    }
}
