//! Who asks for a certificate: an agent, and on which node it runs.
//!
//! Entry point: [`Callers::node_of`]. The API server says whose a token is (authentication.k8s.io/v1 TokenReview, with the
//! audience that tokens for this authority have); the node comes from what the token itself is bound to, never from what
//! the caller says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
    core::v1::Pod,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use crate::ca::CaError;

/// The audience of tokens for this authority.
const AUDIENCE: &str = "weir.dev";
/// For how long a token is not asked about again.
const KEPT: Duration = Duration::from_secs(60);
/// Tokens that are remembered at most; one for each node, and those that were renewed a moment ago.
const MOST: usize = 8192;
/// Questions to the API server at one time.
const AT_ONCE: usize = 64;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Longer ones are not asked about, in octets.
const LONGEST: usize = 16 * 1024;

const NODE: &str = "authentication.kubernetes.io/node-name";
const POD: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// When a token was asked about, and of which node it is.
type Known = (Instant, Arc<str>);

/// Knows tokens.
pub(super) struct Callers {
    client: Client,
    /// `system:serviceaccount:NAMESPACE:NAME`, as which agents run.
    agent: String,
    namespace: String,
    known: Mutex<HashMap<[u8; 32], Known>>,
    asking: Semaphore,
}

impl Callers {
    /// Agents run as `service_account` in `namespace`.
    pub(super) fn new(client: Client, namespace: &str, service_account: &str) -> Self {
        Self {
            client,
            agent: format!("system:serviceaccount:{namespace}:{service_account}"),
            namespace: namespace.into(),
            known: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
        }
    }

    /// The node of the agent whose token this is.
    ///
    /// # Errors
    /// [`CaError::Denied`] when it is none's, or of no node; [`CaError::Unreachable`] when nobody can say.
    pub(super) async fn node_of(&self, token: &str) -> Result<Arc<str>, CaError> {
        if token.is_empty() || token.len() > LONGEST {
            return Err(CaError::Denied(format!("a token of {} octets is none", token.len())));
        }
        // No token is kept: who reads this process's memory shall not find those of all nodes.
        let hash: [u8; 32] = digest(&SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default();
        if let Some(node) = self.known(&hash) {
            return Ok(node);
        }
        let Ok(_turn) = self.asking.acquire().await else {
            return Err(CaError::Unreachable("the authority is stopping".into()));
        };
        // Another request may have asked meanwhile.
        if let Some(node) = self.known(&hash) {
            return Ok(node);
        }
        let asked = timeout(LIMIT, self.ask(token)).await;
        let node =
            asked.map_err(|_| CaError::Unreachable(format!("no word of the token within {LIMIT:?}")))??;
        self.remember(hash, node.clone());
        Ok(node)
    }

    fn known(&self, hash: &[u8; 32]) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|(at, _)| at.elapsed() < KEPT).map(|(_, node)| node.clone())
    }

    fn remember(&self, hash: [u8; 32], node: Arc<str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (at, _)| at.elapsed() < KEPT);
        }
        if known.len() < MOST {
            known.insert(hash, (Instant::now(), node));
        }
    }

    async fn ask(&self, token: &str) -> Result<Arc<str>, CaError> {
        let spec = TokenReviewSpec { token: token.into(), audiences: Some(vec![AUDIENCE.into()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let unreachable = |error: kube::Error| CaError::Unreachable(format!("no word of the token: {error}"));
        let answer = api.create(&PostParams::default(), &review).await.map_err(unreachable)?;
        let caller = read(&answer.status.unwrap_or_default(), &self.agent)?;
        match caller {
            Caller::OnNode(node) => Ok(node),
            // Before Kubernetes 1.32 tokens name their pod only.
            Caller::InPod { name, uid } => {
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
                let pod = pods.get_opt(&name).await.map_err(unreachable)?;
                let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid.as_str()));
                let node = pod.and_then(|pod| pod.spec).and_then(|spec| spec.node_name);
                node.map(Arc::from)
                    .ok_or_else(|| CaError::Denied(format!("the token's pod {name} is on no node")))
            }
        }
    }
}

/// Where the owner of a token is.
#[derive(Debug, PartialEq, Eq)]
enum Caller {
    OnNode(Arc<str>),
    InPod { name: String, uid: String },
}

fn read(status: &TokenReviewStatus, agent: &str) -> Result<Caller, CaError> {
    let denied = |words: String| Err(CaError::Denied(words));
    if status.authenticated != Some(true) {
        let error = status.error.as_deref().unwrap_or("it is not one of this cluster's");
        return denied(format!("the token is not accepted: {error}"));
    }
    // An API server that does not look at audiences answers without them.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return denied(format!("the token is for {audiences:?}, not for {AUDIENCE}"));
    }
    let user = status.user.as_ref();
    let name = user.and_then(|user| user.username.as_deref()).unwrap_or_default();
    if name != agent {
        return denied(format!("the token is of {name}, not of {agent}"));
    }
    let extra = |key: &str| match user.and_then(|user| user.extra.as_ref()?.get(key)).map(Vec::as_slice) {
        Some([one]) if !one.is_empty() => Some(one.clone()),
        _ => None,
    };
    match (extra(NODE), extra(POD), extra(POD_UID)) {
        (Some(node), ..) => Ok(Caller::OnNode(node.into())),
        (None, Some(name), Some(uid)) => Ok(Caller::InPod { name, uid }),
        _ => denied("the token is bound to no pod, so it is of no node".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AGENT: &str = "system:serviceaccount:weir-system:weir-agent";

    fn said(status: Value) -> Result<Caller, CaError> {
        read(&serde_json::from_value(status).expect("a status"), AGENT)
    }

    fn good() -> Value {
        json!({
            "authenticated": true, "audiences": ["weir.dev"],
            "user": {"username": AGENT, "extra": {
                NODE: ["node-1"], POD: ["weir-agent-x"], POD_UID: ["u"],
            }},
        })
    }

    #[test]
    fn the_node_is_the_one_that_the_token_is_bound_to() {
        assert_eq!(said(good()), Ok(Caller::OnNode("node-1".into())));
        let mut old = good();
        old["user"]["extra"].as_object_mut().expect("fields").remove(NODE);
        assert_eq!(said(old), Ok(Caller::InPod { name: "weir-agent-x".into(), uid: "u".into() }));
    }

    #[test]
    fn other_tokens_are_refused_with_what_is_wrong_with_them() {
        let with = |at: &str, value: Value| {
            let mut status = good();
            *status.pointer_mut(at).expect("a field") = value;
            status
        };
        for (status, word) in [
            (json!({"authenticated": false, "error": "token has expired"}), "token has expired"),
            (json!({}), "not accepted"),
            (with("/audiences", json!([])), "not for weir.dev"),
            (with("/audiences", json!(["https://kubernetes.default.svc"])), "not for weir.dev"),
            (with("/user/username", json!("system:serviceaccount:shop:cart")), "shop:cart, not of"),
            (with("/user/username", json!("admin")), "of admin"),
            (with("/user/extra", json!({})), "bound to no pod"),
            (with("/user/extra", json!({NODE: ["a", "b"]})), "bound to no pod"),
            (with("/user/extra", json!({NODE: [""]})), "bound to no pod"),
        ] {
            let error = said(status).expect_err("refused");
            assert!(matches!(&error, CaError::Denied(words) if words.contains(word)), "{error}");
        }
    }
}
