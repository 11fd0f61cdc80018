//! What is remembered of verified tokens, and what voids it.

use std::sync::Arc;

use serde_json::json;

use super::fixtures::{
    NOW, Signer, bearer, claims, claims_but, ed25519, fetched, found, headers, issuer, key_set, rules,
};
use crate::users::{Authentication, KeyRing, cache::Cache, verify::verify};

/// Verifies `token` and remembers it.
fn put(cache: &Cache, rules: &Authentication, ring: &KeyRing, token: &str) {
    let headers = bearer(token);
    let located = found(rules, &headers);
    let proof = verify(&located, rules, ring, NOW).expect("a good token");
    cache.put(&located, rules, proof);
}

/// Whether `token` is known at `now`.
fn knows(cache: &Cache, rules: &Authentication, ring: &KeyRing, token: &str, now: u64) -> bool {
    let headers = bearer(token);
    cache.get(&found(rules, &headers), rules, ring, now).is_some()
}

fn numbered(key: &Signer, number: usize) -> String {
    key.token("a", &claims_but(json!({"sub": format!("user-{number}")})))
}

#[test]
fn a_verified_token_is_known_until_it_expires_and_no_other_is() {
    let key = ed25519();
    let (rules, ring) = fetched(&[key.jwk("a")]);
    let cache = Cache::default();
    let token = key.token("a", &claims());
    assert!(!knows(&cache, &rules, &ring, &token, NOW));
    put(&cache, &rules, &ring, &token);
    assert!(knows(&cache, &rules, &ring, &token, NOW));
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    assert!(!knows(&cache, &rules, &ring, &format!("{signed}.AAAA"), NOW), "another signature");
    assert!(knows(&cache, &rules, &ring, &token, NOW + 3659));
    assert!(!knows(&cache, &rules, &ring, &token, NOW + 3660));
    assert_eq!(cache.len(), 0, "what has expired is dropped when it is met");
    assert_eq!(cache.counts(), (2, 3));
}

#[test]
fn new_keys_void_what_the_old_ones_proved() {
    let key = ed25519();
    let (rules, ring) = fetched(&[key.jwk("a")]);
    let source = rules.sources().next().expect("a source").id();
    let cache = Cache::default();
    let token = key.token("a", &claims());
    put(&cache, &rules, &ring, &token);
    let other = KeyRing::new([(source, Arc::new(key_set(&[ed25519().jwk("a")])))]);
    assert!(!knows(&cache, &rules, &other, &token, NOW));
    put(&cache, &rules, &ring, &token);
    assert!(!knows(&cache, &rules, &KeyRing::default(), &token, NOW), "no keys at all");
}

#[test]
fn new_rules_void_what_the_old_ones_took() {
    let key = ed25519();
    let make =
        |audience: &str| rules(vec![issuer(&[key.jwk("a")], json!({"audiences": [audience, "shop"]}))]);
    let (before, after) = (make("x"), make("y"));
    let (cache, ring) = (Cache::default(), KeyRing::default());
    let token = key.token("a", &claims());
    put(&cache, &before, &ring, &token);
    assert!(knows(&cache, &before, &ring, &token, NOW));
    assert!(!knows(&cache, &after, &ring, &token, NOW));
    let both = before.rules().iter().chain(after.rules()).cloned().collect();
    let both = Authentication::new(both, &[]);
    assert!(!knows(&cache, &both, &ring, &token, NOW), "another workload's rules");
}

#[test]
fn a_known_token_is_known_only_where_its_issuers_are_taken() {
    let key = ed25519();
    let two = rules(vec![
        issuer(&[key.jwk("a")], json!({"from": [{"header": "x-token"}]})),
        issuer(&[key.jwk("a")], json!({"issuer": "another"})),
    ]);
    let (cache, ring) = (Cache::default(), KeyRing::default());
    let token = key.token("a", &claims());
    let at_header = headers(&[("x-token", &token)]);
    let located = found(&two, &at_header);
    cache.put(&located, &two, verify(&located, &two, &ring, NOW).expect("good"));
    assert!(cache.get(&located, &two, &ring, NOW).is_some());
    assert!(!knows(&cache, &two, &ring, &token, NOW), "as a bearer token it is in the wrong place");
}

#[test]
fn what_is_remembered_is_bounded_and_what_is_used_stays() {
    let key = ed25519();
    let (rules, ring) = fetched(&[key.jwk("a")]);
    let cache = Cache::holding(512 * 1024);
    let favourite = numbered(&key, 0);
    put(&cache, &rules, &ring, &favourite);
    for number in 1..3_000 {
        put(&cache, &rules, &ring, &numbered(&key, number));
        assert!(knows(&cache, &rules, &ring, &favourite, NOW), "{number}");
    }
    assert!((256..=1024).contains(&cache.len()), "{}", cache.len());
    assert!(!knows(&cache, &rules, &ring, &numbered(&key, 1), NOW));
}

#[test]
fn one_large_token_does_not_drive_out_many() {
    let key = ed25519();
    let (rules, ring) = fetched(&[key.jwk("a")]);
    let cache = Cache::holding(512 * 1024);
    put(&cache, &rules, &ring, &key.token("a", &claims_but(json!({"groups": vec!["g"; 1_500]}))));
    assert_eq!(cache.len(), 0);
}
