//! Why a token is refused, and how the client is told (RFC 6750 §3).
//!
//! Entry points: [`TokenError`], [`TokenError::status`], [`TokenError::challenge`]. No text here has anything of a
//! token in it.

/// Why a request's token does not make a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Two tokens, or one place that must have one value has several (RFC 6750 §2).
    #[error("the request has more than one token")]
    Several,
    /// Longer than [`MOST_TOKEN`](super::MOST_TOKEN).
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of canonical base64url, the first two of them JSON objects without duplicates.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// Five parts, or `enc` (RFC 7516).
    #[error("the token is encrypted")]
    Encrypted,
    /// `cty`: another token inside (RFC 7519 §5.2).
    #[error("the token is nested")]
    Nested,
    /// `crit`: it must not be taken by who does not know an extension, and none is known (RFC 7515 §4.1.11).
    #[error("the token needs an extension")]
    Critical,
    /// `typ` says that it is something else than an access token or a plain JWT (RFC 8725 §3.11).
    #[error("the token is of another type")]
    Type,
    /// `none`, HMAC, or an algorithm that is not known.
    #[error("the token's algorithm is not taken")]
    Algorithm,
    /// No rule for its `iss`.
    #[error("the token's issuer is not taken")]
    Issuer,
    /// Its issuer's tokens are taken, but not from where it was.
    #[error("the token is in a place where its issuer's are not taken")]
    Place,
    /// No `exp`, or one that is no number.
    #[error("the token does not say when it expires")]
    NoExpiry,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come, or is no number.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is to come, or is no number.
    #[error("the token was issued in the future")]
    IssuedLater,
    /// `aud` has none of those that are taken.
    #[error("the token is for another audience")]
    Audience,
    /// `iss`, `sub` or `aud` are not texts.
    #[error("the token has a claim of the wrong type")]
    Claims,
    /// The issuer has no key of its `kid` and algorithm.
    #[error("the token is signed by a key that is not known")]
    UnknownKey,
    /// It has no `kid`, and too many keys could be meant.
    #[error("the token does not say by which key it is signed")]
    AmbiguousKey,
    /// It is not what the issuer signed.
    #[error("the token's signature is wrong")]
    Signature,
    /// The issuer's keys could not be fetched yet: nothing can be said of the token.
    #[error("the keys of the token's issuer are not available")]
    KeysUnavailable,
}

impl TokenError {
    /// Every one, in the order of their numbers.
    pub const ALL: [TokenError; 20] = [
        Self::Several,
        Self::TooLong,
        Self::Malformed,
        Self::Encrypted,
        Self::Nested,
        Self::Critical,
        Self::Type,
        Self::Algorithm,
        Self::Issuer,
        Self::Place,
        Self::NoExpiry,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedLater,
        Self::Audience,
        Self::Claims,
        Self::UnknownKey,
        Self::AmbiguousKey,
        Self::Signature,
        Self::KeysUnavailable,
    ];

    /// The word for flows and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Several => "several_tokens",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Encrypted => "token_encrypted",
            Self::Nested => "token_nested",
            Self::Critical => "token_extension",
            Self::Type => "token_type",
            Self::Algorithm => "token_algorithm",
            Self::Issuer => "token_issuer",
            Self::Place => "token_place",
            Self::NoExpiry => "token_no_expiry",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedLater => "token_issued_later",
            Self::Audience => "token_audience",
            Self::Claims => "token_claims",
            Self::UnknownKey => "token_key_unknown",
            Self::AmbiguousKey => "token_key_ambiguous",
            Self::Signature => "token_signature",
            Self::KeysUnavailable => "token_keys_unavailable",
        }
    }

    /// The status of the answer: 401; 400 for a request with several tokens (RFC 6750 §3.1); 503 where it is not the
    /// token that is at fault.
    pub fn status(self) -> u16 {
        match self {
            Self::Several => 400,
            Self::KeysUnavailable => 503,
            _ => 401,
        }
    }

    /// The answer's `www-authenticate`; none for 503.
    pub fn challenge(self) -> Option<String> {
        let error = match self.status() {
            401 => "invalid_token",
            400 => "invalid_request",
            _ => return None,
        };
        Some(format!("Bearer error=\"{error}\", error_description=\"{self}\""))
    }

    /// Whether other keys of the issuer could change it.
    pub(super) fn is_about_keys(self) -> bool {
        matches!(self, Self::UnknownKey | Self::KeysUnavailable)
    }
}

/// What a request without a token is told where policy then denies it and a user could have been allowed (RFC 6750 §3:
/// no error code, since none was sent).
pub const CHALLENGE_WITHOUT_TOKEN: &str = "Bearer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_what_rfc_6750_asks_for() {
        let challenge = |error: TokenError| error.challenge().unwrap_or_default();
        assert_eq!(
            challenge(TokenError::Expired),
            r#"Bearer error="invalid_token", error_description="the token has expired""#
        );
        assert_eq!(
            challenge(TokenError::Several),
            r#"Bearer error="invalid_request", error_description="the request has more than one token""#
        );
        assert_eq!((TokenError::Expired.status(), TokenError::Several.status()), (401, 400));
        assert!(TokenError::ALL.iter().enumerate().all(|(number, error)| *error as usize == number));
        assert_eq!(
            (TokenError::KeysUnavailable.status(), TokenError::KeysUnavailable.challenge()),
            (503, None)
        );
    }
}
