//! The agents' CNI plugin on a real Kubernetes: an enrolled pod is captured before it starts, or does not start.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{BUSYBOX, CLUSTER_LIMIT, CNI_FLAGS, Cluster, KubeAgent, KubeNode, eventually_within};

/// Pods that start at once.
const MANY: usize = 100;
/// How long so many may take: each is a sandbox and a container.
const MANY_LIMIT: Duration = Duration::from_secs(300);

/// Written by a test that takes the whole machine, and read by the others.
static CROWD: RwLock<()> = RwLock::new(());

fn namespace(name: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations},
    })
}

/// A pod `NAMESPACE/NAME` on node-1, in the mesh as `mesh` says, if it does.
fn pod(key: &str, mesh: Option<&str>, script: &str) -> Value {
    let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
    let annotations = mesh.map_or_else(|| json!({}), |mesh| json!({"weir.dev/mesh": mesh}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        "spec": {
            "nodeName": "node-1", "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
            "containers": [{
                "name": "app", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
            }],
        },
    })
}

/// The namespace `shop`, which is in the mesh, and `other`, which is not, on a cluster.
struct Stage {
    cluster: Cluster,
}

impl Stage {
    fn new() -> Result<Self> {
        let stage = Self { cluster: Cluster::up(&[])? };
        let shop = json!({"weir.dev/mesh": "enabled", "weir.dev/mtls": "strict"});
        stage.apply(&[namespace("shop", shop), namespace("other", json!({}))])?;
        for name in ["shop", "other"] {
            eventually_within(CLUSTER_LIMIT, "the namespace to have a service account", || {
                Ok(stage.cluster.kubectl(["-n", name, "get", "serviceaccount", "default"]).ok())
            })?;
        }
        Ok(stage)
    }

    fn apply(&self, items: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.cluster.api().apply(&list.to_string())
    }

    fn node(&self) -> &KubeNode {
        &self.cluster.nodes()[0]
    }

    fn agents(&self) -> Result<Vec<KubeAgent>> {
        self.cluster.nodes().iter().map(|node| node.agent_with_plugin()).collect()
    }

    fn wait_phase(&self, key: &str, phase: &str) -> Result<()> {
        let (namespace, name) = key.split_once('/').context("namespace/name")?;
        let words = ["-n", namespace, "get", "pod", name, "-o=jsonpath={.status.phase}"];
        eventually_within(CLUSTER_LIMIT, &format!("{key} to be {phase}"), || {
            Ok((self.cluster.kubectl(words)? == phase).then_some(()))
        })
    }

    /// What the pods of `shop` that failed have said, and what the agents have of them.
    fn why_failed(&self, agents: &[KubeAgent]) -> Result<String> {
        let words = ["-n", "shop", "get", "pods", "--field-selector=status.phase=Failed", "-o=name"];
        let mut text = String::new();
        for pod in self.cluster.kubectl(words)?.lines() {
            text += &format!("{pod}: {}", self.cluster.kubectl(["-n", "shop", "logs", pod])?);
        }
        for agent in agents {
            let flows = agent.weir(["flows", "-o", "json", "--last", "1000"])?.success()?;
            flows.lines().filter(|line| !line.contains(r#""verdict":"forwarded""#)).for_each(|line| {
                text += &format!("{line}\n");
            });
        }
        Ok(text)
    }

    /// Waits until an event of a pod says why its sandbox was not made.
    fn wait_refused(&self, key: &str, why: &str) -> Result<()> {
        let (namespace, name) = key.split_once('/').context("namespace/name")?;
        let of = format!("involvedObject.name={name},reason=FailedCreatePodSandBox");
        let words =
            ["-n", namespace, "get", "events", "--field-selector", &of, "-o=jsonpath={.items[*].message}"];
        eventually_within(CLUSTER_LIMIT, &format!("an event of {key} that says {why:?}"), || {
            Ok(self.cluster.kubectl(words)?.contains(why).then_some(()))
        })?;
        self.wait_phase(key, "Pending")
    }
}

#[test]
fn a_hundred_pods_that_start_at_once_are_all_captured_before_their_first_container() -> Result<()> {
    let _alone = CROWD.write().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new()?;
    let agents = stage.agents()?;
    let mut server = pod(
        "shop/server",
        None,
        "mkdir /tmp/www; echo here > /tmp/www/index.html; httpd -f -p 8080 -h /tmp/www",
    );
    server["spec"]["nodeName"] = "node-2".into();
    stage.apply(&[server])?;
    stage.cluster.wait_ready("shop")?;
    let address =
        stage.cluster.kubectl(["-n", "shop", "get", "pod", "server", "-o=jsonpath={.status.podIP}"])?;

    // One request, at once: a strict server refuses it unless the pod was in the mesh before.
    let script = format!("exec wget -qO- http://{address}:8080/");
    let clients: Vec<Value> =
        (0..MANY).map(|number| pod(&format!("shop/client-{number}"), None, &script)).collect();
    stage.apply(&clients)?;

    let words = ["-n", "shop", "get", "pods", r"-o=jsonpath={range .items[*]}{.status.phase}{'\n'}{end}"];
    let ended = eventually_within(MANY_LIMIT, "all of them to end", || {
        let phases = stage.cluster.kubectl(words)?;
        let count = |phase: &str| phases.lines().filter(|line| *line == phase).count();
        let (good, bad) = (count("Succeeded"), count("Failed"));
        Ok((good + bad == MANY).then_some((good, bad)))
    })?;
    ensure!(ended == (MANY, 0), "{ended:?}: {}", stage.why_failed(&agents)?);
    let client = [("source.identity", "spiffe://cluster.local/ns/shop/sa/default"), ("path", "tunnel")];
    let mut seen = HashSet::new();
    agents[1].wait_flow("of each client, with its identity", |flow| {
        if flow.is(&client) && flow.is(&[("destination.pod", "server"), ("verdict", "forwarded")]) {
            seen.insert(flow.text("source.address").to_owned());
        }
        seen.len() == MANY
    })?;
    Ok(())
}

#[test]
fn without_an_agent_only_enrolled_pods_do_not_start_and_they_do_when_it_is_back() -> Result<()> {
    let _beside_others = CROWD.read().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new()?;
    stage.node().agent_with_plugin()?.stop()?;

    let sleep = "sleep 100000";
    let waiting = ["shop/silent", "other/enabled", "other/malformed"];
    stage.apply(&[
        pod("shop/silent", None, sleep),
        pod("shop/disabled", Some("disabled"), sleep),
        pod("other/silent", None, sleep),
        pod("other/enabled", Some("enabled"), sleep),
        pod("other/malformed", Some("enable"), sleep),
    ])?;
    for started in ["shop/disabled", "other/silent"] {
        stage.wait_phase(started, "Running")?;
    }
    stage.wait_refused("shop/silent", "by the annotation weir.dev/mesh of its namespace")?;
    stage.wait_refused("other/enabled", "by its annotation weir.dev/mesh")?;
    stage.wait_refused("other/malformed", "no agent answers at /run/weir/agent.sock")?;

    let agent = stage.node().agent_with_plugin()?;
    for pod in waiting {
        stage.wait_phase(pod, "Running")?;
    }
    agent.wait_captured(&["silent", "enabled", "malformed"])
}

#[test]
fn the_plugin_stays_in_the_chain_whoever_rewrites_it_until_it_is_uninstalled() -> Result<()> {
    let _beside_others = CROWD.read().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new()?;
    let node = stage.node();
    let before = node.chain()?;
    let agent = node.agent_with_plugin()?;
    let installed = node.chain()?;
    assert_eq!(installed["plugins"].as_array().map(Vec::len), Some(3), "{installed}");
    node.reset_chain()?;
    node.wait_plugin()?;
    assert_eq!(node.chain()?, installed);

    agent.stop()?;
    assert_eq!(node.chain()?, installed, "without an agent pods do not start unmeshed");
    let weir = weir_tests::weir()?.display().to_string();
    let words: Vec<&str> = [&weir, "uninstall"].into_iter().chain(CNI_FLAGS).collect();
    node.run(words)?.success()?;
    assert_eq!(node.chain()?, before);
    for file in ["/usr/lib/cni/weir-cni", "/var/lib/weir/cni"] {
        ensure!(!node.run(["test", "-e", file])?.status.success(), "{file} is left");
    }
    // Nothing keeps it from starting any more.
    stage.apply(&[pod("shop/unmeshed", None, "sleep 100000")])?;
    stage.wait_phase("shop/unmeshed", "Running")
}

#[test]
fn no_pod_is_taken_for_another_whatever_the_plugin_is_made_to_say() -> Result<()> {
    let _beside_others = CROWD.read().unwrap_or_else(PoisonError::into_inner);
    let stage = Stage::new()?;
    let agent = stage.node().agent_with_plugin()?;
    stage.apply(&[pod("shop/cart", None, "sleep 100000"), pod("other/free", None, "sleep 100000")])?;
    for pod in ["shop/cart", "other/free"] {
        stage.wait_phase(pod, "Running")?;
    }
    agent.wait_captured(&["cart"])?;
    let of = |namespace: &str, pod: &str, path: &str| {
        stage.cluster.kubectl(["-n", namespace, "get", "pod", pod, &format!("-o=jsonpath={path}")])
    };
    let uid = of("shop", "cart", "{.metadata.uid}")?;
    let free = eventually_within(CLUSTER_LIMIT, "free to have an address", || {
        Ok(Some(of("other", "free", "{.status.podIP}")?).filter(|address| !address.is_empty()))
    })?;
    let find =
        "for it in /run/netns/cni-*; do nsenter --net=$it ip -o addr | grep -q \" $0/\" && echo $it; done";
    let find = stage.node().run(["sh", "-c", find, &*free])?;
    let of_free = find.stdout.trim();
    let make = "ip netns add made && ip -n made link set lo up && ip -n made addr add 10.244.1.250/32 dev lo";
    stage.node().run(["sh", "-c", make])?.success()?;

    for (netns, address, why) in [
        (of_free, &*free, "is claimed by other/free too"),
        (of_free, "10.244.1.250", "has none of its addresses"),
        ("/run/netns/made", "10.244.1.250", "runs in another network namespace"),
        ("/proc/self/ns/net", "127.0.0.1", "is the node's own"),
        ("/etc/passwd", "10.244.1.250", "is not a network namespace"),
    ] {
        let question = json!({
            "namespace": "shop", "pod": "cart", "uid": uid, "sandbox": "1a2b", "netns": netns,
            "addresses": [address], "word": "enabled",
        });
        let question = question.to_string();
        let ask = ["curl", "-sS", "--unix-socket", "/run/weir/agent.sock", "-d", &*question];
        let answer = stage.node().run(ask.into_iter().chain(["http://weir/v1/cni/add"]))?.success()?;
        ensure!(answer.contains(why), "{netns} with {address}: {answer}");
    }
    agent.wait_captured(&["cart"])?;
    ensure!(!agent.log().contains("released"), "{}", agent.log());
    Ok(())
}
