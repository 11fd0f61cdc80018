//! Where a request's token is, and requests that have several.

use serde_json::json;

use super::fixtures::{NOW, bearer, claims, claims_but, ed25519, headers, issuer, rules, trusting};
use crate::users::{
    Authentication, KeyRing, TokenError,
    locate::{Headers, locate},
    verify::verify,
};

/// The subject of a request with these headers; none when it is anonymous.
fn subject(rules: &Authentication, headers: &Headers<'_>) -> Result<Option<String>, TokenError> {
    let Some(located) = locate(rules, headers)? else { return Ok(None) };
    let proof = verify(&located, rules, &KeyRing::default(), NOW).map_err(|refused| refused.error)?;
    Ok(Some(proof.verified.user.subject.clone()))
}

fn alice() -> Result<Option<String>, TokenError> {
    Ok(Some("alice".into()))
}

#[test]
fn a_request_without_a_token_is_anonymous() {
    let trusting = trusting(&[ed25519().jwk("a")]);
    for given in [
        vec![],
        headers(&[("authorization", "Basic YTpi")]),
        headers(&[("authorization", "")]),
        headers(&[("authorization", "Bearerx")]),
        headers(&[("proxy-authorization", "Bearer x"), ("x-token", "x"), ("cookie", "authorization=x")]),
    ] {
        assert_eq!(subject(&trusting, &given), Ok(None), "{given:?}");
    }
    let nobody = Authentication::default();
    assert_eq!(subject(&nobody, &bearer("x")), Ok(None), "nobody asks, so nobody looks");
}

#[test]
fn an_announced_token_that_is_none_is_a_bad_one() {
    let trusting = trusting(&[ed25519().jwk("a")]);
    for value in ["Bearer", "Bearer ", "bearer x", "Bearer opaque-token", "BEARER a.b.c, d"] {
        let given = headers(&[("authorization", value)]);
        assert_eq!(subject(&trusting, &given), Err(TokenError::Malformed), "{value}");
    }
}

#[test]
fn a_token_is_taken_from_a_named_header_or_cookie() {
    let key = ed25519();
    let token = key.token("a", &claims());
    let from = json!({"from": [{"header": "X-Token"}, {"header": "x-jwt", "prefix": "JWT "}, {"cookie": "session"}]});
    let rules = rules(vec![issuer(&[key.jwk("a")], from)]);
    let jwt = format!("jwt {token}");
    let (one, spaced) = (format!("a=b; session={token}; c=d"), format!(" session = {token} "));
    for given in [
        headers(&[("x-token", &token)]),
        headers(&[("x-jwt", &jwt)]),
        headers(&[("cookie", &one)]),
        headers(&[("cookie", "a=b"), ("cookie", &format!("session={token}"))]),
        headers(&[("cookie", &spaced)]),
        headers(&[("cookie", "session=;"), ("x-token", &token)]),
    ] {
        assert_eq!(subject(&rules, &given), alice(), "{given:?}");
    }
    for given in [
        bearer(&token),
        headers(&[("x-jwt", &token)]),
        headers(&[("cookie", &format!("Session={token}; xsession={token}; sessionx={token}"))]),
        headers(&[("cookie", "session=; a=b")]),
        headers(&[("cookie", "session")]),
    ] {
        assert_eq!(subject(&rules, &given), Ok(None), "{given:?}");
    }
}

#[test]
fn a_request_with_two_tokens_is_refused() {
    let key = ed25519();
    let token = key.token("a", &claims());
    let other = key.token("a", &claims_but(json!({"sub": "root"})));
    let from = json!({"from": [{"header": "authorization"}, {"header": "x-token"}, {"cookie": "session"}]});
    let rules = rules(vec![issuer(&[key.jwk("a")], from)]);
    let bearer_of = |token: &str| format!("Bearer {token}");
    let several = Err(TokenError::Several);
    let cookies = format!("session={token}; session={token}");
    for given in [
        headers(&[("authorization", &bearer_of(&token)), ("x-token", &other)]),
        headers(&[("authorization", &bearer_of(&token)), ("cookie", &format!("session={other}"))]),
        headers(&[("authorization", &bearer_of(&token)), ("authorization", &bearer_of(&token))]),
        headers(&[("authorization", "Basic YTpi"), ("authorization", &bearer_of(&token))]),
        headers(&[("x-token", &token), ("x-token", "")]),
        headers(&[("cookie", &cookies)]),
        headers(&[("cookie", &format!("session={token}")), ("cookie", "session=")]),
        headers(&[("x-token", &token), ("cookie", "session=rubbish")]),
    ] {
        assert_eq!(subject(&rules, &given), several, "{given:?}");
    }
    // One token in two places is one token.
    let given = headers(&[("authorization", &bearer_of(&token)), ("x-token", &token)]);
    assert_eq!(subject(&rules, &given), alice());
    // Headers where nobody looks do not count.
    let given = headers(&[("authorization", &bearer_of(&token)), ("x-other", &other), ("x-other", &other)]);
    assert_eq!(subject(&rules, &given), alice());
}

#[test]
fn an_issuers_token_is_taken_only_from_its_own_place() {
    let (one, other) = (ed25519(), ed25519());
    let elsewhere = json!({"issuer": "https://other.example.com", "from": [{"cookie": "session"}]});
    let rules = rules(vec![issuer(&[one.jwk("a")], json!({})), issuer(&[other.jwk("b")], elsewhere)]);
    let token = other.token("b", &claims_but(json!({"iss": "https://other.example.com"})));
    let cookie = headers(&[("cookie", &format!("session={token}"))]);
    assert_eq!(subject(&rules, &cookie), alice());
    assert_eq!(subject(&rules, &bearer(&token)), Err(TokenError::Place));
    let cookie = headers(&[("cookie", &format!("session={}", one.token("a", &claims())))]);
    assert_eq!(subject(&rules, &cookie), Err(TokenError::Place));
}
