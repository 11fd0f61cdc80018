//! The controller beside a real API server: who gets which certificate, and what becomes of the authority's key.
//!
//! There is no kubelet: pods are what a test says, and tokens what the API server makes for them.

use std::{path::PathBuf, sync::Mutex};

use anyhow::{Context, Result, anyhow};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use serde_json::{Value, json};
use weir_agent::{
    ca::{CaError, CertificateAuthority, CertificateRequest, Issued, RemoteCa, RemoteCaOptions, Trust},
    identity::{Identity, TrustDomain},
};
use weir_tests::{ApiServer, Controller, Manifest, Topology, eventually};

/// An API server with a namespace for Weir, an agent on each of two nodes, and a workload on each.
struct Mesh {
    api: ApiServer,
    /// Counts files.
    files: Mutex<u32>,
    topology: Topology,
}

impl Mesh {
    fn new() -> Result<Self> {
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

    fn root_count(&self) -> Result<usize> {
        Ok(self.roots()?.matches("BEGIN CERTIFICATE").count())
    }

    /// The token of the agent on a node.
    fn agent(&self, node: u8) -> Result<String> {
        self.api.token("weir-system/weir-agent", &format!("agent-{node}"), "weir.dev")
    }

    /// What the authority of the controller with this number answers.
    fn ask_at(
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

    fn ask(&self, token: &str, name: &str) -> Result<Result<Issued, CaError>> {
        self.ask_at(0, token, request(name))
    }
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}})
}

fn pod(namespace: &str, name: &str, service_account: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "nodeName": node, "serviceAccountName": service_account,
            "containers": [{"name": "app", "image": "none"}],
        },
    })
}

fn identity(name: &str) -> Identity {
    Identity::new(&TrustDomain::default(), "shop", name).expect("a name")
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn request_with(name: &str, names: Vec<SanType>) -> CertificateRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    let key = KeyPair::generate().expect("a key");
    let csr = params.serialize_request(&key).expect("a CSR").der().clone();
    CertificateRequest { identity: identity(name), csr }
}

fn request(name: &str) -> CertificateRequest {
    request_with(name, vec![uri(&identity(name).to_string())])
}

/// Words of a refusal.
fn denied(answer: Result<Issued, CaError>) -> String {
    match answer {
        Err(CaError::Denied(words)) => words,
        other => panic!("not refused: {other:?}"),
    }
}

fn start(mesh: &Mesh) -> Result<Controller> {
    mesh.api.controller(0, [])?.ready()
}

#[test]
fn a_node_gets_certificates_for_its_own_pods_and_nothing_else() -> Result<()> {
    let mesh = Mesh::new()?;
    let controller = start(&mesh)?;
    let (one, two) = (mesh.agent(1)?, mesh.agent(2)?);
    let issued = mesh.ask(&one, "cart")??;
    let (_, leaf) = x509_parser::parse_x509_certificate(&issued.chain[0])?;
    let names = leaf.subject_alternative_name()?.context("no name")?.value.general_names.clone();
    assert_eq!(names.len(), 1);
    assert!(names[0].to_string().contains("spiffe://cluster.local/ns/shop/sa/cart"), "{names:?}");
    assert_eq!(issued.roots.len(), 1);
    mesh.ask(&two, "pay")??;

    // A node's token that was stolen is good for that node's pods only.
    assert!(denied(mesh.ask(&one, "pay")?).contains("sa/pay has no pod on node-1"));
    assert!(denied(mesh.ask(&two, "cart")?).contains("sa/cart has no pod on node-2"));
    assert!(denied(mesh.ask(&one, "none")?).contains("has no pod on node-1"));

    // One that comes is known at once, and one that went is not for long.
    mesh.api.apply(&pod("shop", "pay-1", "pay", "node-1").to_string())?;
    mesh.ask(&one, "pay")??;
    mesh.api.kubectl(["-n", "shop", "delete", "pod", "pay-1", "--grace-period=0", "--force"])?;
    eventually("it to be refused", || Ok(mesh.ask(&one, "pay")?.is_err().then_some(())))?;
    assert!(controller.metric("weir_ca_requests_total", &[("result", "denied")])? >= Some(4.0));
    assert!(controller.metric("weir_ca_requests_total", &[("result", "issued")])? >= Some(3.0));
    controller.stop()
}

#[test]
fn a_token_of_anybody_else_or_for_anything_else_buys_nothing() -> Result<()> {
    let mesh = Mesh::new()?;
    let _controller = start(&mesh)?;
    let of_workload = mesh.api.token("shop/cart", "cart", "weir.dev")?;
    assert!(denied(mesh.ask(&of_workload, "cart")?).contains("is of system:serviceaccount:shop:cart"));
    let elsewhere = mesh.api.token("weir-system/weir-agent", "agent-1", "https://kubernetes.default.svc")?;
    assert!(denied(mesh.ask(&elsewhere, "cart")?).contains("not accepted"));
    let words = ["-n", "weir-system", "create", "token", "weir-agent", "--audience=weir.dev"];
    let of_no_pod = mesh.api.kubectl(words)?;
    assert!(denied(mesh.ask(of_no_pod.trim(), "cart")?).contains("bound to no pod"));
    let own = mesh.agent(1)?;
    let mut forged = own.clone().into_bytes();
    let last = forged.len() - 3;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    assert!(denied(mesh.ask(&String::from_utf8(forged)?, "cart")?).contains("not accepted"));
    assert!(denied(mesh.ask("the-token-of-admin", "cart")?).contains("not accepted"));
    // What is bound to a pod ends with it.
    mesh.ask(&own, "cart")??;
    let second = mesh.agent(1)?;
    mesh.api.kubectl(["-n", "weir-system", "delete", "pod", "agent-1", "--grace-period=0", "--force"])?;
    eventually("the token to be refused", || {
        let answer = mesh.ask(&format!("{second} "), "cart")?;
        Ok(matches!(answer, Err(CaError::Denied(_))).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_request_that_asks_for_another_name_or_a_second_one_is_refused() -> Result<()> {
    let mesh = Mesh::new()?;
    let _controller = start(&mesh)?;
    let token = mesh.agent(1)?;
    let own = identity("cart").to_string();
    let dns = SanType::DnsName("bank.example".try_into()?);
    for names in [
        vec![uri(&identity("pay").to_string())],
        vec![uri(&own), uri(&identity("pay").to_string())],
        vec![uri(&own), dns],
        vec![],
    ] {
        let answer = mesh.ask_at(0, &token, request_with("cart", names))?;
        assert!(matches!(answer, Err(CaError::Invalid(_))), "{answer:?}");
    }
    let trust_domain: TrustDomain = "other.example".parse()?;
    let elsewhere = Identity::new(&trust_domain, "shop", "cart")?;
    let request = CertificateRequest { identity: elsewhere, ..request("cart") };
    assert!(denied(mesh.ask_at(0, &token, request)?).contains("not of the trust domain"));
    Ok(())
}

#[test]
fn a_rotation_publishes_the_next_root_before_it_signs_under_it() -> Result<()> {
    let mesh = Mesh::new()?;
    let _controller = mesh.api.controller(0, ["--rotation-spread=3"])?.ready()?;
    let token = mesh.agent(1)?;
    let before = mesh.ask(&token, "cart")??;
    let words = ["-n", "weir-system", "annotate", "secret", "weir-ca", "weir.dev/rotate=now"];
    mesh.api.kubectl(words)?;
    eventually("two roots", || Ok((mesh.root_count()? == 2).then_some(())))?;
    // Whoever signs now, both are trusted by whoever asks now.
    let meanwhile = mesh.ask(&token, "cart")??;
    assert_eq!(meanwhile.roots.len(), 2);
    assert_eq!(meanwhile.roots[0], before.roots[0]);
    let issuer = |issued: &Issued| -> Result<String> {
        Ok(x509_parser::parse_x509_certificate(&issued.chain[0])?.1.issuer().to_string())
    };
    let first = issuer(&before)?;
    let after = eventually("the next root to sign", || {
        let issued = mesh.ask(&token, "cart")??;
        Ok((issuer(&issued)? != first).then_some(issued))
    })?;
    // What was signed before is good until it expires.
    assert_eq!(after.roots, meanwhile.roots);
    Ok(())
}

#[test]
fn two_controllers_have_one_key_and_when_the_writer_goes_the_other_writes() -> Result<()> {
    let mesh = Mesh::new()?;
    let first = start(&mesh)?;
    let second = mesh.api.controller(1, ["--rotation-spread=1"])?.ready()?;
    let token = mesh.agent(1)?;
    let (one, other) = (mesh.ask_at(0, &token, request("cart"))??, mesh.ask_at(1, &token, request("cart"))??);
    assert_eq!(one.roots, other.roots);
    assert_eq!(first.metric("weir_controller_leads", &[])?, Some(1.0));
    assert_eq!(second.metric("weir_controller_leads", &[])?, Some(0.0));
    first.stop()?;
    eventually("the other one to write", || {
        Ok(second.metric("weir_controller_leads", &[])?.filter(|leads| *leads == 1.0))
    })?;
    mesh.ask_at(1, &token, request("cart"))??;
    mesh.api.kubectl(["-n", "weir-system", "annotate", "secret", "weir-ca", "weir.dev/rotate=now"])?;
    eventually("two roots", || Ok((mesh.root_count()? == 2).then_some(())))?;
    Ok(())
}

#[test]
fn a_secret_that_is_not_fit_is_left_alone_and_said() -> Result<()> {
    let mesh = Mesh::new()?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "weir-system", "name": "weir-ca"},
        "stringData": {"tls.crt": "mine", "tls.key": "mine"},
    });
    mesh.api.apply(&secret.to_string())?;
    let mut controller = mesh.api.controller(0, [])?;
    controller.wait_log("the fault", "Secret weir-system/weir-ca: tls.crt: holds no certificate")?;
    let error = controller.http("/readyz").expect_err("not ready").to_string();
    assert!(error.contains("503"), "{error}");
    let words = ["-n", "weir-system", "get", "secret", "weir-ca", r"-o=jsonpath={.data.tls\.crt}"];
    assert_eq!(mesh.api.kubectl(words)?, "bWluZQ==");
    mesh.api.kubectl(["-n", "weir-system", "delete", "secret", "weir-ca"])?;
    let controller = controller.ready()?;
    mesh.ask(&mesh.agent(1)?, "cart")??;
    controller.stop()
}

/// A definition of a kind of ours that lets everything pass, with a status of its own.
fn definition(kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.weir.dev")},
        "spec": {
            "group": "weir.dev", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

impl Mesh {
    /// What the status of an object of `shop` says, once `condition` holds for it.
    fn wait_status(&self, object: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(&format!("the status of {object} to say {what}"), || {
            let printed = self.api.kubectl(["-n", "shop", "get", object, "-o=json"])?;
            let object: Value = serde_json::from_str(&printed)?;
            Ok(Some(object["status"].clone()).filter(&condition))
        })
    }
}

#[test]
fn an_objects_status_says_whether_it_is_in_force_and_what_is_wrong_with_it() -> Result<()> {
    let mesh = Mesh::new()?;
    mesh.api.apply(&definition("AccessPolicy", "accesspolicies").to_string())?;
    let controller = start(&mesh)?;
    let policy = |port: Value| {
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
            "metadata": {"namespace": "shop", "name": "callers"},
            "spec": {"tier": "application", "action": "allow", "rules": [{"to": [{"ports": [port]}]}]},
        })
        .to_string()
    };
    eventually("the kind to be there", || Ok(mesh.api.apply(&policy(json!(8080))).ok()))?;
    let accepted = |status: &Value, wanted: &str| status["conditions"][0]["status"] == wanted;
    let good = mesh.wait_status("accesspolicy/callers", "that it is in force", |of| accepted(of, "True"))?;
    assert_eq!(
        (&good["conditions"][0]["type"], &good["observedGeneration"]),
        (&json!("Accepted"), &json!(1))
    );
    mesh.api.apply(&policy(json!(99_999)))?;
    let bad = mesh.wait_status("accesspolicy/callers", "what is wrong", |of| accepted(of, "False"))?;
    let condition = &bad["conditions"][0];
    assert_eq!((&condition["reason"], &condition["observedGeneration"]), (&json!("Invalid"), &json!(2)));
    let words = condition["message"].as_str().context("no words")?;
    assert!(words.contains("spec.rules[0].to[0].ports[0]") && words.contains("99999"), "{words}");
    mesh.api.apply(&policy(json!(8081)))?;
    mesh.wait_status("accesspolicy/callers", "that it is in force", |of| accepted(of, "True"))?;
    assert_eq!(
        controller.metric("weir_controller_status_writes_total", &[("result", "failed")])?.unwrap_or(0.0),
        0.0
    );
    controller.stop()
}

#[test]
fn a_routes_status_says_what_becomes_of_it_at_each_service_beside_what_others_say() -> Result<()> {
    let mesh = Mesh::new()?;
    mesh.api.install_gateway_api()?;
    let _controller = start(&mesh)?;
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name},
            "spec": {"ports": [{"port": 80}]},
        })
        .to_string()
    };
    mesh.api.apply(&service("pay"))?;
    let parent = json!({"group": "", "kind": "Service", "name": "pay", "port": 80});
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"});
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": "pay"},
        "spec": {
            "parentRefs": [gateway, parent], "rules": [{"backendRefs": [{"name": "pay-v2", "port": 80}]}],
        },
    });
    eventually("the kind to be there", || Ok(mesh.api.apply(&route.to_string()).ok()))?;
    let condition = |status: &Value, kind: &str| {
        let parents = status["parents"].as_array().cloned().unwrap_or_default();
        let ours = parents.into_iter().find(|entry| entry["controllerName"] == "weir.dev/controller")?;
        assert_eq!(ours["parentRef"], parent);
        ours["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
    };
    let is = |status: &Value, kind: &str, wanted: &str| {
        condition(status, kind).is_some_and(|condition| condition["status"] == wanted)
    };
    let found =
        mesh.wait_status("httproute/pay", "that a backend is missing", |of| is(of, "ResolvedRefs", "False"))?;
    let missing = condition(&found, "ResolvedRefs").context("no condition")?;
    assert_eq!(missing["reason"], "BackendNotFound");
    assert!(is(&found, "Accepted", "True"), "{found}");

    // Another controller says something of its own parent.
    let others = json!({
        "parentRef": gateway, "controllerName": "example.com/gateway",
        "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }],
    });
    let parents: Vec<Value> =
        found["parents"].as_array().context("no parents")?.iter().cloned().chain([others.clone()]).collect();
    mesh.api.set_status("httproute/pay", "shop", &json!({"parents": parents}))?;
    mesh.api.apply(&service("pay-v2"))?;
    let found =
        mesh.wait_status("httproute/pay", "that all is there", |of| is(of, "ResolvedRefs", "True"))?;
    assert!(found["parents"].as_array().is_some_and(|parents| parents.contains(&others)), "{found}");
    Ok(())
}
