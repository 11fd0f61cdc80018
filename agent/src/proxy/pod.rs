//! A captured pod of this node, as the proxy knows it: its namespace, its identity, its bounds.
//!
//! Entry point: [`LocalPod`]. What may change while the pod lives (labels, policy, services) is not here
//! but in the snapshot.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    datapath::netns::Netns,
    identity::Identity,
    state::model::{NamespacedName, Workload},
    tunnel::Windows,
};

/// Most bytes of bodies that are kept for one pod.
const KEPT: usize = 64 * 1024 * 1024;

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
    pub addresses: Arc<[IpAddr]>,
    /// Its network namespace.
    pub netns: Netns,
    connections: AtomicU32,
    sessions: AtomicU32,
    requests: AtomicU32,
    http2: AtomicU32,
    mirrors: AtomicU32,
    kept: Arc<AtomicUsize>,
    /// Microseconds.
    processor: AtomicU64,
    most: u32,
    hold: watch::Sender<Hold>,
}

/// Whether a pod is the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Captured,
    /// It has left the mesh: nothing new is taken, and what there is goes on until it ends.
    Left,
    /// It is let go of at once.
    Released,
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
            http2: AtomicU32::new(0),
            mirrors: AtomicU32::new(0),
            kept: Arc::default(),
            processor: AtomicU64::new(0),
            most,
            hold: watch::Sender::new(Hold::Captured),
        }
    }

    /// Whether this is still the pod that `workload` describes; else it has to be captured anew.
    pub fn is(&self, workload: &Workload) -> bool {
        self.uid == workload.uid && self.identity == workload.identity && self.addresses == workload.addresses
    }

    /// Whether `address` is its own. What a pod sends there never leaves it: there is no tunnel and no policy on the way.
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Says that the pod has left the mesh: listeners and sessions take nothing new.
    pub fn leave(&self) {
        self.hold.send_if_modified(|hold| {
            let captured = *hold == Hold::Captured;
            *hold = if captured { Hold::Left } else { *hold };
            captured
        });
    }

    /// Says that the pod is no longer captured: its sessions end.
    pub fn release(&self) {
        self.hold.send_replace(Hold::Released);
    }

    /// Waits until the pod has left the mesh, or is no longer captured; says whether the latter.
    pub fn left(&self) -> impl Future<Output = bool> + use<> {
        let mut hold = self.hold.subscribe();
        async move {
            // An error means that nobody holds the pod any more, which is as good.
            hold.wait_for(|hold| *hold != Hold::Captured).await.map_or(true, |hold| *hold == Hold::Released)
        }
    }

    /// Waits until the pod is no longer captured.
    pub fn released(&self) -> impl Future<Output = ()> + use<> {
        let mut hold = self.hold.subscribe();
        async move {
            let _ = hold.wait_for(|hold| *hold == Hold::Released).await;
        }
    }

    /// Connections that the proxy has open for the pod.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Time of the processor that was taken for the pod, as told once a second.
    pub fn processor(&self) -> Duration {
        Duration::from_micros(self.processor.load(Ordering::Relaxed))
    }

    /// Adds to [`LocalPod::processor`].
    pub(super) fn add_processor(&self, more: Duration) {
        let micros = u64::try_from(more.as_micros()).unwrap_or(u64::MAX);
        self.processor.fetch_add(micros, Ordering::Relaxed);
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

    /// Counts one copy of a request of the pod until the place is dropped; `None` at `most`.
    pub fn mirror(self: &Arc<Self>, most: u32) -> Option<Place> {
        self.take(|pod| &pod.mirrors, most)
    }

    /// What one connection of HTTP/2 from or to the pod may hold, counted until it is dropped. There is no bound but
    /// that of connections: the more there are, the less one may hold.
    pub fn http2(self: &Arc<Self>) -> Http2 {
        let place = self.take(|pod| &pod.http2, u32::MAX);
        Http2 { windows: Windows::of_nth(place.as_ref().map_or(u32::MAX, Place::others)), _place: place }
    }

    /// Room for bodies of the pod's requests that are kept to be sent again.
    pub fn room(&self) -> Room {
        Room::of(&self.kept, KEPT)
    }

    fn take(self: &Arc<Self>, of: fn(&Self) -> &AtomicU32, most: u32) -> Option<Place> {
        let others = of(self).fetch_add(1, Ordering::Relaxed);
        let place = Place { pod: self.clone(), of, others };
        (others < most).then_some(place)
    }
}

/// The windows of a connection of HTTP/2.
#[derive(Debug)]
pub struct Http2 {
    /// The windows.
    pub windows: Windows,
    _place: Option<Place>,
}

impl Default for Http2 {
    /// Those of one that is nobody's.
    fn default() -> Self {
        Self { windows: Windows::of_nth(0), _place: None }
    }
}

/// Bytes that are kept for somebody, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Room {
    of: Option<Arc<AtomicUsize>>,
    most: usize,
    bytes: usize,
}

impl Room {
    /// Bytes that `of` counts, `most` of them in all.
    pub(super) fn of(of: &Arc<AtomicUsize>, most: usize) -> Self {
        Self { of: Some(of.clone()), most, bytes: 0 }
    }

    /// Takes `more` bytes; whether there is room for them. Nobody's room is as large as it is asked to be.
    pub fn grow(&mut self, more: usize) -> bool {
        let Some(of) = &self.of else { return true };
        let before = of.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        before.saturating_add(more) <= self.most
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            of.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// One connection's, or session's, place among its pod's.
#[derive(Debug)]
pub struct Place {
    pod: Arc<LocalPod>,
    of: fn(&LocalPod) -> &AtomicU32,
    others: u32,
}

impl Place {
    /// How many others there were when it was taken.
    pub fn others(&self) -> u32 {
        self.others
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.pod).fetch_sub(1, Ordering::Relaxed);
    }
}
