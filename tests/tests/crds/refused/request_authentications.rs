//! RequestAuthentications that are refused.
//!
//! Entry point: [`request_authentications`].

use serde_json::{Value, json};

use super::Bad;

pub(super) fn request_authentications() -> Vec<Bad> {
    let ed25519 = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let keys = "spec.issuers[0].jwks.inline.keys";
    let twice = json!({"issuers": [
        {"issuer": "a", "audiences": ["b"], "jwks": {"uri": "https://a"}},
        {"issuer": "a", "audiences": ["c"], "jwks": {"uri": "https://a"}},
    ]});
    let none = json!({"issuers": []});
    vec![
        Bad { kind: "RequestAuthentication", spec: none, field: "spec.issuers", says: "spec.issuers" },
        Bad { kind: "RequestAuthentication", spec: json!({}), field: "spec.issuers", says: "spec.issuers" },
        Bad {
            kind: "RequestAuthentication",
            spec: twice,
            field: "spec.issuers[1].issuer",
            says: "spec.issuers[1]",
        },
        issuer(json!({"issuer": ""}), "spec.issuers[0].issuer", "issuers[0].issuer"),
        issuer(json!({"issuer": "a\nb"}), "spec.issuers[0].issuer", "issuers[0].issuer"),
        issuer(json!({"issuer": "ä".repeat(129)}), "spec.issuers[0].issuer", "claim iss"),
        issuer(json!({"audiences": []}), "spec.issuers[0].audiences", "issuers[0].audiences"),
        issuer(json!({"audiences": [""]}), "spec.issuers[0].audiences[0]", "issuers[0].audiences[0]"),
        issuer(json!({"audiences": ["a", "*"]}), "spec.issuers[0].audiences[1]", "audiences"),
        issuer(json!({"jwks": null}), "spec.issuers[0].jwks", "issuers[0].jwks"),
        issuer(json!({"jwks": {}}), "spec.issuers[0].jwks", "inline, or a uri"),
        issuer(
            json!({"jwks": {"uri": "https://a", "inline": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": ed25519}]}}}),
            "spec.issuers[0].jwks.uri",
            "uri: inline and uri",
        ),
        issuer(json!({"jwks": {"uri": "ftp://a"}}), "spec.issuers[0].jwks.uri", "jwks.uri"),
        issuer(json!({"jwks": {"uri": "https://me@a/"}}), "spec.issuers[0].jwks.uri", "jwks.uri"),
        issuer(json!({"jwks": {"uri": "https://a:0/"}}), "spec.issuers[0].jwks.uri", "jwks.uri"),
        issuer(
            json!({"jwks": {"uri": "https://[1::2::3]/"}}),
            "spec.issuers[0].jwks.uri",
            "jwks.uri: has no good address",
        ),
        issuer(json!({"jwks": {"uri": "https://a", "ca": "no"}}), "spec.issuers[0].jwks.ca", "jwks.ca"),
        issuer(json!({"jwks": {"uri": "https://a", "ca": null}}), "spec.issuers[0].jwks.ca", "ca"),
        issuer(
            json!({"jwks": {"uri": "http://a", "ca": "-----BEGIN CERTIFICATE-----\n"}}),
            "spec.issuers[0].jwks.ca",
            "ca: is for a uri with https",
        ),
        issuer(
            json!({"jwks": {"uri": "https://a", "refresh": "5s"}}),
            "spec.issuers[0].jwks.refresh",
            "jwks.refresh",
        ),
        issuer(
            json!({"jwks": {"uri": "https://a", "refresh": "1d"}}),
            "spec.issuers[0].jwks.refresh",
            "jwks.refresh",
        ),
        issuer(json!({"clockLeeway": "11m"}), "spec.issuers[0].clockLeeway", "clockLeeway"),
        issuer(json!({"jwks": {"inline": {}}}), "spec.issuers[0].jwks.inline", "jwks.inline.keys"),
        issuer(json!({"jwks": {"inline": {"keys": []}}}), keys, "jwks.inline.keys"),
        key(
            json!({"crv": "Ed25519", "x": ed25519}),
            "spec.issuers[0].jwks.inline.keys[0].kty",
            "keys[0].kty",
        ),
        key(json!({"kty": "oct", "k": "AAAA"}), "spec.issuers[0].jwks.inline.keys[0].kty", "keys[0].kty"),
        key(
            json!({"kty": "OKP", "crv": "Ed25519", "x": ed25519, "d": "AAAA"}),
            "spec.issuers[0].jwks.inline.keys[0].d",
            "keys[0]",
        ),
        key(
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
            "spec.issuers[0].jwks.inline.keys[0].x",
            "x of 32 bytes",
        ),
        key(
            json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
            "spec.issuers[0].jwks.inline.keys[0].x",
            "x and y",
        ),
        key(
            json!({"kty": "RSA", "n": "AAAA", "e": "AQAB"}),
            "spec.issuers[0].jwks.inline.keys[0].n",
            "an RSA key has n",
        ),
        key(json!({"kty": "OKP", "crv": "Ed25519", "x": ed25519, "use": "enc"}), keys, "keys: has no key"),
        issuer(json!({"from": []}), "spec.issuers[0].from", "issuers[0].from"),
        issuer(json!({"from": null}), "spec.issuers[0].from", "from"),
        issuer(json!({"from": [{}]}), "spec.issuers[0].from[0]", "from[0]"),
        issuer(
            json!({"from": [{"prefix": "a", "cookie": "b"}]}),
            "spec.issuers[0].from[0].prefix",
            "prefix: a prefix is for a header",
        ),
        issuer(
            json!({"from": [{"header": "x-a", "cookie": "b"}]}),
            "spec.issuers[0].from[0].cookie",
            "cookie: one place at a time",
        ),
        issuer(json!({"from": [{"header": "Cookie"}]}), "spec.issuers[0].from[0].header", "from[0].header"),
        issuer(
            json!({"from": [{"header": "x-a", "prefix": " a"}]}),
            "spec.issuers[0].from[0].prefix",
            "from[0].prefix",
        ),
        issuer(json!({"from": [{"cookie": "a b"}]}), "spec.issuers[0].from[0].cookie", "from[0].cookie"),
        issuer(
            json!({"from": [{"header": "authorization"}, {"header": "Authorization", "prefix": "Bearer "}]}),
            "spec.issuers[0].from[1]",
            "from: a place is in the list already",
        ),
        issuer(
            json!({"forwardClaims": [{"claim": "", "header": "weir-user-a"}]}),
            "spec.issuers[0].forwardClaims[0].claim",
            "forwardClaims[0].claim",
        ),
        issuer(
            json!({"forwardClaims": [{"claim": "a", "header": "X-Forwarded-For"}]}),
            "spec.issuers[0].forwardClaims[0].header",
            "forwardClaims[0].header",
        ),
        issuer(
            json!({"forwardClaims": [{"claim": "a", "header": "x-a"}, {"claim": "b", "header": "X-A"}]}),
            "spec.issuers[0].forwardClaims[1].header",
            "forwardClaims: another claim",
        ),
        issuer(
            json!({"from": [{"header": "x-a"}], "forwardClaims": [{"claim": "a", "header": "X-A"}]}),
            "spec.issuers[0].forwardClaims[0].header",
            "forwardClaims: the token itself",
        ),
    ]
}

/// An issuer with these fields instead of its own.
fn issuer(other: Value, field: &'static str, says: &'static str) -> Bad {
    let mut issuer =
        json!({"issuer": "https://id", "audiences": ["shop"], "jwks": {"uri": "https://id/keys"}});
    for (name, value) in other.as_object().into_iter().flatten() {
        issuer[name] = value.clone();
    }
    Bad { kind: "RequestAuthentication", spec: json!({"issuers": [issuer]}), field, says }
}

/// A key inline.
fn key(key: Value, field: &'static str, says: &'static str) -> Bad {
    issuer(json!({"jwks": {"inline": {"keys": [key]}}}), field, says)
}
