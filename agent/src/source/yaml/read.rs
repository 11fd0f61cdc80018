//! From the text of a file to the objects in it, good and bad.
//!
//! Entry point: [`documents`]. Pure. A text that is not YAML is one problem of the whole file; in one
//! that is, each object stands for itself.

use serde::Deserialize;
use serde_json::Value;

use crate::source::object::{self, Found};

/// More objects than this in one file are refused with the file.
pub(super) const MOST_OBJECTS: usize = 200_000;

/// The objects of a file, in their order.
///
/// # Errors
/// Why the text cannot be taken apart.
pub(super) fn documents(text: &str) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let value = json(document).map_err(|error| format!("is not YAML: {error}"))?;
        gather(value, &format!("document {}", index + 1), &mut found)?;
    }
    Ok(found)
}

/// Through YAML's own value first: only that one refuses a key that is given twice.
fn json(document: serde_norway::Deserializer<'_>) -> Result<Value, Box<dyn std::error::Error>> {
    let mut value = serde_norway::Value::deserialize(document)?;
    value.apply_merge()?;
    Ok(serde_json::to_value(value)?)
}

/// Takes a `kind: List` apart; leaves out documents with nothing in them.
fn gather(value: Value, place: &str, found: &mut Vec<Found>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let word = |field: &str| value.get(field).and_then(Value::as_str);
    if (word("apiVersion"), word("kind")) == (Some("v1"), Some("List"))
        && let Some(Value::Array(items)) = value.get("items")
    {
        for (index, item) in items.iter().enumerate() {
            take(item, &format!("{place}, items[{index}]"), found)?;
        }
        return Ok(());
    }
    take(&value, place, found)
}

fn take(value: &Value, place: &str, found: &mut Vec<Found>) -> Result<(), String> {
    if found.len() == MOST_OBJECTS {
        return Err(format!("has more than {MOST_OBJECTS} objects"));
    }
    found.push(object::read(value, place));
    Ok(())
}
