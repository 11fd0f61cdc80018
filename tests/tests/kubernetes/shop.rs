//! A cluster with pods that talk, and an agent on each node: `cart` and `near` on node-1, `far` on node-2.
//!
//! Entry point: [`Shop`].

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::{BUSYBOX, CLUSTER_LIMIT, Cluster, Flow, KubeAgent, Traffic, eventually_within};

/// The cluster. Its agents, which start with it, go first.
pub(crate) struct Shop {
    pub(crate) agents: Vec<KubeAgent>,
    pub(crate) cluster: Cluster,
}

impl Shop {
    /// One of which nothing is in the mesh yet.
    pub(crate) fn new() -> Result<Self> {
        Self::on(Cluster::up(&[])?)
    }

    /// One that is in the mesh.
    pub(crate) fn meshed() -> Result<Self> {
        let shop = Self::new()?;
        shop.annotate("namespace/shop", "weir.dev/mesh=enabled")?;
        shop.wait_captured()?;
        Ok(shop)
    }

    pub(crate) fn on(cluster: Cluster) -> Result<Self> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let pods =
            [pod("cart", "node-1", "exec sleep 100000"), server("near", "node-1"), server("far", "node-2")];
        let items: Vec<Value> = [namespace].into_iter().chain(pods.into_iter().flatten()).collect();
        apply(&cluster, &items)?;
        cluster.wait_ready("shop")?;
        let agents = cluster.nodes().iter().map(|node| node.agent()).collect::<Result<_>>()?;
        Ok(Self { agents, cluster })
    }

    pub(crate) fn apply(&self, items: &[Value]) -> Result<()> {
        apply(&self.cluster, items)
    }

    /// `kubectl WORDS…` in the namespace.
    pub(crate) fn kubectl<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        self.cluster.kubectl(["-n", "shop"].into_iter().chain(words))
    }

    pub(crate) fn annotate(&self, object: &str, annotation: &str) -> Result<()> {
        self.kubectl(["annotate", "--overwrite", object, annotation]).map(drop)
    }

    /// Annotates the namespace and waits for `seen`, with an agent, if one is given, that does nothing meanwhile.
    pub(crate) fn annotate_while(
        &self,
        late: Option<&KubeAgent>,
        annotation: &str,
        seen: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        late.map_or(Ok(()), KubeAgent::freeze)?;
        self.annotate("namespace/shop", annotation)?;
        seen()?;
        late.map_or(Ok(()), KubeAgent::thaw)
    }

    pub(crate) fn wait_captured(&self) -> Result<()> {
        self.agents[0].wait_captured(&["cart", "near"])?;
        self.agents[1].wait_captured(&["far"])
    }

    pub(crate) fn address(&self, pod: &str) -> Result<String> {
        self.kubectl(["get", "pod", pod, "-o=jsonpath={.status.podIP}"])
    }

    /// What `server` answers to cart.
    pub(crate) fn ask(&self, server: &str) -> Result<String> {
        let url = format!("http://{}:8080/", self.address(server)?);
        self.cluster.exec("shop/cart", ["wget", "-qO-", &url])
    }

    /// Waits until `server` answers to cart, or until it does not.
    pub(crate) fn wait_answer(&self, server: &str, answers: bool) -> Result<()> {
        eventually_within(CLUSTER_LIMIT, &format!("an answer of {server}'s: {answers}"), || {
            Ok((self.ask(server).is_ok() == answers).then_some(()))
        })
    }

    /// Requests of cart's to near and far.
    pub(crate) fn traffic(&self) -> Result<Traffic<'_>> {
        let servers = [("near", self.address("near")? + ":8080"), ("far", self.address("far")? + ":8080")];
        Traffic::start(&self.cluster, "shop/cart", &servers)
    }

    /// The flows that were not forwarded, a line each.
    pub(crate) fn troubles(&self) -> Result<String> {
        let mut troubles = String::new();
        for agent in &self.agents {
            let flows = agent.weir(["flows", "--last", "10000", "-o", "json"])?.success()?;
            let failed = flows.lines().filter(|flow| !flow.contains(r#""verdict":"forwarded""#));
            failed.for_each(|flow| troubles += &format!("\n{flow}"));
        }
        Ok(troubles)
    }

    /// How many connections the agents carry.
    pub(crate) fn carried(&self) -> Result<f64> {
        let of = |agent: &KubeAgent| Ok(agent.metric("weir_connections", &[])?.unwrap_or_default());
        self.agents.iter().map(of).sum()
    }

    /// The record of a request of cart's through the tunnel that node-2 has; `address` is where far is.
    pub(crate) fn wait_met(&self, address: &str) -> Result<Flow> {
        let address = format!("{address}:8080");
        self.agents[1].wait_flow("of cart to far through the tunnel", |flow| {
            flow.is(&[("source.pod", "cart"), ("destination.address", &address), ("path", "tunnel")])
                && flow.is(&[("source.identity", "spiffe://cluster.local/ns/shop/sa/cart")])
        })
    }
}

pub(crate) fn apply(cluster: &Cluster, items: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    cluster.api().apply(&list.to_string()).context("objects")
}

/// A pod on a node, under a service account of its own name.
pub(crate) fn pod(name: &str, node: &str, script: &str) -> Vec<Value> {
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

/// Answers with its name at port 8080, and says again what it is told at port 7.
fn server(name: &str, node: &str) -> Vec<Value> {
    let script = format!(
        "mkdir -p /tmp/www; echo {name} > /tmp/www/index.html; nc -ll -p 7 -e cat & \
         exec httpd -f -p 8080 -h /tmp/www"
    );
    pod(name, node, &script)
}
