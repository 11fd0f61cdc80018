//! The agent's listeners in captured pods, what is steered to them, and what the pods' own applications
//! listen on.
//!
//! Entry points: `Reconciler::listen`, [`listening_ports`]; for the repair of drift,
//! `Reconciler::steer_again`, `Reconciler::listen_again`, `Reconciler::refresh_listening`.

use std::{collections::HashMap, io, net::TcpListener, sync::Arc};

use weir_common::{ListenerKey, listener};

use super::{CaptureError, Reconciler};
use crate::{
    datapath::{diag, netns::Netns},
    proxy::{Listeners, pod::LocalPod},
};

/// The listeners that each worker has in each pod.
pub(super) const KINDS: [u32; 3] = [listener::OUTBOUND, listener::TUNNEL, listener::INBOUND];

impl Reconciler {
    /// Makes each worker's listeners in a namespace, and steers to them.
    pub(super) fn listen(&mut self, netns: &Netns) -> Result<Vec<Listeners>, CaptureError> {
        let listeners = (0..self.workers.count())
            .map(|_| self.listeners(netns))
            .collect::<io::Result<Vec<Listeners>>>()?;
        for (worker, listeners) in listeners.iter().enumerate() {
            self.steer_to(netns.cookie(), worker as u32, listeners)?;
        }
        Ok(listeners)
    }

    fn listeners(&self, netns: &Netns) -> io::Result<Listeners> {
        let sockets = self.datapath.sockets();
        Ok(Listeners {
            outbound: sockets.listener(netns)?,
            tunnel: sockets.listener(netns)?,
            inbound: sockets.listener(netns)?,
        })
    }

    fn steer_to(&mut self, netns: u64, worker: u32, listeners: &Listeners) -> Result<(), CaptureError> {
        let mut to = |kind, socket: &TcpListener| {
            let key = ListenerKey { netns, kind, worker };
            let result = self.datapath.tables.steer_to(key, socket);
            result.map_err(|_| CaptureError::Full("LISTENERS"))
        };
        to(listener::OUTBOUND, &listeners.outbound)?;
        to(listener::TUNNEL, &listeners.tunnel)?;
        to(listener::INBOUND, &listeners.inbound)
    }

    /// Attaches the steering program where it is missing; says how often.
    pub(super) fn steer_again(&mut self) -> usize {
        let mut mended = 0;
        for captured in self.pods.values() {
            if !self.datapath.is_steered(&captured.pod.netns) {
                match self.datapath.steer(&captured.pod.netns) {
                    Ok(_) => mended += 1,
                    Err(error) => tracing::error!(pod = %captured.pod.key, %error, "not steered"),
                }
            }
        }
        mended
    }

    /// Listens anew in pods to which nothing is steered any more; says how many entries were missing. The
    /// listeners from before go with the pod.
    pub(super) fn listen_again(&mut self) -> usize {
        let known = self.datapath.tables.listeners();
        let pods: Vec<Arc<LocalPod>> = self.pods.values().map(|captured| captured.pod.clone()).collect();
        let mut mended = 0;
        for pod in pods {
            let netns = pod.netns.cookie();
            let of = |worker| KINDS.map(|kind| ListenerKey { netns, kind, worker });
            let wanted = (0..self.workers.count() as u32).flat_map(of);
            let missing = wanted.filter(|key| !known.contains(key)).count();
            if missing == 0 {
                continue;
            }
            match self.listen(&pod.netns) {
                Ok(listeners) => {
                    self.workers.add(pod, listeners);
                    mended += missing;
                }
                Err(error) => tracing::error!(pod = %pod.key, %error, "nothing is steered to the agent"),
            }
        }
        mended
    }

    /// Makes the listening ports in the kernel those that are; says how many differed.
    pub(super) fn refresh_listening(&mut self) -> usize {
        let pods = self.pods.values();
        pods.map(|captured| {
            let ports = listening_ports(&captured.pod.netns);
            self.datapath.tables.set_listening(captured.pod.netns.cookie(), &ports)
        })
        .sum()
    }
}

/// Ports on which somebody in the namespace listens, beside loopback-only listeners, and how many sockets.
pub(super) fn listening_ports(netns: &Netns) -> HashMap<u16, u32> {
    let mut ports = HashMap::new();
    let sockets = diag::sockets(netns, diag::states::LISTEN).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the listening sockets of a pod");
        Vec::new()
    });
    for socket in sockets {
        if !socket.local.ip().is_loopback() {
            *ports.entry(socket.local.port()).or_insert(0) += 1;
        }
    }
    ports
}
