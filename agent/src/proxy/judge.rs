//! The decision about one connection, first and again: a pure function of the snapshot.
//!
//! Entry points: [`Rules`], [`inbound`] for a new connection, [`again`] for a live one. It knows no socket.

use std::{net::IpAddr, sync::Arc};

use super::live::{Ending, Subject};
use crate::{
    flows::record::Reason,
    identity::Identity,
    policy::{Applicable, ConnectionDecision, Request, Source, SourceAddress},
    state::{
        Layer7, Snapshot,
        model::{Mtls, NamespacedName, Workload},
    },
};

/// All that decides about connections to one workload.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The policies that select it.
    pub policies: Arc<Applicable>,
    /// Whether something beside policy has to see its requests: tokens are looked at, or their rate is limited.
    pub requests: bool,
}

impl Rules {
    /// Those for `workload`.
    pub fn of(snapshot: &Snapshot, workload: &Workload) -> Self {
        let policies = snapshot.applicable(workload);
        let limited = || snapshot.rate_limits(workload).next().is_some();
        Self { policies, requests: !snapshot.authentication(workload).is_empty() || limited() }
    }

    /// What is decided about a connection, before any request on it.
    pub fn decide(&self, source: Source<'_>, port: u16) -> ConnectionDecision {
        match self.policies.decide_connection(source, port) {
            ConnectionDecision::Allowed(_) if self.requests => ConnectionDecision::PerRequest,
            decided => decided,
        }
    }
}

/// What is decided about a connection to `workload`, before any request on it.
pub fn inbound(
    snapshot: &Snapshot,
    workload: &Workload,
    source: Option<&Identity>,
    address: IpAddr,
    port: u16,
) -> ConnectionDecision {
    let source = Source { identity: source, address: SourceAddress::Address(address) };
    Rules::of(snapshot, workload).decide(source, port)
}

/// Why a live connection has to end under `snapshot`; `None` when it may go on.
pub fn again(snapshot: &Snapshot, subject: &Subject) -> Option<Ending> {
    match subject {
        Subject::Outbound { pod, destination, unseen } => {
            let other = destination.as_ref().and_then(|(key, expected)| {
                let now = &snapshot.workload(key)?.identity;
                (now != expected).then(|| ending(format!("{key} is now {now}, no longer {expected}"), None))
            });
            // A destination that left the snapshot ends the connection itself, or drains.
            other.or_else(|| {
                let (service, port) = unseen.as_ref()?;
                looks_at_requests(snapshot, &pod.key.namespace, service, *port).then(|| Ending {
                    reason: Reason::RequestsAsked,
                    policy: None,
                    detail: format!("the requests to {service} are looked at now").into(),
                    gently: true,
                })
            })
        }
        Subject::Inbound { pod, source, address, port, by_request } => {
            let workload = snapshot.workload(&pod.key)?;
            if !workload.enrolled {
                return None;
            }
            if source.is_none() && workload.mtls == Mtls::Strict {
                return Some(ending(format!("{} now refuses plaintext", pod.key), None));
            }
            let decision = match inbound(snapshot, workload, source.as_ref(), *address, *port) {
                ConnectionDecision::Allowed(decision) | ConnectionDecision::Denied(decision) => decision,
                ConnectionDecision::PerRequest if by_request.get() => return None,
                // Nobody looks at its requests, if it has any.
                ConnectionDecision::PerRequest => {
                    let source =
                        Source { identity: source.as_ref(), address: SourceAddress::Address(*address) };
                    snapshot.applicable(workload).decide(&Request { source, port: *port, http: None })
                }
            };
            (!decision.allowed).then(|| {
                let words = decision.by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
                ending(format!("no longer allowed{words}"), decision.by)
            })
        }
    }
}

/// Whether connections of clients in a namespace to a port of a Service are looked at as HTTP.
fn looks_at_requests(snapshot: &Snapshot, namespace: &str, service: &NamespacedName, port: u16) -> bool {
    let service = snapshot.service(service);
    let port = service.and_then(|service| service.ports.iter().find(|of| of.port == port));
    service.zip(port).is_some_and(|(service, port)| snapshot.layer7(namespace, service, port) != Layer7::Off)
}

fn ending(detail: String, policy: Option<crate::policy::PolicyRef>) -> Ending {
    Ending { reason: Reason::NoLongerAllowed, policy, detail: Arc::from(detail), gently: false }
}
