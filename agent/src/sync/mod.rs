//! From the snapshot to the kernel: pods captured and released, maps filled, live connections judged again.
//!
//! Entry point: [`Reconciler`]. Safe to run at any time: it compares what ought to be with what is and
//! writes the difference. It decides nothing about traffic; it only lays down where decisions are made.

mod addresses;
mod capture;
mod closed;
pub mod known;
mod layer7;
mod leaving;
mod listeners;
mod places;
mod rejudge;
mod rules;
mod services;
pub mod verdicts;
mod verify;
mod virtual_port;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use weir_common::{Config, config};

pub use self::{
    capture::{CaptureError, Captured, Failures},
    known::Known,
};
use self::{layer7::Clients, leaving::Leaving, places::Found};
use crate::{
    addr::octets,
    datapath::{Datapath, events::monotonic_ns, netns::interface_addresses},
    identity::Identity,
    proxy::Workers,
    state::{Change, Snapshot, model::NamespacedName},
};

/// How old the agent's sign of life may be under `--when-down open`, in nanoseconds: three times the
/// interval at which it is given.
const STALE_AFTER_NS: u64 = 1_500_000_000;

/// What the reconciler needs to know beside the snapshot.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of this node.
    pub node: Arc<str>,
    /// `--when-down open`.
    pub open_when_down: bool,
    /// `--same-node tunnel`.
    pub tunnel_same_node: bool,
    /// Most connections of one pod through the proxy.
    pub most_connections: u32,
    /// Whether a kubelet runs the pods, so that where they run is found out from their processes.
    pub finds_places: bool,
}

/// What was found and mended by one look at the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Wrong entries, by map.
    pub entries: Vec<(&'static str, usize)>,
    /// Programs that were no longer attached.
    pub programs: usize,
}

/// The one owner of the kernel's state.
#[derive(Debug)]
pub struct Reconciler {
    options: Options,
    datapath: Datapath,
    workers: Workers,
    known: Known,
    snapshot: Arc<Snapshot>,
    pods: BTreeMap<NamespacedName, Captured>,
    /// What an earlier agent captured, by namespace cookie.
    adopted: HashMap<u64, weir_common::Workload>,
    places: Found,
    /// Pods that have left the mesh, and what they still have of it.
    leaving: Vec<Leaving>,
    /// Cookies of namespaces that are hooked, and have no listeners.
    closed: HashSet<u64>,
    /// Whether all of the source could be read.
    complete: bool,
    failed: Failures,
    /// How long captures took that nobody has asked for yet.
    took: Vec<Duration>,
    /// Keys that each service has in `SERVICES`.
    services: HashMap<NamespacedName, Vec<weir_common::ServiceKey>>,
    backend_sets: u64,
    clients: Clients,
    generation: u32,
}

impl Reconciler {
    /// A reconciler that starts from what is in the kernel and knows no pod yet.
    pub fn new(
        options: Options,
        datapath: Datapath,
        workers: Workers,
        known: Known,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        // Verdicts of an earlier agent are void from the first configuration on.
        let generation = datapath.tables.config().generation.wrapping_add(1);
        let adopted = datapath.tables.workloads.actual();
        Self {
            options,
            datapath,
            workers,
            known,
            snapshot,
            pods: BTreeMap::new(),
            adopted,
            places: Found::default(),
            leaving: Vec::new(),
            closed: HashSet::new(),
            complete: false,
            failed: Failures::default(),
            took: Vec::new(),
            services: HashMap::new(),
            // Sets are told apart for ever by the time at which they were begun.
            backend_sets: monotonic_ns(),
            clients: Clients::default(),
            generation,
        }
    }

    /// Puts `snapshot` in force, given what changed since the last one, and when that was heard.
    pub fn apply(&mut self, snapshot: Arc<Snapshot>, changes: &[Change], heard: Instant) {
        let former = std::mem::replace(&mut self.snapshot, snapshot);
        // What is on other nodes captures and releases nothing here. What it needs otherwise, the next look finds.
        let touches_pods = changes.iter().any(|change| match change {
            Change::Workload(key) => {
                let is_here = |snapshot: &Snapshot| {
                    snapshot.workload(key).is_some_and(|workload| *workload.node == *self.options.node)
                };
                self.pods.contains_key(key) || is_here(&former) || is_here(&self.snapshot)
            }
            _ => false,
        });
        let decisions_differ = changes.iter().any(|change| match change {
            Change::Policies => true,
            Change::Workload(key) => self.pods.contains_key(key),
            _ => false,
        });
        if decisions_differ {
            // First of all: what was decided under the old snapshot no longer holds.
            self.generation = self.generation.wrapping_add(1);
            self.configure();
        }
        let before: HashSet<u64> = self.cookies();
        let recaptured = if touches_pods { self.reconcile_pods(heard) } else { Default::default() };
        self.refresh_destinations(&former, changes);
        self.refresh_pods(&recaptured);
        if decisions_differ {
            self.refresh_rules();
            self.decide_all();
        } else {
            let new: HashSet<u64> = self.cookies().difference(&before).copied().collect();
            self.decide_for(&new);
        }
        if decisions_differ {
            self.judge_again();
        } else {
            self.judge_sockets(|pod| recaptured.contains(pod));
            // Connections that are carried as bytes may have to be looked at now.
            if changes.iter().any(|change| matches!(change, Change::Routes(_) | Change::Traffic(_))) {
                self.workers.judge_again(self.snapshot.clone());
            }
        }
    }

    /// Everything anew, as at the start: after this, what is in the kernel and not in the snapshot is gone.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
        self.configure();
        self.refresh_node_addresses();
        self.reconcile_pods(Instant::now());
        self.close_adopted();
        self.refresh_everywhere();
        self.refresh_rules();
        self.decide_all();
        let captured = self.cookies();
        for cookie in self.datapath.steered() {
            if !captured.contains(&cookie) && !self.closed.contains(&cookie) && !self.is_leaving(cookie) {
                self.datapath.unsteer(cookie);
            }
        }
        self.datapath.tables.repair();
        self.judge_again();
    }

    /// Looks for pods whose namespace came, went or changed.
    pub fn look_at_pods(&mut self) {
        let before = self.cookies();
        let recaptured = self.reconcile_pods(Instant::now());
        if !recaptured.is_empty() {
            self.refresh_pods(&recaptured);
            let new: HashSet<u64> = self.cookies().difference(&before).copied().collect();
            self.decide_for(&new);
            self.judge_sockets(|pod| recaptured.contains(pod));
        }
    }

    /// Compares the kernel with what ought to be there, and mends it.
    pub fn repair(&mut self) -> Repairs {
        self.refresh_node_addresses();
        let mut repairs = Repairs { entries: self.datapath.tables.repair(), programs: 0 };
        let wanted = self.config();
        let found = Config { heartbeat_ns: wanted.heartbeat_ns, ..self.datapath.tables.config() };
        if found != wanted {
            self.configure();
            repairs.entries.push(("CONFIG", 1));
        }
        match self.datapath.pin_again() {
            Ok(maps) => repairs.entries.extend(maps.into_iter().map(|map| (map, 1))),
            Err(error) => tracing::error!(%error, "a map is not pinned"),
        }
        match self.datapath.attach_again() {
            Ok(attached) => repairs.programs += attached,
            Err(error) => tracing::error!(%error, "a program is not attached"),
        }
        repairs.programs += self.steer_again();
        for (map, wrong) in [("LISTENING", self.refresh_listening()), ("LISTENERS", self.listen_again())] {
            if wrong > 0 {
                repairs.entries.push((map, wrong));
            }
        }
        repairs
    }

    /// Gives a sign of life (`--when-down open`).
    pub fn heartbeat(&mut self) {
        if self.options.open_when_down {
            self.configure();
        }
    }

    /// Says that no agent is there any more (`--when-down open`): pods are let through from now on.
    pub fn farewell(&mut self) {
        if self.options.open_when_down {
            let config = Config { heartbeat_ns: 0, ..self.config() };
            if let Err(error) = self.datapath.tables.configure(config) {
                tracing::warn!(%error, "cannot write the configuration");
            }
        }
    }

    /// The pods captured now.
    pub fn captured(&self) -> &BTreeMap<NamespacedName, Captured> {
        &self.pods
    }

    /// Enrolled pods of this node that could not be captured, and why.
    pub fn failed(&self) -> &Failures {
        &self.failed
    }

    /// How long each capture took since this was asked for last, from when the agent heard that the pod is to be captured, or
    /// from when it could be.
    pub fn take_durations(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.took)
    }

    /// The kernel's side.
    pub fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// The kernel's policy generation.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The identities for which certificates are needed, now and once `snapshot` is in force. They are to be
    /// asked for before it is: a pod's first connection may come the moment it is captured.
    pub fn identities(&self, snapshot: &Snapshot) -> HashSet<Identity> {
        let captured = self.pods.values().map(|captured| captured.pod.identity.clone());
        let own = snapshot.workloads_on_node(&self.options.node);
        let coming = own.filter(|workload| workload.enrolled && !workload.host_network);
        let leaving = self.leaving.iter().map(|leaving| leaving.pod().identity.clone());
        captured.chain(leaving).chain(coming.map(|workload| workload.identity.clone())).collect()
    }

    fn cookies(&self) -> HashSet<u64> {
        self.pods.values().map(|captured| captured.pod.netns.cookie()).collect()
    }

    fn config(&self) -> Config {
        let mut flags = 0;
        if self.options.open_when_down {
            flags |= config::OPEN;
        }
        if self.options.tunnel_same_node {
            flags |= config::TUNNEL_SAME_NODE;
        }
        Config {
            heartbeat_ns: monotonic_ns(),
            stale_after_ns: STALE_AFTER_NS,
            generation: self.generation,
            flags,
            workers: self.workers.count() as u32,
            pad: 0,
        }
    }

    fn configure(&mut self) {
        let config = self.config();
        if let Err(error) = self.datapath.tables.configure(config) {
            tracing::error!(%error, "cannot write the configuration");
        }
    }

    /// The node's own addresses: those that the snapshot gives it, and those of the agent's namespace,
    /// from which a kubelet probes.
    fn refresh_node_addresses(&mut self) {
        let mut wanted: HashSet<IpAddr> =
            self.snapshot.node_addresses(&self.options.node).into_iter().collect();
        wanted.extend(interface_addresses().unwrap_or_default().into_iter().filter(|ip| !ip.is_loopback()));
        let keys: HashSet<weir_common::Address> =
            wanted.into_iter().map(|ip| weir_common::Address::from_octets(octets(ip))).collect();
        let table = &mut self.datapath.tables.node_addresses;
        table.unset_where(|key, _| !keys.contains(key));
        for key in keys {
            table.set(key, 1);
        }
    }
}
