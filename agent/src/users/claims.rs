//! What the claims of a token say: whose it is, for whom, and when it is valid (RFC 7519 §4.1).
//!
//! Entry points: [`Registered::read`], [`Registered::check`], [`user`]. The time is a parameter, in seconds of Unix time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{json::Object, refusal::TokenError, rules::IssuerRule};
use crate::policy::User;

/// The claims on which it hangs whether a token is taken.
#[derive(Debug)]
pub(super) struct Registered {
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    expires: u64,
    not_before: Option<u64>,
    issued: Option<u64>,
}

impl Registered {
    /// Takes them out of `claims`. A token without `exp` would be valid for ever, and is refused.
    ///
    /// # Errors
    /// A claim that is of the wrong type, or missing.
    pub(super) fn read(claims: &mut Object) -> Result<Self, TokenError> {
        let issuer = text(claims.remove("iss"))?.ok_or(TokenError::Issuer)?;
        let subject = text(claims.remove("sub"))?.unwrap_or_default();
        let audiences = match claims.remove("aud") {
            None => Vec::new(),
            Some(given) => texts(given).ok_or(TokenError::Claims)?,
        };
        let expires = claims.get("exp").and_then(seconds).ok_or(TokenError::NoExpiry)?;
        let time = |name, error| match claims.get(name) {
            None => Ok(None),
            Some(given) => seconds(given).map(Some).ok_or(error),
        };
        let not_before = time("nbf", TokenError::NotYetValid)?;
        let issued = time("iat", TokenError::IssuedLater)?;
        Ok(Self { issuer, subject, audiences, expires, not_before, issued })
    }

    /// `iss`.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The last second, and the one after, at which it is valid for `rule`.
    pub(super) fn valid_until(&self, rule: &IssuerRule) -> u64 {
        self.expires.saturating_add(rule.leeway)
    }

    /// Whether it is valid at `now`, and for whom `rule` wants it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, rule: &IssuerRule, now: u64) -> Result<(), TokenError> {
        let latest = now.saturating_add(rule.leeway);
        if now >= self.valid_until(rule) {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|start| start > latest) {
            return Err(TokenError::NotYetValid);
        }
        if self.issued.is_some_and(|issued| issued > latest) {
            return Err(TokenError::IssuedLater);
        }
        if !rule.audiences.take(&self.audiences) {
            return Err(TokenError::Audience);
        }
        Ok(())
    }
}

/// The user of a token: of the other claims, those that are a text or a list of texts. `scope` is a list of words (RFC
/// 8693 §4.2).
pub(super) fn user(registered: Registered, claims: Object) -> User {
    let mut texts_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in claims {
        let texts = match value {
            Value::String(text) if name == "scope" => {
                Some(text.split(' ').filter(|word| !word.is_empty()).map(String::from).collect())
            }
            value => texts(value),
        };
        if let Some(texts) = texts {
            texts_of.insert(name, texts);
        }
    }
    let Registered { issuer, subject, audiences, .. } = registered;
    User { issuer, subject, audiences, claims: texts_of }
}

fn text(value: Option<Value>) -> Result<Option<String>, TokenError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Claims),
    }
}

/// A text, or a list of nothing but texts.
fn texts(value: Value) -> Option<Vec<String>> {
    let one = |value| if let Value::String(text) = value { Some(text) } else { None };
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(list) => list.into_iter().map(one).collect(),
        _ => None,
    }
}

/// A NumericDate (RFC 7519 §2): a number, which may have a fraction. What is before 1970 is 1970.
fn seconds(value: &Value) -> Option<u64> {
    // A float is cast to the nearest number of seconds that there is, and none is lost on the way there.
    value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64))
}
