//! Good tokens, and what they say of the user.

use std::sync::Arc;

use serde_json::json;

use super::fixtures::{
    ISSUER, NOW, claims, claims_but, ed25519, issuer, p256, p384, refused, rsa, rules, trusting, user,
    user_at,
};
use crate::users::{KeyRing, TokenError};

#[test]
fn each_type_of_key_verifies_with_its_own_algorithms() {
    let (p256, p384, ed) = (p256(), p384(), ed25519());
    let keys = [rsa().jwk("r"), p256.jwk("a"), p384.jwk("b"), ed.jwk("c")];
    let rules = trusting(&keys);
    for (signer, kid, algorithms) in [
        (rsa(), "r", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&p256, "a", &["ES256"]),
        (&p384, "b", &["ES384"]),
        (&ed, "c", &["EdDSA", "Ed25519"]),
    ] {
        for algorithm in algorithms {
            let token = signer.signed(&json!({"alg": algorithm, "kid": kid}), &claims());
            let verified = user(&rules, &token).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
            assert_eq!((&*verified.user.issuer, &*verified.user.subject), (ISSUER, "alice"));
        }
    }
}

#[test]
fn the_user_has_the_claims_that_are_texts_or_lists_of_texts() {
    let key = ed25519();
    let claims = claims_but(json!({
        "aud": ["other", "shop"], "groups": ["admins", "staff"], "email": "a@example.com", "scope": "read  write",
        "level": 3, "nested": {"a": "b"}, "mixed": ["a", 1], "none": [], "yes": true,
    }));
    let verified = user(&trusting(&[key.jwk("a")]), &key.token("a", &claims)).expect("a user");
    assert_eq!(verified.user.audiences, ["other", "shop"]);
    let kept: Vec<_> = verified.user.claims.iter().map(|(name, texts)| (&**name, texts.join("|"))).collect();
    let wanted =
        [("email", "a@example.com"), ("groups", "admins|staff"), ("none", ""), ("scope", "read|write")];
    assert_eq!(kept, wanted.map(|(name, texts)| (name, texts.to_owned())));
    assert_eq!(verified.valid_until, NOW + 3600 + 60);
}

#[test]
fn chosen_claims_become_headers_for_the_app() {
    let key = ed25519();
    let forwards = json!({"forwardClaims": [
        {"claim": "sub", "header": "weir-user-subject"}, {"claim": "groups", "header": "Weir-User-Groups"},
        {"claim": "aud", "header": "weir-user-for"}, {"claim": "absent", "header": "weir-user-absent"},
    ]});
    let rules = rules(vec![issuer(&[key.jwk("a")], forwards)]);
    let token = key.token("a", &claims_but(json!({"sub": "a\r\nx: y", "groups": ["a,b", "c"]})));
    let verified = user(&rules, &token).expect("a user");
    let headers: Vec<_> = verified.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let wanted =
        [("weir-user-subject", "a%0D%0Ax:%20y"), ("weir-user-groups", "a%2Cb,c"), ("weir-user-for", "shop")];
    assert_eq!(headers, wanted);
    let asserted: Vec<&str> = rules.asserted_headers().iter().map(|name| &**name).collect();
    let names = ["weir-user-absent", "weir-user-for", "weir-user-groups", "weir-user-subject"];
    assert_eq!(asserted, names, "a header whose claim is absent is taken from clients all the same");
    assert!(
        rules.asserts("weir-user-groups") && rules.asserts("weir-user-anything") && !rules.asserts("x-user")
    );
}

#[test]
fn times_are_kept_to_the_second_with_leeway_on_both_sides() {
    let key = ed25519();
    let jwk = [key.jwk("a")];
    let rules = rules(vec![issuer(&jwk, json!({"clockLeeway": "30s"}))]);
    let token = key.token("a", &claims_but(json!({"iat": NOW, "nbf": NOW, "exp": NOW + 100})));
    let at = |now: u64| user_at(&rules, &KeyRing::default(), &token, now).map(|_| ());
    for (now, wanted) in [
        (NOW + 129, Ok(())),
        (NOW + 130, Err(TokenError::Expired)),
        (NOW - 30, Ok(())),
        (NOW - 31, Err(TokenError::NotYetValid)),
        (0, Err(TokenError::NotYetValid)),
        (u64::MAX, Err(TokenError::Expired)),
    ] {
        assert_eq!(at(now), wanted, "{now}");
    }
}

#[test]
fn times_may_have_a_fraction_and_may_be_left_out_but_for_the_expiry() {
    let key = ed25519();
    let rules = trusting(&[key.jwk("a")]);
    for (claims, wanted) in [
        (json!({"exp": NOW as f64 + 0.5, "iat": 1.5, "nbf": -3}), Ok(())),
        (json!({"iat": null, "nbf": null}), Ok(())),
        (json!({"exp": 1e300}), Ok(())),
        (json!({"exp": null}), Err(TokenError::NoExpiry)),
        (json!({"exp": "1800003600"}), Err(TokenError::NoExpiry)),
        (json!({"exp": true}), Err(TokenError::NoExpiry)),
        (json!({"exp": -1}), Err(TokenError::Expired)),
        (json!({"nbf": "0"}), Err(TokenError::NotYetValid)),
        (json!({"iat": [1]}), Err(TokenError::IssuedLater)),
        (json!({"iat": NOW + 61}), Err(TokenError::IssuedLater)),
        (json!({"iat": 1e300}), Err(TokenError::IssuedLater)),
    ] {
        let token = key.token("a", &claims_but(claims.clone()));
        assert_eq!(user(&rules, &token).map(|_| ()), wanted, "{claims}");
    }
}

#[test]
fn a_token_is_for_one_of_the_audiences_or_for_anybody_where_that_is_written() {
    let key = ed25519();
    let jwk = [key.jwk("a")];
    let two = rules(vec![issuer(&jwk, json!({"audiences": ["shop", "pay"]}))]);
    let any = rules(vec![issuer(&jwk, json!({"audiences": ["*"]}))]);
    for (audience, for_two) in [
        (json!("shop"), true),
        (json!(["x", "pay"]), true),
        (json!("Shop"), false),
        (json!("shopping"), false),
        (json!(["x"]), false),
        (json!([]), false),
        (json!("*"), false),
        (json!(null), false),
    ] {
        let token = key.token("a", &claims_but(json!({"aud": audience.clone()})));
        let wanted = if for_two { Ok(()) } else { Err(TokenError::Audience) };
        assert_eq!(user(&two, &token).map(|_| ()), wanted, "{audience}");
        assert_eq!(user(&any, &token).map(|_| ()), Ok(()), "{audience}");
    }
    for audience in [json!(1), json!({"shop": 1}), json!(["shop", 1]), json!(true)] {
        let token = key.token("a", &claims_but(json!({"aud": audience})));
        refused(&any, &token, TokenError::Claims);
    }
}

#[test]
fn a_token_without_a_subject_makes_a_user_without_one() {
    let key = ed25519();
    let rules = trusting(&[key.jwk("a")]);
    let token = key.token("a", &claims_but(json!({"sub": null})));
    assert_eq!(user(&rules, &token).expect("a user").user.subject, "");
    refused(&rules, &key.token("a", &claims_but(json!({"sub": 7}))), TokenError::Claims);
}

#[test]
fn of_several_rules_for_an_issuer_any_one_takes_a_token() {
    let (one, other) = (ed25519(), ed25519());
    let objects = vec![
        super::fixtures::object("shop/a", json!({"issuers": [issuer(&[one.jwk("a")], json!({}))]})),
        super::fixtures::object(
            "shop/b",
            json!({"issuers": [issuer(&[other.jwk("b")], json!({"audiences": ["pay"]}))]}),
        ),
    ];
    let labels = Default::default();
    let target = crate::policy::Target { namespace: "shop", labels: &labels, services: &[] };
    let rules: Arc<_> = super::fixtures::index(objects).select(&target);
    user(&rules, &one.token("a", &claims())).expect("by the first");
    user(&rules, &other.token("b", &claims_but(json!({"aud": "pay"})))).expect("by the second");
    // A key of one rule does not sign for another's audience.
    refused(&rules, &one.token("a", &claims_but(json!({"aud": "pay"}))), TokenError::UnknownKey);
    refused(&rules, &other.token("b", &claims()), TokenError::UnknownKey);
}
