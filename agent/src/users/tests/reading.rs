//! What is refused in an object, and how its author learns of it.

use serde_json::{Value, json};

use super::fixtures::{ed25519, issuer, rsa};
use crate::{
    policy::{FieldError, PolicyKey, Scope},
    users::RequestAuthentication,
};

fn parsed(spec: Value) -> Result<RequestAuthentication, Vec<FieldError>> {
    RequestAuthentication::parse(PolicyKey::new("shop", "users"), spec)
}

/// One good issuer but for what `more` says.
fn with(more: Value) -> Value {
    json!({"issuers": [issuer(&[rsa().jwk("a")], more)]})
}

/// Asserts that `spec` has one mistake: at `field`, with `value`.
#[track_caller]
fn refused(spec: Value, field: &str, value: &str) {
    let errors = parsed(spec).expect_err("a wrong object");
    let places: Vec<_> = errors.iter().map(|error| (&*error.field, &*error.value)).collect();
    assert_eq!(places, [(field, value)], "{errors:?}");
    assert!(!errors[0].message.is_empty());
}

/// The fields that `spec` is warned of.
fn warned(spec: Value) -> Vec<String> {
    parsed(spec).expect("a good object").warnings().iter().map(|warning| warning.field.clone()).collect()
}

#[test]
fn the_whole_spec_is_read() {
    let pem =
        rcgen::generate_simple_self_signed(["id.example.com".to_owned()]).expect("a certificate").cert.pem();
    let object = parsed(json!({
        "selector": {"matchLabels": {"app": "payments"}},
        "issuers": [
            {
                "issuer": "https://id.example.com", "audiences": ["shop", "pay"], "clockLeeway": "1m30s",
                "jwks": {"uri": "https://id.example.com/keys", "ca": pem, "refresh": "10m"},
                "from": [{"header": "Authorization", "prefix": "Bearer "}, {"header": "x-token"}, {"cookie": "s"}],
                "forwardClaims": [{"claim": "sub", "header": "weir-user-subject"}],
            },
            {"issuer": "me", "audiences": ["*"], "jwks": {"inline": {"keys": [ed25519().jwk("a")]}}},
        ],
    }))
    .expect("a good object");
    assert!(matches!(object.scope(), Scope::Labels(labels) if labels.len() == 1));
    assert_eq!((object.issuers.len(), object.issuers[0].leeway, object.issuers[1].leeway), (2, 90, 60));
    let source = object.issuers[0].source().expect("a source");
    assert_eq!((source.uri().as_str(), source.refresh), ("https://id.example.com/keys", 600_000));
    let places: Vec<String> = object.issuers[0].locations.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["authorization: Bearer …", "x-token: …", "cookie s"]);
    let places: Vec<String> = object.issuers[1].locations.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["authorization: Bearer …"]);
}

#[test]
fn an_unknown_field_or_one_of_the_wrong_type_is_refused_wherever_it_stands() {
    refused(with(json!({"audience": "shop"})), "spec.issuers[0].audience", "\"shop\"");
    refused(with(json!({"issuer": 1})), "spec.issuers[0].issuer", "1");
    refused(with(json!({"audiences": "shop"})), "spec.issuers[0].audiences", "\"shop\"");
    refused(with(json!({"jwks": null})), "spec.issuers[0].jwks", "null");
    refused(with(json!({"from": null})), "spec.issuers[0].from", "null");
    refused(with(json!({"from": [{"headers": "x"}]})), "spec.issuers[0].from[0].headers", "\"x\"");
    refused(with(json!({"from": [[]]})), "spec.issuers[0].from[0]", "[]");
    refused(with(json!({"clockLeeway": 30})), "spec.issuers[0].clockLeeway", "30");
    refused(with(json!({"forwardClaims": {}})), "spec.issuers[0].forwardClaims", "{}");
    refused(json!({}), "spec.issuers", "[]");
    refused(json!({"issuers": []}), "spec.issuers", "[]");
    refused(json!({"issuers": null}), "spec.issuers", "null");
    refused(json!([]), "spec", "[]");
}

#[test]
fn an_issuer_says_who_it_is_for_whom_and_by_which_keys() {
    let keys = json!({"inline": {"keys": [rsa().jwk("a")]}});
    refused(with(json!({"issuer": ""})), "spec.issuers[0].issuer", "");
    refused(json!({"issuers": [{"audiences": ["a"], "jwks": keys}]}), "spec.issuers[0].issuer", "");
    refused(json!({"issuers": [{"issuer": "a", "jwks": keys}]}), "spec.issuers[0].audiences", "[]");
    refused(with(json!({"audiences": ["a", ""]})), "spec.issuers[0].audiences[1]", "");
    refused(with(json!({"audiences": ["*", "a"]})), "spec.issuers[0].audiences[0]", "*");
    refused(json!({"issuers": [{"issuer": "a", "audiences": ["a"]}]}), "spec.issuers[0].jwks", "absent");
    let twice = issuer(&[rsa().jwk("a")], json!({}));
    refused(json!({"issuers": [twice, twice]}), "spec.issuers[1].issuer", "https://id.example.com");
}

#[test]
fn a_key_set_is_inline_or_at_a_uri() {
    let jwks = |jwks: Value| with(json!({"jwks": jwks}));
    let keys = json!({"keys": [rsa().jwk("a")]});
    let uri = "https://id.example.com/keys";
    refused(jwks(json!({})), "spec.issuers[0].jwks", "{}");
    refused(jwks(json!({"inline": keys, "uri": uri})), "spec.issuers[0].jwks.uri", uri);
    refused(jwks(json!({"inline": keys, "refresh": "5m"})), "spec.issuers[0].jwks.refresh", "5m");
    refused(jwks(json!({"inline": keys, "ca": "x"})), "spec.issuers[0].jwks.ca", "x");
    refused(jwks(json!({"uri": "id.example.com/keys"})), "spec.issuers[0].jwks.uri", "id.example.com/keys");
    refused(jwks(json!({"uri": uri, "refresh": "1s"})), "spec.issuers[0].jwks.refresh", "1s");
    refused(jwks(json!({"uri": uri, "refresh": "25h"})), "spec.issuers[0].jwks.refresh", "25h");
    refused(jwks(json!({"uri": uri, "refresh": "soon"})), "spec.issuers[0].jwks.refresh", "soon");
    for ca in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        refused(
            jwks(json!({"uri": uri, "ca": ca})),
            "spec.issuers[0].jwks.ca",
            ca.lines().next().unwrap_or(""),
        );
    }
}

#[test]
fn a_key_at_fault_is_named_and_a_secret_is_not_shown() {
    let inline = |inline: Value| with(json!({"jwks": {"inline": inline}}));
    let path = "spec.issuers[0].jwks.inline";
    refused(inline(json!("{}")), path, "a text");
    refused(inline(json!({"keys": {}})), path, "an object");
    refused(inline(json!({"keys": []})), &format!("{path}.keys"), "no key");
    refused(inline(json!({"keys": ["secret"]})), &format!("{path}.keys[0]"), "a text");
    let good = rsa().jwk("a");
    let oct = json!({"keys": [good, {"kty": "oct", "k": "c2VjcmV0"}]});
    refused(inline(oct), &format!("{path}.keys[1].kty"), "\"oct\"");
    let mut private = good.clone();
    private["d"] = "c2VjcmV0".into();
    refused(inline(json!({"keys": [private]})), &format!("{path}.keys[0].d"), "not shown");
    let mut encrypting = good.clone();
    encrypting["use"] = "enc".into();
    refused(inline(json!({"keys": [encrypting]})), &format!("{path}.keys"), "no key");
    parsed(inline(json!({"keys": [encrypting, good]}))).expect("one of them is for signatures");
    refused(inline(json!({"keys": vec![good; 65]})), &format!("{path}.keys"), "65 entries");
}

#[test]
fn a_place_is_one_header_or_one_cookie() {
    let from = |from: Value| with(json!({"from": from}));
    let path = "spec.issuers[0].from";
    refused(from(json!([])), path, "[]");
    refused(from(json!([{}])), &format!("{path}[0]"), "{}");
    refused(from(json!([{"prefix": "x"}])), &format!("{path}[0].prefix"), "x");
    refused(from(json!([{"cookie": "a", "prefix": "x"}])), &format!("{path}[0].prefix"), "x");
    refused(from(json!([{"header": "a", "cookie": "b"}])), &format!("{path}[0].cookie"), "b");
    refused(from(json!([{"header": "a b"}])), &format!("{path}[0].header"), "a b");
    refused(from(json!([{"header": "Cookie"}])), &format!("{path}[0].header"), "Cookie");
    refused(from(json!([{"header": "a", "prefix": " x"}])), &format!("{path}[0].prefix"), " x");
    refused(from(json!([{"header": "a", "prefix": "x\n"}])), &format!("{path}[0].prefix"), "x\n");
    refused(from(json!([{"cookie": "a=b"}])), &format!("{path}[0].cookie"), "a=b");
    refused(from(json!([{"cookie": "a"}, {"cookie": "a"}])), &format!("{path}[1]"), "cookie a");
}

#[test]
fn a_forwarded_claim_has_a_header_of_its_own() {
    let forward = |forward: Value| with(json!({"forwardClaims": forward}));
    let path = "spec.issuers[0].forwardClaims";
    refused(forward(json!([{"header": "x-user"}])), &format!("{path}[0].claim"), "");
    refused(forward(json!([{"claim": "sub"}])), &format!("{path}[0].header"), "");
    for header in ["x user", "host", "X-Forwarded-For", "content-length", "traceparent", ":path"] {
        refused(forward(json!([{"claim": "sub", "header": header}])), &format!("{path}[0].header"), header);
    }
    let twice = json!([{"claim": "sub", "header": "x-user"}, {"claim": "name", "header": "X-User"}]);
    refused(forward(twice), &format!("{path}[1].header"), "X-User");
    let own = json!({
        "from": [{"header": "x-token"}], "forwardClaims": [{"claim": "sub", "header": "x-token"}]
    });
    refused(with(own), &format!("{path}[0].header"), "x-token");
}

#[test]
fn a_duration_is_one_of_the_gateway_api_and_within_bounds() {
    for leeway in ["", "30", "1d", "-1s", "11m", "1.5s"] {
        refused(with(json!({"clockLeeway": leeway})), "spec.issuers[0].clockLeeway", leeway);
    }
    let leeway = |text: &str| parsed(with(json!({"clockLeeway": text}))).expect("good").issuers[0].leeway;
    assert_eq!((leeway("0s"), leeway("30s"), leeway("10m")), (0, 30, 600));
}

#[test]
fn lists_are_bounded() {
    let issuers: Vec<Value> =
        (0..33).map(|at| issuer(&[rsa().jwk("a")], json!({"issuer": format!("i{at}")}))).collect();
    refused(json!({"issuers": issuers}), "spec.issuers", "33 entries");
    let from: Vec<Value> = (0..9).map(|at| json!({"cookie": format!("c{at}")})).collect();
    refused(with(json!({"from": from})), "spec.issuers[0].from", "9 entries");
    let forwards: Vec<Value> =
        (0..33).map(|at| json!({"claim": "a", "header": format!("weir-user-{at}")})).collect();
    refused(with(json!({"forwardClaims": forwards})), "spec.issuers[0].forwardClaims", "33 entries");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let errors = parsed(json!({
        "colour": "red", "selector": {"matchLabels": {}}, "targetRefs": [{"kind": "Pod", "name": "a"}],
        "issuers": [5, {"issuer": "", "jwks": {}, "from": [{}]}],
    }));
    let mut fields: Vec<String> = errors.expect_err("wrong").into_iter().map(|error| error.field).collect();
    fields.sort();
    let wanted = [
        "spec.colour",
        "spec.issuers[0]",
        "spec.issuers[1].audiences",
        "spec.issuers[1].from[0]",
        "spec.issuers[1].issuer",
        "spec.issuers[1].jwks",
        "spec.targetRefs",
    ];
    assert_eq!(fields, wanted);
}

#[test]
fn what_its_author_may_not_expect_is_warned_of() {
    assert_eq!(warned(with(json!({}))), [""; 0]);
    assert_eq!(warned(with(json!({"audiences": ["*"]}))), ["spec.issuers[0].audiences"]);
    for uri in ["http://id.example.com/keys", "file:///etc/keys"] {
        assert_eq!(warned(with(json!({"jwks": {"uri": uri}}))), ["spec.issuers[0].jwks.uri"]);
    }
    let forward = json!({"forwardClaims": [
        {"claim": "a", "header": "weir-user-a"}, {"claim": "b", "header": "x-b"}
    ]});
    assert_eq!(warned(with(forward)), ["spec.issuers[0].forwardClaims[1].header"]);
    let of_root = json!({"issuers": [issuer(&[], json!({"jwks": {"uri": "file:///etc/keys"}}))]});
    let of_root = RequestAuthentication::parse(PolicyKey::new("weir-system", "a"), of_root);
    assert_eq!(of_root.expect("good").warnings(), []);
}
