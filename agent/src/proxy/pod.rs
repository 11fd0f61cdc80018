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

use tokio::sync::watch;

use crate::{
    datapath::netns::Netns,
    identity::Identity,
    state::model::{NamespacedName, Workload},
};

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
    sessions: AtomicU32,
    requests: AtomicU32,
    most: u32,
    released: watch::Sender<bool>,
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
            sessions: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            most,
            released: watch::Sender::new(false),
        }
    }

    /// Whether this is still the pod that `workload` describes; else it has to be captured anew.
    pub fn is(&self, workload: &Workload) -> bool {
        self.uid == workload.uid && self.identity == workload.identity && self.addresses == workload.addresses
    }

    /// Says that the pod is no longer captured: its sessions end.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until the pod is no longer captured.
    pub fn released(&self) -> impl Future<Output = ()> + use<> {
        let mut released = self.released.subscribe();
        async move {
            // An error means that nobody holds the pod any more, which is as good.
            let _ = released.wait_for(|released| *released).await;
        }
    }

    /// Connections that the proxy has open for the pod.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts one connection until the place is dropped; `None` at the bound.
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        self.take(|pod| &pod.connections, self.most)
    }

    /// Counts one session on the pod's tunnel port until the place is dropped; `None` at `most`.
    pub fn session(self: &Arc<Self>, most: u32) -> Option<Place> {
        self.take(|pod| &pod.sessions, most)
    }

    /// Counts one request, from or to the pod, until the place is dropped; `None` at `most`.
    pub fn request(self: &Arc<Self>, most: u32) -> Option<Place> {
        self.take(|pod| &pod.requests, most)
    }

    fn take(self: &Arc<Self>, of: fn(&Self) -> &AtomicU32, most: u32) -> Option<Place> {
        let before = of(self).fetch_add(1, Ordering::Relaxed);
        let place = Place { pod: self.clone(), of };
        (before < most).then_some(place)
    }
}

/// One connection's, or session's, place among its pod's.
#[derive(Debug)]
pub struct Place {
    pod: Arc<LocalPod>,
    of: fn(&LocalPod) -> &AtomicU32,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.pod).fetch_sub(1, Ordering::Relaxed);
    }
}
