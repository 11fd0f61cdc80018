//! What goes into a slice comes out of it, and what makes no sense is named.

use std::net::Ipv4Addr;

use serde_json::json;

use super::*;

fn pod(name: &str, owner: &str, address: u8) -> Pod {
    let annotations = [
        ("weir.dev/mesh".to_owned(), "enabled".to_owned()),
        ("weir.dev/mtls".into(), "strict".into()),
        ("weir.dev/skip-inbound-ports".into(), "22,8081".into()),
        ("weir.dev/skip-outbound-ports".into(), String::new()),
        ("weir.dev/skip-outbound-cidrs".into(), "10.0.0.0/8,fd00::/8".into()),
    ];
    Pod {
        key: NamespacedName::new("shop", name),
        uid: format!("uid-{name}").into(),
        kubelet_uid: format!("kubelet-{name}").into(),
        owner: owner.into(),
        owner_kind: if owner == name { "pod" } else { "deployment" },
        node: "node-1".into(),
        service_account: "cart".into(),
        labels: Arc::new([("app".to_owned(), "cart".to_owned())].into()),
        addresses: [Ipv4Addr::new(10, 0, 0, address).into(), "fd00::1".parse().expect("an address")].into(),
        host_network: false,
        finished: false,
        ready: true,
        named_ports: [("http".into(), 8080)].into(),
        probe_ports: vec![8080],
        settings: MeshSettings::parse(Carrier::Pod, &annotations.into()).expect("right").shared(),
        sliced: false,
    }
}

#[test]
fn what_goes_in_comes_out_and_what_is_alike_is_said_once() {
    let pods = ["cart-1", "cart-2", "lone"].map(|name| {
        let owner = if name == "lone" { name } else { "cart" };
        face(&pod(name, owner, 1)).expect("on a node, with addresses")
    });
    let spec = pack("shop", &pods);
    assert_eq!(spec.groups.len(), 2, "{spec:?}");
    let value = serde_json::to_value(&spec).expect("JSON");
    let read: WorkloadSliceSpec = serde_json::from_value(value).expect("a spec");
    let mut out: Vec<Pod> = read.pods().expect("pods").iter().map(|pod| (**pod).clone()).collect();
    out.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(out, pods);
    assert!(out.iter().all(|pod| pod.sliced && pod.probe_ports.is_empty() && pod.kubelet_uid == pod.uid));
}

#[test]
fn who_has_no_place_in_the_network_of_pods_has_none_in_a_slice() {
    let good = pod("a", "a", 1);
    assert!(face(&good).is_some());
    for bad in [
        Pod { host_network: true, ..good.clone() },
        Pod { finished: true, ..good.clone() },
        Pod { addresses: Arc::default(), ..good.clone() },
        Pod { node: "".into(), ..good.clone() },
    ] {
        assert_eq!(face(&bad), None);
    }
}

#[test]
fn what_makes_no_sense_is_named_with_its_field() {
    let group = |more: serde_json::Value| {
        let mut group = json!({
            "serviceAccount": "cart", "ownerKind": "pod", "labels": {},
            "pods": [{"name": "a", "uid": "u", "node": "n", "addresses": ["10.0.0.1"]}],
        });
        let (fields, more) =
            (group.as_object_mut().expect("fields"), more.as_object().expect("fields").clone());
        fields.extend(more);
        json!({"namespace": "shop", "groups": [group]})
    };
    let wrong = |more: serde_json::Value| {
        let spec: WorkloadSliceSpec = serde_json::from_value(group(more)).expect("its shape is right");
        let errors = spec.pods().expect_err("wrong");
        (errors[0].field.clone(), errors[0].value.clone())
    };
    assert_eq!(wrong(json!({"ownerKind": "x"})), ("spec.groups[0].ownerKind".into(), "x".into()));
    let (field, value) = wrong(json!({"annotations": {"weir.dev/mtls": "perhaps"}}));
    assert_eq!(
        (field.as_str(), value.as_str()),
        (r#"spec.groups[0].annotations["weir.dev/mtls"]"#, "perhaps")
    );
    let nameless = json!([{"name": "", "uid": "u", "node": "n", "addresses": []}]);
    assert_eq!(wrong(json!({"pods": nameless})).0, "spec.groups[0].pods[0].name");
}
