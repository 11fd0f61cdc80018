//! JSON from strangers, read so that no two readers can understand it differently.
//!
//! Entry points: [`object`], [`base64url`]. Duplicate names are refused at every depth (RFC 7515 §4,
//! RFC 7519 §4 leave a choice: the last one counts, or none), and so is base64url that is not canonical.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Number, Value};

/// The members of an object.
pub(super) type Object = BTreeMap<String, Value>;

/// Reads the text of an object, and nothing behind it but white space.
///
/// # Errors
/// Words, without anything of the text.
pub(super) fn object(text: &[u8]) -> Result<Object, &'static str> {
    match serde_json::from_slice::<Strict>(text) {
        Ok(Strict(Value::Object(members))) => Ok(members.into_iter().collect()),
        Ok(_) => Err("is not a JSON object"),
        Err(error) if error.is_data() => Err("has one name twice in a JSON object"),
        Err(_) => Err("is not JSON"),
    }
}

/// Decodes base64url without padding (RFC 7515 §2); none where there is another way to write it.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A value in which no object has a name twice. Its depth is bounded by `serde_json`.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> de::Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("one name twice"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"a":{"b":[{"c":1,"c":2}]}}"#, r#"{"alg":"none","\u0061lg":"RS256"}"#]
        {
            assert_eq!(object(text.as_bytes()), Err("has one name twice in a JSON object"), "{text}");
        }
        assert_eq!(object(br#"{"a":[{"b":1},{"b":1}]}"#).map(|object| object.len()), Ok(1));
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in ["", "[]", "1", "null", "\"a\"", "{", "{}{}", "{} x", "{\"a\":}", "\u{feff}{}"] {
            object(text.as_bytes()).expect_err(text);
        }
        let deep = "[".repeat(100_000);
        object(format!("{{\"a\":{deep}").as_bytes()).expect_err("too deep");
    }

    #[test]
    fn only_one_spelling_of_base64url_is_taken() {
        assert_eq!(base64url("AQ"), Some(vec![1]));
        for text in ["AR", "AQ==", "AQ=", "A", "+w", "/w", "A Q", "AQ\n", "AQ.", "ÄQ"] {
            assert_eq!(base64url(text), None, "{text}");
        }
    }
}
