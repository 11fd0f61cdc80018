//! `weir policy explain`: what would be decided about a connection, on the destination's node.
//!
//! Entry point: [`explain`], a pure function of the snapshot.

use crate::{
    admin::{Answer, Considered, ExplainError, ExplainQuery, Explanation},
    flows::{
        filter::ParameterError,
        record::{PolicyRef, Reason},
    },
    policy::{Request, Source, SourceAddress},
    state::{
        Snapshot,
        model::{NamespacedName, Workload},
    },
};

/// Answers `query` for each pod that the connection could reach.
///
/// # Errors
/// When a pod or Service does not exist, or has no such port.
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
    let answers: Vec<Answer> =
        destinations.iter().map(|(destination, port)| answer(snapshot, source, destination, *port)).collect();
    Ok(Explanation {
        from: from.to_string(),
        to: to.to_string(),
        port: query.port,
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

fn answer(snapshot: &Snapshot, source: &Workload, destination: &Workload, port: u16) -> Answer {
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
    let request =
        Request { source: Source { identity, address: SourceAddress::Address(address) }, port, http: None };
    let explained = snapshot.applicable(destination).explain(&request);
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
    });
    let detail = match (&explained.by, strict) {
        (_, true) => "the source is not in the mesh, and the pod takes no plaintext".into(),
        (Some(by), _) => by.to_string(),
        (None, _) => "no policy selects the pod".into(),
    };
    Answer {
        pod,
        port,
        allowed,
        reason: reason.map(|reason| reason.word().into()),
        detail,
        policy: explained.by.as_ref().map(PolicyRef::from),
        audit: explained.audit.iter().map(PolicyRef::from).collect(),
        considered: considered.collect(),
    }
}
