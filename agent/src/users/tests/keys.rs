//! Key sets as issuers publish them, and as they should not.

use serde_json::{Value, json};

use super::fixtures::{base64, claims, ed25519, p256, rsa, trusting, user};
use crate::users::{KeySet, KeySetError, jwk::Key};

/// The member at fault, and whether the key is only for another purpose.
fn fault(jwk: &Value) -> (Option<&'static str>, bool) {
    let unfit = Key::parse(jwk).expect_err("an unfit key");
    assert!(!unfit.message.is_empty());
    (unfit.member, unfit.for_others)
}

/// A key with a member that is another, or taken out.
fn but(mut jwk: Value, member: &str, value: Value) -> Value {
    match value {
        Value::Null => _ = jwk.as_object_mut().expect("an object").remove(member),
        value => jwk[member] = value,
    }
    jwk
}

#[test]
fn symmetric_and_private_keys_are_refused() {
    assert_eq!(fault(&json!({"kty": "oct", "k": "c2VjcmV0"})), (Some("kty"), false));
    for secret in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert_eq!(fault(&but(rsa().jwk("a"), secret, json!("AQAB"))), (Some(secret), false));
    }
    assert_eq!(fault(&but(p256().jwk("a"), "d", json!("AQAB"))), (Some("d"), false));
}

#[test]
fn a_key_for_another_purpose_is_left_out_without_a_fault() {
    for (jwk, member) in [
        (but(rsa().jwk("a"), "use", json!("enc")), "use"),
        (but(rsa().jwk("a"), "key_ops", json!(["encrypt"])), "key_ops"),
        (but(rsa().jwk("a"), "alg", json!("RSA-OAEP")), "alg"),
        (but(rsa().jwk("a"), "alg", json!("ES256")), "alg"),
        (but(rsa().jwk("a"), "alg", json!("HS256")), "alg"),
        (json!({"kty": "EC", "crv": "P-521", "x": "", "y": ""}), "crv"),
        (json!({"kty": "EC", "crv": "secp256k1", "x": "", "y": ""}), "crv"),
        (json!({"kty": "OKP", "crv": "X25519", "x": ""}), "crv"),
        (json!({"kty": "AKP", "alg": "ML-DSA-65"}), "kty"),
    ] {
        assert_eq!(fault(&jwk), (Some(member), true), "{jwk}");
    }
    Key::parse(&but(rsa().jwk("a"), "key_ops", json!(["sign", "verify"]))).expect("for verifying, too");
}

#[test]
fn a_key_of_wrong_numbers_is_refused() {
    let (p256, ed) = (p256(), ed25519());
    let x = p256.jwk("a")["x"].clone();
    let weak = base64(vec![0xff; 128]);
    let huge = base64(vec![0xff; 1025]);
    for (jwk, member) in [
        (but(rsa().jwk("a"), "n", json!(null)), "n"),
        (but(rsa().jwk("a"), "n", json!("")), "n"),
        (but(rsa().jwk("a"), "n", json!(weak)), "n"),
        (but(rsa().jwk("a"), "n", json!(huge)), "n"),
        (but(rsa().jwk("a"), "n", json!("AQAB=")), "n"),
        (but(rsa().jwk("a"), "n", json!(["AQAB"])), "n"),
        (but(rsa().jwk("a"), "e", json!("AQ")), "e"),
        (but(rsa().jwk("a"), "e", json!("Ag")), "e"),
        (but(rsa().jwk("a"), "e", json!("")), "e"),
        (but(rsa().jwk("a"), "e", json!("AQAAAAAB")), "e"),
        (but(p256.jwk("a"), "y", x), "x"),
        (but(p256.jwk("a"), "x", json!(base64([0; 32]))), "x"),
        (but(p256.jwk("a"), "x", json!(base64([1; 31]))), "x"),
        (but(p256.jwk("a"), "y", json!(base64([1; 33]))), "y"),
        (but(p256.jwk("a"), "crv", json!("P-384")), "x"),
        (but(p256.jwk("a"), "crv", json!(null)), "crv"),
        (but(ed.jwk("a"), "x", json!(base64([1; 31]))), "x"),
        (but(ed.jwk("a"), "kty", json!(null)), "kty"),
        (but(ed.jwk("a"), "kty", json!(1)), "kty"),
        (but(ed.jwk("a"), "kid", json!(1)), "kid"),
        (but(ed.jwk("a"), "alg", json!(1)), "alg"),
        (but(ed.jwk("a"), "key_ops", json!("verify")), "key_ops"),
        (but(ed.jwk("a"), "key_ops", json!([1])), "key_ops"),
    ] {
        assert_eq!(fault(&jwk), (Some(member), false), "{jwk}");
    }
    for jwk in [json!(null), json!("a"), json!([])] {
        assert_eq!(fault(&jwk), (None, false));
    }
}

#[test]
fn a_modulus_with_a_zero_in_front_is_the_same_key() {
    let plain = rsa().jwk("a");
    let modulus = [&[0][..], &rsa().public()[9..265]].concat();
    let padded = but(plain.clone(), "n", json!(base64(modulus)));
    assert!(Key::parse(&plain) == Key::parse(&padded));
    user(&trusting(&[padded]), &rsa().token("a", &claims())).expect("a user");
}

#[test]
fn a_fetched_set_keeps_what_fits_and_counts_the_rest() {
    let set = json!({"more": 1, "keys": [
        ed25519().jwk("a"), {"kty": "oct", "k": "AA"}, but(rsa().jwk("e"), "use", json!("enc")), 7, rsa().jwk("b"),
        but(rsa().jwk("d"), "d", json!("AQAB")), {"kty": "new"},
    ]});
    let set = KeySet::parse(set.to_string().as_bytes()).expect("a set");
    assert_eq!((set.len(), set.left_out(), set.is_empty()), (2, 5, false));
}

#[test]
fn a_set_that_could_verify_nothing_is_not_taken() {
    let parse = |text: &str| KeySet::parse(text.as_bytes()).map(|set| set.len());
    assert_eq!(parse("<html>"), Err(KeySetError::NotJson("is not JSON")));
    assert_eq!(parse("[]"), Err(KeySetError::NotJson("is not a JSON object")));
    assert!(matches!(parse(r#"{"keys":[],"keys":[]}"#), Err(KeySetError::NotJson(_))));
    assert_eq!(parse("{}"), Err(KeySetError::NoKeys));
    assert_eq!(parse(r#"{"keys":{}}"#), Err(KeySetError::NoKeys));
    assert_eq!(parse(r#"{"keys":[]}"#), Err(KeySetError::NothingFits));
    assert_eq!(parse(r#"{"keys":[{"kty":"oct","k":"AA"}]}"#), Err(KeySetError::NothingFits));
    let many = json!({"keys": vec![ed25519().jwk("a"); 65]}).to_string();
    assert_eq!(parse(&many), Err(KeySetError::TooMany));
}
