//! `weir policy explain`: what would be decided about a connection, on the destination's node.
//!
//! Entry point: [`explain`], a pure function of the snapshot.

use super::asked::{self, Asked};
use crate::{
    admin::{Answer, Considered, ExplainError, ExplainQuery, Explanation, Mismatch},
    flows::{
        filter::ParameterError,
        record::{PolicyRef, Reason},
    },
    policy::{ConnectionDecision, PolicyExplanation, Request, Source, SourceAddress},
    state::{
        Snapshot,
        model::{NamespacedName, Workload},
    },
};

/// More fields of one policy that do not match are not told.
const MOST_MISMATCHES: usize = 32;

/// Answers `query` for each pod that the connection could reach.
///
/// # Errors
/// When a pod or Service does not exist, or has no such port; when there can be no such request, or its path
/// is refused.
pub(super) fn explain(snapshot: &Snapshot, query: &ExplainQuery) -> Result<Explanation, ExplainError> {
    let key = |name: &(String, String)| NamespacedName::new(name.0.as_str(), name.1.as_str());
    let (from, to) = (key(&query.from), key(&query.to));
    let not_found = |field, value: String, words: String| {
        ExplainError::NotFound(ParameterError::new(field, &value, words))
    };
    let source = snapshot
        .workload(&from)
        .ok_or_else(|| not_found("from", from.to_string(), format!("there is no pod {from}")))?;
    let destinations = destinations(snapshot, &to, query.port).ok_or_else(|| {
        let words = format!("there is no pod {to}, and no Service of that name with port {}", query.port);
        not_found("to", format!("{to}:{}", query.port), words)
    })?;
    let asked = asked::asked(query).map_err(ExplainError::Bad)?;
    let answers: Vec<Answer> = destinations
        .iter()
        .map(|(destination, port)| answer(snapshot, source, destination, *port, asked.as_ref()))
        .collect();
    Ok(Explanation {
        from: from.to_string(),
        to: to.to_string(),
        port: query.port,
        request: asked.as_ref().map(ToString::to_string),
        allowed: !answers.is_empty() && answers.iter().all(|answer| answer.allowed),
        answers,
    })
}

/// The pods that `to` stands for, with the port on each: a pod itself, else a Service's endpoints.
fn destinations<'a>(
    snapshot: &'a Snapshot,
    to: &NamespacedName,
    port: u16,
) -> Option<Vec<(&'a Workload, u16)>> {
    if let Some(workload) = snapshot.workload(to) {
        return Some(vec![(workload, port)]);
    }
    let service = snapshot.service(to)?;
    let port = service.ports.iter().find(|of| of.port == port)?;
    let mut found: Vec<(&Workload, u16)> = Vec::new();
    for endpoint in port.endpoints.iter() {
        if let Some(workload) = snapshot.workload_by_address(endpoint.ip())
            && !found.iter().any(|(other, _)| other.key == workload.key)
        {
            found.push((workload, endpoint.port()));
        }
    }
    Some(found)
}

fn answer(
    snapshot: &Snapshot,
    source: &Workload,
    destination: &Workload,
    port: u16,
    asked: Option<&Asked>,
) -> Answer {
    let pod = destination.key.to_string();
    if !destination.enrolled {
        let detail = "the pod is not in the mesh: no policy is enforced for it".into();
        return Answer { pod, port, allowed: true, detail, ..Answer::default() };
    }
    let family =
        |ip: &std::net::IpAddr| destination.addresses.iter().any(|other| other.is_ipv4() == ip.is_ipv4());
    let address = source.addresses.iter().copied().find(family);
    let address = address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
    let identity = source.enrolled.then_some(&source.identity);
    let source = Source { identity, address: SourceAddress::Address(address) };
    let http = asked.map(Asked::http);
    let applicable = snapshot.applicable(destination);
    let explained = applicable.explain(&Request { source, port, http: http.as_ref() });
    let strict = destination.mtls == crate::state::model::Mtls::Strict && identity.is_none();
    let allowed = explained.allowed && !strict;
    let reason = match (strict, explained.allowed) {
        (true, _) => Some(Reason::PlaintextRefused),
        (_, false) => Some(Reason::PolicyDenied),
        _ => None,
    };
    let considered = explained.policies.iter().map(|policy| Considered {
        tier: policy.tier.word().into(),
        policy: format!("{}/{}", policy.key.namespace, policy.key.name),
        mode: policy.mode.to_string(),
        action: policy.action.to_string(),
        rule: policy.matched,
        mismatches: mismatches(policy),
    });
    let per_request = !strict
        && http.is_none()
        && applicable.decide_connection(source, port) == ConnectionDecision::PerRequest;
    let detail = match (&explained.by, strict) {
        (_, true) => "the source is not in the mesh, and the pod takes no plaintext".into(),
        _ if per_request => "each HTTP request is decided by itself: ask about one with --method, --path, \
                             --header or --user. This answer is for what is not HTTP"
            .into(),
        (Some(by), _) => by.to_string(),
        (None, _) => "no policy selects the pod".into(),
    };
    Answer {
        pod,
        port,
        allowed,
        per_request,
        reason: reason.map(|reason| reason.word().into()),
        detail,
        policy: explained.by.as_ref().map(PolicyRef::from),
        audit: explained.audit.iter().map(PolicyRef::from).collect(),
        considered: considered.collect(),
    }
}

/// What the rules of `policy` ask for and did not find.
fn mismatches(policy: &PolicyExplanation) -> Vec<Mismatch> {
    let found = policy.rules.iter().flat_map(|rule| &rule.mismatches).take(MOST_MISMATCHES);
    let copied = |field: &crate::policy::Mismatch| Mismatch {
        field: field.field.clone(),
        had: field.had.clone(),
        wanted: field.wanted.clone(),
    };
    found.map(copied).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        policy::{Policy, PolicyKey},
        state::{
            Event, Object, Settings, State,
            annotations::{Carrier, MeshSettings},
            input::Pod,
        },
    };

    fn pod(name: &str, address: [u8; 4]) -> Object {
        let enabled = [("weir.dev/mesh".to_string(), "enabled".to_string())].into();
        Object::from(Pod {
            key: NamespacedName::new("shop", name),
            uid: name.into(),
            kubelet_uid: name.into(),
            owner: name.into(),
            owner_kind: "pod",
            node: "node-a".into(),
            service_account: name.into(),
            labels: Arc::default(),
            addresses: [address.into()].into(),
            host_network: false,
            finished: false,
            ready: true,
            named_ports: Default::default(),
            probe_ports: vec![],
            settings: MeshSettings::parse(Carrier::Pod, &enabled).expect("good annotations").shared(),
            sliced: false,
        })
    }

    fn answered(text: &str) -> Result<Explanation, ExplainError> {
        let spec = serde_json::json!({"rules": [{"to": [{"methods": ["GET"], "paths": ["/v1/*"]}]}]});
        let policy = Policy::parse(PolicyKey::new("shop", "readers"), spec).expect("a right policy");
        let mut state = State::new(Settings::default());
        let objects = [pod("cart", [10, 1, 0, 1]), pod("pay", [10, 1, 0, 2]), policy.into()];
        state.apply_all(objects.map(Event::Apply));
        let query = format!("from=shop/cart&to=shop/pay&port=8080{text}");
        explain(&state.snapshot(), &crate::admin::query::explain_query(&query).expect("a query"))
    }

    #[test]
    fn a_request_is_answered_for_as_it_would_be_judged() {
        let said = answered("&path=/v1/x/../pay").expect("an answer");
        assert_eq!((said.allowed, said.request.as_deref()), (true, Some("GET /v1/pay")));
        let said = answered("&path=/v2").expect("an answer");
        assert!(!said.allowed && !said.answers[0].per_request);
        let lacks = &said.answers[0].considered[0].mismatches[0];
        assert_eq!((&*lacks.field, &*lacks.had), ("spec.rules[0].to[0].paths", "/v2"));
    }

    #[test]
    fn a_connection_that_hangs_on_its_requests_says_so() {
        let said = answered("").expect("an answer");
        let answer = &said.answers[0];
        assert!(!answer.allowed && answer.per_request && answer.detail.contains("--path"), "{answer:?}");
    }

    #[test]
    fn a_path_that_is_refused_is_an_error_about_the_parameter() {
        let Err(ExplainError::Bad(error)) = answered("&path=/v1%252Fpay") else { panic!("no error") };
        assert_eq!((&*error.field, &*error.value), ("path", "/v1%2Fpay"));
        assert!(error.message.contains("encoded slash"), "{error}");
    }
}
