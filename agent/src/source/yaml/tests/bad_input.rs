//! Each kind of bad input: what is said of it, and what stays in force.

use super::{Files, places, pod, told};
use crate::source::MOST_PROBLEMS;

const POLICY: &str = "---\napiVersion: weir.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p, namespace: shop}\n\
                      spec: {rules: [{from: [{namespaces: [shop]}]}]}\n";

#[test]
fn a_half_written_file_leaves_its_objects_in_force_and_the_rest_is_applied() {
    let (mut files, _) = Files::with("a.yaml", &(pod("one", "") + &pod("two", "")));
    files.contents.insert("a.yaml".into(), Ok(pod("one", "spec: {nodeName: [")));
    let scan = files.write("b.yaml", &pod("three", ""));
    assert_eq!(told(&scan), ["+ Pod shop/three"]);
    assert_eq!(places(&scan), [("a.yaml", String::new(), "", "")]);
    assert!(scan.problems[0].message.starts_with("is not YAML: "), "{}", scan.problems[0]);
    assert_eq!(files.in_force(), ["Pod shop/one", "Pod shop/three", "Pod shop/two"]);

    let scan = files.write("a.yaml", &pod("one", ""));
    assert_eq!(told(&scan), ["- Pod shop/two"]);
    assert!(scan.problems.is_empty());
}

#[test]
fn what_is_not_yaml_or_cannot_be_read_is_reported_with_its_file() {
    for text in ["{", "\t- x", "a: b: c", "key: 1\nkey: 2\n", "\u{7}"] {
        let (_, scan) = Files::with("a.yaml", text);
        assert_eq!(places(&scan), [("a.yaml", String::new(), "", "")], "{text:?}");
    }
    let (mut files, _) = Files::with("a.yaml", &pod("one", ""));
    files.contents.insert("a.yaml".into(), Err("cannot be read: no such device".into()));
    let scan = files.scan();
    assert_eq!(scan.problems[0].message, "cannot be read: no such device");
    assert!(scan.events.is_empty());
}

#[test]
fn an_unknown_kind_is_reported_with_the_known_ones_and_the_rest_is_applied() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n".to_string() + &pod("one", "");
    let (_, scan) = Files::with("a.yaml", &text);
    assert_eq!(told(&scan), ["+ Pod shop/one"]);
    assert_eq!(places(&scan), [("a.yaml", String::new(), "kind", "Deployment")]);
    let message = &scan.problems[0].message;
    assert!(message.contains("AccessPolicy") && message.contains("document 1"), "{message}");
}

#[test]
fn a_kind_of_another_group_is_not_taken_for_the_meshs() {
    let (_, scan) = Files::with(
        "a.yaml",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x, namespace: shop}\n",
    );
    assert!(scan.events.is_empty());
    assert_eq!(places(&scan), [("a.yaml", String::new(), "apiVersion", "serving.knative.dev/v1")]);
}

#[test]
fn another_version_of_a_known_kind_is_reported_for_that_object() {
    let (_, scan) = Files::with("a.yaml", &POLICY.replace("v1alpha1", "v1"));
    assert_eq!(places(&scan), [("a.yaml", "AccessPolicy shop/p".into(), "apiVersion", "weir.dev/v1")]);
}

#[test]
fn an_object_with_a_wrong_field_keeps_its_last_good_version() {
    for (bad, field, value) in [
        ("spec: {hostNetwork: 'yes'}", "spec.hostNetwork", "yes"),
        ("spec: {hostNetwrok: true}", "spec.hostNetwrok", "true"),
        ("spec: {serviceAccountName: No_Name}", "spec.serviceAccountName", "No_Name"),
        ("status: {podIPs: [{ip: 10.0.0.300}]}", "status.podIPs[0].ip", "10.0.0.300"),
        ("status: {podIP: 127.0.0.1}", "status.podIP", "127.0.0.1"),
        ("status: {phase: Runing}", "status.phase", "Runing"),
        (
            "spec: {containers: [{name: a, ports: [{containerPort: 70000}]}]}",
            "spec.containers[0].ports[0].containerPort",
            "70000",
        ),
    ] {
        let (mut files, _) = Files::with("a.yaml", &(pod("one", "spec: {nodeName: n}") + &pod("two", "")));
        let scan = files.write("a.yaml", &(pod("one", bad) + &pod("two", "spec: {nodeName: n}")));
        assert_eq!(told(&scan), ["+ Pod shop/two"], "{bad}");
        assert_eq!(places(&scan), [("a.yaml", "Pod shop/one".into(), field, value)]);
        assert_eq!(files.in_force(), ["Pod shop/one", "Pod shop/two"]);
    }
}

#[test]
fn a_bad_annotation_is_named_with_its_value_on_pods_and_namespaces() {
    let annotated = |kind: &str, annotation: &str| {
        format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: x, annotations: {{{annotation}}}}}\n")
    };
    let field = "metadata.annotations[\"weir.dev/mesh\"]";
    let (_, scan) = Files::with("a.yaml", &annotated("Pod", "weir.dev/mesh: 'on'"));
    assert_eq!(places(&scan), [("a.yaml", "Pod default/x".into(), field, "on")]);
    let (_, scan) = Files::with("a.yaml", &annotated("Namespace", "weir.dev/mesh: true"));
    assert_eq!(places(&scan), [("a.yaml", "Namespace x".into(), field, "true")]);
    let (_, scan) = Files::with("a.yaml", &annotated("Pod", "weir.dev/mlts: strict"));
    let field = "metadata.annotations[\"weir.dev/mlts\"]";
    assert_eq!(places(&scan), [("a.yaml", "Pod default/x".into(), field, "strict")]);
}

#[test]
fn everything_that_is_wrong_with_a_pod_is_said_at_once() {
    let (_, scan) =
        Files::with("a.yaml", &pod("one", "spec: {serviceAccountName: A}\nstatus: {phase: x, podIP: y}"));
    let fields: Vec<_> = places(&scan).into_iter().map(|(_, _, field, _)| field).collect();
    assert_eq!(fields, ["spec.serviceAccountName", "status.phase", "status.podIP"]);
}

#[test]
fn a_policy_with_a_wrong_field_keeps_its_last_good_version() {
    for (from, to, field, value) in [
        ("rules", "rule", "spec.rule", r#"[{"from":[{"namespaces":["shop"]}]}]"#),
        ("spec:", "sepc: {}\nspec:", "sepc", "{}"),
        ("namespace: shop", "namespace: shop, lables: {a: b}", "metadata.lables", r#"{"a":"b"}"#),
        ("[shop]", "[SHOP]", "spec.rules[0].from[0].namespaces[0]", "SHOP"),
        ("spec: {", "spec: {action: forbid, ", "spec.action", "\"forbid\""),
    ] {
        let (mut files, _) = Files::with("a.yaml", POLICY);
        let scan = files.write("a.yaml", &POLICY.replace(from, to));
        assert_eq!(places(&scan), [("a.yaml", "AccessPolicy shop/p".into(), field, value)], "{from}");
        assert!(scan.events.is_empty());
        assert_eq!(files.in_force(), ["AccessPolicy shop/p"]);
    }
}

#[test]
fn a_policy_without_a_spec_is_refused() {
    let text = POLICY.lines().filter(|line| !line.starts_with("spec")).collect::<Vec<_>>().join("\n");
    let (_, scan) = Files::with("a.yaml", &text);
    assert_eq!(places(&scan), [("a.yaml", "AccessPolicy shop/p".into(), "spec", "")]);
}

#[test]
fn two_objects_of_one_name_are_both_reported_and_the_one_in_force_stays() {
    let (mut files, _) = Files::with("a.yaml", &pod("one", ""));
    let scan = files.write("b.yaml", &pod("one", "spec: {nodeName: n}"));
    assert!(scan.events.is_empty());
    let of = |file| (file, "Pod shop/one".to_string(), "metadata.name", "one");
    assert_eq!(places(&scan), [of("a.yaml"), of("b.yaml")]);
    assert!(scan.problems[0].message.contains("is in b.yaml; the version of a.yaml stays in force"));

    // Whichever goes, the other is what counts from then on.
    let scan = files.remove("a.yaml");
    assert_eq!(told(&scan), ["+ Pod shop/one"]);
    assert!(scan.problems.is_empty());
}

#[test]
fn of_two_new_objects_of_one_name_neither_is_applied() {
    let (mut files, scan) = Files::with("a.yaml", &(pod("one", "") + &pod("one", "spec: {nodeName: n}")));
    assert!(scan.events.is_empty());
    assert_eq!(scan.problems.len(), 2);
    assert!(scan.problems[0].message.contains("none of them is in force"), "{}", scan.problems[0]);
    assert_eq!(told(&files.write("a.yaml", &pod("one", ""))), ["+ Pod shop/one"]);
}

#[test]
fn a_second_object_in_a_file_that_broke_since_still_counts() {
    let (mut files, _) = Files::with("a.yaml", &pod("one", ""));
    files.contents.insert("a.yaml".into(), Ok("{".into()));
    let scan = files.write("b.yaml", &pod("one", "spec: {nodeName: n}"));
    assert!(scan.events.is_empty());
    assert_eq!(scan.problems.len(), 3);
}

#[test]
fn an_object_whose_kind_or_name_is_misspelt_is_not_deleted() {
    for (from, to, field) in [
        ("kind: AccessPolicy", "kind: AccesPolicy", "kind"),
        ("kind: AccessPolicy\n", "", "kind"),
        ("name: p,", "name: P,", "metadata.name"),
        ("name: p,", "nmae: p,", "metadata.name"),
        ("namespace: shop", "namespace: [shop]", "metadata.namespace"),
        ("weir.dev/v1alpha1", "weir.io/v1alpha1", "apiVersion"),
    ] {
        let (mut files, _) = Files::with("a.yaml", &(POLICY.to_string() + &pod("gone", "")));
        let scan = files.write("a.yaml", &POLICY.replace(from, to));
        assert_eq!(places(&scan)[0].2, field);
        assert!(files.in_force().contains(&"AccessPolicy shop/p".into()), "{to}");
        // What cannot be the misspelt one is deleted.
        let nameless = field == "metadata.name";
        assert_eq!(files.in_force().contains(&"Pod shop/gone".into()), nameless, "{to}");
        files.write("a.yaml", "");
        assert!(files.in_force().is_empty());
    }
}

#[test]
fn names_are_those_of_kubernetes() {
    for name in ["A", "a_b", "-a", "'a b'", "a/b", "''"] {
        let (_, scan) = Files::with("a.yaml", &pod(name, ""));
        assert_eq!(places(&scan)[0].2, "metadata.name", "{name}");
        assert!(scan.events.is_empty());
    }
    let (_, scan) =
        Files::with("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n");
    assert_eq!(places(&scan), [("a.yaml", "Namespace a".into(), "metadata.namespace", "b")]);
}

#[test]
fn a_document_that_is_no_object_is_reported() {
    for text in ["just words", "- a\n- b\n", "42"] {
        let (_, scan) = Files::with("a.yaml", text);
        assert_eq!(scan.problems.len(), 1, "{text}");
        assert!(scan.problems[0].message.contains("is not an object"), "{}", scan.problems[0]);
    }
}

#[test]
fn problems_are_listed_up_to_a_bound_and_counted_beyond() {
    let text: String = (0..MOST_PROBLEMS + 7).map(|n| pod(&format!("p{n}"), "spec: {nope: 1}")).collect();
    let (_, scan) = Files::with("a.yaml", &text);
    assert_eq!(scan.problems.len(), MOST_PROBLEMS);
    assert_eq!(scan.problems_left_out, 7);
}

#[test]
fn no_text_makes_the_reader_panic() {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "apiVersion: v1\n",
        "kind: Pod\n",
        "kind: List\n",
        "items:\n",
        "- ",
        "metadata:\n",
        "  name: a\n",
        "{",
        "}",
        "[",
        "]",
        "---\n",
        "&a ",
        "*a",
        "<<: ",
        "!!binary ",
        "!t ",
        "\"",
        ": ",
        "\n",
        "  ",
        "~",
        "0x7",
        ".nan",
        "ä",
        "\0",
        "|\n",
        "? ",
    ]);
    proptest!(|(text in prop::collection::vec(words, 0..40).prop_map(|words| words.concat()))| {
        Files::with("a.yaml", &text);
    });
}
