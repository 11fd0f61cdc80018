//! Issuers that are made up on the spot: keys, key sets, tokens, rules.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    policy::{PolicyKey, Target},
    users::{
        Authentication, AuthenticationIndex, KeyRing, KeySet, RequestAuthentication, TokenError, Verified,
        locate::{Located, locate},
        verify::verify,
    },
};

/// The time of all these tests, in Unix seconds.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://id.example.com";

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer's key.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A key of each type, made once: RSA's take a while.
pub(super) fn rsa() -> &'static Signer {
    static KEY: OnceLock<Signer> = OnceLock::new();
    KEY.get_or_init(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
}

pub(super) fn p256() -> Signer {
    Signer::P256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
}

pub(super) fn p384() -> Signer {
    Signer::P384(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"))
}

pub(super) fn ed25519() -> Signer {
    Signer::Ed(Ed25519KeyPair::generate().expect("a key"))
}

impl Signer {
    /// The algorithm that its tokens usually name.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Signer::Rsa(_) => "RS256",
            Signer::P256(_) => "ES256",
            Signer::P384(_) => "ES384",
            Signer::Ed(_) => "EdDSA",
        }
    }

    /// Its public key's bytes: DER for RSA, a point for the others.
    pub(super) fn public(&self) -> &[u8] {
        match self {
            Signer::Rsa(key) => key.public_key().as_ref(),
            Signer::P256(key) | Signer::P384(key) => key.public_key().as_ref(),
            Signer::Ed(key) => key.public_key().as_ref(),
        }
    }

    /// Its public key as its issuer publishes it.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let public = self.public();
        let (curve, half) = match self {
            // An RSAPublicKey of 2048 bits and the exponent 65537: the modulus begins at its tenth byte.
            Signer::Rsa(_) => {
                let n = base64(&public[9..265]);
                return json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": "AQAB"});
            }
            Signer::Ed(_) => {
                return json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(public)});
            }
            Signer::P256(_) => ("P-256", 32),
            Signer::P384(_) => ("P-384", 48),
        };
        let (x, y) = (base64(&public[1..=half]), base64(&public[1 + half..]));
        json!({"kty": "EC", "crv": curve, "kid": kid, "x": x, "y": y})
    }

    pub(super) fn sign(&self, algorithm: &str, message: &str) -> Vec<u8> {
        let (random, message) = (SystemRandom::new(), message.as_bytes());
        match self {
            Signer::Rsa(key) => {
                let how: &dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(how, &random, message, &mut signature).expect("a signature");
                signature
            }
            Signer::P256(key) | Signer::P384(key) => {
                key.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Signer::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, signed as its `alg` says.
    pub(super) fn signed(&self, header: &Value, claims: &Value) -> String {
        self.signed_text(&header.to_string(), &claims.to_string())
    }

    /// The same of texts that may be no JSON.
    pub(super) fn signed_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let algorithm: Value = serde_json::from_str(header).unwrap_or_default();
        let signature = self.sign(algorithm["alg"].as_str().unwrap_or_default(), &message);
        format!("{message}.{}", base64(signature))
    }

    /// A good token with these claims, by the key `kid`.
    pub(super) fn token(&self, kid: &str, claims: &Value) -> String {
        self.signed(&json!({"alg": self.algorithm(), "kid": kid, "typ": "JWT"}), claims)
    }
}

/// Claims that are taken: for the audience `shop`, valid from a minute ago for an hour.
pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "shop", "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 3600})
}

/// [`claims`] with others in place of them, or taken out where these are null.
pub(super) fn claims_but(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => _ = all.as_object_mut().expect("an object").remove(name),
            value => all[name] = value.clone(),
        }
    }
    all
}

/// An object named `key` with this spec.
pub(super) fn object(key: &str, spec: Value) -> RequestAuthentication {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    RequestAuthentication::parse(PolicyKey::new(namespace, name), spec).expect("a good object")
}

/// One issuer with these keys inline, and what `more` says.
pub(super) fn issuer(keys: &[Value], more: Value) -> Value {
    let mut spec = json!({"issuer": ISSUER, "audiences": ["shop"], "jwks": {"inline": {"keys": keys}}});
    for (field, value) in more.as_object().expect("an object") {
        spec[field] = value.clone();
    }
    spec
}

pub(super) fn index(objects: Vec<RequestAuthentication>) -> AuthenticationIndex {
    let mut index = AuthenticationIndex::new("weir-system");
    objects.into_iter().for_each(|object| index.insert(Arc::new(object)));
    index
}

/// What a workload of the namespace `shop` asks that these issuers of one object select.
pub(super) fn rules(issuers: Vec<Value>) -> Arc<Authentication> {
    let labels = Default::default();
    let target = Target { namespace: "shop", labels: &labels, services: &[] };
    index(vec![object("shop/users", json!({"issuers": issuers}))]).select(&target)
}

/// The rules of one issuer whose keys are these.
pub(super) fn trusting(keys: &[Value]) -> Arc<Authentication> {
    rules(vec![issuer(keys, json!({}))])
}

/// One issuer whose keys are fetched, and the ring in which they are these.
pub(super) fn fetched(keys: &[Value]) -> (Arc<Authentication>, KeyRing) {
    let more = json!({"jwks": {"uri": "https://id.example.com/keys"}});
    let rules = rules(vec![issuer(&[], more)]);
    let source = rules.sources().next().expect("a source").id();
    (rules, KeyRing::new([(source, Arc::new(key_set(keys)))]))
}

pub(super) fn key_set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).expect("a key set")
}

/// A request's headers.
pub(super) type Pairs = Vec<(Cow<'static, str>, Cow<'static, str>)>;

pub(super) fn headers(pairs: &[(&'static str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).into(), value.to_string().into())).collect()
}

pub(super) fn bearer(token: &str) -> Pairs {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

/// Where `rules` find the token of a request.
pub(super) fn found<'a>(rules: &'a Authentication, headers: &'a Pairs) -> Located<'a> {
    locate(rules, headers).expect("not several").expect("a token")
}

/// What the bearer of `token` is now, by keys inline.
pub(super) fn user(rules: &Authentication, token: &str) -> Result<Arc<Verified>, TokenError> {
    user_at(rules, &KeyRing::default(), token, NOW)
}

pub(super) fn user_at(
    rules: &Authentication,
    ring: &KeyRing,
    token: &str,
    now: u64,
) -> Result<Arc<Verified>, TokenError> {
    let headers = bearer(token);
    let proof = verify(&found(rules, &headers), rules, ring, now);
    proof.map(|proof| proof.verified).map_err(|refused| refused.error)
}

/// Asserts that `token` is refused so.
#[track_caller]
pub(super) fn refused(rules: &Authentication, token: &str, error: TokenError) {
    assert_eq!(user(rules, token).map(|verified| verified.user.clone()), Err(error), "{token}");
}
