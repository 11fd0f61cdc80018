//! From JSON to a type of the Kubernetes API, with errors that name the field and its value.
//!
//! Entry points: [`typed`], [`typed_as_served`]. The API's own types let fields pass that they do not know; in what
//! somebody wrote such a field is an error, since `hostNetwrok: true` must not quietly mean nothing.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::policy::FieldError;

/// Values are cut to this many characters in errors.
const LONGEST_VALUE: usize = 200;

/// Reads `value` as a `T`; `root` is its place in the object (empty for the object itself).
pub(super) fn typed<T: DeserializeOwned + Serialize>(
    root: &str,
    value: &Value,
) -> Result<T, Vec<FieldError>> {
    let object = typed_as_served(root, value)?;
    let kept =
        serde_json::to_value(&object).map_err(|error| vec![error_at(root, value, error.to_string())])?;
    let mut lost = Vec::new();
    compare(root, value, &kept, &mut lost);
    if lost.is_empty() { Ok(object) } else { Err(lost) }
}

/// The same, but a field that `T` does not know is passed over.
pub(super) fn typed_as_served<T: DeserializeOwned>(root: &str, value: &Value) -> Result<T, Vec<FieldError>> {
    // Where an error is costs time to know, and there is none most of the time.
    if let Ok(object) = T::deserialize(value) {
        return Ok(object);
    }
    let read: Result<T, _> = serde_path_to_error::deserialize(value);
    read.map_err(|error| {
        let mut field = root.to_owned();
        let at = follow(error.path(), value, &mut field);
        vec![error_at(&field, at, error.inner().to_string())]
    })
}

/// What is wrong with the field, whose value is shown as it was given.
pub(super) fn error_at(field: &str, value: &Value, message: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), value: shown(value), message: message.into() }
}

/// The value as text, cut where it is long.
pub(super) fn shown(value: &Value) -> String {
    let whole = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match whole.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

/// `field` with a step to the key `key`.
pub(super) fn join(field: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (plain, field.is_empty()) {
        (true, true) => key.into(),
        (true, false) => format!("{field}.{key}"),
        (false, _) => format!("{field}[{key:?}]"),
    }
}

/// Appends the path to `field` and answers with what stands there.
fn follow<'a>(path: &Path, root: &'a Value, field: &mut String) -> &'a Value {
    let mut value = root;
    for segment in path {
        let next = match segment {
            Segment::Map { key } => {
                *field = join(field, key);
                value.get(key)
            }
            Segment::Seq { index } => {
                *field = format!("{field}[{index}]");
                value.get(index)
            }
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        value = next.unwrap_or(&Value::Null);
    }
    value
}

/// Finds fields of `given` that are not in `kept`; what says nothing (null, empty) is no loss.
fn compare(field: &str, given: &Value, kept: &Value, lost: &mut Vec<FieldError>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let field = join(field, key);
                match kept.get(key) {
                    Some(kept) => compare(&field, value, kept, lost),
                    None if says_nothing(value) => {}
                    None => lost.push(error_at(&field, value, "unknown field")),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                compare(&format!("{field}[{index}]"), given, kept, lost);
            }
        }
        _ => {}
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn errors(mut fields: Value) -> Vec<(String, String, String)> {
        fields["apiVersion"] = "v1".into();
        fields["kind"] = "Pod".into();
        let errors = typed::<Pod>("", &fields).err().unwrap_or_default();
        errors.into_iter().map(|error| (error.field, error.value, error.message)).collect()
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_place() {
        let found = errors(json!({"metadata": {"annotations": {"weir.dev/skip-inbound-ports": 80}}}));
        assert_eq!(found[0].0, "metadata.annotations[\"weir.dev/skip-inbound-ports\"]");
        assert_eq!(found[0].1, "80");
        let found =
            errors(json!({"spec": {"containers": [{"name": "a"}, {"ports": [{"containerPort": "x"}]}]}}));
        assert_eq!(found[0].0, "spec.containers[1].ports[0].containerPort");
        assert_eq!(found[0].1, "x");
    }

    #[test]
    fn fields_that_the_type_does_not_have_are_all_named() {
        let found = errors(json!({"spec": {"containers": [{"name": "a", "img": "b"}], "hostNetwrok": true}}));
        let unknown = |field: &str, value: &str| (field.into(), value.into(), "unknown field".into());
        assert_eq!(found, [unknown("spec.containers[0].img", "b"), unknown("spec.hostNetwrok", "true")]);
    }

    #[test]
    fn what_says_nothing_is_not_missed() {
        assert_eq!(
            errors(json!({"status": null, "metadata": {"creationTimestamp": null, "labels": {}}})),
            []
        );
        assert_eq!(errors(json!({"spec": {"containers": [], "nope": {}, "neither": []}})), []);
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(shown(&"ä".repeat(300).into()).chars().count(), LONGEST_VALUE + 1);
    }
}
