//! An issuer of tokens, for pods that say on whose behalf they ask.
//!
//! Entry point: [`Issuer::new`], whose key is made on the spot and kept nowhere.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// One issuer with one key.
#[derive(Debug)]
pub struct Issuer {
    name: String,
    kid: String,
    key: Ed25519KeyPair,
}

impl Issuer {
    /// The issuer `name`, whose key has the id `kid`.
    pub fn new(name: &str, kid: &str) -> Result<Self> {
        let key = Ed25519KeyPair::generate().ok().context("no key")?;
        Ok(Self { name: name.into(), kid: kid.into(), key })
    }

    /// The issuer `name` with the key of RFC 8037, appendix A, which documentation uses.
    pub fn of_the_examples(name: &str, kid: &str) -> Result<Self> {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")?;
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("no key")?;
        Ok(Self { name: name.into(), kid: kid.into(), key })
    }

    /// Its keys as it publishes them (RFC 7517).
    pub fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x}]})
    }

    /// A token for `audience` about `subject`, valid for an hour, with more claims.
    pub fn token(&self, audience: &str, subject: &str, more: Value) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut claims = json!({"iss": self.name, "aud": audience, "sub": subject, "exp": now + 3600});
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let header = json!({"alg": "EdDSA", "kid": self.kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }
}
