//! What an install needs of a cluster, and how one that is there does.
//!
//! Entry point: [`run`]. It reads, and asks the API server what whoever asks may do; it changes nothing.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment},
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        core::v1::{ConfigMap, Namespace, Node},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};

use super::nodes::NodeRow;
use crate::{
    ca::trust::ROOTS,
    check::{Item, Report},
    source::kube::is_served,
    state::Kind,
};

/// The first minor version of Kubernetes 1 whose admission policies Weir's objects are guarded by.
const OLDEST: u32 = 30;
/// The first kernel that runs the programs, and the first on which they are tested; `weir check` on a node says more.
const KERNELS: [(u32, u32); 2] = [(5, 15), (6, 1)];
/// Others that take over pods' connections, by the name of their DaemonSet, and what to do.
const OTHERS: [(&str, &str); 5] = [
    ("ztunnel", "keep its namespaces and Weir's apart: a pod can be in one mesh only"),
    ("istio-cni-node", "keep its namespaces and Weir's apart: a pod can be in one mesh only"),
    ("linkerd-cni", "do not annotate namespaces whose pods have its sidecars"),
    ("kmesh", "keep its namespaces and Weir's apart: a pod can be in one mesh only"),
    ("cilium", "set socketLB.hostNamespaceOnly=true, or its connect hooks pick endpoints before Weir's"),
];

/// Looks at everything; `rows` are what agents said, none before an install.
pub(super) async fn run(client: &Client, namespace: &str, rows: &[NodeRow]) -> Report {
    let mut items = vec![api_server(client).await];
    items.extend(nodes(client).await);
    items.extend(others(client).await);
    items.push(rights(client).await);
    items.push(routes(client).await);
    let agents: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    match agents.get_opt("weir-agent").await {
        Ok(Some(agents)) => items.extend(installed(client, namespace, &agents, rows).await),
        Ok(None) => items.push(Item::ok("install", format!("there is none in {namespace} yet"))),
        Err(error) => items.push(Item::unknown("install", error.to_string())),
    }
    Report::new(items)
}

async fn api_server(client: &Client) -> Item {
    const NAME: &str = "API server";
    match client.apiserver_version().await {
        Err(error) => Item::fail(NAME, error.to_string(), "name a kubeconfig that works in KUBECONFIG"),
        Ok(version) => {
            let minor = version.minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>();
            match minor {
                Ok(minor) if version.major == "1" && minor < OLDEST => {
                    let remedy =
                        format!("upgrade to 1.{OLDEST}: below, nobody guards who may write which tier");
                    Item::warn(NAME, version.git_version, remedy)
                }
                _ => Item::ok(NAME, version.git_version),
            }
        }
    }
}

async fn nodes(client: &Client) -> Vec<Item> {
    let all = match Api::<Node>::all(client.clone()).list(&ListParams::default()).await {
        Ok(nodes) => nodes.items,
        Err(error) => return vec![Item::unknown("nodes", error.to_string())],
    };
    let info =
        |node: &Node| node.status.as_ref().and_then(|status| status.node_info.clone()).unwrap_or_default();
    let named = |wrong: &dyn Fn(&Node) -> Option<String>| -> Vec<String> {
        all.iter().filter_map(|node| Some(format!("{} ({})", node.name_any(), wrong(node)?))).collect()
    };
    let older_than = |wanted: (u32, u32)| {
        named(&|node| {
            let kernel = info(node).kernel_version;
            (version(&kernel)? < wanted).then_some(kernel)
        })
    };
    let [old, elderly] = KERNELS.map(older_than);
    let strange = named(&|node| {
        let runtime = info(node).container_runtime_version;
        let known = runtime.starts_with("containerd://") || runtime.starts_with("cri-o://");
        (!known).then_some(runtime)
    });
    let foreign = named(&|node| {
        let info = info(node);
        let known = info.operating_system == "linux" && matches!(&*info.architecture, "amd64" | "arm64");
        (!known).then(|| format!("{}/{}", info.operating_system, info.architecture))
    });
    let judge = |name: &'static str, wrong: Vec<String>, found: String, remedy: &str| match wrong.is_empty() {
        true => Item::ok(name, found),
        false => Item::fail(name, wrong.join(", "), remedy),
    };
    let count = all.len();
    let kernels = match (old.is_empty(), elderly.is_empty()) {
        (true, false) => Item::warn("kernels", elderly.join(", "), "Linux 6.1 or newer is recommended"),
        _ => judge("kernels", old, format!("{count} nodes have 6.1 or newer"), "upgrade these to Linux 6.1"),
    };
    vec![
        kernels,
        judge(
            "platforms",
            foreign,
            "linux on amd64 or arm64".into(),
            "leave these out with the DaemonSet's nodeSelector",
        ),
        match strange.is_empty() {
            true => Item::ok("runtimes", "containerd or CRI-O"),
            false => Item::warn("runtimes", strange.join(", "), "nobody has tried Weir with these"),
        },
    ]
}

/// `6.1.0-18-amd64` as its first two numbers.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

async fn others(client: &Client) -> Vec<Item> {
    let found = match Api::<DaemonSet>::all(client.clone()).list(&ListParams::default()).await {
        Ok(found) => found.items,
        Err(error) => return vec![Item::unknown("others", error.to_string())],
    };
    let mut items: Vec<Item> = OTHERS
        .iter()
        .filter_map(|(name, remedy)| {
            let other = found.iter().find(|set| set.name_any() == *name)?;
            let place = other.namespace().unwrap_or_default();
            Some(Item::warn("others", format!("{place}/{name} is installed"), *remedy))
        })
        .collect();
    let list = Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await;
    let in_two: Vec<String> =
        list.into_iter().flat_map(|list| list.items).filter(is_in_two).map(|of| of.name_any()).collect();
    if !in_two.is_empty() {
        let remedy = "take the label or the annotation away: a pod can be in one mesh only";
        items.push(Item::fail("others", format!("in two meshes: {}", in_two.join(", ")), remedy));
    }
    if items.is_empty() {
        items.push(Item::ok("others", "nobody else takes over pods' connections"));
    }
    items
}

fn is_in_two(namespace: &Namespace) -> bool {
    let labels = namespace.labels();
    let istio = labels.get("istio-injection").is_some_and(|value| value == "enabled")
        || labels.get("istio.io/dataplane-mode").is_some_and(|value| value == "ambient");
    let linkerd = namespace.annotations().get("linkerd.io/inject").is_some_and(|value| value == "enabled");
    let weir = namespace.annotations().get("weir.dev/mesh").is_some_and(|value| value == "enabled");
    weir && (istio || linkerd)
}

async fn rights(client: &Client) -> Item {
    const NEEDED: [(&str, &str); 6] = [
        ("", "namespaces"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ];
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for (group, resource) in NEEDED {
        let attributes = ResourceAttributes {
            group: Some(group.into()),
            resource: Some(resource.into()),
            verb: Some("create".into()),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { metadata: ObjectMeta::default(), spec, status: None };
        match api.create(&PostParams::default(), &review).await {
            Err(error) => return Item::unknown("rights", error.to_string()),
            Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => missing.push(resource),
        }
    }
    match missing.is_empty() {
        true => Item::ok("rights", "you may install"),
        false => {
            let found = format!("you may not create {}", missing.join(", "));
            Item::warn("rights", found, "have somebody install who may, such as cluster-admin")
        }
    }
}

async fn routes(client: &Client) -> Item {
    const NAME: &str = "Gateway API";
    match is_served(client, Kind::HttpRoute).await {
        Ok(true) => Item::ok(NAME, "HTTPRoutes are served"),
        Ok(false) => Item::warn(
            NAME,
            "it is not installed",
            "install its CRDs if you want routes; agents wait for them",
        ),
        Err(error) => Item::unknown(NAME, error.to_string()),
    }
}

async fn installed(client: &Client, namespace: &str, agents: &DaemonSet, rows: &[NodeRow]) -> Vec<Item> {
    let mut items = Vec::new();
    for kind in [Kind::AccessPolicy, Kind::RequestAuthentication, Kind::TrafficPolicy] {
        items.push(match is_served(client, kind).await {
            Ok(true) => Item::ok("objects", format!("{kind} is served")),
            Ok(false) => Item::fail("objects", format!("{kind} is not installed"), "apply deploy/crds"),
            Err(error) => Item::unknown("objects", error.to_string()),
        });
    }
    let status = agents.status.clone().unwrap_or_default();
    let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
    items.push(match ready == wanted {
        true => Item::ok("agents", format!("{ready} of {wanted} ready")),
        false => Item::fail("agents", format!("{ready} of {wanted} ready"), "weir status --kube says why"),
    });
    items.push(controller(client, namespace).await);
    items.push(roots(client, namespace).await);
    let own = env!("CARGO_PKG_VERSION");
    let skewed: Vec<String> = rows
        .iter()
        .filter(|row| row.failure.is_none() && row.version != own)
        .map(|row| format!("{} ({})", row.node, row.version))
        .collect();
    items.push(match skewed.is_empty() {
        true => Item::ok("versions", format!("all agents have {own}, as this command")),
        false => {
            Item::warn("versions", skewed.join(", "), format!("roll out {own}, or use the other command"))
        }
    });
    let outside: Vec<&str> = rows.iter().flat_map(|row| row.uncaptured.iter().map(String::as_str)).collect();
    items.push(match outside.is_empty() {
        true => Item::ok("pods", "every enrolled pod is captured"),
        false => Item::fail("pods", outside.join(", "), "weir status on that node says more"),
    });
    items
}

async fn controller(client: &Client, namespace: &str) -> Item {
    const NAME: &str = "controller";
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    match api.get_opt("weir-controller").await {
        Err(error) => Item::unknown(NAME, error.to_string()),
        Ok(None) => {
            Item::warn(NAME, "there is none", "agents need one unless they have an authority of their own")
        }
        Ok(Some(deployment)) => match deployment
            .status
            .and_then(|status| status.available_replicas)
            .unwrap_or(0)
        {
            0 => Item::fail(NAME, "none is available", "kubectl -n weir-system logs deploy/weir-controller"),
            1 => Item::warn(NAME, "one is available", "two of them outlive the loss of a node"),
            more => Item::ok(NAME, format!("{more} are available")),
        },
    }
}

async fn roots(client: &Client, namespace: &str) -> Item {
    const NAME: &str = "roots";
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = match api.get_opt("weir-ca-roots").await {
        Ok(map) => map,
        Err(error) => return Item::unknown(NAME, error.to_string()),
    };
    let text = map.and_then(|map| map.data?.remove(ROOTS)).unwrap_or_default();
    match text.matches("BEGIN CERTIFICATE").count() {
        0 => Item::fail(NAME, "none are published", "the controller's log says why"),
        1 => Item::ok(NAME, "one is trusted"),
        more => Item::ok(NAME, format!("{more} are trusted: they are being rotated")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_version_is_its_first_two_numbers() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert_eq!(version("6.18"), Some((6, 18)));
        assert_eq!(version("unknown"), None);
        assert!(version("6.10.1") > version("6.9"));
    }

    #[test]
    fn a_namespace_of_two_meshes_is_found() {
        let of = |label: &str, annotation: &str| -> Namespace {
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "name": "shop", "labels": {label: "enabled"}, "annotations": {annotation: "enabled"},
                },
            }))
            .expect("a namespace")
        };
        assert!(is_in_two(&of("istio-injection", "weir.dev/mesh")));
        assert!(!is_in_two(&of("istio-injection", "x")));
        assert!(!is_in_two(&of("x", "weir.dev/mesh")));
    }
}
