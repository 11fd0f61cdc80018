//! What the texts of a RequestAuthentication look like to an API server, and which of them do not go together.
//!
//! Entry points: the forms, as those of `policy::form`, and the rules. They say in OpenAPI's and CEL's words what
//! `compile`, `uri`, `forward` and `jwk` say in Rust. That a key is a point of its curve, or a certificate one, they
//! cannot say.

use serde_json::{Value, json};

use crate::policy::form::{TOKEN, duration, forms, rules, text};

pub(super) const OF_ISSUER: &[(&str, &str)] = &[(
    "!has(self.forwardClaims) || !has(self.from) || !self.forwardClaims.exists(claim, self.from.exists(place, \
     has(place.header) && place.header.lowerAscii() == claim.header.lowerAscii()))",
    "forwardClaims: the token itself is in this header",
)];
pub(super) const AUDIENCES: (&str, &str) = (
    "size(self) == 1 || self.all(audience, audience != '*')",
    "audiences: must be values of the claim aud, exactly; * stands alone",
);
pub(super) const LOCATIONS: (&str, &str) = (
    // Two prefixes of one header are two places; where none is given, authorization has one of its own.
    "self.all(a, self.exists_one(b, has(a.cookie) ? has(b.cookie) && b.cookie == a.cookie : \
     has(a.header) && has(b.header) && a.header.lowerAscii() == b.header.lowerAscii() && \
     (has(a.prefix) ? a.prefix : a.header.lowerAscii() == 'authorization' ? 'Bearer ' : '') == \
     (has(b.prefix) ? b.prefix : b.header.lowerAscii() == 'authorization' ? 'Bearer ' : '')))",
    "from: a place is in the list already",
);
pub(super) const FORWARDS: (&str, &str) = (
    "self.all(a, self.exists_one(b, a.header.lowerAscii() == b.header.lowerAscii()))",
    "forwardClaims: another claim is in this header",
);
pub(super) const OF_JWKS: &[(&str, &str)] = &[
    ("has(self.inline) || has(self.uri)", "the keys are needed: inline, or a uri"),
    ("!has(self.inline) || !has(self.uri)", "uri: inline and uri exclude each other"),
    ("!has(self.inline) || !has(self.refresh)", "refresh: is for a uri: keys inline are not fetched"),
    ("!has(self.ca) || (has(self.uri) && self.uri.startsWith('https://'))", "ca: is for a uri with https"),
];
pub(super) const OF_LOCATION: &[(&str, &str)] = &[
    ("has(self.header) || has(self.cookie)", "where is the token: in a header, or in a cookie"),
    ("!has(self.header) || !has(self.cookie)", "cookie: one place at a time: write two entries"),
    ("!has(self.prefix) || has(self.header)", "prefix: a prefix is for a header"),
];

forms! {
    /// `issuer`.
    Issuer: json!({
        "type": "string", "maxLength": 256, "pattern": r"^[^\x00-\x1f\x7f-\x{9f}]+$",
        "x-kubernetes-validations": rules(&[
            ("size(bytes(self)) <= 256", "must be the claim iss of its tokens, of at most 256 bytes"),
        ]),
    });
    /// One of `audiences`.
    Audience: json!({"type": "string", "minLength": 1, "maxLength": 2048});
    /// `clockLeeway`.
    Leeway: duration("0s", "10m");
    /// `jwks.refresh`.
    Refresh: duration("10s", "24h");
    /// `jwks.uri`.
    Uri: uri();
    /// `jwks.ca`.
    Certificates: text(65536, "-----BEGIN CERTIFICATE-----[\\r\\n]");
    /// `from[].header`.
    TokenHeader: json!({
        "type": "string", "maxLength": 256, "pattern": TOKEN, "not": {"pattern": "^(?i)(cookie|host|content-length)$"},
    });
    /// `from[].prefix`.
    Prefix: text(256, "^([!-~][ -~]*)?$");
    /// `from[].cookie`.
    Cookie: text(256, TOKEN);
    /// `forwardClaims[].claim`.
    Claim: json!({
        "type": "string", "minLength": 1, "maxLength": 256,
        "x-kubernetes-validations": rules(&[
            ("size(bytes(self)) <= 256", "must be the name of a claim, of at most 256 bytes"),
        ]),
    });
    /// `forwardClaims[].header`.
    ClaimHeader: json!({
        "type": "string", "maxLength": 128, "pattern": TOKEN,
        "not": {"pattern": format!("^(?i)({}|({}).*)$", super::forward::TAKEN.join("|"), super::forward::FAMILIES.join("|"))},
    });
    /// `jwks.inline`.
    KeySet: json!({
        "type": "object", "required": ["keys"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"keys": {
            "description": "The keys. Those for another purpose than verifying signatures are left out.",
            "type": "array", "minItems": 1, "maxItems": super::keys::MOST_KEYS, "items": key(),
            "x-kubernetes-validations": rules(&[(
                "self.exists(key, key.kty in ['RSA', 'EC', 'OKP'] && (!has(key.use) || key.use == 'sig') && \
                 (!has(key.key_ops) || 'verify' in key.key_ops))",
                "keys: has no key that could verify a token",
            )]),
        }},
    });
}

/// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2. Members that are not known are ignored.
fn key() -> Value {
    let member = |description: &str| json!({"description": description, "type": "string", "maxLength": 256});
    let number = |description: &str, most: u32| {
        json!({"description": description, "type": "string", "minLength": 1, "maxLength": most,
               "pattern": "^[A-Za-z0-9_-]+$"})
    };
    // A key that will not be used need not be good.
    let used = "(has(self.use) && self.use != 'sig') || (has(self.key_ops) && !('verify' in self.key_ops))";
    let of = |rule: &str| format!("{used} || {rule}");
    let rsa =
        of("self.kty != 'RSA' || (has(self.n) && size(self.n) >= 342 && has(self.e) && size(self.e) <= 8)");
    let ec = of(
        "self.kty != 'EC' || (has(self.crv) && (!(self.crv in ['P-256', 'P-384']) || (has(self.x) && \
                 has(self.y) && size(self.x) == (self.crv == 'P-256' ? 43 : 64) && size(self.y) == size(self.x))))",
    );
    let okp = of("self.kty != 'OKP' || (has(self.crv) && (self.crv != 'Ed25519' || \
                  (has(self.x) && size(self.x) == 43)))");
    json!({
        "type": "object", "required": ["kty"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "kty": {"description": "Type of the key: RSA, EC or OKP.", "type": "string", "maxLength": 256,
                    "not": {"enum": ["oct"]}},
            "kid": member("Name of the key, as tokens give it."),
            "use": member("sig, or left out."),
            "alg": member("The one algorithm that it verifies. Left out: any of its type."),
            "crv": member("Curve of the key: P-256 or P-384 for EC, Ed25519 for OKP."),
            "key_ops": {
                "description": "What it is for: has verify, or is left out.",
                "type": "array", "maxItems": 16, "items": {"type": "string", "maxLength": 64},
            },
            "n": number("Modulus of an RSA key, of 2048 to 8192 bits, in base64url.", 1400),
            "e": number("Exponent of an RSA key, in base64url.", 1400),
            "x": number("Coordinate of an EC or OKP key, in base64url.", 256),
            "y": number("Coordinate of an EC key, in base64url.", 256),
        },
        // Private and symmetric keys, whose members everybody who may read the object could read.
        "not": {"anyOf": super::jwk::SECRETS.map(|member| json!({"required": [member]}))},
        "x-kubernetes-validations": rules(&[
            (&rsa, "an RSA key has n, of 2048 to 8192 bits, and e, of at most 32"),
            (&ec, "an EC key has crv, and x and y as long as the curve's numbers (RFC 7518 §6.2.1.2)"),
            (&okp, "an OKP key has crv, and x of 32 bytes (RFC 8037 §2)"),
        ]),
    })
}

/// RFC 3986 §3, of the schemes that are taken, with no user and no fragment.
fn uri() -> Value {
    const PORT: &str = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]";
    const VISIBLE: &str = r"[!$-;=?-\[\]_a-z~%&]";
    let label = "[A-Za-z0-9_-]{1,63}";
    let host = format!(r"({label}(\.{label})*\.?|\[[0-9A-Fa-f:.]+\])");
    let pattern = format!(r"^(https?://{host}(:({PORT}))?([/?]{VISIBLE}*)?|file:///{VISIBLE}+)$");
    json!({
        "type": "string", "maxLength": 2048, "pattern": pattern,
        "not": {"pattern": "^https?://[^/?:]{254,}"},
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{duration::milliseconds, forward::header_name, uri::JwksUri},
        *,
    };
    use crate::policy::form::tests::{passes, texts_of};

    proptest! {
        #[test]
        fn what_a_form_lets_pass_its_parser_takes(
            uri in texts_of::<Uri>(), header in texts_of::<ClaimHeader>(), time in texts_of::<Leeway>(),
        ) {
            // What is between brackets is a rule's business.
            prop_assert!(uri.contains('[') || uri.parse::<JwksUri>().is_ok(), "{uri}");
            prop_assert!(header_name(&header).is_ok(), "{header}");
            prop_assert!(milliseconds(&time).is_ok(), "{time}");
        }

        #[test]
        fn a_uri_passes_when_its_parser_takes_it(uri in "(https|http|file|ftp)://(/|id|\\.|:80|:0|@|\\[::1\\]|#|\\?|%| ){0,5}") {
            prop_assert_eq!(passes::<Uri>(&uri), uri.parse::<JwksUri>().is_ok(), "{}", uri);
        }
    }

    #[test]
    fn a_header_with_a_meaning_of_its_own_does_not_pass() {
        for name in ["Host", "cookie", "X-Forwarded-For", "grpc-status", "a b", ""] {
            assert!(!passes::<ClaimHeader>(name), "{name}");
        }
        assert!(passes::<ClaimHeader>("weir-user-name") && passes::<ClaimHeader>("hostname"));
    }
}
