//! A real Kubernetes of several nodes on this machine: every part of it, each node with a kubelet, a container runtime and
//! a root of its own.
//!
//! Entry point: [`Cluster::up`]; from it come [`ApiServer`] and [`KubeNode`]. The control plane is in a network namespace
//! of its own at 10.99.0.1, node N at 10.99.0.1N with pods in 10.244.N.0/24; of two families, node N is also at fd00:99::1N,
//! its pods in fd00:10:244:N::/64. Everything is gone when it is dropped.

mod agent;
mod install;
mod node;
mod traffic;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use serde_json::json;

pub use self::{
    agent::KubeAgent,
    node::{CNI_FLAGS, KubeNode},
    traffic::Traffic,
};
use crate::{
    CLUSTER_LIMIT,
    api_server::{ApiServer, Host, Options},
    cgroup,
    image::Image,
    netns,
    process::{Process, eventually_within},
    programs,
    scope::Scope,
};

/// Where the control plane is.
const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const CONTROL6: &str = "fd00:99::1";
/// Where a pod asks for names.
const DNS: &str = "10.96.0.10";
/// The image that every sandbox, and many a test's container, is made of: a busybox.
pub const BUSYBOX: &str = "weir.dev/busybox:1";

/// Where Services have their addresses.
const SERVICES: &str = "10.96.0.0/16";
const SERVICES6: &str = "fd00:10:96::/112";

/// Of which families the addresses of nodes, pods and Services are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    Ipv4,
    Both,
}

/// A running cluster.
pub struct Cluster {
    // Dropped in this order: what uses the API server, then that, then what they stand on.
    nodes: Vec<KubeNode>,
    processes: Vec<Process>,
    api: ApiServer,
    scope: Arc<Scope>,
}

impl Cluster {
    /// Starts a cluster of two nodes, with the images of these archives on each, and waits until both are ready.
    pub fn up(images: &[PathBuf]) -> Result<Self> {
        Self::build(Scope::new()?, images, Families::Ipv4)
    }

    /// One whose pods, and Services that ask for it, have addresses of both families.
    pub fn dual_stack() -> Result<Self> {
        Self::build(Scope::new()?, &[], Families::Both)
    }

    /// One that keeps its name from run to run, and survives this process after [`Cluster::keep`].
    pub fn named(name: &str, images: &[PathBuf]) -> Result<Self> {
        Self::build(Scope::named(name)?, images, Families::Ipv4)
    }

    /// The API server.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// The API server, to be stopped and started.
    pub fn api_mut(&mut self) -> &mut ApiServer {
        &mut self.api
    }

    /// Runs `kubectl WORDS…` to its end, and gives what it printed.
    pub fn kubectl<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        self.api.kubectl(words)
    }

    /// Runs a command in a pod, `NAMESPACE/NAME`, and gives what it printed.
    pub fn exec<S: AsRef<str>>(&self, pod: &str, command: impl IntoIterator<Item = S>) -> Result<String> {
        let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
        let mut words = vec!["-n".to_owned(), namespace.into(), "exec".into(), name.into(), "--".into()];
        words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
        self.kubectl(words)
    }

    /// Waits until all pods of a namespace are ready.
    pub fn wait_ready(&self, namespace: &str) -> Result<()> {
        let condition = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=50s", "-n", namespace];
        self.kubectl(condition).map(drop)
    }

    /// The nodes.
    pub fn nodes(&self) -> &[KubeNode] {
        &self.nodes
    }

    /// The nodes, to be switched off and on.
    pub fn nodes_mut(&mut self) -> &mut [KubeNode] {
        &mut self.nodes
    }

    /// Leaves everything up.
    pub fn keep(self) {
        self.scope.keep();
        self.nodes.into_iter().for_each(KubeNode::keep);
        self.processes.into_iter().for_each(std::mem::forget);
        self.api.keep();
    }

    fn build(scope: Scope, images: &[PathBuf], families: Families) -> Result<Self> {
        let scope = Arc::new(scope);
        let control = control(&scope)?;
        let busybox = scope.dir.join("busybox.tar");
        write_busybox(&busybox)?;
        let images: Vec<PathBuf> = [busybox].into_iter().chain(images.iter().cloned()).collect();

        let nodes = ["node-1", "node-2"];
        let users = nodes.map(|node| (node, format!("system:node:{node}"), "system:nodes"));
        let services = match families {
            Families::Ipv4 => SERVICES.to_owned(),
            Families::Both => format!("{SERVICES},{SERVICES6}"),
        };
        let options = Options { users: &users, with_service_accounts: true, services: &services };
        let api = ApiServer::start_at(control.clone(), scope.dir.join("api-server"), &options)?;
        let mut processes = controllers(&control, &api)?;
        processes.push(name_server(&control, &api, &scope.dir)?);
        let nodes: Vec<KubeNode> = (1..)
            .zip(nodes)
            .map(|(number, name)| KubeNode::start(&scope, &api, (number, name), families, &images))
            .collect::<Result<_>>()?;
        let cluster = Self { nodes, processes, api, scope };
        cluster.wait()?;
        Ok(cluster)
    }

    fn wait(&self) -> Result<()> {
        let count = self.nodes.len();
        eventually_within(CLUSTER_LIMIT, "all nodes to be ready", || {
            let jsonpath = r#"-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
            let said = self.kubectl(["get", "nodes", jsonpath])?;
            Ok((said.matches("True").count() == count).then_some(()))
        })
    }
}

/// The first words of a kubectl for the cluster that was made with this name.
///
/// # Errors
/// When there is none.
pub fn kubectl_in(name: &str) -> Result<Vec<String>> {
    let scope = Scope::name_of(name);
    let kubeconfig = std::env::temp_dir().join(&scope).join("api-server/kubeconfig");
    if !kubeconfig.exists() {
        bail!("there is no cluster; start one: cargo xtask cluster up");
    }
    let netns = netns::path(&format!("{scope}-control"));
    Ok(vec![
        "nsenter".into(),
        format!("--net={}", netns.display()),
        "--".into(),
        programs::kubernetes("kubectl")?,
        format!("--kubeconfig={}", kubeconfig.display()),
    ])
}

/// The control plane's network: a bridge that every node is on.
fn control(scope: &Scope) -> Result<Host> {
    let netns = scope.netns("control");
    netns::add(&netns)?;
    let bridge = format!(
        "link set lo up\n\
         link add nodes address 02:00:00:00:00:01 type bridge forward_delay 0 mcast_snooping 0\n\
         addr add {CONTROL}/24 dev nodes\n\
         addr add {CONTROL6}/64 dev nodes nodad\n\
         link set nodes up\n"
    );
    netns::configure(&netns, &[("net/ipv4/ip_forward", "1")], &bridge)?;
    let cgroup = scope.cgroup.join("control");
    cgroup::make(&cgroup)?;
    Ok(Host {
        name: "the control plane".into(),
        cgroup,
        netns: netns::path(&netns),
        address: IpAddr::V4(CONTROL),
    })
}

/// What makes pods of Deployments, EndpointSlices of Services, and places for pods.
fn controllers(control: &Host, api: &ApiServer) -> Result<Vec<Process>> {
    let kubeconfig = format!("--kubeconfig={}", api.kubeconfig().display());
    let log = |name: &str| api.dir().join(format!("{name}.log"));
    let manager = control.start(
        &log("controllers"),
        [
            programs::kubernetes("kube-controller-manager")?,
            kubeconfig.clone(),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
            format!("--service-account-private-key-file={}", api.service_account_key().display()),
            format!("--root-ca-file={}", api.certificate().display()),
            "--controllers=*,-nodeipam,-node-route-controller,-cloud-node-lifecycle-controller".into(),
        ],
    )?;
    let scheduler = control.start(
        &log("scheduler"),
        [
            programs::kubernetes("kube-scheduler")?,
            kubeconfig,
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
        ],
    )?;
    Ok(vec![manager, scheduler])
}

/// A CoreDNS beside the control plane, and the Service by which pods find it.
fn name_server(control: &Host, api: &ApiServer, dir: &Path) -> Result<Process> {
    let file = dir.join("Corefile");
    let kubeconfig = api.kubeconfig();
    let text = format!(
        ".:53 {{\n  bind {CONTROL}\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {}\n  }}\n}}\n",
        kubeconfig.display()
    );
    fs::write(&file, text)?;
    let server = control.start(
        &dir.join("coredns.log"),
        [programs::kubernetes("coredns")?, "-conf".into(), file.display().to_string()],
    )?;
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]);
    let labels = json!({"kubernetes.io/service-name": "kube-dns"});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "kube-system", "name": "kube-dns"},
            "spec": {"clusterIP": DNS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"namespace": "kube-system", "name": "kube-dns-1", "labels": labels},
            "addressType": "IPv4", "ports": ports,
            "endpoints": [{"addresses": [CONTROL.to_string()], "conditions": {"ready": true}}],
        },
    ]});
    api.apply(&objects.to_string())?;
    Ok(server)
}

fn write_busybox(file: &Path) -> Result<()> {
    let programs =
        ["sh", "sleep", "wget", "nc", "httpd", "cat", "echo", "ls", "id", "nslookup", "true", "false"];
    let busybox = Path::new("/bin/busybox");
    let mut image =
        Image::new(BUSYBOX)?.entrypoint(&["/bin/sleep", "2147483647"]).program(busybox, "bin/busybox")?;
    for program in programs {
        image = image.link(&format!("bin/{program}"), "busybox")?;
    }
    image.write(file)
}
