//! Ports and networks that capture treats apart: `weir.dev/skip-*` and probe ports.
//!
//! Entry points: `Reconciler::refresh_rules`, `Reconciler::write_port_rules`.

use std::collections::HashSet;

use weir_common::{Address, NetworkKey, PortKey, port_rule};

use super::Reconciler;
use crate::{addr::octets, datapath::table::Network, state::model::Workload};

impl Reconciler {
    /// Writes the rules, and what else the kernel keeps, of every captured pod.
    pub(super) fn refresh_rules(&mut self) {
        let pods: Vec<_> = self
            .pods
            .values()
            .map(|captured| (captured.pod.netns.cookie(), captured.workload.clone()))
            .collect();
        for (cookie, workload) in pods {
            self.write_port_rules(cookie, &workload);
        }
        self.refresh_workloads();
    }

    /// Writes the rules of one pod.
    pub(super) fn write_port_rules(&mut self, netns: u64, workload: &Workload) {
        let ports = port_keys(netns, workload);
        let networks = network_keys(netns, workload);
        let tables = &mut self.datapath.tables;
        tables.port_rules.unset_where(|key, _| key.netns == netns && !ports.contains(key));
        tables.skipped_networks.unset_where(|key, _| key.key.netns == netns && !networks.contains(key));
        for key in ports {
            tables.port_rules.set(key, 1);
        }
        for key in networks {
            tables.skipped_networks.set(key, 1);
        }
    }
}

fn port_keys(netns: u64, workload: &Workload) -> HashSet<PortKey> {
    let rule = |ports: &[u16], rule| -> Vec<PortKey> {
        ports.iter().map(|port| PortKey { netns, port: *port, rule, pad: 0 }).collect()
    };
    let mut keys = HashSet::new();
    keys.extend(rule(&workload.skip.outbound_ports, port_rule::SKIP_OUTBOUND));
    keys.extend(rule(&workload.skip.inbound_ports, port_rule::SKIP_INBOUND));
    keys.extend(rule(&workload.probe_ports, port_rule::PROBE));
    keys
}

fn network_keys(netns: u64, workload: &Workload) -> HashSet<Network> {
    workload.skip.outbound_cidrs.iter().map(|cidr| network(netns, *cidr)).collect()
}

/// A network as the kernel's tries have it: the cookie's 64 bits, then the address in mapped form.
pub(super) fn network(netns: u64, cidr: ipnet::IpNet) -> Network {
    let mapped = if cidr.addr().is_ipv4() { 96 } else { 0 };
    Network {
        prefix: 64 + mapped + u32::from(cidr.prefix_len()),
        key: NetworkKey { netns, address: Address::from_octets(octets(cidr.network())) },
    }
}
