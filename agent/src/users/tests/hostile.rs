//! Tokens that want to be taken for what they are not.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::fixtures::{
    NOW, Signer, base64, claims, claims_but, ed25519, fetched, issuer, p256, p384, refused, rsa, rules,
    trusting, user, user_at,
};
use crate::users::{MOST_TOKEN, TokenError};

/// A token whose signature is these bytes.
fn with_signature(header: &Value, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", base64(header.to_string()), base64(claims().to_string()), base64(signature))
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let key = rsa();
    let trusting = trusting(&[key.jwk("a")]);
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({"alg": algorithm, "kid": "a"});
        refused(&trusting, &with_signature(&header, ""), TokenError::Algorithm);
        refused(&trusting, &key.signed(&header, &claims()), TokenError::Algorithm);
    }
    refused(&trusting, &with_signature(&json!({"kid": "a"}), ""), TokenError::Algorithm);
    refused(&trusting, &with_signature(&json!({"alg": "RS256", "kid": "a"}), ""), TokenError::Signature);
}

#[test]
fn a_public_key_is_never_the_secret_of_an_hmac() {
    let key = rsa();
    let trusting = trusting(&[key.jwk("a")]);
    let jwk = key.jwk("a").to_string();
    for secret in [key.public(), jwk.as_bytes(), key.jwk("a")["n"].as_str().expect("a text").as_bytes(), b""]
    {
        for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let header = json!({"alg": name, "kid": "a"});
            let message = format!("{}.{}", base64(header.to_string()), base64(claims().to_string()));
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
            refused(&trusting, &format!("{message}.{}", base64(tag)), TokenError::Algorithm);
        }
    }
}

#[test]
fn a_key_of_one_type_does_not_verify_as_another() {
    let (p256, p384, ed) = (p256(), p384(), ed25519());
    let signers = [rsa(), &p256, &p384, &ed];
    for signer in signers {
        let trusting = trusting(&[signer.jwk("a")]);
        for other in signers.iter().filter(|other| other.algorithm() != signer.algorithm()) {
            let header = json!({"alg": other.algorithm(), "kid": "a"});
            refused(&trusting, &other.signed(&header, &claims()), TokenError::UnknownKey);
            refused(&trusting, &signer.signed(&header, &claims()), TokenError::UnknownKey);
        }
    }
    // Nor does one whose owner said with which algorithm only.
    let mut jwk = rsa().jwk("a");
    jwk["alg"] = "PS256".into();
    let pinned = trusting(&[jwk]);
    user(&pinned, &rsa().signed(&json!({"alg": "PS256", "kid": "a"}), &claims())).expect("its own");
    refused(&pinned, &rsa().token("a", &claims()), TokenError::UnknownKey);
    for name in ["RS1", "ES512", "ES256K", "rs256", "RS256 ", "HS256", "dir", "RSA-OAEP", "EdDSA\0"] {
        refused(&pinned, &rsa().signed(&json!({"alg": name, "kid": "a"}), &claims()), TokenError::Algorithm);
    }
}

#[test]
fn a_name_of_a_key_is_compared_and_never_followed() {
    let key = ed25519();
    let both = trusting(&[key.jwk("a"), ed25519().jwk("../../dev/null")]);
    for kid in
        ["../../../dev/null", "/dev/null", "b' UNION SELECT 'x", "a\0", "A", " a", "", "https://evil/x"]
    {
        refused(&both, &key.token(kid, &claims()), TokenError::UnknownKey);
    }
    refused(&both, &key.token("../../dev/null", &claims()), TokenError::Signature);
    for kid in [json!(1), json!(["a"]), json!({"a": 1}), json!(null)] {
        let token = key.signed(&json!({"alg": "EdDSA", "kid": kid}), &claims());
        refused(&both, &token, TokenError::Malformed);
    }
}

#[test]
fn a_key_in_the_token_itself_is_ignored() {
    let (good, evil) = (rsa(), ed25519());
    let trusting = trusting(&[good.jwk("a")]);
    let own = evil.jwk("evil");
    for (kid, wanted) in [("evil", TokenError::UnknownKey), ("a", TokenError::UnknownKey)] {
        for (name, value) in [
            ("jwk", own.clone()),
            ("jku", "https://evil.example.com/keys".into()),
            ("x5u", "https://evil.example.com/cert".into()),
            ("x5c", json!(["MIIB"])),
            ("x5t", "AAAA".into()),
        ] {
            let mut header = json!({"alg": "EdDSA", "kid": kid});
            header[name] = value;
            refused(&trusting, &evil.signed(&header, &claims()), wanted);
        }
    }
    // They do no harm either.
    let header = json!({"alg": "RS256", "kid": "a", "jwk": own, "jku": "https://evil.example.com/keys"});
    user(&trusting, &good.signed(&header, &claims())).expect("signed by the issuer");
}

#[test]
fn what_a_header_demands_and_nobody_understands_is_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let with = |name: &str, value: Value| {
        let mut header = json!({"alg": "EdDSA", "kid": "a"});
        header[name] = value;
        key.signed(&header, &claims())
    };
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("exp")] {
        refused(&trusting, &with("crit", crit), TokenError::Critical);
    }
    refused(&trusting, &with("enc", json!("A256GCM")), TokenError::Encrypted);
    for cty in ["JWT", "jwt", "application/jwt", "json"] {
        refused(&trusting, &with("cty", json!(cty)), TokenError::Nested);
    }
    for typ in
        [json!("logout+jwt"), json!("dpop+jwt"), json!("secevent+jwt"), json!(""), json!(1), json!(null)]
    {
        refused(&trusting, &with("typ", typ), TokenError::Type);
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+JWT", "JOSE"] {
        user(&trusting, &with("typ", json!(typ))).expect(typ);
    }
}

#[test]
fn encrypted_and_nested_tokens_are_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let encrypted = format!("{}.a.b.c.d", base64(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#));
    refused(&trusting, &encrypted, TokenError::Encrypted);
    let inner = key.token("a", &claims());
    let nested = key.signed_text(r#"{"alg":"EdDSA","kid":"a"}"#, &inner);
    refused(&trusting, &nested, TokenError::Malformed);
}

#[test]
fn what_is_signed_by_somebody_else_or_changed_is_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let token = key.token("a", &claims());
    user(&trusting, &token).expect("as it was issued");
    refused(&trusting, &ed25519().token("a", &claims()), TokenError::Signature);
    let parts: Vec<&str> = token.split('.').collect();
    let other = base64(claims_but(json!({"sub": "root"})).to_string());
    refused(&trusting, &format!("{}.{other}.{}", parts[0], parts[2]), TokenError::Signature);
    let header = base64(r#"{"alg":"EdDSA","kid":"a"}"#);
    refused(&trusting, &format!("{header}.{}.{}", parts[1], parts[2]), TokenError::Signature);
    refused(&trusting, &format!("{}.{}.{}", parts[0], parts[1], base64([0; 64])), TokenError::Signature);
}

#[test]
fn an_issuer_that_is_not_named_exactly_so_is_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    for issuer in [
        json!("https://evil.example.com"),
        json!("https://id.example.com/"),
        json!("https://ID.example.com"),
        json!("https://id.example.com\0"),
        json!(""),
        json!(null),
    ] {
        let token = key.token("a", &claims_but(json!({"iss": issuer})));
        refused(&trusting, &token, TokenError::Issuer);
    }
    refused(
        &trusting,
        &key.token("a", &claims_but(json!({"iss": ["https://id.example.com"]}))),
        TokenError::Claims,
    );
}

#[test]
fn a_key_of_one_issuer_does_not_sign_for_another() {
    let (one, other) = (ed25519(), ed25519());
    let two = rules(vec![
        issuer(&[one.jwk("a")], json!({})),
        issuer(&[other.jwk("b")], json!({"issuer": "https://other.example.com"})),
    ]);
    user(&two, &one.token("a", &claims())).expect("its own");
    refused(&two, &other.token("b", &claims()), TokenError::UnknownKey);
    refused(&two, &other.token("a", &claims()), TokenError::Signature);
}

#[test]
fn signatures_of_degenerate_numbers_are_refused() {
    for (key, length) in [(p256(), 64), (p384(), 96)] {
        let trusting = trusting(&[key.jwk("a")]);
        let header = json!({"alg": key.algorithm(), "kid": "a"});
        let zero_r = [vec![0; length / 2], vec![1; length / 2]].concat();
        let zero_s = [vec![1; length / 2], vec![0; length / 2]].concat();
        // A signature in DER, as TLS has it, is not one of a JWS.
        let der = vec![0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00];
        for bytes in [vec![], vec![0; length], vec![0xff; length], zero_r, zero_s, der, vec![1; length + 1]] {
            refused(&trusting, &with_signature(&header, bytes), TokenError::Signature);
        }
        let good = key.signed(&header, &claims());
        let (signed, signature) = good.rsplit_once('.').expect("three parts");
        for longer in [format!("{signature}AAAA"), format!("AAAA{signature}"), signature[..8].to_owned()] {
            refused(&trusting, &format!("{signed}.{longer}"), TokenError::Signature);
        }
    }
    let trusting = trusting(&[rsa().jwk("a")]);
    let header = json!({"alg": "RS256", "kid": "a"});
    for bytes in [vec![0; 256], vec![1; 256], [vec![0; 255], vec![1]].concat(), vec![0xff; 257]] {
        refused(&trusting, &with_signature(&header, bytes), TokenError::Signature);
    }
}

#[test]
fn a_token_cut_anywhere_is_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let token = key.token("a", &claims());
    for end in 1..token.len() {
        user(&trusting, &token[..end]).expect_err("a cut token");
    }
    for start in 1..token.len() {
        user(&trusting, &token[start..]).expect_err("a cut token");
    }
}

#[test]
fn a_token_of_another_shape_is_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let token = key.token("a", &claims());
    for text in [
        ".".into(),
        "..".into(),
        "...".into(),
        "a".into(),
        "a.b".into(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}, {token}"),
        format!("{token} {token}"),
        format!("{token}="),
        format!("{token}\u{e4}"),
        token.replacen('.', "..", 1),
        token.replace('.', "%2e"),
        format!("\"{token}\""),
    ] {
        refused(&trusting, &text, TokenError::Malformed);
    }
    refused(&trusting, &format!("{token}.{token}"), TokenError::Malformed);
}

#[test]
fn another_spelling_of_the_same_bytes_is_refused() {
    let key = p256();
    let trusting = trusting(&[key.jwk("a")]);
    let token = key.token("a", &claims());
    user(&trusting, &token).expect("canonical");
    // 64 bytes end in a character of which the last four bits say nothing.
    let last = token.chars().next_back().expect("a character");
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        if other != last {
            let spelled = format!("{}{other}", &token[..token.len() - 1]);
            user(&trusting, &spelled).expect_err("one spelling alone is taken");
        }
    }
    refused(&trusting, &format!("{token}=="), TokenError::Malformed);
    refused(
        &trusting,
        &token.replace('-', "+").replace('_', "/").replacen('.', "+.", 1),
        TokenError::Malformed,
    );
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let good = claims().to_string();
    let header = r#"{"alg":"EdDSA","kid":"a"}"#;
    user(&trusting, &key.signed_text(header, &good)).expect("without duplicates");
    let more = |text: &str| format!("{},{text}}}", &good[..good.len() - 1]);
    for claims in [
        more(r#""sub":"root""#),
        more(r#""exp":9999999999"#),
        more(r#""a":{"b":1,"b":2}"#),
        more(r#""\u0073ub":"root""#),
        format!("{good}{good}"),
        format!("{good}x"),
        format!("[{good}]"),
        format!("\u{feff}{good}"),
        "{}{}".into(),
        "null".into(),
        String::new(),
        "{".repeat(5000),
    ] {
        refused(&trusting, &key.signed_text(header, &claims), TokenError::Malformed);
    }
    for header in [
        r#"{"alg":"EdDSA","alg":"none","kid":"a"}"#,
        r#"{"alg":"none","alg":"EdDSA","kid":"a"}"#,
        r#"{"alg":"EdDSA","kid":"b","kid":"a"}"#,
        r#"["EdDSA"]"#,
        "",
    ] {
        refused(&trusting, &key.signed_text(header, &good), TokenError::Malformed);
    }
}

#[test]
fn a_huge_token_is_refused_before_it_is_looked_at() {
    let key = ed25519();
    let trusting = trusting(&[key.jwk("a")]);
    let filled = |length: usize| key.token("a", &claims_but(json!({"filler": "x".repeat(length)})));
    user(&trusting, &filled(8_000)).expect("a large token");
    refused(&trusting, &filled(16_000), TokenError::TooLong);
    refused(&trusting, &".".repeat(MOST_TOKEN + 1), TokenError::TooLong);
    refused(&trusting, &"x".repeat(10_000_000), TokenError::TooLong);
    let header = json!({"alg": "EdDSA", "kid": "a", "x5c": ["x".repeat(4_000)]});
    refused(&trusting, &key.signed(&header, &claims()), TokenError::TooLong);
}

#[test]
fn a_token_that_names_no_key_is_tried_with_few() {
    let keys: Vec<Signer> = (0..5).map(|_| ed25519()).collect();
    let jwks: Vec<Value> = keys.iter().map(|key| key.jwk("x")).collect();
    let token = keys[3].signed(&json!({"alg": "EdDSA"}), &claims());
    user(&trusting(&jwks[..4]), &token).expect("one of four");
    refused(&trusting(&jwks[..3]), &token, TokenError::Signature);
    refused(&trusting(&jwks), &token, TokenError::AmbiguousKey);
    // Keys without a name count for every token that names none of the others.
    let mut nameless = keys[3].jwk("x");
    nameless.as_object_mut().expect("an object").remove("kid");
    let named = trusting(&[jwks[0].clone(), nameless]);
    user(&named, &keys[3].token("anything", &claims())).expect("the key without a name");
    refused(&named, &keys[3].token("x", &claims()), TokenError::Signature);
}

#[test]
fn without_the_issuers_keys_nobody_is_a_user() {
    let key = ed25519();
    let (rules, ring) = fetched(&[key.jwk("a")]);
    let token = key.token("a", &claims());
    user_at(&rules, &ring, &token, NOW).expect("by a fetched key");
    refused(&rules, &token, TokenError::KeysUnavailable);
    // What no key could mend is said at once.
    refused(&rules, &key.token("a", &claims_but(json!({"exp": 1}))), TokenError::Expired);
    let unnamed = ed25519().signed(&json!({"alg": "EdDSA"}), &claims());
    assert_eq!(
        user_at(&rules, &ring, &unnamed, NOW),
        Err(TokenError::UnknownKey),
        "a new key could be meant"
    );
}
