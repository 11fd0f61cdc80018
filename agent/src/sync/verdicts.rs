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
    policy::{ConnectionDecision, Source, SourceAddress},
    proxy::judge::Rules,
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

/// What is decided about `source`, per destination port, given what decides about the destination.
///
/// Only what holds whatever a connection carries is laid down; where it hangs on requests, the agent is
/// asked, so that no path goes round who can see them.
pub fn of(rules: &Rules, source: Source<'_>) -> Vec<PortVerdict> {
    let decide = |port: u16| match rules.decide(source, port) {
        ConnectionDecision::Allowed(_) => action::ALLOW,
        ConnectionDecision::Denied(_) => action::DENY,
        ConnectionDecision::PerRequest => action::ASK,
    };
    let classes: Vec<_> =
        rules.policies.ports().classes().map(|class| (decide(*class.start()), class)).collect();
    let size = |wanted: u32| -> usize {
        classes.iter().filter(|(action, _)| *action == wanted).map(|(_, class)| class.len()).sum()
    };
    // The first of those that most ports have.
    let most = |usual: u32, other: u32| if size(other) > size(usual) { other } else { usual };
    let usual = [action::DENY, action::ASK].into_iter().fold(action::ALLOW, most);
    let apart: Vec<_> = classes.iter().filter(|(action, _)| *action != usual).collect();
    if apart.iter().map(|(_, class)| class.len()).sum::<usize>() > MOST_PORTS {
        return vec![PortVerdict { port: ANY_PORT, action: action::ASK }];
    }
    let apart = apart.into_iter().flat_map(|(action, class)| class.clone().map(|port| (port, *action)));
    let mut verdicts: Vec<PortVerdict> = apart
        .filter(|(port, _)| *port != ANY_PORT)
        .map(|(port, action)| PortVerdict { port, action })
        .collect();
    verdicts.push(PortVerdict { port: ANY_PORT, action: usual });
    verdicts
}

/// Verdicts for connections from one pod of this node to another: family, port, action.
pub fn between(source: &Workload, destination: &Workload, rules: &Rules) -> Vec<(u16, PortVerdict)> {
    let mut verdicts = Vec::new();
    for family in [4u16, 6] {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == (family == 4);
        let (Some(address), Some(_)) =
            (source.addresses.iter().find(of_family), destination.addresses.iter().find(of_family))
        else {
            continue;
        };
        let source = Source { identity: Some(&source.identity), address: SourceAddress::Address(*address) };
        verdicts.extend(of(rules, source).into_iter().map(|verdict| (family, verdict)));
    }
    verdicts
}

/// Verdicts for plaintext, whose source has no identity: each network that the policies tell apart, and
/// what is decided about sources in it.
pub fn plaintext(rules: &Rules) -> Vec<(IpNet, Vec<PortVerdict>)> {
    let mut networks: Vec<IpNet> = rules.policies.networks().to_vec();
    for all in [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())] {
        if !networks.contains(&all) {
            networks.push(all);
        }
    }
    networks
        .into_iter()
        .map(|network| {
            let source = Source { identity: None, address: SourceAddress::Network(network) };
            (network, of(rules, source))
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
            let rules = Rules::of(&self.snapshot, workload);
            if of.contains(destination) {
                self.lay_down_plaintext(*destination, &rules, wanted, classes);
            }
            if !eager {
                continue;
            }
            for (source, from) in &pods {
                if source == destination || !(of.contains(source) || of.contains(destination)) {
                    continue;
                }
                for (family, verdict) in between(from, workload, &rules) {
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
        rules: &Rules,
        wanted: &mut HashSet<VerdictKey>,
        classes: &mut HashSet<Network>,
    ) {
        let generation = self.generation;
        for (class, (of, verdicts)) in plaintext(rules).into_iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::{Identity, TrustDomain},
        policy::{Applicable, Policy, PolicyKey},
    };

    fn rules(specs: &[&str]) -> Rules {
        let named = specs.iter().enumerate().map(|(n, spec)| {
            let spec = serde_norway::from_str(spec).expect("YAML");
            Arc::new(Policy::parse(PolicyKey::new("shop", format!("p-{n}")), spec).expect("a right policy"))
        });
        Rules { policies: Arc::new(Applicable::new(named)), requests: false }
    }

    #[test]
    fn where_tokens_are_looked_at_the_agent_is_asked_and_a_denial_stays_one() {
        let cart = Identity::new(&TrustDomain::default(), "shop", "cart").expect("an identity");
        let source = Source { identity: Some(&cart), address: SourceAddress::Address([10, 1, 2, 3].into()) };
        let deny = Rules { requests: true, ..rules(&["{action: deny, rules: [{to: [{ports: [80]}]}]}"]) };
        let found = of(&deny, source);
        let wanted = [(80, action::DENY), (ANY_PORT, action::ASK)];
        assert_eq!(found, wanted.map(|(port, action)| PortVerdict { port, action }));
    }

    fn laid_down(specs: &[&str]) -> Vec<(u16, u32)> {
        let cart = Identity::new(&TrustDomain::default(), "shop", "cart").expect("an identity");
        let address = SourceAddress::Address([10, 1, 2, 3].into());
        let verdicts = of(&rules(specs), Source { identity: Some(&cart), address });
        verdicts.into_iter().map(|verdict| (verdict.port, verdict.action)).collect()
    }

    #[test]
    fn a_verdict_that_hangs_on_requests_is_the_agents() {
        use weir_common::action::{ALLOW, ASK, DENY};
        for (specs, verdicts) in [
            (&[][..], &[(ANY_PORT, ALLOW)][..]),
            (&["{}"], &[(ANY_PORT, DENY)]),
            (&["{rules: [{to: [{ports: [80]}]}]}"], &[(80, ALLOW), (ANY_PORT, DENY)]),
            (&["{rules: [{to: [{methods: [GET]}]}]}"], &[(ANY_PORT, ASK)]),
            (&["{mode: audit, rules: [{to: [{methods: [GET]}]}]}"], &[(ANY_PORT, ASK)]),
            (
                &["{action: deny, rules: [{to: [{ports: [80], paths: [/a]}]}]}"],
                &[(80, ASK), (ANY_PORT, ALLOW)],
            ),
            (
                &["{rules: [{to: [{ports: [80], methods: [GET]}, {ports: [\"90-91\"]}]}]}"],
                &[(80, ASK), (90, ALLOW), (91, ALLOW), (ANY_PORT, DENY)],
            ),
            // For others only; then nothing hangs on this source's requests.
            (
                &["{action: deny, rules: [{from: [{namespaces: [test]}], to: [{methods: [PUT]}]}]}"],
                &[(ANY_PORT, ALLOW)],
            ),
            (&["{rules: [{to: [{methods: [GET]}]}]}", "{tier: security}"], &[(ANY_PORT, DENY)]),
            // More ports apart than are laid down one by one.
            (&["{rules: [{to: [{ports: [\"1-600\"]}]}]}"], &[(ANY_PORT, ASK)]),
        ] {
            assert_eq!(laid_down(specs), verdicts, "{specs:?}");
        }
    }

    #[test]
    fn plaintext_that_only_requests_could_tell_is_never_passed_by_the_kernel() {
        let rules = rules(&["{rules: [{from: [{cidrs: [10.0.0.0/8]}], to: [{methods: [GET]}]}]}"]);
        let mut found: Vec<(String, u32)> = plaintext(&rules)
            .into_iter()
            .map(|(network, verdicts)| (network.to_string(), verdicts[0].action))
            .collect();
        found.sort();
        let wanted = [("0.0.0.0/0", action::DENY), ("10.0.0.0/8", action::ASK), ("::/0", action::DENY)];
        assert_eq!(found, wanted.map(|(network, action)| (network.to_string(), action)));
    }
}
