//! Decisions laid down in the kernel, for pods of this node.
//!
//! Entry points: [`between`] and [`plaintext`], pure; `Reconciler::decide_all`. Verdicts are laid down
//! before the first connection asks, so that the first one is refused or let through as fast as any other.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weir_common::{ANY_PORT, PLAINTEXT, Verdict, VerdictKey, action};

use super::{Reconciler, rules::network};
use crate::{
    datapath::table::Network,
    policy::{Applicable, Request, Source, SourceAddress},
    state::model::Workload,
};

/// How many pods of a node are judged beforehand, each with each; beyond that the agent is asked at the
/// first connection.
const MOST_PODS: usize = 192;

/// How many ports may have a verdict of their own before the agent is asked instead.
const MOST_PORTS: usize = 512;

/// A verdict for a port, or for all ports without one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortVerdict {
    /// The port, or [`ANY_PORT`].
    pub port: u16,
    /// One of [`action`].
    pub action: u32,
}

/// What is decided about `source`, per destination port, given the policies that select the destination.
pub fn of(applicable: &Applicable, source: Source<'_>) -> Vec<PortVerdict> {
    let decide = |port: u16| {
        let allowed = applicable.decide(&Request { source, port, http: None }).allowed;
        if allowed { action::ALLOW } else { action::DENY }
    };
    let classes: Vec<_> = applicable.ports().classes().map(|class| (decide(*class.start()), class)).collect();
    let size = |wanted: u32| -> usize {
        classes
            .iter()
            .filter(|(action, _)| *action == wanted)
            .map(|(_, class)| usize::from(*class.end()) - usize::from(*class.start()) + 1)
            .sum()
    };
    let (usual, other) = if size(action::ALLOW) >= size(action::DENY) {
        (action::ALLOW, action::DENY)
    } else {
        (action::DENY, action::ALLOW)
    };
    if size(other) > MOST_PORTS {
        return vec![PortVerdict { port: ANY_PORT, action: action::ASK }];
    }
    let apart = classes.iter().filter(|(action, _)| *action == other).flat_map(|(_, class)| class.clone());
    let mut verdicts: Vec<PortVerdict> =
        apart.filter(|port| *port != ANY_PORT).map(|port| PortVerdict { port, action: other }).collect();
    verdicts.push(PortVerdict { port: ANY_PORT, action: usual });
    verdicts
}

/// Verdicts for connections from one pod of this node to another: family, port, action.
pub fn between(
    source: &Workload,
    destination: &Workload,
    applicable: &Applicable,
) -> Vec<(u16, PortVerdict)> {
    let mut verdicts = Vec::new();
    for family in [4u16, 6] {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == (family == 4);
        let (Some(address), Some(_)) =
            (source.addresses.iter().find(of_family), destination.addresses.iter().find(of_family))
        else {
            continue;
        };
        let source = Source { identity: Some(&source.identity), address: SourceAddress::Address(*address) };
        verdicts.extend(of(applicable, source).into_iter().map(|verdict| (family, verdict)));
    }
    verdicts
}

/// Verdicts for plaintext, whose source has no identity: each network that the policies tell apart, and
/// what is decided about sources in it.
pub fn plaintext(applicable: &Applicable) -> Vec<(IpNet, Vec<PortVerdict>)> {
    let mut networks: Vec<IpNet> = applicable.networks().to_vec();
    for all in [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())] {
        if !networks.contains(&all) {
            networks.push(all);
        }
    }
    networks
        .into_iter()
        .map(|network| {
            let source = Source { identity: None, address: SourceAddress::Network(network) };
            (network, of(applicable, source))
        })
        .collect()
}

impl Reconciler {
    /// Lays down the verdicts between all pods captured here.
    pub(super) fn decide_all(&mut self) {
        let all = self.cookies();
        let mut wanted = HashSet::new();
        let mut classes = HashSet::new();
        self.lay_down(&all, &mut wanted, &mut classes);
        let tables = &mut self.datapath.tables;
        tables.verdicts.unset_where(|key, _| !wanted.contains(key));
        tables.plaintext_sources.unset_where(|key, _| !classes.contains(key));
    }

    /// Lays down the verdicts from and to the pods with these cookies.
    pub(super) fn decide_for(&mut self, cookies: &HashSet<u64>) {
        if !cookies.is_empty() {
            self.lay_down(cookies, &mut HashSet::new(), &mut HashSet::new());
        }
    }

    fn lay_down(
        &mut self,
        of: &HashSet<u64>,
        wanted: &mut HashSet<VerdictKey>,
        classes: &mut HashSet<Network>,
    ) {
        let generation = self.generation;
        let pods: Vec<(u64, Arc<Workload>)> = self
            .pods
            .values()
            .map(|captured| (captured.pod.netns.cookie(), captured.workload.clone()))
            .collect();
        let eager = pods.len() <= MOST_PODS;
        for (destination, workload) in &pods {
            let applicable = self.snapshot.applicable(workload);
            if of.contains(destination) {
                self.lay_down_plaintext(*destination, &applicable, wanted, classes);
            }
            if !eager {
                continue;
            }
            for (source, from) in &pods {
                if source == destination || !(of.contains(source) || of.contains(destination)) {
                    continue;
                }
                for (family, verdict) in between(from, workload, &applicable) {
                    let key = VerdictKey {
                        source: *source,
                        destination: *destination,
                        port: verdict.port,
                        family,
                        pad: 0,
                    };
                    let value = Verdict { generation, action: verdict.action };
                    self.datapath.tables.verdicts.set(key, value);
                    wanted.insert(key);
                }
            }
        }
    }

    fn lay_down_plaintext(
        &mut self,
        destination: u64,
        applicable: &Applicable,
        wanted: &mut HashSet<VerdictKey>,
        classes: &mut HashSet<Network>,
    ) {
        let generation = self.generation;
        for (class, (of, verdicts)) in plaintext(applicable).into_iter().enumerate() {
            let family = if of.addr().is_ipv4() { 4 } else { 6 };
            for verdict in verdicts {
                let key = VerdictKey {
                    source: PLAINTEXT | class as u64,
                    destination,
                    port: verdict.port,
                    family,
                    pad: 0,
                };
                self.datapath.tables.verdicts.set(key, Verdict { generation, action: verdict.action });
                wanted.insert(key);
            }
            let key = network(destination, of);
            self.datapath.tables.plaintext_sources.set(key, class as u32);
            classes.insert(key);
        }
    }
}
