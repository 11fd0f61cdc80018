//! Agents on a real Kubernetes of two nodes: pods are enrolled by an annotation, and found where their kubelet runs them.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::{BUSYBOX, CLUSTER_LIMIT, Cluster, Flow, KubeAgent, eventually_within};

/// A pod on a node, under a service account of its own name, that runs `script`.
fn pod(name: &str, node: &str, script: &str) -> Vec<Value> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": name},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node, "serviceAccountName": name, "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
            }],
        },
    });
    vec![account, pod]
}

/// Answers with its name at port 8080, until somebody makes the file `/tmp/end`.
fn server(name: &str, node: &str) -> Vec<Value> {
    let script = format!(
        "mkdir -p /tmp/www; echo {name} > /tmp/www/index.html; httpd -p 8080 -h /tmp/www; \
         rm -f /tmp/end; while [ ! -e /tmp/end ]; do sleep 0.1; done"
    );
    pod(name, node, &script)
}

/// A cluster with `cart` on node-1, and `near` and `far`, which answer, on node-1 and node-2.
struct Shop {
    agents: Vec<KubeAgent>,
    cluster: Cluster,
}

impl Shop {
    fn new() -> Result<Self> {
        let cluster = Cluster::up(&[])?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let pods = [pod("cart", "node-1", "sleep 100000"), server("near", "node-1"), server("far", "node-2")];
        let items: Vec<Value> = [namespace].into_iter().chain(pods.into_iter().flatten()).collect();
        cluster.api().apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        cluster.wait_ready("shop")?;
        Ok(Self { agents: Vec::new(), cluster })
    }

    fn start_agents(&mut self) -> Result<()> {
        self.agents = self.cluster.nodes().iter().map(|node| node.agent()).collect::<Result<_>>()?;
        Ok(())
    }

    fn annotate(&self, annotation: &str) -> Result<()> {
        self.cluster.kubectl(["annotate", "--overwrite", "namespace", "shop", annotation]).map(drop)
    }

    fn address(&self, pod: &str) -> Result<String> {
        self.cluster.kubectl(["-n", "shop", "get", "pod", pod, "-o=jsonpath={.status.podIP}"])
    }

    /// What `server` answers to cart.
    fn ask(&self, server: &str) -> Result<String> {
        let url = format!("http://{}:8080/", self.address(server)?);
        self.cluster.exec("shop/cart", ["wget", "-qO-", &url])
    }

    /// The record that node-2 has of a request of cart's.
    fn wait_met(&self) -> Result<Flow> {
        self.agents[1].wait_flow("of cart to far through the tunnel", |flow| {
            flow.is(&[("source.pod", "cart"), ("destination.pod", "far"), ("path", "tunnel")])
        })
    }

    fn restarts(&self, pod: &str) -> Result<String> {
        let path = "-o=jsonpath={.status.containerStatuses[0].restartCount}";
        self.cluster.kubectl(["-n", "shop", "get", "pod", pod, path])
    }
}

#[test]
fn a_namespace_is_annotated_and_its_pods_are_in_the_mesh_without_a_restart_and_out_of_it_again() -> Result<()>
{
    let mut shop = Shop::new()?;
    shop.start_agents()?;
    shop.agents[0].wait_captured(&[])?;
    assert_eq!(shop.ask("far")?, "far\n");

    shop.annotate("weir.dev/mesh=enabled")?;
    shop.agents[0].wait_captured(&["cart", "near"])?;
    shop.agents[1].wait_captured(&["far"])?;
    assert_eq!(shop.ask("near")?, "near\n");
    assert_eq!(shop.ask("far")?, "far\n");
    let flow = shop.wait_met()?;
    assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/cart", "{flow:?}");
    assert_eq!(flow.text("destination.identity"), "spiffe://cluster.local/ns/shop/sa/far", "{flow:?}");
    assert_eq!(flow.text("verdict"), "forwarded", "{flow:?}");
    for pod in ["cart", "near", "far"] {
        assert_eq!(shop.restarts(pod)?, "0", "{pod}");
    }

    shop.annotate("weir.dev/mesh-")?;
    shop.agents.iter().try_for_each(|agent| agent.wait_captured(&[]))?;
    assert_eq!(shop.ask("far")?, "far\n");
    Ok(())
}

#[test]
fn a_pod_of_which_nothing_runs_keeps_no_agent_from_being_ready() -> Result<()> {
    let mut shop = Shop::new()?;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "stuck", "annotations": {"weir.dev/mesh": "enabled"}},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "stuck", "name": "waits"},
        "spec": {
            "nodeName": "node-1",
            "containers": [{
                "name": "app", "image": BUSYBOX, "imagePullPolicy": "Never",
                "volumeMounts": [{"name": "none", "mountPath": "/none"}],
            }],
            "volumes": [{"name": "none", "configMap": {"name": "that-is-not-there"}}],
        },
    });
    eventually_within(CLUSTER_LIMIT, "the namespace to have a service account", || {
        Ok([&namespace, &pod].into_iter().try_for_each(|it| shop.cluster.api().apply(&it.to_string())).ok())
    })?;
    shop.start_agents()?;
    let workloads = shop.agents[0].status()?["workloads"].clone();
    let waits = workloads.as_array().into_iter().flatten().find(|workload| workload["pod"] == "waits");
    let waits = waits.with_context(|| format!("it is not shown: {workloads}"))?;
    assert_eq!((&waits["captured"], &waits["reason"]), (&json!(false), &json!("nothing of it runs yet")));

    let volume = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "stuck", "name": "that-is-not-there"},
    });
    shop.cluster.api().apply(&volume.to_string())?;
    shop.agents[0].wait_captured(&["waits"])
}

#[test]
fn a_container_that_starts_anew_stays_captured_and_a_sandbox_that_is_made_anew_is_captured_anew() -> Result<()>
{
    let mut shop = Shop::new()?;
    shop.annotate("weir.dev/mesh=enabled")?;
    shop.start_agents()?;
    shop.agents[1].wait_captured(&["far"])?;

    shop.cluster.exec("shop/far", ["sh", "-c", ": > /tmp/end"])?;
    eventually_within(CLUSTER_LIMIT, "far's container to start anew", || {
        Ok((shop.restarts("far")? == "1").then_some(()))
    })?;
    shop.cluster.wait_ready("shop")?;
    assert_eq!(eventually_within(CLUSTER_LIMIT, "far to answer", || Ok(shop.ask("far").ok()))?, "far\n");
    assert!(!shop.agents[1].log().contains("released"), "{}", shop.agents[1].log());

    let before = shop.address("far")?;
    kill_sandbox(&shop, "far")?;
    eventually_within(CLUSTER_LIMIT, "far to have another address", || {
        Ok(Some(shop.address("far")?).filter(|address| !address.is_empty() && *address != before))
    })?;
    shop.cluster.wait_ready("shop")?;
    shop.agents[1].wait_captured(&["far"])?;
    assert_eq!(eventually_within(CLUSTER_LIMIT, "far to answer", || Ok(shop.ask("far").ok()))?, "far\n");
    let address = format!("{}:8080", shop.address("far")?);
    shop.agents[1].wait_flow("to the new address, through the tunnel", |flow| {
        flow.is(&[("destination.address", &address), ("path", "tunnel"), ("verdict", "forwarded")])
    })?;
    Ok(())
}

#[test]
fn a_pod_that_was_captured_in_part_has_an_event_that_says_so() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.annotate("weir.dev/mesh=enabled")?;
    shop.start_agents()?;
    shop.agents[1].wait_captured(&["far"])?;

    let node = &shop.cluster.nodes()[1];
    node.run(["sh", "-c", "rm /sys/fs/bpf/weir/v*/pods/*"])?.success()?;
    shop.agents[1].weir(["status", "--verify"])?.success()?;

    let of = "involvedObject.name=far,reason=CaptureRepaired";
    let words = ["-n", "shop", "get", "events", "--field-selector", of, "-o=jsonpath={.items[*].message}"];
    eventually_within(CLUSTER_LIMIT, "an event of far that says what was missing", || {
        Ok(shop.cluster.kubectl(words)?.contains("steering").then_some(()))
    })?;
    assert_eq!(shop.ask("far")?, "far\n");
    Ok(())
}

/// Ends the process that holds a pod's namespaces, as a crash would.
fn kill_sandbox(shop: &Shop, pod: &str) -> Result<()> {
    let node = &shop.cluster.nodes()[1];
    let path = format!(r#"labels."io.kubernetes.pod.name"=={pod},labels."io.cri-containerd.kind"==sandbox"#);
    let listed = node.run(["ctr", "-n", "k8s.io", "containers", "list", "-q", &path])?.success()?;
    let sandbox = listed.lines().next().context("no sandbox")?;
    node.run(["ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", sandbox])?.success().map(drop)
}
