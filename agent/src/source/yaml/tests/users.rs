//! RequestAuthentication as a file has it.

use super::{Files, places, told};
use crate::source::lint;

const OBJECT: &str = "---
apiVersion: weir.dev/v1alpha1
kind: RequestAuthentication
metadata: {name: u, namespace: shop}
spec:
  issuers:
  - {issuer: me, audiences: [shop], jwks: {uri: 'https://id.example.com/keys'}}
";

#[test]
fn an_object_comes_changes_and_goes() {
    let (mut files, scan) = Files::with("a.yaml", OBJECT);
    assert_eq!((told(&scan), scan.problems), (vec!["+ RequestAuthentication shop/u".into()], vec![]));
    assert_eq!(told(&files.write("a.yaml", OBJECT)), [""; 0]);
    let scan = files.write("a.yaml", &OBJECT.replace("issuer: me", "issuer: you"));
    assert_eq!(told(&scan), ["+ RequestAuthentication shop/u"]);
    assert_eq!(told(&files.remove("a.yaml")), ["- RequestAuthentication shop/u"]);
}

#[test]
fn a_wrong_one_is_named_with_its_field_and_the_last_good_one_stays() {
    let (mut files, _) = Files::with("a.yaml", OBJECT);
    let object = || "RequestAuthentication shop/u".to_owned();
    for (from, to, field, value) in [
        ("audiences: [shop]", "audiences: []", "spec.issuers[0].audiences", "[]"),
        ("https://", "ftp://", "spec.issuers[0].jwks.uri", "ftp://id.example.com/keys"),
        ("spec:", "sepc: {}\nspec:", "sepc", "{}"),
        ("weir.dev/v1alpha1", "weir.dev/v1", "apiVersion", "weir.dev/v1"),
    ] {
        let scan = files.write("a.yaml", &OBJECT.replace(from, to));
        assert_eq!(places(&scan), [("a.yaml", object(), field, value)], "{to}");
        assert_eq!((told(&scan), files.in_force()), (vec![], vec![object()]));
    }
}

#[test]
fn lint_warns_of_what_may_surprise() {
    let found = lint::text("a.yaml", &OBJECT.replace("https://", "http://"));
    assert_eq!((found.objects, found.problems.len(), found.warnings.len()), (1, 0, 1));
    let warning = found.warnings[0].to_string();
    assert!(
        warning.starts_with("a.yaml: RequestAuthentication shop/u: spec.issuers[0].jwks.uri: "),
        "{warning}"
    );
}
