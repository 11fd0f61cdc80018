//! A cluster on which Weir is to be installed, and pods that talk: `cart` and `near` on node-1, `far` on node-2.
//!
//! Entry point: [`Shop`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::{BUSYBOX, CLUSTER_LIMIT, Cluster, Flow, KubeNode, Traffic, eventually_within, weir_archive};

/// The cluster; nothing of Weir is on it but its image.
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
}

impl Shop {
    pub(crate) fn new() -> Result<Self> {
        let cluster = Cluster::up(&[weir_archive()?])?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let answer =
            |name: &str| format!("mkdir /www; echo {name} > /www/index.html; exec httpd -f -p 8080 -h /www");
        let pods = [
            ("cart", "node-1", "exec sleep 100000".to_owned()),
            ("near", "node-1", answer("near")),
            ("far", "node-2", answer("far")),
        ];
        let pods = pods.into_iter().flat_map(|(name, node, script)| pod(name, node, &script));
        let items: Vec<Value> = [namespace].into_iter().chain(pods).collect();
        cluster.api().apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        cluster.wait_ready("shop")?;
        Ok(Self { cluster })
    }

    /// The namespace is annotated; its pods are captured, talk, and are seen.
    pub(crate) fn is_meshed(&self) -> Result<()> {
        self.cluster.kubectl(["annotate", "--overwrite", "namespace", "shop", "weir.dev/mesh=enabled"])?;
        self.wait_captured("node-1", &["cart", "near"])?;
        self.wait_captured("node-2", &["far"])?;
        assert_eq!(self.ask("near")?, "near\n");
        assert_eq!(self.ask("far")?, "far\n");
        let flow = self.wait_flow("node-2", "of cart's to far", |flow| {
            flow.is(&[("source.pod", "cart"), ("destination.pod", "far"), ("path", "tunnel")])
        })?;
        assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/cart", "{flow:?}");
        assert_eq!(flow.text("destination.identity"), "spiffe://cluster.local/ns/shop/sa/far", "{flow:?}");
        assert_eq!(flow.text("verdict"), "forwarded", "{flow:?}");
        Ok(())
    }

    /// Nothing of Weir is on any node, and pods talk as if it had never been there. `programs` are the kernel's numbers of
    /// those that were.
    pub(crate) fn has_nothing_of(&self, programs: &[u32]) -> Result<()> {
        for node in self.cluster.nodes() {
            eventually_within(CLUSTER_LIMIT, "the agent's processes to be gone", || {
                Ok((!node.processes()?.iter().any(|name| name == "weir")).then_some(()))
            })?;
            assert_eq!(self.pins(node)?, "", "{}", node.name());
            let files = ["find", "/run/weir", "-mindepth", "1"];
            assert_eq!(node.run(files)?.success()?, "", "{}", node.name());
            let plugin = node.run(["grep", "-rl", "weir-cni", "/etc/cni/net.d"])?.stdout;
            assert_eq!(plugin, "", "{}", node.name());
            let plugin = node.run(["find", "/usr/lib/cni", "-name", "weir-cni"])?.success()?;
            assert_eq!(plugin, "", "{}", node.name());
            let listeners = node.run(["ss", "-Hltn", "sport = :15020"])?.success()?;
            assert_eq!(listeners, "", "{}", node.name());
        }
        assert!(!programs.is_empty());
        // The kernel lets go of a program a moment after its last link.
        eventually_within(CLUSTER_LIMIT, "the kernel to let go of the programs", || {
            let loaded: Vec<u32> =
                aya::programs::loaded_programs().filter_map(|program| Some(program.ok()?.id())).collect();
            Ok((!programs.iter().any(|id| loaded.contains(id))).then_some(()))
        })?;
        assert_eq!(self.ask("near")?, "near\n");
        assert_eq!(self.ask("far")?, "far\n");
        Ok(())
    }

    /// What `weir … --kube` says from outside, of both nodes together.
    pub(crate) fn is_seen_as_a_whole(&self) -> Result<()> {
        let status = self.cluster.weir(["status", "--kube", "-o", "json"])?.success()?;
        let rows: Vec<Value> = status.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let nodes: Vec<&str> = rows.iter().filter_map(|row| row["node"].as_str()).collect();
        assert_eq!(nodes, ["node-1", "node-2"], "{status}");
        assert!(
            rows.iter().all(|row| row["ready"] == true && row["certificate_expiry"].is_string()),
            "{status}"
        );

        let flows = self.cluster.weir(["flows", "--kube", "--pod", "shop/far", "-o", "json"])?.success()?;
        let flows: Vec<Value> = flows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of = |node: &str| flows.iter().filter(|flow| flow["node"] == node).count();
        assert!(of("node-1") > 0 && of("node-2") > 0, "{flows:?}");
        assert!(flows.is_sorted_by_key(|flow| flow["time"].as_str().map(str::to_owned)), "{flows:?}");
        let one = self.cluster.weir(["flows", "--kube", "--node", "node-2", "--last", "1"])?.success()?;
        assert!(one.contains("far"), "{one}");

        let check = self.cluster.weir(["check", "--kube"])?.success()?;
        for expected in
            ["2 of 2 ready", "2 are available", "one is trusted", "every enrolled pod is captured"]
        {
            assert!(check.contains(expected), "no {expected:?} in\n{check}");
        }
        Ok(())
    }

    /// Starts a pod that does nothing but ask `far`, which lets nobody in without an identity, and waits until it has ended
    /// well.
    pub(crate) fn asks_when_it_starts(&self, name: &str) -> Result<()> {
        let strict = ["-n", "shop", "annotate", "--overwrite", "pod", "far", "weir.dev/mtls=strict"];
        self.cluster.kubectl(strict)?;
        eventually_within(CLUSTER_LIMIT, "far to be strict", || {
            let status = self.status("node-2")?;
            let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
            let is_strict = |of: &Value| of["pod"] == "far" && of["mtls"] == "strict";
            Ok(workloads.iter().any(is_strict).then_some(()))
        })?;
        let [account, mut pod] = pod(name, "node-1", &format!("wget -qO- {}:8080", self.address("far")?));
        pod["spec"]["restartPolicy"] = "Never".into();
        let items = json!({"apiVersion": "v1", "kind": "List", "items": [account, pod]});
        self.cluster.api().apply(&items.to_string())?;
        eventually_within(CLUSTER_LIMIT, "it to end well", || {
            let words = ["-n", "shop", "get", "pod", name, "-o=jsonpath={.status.phase}"];
            let phase = self.cluster.kubectl(words)?;
            anyhow::ensure!(phase != "Failed", "{name} was not let in");
            Ok((phase == "Succeeded").then_some(()))
        })
    }

    /// The kernel's numbers of the programs that agents have attached.
    pub(crate) fn programs(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for node in self.cluster.nodes() {
            let status = self.status(node.name())?;
            let programs = status["programs"].as_array().cloned().unwrap_or_default();
            ids.extend(programs.iter().filter_map(|program| u32::try_from(program["id"].as_u64()?).ok()));
        }
        Ok(ids)
    }

    /// What is pinned on a node, one path a line.
    pub(crate) fn pins(&self, node: &KubeNode) -> Result<String> {
        node.run(["find", "/sys/fs/bpf", "-mindepth", "1", "-path", "*weir*"])?.success()
    }

    /// The agents' pods that are not ending, and how often each has been started anew.
    pub(crate) fn agents(&self) -> Result<BTreeMap<String, u64>> {
        let label = "app.kubernetes.io/name=weir-agent";
        let pods = self.cluster.kubectl(["-n", "weir-system", "get", "pods", "-l", label, "-o", "json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let pods = pods["items"].as_array().context("a list")?;
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let described = pods.iter().filter(stays).map(|pod| {
            let name = pod["metadata"]["name"].as_str().context("a name")?.to_owned();
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
            Ok((name, restarts.unwrap_or_default()))
        });
        described.collect()
    }

    /// Requests of cart's to each of these.
    pub(crate) fn traffic(&self, servers: &[&'static str]) -> Result<Traffic<'_>> {
        let at = |server: &&'static str| Ok((*server, format!("{}:8080", self.address(server)?)));
        let servers: Vec<(&str, String)> = servers.iter().map(at).collect::<Result<_>>()?;
        Traffic::start(&self.cluster, "shop/cart", &servers)
    }

    fn ask(&self, server: &str) -> Result<String> {
        let url = format!("http://{}:8080/", self.address(server)?);
        self.cluster.exec("shop/cart", ["wget", "-qO-", &url])
    }

    fn address(&self, pod: &str) -> Result<String> {
        self.cluster.kubectl(["-n", "shop", "get", "pod", pod, "-o=jsonpath={.status.podIP}"])
    }

    fn status(&self, node: &str) -> Result<Value> {
        let printed = self.cluster.on_agent(node, ["status", "-o", "json"])?;
        serde_json::from_str(&printed).with_context(|| format!("weir status printed {printed}"))
    }

    fn wait_captured(&self, node: &str, pods: &[&str]) -> Result<()> {
        eventually_within(CLUSTER_LIMIT, &format!("these to be captured: {pods:?}"), || {
            let status = self.status(node)?;
            let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
            let captured =
                |pod: &&str| workloads.iter().any(|it| it["pod"] == **pod && it["captured"] == true);
            Ok(pods.iter().all(captured).then_some(()))
        })
    }

    fn wait_flow(&self, node: &str, what: &str, condition: impl Fn(&Flow) -> bool) -> Result<Flow> {
        eventually_within(CLUSTER_LIMIT, &format!("a flow {what}"), || {
            let printed = self.cluster.on_agent(node, ["flows", "--last", "1000", "-o", "json"])?;
            let flows = printed.lines().map(|line| Ok(Flow(serde_json::from_str(line)?)));
            let flows: Vec<Flow> = flows.collect::<Result<_>>()?;
            Ok(flows.into_iter().find(&condition))
        })
    }
}

/// A pod on a node, under a service account of its own name.
fn pod(name: &str, node: &str, script: &str) -> [Value; 2] {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": name},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "nodeName": node, "serviceAccountName": name, "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
            }],
        },
    });
    [account, pod]
}
