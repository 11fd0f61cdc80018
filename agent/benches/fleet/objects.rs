//! Objects of a cluster, as large as they are in one that is used.
//!
//! Entry points: one function for each word.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::sleep_until;
use weir_agent::{
    slices::{MOST_PODS, WorkloadSliceSpec, spec::pack},
    state::{input::Pod, model::NamespacedName},
};

/// Requests at one time.
const AT_ONCE: usize = 32;
/// Nodes over which pods are dealt out.
const NODES: usize = 1000;
/// Pods of a Deployment, where they are told of in slices, and so endpoints of its Service.
const REPLICAS: usize = 10;

fn api(
    client: &Client,
    api_version: &str,
    kind: &str,
    plural: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let of = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: api_version.into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &of),
        None => Api::all_with(client.clone(), &of),
    }
}

fn pods_of(client: &Client, namespace: &str) -> Api<DynamicObject> {
    api(client, "v1", "Pod", "pods", Some(namespace))
}

fn slices_of(client: &Client) -> Api<DynamicObject> {
    api(client, "weir.dev/v1alpha1", "WorkloadSlice", "workloadslices", Some("weir-system"))
}

async fn create(api: &Api<DynamicObject>, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

async fn namespaces(client: &Client, count: usize) -> Result<()> {
    let api = api(client, "v1", "Namespace", "namespaces", None);
    for number in 0..count {
        let metadata = json!({"name": format!("load-{number}"), "annotations": {"weir.dev/mesh": "enabled"}});
        create(&api, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await?;
    }
    Ok(())
}

fn address(number: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a40_0000 + number as u32).into()
}

/// What a Deployment's pod looks like that somebody wrote with care: three containers' worth of everything.
fn pod(namespace: &str, name: &str, number: usize) -> Value {
    let app = number / 20;
    let variables: Vec<Value> = (0..20)
        .map(|of| json!({"name": format!("SETTING_{of}"), "value": format!("the value of setting {of} of app-{app}")}))
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    let mount = json!([{"name": "config", "mountPath": "/etc/app"}, {"name": "tmp", "mountPath": "/tmp"}]);
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:v1.2.3"), "env": variables,
            "ports": [{"name": "http", "containerPort": 8080}], "livenessProbe": probe, "readinessProbe": probe,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": mount,
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": {
                "app": format!("app-{app}"), "pod-template-hash": "7d9f8b6c5d", "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/version": "1.2.3", "team": "checkout",
            },
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true, "uid": "0d4c6a5e-0000-4000-8000-000000000000",
                "name": format!("app-{app}-7d9f8b6c5d"),
            }],
        },
        "spec": {
            "nodeName": format!("node-{}", number % NODES), "serviceAccountName": format!("app-{app}"),
            "containers": [container("app"), container("helper")],
            "volumes": [{"name": "config", "configMap": {"name": "config"}}, {"name": "tmp", "emptyDir": {}}],
        },
    })
}

/// What its kubelet says of it, one after the other.
fn statuses(number: usize) -> [Value; 3] {
    let conditions = |ready: &str| {
        let kinds = ["PodReadyToStartContainers", "Initialized", "PodScheduled", "ContainersReady", "Ready"];
        let of = |kind: &str| {
            let status = if kind.ends_with("Ready") { ready } else { "True" };
            json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        kinds.map(of).to_vec()
    };
    let address = address(number);
    let (pending, running) = (conditions("False"), conditions("True"));
    [
        json!({"phase": "Pending", "conditions": pending}),
        json!({"phase": "Running", "conditions": pending, "podIP": address, "podIPs": [{"ip": address}]}),
        json!({"phase": "Running", "conditions": running, "podIP": address, "podIPs": [{"ip": address}]}),
    ]
}

async fn born(
    api: &Api<DynamicObject>,
    namespace: &str,
    name: &str,
    number: usize,
    told: usize,
) -> Result<()> {
    create(api, pod(namespace, name, number)).await?;
    for status in statuses(number).into_iter().skip(3 - told) {
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

fn took(began: Instant) {
    println!("{}", json!({"seconds": began.elapsed().as_secs_f64()}));
}

pub(super) async fn pods(client: &Client, count: usize, each: usize) -> Result<()> {
    let began = Instant::now();
    namespaces(client, count).await?;
    let all =
        stream::iter(0..count * each).map(|number| {
            let (client, namespace) = (client.clone(), format!("load-{}", number / each));
            async move {
                born(&pods_of(&client, &namespace), &namespace, &format!("pod-{number}"), number, 1).await
            }
        });
    all.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    took(began);
    Ok(())
}

/// Replaces pods as a Deployment, a scheduler and a kubelet do. Those of a hundred numbers are in one namespace.
pub(super) async fn roll(client: &Client, from: usize, count: usize, rate: f64) -> Result<()> {
    let began = Instant::now();
    let turns = stream::iter(0..count).map(|number| {
        let at = began + Duration::from_secs_f64(number as f64 / rate);
        let number = from + number;
        let namespace = format!("load-{}", number / 100);
        let api = pods_of(client, &namespace);
        async move {
            sleep_until(at.into()).await;
            born(&api, &namespace, &format!("new-{number}"), 2_000_000 + number, 3).await?;
            let (old, [pending, ..]) = (format!("pod-{number}"), statuses(number));
            api.patch_status(&old, &PatchParams::default(), &Patch::Merge(json!({"status": pending})))
                .await?;
            let delete = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            api.delete(&old, &delete).await?;
            anyhow::Ok(())
        }
    });
    turns.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    took(began);
    Ok(())
}

fn told_name(number: usize) -> String {
    format!("app-{}-7d9f8b6c5d-{number:05}", number / REPLICAS)
}

fn told(number: usize, namespace: &str) -> Pod {
    let app = number / REPLICAS;
    let labels = [
        ("app".to_owned(), format!("app-{app}")),
        ("pod-template-hash".into(), "7d9f8b6c5d".into()),
        ("app.kubernetes.io/part-of".into(), "shop".into()),
        ("app.kubernetes.io/version".into(), "1.2.3".into()),
        ("team".into(), "checkout".into()),
    ];
    let uid: Arc<str> = format!("{number:08x}-0000-4000-8000-000000000000").into();
    Pod {
        key: NamespacedName::new(namespace, told_name(number)),
        kubelet_uid: uid.clone(),
        uid,
        owner: format!("app-{app}").into(),
        owner_kind: "deployment",
        node: format!("node-{}", number % NODES).into(),
        service_account: format!("app-{app}").into(),
        labels: Arc::new(labels.into()),
        addresses: [address(number)].into(),
        host_network: false,
        finished: false,
        ready: false,
        named_ports: Default::default(),
        probe_ports: Vec::new(),
        settings: Default::default(),
        sliced: true,
    }
}

fn slice(name: &str, spec: &WorkloadSliceSpec) -> Result<Value> {
    Ok(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "WorkloadSlice",
        "metadata": {"name": name, "namespace": "weir-system"}, "spec": serde_json::to_value(spec)?,
    }))
}

pub(super) async fn slices(client: &Client, pods: usize, count: usize) -> Result<()> {
    let began = Instant::now();
    namespaces(client, count).await?;
    let api = slices_of(client);
    let all = stream::iter(0..pods.div_ceil(MOST_PODS)).map(|number| {
        let (api, namespace) = (api.clone(), format!("load-{}", number % count));
        async move {
            let pods: Vec<Pod> =
                (number * MOST_PODS..(number + 1) * MOST_PODS).map(|pod| told(pod, &namespace)).collect();
            create(&api, slice(&format!("{namespace}-{number}"), &pack(&namespace, &pods))?).await
        }
    });
    all.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let complete = WorkloadSliceSpec { complete: Some(true), ..WorkloadSliceSpec::default() };
    create(&api, slice(weir_agent::slices::COMPLETE, &complete)?).await?;
    took(began);
    Ok(())
}

/// Gives the first pod of the first slice of a namespace another UID, once for each line.
pub(super) async fn change(client: &Client, namespace: &str) -> Result<()> {
    let (api, mut lines) = (slices_of(client), super::lines());
    let number: usize = namespace.trim_start_matches("load-").parse()?;
    let mut times = 0;
    while lines.recv().await.is_some() {
        times += 1;
        let mut pods: Vec<Pod> =
            (number * MOST_PODS..(number + 1) * MOST_PODS).map(|pod| told(pod, namespace)).collect();
        pods[0].uid = format!("changed-{times}").into();
        pods[0].addresses = [address(3_000_000 + times)].into();
        let patch = Patch::Merge(json!({"spec": pack(namespace, &pods)}));
        api.patch(&format!("{namespace}-{number}"), &PatchParams::default(), &patch).await?;
        println!("{}", json!({"nth": times}));
    }
    Ok(())
}

pub(super) async fn services(client: &Client, count: usize, namespaces: usize) -> Result<()> {
    let began = Instant::now();
    let all = stream::iter(0..count).map(|number| async move {
        let slice = number * REPLICAS / MOST_PODS;
        let (namespace, name) = (format!("load-{}", slice % namespaces), format!("app-{number}"));
        let services = api(client, "v1", "Service", "services", Some(&namespace));
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        });
        create(&services, service).await?;
        let endpoints: Vec<Value> = (number * REPLICAS..(number + 1) * REPLICAS)
            .map(|pod| {
                let target = json!({"kind": "Pod", "namespace": namespace, "name": told_name(pod)});
                json!({
                    "addresses": [address(pod)], "conditions": {"ready": true}, "targetRef": target,
                    "nodeName": format!("node-{}", pod % NODES),
                })
            })
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
        });
        create(&api(client, "discovery.k8s.io/v1", "EndpointSlice", "endpointslices", Some(&namespace)), slice).await
    });
    all.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    took(began);
    Ok(())
}
