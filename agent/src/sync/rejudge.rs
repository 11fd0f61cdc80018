//! Live connections judged again when policy, identity or enrolment changed.
//!
//! Entry point: `Reconciler::judge_again`. The proxy judges those that it carries; those that it does not
//! are found by `sock_diag` and destroyed there.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use super::Reconciler;
use crate::{
    datapath::diag::{self, TcpSocket},
    flows::record::Reason,
    policy::{PolicyRef, Source, SourceAddress},
    proxy::{live::Ending, pod::LocalPod},
    state::model::{Mtls, NamespacedName, Workload},
};

impl Reconciler {
    /// Ends every live connection that is no longer allowed.
    pub(super) fn judge_again(&mut self) {
        self.workers.judge_again(self.snapshot.clone());
        self.judge_sockets(|_| true);
    }

    /// Ends the connections without the proxy of the pods that `of` picks, where they are not allowed: a pod
    /// that has just been captured has some from before.
    pub(super) fn judge_sockets(&self, of: impl Fn(&NamespacedName) -> bool) {
        for captured in self.pods.values().filter(|captured| of(&captured.pod.key)) {
            let (pod, workload) = (&captured.pod, &captured.workload);
            let sockets = match diag::sockets(&pod.netns, diag::states::LIVE | diag::states::LISTEN) {
                Ok(sockets) => sockets,
                Err(error) => {
                    tracing::warn!(pod = %pod.key, %error, "cannot list the connections of a pod");
                    continue;
                }
            };
            let listening: HashSet<u16> = sockets
                .iter()
                .filter(|socket| socket.remote.port() == 0)
                .map(|socket| socket.local.port())
                .collect();
            for socket in sockets.iter().filter(|socket| socket.remote.port() != 0) {
                let inside = socket.local.ip() == socket.remote.ip() || socket.local.ip().is_loopback();
                let tunnel = weir_common::TUNNEL_PORT;
                if inside || socket.local.port() == tunnel || socket.remote.port() == tunnel {
                    continue;
                }
                let ending = if listening.contains(&socket.local.port()) {
                    self.judge_taken(workload, socket)
                } else {
                    self.judge_dialled(workload, socket)
                };
                if let Some(ending) = ending {
                    self.end(pod, socket, ending);
                }
            }
        }
    }

    /// A connection that a pod of this node made, if it goes to another one.
    fn judge_dialled(&self, source: &Workload, socket: &TcpSocket) -> Option<Ending> {
        let destination = self.captured_at(socket.remote)?;
        let source =
            Source { identity: Some(&source.identity), address: SourceAddress::Address(socket.local.ip()) };
        self.judge(&destination, source, socket.remote.port())
    }

    /// A connection that a pod of this node took in without the proxy. One from another pod of this node
    /// is judged at its source, where its identity is certain.
    fn judge_taken(&self, destination: &Workload, socket: &TcpSocket) -> Option<Ending> {
        let port = socket.local.port();
        if self.captured_at(socket.remote).is_some()
            || destination.skip.inbound_ports.contains(&port)
            || (destination.probe_ports.contains(&port) && self.is_node(socket.remote))
        {
            return None;
        }
        if destination.mtls == Mtls::Strict {
            return Some(ending(None, "it refuses plaintext now"));
        }
        let source = Source { identity: None, address: SourceAddress::Address(socket.remote.ip()) };
        self.judge(destination, source, port)
    }

    fn judge(&self, destination: &Workload, source: Source<'_>, port: u16) -> Option<Ending> {
        let decision = self.snapshot.applicable(destination).decide_unseen(source, port);
        (!decision.allowed).then(|| ending(decision.by, "no longer allowed"))
    }

    fn captured_at(&self, address: SocketAddr) -> Option<Arc<Workload>> {
        let workload = self.snapshot.workload_by_address(address.ip())?;
        self.pods.contains_key(&workload.key).then(|| workload.clone())
    }

    fn is_node(&self, address: SocketAddr) -> bool {
        let key = weir_common::Address::from_octets(crate::addr::octets(address.ip()));
        self.datapath.tables.node_addresses.desired(&key).is_some()
    }

    fn end(&self, pod: &LocalPod, socket: &TcpSocket, ending: Ending) {
        // Noted before: the event of the end may come at once. Both namespaces see it.
        self.known.ended((pod.netns.cookie(), socket.local, socket.remote), ending.clone());
        let other = self.captured_at(socket.remote).and_then(|peer| self.pods.get(&peer.key));
        if let Some(other) = other {
            self.known.ended((other.pod.netns.cookie(), socket.remote, socket.local), ending);
        }
        if let Err(error) = diag::destroy(&pod.netns, socket) {
            tracing::warn!(pod = %pod.key, %error, "cannot end a connection that is no longer allowed");
        }
    }
}

fn ending(policy: Option<PolicyRef>, words: &str) -> Ending {
    let by = policy.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    Ending { reason: Reason::NoLongerAllowed, policy, detail: format!("{words}{by}").into(), gently: false }
}
