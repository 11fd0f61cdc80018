//! From a token to the user that it proves.
//!
//! Entry point: [`verify`]. Pure: rules, keys and the time are parameters. What costs little is looked at first; what
//! it costs to check a signature is spent on tokens that would be taken if it is right.

use std::sync::Arc;

use super::{
    claims::{self, Registered},
    keys::{KeyRing, KeySet, NoKey},
    locate::Located,
    merge::Authentication,
    refusal::TokenError,
    rules::IssuerRule,
    token::Token,
};
use crate::policy::User;

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// On whose behalf the request is made.
    pub user: User,
    /// The headers to be set for the app: names in lower case, each once.
    pub headers: Vec<(Arc<str>, String)>,
    /// Unix time in seconds at which the token is no longer valid, clock leeway included.
    pub valid_until: u64,
}

/// A verified token, and by what it was verified.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) verified: Arc<Verified>,
    pub(super) rule: Arc<IssuerRule>,
    pub(super) keys: Arc<KeySet>,
}

/// A token that is refused, and by which rule, where one for its issuer got that far.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) error: TokenError,
    pub(super) rule: Option<Arc<IssuerRule>>,
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self { error, rule: None }
    }
}

/// Verifies a token that may be anywhere in a request, at `now` in seconds of Unix time.
///
/// # Errors
/// Why no rule takes it.
pub fn verify_text(
    token: &str,
    authentication: &Authentication,
    ring: &KeyRing,
    now: u64,
) -> Result<Arc<Verified>, TokenError> {
    let located = Located { token, places: authentication.locations().iter().collect() };
    verify(&located, authentication, ring, now).map(|proof| proof.verified).map_err(|refused| refused.error)
}

/// Verifies a token that was found in a request, at `now` in seconds of Unix time.
///
/// # Errors
/// Why no rule takes it: of several rules for its issuer, why the one does not that came closest.
pub(super) fn verify(
    located: &Located<'_>,
    authentication: &Authentication,
    ring: &KeyRing,
    now: u64,
) -> Result<Proof, Refused> {
    let mut token = Token::parse(located.token)?;
    let registered = Registered::read(&mut token.claims)?;
    let mut closest = Refused::from(TokenError::Issuer);
    for rule in authentication.rules().iter().filter(|rule| *rule.issuer == *registered.issuer()) {
        match by(rule, located, &token, &registered, ring, now) {
            Ok(keys) => {
                let valid_until = registered.valid_until(rule);
                let user = claims::user(registered, token.claims);
                let headers = rule.forwards.iter();
                let headers = headers
                    .filter_map(|forward| Some((forward.header.clone(), forward.value(&user)?)))
                    .collect();
                let verified = Arc::new(Verified { user, headers, valid_until });
                return Ok(Proof { verified, rule: rule.clone(), keys: keys.clone() });
            }
            Err(error) if distance(error) < distance(closest.error) => {
                closest = Refused { error, rule: Some(rule.clone()) };
            }
            Err(_) => {}
        }
    }
    Err(closest)
}

/// Whether one rule takes the token, and with which keys.
fn by<'a>(
    rule: &'a IssuerRule,
    located: &Located<'_>,
    token: &Token<'_>,
    registered: &Registered,
    ring: &'a KeyRing,
    now: u64,
) -> Result<&'a Arc<KeySet>, TokenError> {
    if !located.is_at(&rule.locations) {
        return Err(TokenError::Place);
    }
    registered.check(rule, now)?;
    let keys = ring.of(&rule.keys).ok_or(TokenError::KeysUnavailable)?;
    let found = keys.verify(token.key.as_deref(), token.algorithm, token.signed.as_bytes(), &token.signature);
    match found {
        Ok(()) => Ok(keys),
        Err(NoKey::Unknown) => Err(TokenError::UnknownKey),
        Err(NoKey::Ambiguous) => Err(TokenError::AmbiguousKey),
        // Without a name, a new key cannot be told from a wrong signature.
        Err(NoKey::Signature) if token.key.is_none() && rule.source().is_some() => {
            Err(TokenError::UnknownKey)
        }
        Err(NoKey::Signature) => Err(TokenError::Signature),
    }
}

/// How far a token was from being taken. What other keys could mend is closest, so that they are fetched.
fn distance(error: TokenError) -> u8 {
    match error {
        TokenError::KeysUnavailable => 0,
        TokenError::UnknownKey => 1,
        TokenError::Signature | TokenError::AmbiguousKey => 2,
        TokenError::Audience => 3,
        TokenError::Expired | TokenError::NotYetValid | TokenError::IssuedLater => 4,
        TokenError::Place => 5,
        _ => 6,
    }
}
