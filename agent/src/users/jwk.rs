//! One public key of an issuer (RFC 7517, RFC 7518 §6, RFC 8037).
//!
//! Entry point: [`Key::parse`]. A key knows which algorithms it is for, and verifies nothing else. Private
//! and symmetric keys are refused: what everybody can read proves nothing.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use serde_json::Value;

use super::{
    algorithm::{Algorithm, KeyKind},
    json::base64url,
};

/// The members that only a private or a symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4).
pub(super) const SECRETS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key that signatures can be verified with.
pub(super) struct Key {
    id: Option<Box<str>>,
    kind: KeyKind,
    /// The key's own numbers, by which two keys are compared.
    material: Box<[u8]>,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// Why something is not taken as a key. Has nothing of the key's value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// The member at fault; none for the key as a whole.
    pub(super) member: Option<&'static str>,
    /// What is wrong, and what would be right.
    pub(super) message: &'static str,
    /// It is a good key for another purpose, as many issuers publish beside their signing keys.
    pub(super) for_others: bool,
}

impl Key {
    /// Reads a key. Members that are not known are ignored, as RFC 7517 §4 asks.
    ///
    /// # Errors
    /// The first member at fault.
    pub(super) fn parse(jwk: &Value) -> Result<Key, Unfit> {
        if !jwk.is_object() {
            return Err(unfit(None, "a key is an object with kty, like those that an issuer publishes"));
        }
        let key = Members(jwk);
        let kty = key.text("kty")?.ok_or_else(|| unfit(Some("kty"), "is missing: RSA, EC or OKP"))?;
        if kty == "oct" {
            return Err(unfit(Some("kty"), "a symmetric key: who can verify with it can sign with it"));
        }
        if let Some(secret) = SECRETS.into_iter().find(|name| jwk.get(name).is_some()) {
            return Err(unfit(Some(secret), "a private key does not belong here: give its public part"));
        }
        if key.text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(other_purpose("use", "a key that is not for signatures (sig)"));
        }
        if key.operations()?.is_some_and(|operations| !operations.contains(&"verify")) {
            return Err(other_purpose("key_ops", "a key that is not for verifying (verify)"));
        }
        let (kind, verifiers, material) = match kty {
            "RSA" => key.rsa()?,
            "EC" => key.elliptic()?,
            "OKP" => key.edwards()?,
            _ => return Err(other_purpose("kty", "this type of key is not taken: RSA, EC or OKP")),
        };
        let id = key.text("kid")?.map(Box::from);
        Ok(Key { id, kind, material: material.into(), verifiers })
    }

    /// `kid`.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it is for `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether `signature` is this key's, by `algorithm`, of `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.verifiers.iter().find(|(own, _)| *own == algorithm);
        verifier.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }

    fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.kind == other.kind
            && self.material == other.material
            && self.algorithms().eq(other.algorithms())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

type Made = (KeyKind, Vec<(Algorithm, ParsedPublicKey)>, Vec<u8>);

/// The members of a key.
struct Members<'a>(&'a Value);

impl<'a> Members<'a> {
    fn text(&self, name: &'static str) -> Result<Option<&'a str>, Unfit> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(unfit(Some(name), "must be a text")),
        }
    }

    fn operations(&self) -> Result<Option<Vec<&'a str>>, Unfit> {
        let wrong = || unfit(Some("key_ops"), "must be a list of texts");
        let Some(given) = self.0.get("key_ops") else { return Ok(None) };
        let list = given.as_array().ok_or_else(wrong)?;
        list.iter().map(|item| item.as_str().ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
    }

    /// A member in base64url.
    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, Unfit> {
        let text = self.text(name)?.ok_or_else(|| unfit(Some(name), "is missing"))?;
        base64url(text).ok_or_else(|| unfit(Some(name), "must be base64url without padding"))
    }

    /// The algorithms of `kind` that the key's own `alg`, if it has one, leaves.
    fn algorithms(&self, kind: KeyKind) -> Result<Vec<Algorithm>, Unfit> {
        let all = kind.algorithms();
        let Some(name) = self.text("alg")? else { return Ok(all.into()) };
        match Algorithm::named(name).filter(|algorithm| all.contains(algorithm)) {
            Some(algorithm) => Ok(vec![algorithm]),
            None => Err(other_purpose("alg", "is not an algorithm that this type of key verifies with")),
        }
    }

    fn rsa(&self) -> Result<Made, Unfit> {
        let n = without_zeros(self.bytes("n")?);
        let e = without_zeros(self.bytes("e")?);
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(unfit(Some("n"), "an RSA key has 2048 to 8192 bits"));
        }
        // With the exponent 1 everything is a signature of itself.
        if e.len() > 4 || e.last().is_none_or(|byte| byte % 2 == 0) || e == [1] {
            return Err(unfit(Some("e"), "an RSA exponent is odd, 3 or more, and of at most 32 bits"));
        }
        let components = RsaPublicKeyComponents { n: &n, e: &e };
        let verifiers = self.algorithms(KeyKind::Rsa)?.into_iter().map(|algorithm| {
            let key = algorithm.rsa().and_then(|how| components.to_parsed_public_key(how).ok());
            key.map(|key| (algorithm, key)).ok_or_else(|| unfit(Some("n"), "is not an RSA key's"))
        });
        let verifiers = verifiers.collect::<Result<_, _>>()?;
        Ok((KeyKind::Rsa, verifiers, [n, e].concat()))
    }

    fn elliptic(&self) -> Result<Made, Unfit> {
        let (kind, length) = match self.text("crv")? {
            Some("P-256") => (KeyKind::P256, 32),
            Some("P-384") => (KeyKind::P384, 48),
            None => return Err(unfit(Some("crv"), "is missing: P-256 or P-384")),
            Some(_) => return Err(other_purpose("crv", "this curve is not taken: P-256 or P-384")),
        };
        let mut point = vec![4];
        for name in ["x", "y"] {
            let number = self.bytes(name)?;
            if number.len() != length {
                return Err(unfit(Some(name), "must be as long as the curve's numbers (RFC 7518 §6.2.1.2)"));
            }
            point.extend(number);
        }
        self.on_curve(kind, point, "is not a point of the curve")
    }

    fn edwards(&self) -> Result<Made, Unfit> {
        match self.text("crv")? {
            Some("Ed25519") => {}
            None => return Err(unfit(Some("crv"), "is missing: Ed25519")),
            Some(_) => return Err(other_purpose("crv", "this curve is not taken: Ed25519")),
        }
        let point = self.bytes("x")?;
        if point.len() != 32 {
            return Err(unfit(Some("x"), "must be 32 bytes long (RFC 8037 §2)"));
        }
        self.on_curve(KeyKind::Ed25519, point, "is not a point of the curve")
    }

    fn on_curve(&self, kind: KeyKind, point: Vec<u8>, message: &'static str) -> Result<Made, Unfit> {
        let verifiers = self.algorithms(kind)?.into_iter().map(|algorithm| {
            let key = algorithm.curve().and_then(|how| ParsedPublicKey::new(how, &point).ok());
            key.map(|key| (algorithm, key)).ok_or_else(|| unfit(Some("x"), message))
        });
        let verifiers = verifiers.collect::<Result<_, _>>()?;
        Ok((kind, verifiers, point))
    }
}

/// Some issuers write a zero byte in front (RFC 7518 §6.3.1.1 says not to): the number is the same.
fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

fn unfit(member: Option<&'static str>, message: &'static str) -> Unfit {
    Unfit { member, message, for_others: false }
}

fn other_purpose(member: &'static str, message: &'static str) -> Unfit {
    Unfit { member: Some(member), message, for_others: true }
}
