//! Workloads of every kind that Kubernetes has, in the mesh on a real cluster, where nobody is let in without an identity.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{BUSYBOX, CLUSTER_LIMIT, Cluster, Image, KubeAgent, client, eventually_within};

/// Answers with the pod's name at port 8080.
const ANSWER: &str = "mkdir -p /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";

/// A container of an app; `more` is added to it.
fn container(script: &str, more: Value) -> Value {
    let mut container = json!({
        "name": "app", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        container[name] = value.clone();
    }
    container
}

fn template(app: &str, container: &Value) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
    })
}

fn object(api: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"namespace": "shop", "name": name}, "spec": spec})
}

fn service(name: &str, selector: Option<&str>, more: Value) -> Value {
    let mut spec = json!({"ports": [{"port": 8080}]});
    if let Some(app) = selector {
        spec["selector"] = json!({ "app": app });
    }
    for (name, value) in more.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    object("v1", "Service", name, spec)
}

/// A strict namespace `shop` with a pod `client`, and agents that capture pods before they start.
struct Shop {
    agents: Vec<KubeAgent>,
    cluster: Cluster,
}

impl Shop {
    fn new() -> Result<Self> {
        Self::with(&[])
    }

    /// With the images of these archives.
    fn with(images: &[PathBuf]) -> Result<Self> {
        let cluster = Cluster::up(images)?;
        let annotations = json!({"weir.dev/mesh": "enabled", "weir.dev/mtls": "strict"});
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations},
        });
        cluster.api().apply(&namespace.to_string())?;
        eventually_within(CLUSTER_LIMIT, "the namespace to have a service account", || {
            Ok(cluster.kubectl(["-n", "shop", "get", "serviceaccount", "default"]).ok())
        })?;
        let agents = cluster.nodes().iter().map(|node| node.agent_with_plugin()).collect::<Result<_>>()?;
        let shop = Self { agents, cluster };
        let client = json!({"nodeName": "node-1", "containers": [container("exec sleep 100000", json!({}))]});
        shop.apply(&[object("v1", "Pod", "client", client)])?;
        shop.cluster.wait_ready("shop")?;
        Ok(shop)
    }

    fn apply(&self, items: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.cluster.api().apply(&list.to_string())
    }

    fn kubectl<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        self.cluster.kubectl(["-n", "shop"].into_iter().chain(words))
    }

    fn rolled_out(&self, what: &str) -> Result<()> {
        self.kubectl(["rollout", "status", what, "--timeout=55s"]).map(drop)
    }

    fn address(&self, service: &str) -> Result<String> {
        self.kubectl(["get", "service", service, "-o=jsonpath={.spec.clusterIP}"])
    }

    /// What is answered to the client at an address, as soon as the Service has somebody who answers.
    fn ask(&self, address: &str) -> Result<String> {
        let url = format!("http://{address}:8080/");
        let said = eventually_within(CLUSTER_LIMIT, &format!("an answer from {address}"), || {
            Ok(self.cluster.exec("shop/client", ["wget", "-qO-", &url]).ok())
        })?;
        Ok(said.trim().to_owned())
    }

    /// Waits for the record of a connection to a pod that came with an identity.
    fn wait_met(&self, pod: &str) -> Result<()> {
        let node = self.kubectl(["get", "pod", pod, "-o=jsonpath={.spec.nodeName}"])?;
        let agent = &self.agents[usize::from(node == "node-2")];
        let flow = agent.wait_flow(&format!("to {pod}"), |flow| {
            flow.is(&[("direction", "inbound"), ("source.pod", "client"), ("destination.pod", pod)])
        })?;
        assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/default", "{flow:?}");
        Ok(())
    }
}

#[test]
fn a_deployment_is_rolled_while_its_probes_pass_and_no_request_fails() -> Result<()> {
    let shop = Shop::new()?;
    let probe = |how: Value| {
        let mut probe = json!({"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 30});
        for (name, value) in how.as_object().into_iter().flatten() {
            probe[name] = value.clone();
        }
        probe
    };
    let probes = json!({
        "ports": [{"containerPort": 8080}],
        "startupProbe": probe(json!({"tcpSocket": {"port": 8080}})),
        "readinessProbe": probe(json!({"httpGet": {"port": 8080, "path": "/"}})),
        "livenessProbe": probe(json!({"exec": {"command": ["ls", "/tmp/www/index.html"]}})),
        // Who still sends requests there hears of it first.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "3"]}}},
    });
    let deployment = json!({
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": template("web", &container(ANSWER, probes)),
    });
    shop.apply(&[
        object("apps/v1", "Deployment", "web", deployment),
        service("web", Some("web"), json!({})),
    ])?;
    shop.rolled_out("deployment/web")?;
    let address = shop.address("web")?;
    let first = shop.ask(&address)?;
    shop.wait_met(&first)?;

    let script = format!(
        "rm -f /tmp/end; while [ ! -e /tmp/end ]; do \
           if wget -qO- http://{address}:8080/ >/tmp/said 2>&1; then echo ok; else cat /tmp/said; echo; fi; \
         done >/tmp/log 2>&1 </dev/null &"
    );
    shop.cluster.exec("shop/client", ["sh", "-c", &script])?;
    shop.kubectl(["rollout", "restart", "deployment/web"])?;
    shop.rolled_out("deployment/web")?;
    // The pods of before are gone to the last, and somebody was asked after that.
    eventually_within(CLUSTER_LIMIT, "the old pods to be gone", || {
        let pods = shop.kubectl(["get", "pods", "-l", "app=web", "-o=name"])?;
        Ok((pods.lines().count() == 2 && !pods.contains(&first)).then_some(()))
    })?;
    shop.ask(&address)?;
    shop.cluster.exec("shop/client", ["sh", "-c", ": > /tmp/end"])?;
    let log = shop.cluster.exec("shop/client", ["cat", "/tmp/log"])?;
    let failed: Vec<&str> = log.lines().filter(|line| !line.is_empty() && *line != "ok").collect();
    ensure!(failed.is_empty(), "beside {} that worked: {failed:?}", log.lines().count() - failed.len());
    let restarts = shop.kubectl([
        "get",
        "pods",
        "-l",
        "app=web",
        "-o=jsonpath={.items[*].status.containerStatuses[0].restartCount}",
    ])?;
    assert_eq!(restarts, "0 0");
    Ok(())
}

#[test]
fn probes_of_grpc_pass_where_nobody_is_let_in_without_an_identity() -> Result<()> {
    const IMAGE: &str = "weir.dev/grpc:1";
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc.tar");
    let program = client("grpc")?;
    Image::new(IMAGE)?
        .program(Path::new(&program), "bin/grpc")?
        .entrypoint(&["/bin/grpc"])
        .write(&archive)?;
    let shop = Shop::with(&[archive])?;
    let probe =
        json!({"grpc": {"port": 9000}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 30});
    let container = json!({
        "name": "app", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "9000"],
        "ports": [{"containerPort": 9000}],
        "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe,
    });
    shop.apply(&[object("v1", "Pod", "api", json!({"nodeName": "node-2", "containers": [container]}))])?;
    shop.kubectl(["wait", "--for=condition=Ready", "pod/api", "--timeout=50s"])?;
    shop.agents[1].wait_captured(&["api"])?;

    // Probes are let in from their node, and nobody else is.
    let address = shop.kubectl(["get", "pod", "api", "-o=jsonpath={.status.podIP}"])? + ":9000";
    let health = "/grpc.health.v1.Health/Check";
    let call = |node: usize| shop.cluster.nodes()[node].run([&*program, "call", &address, health]);
    assert_eq!(call(1)?.success()?.trim(), format!("{health} OK"));
    assert_eq!(call(0)?.success()?.trim(), format!("{health} Unavailable"));
    Ok(())
}

#[test]
fn workloads_and_services_of_every_kind_are_reached_with_an_identity() -> Result<()> {
    let shop = Shop::new()?;
    let stateful = json!({
        "serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
        "podManagementPolicy": "Parallel", "template": template("db", &container(ANSWER, json!({}))),
    });
    shop.apply(&[
        object("apps/v1", "StatefulSet", "db", stateful),
        service("db", Some("db"), json!({"clusterIP": "None"})),
        service("db-any", Some("db"), json!({})),
        service(
            "elsewhere",
            None,
            json!({"type": "ExternalName", "externalName": "db-1.db.shop.svc.cluster.local"}),
        ),
    ])?;
    shop.rolled_out("statefulset/db")?;
    let pod_address = |pod: &str| shop.kubectl(["get", "pod", pod, "-o=jsonpath={.status.podIP}"]);

    // A headless Service: names of pods lead to pods.
    let one = pod_address("db-1")?;
    for name in ["db-1.db.shop.svc.cluster.local", "elsewhere.shop.svc.cluster.local"] {
        eventually_within(CLUSTER_LIMIT, &format!("{name} to lead to db-1"), || {
            let found = shop.cluster.exec("shop/client", ["nslookup", name]).unwrap_or_default();
            Ok(found.contains(&one).then_some(()))
        })?;
    }
    assert_eq!(shop.ask(&one)?, "db-1");
    shop.wait_met("db-1")?;
    assert!(shop.ask(&shop.address("db-any")?)?.starts_with("db-"));

    // A Service without a selector: somebody says where it is.
    let zero = pod_address("db-0")?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": "shop", "name": "by-hand-1", "labels": {"kubernetes.io/service-name": "by-hand"},
        },
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [zero], "conditions": {"ready": true}}],
    });
    shop.apply(&[service("by-hand", None, json!({})), slice])?;
    assert_eq!(shop.ask(&shop.address("by-hand")?)?, "db-0");
    shop.wait_met("db-0")?;

    // A Job that ends, whose init container asks before anything else runs.
    let ask = format!("exec wget -qO- http://{one}:8080/");
    let mut job = template("job", &container(&ask, json!({})));
    job["spec"]["restartPolicy"] = "Never".into();
    job["spec"]["initContainers"] = json!([container(&ask, json!({"name": "first"}))]);
    shop.apply(&[object("batch/v1", "Job", "once", json!({"backoffLimit": 0, "template": job}))])?;
    shop.kubectl(["wait", "--for=condition=Complete", "job/once", "--timeout=50s"])?;
    for name in ["first", "app"] {
        assert_eq!(shop.kubectl(["logs", "job/once", "-c", name])?.trim(), "db-1");
    }

    // A port of the node leads to a pod that lets others in.
    let mut open = object(
        "v1",
        "Pod",
        "open",
        json!({
            "nodeName": "node-2",
            "containers": [container(ANSWER, json!({"ports": [{"containerPort": 8080, "hostPort": 18080}]}))],
        }),
    );
    open["metadata"]["annotations"] = json!({"weir.dev/mtls": "permissive"});
    shop.apply(&[open])?;
    shop.kubectl(["wait", "--for=condition=Ready", "pod/open", "--timeout=50s"])?;
    let url = format!("http://{}:18080/", shop.cluster.nodes()[1].address());
    let asked = eventually_within(CLUSTER_LIMIT, "an answer at the node's port", || {
        Ok(shop.cluster.nodes()[0].run(["busybox", "wget", "-qO-", &url])?.success().ok())
    })?;
    assert_eq!(asked.trim(), "open");
    // And one that does not, does not.
    let refused = shop.cluster.nodes()[0].run(["busybox", "wget", "-qO-", &format!("http://{one}:8080/")])?;
    ensure!(refused.success().is_err(), "a strict pod answered to nobody");
    shop.agents[0].status().context("the agent runs")?;
    Ok(())
}
