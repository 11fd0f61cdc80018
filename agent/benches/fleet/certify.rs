//! Agents that begin at once and want certificates, as after a power cut.
//!
//! Entry point: [`certify`]. Tokens, requests, retries and the trust in the authority are those of real agents; what they do
//! beside is left out.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use weir_agent::{
    ca::{RemoteCa, RemoteCaOptions, Trust},
    certs::{Certificates, CertificatesOptions},
    identity::{Identity, TrustDomain},
};

/// Requests at one time while things are made ready.
const AT_ONCE: usize = 32;
const OWN: &str = "weir-system";
const THEIRS: &str = "load-0";
/// The longest that a certificate may take.
const LONG: Duration = Duration::from_secs(600);

/// A folder of tokens that goes with it.
struct Tokens(PathBuf);

impl Drop for Tokens {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Has so many agents want so many certificates each of the controller at `localhost:port`, once a line comes.
pub(super) async fn certify(client: &Client, agents: usize, each: usize, port: u16) -> Result<()> {
    let tokens = Tokens(std::env::temp_dir().join(format!("weir-fleet-{}", std::process::id())));
    fs::create_dir_all(&tokens.0)?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": THEIRS}});
    create(&Api::<Namespace>::all(client.clone()), namespace).await?;
    account(client, OWN, "weir-agent").await?;
    for nth in 0..each {
        account(client, THEIRS, &format!("app-{nth}")).await?;
    }
    let ready = stream::iter(0..agents).map(|agent| {
        let tokens = &tokens;
        async move {
            let (name, node) = (format!("agent-{agent}"), format!("node-{agent}"));
            pod(client, OWN, &name, "weir-agent", &node).await?;
            for nth in 0..each {
                pod(client, THEIRS, &format!("app-{nth}-{agent}"), &format!("app-{nth}"), &node).await?;
            }
            let token = token(client, &name).await?;
            anyhow::Ok(fs::write(tokens.0.join(agent.to_string()), token)?)
        }
    });
    ready.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    println!("{}", json!({"nth": 0}));
    super::lines().recv().await.context("nobody said when")?;

    let began = Instant::now();
    let all: Vec<_> = (0..agents)
        .map(|agent| {
            let options = RemoteCaOptions {
                host: "localhost".into(),
                port,
                token: tokens.0.join(agent.to_string()),
                cluster: "Kubernetes".into(),
            };
            let trust = Trust::of_config_map(client.clone(), OWN, "weir-ca-roots");
            let ca = RemoteCa::new(options, trust).map_err(|words| anyhow!(words))?;
            anyhow::Ok(Certificates::start(Arc::new(ca), CertificatesOptions::default()))
        })
        .collect::<Result<_>>()?;
    let identities = (0..each)
        .map(|nth| Identity::new(&TrustDomain::default(), THEIRS, &format!("app-{nth}")))
        .collect::<Result<Vec<_>, _>>()?;
    for (certificates, _) in &all {
        certificates.want(identities.clone());
    }
    let mut failed = 0;
    for (certificates, _) in &all {
        for identity in &identities {
            certificates.wait(identity, LONG).await?;
        }
        failed += certificates.counters().failed.load(Relaxed);
    }
    println!("{}", json!({"nth": 1, "seconds": began.elapsed().as_secs_f64(), "failed": failed}));
    Ok(())
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: serde::de::DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    match api.create(&PostParams::default(), &serde_json::from_value(object)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

async fn account(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name},
    });
    create(&Api::<ServiceAccount>::namespaced(client.clone(), namespace), account).await
}

async fn pod(client: &Client, namespace: &str, name: &str, account: &str, node: &str) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "nodeName": node, "serviceAccountName": account, "containers": [{"name": "app", "image": "none"}],
        },
    });
    create(&Api::<Pod>::namespaced(client.clone(), namespace), pod).await
}

async fn token(client: &Client, pod: &str) -> Result<String> {
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(pod.to_owned()),
        uid: None,
    };
    let spec = TokenRequestSpec {
        audiences: Some(vec!["weir.dev".into()]),
        bound_object_ref: Some(bound),
        expiration_seconds: Some(3600),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), OWN);
    let given = accounts.create_token_request("weir-agent", &PostParams::default(), &request).await?;
    given.status.and_then(|status| status.token).context("no token")
}
