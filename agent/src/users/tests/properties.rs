//! Whatever comes, nothing panics, and only what the issuer signed makes a user.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::json;

use super::fixtures::{
    NOW, Pairs, Signer, base64, claims, claims_but, ed25519, headers, issuer, rules, user, user_at,
};
use crate::{
    policy::PolicyKey,
    users::{Authentication, JwksUri, KeyRing, KeySet, RequestAuthentication, locate::locate},
};

/// One issuer's key, and what trusts it.
fn issuer_of() -> &'static (Signer, std::sync::Arc<Authentication>) {
    static ISSUER: OnceLock<(Signer, std::sync::Arc<Authentication>)> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let key = ed25519();
        let from = json!({"from": [{"header": "authorization"}, {"header": "x-token"}, {"cookie": "s"}]});
        let rules = rules(vec![issuer(&[key.jwk("a")], from)]);
        (key, rules)
    })
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        prop::sample::select(vec![
            "RSA", "EC", "OKP", "oct", "P-256", "P-384", "Ed25519", "AQAB", "sig", "EdDSA"
        ])
        .prop_map(|value| json!(value)),
        ".{0,20}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names = prop_oneof![
            prop::sample::select(vec![
                "keys",
                "kty",
                "crv",
                "x",
                "y",
                "n",
                "e",
                "kid",
                "alg",
                "use",
                "issuers",
                "issuer",
                "audiences",
                "jwks",
                "inline",
                "uri",
                "from",
                "header",
                "cookie",
                "iss",
                "sub",
                "aud",
                "exp",
                "nbf",
                "iat",
            ])
            .prop_map(String::from),
            ".{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list)),
            prop::collection::btree_map(names, inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_text_is_no_token(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_, rules) = issuer_of();
        for text in [text.clone(), String::from_utf8_lossy(&bytes).into_owned(), base64(&bytes)] {
            prop_assert!(user_or_none(rules, &text).is_none());
            let thrice = format!("{text}.{text}.{text}");
            prop_assert!(user_or_none(rules, &thrice).is_none());
        }
    }

    #[test]
    fn random_json_that_is_signed_is_taken_or_refused_and_never_panics(header in value(), body in value()) {
        let (key, rules) = issuer_of();
        let _either = user_at(rules, &KeyRing::default(), &key.signed(&header, &body), NOW);
        let token = key.signed(&json!({"alg": "EdDSA", "kid": "a"}), &body);
        let _either = user_at(rules, &KeyRing::default(), &token, NOW);
        if let Some(members) = body.as_object() {
            let token = key.token("a", &claims_but(json!(members)));
            let _either = user_at(rules, &KeyRing::default(), &token, NOW);
        }
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), other in 0_u8..128) {
        let (key, rules) = issuer_of();
        let token = key.token("a", &claims());
        prop_assert!(user(rules, &token).is_ok());
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != other);
        bytes[at] = other;
        let changed = String::from_utf8(bytes).expect("ASCII");
        prop_assert!(user_or_none(rules, &changed).is_none(), "{}", changed);
    }

    #[test]
    fn random_keys_and_objects_never_panic(document in value(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = KeySet::parse(document.to_string().as_bytes());
        let _either = KeySet::parse(json!({"keys": [document]}).to_string().as_bytes());
        let _either = KeySet::parse(&bytes);
        let key = || PolicyKey::new("shop", "users");
        let _either = RequestAuthentication::parse(key(), document.clone());
        let _either = RequestAuthentication::parse(key(), json!({"issuers": [document.clone()]}));
        let _either = RequestAuthentication::parse(key(), json!({"issuers": [issuer(&[document], json!({}))]}));
    }

    #[test]
    fn random_headers_never_panic(values in prop::collection::vec((0_usize..4, "\\PC{0,60}"), 0..6)) {
        let (_, rules) = issuer_of();
        let names = ["authorization", "x-token", "cookie", "other"];
        let pairs: Pairs = values.into_iter().map(|(at, value)| (names[at].into(), value.into())).collect();
        let _either = locate(rules, &pairs);
    }

    #[test]
    fn a_uri_that_is_taken_says_where_it_leads(text in "(https|http|file)://[a-z0-9.:@/?#\\[\\]_-]{0,30}") {
        if let Ok(uri) = text.parse::<JwksUri>() {
            let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next());
            prop_assert!(uri.as_str() == text && !text.contains('#'));
            prop_assert!(authority.is_some_and(|authority| !authority.contains('@')));
        }
    }
}

/// The user of a bearer of `token`; none when there is none, for whatever reason.
fn user_or_none(rules: &Authentication, token: &str) -> Option<String> {
    let headers = headers(&[("authorization", &format!("Bearer {token}"))]);
    locate(rules, &headers).ok()??;
    user(rules, token).ok().map(|verified| verified.user.subject.clone())
}
