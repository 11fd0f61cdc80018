//! A captured pod of this node, as the proxy knows it: its namespace, its identity, its bounds.
//!
//! Entry point: [`LocalPod`]. What may change while the pod lives (labels, policy, services) is not here
//! but in the snapshot.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    datapath::netns::Netns,
    identity::Identity,
    state::model::{NamespacedName, Workload},
};

/// How many connections one pod may have through the proxy of its node, each way together.
pub const MOST_CONNECTIONS: u32 = 32_768;

/// One captured pod. Whoever holds it keeps the pod's namespace alive, so all let go of it when the pod
/// goes.
#[derive(Debug)]
pub struct LocalPod {
    /// Namespace and name.
    pub key: NamespacedName,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Who it is to its peers.
    pub identity: Identity,
    /// Its addresses: the only ones that a CONNECT may name.
    pub addresses: Vec<IpAddr>,
    /// Its network namespace.
    pub netns: Netns,
    connections: AtomicU32,
    most: u32,
}

impl LocalPod {
    /// The pod of `workload` in `netns`, with at most `most` connections.
    pub fn new(workload: &Workload, netns: Netns, most: u32) -> Self {
        Self {
            key: workload.key.clone(),
            uid: workload.uid.clone(),
            identity: workload.identity.clone(),
            addresses: workload.addresses.clone(),
            netns,
            connections: AtomicU32::new(0),
            most,
        }
    }

    /// Whether this is still the pod that `workload` describes; else it has to be captured anew.
    pub fn is(&self, workload: &Workload) -> bool {
        self.uid == workload.uid
            && self.identity == workload.identity
            && self.addresses == workload.addresses
    }

    /// Connections that the proxy has open for the pod.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts one connection until the place is dropped; `None` at the bound.
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (before < self.most).then_some(place)
    }
}

/// One connection's place among its pod's.
#[derive(Debug)]
pub struct Place(Arc<LocalPod>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
