//! What holds of tokens and key sets whatever comes, for the fuzzer to break.
//!
//! Entry point: [`token`]. Panics where something does not hold. The fuzzer cannot sign, so that what it makes up of
//! claims is signed here; what it makes up of a whole token must never be taken.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::{
    Authentication, AuthenticationIndex, KeyRing, KeySet, RequestAuthentication, locate::locate,
    verify::verify_text,
};
use crate::policy::{PolicyKey, Target};

/// Unix time, in seconds, in this world.
const NOW: u64 = 1_800_000_000;

/// Seconds that clocks may differ, and then some.
const LEEWAY: u64 = 300;

/// The first byte says what the others are: `k` a key set, `c` claims, `h` a header and claims on two lines, `a` the
/// value of `authorization`; anything else is a token.
pub(crate) fn token(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind {
        b'k' => {
            // A set that is taken has a key in it.
            assert!(KeySet::parse(rest).map_or(true, |keys| !keys.is_empty()));
        }
        b'c' => signed(br#"{"alg":"EdDSA","kid":"ed","typ":"JWT"}"#, rest),
        b'h' => {
            let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let (header, claims) = rest.split_at(line);
            signed(header, claims.get(1..).unwrap_or_default());
        }
        b'a' => {
            let text = String::from_utf8_lossy(rest);
            let pairs = [("authorization".into(), text.clone()), ("cookie".into(), text)];
            if let Ok(Some(found)) = locate(world().1.as_ref(), &pairs) {
                unsigned(found.token);
            }
        }
        _ => unsigned(&String::from_utf8_lossy(bytes)),
    }
}

/// An issuer's key, and the rules that trust it, and two others whose private halves nobody here has (RFC 7515 §A.2,
/// §A.3).
fn world() -> &'static (Ed25519KeyPair, Arc<Authentication>) {
    static WORLD: OnceLock<(Ed25519KeyPair, Arc<Authentication>)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a seed");
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
                 T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB\
                 dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\
                 GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let keys = json!([
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x},
            {"kty": "RSA", "kid": "rsa", "n": n, "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
             "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        ]);
        let spec = json!({"issuers": [{"issuer": "https://id.example.com", "audiences": ["shop"],
            "jwks": {"inline": {"keys": keys}}, "from": [{"header": "authorization"}, {"cookie": "s"}]}]});
        let object = RequestAuthentication::parse(PolicyKey::new("shop", "users"), spec).expect("a good object");
        let mut index = AuthenticationIndex::new("weir-system");
        index.insert(Arc::new(object));
        let labels = Default::default();
        (key, index.select(&Target { namespace: "shop", labels: &labels, services: &[] }))
    })
}

/// What the issuer signed is taken only if it says of whom it is, for whom, and until when.
fn signed(header: &[u8], claims: &[u8]) {
    let (key, rules) = world();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes())));
    let Ok(verified) = verify_text(&token, rules, &KeyRing::default(), NOW) else { return };
    assert!(verified.valid_until >= NOW, "it is over");
    let claims: serde_json::Value = serde_json::from_slice(claims).expect("what was taken is JSON");
    let header: serde_json::Value = serde_json::from_slice(header).expect("what was taken is JSON");
    assert_eq!(claims["iss"], "https://id.example.com");
    assert_eq!(header["alg"], "EdDSA");
    let for_shop = |audience: &serde_json::Value| audience == "shop";
    assert!(
        for_shop(&claims["aud"]) || claims["aud"].as_array().is_some_and(|all| all.iter().any(for_shop)),
        "it is for somebody else"
    );
    assert!(claims["nbf"].as_f64().is_none_or(|from| from <= (NOW + LEEWAY) as f64), "it is early");
    assert!(claims["exp"].as_f64().is_some_and(|until| until + LEEWAY as f64 >= NOW as f64), "it is late");
    // The same token a byte off is nobody's.
    let broken = format!("{message}.A{}", URL_SAFE_NO_PAD.encode(key.sign(b"another message")));
    unsigned(&broken);
}

/// Nobody signed it.
fn unsigned(token: &str) {
    let taken = verify_text(token, &world().1, &KeyRing::default(), NOW);
    assert!(taken.is_err(), "taken without a signature: {token}");
}
