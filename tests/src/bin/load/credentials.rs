//! What proves who one is: certificates for a pair of proxies that are measured beside the mesh, and users' tokens.
//!
//! Entry points: [`certificates`], [`tokens`]. For one run on one machine: keys are written to files and nothing
//! is ever withdrawn.

use std::{fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

/// How long a token is good, in seconds: longer than any run.
const LIFETIME: u64 = 24 * 3600;
/// Names the issuer's only key.
const KEY: &str = "bench";

/// A new CA, and for each `NAME=URI` a certificate of it that a server and a client may show. All are P-256 and
/// PEM, in `dir`.
pub(crate) fn certificates(dir: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&key)?;
    fs::write(dir.join("ca.pem"), root.pem())?;
    let issuer = Issuer::new(params, key);
    for name in names {
        let (name, uri) = name.split_once('=').context("NAME=URI")?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

/// Prints `{"jwks": …, "tokens": […]}`: RS256, which most issuers use, with a key of 2048 bits.
pub(crate) fn tokens(issuer: &str, audience: &str, count: usize) -> Result<()> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let public = key.public_key();
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({
        "kty": "RSA", "kid": KEY, "use": "sig", "alg": "RS256",
        "n": part(public.modulus().big_endian_without_leading_zero()),
        "e": part(public.exponent().big_endian_without_leading_zero()),
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let token = |number: usize| -> Result<Value> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": KEY});
        let claims = json!({
            "iss": issuer, "aud": [audience], "sub": format!("user-{number}"), "iat": now, "exp": now + LIFETIME,
            "groups": ["staff", "readers"], "scope": "read write",
        });
        let signed =
            format!("{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", part(&signature)).into())
    };
    let tokens = (0..count).map(token).collect::<Result<Vec<_>>>()?;
    println!("{}", json!({"jwks": {"keys": [jwk]}, "tokens": tokens}));
    Ok(())
}
