//! An API server with two agents' pods, and what asks the controller's authority.

use std::{path::PathBuf, sync::Mutex};

use anyhow::{Result, anyhow};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use serde_json::{Value, json};
use weir_agent::{
    ca::{CaError, CertificateAuthority, CertificateRequest, Issued, RemoteCa, RemoteCaOptions, Trust},
    identity::{Identity, TrustDomain},
};
use weir_tests::{ApiServer, Controller, Manifest, Topology, eventually};

/// An API server with a namespace for Weir, an agent on each of two nodes, and a workload on each.
pub(crate) struct Mesh {
    pub(crate) api: ApiServer,
    /// Counts files.
    files: Mutex<u32>,
    topology: Topology,
}

impl Mesh {
    pub(crate) fn new() -> Result<Self> {
        let topology = Topology::with_nodes(1)?;
        let api = ApiServer::start(topology.node("a"))?;
        for namespace in ["weir-system", "shop"] {
            api.put(&Manifest::namespace(namespace))?;
        }
        for (namespace, name) in [("weir-system", "weir-agent"), ("shop", "cart"), ("shop", "pay")] {
            api.apply(&account(namespace, name).to_string())?;
        }
        api.apply(&pod("weir-system", "agent-1", "weir-agent", "node-1").to_string())?;
        api.apply(&pod("weir-system", "agent-2", "weir-agent", "node-2").to_string())?;
        api.apply(&pod("shop", "cart", "cart", "node-1").to_string())?;
        api.apply(&pod("shop", "pay", "pay", "node-2").to_string())?;
        Ok(Self { api, files: Mutex::default(), topology })
    }

    fn file(&self, text: &str) -> Result<PathBuf> {
        let mut files = self.files.lock().map_err(|_| anyhow!("a test panicked"))?;
        *files += 1;
        let file = self.topology.dir().join(format!("file-{files}"));
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// The roots that are published.
    fn roots(&self) -> Result<String> {
        let words =
            ["-n", "weir-system", "get", "configmap", "weir-ca-roots", r"-o=jsonpath={.data.roots\.pem}"];
        eventually("the roots to be published", || {
            Ok(self.api.kubectl(words).ok().filter(|text| !text.is_empty()))
        })
    }

    pub(crate) fn root_count(&self) -> Result<usize> {
        Ok(self.roots()?.matches("BEGIN CERTIFICATE").count())
    }

    /// The token of the agent on a node.
    pub(crate) fn agent(&self, node: u8) -> Result<String> {
        self.api.token("weir-system/weir-agent", &format!("agent-{node}"), "weir.dev")
    }

    /// What the authority of the controller with this number answers.
    pub(crate) fn ask_at(
        &self,
        number: u16,
        token: &str,
        request: CertificateRequest,
    ) -> Result<Result<Issued, CaError>> {
        let (roots, token) = (self.file(&self.roots()?)?, self.file(token)?);
        let port = 15012 + number;
        self.api.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let options =
                    RemoteCaOptions { host: "localhost".into(), port, token, cluster: "Kubernetes".into() };
                let ca = RemoteCa::new(options, Trust::of_file(roots)).map_err(|words| anyhow!(words))?;
                Ok(ca.issue(request).await)
            })
        })?
    }

    pub(crate) fn ask(&self, token: &str, name: &str) -> Result<Result<Issued, CaError>> {
        self.ask_at(0, token, request(name))
    }
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}})
}

pub(crate) fn pod(namespace: &str, name: &str, service_account: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "nodeName": node, "serviceAccountName": service_account,
            "containers": [{"name": "app", "image": "none"}],
        },
    })
}

pub(crate) fn identity(name: &str) -> Identity {
    Identity::new(&TrustDomain::default(), "shop", name).expect("a name")
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

pub(crate) fn request_with(name: &str, names: Vec<SanType>) -> CertificateRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    let key = KeyPair::generate().expect("a key");
    let csr = params.serialize_request(&key).expect("a CSR").der().clone();
    CertificateRequest { identity: identity(name), csr }
}

pub(crate) fn request(name: &str) -> CertificateRequest {
    request_with(name, vec![uri(&identity(name).to_string())])
}

/// Words of a refusal.
pub(crate) fn denied(answer: Result<Issued, CaError>) -> String {
    match answer {
        Err(CaError::Denied(words)) => words,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn start(mesh: &Mesh) -> Result<Controller> {
    mesh.api.controller(0, [])?.ready()
}
