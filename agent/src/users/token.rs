//! A token taken apart: a JWT in the compact form of a JWS, and nothing else (RFC 7515 §7.1, RFC 7519 §7.2).
//!
//! Entry point: [`Token::parse`]. Nothing in it is proven yet. Of the header only `alg`, `kid`, `typ`, `cty`, `crit` and
//! `enc` are looked at: a key, or where to get one (`jwk`, `jku`, `x5u`, `x5c`), is never taken from a token.

use serde_json::Value;

use super::{
    algorithm::Algorithm,
    json::{self, Object},
    refusal::TokenError,
};

/// Longer tokens are refused, in bytes.
pub const MOST_TOKEN: usize = 16 * 1024;
/// Nobody's header is longer, in bytes of base64url.
const MOST_HEADER: usize = 4 * 1024;

/// What a token says, unproven.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// `kid`.
    pub(super) key: Option<String>,
    pub(super) claims: Object,
    /// What is signed: header and claims as they came.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn parse(text: &'a str) -> Result<Token<'a>, TokenError> {
        if text.len() > MOST_TOKEN {
            return Err(TokenError::TooLong);
        }
        match text.bytes().filter(|byte| *byte == b'.').count() {
            2 => {}
            4 if is_encrypted(text) => return Err(TokenError::Encrypted),
            _ => return Err(TokenError::Malformed),
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if header.len() > MOST_HEADER {
            return Err(TokenError::TooLong);
        }
        let (algorithm, key) = read_header(&object(header)?)?;
        let signature = json::base64url(signature).ok_or(TokenError::Malformed)?;
        Ok(Token { algorithm, key, claims: object(claims)?, signed, signature })
    }
}

/// Whether a text of five parts is a JWE (RFC 7516 §9), and not two tokens in one.
fn is_encrypted(text: &str) -> bool {
    let header = text.split('.').next().filter(|header| header.len() <= MOST_HEADER);
    header.and_then(|header| object(header).ok()).is_some_and(|header| header.contains_key("enc"))
}

fn object(part: &str) -> Result<Object, TokenError> {
    let text = json::base64url(part).ok_or(TokenError::Malformed)?;
    json::object(&text).map_err(|_| TokenError::Malformed)
}

fn read_header(header: &Object) -> Result<(Algorithm, Option<String>), TokenError> {
    if header.contains_key("enc") {
        return Err(TokenError::Encrypted);
    }
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    if header.contains_key("cty") {
        return Err(TokenError::Nested);
    }
    if let Some(kind) = header.get("typ")
        && !kind.as_str().is_some_and(is_taken)
    {
        return Err(TokenError::Type);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
    let algorithm = algorithm.ok_or(TokenError::Algorithm)?;
    let key = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(TokenError::Malformed),
    };
    Ok((algorithm, key))
}

/// The types of access tokens and of JWTs that say no more of themselves (RFC 7519 §5.1, RFC 9068 §2.1). Others, like
/// `logout+jwt`, are signed by the same keys for something else.
fn is_taken(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "jose" | "at+jwt")
}
