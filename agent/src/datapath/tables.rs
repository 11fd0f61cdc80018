//! Every map that the agent fills, by name.
//!
//! Entry point: [`Tables`]. Each field's meaning is told where its key and value are defined, in
//! `weir_common`.

use std::{
    collections::{HashMap, HashSet},
    net::TcpListener,
    os::fd::AsRawFd,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap as KernelHash, LpmTrie, MapData, MapError, PerCpuArray, SockHash},
};
use weir_common::*;

use super::table::{Network, Table};

/// Maps that live on bpffs; every map of the object, so that each copy of the steering program shares them.
pub(super) const PINNED: [&str; 19] = [
    "CONFIG",
    "WORKLOADS",
    "ENDPOINTS",
    "SERVICES",
    "BACKENDS",
    "VERDICTS",
    "PLAINTEXT_SOURCES",
    "SKIPPED_NETWORKS",
    "PORT_RULES",
    "NODE_ADDRESSES",
    "LISTENERS",
    "LISTENING",
    "REDIRECTED",
    "VOUCHED",
    "COUNTERS",
    "EVENTS",
    "CONNECTIONS",
    "AGENT_SOCKETS",
    "AYA_LOGS",
];

/// The maps, typed.
pub struct Tables {
    config: Array<MapData, Config>,
    /// Enrolled pods of this node, by namespace cookie. What is in here is captured.
    pub workloads: Table<u64, Workload>,
    /// Pods of the mesh, by address.
    pub endpoints: Table<Address, Endpoint>,
    /// Services, by cluster IP and port.
    pub services: Table<ServiceKey, Service>,
    /// The endpoints that a service's connections are dealt out to.
    pub backends: Table<BackendKey, Backend>,
    /// Decisions.
    pub verdicts: Table<VerdictKey, Verdict>,
    /// Classes of plaintext sources.
    pub plaintext_sources: Table<Network, u32>,
    /// Networks that capture leaves alone.
    pub skipped_networks: Table<Network, u32>,
    /// Ports that capture leaves alone, and probe ports.
    pub port_rules: Table<PortKey, u32>,
    /// The node's own addresses.
    pub node_addresses: Table<Address, u32>,
    listeners: SockHash<MapData, ListenerKey>,
    listening: KernelHash<MapData, PortKey, u32>,
    counters: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        Ok(Self {
            config: Array::try_from(map(ebpf, "CONFIG")?)?,
            workloads: hash(ebpf, "WORKLOADS", 4096)?,
            endpoints: hash(ebpf, "ENDPOINTS", 262_144)?,
            services: hash(ebpf, "SERVICES", 65_536)?,
            backends: hash(ebpf, "BACKENDS", 1_048_576)?,
            verdicts: hash(ebpf, "VERDICTS", 262_144)?,
            plaintext_sources: networks(ebpf, "PLAINTEXT_SOURCES")?,
            skipped_networks: networks(ebpf, "SKIPPED_NETWORKS")?,
            port_rules: hash(ebpf, "PORT_RULES", 65_536)?,
            node_addresses: hash(ebpf, "NODE_ADDRESSES", 256)?,
            listeners: SockHash::try_from(map(ebpf, "LISTENERS")?)?,
            listening: KernelHash::try_from(map(ebpf, "LISTENING")?)?,
            counters: PerCpuArray::try_from(map(ebpf, "COUNTERS")?)?,
        })
    }

    /// The configuration in force; all zero before any agent wrote one.
    pub fn config(&self) -> Config {
        self.config.get(&0, 0).unwrap_or_default()
    }

    /// Puts a configuration in force.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn configure(&mut self, config: Config) -> Result<(), MapError> {
        self.config.set(0, config, 0)
    }

    /// Steers SYNs to `socket` from now on; what was steered to before keeps what it has.
    ///
    /// # Errors
    /// When the kernel has no room.
    pub fn steer_to(&mut self, key: ListenerKey, socket: &TcpListener) -> Result<(), MapError> {
        self.listeners.insert(key, socket.as_raw_fd(), 0)
    }

    /// What SYNs are steered to now, whoever said so.
    pub fn listeners(&self) -> HashSet<ListenerKey> {
        self.listeners.keys().flatten().collect()
    }

    /// Steers SYNs to nobody.
    pub fn steer_to_none(&mut self, key: ListenerKey) {
        // The entry goes by itself when its socket is closed, so that it may be gone is no error.
        let _ = self.listeners.remove(&key);
    }

    /// Makes the listening ports of a namespace those in `ports` (port to number of sockets); says how
    /// many differed. The hooks keep them up to date; this seeds what listened before and mends races.
    pub fn set_listening(&mut self, netns: u64, ports: &HashMap<u16, u32>) -> usize {
        let key = |port| PortKey { netns, port, rule: 0, pad: 0 };
        let known: Vec<PortKey> = self.listening.keys().flatten().filter(|key| key.netns == netns).collect();
        let mut wrong = 0;
        for old in known {
            if !ports.contains_key(&old.port) {
                wrong += 1;
                let _ = self.listening.remove(&old);
            }
        }
        for (port, sockets) in ports {
            if self.listening.get(&key(*port), 0).ok() != Some(*sockets) {
                wrong += 1;
                if let Err(error) = self.listening.insert(key(*port), sockets, 0) {
                    tracing::warn!(port, %error, "listening port turned away");
                }
            }
        }
        wrong
    }

    /// The sums over all CPUs, by index of [`counter`].
    pub fn counters(&self) -> [u64; counter::COUNT as usize] {
        std::array::from_fn(|index| {
            self.counters.get(&(index as u32), 0).map(|cells| cells.iter().sum()).unwrap_or(0)
        })
    }

    /// Name, entries, capacity and entries turned away of each table.
    pub fn occupancy(&self) -> Vec<(&'static str, usize, u32, u64)> {
        fn row<K: Copy + Eq + std::hash::Hash, V: Copy + PartialEq>(
            table: &Table<K, V>,
        ) -> (&'static str, usize, u32, u64) {
            (table.name(), table.len(), table.capacity(), table.turned_away())
        }
        vec![
            row(&self.workloads),
            row(&self.endpoints),
            row(&self.services),
            row(&self.backends),
            row(&self.verdicts),
            row(&self.plaintext_sources),
            row(&self.skipped_networks),
            row(&self.port_rules),
            row(&self.node_addresses),
        ]
    }

    /// Mends drift in every table; name and number of wrong entries of those that had any.
    pub fn repair(&mut self) -> Vec<(&'static str, usize)> {
        let mut found = Vec::new();
        let mut note = |name, result: Result<usize, MapError>| match result {
            Ok(0) => {}
            Ok(wrong) => found.push((name, wrong)),
            Err(error) => tracing::warn!(map = name, %error, "cannot read a map back"),
        };
        note("WORKLOADS", self.workloads.repair());
        note("ENDPOINTS", self.endpoints.repair());
        note("SERVICES", self.services.repair());
        note("BACKENDS", self.backends.repair());
        note("VERDICTS", self.verdicts.repair());
        note("PLAINTEXT_SOURCES", self.plaintext_sources.repair());
        note("SKIPPED_NETWORKS", self.skipped_networks.repair());
        note("PORT_RULES", self.port_rules.repair());
        note("NODE_ADDRESSES", self.node_addresses.repair());
        found
    }
}

pub(super) fn map(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, MapError> {
    ebpf.take_map(name).ok_or(MapError::KeyNotFound)
}

fn hash<K, V>(ebpf: &mut Ebpf, name: &'static str, capacity: u32) -> Result<Table<K, V>, MapError>
where
    K: aya::Pod + Send + Eq + std::hash::Hash,
    V: aya::Pod + Send + PartialEq,
{
    let backing = KernelHash::<MapData, K, V>::try_from(map(ebpf, name)?)?;
    Ok(Table::new(name, Box::new(backing), capacity))
}

fn networks(ebpf: &mut Ebpf, name: &'static str) -> Result<Table<Network, u32>, MapError> {
    let backing = LpmTrie::<MapData, NetworkKey, u32>::try_from(map(ebpf, name)?)?;
    Ok(Table::new(name, Box::new(backing), 65_536))
}
