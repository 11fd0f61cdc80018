//! A real API server with its etcd, on a node of its own: what an agent reads the cluster from.
//!
//! Entry point: [`ApiServer::start`]. Alone it has no kubelet, no controller, no scheduler: objects are what a test says.
//! Everyone who has its kubeconfig may do everything.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::{
    encoding::AsDer,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    CLUSTER_LIMIT,
    manifest::Manifest,
    netns, pod,
    process::{Finished, Process, eventually_within},
    programs,
    topology::Node,
};

const PORT: u16 = 6443;
/// Who may do everything.
const ADMIN: &str = "admin";

/// Where a part of a cluster runs.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// As errors call it.
    pub(crate) name: String,
    pub(crate) cgroup: PathBuf,
    pub(crate) netns: PathBuf,
    pub(crate) address: IpAddr,
}

impl Host {
    /// Starts `command` there, for good: what it says goes to `file`, and it may outlive this process.
    pub(crate) fn start<S: AsRef<str>>(
        &self,
        file: &Path,
        command: impl IntoIterator<Item = S>,
    ) -> Result<Process> {
        let mut words =
            ["sh", "-c", r#"file=$1 && shift && exec "$@" >>"$file" 2>&1"#, "sh"].map(str::to_owned).to_vec();
        words.push(file.display().to_string());
        words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
        self.spawn(words)
    }

    /// Starts `command` there.
    pub(crate) fn spawn<S: AsRef<str>>(&self, command: impl IntoIterator<Item = S>) -> Result<Process> {
        pod::enter(&self.cgroup, &self.netns, &self.name, command)
    }
}

/// What an API server is to be beside.
pub(crate) struct Options<'a> {
    /// Who else has a token: a name for it, the user, and the group.
    pub(crate) users: &'a [(&'a str, String, &'a str)],
    /// Whether somebody makes the service accounts that pods need.
    pub(crate) with_service_accounts: bool,
    /// The ranges of Services' addresses, between commas.
    pub(crate) services: &'a str,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { users: &[], with_service_accounts: false, services: "10.96.0.0/16" }
    }
}

/// A running API server; dropping it ends it and forgets all objects.
pub struct ApiServer {
    host: Host,
    dir: PathBuf,
    flags: Vec<String>,
    server: Process,
    etcd: Process,
}

impl ApiServer {
    /// Starts one on `node`, in its network namespace, and waits until it answers.
    pub fn start(node: &Node) -> Result<Self> {
        Self::start_at(node.host(), node.dir().join("api-server"), &Options::default())
    }

    pub(crate) fn start_at(host: Host, dir: PathBuf, options: &Options<'_>) -> Result<Self> {
        fs::create_dir(&dir)?;
        let mut tokens = format!("{},admin,admin,system:masters\n", token(ADMIN));
        for (name, user, group) in options.users {
            tokens += &format!("{},{user},{name},{group}\n", token(name));
        }
        fs::write(dir.join("tokens.csv"), tokens)?;
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        fs::write(dir.join("service-accounts.key"), pem(key.private_key().as_der()?.as_ref()))?;
        let mut flags = vec![format!("--service-cluster-ip-range={}", options.services)];
        if !options.with_service_accounts {
            // Nobody makes the one that a pod without a word gets.
            flags.push("--disable-admission-plugins=ServiceAccount".into());
        }
        let etcd = etcd(&host, &dir)?;
        let server = server(&host, &dir, &flags)?;
        let mut api = Self { host, dir, flags, server, etcd };
        api.wait()?;
        Ok(api)
    }

    /// What `name`, one of the users, needs to speak to it.
    pub(crate) fn kubeconfig_of(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {
                "server": format!("https://{}:{PORT}", self.host.address),
                "certificate-authority": self.certificate(),
            }}],
            "users": [{"name": "it", "user": {"token": token(name)}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        })
    }

    /// Where it runs.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Runs `code` where a program beside the API server would run: in its network namespace.
    pub fn inside<T: Send>(&self, code: impl FnOnce() -> T + Send) -> Result<T> {
        netns::inside(&self.host.netns, code)
    }

    /// A token of a service account, `namespace/name`, for `audience`, bound to one of its pods.
    pub fn token(&self, service_account: &str, pod: &str, audience: &str) -> Result<String> {
        let (namespace, name) = service_account.split_once('/').unwrap_or(("default", service_account));
        let (audience, pod) = (format!("--audience={audience}"), format!("--bound-object-name={pod}"));
        let words = ["-n", namespace, "create", "token", name, &audience, "--bound-object-kind=Pod", &pod];
        self.kubectl(words).map(|token| token.trim().to_owned())
    }

    /// The folder for its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate by which it is known.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("certificates/apiserver.crt")
    }

    /// The key that signs service accounts' tokens.
    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.dir.join("service-accounts.key")
    }

    /// The file that says where it is and how to speak to it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Runs `kubectl WORDS…` to its end, and gives what it printed.
    pub fn kubectl<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        self.ask_with("kubectl", words)
    }

    /// Runs a client of the API, such as `kubectl` or `helm`, to its end, and gives what it printed.
    pub(crate) fn ask_with<S: AsRef<str>>(
        &self,
        client: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let mut command = vec![
            // What it keeps for later, it keeps here.
            "env".to_owned(),
            format!("HOME={}", self.dir.display()),
            programs::kubernetes(client)?,
            format!("--kubeconfig={}", self.kubeconfig().display()),
        ];
        command.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        // It may have to wait for what it asks for.
        self.host.spawn(command)?.finish_within(CLUSTER_LIMIT)?.success()
    }

    /// Runs a program of Weir with the kubeconfig to its end.
    pub(crate) fn run_with_kubeconfig<S: AsRef<str>>(
        &self,
        program: &Path,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Finished> {
        let kubeconfig = format!("KUBECONFIG={}", self.kubeconfig().display());
        let mut command =
            vec!["env".to_owned(), "NO_COLOR=1".into(), kubeconfig, program.display().to_string()];
        command.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.host.spawn(command)?.finish_within(CLUSTER_LIMIT)
    }

    /// Adds an object, or makes it what is given here.
    pub fn put(&self, object: &Manifest) -> Result<()> {
        self.apply(&object.to_string())
    }

    /// Adds the objects of some YAML.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let file = self.dir.join("object.yaml");
        fs::write(&file, yaml)?;
        let file = file.display().to_string();
        self.kubectl(["apply", "--server-side", "--force-conflicts", "-f", &file]).map(drop)
    }

    /// Makes the kinds of the Gateway API's standard channel known.
    pub fn install_gateway_api(&self) -> Result<()> {
        let folder = programs::conformance("standard")?.display().to_string();
        self.kubectl(["apply", "--server-side", "-f", &folder])?;
        let wait = ["wait", "--for=condition=Established", "--timeout=50s", "crd", "--all"];
        self.kubectl(wait).map(drop)
    }

    /// Applies what is in `deploy/PATH`: a file, or a folder with a kustomization.
    pub fn deploy(&self, path: &str) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no checkout")?;
        let path = root.join("deploy").join(path);
        let flag = if path.is_dir() { "-k" } else { "-f" };
        self.kubectl(["apply", "--server-side", flag, &path.display().to_string()]).map(drop)
    }

    /// Applies the definitions of Weir's kinds, and waits until there are such objects.
    pub fn define(&self) -> Result<()> {
        self.deploy("crds")?;
        let kinds = ["accesspolicies", "requestauthentications", "trafficpolicies", "workloadslices"];
        let names = kinds.map(|kind| format!("crd/{kind}.weir.dev"));
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"].map(str::to_owned);
        self.kubectl(wait.into_iter().chain(names)).map(drop)
    }

    /// Runs some of Kubernetes' controllers, each with rights of its own as on a real cluster.
    pub fn run_controllers(&self, names: &[&str]) -> Result<Process> {
        self.host.start(
            &self.dir.join("controllers.log"),
            [
                programs::kubernetes("kube-controller-manager")?,
                format!("--kubeconfig={}", self.kubeconfig().display()),
                "--leader-elect=false".into(),
                "--bind-address=127.0.0.1".into(),
                "--use-service-account-credentials=true".into(),
                format!("--service-account-private-key-file={}", self.service_account_key().display()),
                format!("--root-ca-file={}", self.certificate().display()),
                format!("--controllers={}", names.join(",")),
            ],
        )
    }

    /// Changes the status of an object, as its kubelet or controller does.
    pub fn set_status(&self, object: &str, namespace: &str, status: &Value) -> Result<()> {
        let patch = json!({ "status": status }).to_string();
        let words = ["-n", namespace, "patch", object, "--subresource=status", "--type=merge", "-p", &patch];
        self.kubectl(words).map(drop)
    }

    /// Leaves it running when this is dropped.
    pub(crate) fn keep(self) {
        std::mem::forget(self.server);
        std::mem::forget(self.etcd);
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Ends the server; what it knew stays.
    pub fn stop(&mut self) -> Result<()> {
        self.server.signal(Signal::KILL)?;
        self.server.wait().map(drop)
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.server = server(&self.host, &self.dir, &self.flags)?;
        self.wait()
    }

    /// Has it do nothing, while its connections stay open.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal(Signal::STOP)
    }

    /// Has it go on.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal(Signal::CONT)
    }

    fn wait(&mut self) -> Result<()> {
        let certificate = self.certificate();
        eventually_within(CLUSTER_LIMIT, "the API server to have a certificate", || {
            Ok(certificate.exists().then_some(()))
        })?;
        fs::write(self.kubeconfig(), self.kubeconfig_of(ADMIN).to_string())?;
        eventually_within(CLUSTER_LIMIT, "the API server to be ready", || {
            if !self.server.is_running()? {
                let log = fs::read_to_string(self.dir.join("api-server.log"))?;
                bail!("the API server has ended: {}", log.lines().last().unwrap_or_default());
            }
            Ok(self.kubectl(["get", "--raw", "/readyz"]).ok())
        })?;
        Ok(())
    }
}

/// The token of a user; the cluster is not for others.
fn token(name: &str) -> String {
    format!("the-token-of-{name}")
}

fn etcd(host: &Host, dir: &Path) -> Result<Process> {
    let data = dir.join("etcd").display().to_string();
    let (clients, peers) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    host.start(
        &dir.join("etcd.log"),
        [
            programs::kubernetes("etcd")?.as_str(),
            "--data-dir",
            &data,
            // What it knows ends with the test.
            "--unsafe-no-fsync",
            "--listen-client-urls",
            clients,
            "--advertise-client-urls",
            clients,
            "--listen-peer-urls",
            peers,
            "--initial-advertise-peer-urls",
            peers,
            "--initial-cluster",
            &format!("default={peers}"),
        ],
    )
}

fn server(host: &Host, dir: &Path, flags: &[String]) -> Result<Process> {
    let address = host.address;
    let file = |name: &str| dir.join(name).display().to_string();
    let key = file("service-accounts.key");
    let words = [
        programs::kubernetes("kube-apiserver")?,
        "--etcd-servers=http://127.0.0.1:2379".into(),
        "--bind-address=0.0.0.0".into(),
        format!("--secure-port={PORT}"),
        format!("--advertise-address={address}"),
        "--authorization-mode=Node,RBAC".into(),
        // It makes a certificate of its own there.
        format!("--cert-dir={}", file("certificates")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        "--allow-privileged=true".into(),
        "--kubelet-preferred-address-types=InternalIP".into(),
    ];
    host.start(&dir.join("api-server.log"), words.iter().chain(flags)).context("an API server")
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines.join("\n"))
}
