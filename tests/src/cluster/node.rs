//! One node of a cluster: containerd, kubelet and kube-proxy in a network namespace and a file system of their own.
//!
//! Entry point: [`KubeNode::start`]. It has this machine's root, but `/run`, `/var/lib` and `/var/log` begin empty, `/etc`
//! and `/usr/lib/cni` keep what is written to them, and `/sys/fs/bpf` is its own: every path is as on a machine that is a node, and all of it
//! goes with the node's last process.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{BUSYBOX, CONTROL, CONTROL6, DNS, Families, agent::KubeAgent};
use crate::{
    CLUSTER_LIMIT,
    api_server::{ApiServer, Host},
    cgroup, netns,
    process::{Finished, Process, eventually_within},
    programs,
    scope::Scope,
};

/// The flags of an agent that is to install its CNI plugin, and of what removes it.
pub const CNI_FLAGS: [&str; 2] = ["--cni-conf-dir=/etc/cni/net.d", "--cni-bin-dir=/usr/lib/cni"];
/// The network of the node's pods.
const CHAIN: &str = "/etc/cni/net.d/10-bridge.conflist";

/// Each exec in a container has a name.
static EXECS: AtomicU32 = AtomicU32::new(0);

/// Makes the file system, says which process is in it, and becomes the command: `sh -c … sh DIR COMMAND…`.
const ROOT: &str = r#"
set -e
dir=$1; shift
mount --make-rprivate /
mkdir -p "$dir/etc" "$dir/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/work" /etc
mkdir -p "$dir/cni" "$dir/cni-work"
mount -t overlay overlay -o "lowerdir=/usr/lib/cni,upperdir=$dir/cni,workdir=$dir/cni-work" /usr/lib/cni
for place in /run /var/lib /var/log; do mount -t tmpfs tmpfs $place; done
mkdir -p /run/netns /run/lock /var/lib/kubelet /etc/cni/net.d
cp "$dir/net.conflist" /etc/cni/net.d/10-bridge.conflist
mount -t bpf bpf /sys/fs/bpf
# A kubelet sets what is the whole machine's, unless it is so already.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/run/sysctl-$(echo "${setting%=*}" | tr / -)
  echo "${setting#*=}" > "$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
mount --make-rshared /
echo $$ > "$dir/pid"
exec "$@"
"#;

/// A node; dropping it ends it. Its files are the cluster's.
pub struct KubeNode {
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) dir: PathBuf,
    /// The cgroup that its pods are in.
    pub(super) cgroup: PathBuf,
    /// The files of the cluster.
    pub(super) shared: PathBuf,
    /// Its addresses, as its kubelet is told them.
    addresses: String,
    kubelet: Option<Process>,
    proxy: Process,
    containerd: Process,
    /// What keeps its file system while it is switched off.
    remains: Option<Process>,
    images: Vec<PathBuf>,
    scope: Arc<Scope>,
}

impl KubeNode {
    pub(super) fn start(
        scope: &Arc<Scope>,
        api: &ApiServer,
        (number, name): (u8, &str),
        families: Families,
        images: &[PathBuf],
    ) -> Result<Self> {
        let dir = scope.dir.join(name);
        fs::create_dir_all(dir.join("static"))?;
        let host = network(scope, number, name)?;
        cgroup::make_everywhere(&scope.relative_cgroup().join(name))?;
        fs::write(dir.join("net.conflist"), conflist(number, families).to_string())?;
        fs::write(dir.join("kubeconfig"), api.kubeconfig_of(name).to_string())?;
        fs::write(dir.join("kubelet.yaml"), kubelet(scope, name, &dir).to_string())?;
        fs::write(dir.join("proxy.yaml"), proxy(api, name).to_string())?;
        fs::write(dir.join("containerd.toml"), containerd_config())?;
        fs::write(dir.join("resolv.conf"), format!("nameserver {CONTROL}\n"))?;
        let path = |file: &str| dir.join(file).display().to_string();
        let mut words = vec!["unshare", "--mount", "sh", "-c", ROOT, "sh"];
        let (own, config) = (dir.display().to_string(), path("containerd.toml"));
        words.extend([own.as_str(), "containerd", "--config", &config]);
        let containerd = host.start(&dir.join("containerd.log"), words)?;
        eventually_within(CLUSTER_LIMIT, "a node's file system", || {
            Ok(fs::read_to_string(dir.join("pid")).ok().filter(|pid| !pid.is_empty()))
        })?;
        let proxy = start_proxy(&host, &dir)?;
        let addresses = match families {
            Families::Ipv4 => host.address.to_string(),
            Families::Both => format!("{},{}", host.address, address6(number)),
        };
        let mut node = Self {
            name: name.into(),
            host,
            dir,
            cgroup: scope.cgroup.join(name),
            shared: scope.dir.clone(),
            addresses,
            kubelet: None,
            proxy,
            containerd,
            remains: None,
            images: images.to_vec(),
            scope: scope.clone(),
        };
        node.import()?;
        node.start_kubelet()?;
        Ok(node)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.host.address
    }

    /// Runs a command on the node, with its network and its files, to its end.
    pub fn run<S: AsRef<str>>(&self, command: impl IntoIterator<Item = S>) -> Result<Finished> {
        self.host.spawn(in_root(&self.dir, command)?)?.finish()
    }

    /// Runs a command in the first container of a pod, without a word to the API server, to its end.
    pub fn exec<S: AsRef<str>>(&self, pod: &str, command: impl IntoIterator<Item = S>) -> Result<Finished> {
        let filter =
            format!(r#"labels."io.kubernetes.pod.name"=={pod},labels."io.cri-containerd.kind"==container"#);
        let listed = self.run(["ctr", "-n", "k8s.io", "containers", "list", "-q", &filter])?.success()?;
        let container = listed.lines().next().with_context(|| format!("no container of {pod}"))?;
        let mut words = ["ctr", "-n", "k8s.io", "task", "exec", "--exec-id"].map(str::to_owned).to_vec();
        words.extend([format!("test-{}", EXECS.fetch_add(1, Ordering::Relaxed)), container.into()]);
        words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
        self.run(words)
    }

    /// Has its kubelet run a pod that the API server was not told of, or one in place of the last with this name.
    pub fn run_static(&self, name: &str, pod: &Value) -> Result<()> {
        // Seen whole or not at all.
        let (new, file) = (self.dir.join("static-pod.json"), self.dir.join(format!("static/{name}.json")));
        fs::write(&new, pod.to_string())?;
        Ok(fs::rename(new, file)?)
    }

    /// Switches it off: every process on it is killed at once. What they have left stays, as after no real switching off:
    /// files, sockets, pins, namespaces with their names.
    pub fn crash(&mut self) -> Result<()> {
        // Somebody has to be there, or its file system would be gone too.
        let words = ["sh", "-c", "echo here; exec sleep 2147483647"];
        let aside = Host { cgroup: self.scope.cgroup.join("control"), ..self.host.clone() };
        let mut remains = aside.spawn(in_root(&self.dir, words)?)?;
        remains.wait_line("it to be in the node's file system", |_| Some(()))?;
        fs::write(self.dir.join("pid"), remains.id().to_string())?;
        for cgroup in [&self.cgroup, &self.host.cgroup] {
            cgroup::kill(cgroup)?;
        }
        self.remains = Some(remains);
        Ok(())
    }

    /// Switches it on again.
    pub fn boot(&mut self) -> Result<()> {
        let config = self.dir.join("containerd.toml").display().to_string();
        let containerd = in_root(&self.dir, ["containerd", "--config", &config])?;
        self.containerd = self.host.start(&self.dir.join("containerd.log"), containerd)?;
        self.proxy = start_proxy(&self.host, &self.dir)?;
        self.wait_runtime()?;
        self.start_kubelet()
    }

    /// The names of the processes on the node, those in its pods too.
    pub fn processes(&self) -> Result<Vec<String>> {
        let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let names = cgroup::processes(&self.cgroup)?.into_iter().filter_map(name);
        Ok(names.map(|name| name.trim().to_owned()).collect())
    }

    /// Starts an agent on the node, as a process of the node's own, and waits until it is ready.
    pub fn agent(&self) -> Result<KubeAgent> {
        KubeAgent::start(self, &[])
    }

    /// An agent that captures pods before they start, once its plugin is in the chain of the node's CNI plugins.
    pub fn agent_with_plugin(&self) -> Result<KubeAgent> {
        let agent = KubeAgent::start(self, &CNI_FLAGS)?;
        self.wait_plugin()?;
        Ok(agent)
    }

    /// Waits until the agent's plugin is in the chain of CNI plugins.
    pub fn wait_plugin(&self) -> Result<()> {
        eventually_within(CLUSTER_LIMIT, "the plugin to be in the chain", || {
            let plugins = self.chain()?["plugins"].as_array().cloned().unwrap_or_default();
            Ok(plugins.iter().any(|plugin| plugin["type"] == "weir-cni").then_some(()))
        })
    }

    /// The chain of CNI plugins as its container runtime finds it.
    pub fn chain(&self) -> Result<Value> {
        let text = self.run(["cat", CHAIN])?.success()?;
        serde_json::from_str(&text).with_context(|| format!("{CHAIN}: {text}"))
    }

    /// Puts the chain as it was when the node was made in place of what is there, as its installer would.
    pub fn reset_chain(&self) -> Result<()> {
        let own = self.dir.join("net.conflist").display().to_string();
        self.run(["cp", &own, CHAIN])?.success().map(drop)
    }

    /// What its kubelet, its container runtime and its proxy have said.
    pub fn log(&self) -> String {
        let text = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        ["kubelet.log", "containerd.log", "proxy.log"].map(text).concat()
    }

    pub(super) fn keep(self) {
        self.kubelet.into_iter().chain([self.proxy, self.containerd]).for_each(std::mem::forget);
    }

    fn wait_runtime(&self) -> Result<()> {
        eventually_within(CLUSTER_LIMIT, "containerd to answer", || {
            Ok(self.run(["ctr", "version"])?.success().ok())
        })
        .map(drop)
    }

    fn import(&self) -> Result<()> {
        self.wait_runtime()?;
        for image in &self.images {
            let file = image.display().to_string();
            self.run(["ctr", "--namespace", "k8s.io", "image", "import", &file])?.success()?;
        }
        Ok(())
    }

    fn start_kubelet(&mut self) -> Result<()> {
        let file = |name: &str| self.dir.join(name).display().to_string();
        let words = [
            programs::kubernetes("kubelet")?,
            format!("--config={}", file("kubelet.yaml")),
            format!("--kubeconfig={}", file("kubeconfig")),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.addresses),
        ];
        let words = in_root(&self.dir, words)?;
        self.kubelet = Some(self.host.start(&self.dir.join("kubelet.log"), words)?);
        Ok(())
    }
}

fn start_proxy(host: &Host, dir: &Path) -> Result<Process> {
    let config = dir.join("proxy.yaml").display().to_string();
    let words = [programs::kubernetes("kube-proxy")?, format!("--config={config}")];
    host.start(&dir.join("proxy.log"), in_root(dir, words)?)
}

/// A command with what puts it into the node's file system.
pub(super) fn in_root<S: AsRef<str>>(
    dir: &Path,
    command: impl IntoIterator<Item = S>,
) -> Result<Vec<String>> {
    let pid = fs::read_to_string(dir.join("pid")).context("the node has no file system")?;
    let mut words =
        vec!["nsenter".to_owned(), "--mount".into(), "--target".into(), pid.trim().into(), "--".into()];
    words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
    Ok(words)
}

/// Its network namespace, on the bridge of all nodes, with the ways to other nodes' pods.
fn network(scope: &Scope, number: u8, name: &str) -> Result<Host> {
    let (netns, control) = (scope.netns(name), scope.netns("control"));
    netns::add(&netns)?;
    let address = Ipv4Addr::new(10, 99, 0, 10 + number);
    let link =
        format!("link add {name} type veth peer name eth0 netns {netns}\nlink set {name} master nodes up\n");
    netns::configure(&control, &[], &link)?;
    let mut addresses = format!(
        "link set lo up\naddr add {address}/24 dev eth0\naddr add {}/64 dev eth0 nodad\nlink set eth0 up\n\
         route add default via {CONTROL}\nroute add default via {CONTROL6}\n",
        address6(number)
    );
    for other in (1..=3u8).filter(|other| *other != number) {
        addresses += &format!("route add 10.244.{other}.0/24 via 10.99.0.{}\n", 10 + other);
        addresses += &format!("route add fd00:10:244:{other}::/64 via {}\n", address6(other));
    }
    let forward = [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")];
    netns::configure(&netns, &forward, &addresses)?;
    netns::configure(&control, &[], &format!("route add 10.244.{number}.0/24 via {address}\n"))?;
    let cgroup = scope.cgroup.join(format!("{name}-system"));
    cgroup::make(&cgroup)?;
    Ok(Host { name: name.into(), cgroup, netns: netns::path(&netns), address: IpAddr::V4(address) })
}

/// Where a node is, of IPv6.
fn address6(number: u8) -> String {
    format!("fd00:99::1{number}")
}

/// The plain chain of CNI plugins that Debian has.
fn conflist(number: u8, families: Families) -> serde_json::Value {
    let mut ranges = vec![json!([{"subnet": format!("10.244.{number}.0/24")}])];
    let mut routes = vec![json!({"dst": "0.0.0.0/0"})];
    if families == Families::Both {
        ranges.push(json!([{"subnet": format!("fd00:10:244:{number}::/64")}]));
        routes.push(json!({"dst": "::/0"}));
    }
    json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet(scope: &Scope, name: &str, dir: &Path) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": false, "cgroupDriver": "cgroupfs",
        "cgroupRoot": Path::new("/").join(scope.relative_cgroup()).join(name),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // Whoever reaches it is in the cluster's own network namespaces.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "failSwapOn": false, "resolvConf": dir.join("resolv.conf"),
        "clusterDNS": [DNS], "clusterDomain": "cluster.local",
        "maxPods": 200, "enforceNodeAllocatable": ["pods"],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "staticPodPath": dir.join("static"), "fileCheckFrequency": "1s",
        "nodeStatusUpdateFrequency": "5s", "serializeImagePulls": false,
    })
}

fn proxy(api: &ApiServer, name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "iptables", "hostnameOverride": name, "clusterCIDR": "10.244.0.0/16,fd00:10:244::/48",
        "clientConnection": {"kubeconfig": api.kubeconfig()},
        "conntrack": {"maxPerCore": 0},
    })
}

fn containerd_config() -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  # runc could not lower it without CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  sandbox_image = "{BUSYBOX}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#
    )
}
