//! Pods captured and released.
//!
//! Entry point: `Reconciler::reconcile_pods`. A pod is captured only in a namespace that is provably its
//! own: the path names one, the pod's address is in it, and no other pod claims it.

mod error;
mod failures;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tracing::Level;
use weir_common::{Address, ListenerKey, Workload as KernelWorkload, workload};

use super::{
    Reconciler,
    leaving::Leaving,
    listeners::{KINDS, listening_ports},
    virtual_port,
};
use crate::{
    addr::octets,
    datapath::{diag, netns::Netns},
    flows::record::Reason,
    proxy::{live::Ending, pod::LocalPod},
    state::model::{Mtls, NamespacedName, Workload},
};
pub use error::CaptureError;
pub use failures::Failures;

/// Pods that are made ready together.
const AT_ONCE: usize = 8;

/// The network namespace of a pod, and the path at which it was found.
type Home = (Netns, PathBuf);

/// A captured pod.
#[derive(Debug)]
pub struct Captured {
    /// What the proxy works with.
    pub pod: Arc<LocalPod>,
    /// The pod as the snapshot had it last.
    pub workload: Arc<Workload>,
    /// The loopback port of its redirected connections.
    pub virtual_port: u16,
    pub(super) path: PathBuf,
}

impl Reconciler {
    /// Releases what is no longer to be captured, captures what is, which was `heard` then; names the pods for which that
    /// changed.
    pub(super) fn reconcile_pods(&mut self, heard: Instant) -> BTreeSet<NamespacedName> {
        self.find_places();
        let (wanted, doubly) = self.wanted();
        let leaving: Vec<NamespacedName> = self
            .pods
            .iter()
            .filter(|(key, captured)| {
                !wanted.get(*key).is_some_and(|workload| self.stays(captured, workload))
            })
            .map(|(key, _)| key.clone())
            .collect();
        let mut changed = BTreeSet::new();
        for key in leaving {
            if self.has_left(&key) {
                self.leave(&key);
            } else {
                self.release(&key);
            }
            changed.insert(key);
        }
        self.settle_leaving();
        self.failed.keep(|key| wanted.contains_key(key) || doubly.contains_key(key));
        for (key, error) in doubly {
            self.note_failure(&key, error);
        }
        let mut coming = Vec::new();
        for (key, workload) in wanted {
            let path = self.netns_of(&workload);
            if let Some(captured) = self.pods.get_mut(&key) {
                // Where it was captured it still is; what shows that may be another path by now.
                captured.path = path.unwrap_or_else(|| std::mem::take(&mut captured.path));
                self.known.note(captured.pod.netns.cookie(), workload.clone());
                captured.workload = workload;
                continue;
            }
            match self.home_of(&workload) {
                Ok(home) => coming.push((workload, home)),
                Err(error) => self.note_failure(&key, error),
            }
        }
        let mut coming = coming.into_iter();
        loop {
            let some: Vec<_> = coming.by_ref().take(AT_ONCE).collect();
            let cookies: Vec<u64> = some.iter().map(|(_, (netns, _))| netns.cookie()).collect();
            self.datapath.prepare(&cookies);
            if some.is_empty() {
                break;
            }
            self.capture_all(some, heard, &mut changed);
        }
        self.settle_closed();
        changed
    }

    fn capture_all(
        &mut self,
        coming: Vec<(Arc<Workload>, Home)>,
        heard: Instant,
        changed: &mut BTreeSet<NamespacedName>,
    ) {
        for (workload, home) in coming {
            let key = workload.key.clone();
            match self.capture(&workload, home) {
                Ok(()) => {
                    let took = self.failed.since(&key).unwrap_or(heard).elapsed();
                    self.took.push(took);
                    self.failed.remove(&key);
                    changed.insert(key.clone());
                    tracing::info!(pod = %key, identity = %workload.identity, ?took, "captured");
                }
                Err(error) => self.note_failure(&key, error),
            }
        }
    }

    /// Enrolled pods of this node, but for those whose namespace is, or may be, another pod's.
    fn wanted(&self) -> (BTreeMap<NamespacedName, Arc<Workload>>, BTreeMap<NamespacedName, CaptureError>) {
        let mut claims: HashMap<u64, Vec<Arc<Workload>>> = HashMap::new();
        let mut wanted = BTreeMap::new();
        for workload in self.snapshot.workloads_on_node(&self.options.node) {
            if workload.host_network {
                continue;
            }
            if workload.enrolled {
                wanted.insert(workload.key.clone(), workload.clone());
            }
            if let Some(inode) = self.netns_of(workload).and_then(|path| inode(&path)) {
                claims.entry(inode).or_default().push(workload.clone());
            }
        }
        let mut doubly = BTreeMap::new();
        for claimants in claims.into_values().filter(|claimants| claimants.len() > 1) {
            let rightful = self.rightful(&claimants);
            for workload in claimants.iter().filter(|workload| Some(&workload.key) != rightful.as_ref()) {
                let other = rightful.clone().or_else(|| {
                    claimants.iter().find(|other| other.key != workload.key).map(|other| other.key.clone())
                });
                let path = self.netns_of(workload).unwrap_or_default();
                if let (Some(other), Some(_)) = (other, wanted.remove(&workload.key)) {
                    doubly.insert(workload.key.clone(), CaptureError::ClaimedTwice { path, other });
                }
            }
        }
        (wanted, doubly)
    }

    /// Whose a namespace is that several pods claim: the one that is captured there, which has proved it and
    /// must not lose the mesh to a later claim; else the only one whose addresses are there.
    fn rightful(&self, claimants: &[Arc<Workload>]) -> Option<NamespacedName> {
        let captured = |workload: &&Arc<Workload>| {
            self.pods.get(&workload.key).is_some_and(|captured| self.stays(captured, workload))
        };
        if let Some(workload) = claimants.iter().find(captured) {
            return Some(workload.key.clone());
        }
        let at_home = |workload: &&Arc<Workload>| {
            self.netns_of(workload).is_some_and(|path| own_netns(&workload.addresses, path).is_ok())
        };
        let mut at_home = claimants.iter().filter(at_home);
        match (at_home.next(), at_home.next()) {
            (Some(only), None) => Some(only.key.clone()),
            _ => None,
        }
    }

    fn note_failure(&mut self, key: &NamespacedName, error: CaptureError) {
        let why = error.to_string();
        match self.failed.note(key, error, self.options.finds_places, Instant::now()) {
            Some(Level::WARN) => tracing::warn!(pod = %key, error = why, "not captured"),
            Some(_) => tracing::debug!(pod = %key, error = why, "not captured yet"),
            None => {}
        }
    }

    fn home_of(&self, workload: &Workload) -> Result<Home, CaptureError> {
        let unknown =
            || if self.options.finds_places { CaptureError::NotRunning } else { CaptureError::NoNetns };
        let path = self.netns_of(workload).ok_or_else(unknown)?;
        if self.is_disputed(workload) {
            return Err(CaptureError::Disputed);
        }
        Ok((own_netns(&workload.addresses, path.clone())?, path))
    }

    fn capture(&mut self, workload: &Arc<Workload>, (netns, path): Home) -> Result<(), CaptureError> {
        let cookie = netns.cookie();
        let virtual_port = self.virtual_port(&netns)?;
        let listeners = self.listen(&netns)?;
        self.datapath.steer(&netns)?;
        let ports = listening_ports(&netns);
        // What came to the listeners of before is in their hands.
        self.succeed(cookie);
        let pod = Arc::new(LocalPod::new(workload, netns, self.options.most_connections));
        self.workers.add(pod.clone(), listeners);
        self.known.note(cookie, workload.clone());
        self.write_port_rules(cookie, workload);
        // This one write captures the pod; everything that it leads to is there.
        if !self.datapath.tables.workloads.set(cookie, kernel_workload(workload, virtual_port)) {
            self.workers.remove(&pod, &ending(Reason::Reset, "the pod could not be captured"));
            self.datapath.unsteer(cookie);
            return Err(CaptureError::Full("WORKLOADS"));
        }
        // Listeners that were there before the hooks looked.
        self.datapath.tables.set_listening(cookie, &ports);
        let captured = Captured { pod, workload: workload.clone(), virtual_port, path };
        self.pods.insert(workload.key.clone(), captured);
        Ok(())
    }

    /// Lets go of a pod: the next connection is untouched, and nothing of ours is left in its namespace. One
    /// that ought to be captured still is closed instead, until it is captured again.
    fn release(&mut self, key: &NamespacedName) {
        let closed = self.stays_closed(key);
        let Some(captured) = self.pods.remove(key) else { return };
        let cookie = captured.pod.netns.cookie();
        let why = self.why_released(key, &captured);
        self.forget_endpoints(&captured);
        if closed {
            self.closed.insert(cookie);
        } else {
            self.forget(cookie);
        }
        self.steer_to_nobody(cookie);
        self.forget_rules(cookie);
        self.workers.remove(&captured.pod, &why);
        self.known.gone(cookie);
        tracing::info!(pod = %key, why = &*why.detail, closed, "released");
    }

    /// Takes away that a pod's addresses lead to it.
    pub(super) fn forget_endpoints(&mut self, captured: &Captured) {
        let cookie = captured.pod.netns.cookie();
        let endpoints = &mut self.datapath.tables.endpoints;
        for address in captured.pod.addresses.iter() {
            let address = Address::from_octets(octets(*address));
            if endpoints.desired(&address).is_some_and(|endpoint| endpoint.netns == cookie) {
                endpoints.unset(&address);
            }
        }
    }

    pub(super) fn steer_to_nobody(&mut self, netns: u64) {
        for worker in 0..self.workers.count() as u32 {
            for kind in KINDS {
                self.datapath.tables.steer_to_none(ListenerKey { netns, kind, worker });
            }
        }
    }

    /// Takes away all that was decided about connections of a pod and to it.
    pub(super) fn forget_rules(&mut self, cookie: u64) {
        let tables = &mut self.datapath.tables;
        tables.port_rules.unset_where(|key, _| key.netns == cookie);
        tables.skipped_networks.unset_where(|network, _| network.key.netns == cookie);
        tables.plaintext_sources.unset_where(|network, _| network.key.netns == cookie);
        tables.verdicts.unset_where(|key, _| key.source == cookie || key.destination == cookie);
        tables.set_listening(cookie, &HashMap::new());
    }

    /// Takes the hooks' knowledge of a namespace away, and the program in it.
    pub(super) fn forget(&mut self, cookie: u64) {
        self.datapath.tables.workloads.unset(&cookie);
        self.datapath.unsteer(cookie);
        self.datapath.tables.set_listening(cookie, &HashMap::new());
    }

    /// What the records of the pod's live connections will say.
    fn why_released(&self, key: &NamespacedName, captured: &Captured) -> Ending {
        match self.snapshot.workload(key) {
            None => ending(Reason::Reset, "the pod is gone"),
            Some(_) if !self.is_at_home(captured) => {
                ending(Reason::Reset, "the pod's network namespace is gone")
            }
            Some(workload) if workload.identity != captured.pod.identity => {
                ending(Reason::NoLongerAllowed, "the pod's identity changed")
            }
            Some(_) => ending(Reason::Reset, "the pod was replaced"),
        }
    }

    /// Whether the pod is captured as `workload` wants it, in a namespace that is still its own.
    fn stays(&self, captured: &Captured, workload: &Workload) -> bool {
        captured.pod.is(workload)
            && match self.netns_of(workload) {
                Some(path) => captured.pod.netns.is_at(&path),
                None => self.is_at_home(captured),
            }
    }

    /// Whether the namespace in which a pod was captured is still there and the pod's.
    pub(super) fn is_at_home(&self, captured: &Captured) -> bool {
        if captured.pod.netns.is_at(&captured.path) {
            return true;
        }
        // The process that showed where it is may end before the namespace does, which has then others to come. One that
        // is over has lost its interfaces, though what is open here keeps it.
        let has_addresses = |found: Vec<IpAddr>| captured.pod.addresses.iter().all(|ip| found.contains(ip));
        self.options.finds_places && captured.pod.netns.addresses().is_ok_and(has_addresses)
    }

    fn virtual_port(&self, netns: &Netns) -> Result<u16, CaptureError> {
        // An adopted pod keeps its port: connections on their way are pointed at it.
        if let Some(adopted) = self.adopted.get(&netns.cookie()) {
            return Ok(adopted.virtual_port);
        }
        // net.* below /proc/sys is the calling thread's namespace's.
        let text = netns.enter(|| fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range"))??;
        let range = virtual_port::parse_range(&text).ok_or_else(|| CaptureError::NoPort(text.clone()))?;
        if let Some(port) = self.leaving_port(netns.cookie()) {
            return Ok(port);
        }
        let mut taken: HashSet<u16> = self.pods.values().map(|captured| captured.virtual_port).collect();
        taken.extend(self.leaving.iter().map(Leaving::virtual_port));
        taken.extend(self.adopted.values().map(|adopted| adopted.virtual_port));
        taken.extend(diag::sockets(netns, diag::states::LISTEN)?.iter().map(|socket| socket.local.port()));
        virtual_port::choose(&range, &taken).ok_or_else(|| CaptureError::NoPort(text.trim().into()))
    }

    /// Writes what the kernel keeps of each captured pod.
    pub(super) fn refresh_workloads(&mut self) {
        for captured in self.pods.values() {
            let value = kernel_workload(&captured.workload, captured.virtual_port);
            self.datapath.tables.workloads.set(captured.pod.netns.cookie(), value);
        }
    }
}

pub(super) fn ending(reason: Reason, words: &str) -> Ending {
    Ending { reason, policy: None, detail: words.into(), gently: false }
}

/// Opens a namespace, and checks that it is that of the pod with these addresses.
pub(super) fn own_netns(addresses: &[IpAddr], path: PathBuf) -> Result<Netns, CaptureError> {
    if addresses.is_empty() {
        return Err(CaptureError::NoAddress);
    }
    let netns = Netns::open(&path).map_err(|error| CaptureError::Netns { path: path.clone(), error })?;
    // One of a node's addresses could be given to a pod, by mistake or on purpose.
    if ["/proc/self/ns/net", "/proc/1/ns/net"].iter().any(|own| netns.is_at(own.as_ref())) {
        return Err(CaptureError::OfNode { path });
    }
    let found = netns.addresses()?;
    if !addresses.iter().all(|address| found.contains(address)) {
        let found: Vec<String> =
            found.iter().filter(|ip| !ip.is_loopback()).map(ToString::to_string).collect();
        let found = if found.is_empty() { "none at all".into() } else { found.join(", ") };
        return Err(CaptureError::NotIts { path, found });
    }
    Ok(netns)
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

pub(super) fn kernel_workload(workload: &Workload, virtual_port: u16) -> KernelWorkload {
    let of = |family: fn(&IpAddr) -> bool| {
        let found = workload.addresses.iter().copied().find(family);
        found.map(|ip| Address::from_octets(octets(ip))).unwrap_or_default()
    };
    let mut flags = 0;
    if workload.mtls == Mtls::Strict {
        flags |= workload::STRICT;
    }
    if !workload.skip.outbound_ports.is_empty() || !workload.skip.outbound_cidrs.is_empty() {
        flags |= workload::SKIPS_OUTBOUND;
    }
    if !workload.skip.inbound_ports.is_empty() {
        flags |= workload::SKIPS_INBOUND;
    }
    KernelWorkload {
        address4: of(IpAddr::is_ipv4),
        address6: of(IpAddr::is_ipv6),
        flags,
        virtual_port,
        pad: 0,
    }
}
