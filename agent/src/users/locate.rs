//! Finds the token of a request.
//!
//! Entry point: [`locate`]. Knows header names and values, and nothing of what a token is.

use std::borrow::Cow;

use super::{merge::Authentication, refusal::TokenError, rules::Location};

/// A request's headers: names in lower case, and values, in the order in which they came.
pub type Headers<'a> = [(Cow<'a, str>, Cow<'a, str>)];

/// The one token of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<'a> {
    pub(super) token: &'a str,
    /// Every place that has it, of those where tokens are looked for.
    pub(super) places: Vec<&'a Location>,
}

impl Located<'_> {
    /// Whether the token is at one of `locations`.
    pub(super) fn is_at(&self, locations: &[Location]) -> bool {
        self.places.iter().any(|place| locations.contains(place))
    }
}

/// The token at the places where `authentication` looks for one; none when there is none.
///
/// # Errors
/// [`TokenError::Several`] when places have different tokens, or when a header or cookie with a token comes
/// twice: the app could read another one than was verified.
pub(super) fn locate<'a>(
    authentication: &'a Authentication,
    headers: &'a Headers<'a>,
) -> Result<Option<Located<'a>>, TokenError> {
    let mut located: Option<Located<'a>> = None;
    for place in authentication.locations() {
        let Some(token) = token_at(place, headers)? else { continue };
        match &mut located {
            None => located = Some(Located { token, places: vec![place] }),
            Some(located) if located.token == token => located.places.push(place),
            Some(_) => return Err(TokenError::Several),
        }
    }
    Ok(located)
}

fn token_at<'a>(place: &Location, headers: &'a Headers<'a>) -> Result<Option<&'a str>, TokenError> {
    match place {
        Location::Header { name, prefix } => {
            let values = || values(headers, name);
            let Some(token) = values().find_map(|value| behind(prefix, value)) else { return Ok(None) };
            if values().nth(1).is_some() { Err(TokenError::Several) } else { Ok(Some(token)) }
        }
        Location::Cookie(name) => {
            // HTTP/2 clients may split the header (RFC 9113 §8.2.3).
            let pairs = values(headers, "cookie").flat_map(|value| value.split(';'));
            let mut found = pairs.filter_map(|pair| {
                let (given, value) = pair.split_once('=')?;
                (given.trim_matches([' ', '\t']) == &**name).then(|| value.trim_matches([' ', '\t']))
            });
            let first = found.next();
            if found.next().is_some() {
                return Err(TokenError::Several);
            }
            // A cookie without a value is how one is cleared.
            Ok(first.filter(|token| !token.is_empty()))
        }
    }
}

fn values<'a>(headers: &'a Headers<'a>, name: &str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(given, _)| given == name).map(|(_, value)| &**value)
}

/// What stands behind `prefix`, in any case (RFC 9110 §11.1); none when something else stands there.
fn behind<'a>(prefix: &str, value: &'a str) -> Option<&'a str> {
    let space = [' ', '\t'];
    let value = value.trim_matches(space);
    let scheme = prefix.trim_end_matches(' ');
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let apart = scheme.len() == prefix.len() || rest.is_empty() || rest.starts_with(space);
    let token = rest.trim_matches(space);
    // `Bearer` alone announces a token, and an empty one is a bad one; an empty header announces nothing.
    let announced = !token.is_empty() || !prefix.is_empty();
    (start.eq_ignore_ascii_case(scheme) && apart && announced).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_whole_word_in_any_case() {
        for (prefix, value, wanted) in [
            ("Bearer ", "Bearer a", Some("a")),
            ("Bearer ", "bEARER   a ", Some("a")),
            ("Bearer ", "Bearer\ta", Some("a")),
            ("Bearer ", "Bearer", Some("")),
            ("Bearer ", "Bearer ", Some("")),
            ("Bearer ", "Bearer a, Bearer b", Some("a, Bearer b")),
            ("Bearer ", "Bearera", None),
            ("Bearer ", "Basic a", None),
            ("Bearer ", "Bear", None),
            ("Bearer ", "Beare\u{e4}", None),
            ("Bearer ", "", None),
            ("jwt=", "JWT=a", Some("a")),
            ("", " a ", Some("a")),
            ("", "", None),
        ] {
            assert_eq!(behind(prefix, value), wanted, "{prefix:?} {value:?}");
        }
    }
}
