//! The user on whose behalf a call is made.
//!
//! Entry point: [`User`]. It is told who that is: verifying tokens is another module's.

use std::collections::BTreeMap;

use serde_json::Value;

/// The user that a verified token names (RFC 7519).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audiences: Vec<String>,
    /// All other claims that are a text or a list of texts.
    pub claims: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The user with the claims of a token, a JSON object.
    ///
    /// # Errors
    /// The claim that is not of its form (RFC 7519 §4.1), and what it should be.
    pub fn from_claims(claims: &serde_json::Map<String, Value>) -> Result<User, (String, &'static str)> {
        let wrong = |name: &str, message| (name.to_string(), message);
        let text = |name: &str| match claims.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(wrong(name, "a text is needed")),
            None => Ok(String::new()),
        };
        let audiences = match claims.get("aud") {
            Some(value) => texts(value).ok_or_else(|| wrong("aud", "a text or a list of texts is needed"))?,
            None => Vec::new(),
        };
        let others = claims.iter().filter(|(name, _)| !matches!(name.as_str(), "iss" | "sub" | "aud"));
        let others = others.filter_map(|(name, value)| Some((name.clone(), texts(value)?)));
        Ok(User { issuer: text("iss")?, subject: text("sub")?, audiences, claims: others.collect() })
    }

    /// Whether the claim `name` has any of `values`. `iss`, `sub` and `aud` are claims like others; each
    /// word of `scope` counts by itself (RFC 8693 §4.2).
    pub(super) fn has_claim(&self, name: &str, values: &[String]) -> bool {
        let wanted = |text: &str| values.iter().any(|value| value == text);
        let of_scope = |text: &str| name == "scope" && text.split(' ').any(wanted);
        self.claim(name).iter().any(|text| wanted(text) || of_scope(text))
    }

    /// The values of the claim `name`; empty when there is none.
    pub(super) fn claim(&self, name: &str) -> &[String] {
        match name {
            "iss" => std::slice::from_ref(&self.issuer),
            "sub" => std::slice::from_ref(&self.subject),
            "aud" => &self.audiences,
            _ => self.claims.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

/// The texts in a claim that is a text or a list of nothing else.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(String::from)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(claims: &str) -> Result<User, (String, &'static str)> {
        User::from_claims(&serde_json::from_str(claims).expect("an object"))
    }

    #[test]
    fn claims_are_texts_and_lists_of_texts() {
        let user = user(
            r#"{"iss": "me", "sub": "ann", "aud": "shop", "groups": ["a", "b"], "tier": "gold", "exp": 1,
                "mixed": ["a", 1]}"#,
        );
        let user = user.expect("a user");
        assert_eq!((&*user.issuer, &*user.subject, &user.audiences[..]), ("me", "ann", &["shop".into()][..]));
        assert_eq!(user.claims.keys().collect::<Vec<_>>(), ["groups", "tier"]);
    }

    #[test]
    fn a_claim_of_another_form_than_the_standards_is_named() {
        for (claims, name) in
            [(r#"{"iss": 1}"#, "iss"), (r#"{"sub": ["a"]}"#, "sub"), (r#"{"aud": [1]}"#, "aud")]
        {
            assert_eq!(user(claims).expect_err(claims).0, name);
        }
    }

    #[test]
    fn any_value_of_a_claim_may_be_the_wanted_one() {
        let user =
            user(r#"{"iss": "me", "sub": "ann", "groups": ["dev", "ops"], "scope": "read admin:write"}"#);
        let user = user.expect("a user");
        for (name, value, has) in [
            ("groups", "ops", true),
            ("groups", "dev ops", false),
            ("groups", "op", false),
            ("scope", "read", true),
            ("scope", "admin:write", true),
            ("scope", "admin", false),
            ("scope", "read admin:write", true),
            ("sub", "ann", true),
            ("iss", "me", true),
            ("aud", "shop", false),
            ("absent", "a", false),
        ] {
            assert_eq!(user.has_claim(name, &[value.into()]), has, "{name} {value}");
        }
    }
}
