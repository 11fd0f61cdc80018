//! Which objects count for which workload, and what they come to together.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::fixtures::{claims, ed25519, index, issuer, object, refused, user};
use crate::{
    policy::{PolicyKey, Target},
    users::{Authentication, AuthenticationIndex, Reach, RequestAuthentication, TokenError},
};

/// An object that takes tokens of the issuer `name`, with more in its spec.
fn taking(key: &str, name: &str, more: Value) -> RequestAuthentication {
    let mut spec = json!({"issuers": [issuer(&[ed25519().jwk("a")], json!({"issuer": name}))]});
    for (field, value) in more.as_object().expect("an object") {
        spec[field] = value.clone();
    }
    object(key, spec)
}

fn select(index: &AuthenticationIndex, namespace: &str, app: &str, service: &str) -> Arc<Authentication> {
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    let services = [Arc::from(service)];
    index.select(&Target { namespace, labels: &labels, services: &services })
}

fn issuers(authentication: &Authentication) -> Vec<String> {
    authentication.rules().iter().map(|rule| rule.issuer.to_string()).collect()
}

#[test]
fn an_object_selects_its_namespace_or_by_label_or_by_service() {
    let index = index(vec![
        taking("shop/all", "all", json!({})),
        taking("shop/labelled", "labelled", json!({"selector": {"matchLabels": {"app": "pay"}}})),
        taking("shop/served", "served", json!({"targetRefs": [{"kind": "Service", "name": "pay"}]})),
        taking("shop-2/all", "other", json!({})),
        taking("a/all", "first", json!({})),
    ]);
    let selected = |namespace, app, service| issuers(&select(&index, namespace, app, service));
    assert_eq!(selected("shop", "cart", "cart"), ["all"]);
    assert_eq!(selected("shop", "pay", "cart"), ["all", "labelled"]);
    assert_eq!(selected("shop", "pay", "pay"), ["all", "labelled", "served"]);
    assert_eq!(selected("shop-2", "pay", "pay"), ["other"]);
    assert!(select(&index, "none", "pay", "pay").is_empty());
}

#[test]
fn an_object_of_the_root_namespace_selects_the_whole_mesh_but_by_service_only_its_own() {
    let index = index(vec![
        taking("weir-system/all", "all", json!({})),
        taking("weir-system/pay", "labelled", json!({"selector": {"matchLabels": {"app": "pay"}}})),
        taking("weir-system/served", "served", json!({"targetRefs": [{"kind": "Service", "name": "pay"}]})),
        taking("shop/all", "own", json!({})),
    ]);
    assert_eq!(issuers(&select(&index, "shop", "pay", "pay")), ["all", "labelled", "own"]);
    assert_eq!(issuers(&select(&index, "other", "cart", "pay")), ["all"]);
    assert_eq!(issuers(&select(&index, "weir-system", "cart", "pay")), ["all", "served"]);
}

#[test]
fn a_namespace_does_not_bring_its_own_keys_for_an_issuer_of_the_root_namespace() {
    let (platform, own) = (ed25519(), ed25519());
    let of_root = object("weir-system/a", json!({"issuers": [issuer(&[platform.jwk("a")], json!({}))]}));
    let forward = json!({"forwardClaims": [{"claim": "sub", "header": "x-user"}]});
    let of_shop = object("shop/a", json!({"issuers": [issuer(&[own.jwk("a")], forward)]}));
    let mut index = index(vec![of_root, of_shop]);
    let rules = select(&index, "shop", "pay", "pay");
    user(&rules, &platform.token("a", &claims())).expect("the platform's");
    refused(&rules, &own.token("a", &claims()), TokenError::Signature);
    assert!(rules.asserts("x-user"), "its app may trust the header, so no client may send it");
    index.remove(&PolicyKey::new("weir-system", "a"));
    user(&select(&index, "shop", "pay", "pay"), &own.token("a", &claims())).expect("nobody else's any more");
}

#[test]
fn only_an_object_of_the_root_namespace_reaches_the_node() {
    let keys = json!({"jwks": {"uri": "https://id.example.com/keys"}});
    let spec = json!({"issuers": [issuer(&[], keys)]});
    let index = index(vec![object("weir-system/a", spec.clone()), object("shop/a", spec)]);
    let source = |key: &PolicyKey| {
        let labels = BTreeMap::new();
        let mut alone = AuthenticationIndex::new("weir-system");
        alone.insert(index.object(key).expect("an object").clone());
        let selected = alone.select(&Target { namespace: &key.namespace, labels: &labels, services: &[] });
        selected.sources().next().expect("a source").clone()
    };
    let (root, own) = (source(&PolicyKey::new("weir-system", "a")), source(&PolicyKey::new("shop", "a")));
    assert_eq!((root.reach, own.reach), (Reach::Node, Reach::Network));
    assert_ne!(root.id(), own.id(), "what one may fetch is not given to the other");
}

#[test]
fn the_same_source_of_two_objects_is_fetched_once() {
    let keys = json!({"jwks": {"uri": "https://id.example.com/keys"}});
    let spec = |name: &str| {
        let mut spec = issuer(&[], keys.clone());
        spec["issuer"] = name.into();
        json!({"issuers": [spec]})
    };
    let index =
        index(vec![object("shop/a", spec("a")), object("shop/b", spec("b")), object("pay/a", spec("a"))]);
    let id = |namespace| {
        let rules = select(&index, namespace, "x", "x");
        rules.sources().map(|source| source.id()).collect::<Vec<_>>()
    };
    assert_eq!(id("shop")[0], id("shop")[1]);
    assert_eq!(id("shop")[0], id("pay")[0]);
}
