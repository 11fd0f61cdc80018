//! What the agents have seen of a test: their records of flows, and their counters of requests.
//!
//! Entry point: [`Witness::testify`], once after each test.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    LIMIT,
    cluster::KubeAgent,
    flows::{Flow, Follower},
};

/// The namespaces of the suite's pods begin with this.
const NAMESPACES: &str = "gateway-conformance-mesh";

/// Follows all agents.
pub(super) struct Witness<'a> {
    agents: Vec<Followed<'a>>,
    /// What the counters said after the test before.
    counted: u64,
}

struct Followed<'a> {
    agent: &'a KubeAgent,
    follower: Follower,
    /// How many of its records are of tests before.
    past: usize,
}

/// What was seen of one test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records of requests that the proxy of the client's node carried, or answered itself.
    pub requests: u64,
    /// Those of them that went through a tunnel, to another pod.
    pub tunnelled: u64,
    /// Records of connections that the client's node carried as bytes: to a pod's own address, nobody looks at requests.
    pub connections: u64,
    /// By how much `istio_requests_total` grew at the client's node.
    pub counted: u64,
    /// Records of requests that came through the proxy of the server's node.
    pub received: u64,
    /// The rules by which requests went, and how many.
    pub rules: BTreeMap<String, u64>,
}

impl Seen {
    /// Whether this is all of `requests`, by the records of both ends and by the counters.
    pub(super) fn accounts_for(&self, requests: u64) -> bool {
        let by_records = self.requests + self.connections >= requests && self.received >= self.tunnelled;
        by_records && self.counted >= self.requests
    }

    /// The routes that had requests, and how many.
    pub(super) fn routes(&self) -> BTreeMap<&str, u64> {
        let mut routes = BTreeMap::new();
        for (rule, count) in &self.rules {
            // NAMESPACE/NAME/RULE
            let route = rule.rsplit_once('/').map_or(&**rule, |(route, _)| route);
            *routes.entry(route).or_default() += count;
        }
        routes
    }

    fn add(&mut self, flow: &Flow) {
        if !flow.text("source.namespace").starts_with(NAMESPACES) {
            return;
        }
        let is_request = !flow.text("http.method").is_empty();
        match flow.text("direction") {
            "outbound" if is_request => {
                self.requests += 1;
                self.tunnelled += u64::from(flow.text("path") == "tunnel");
                let rule = flow.text("http.route");
                if !rule.is_empty() {
                    *self.rules.entry(rule.to_owned()).or_default() += 1;
                }
            }
            // That of a connection with requests says what they are.
            "outbound" if flow.text("protocol") == "tcp" => self.connections += 1,
            "inbound" if is_request => self.received += 1,
            _ => {}
        }
    }
}

impl<'a> Witness<'a> {
    pub(super) fn of(agents: &'a [KubeAgent]) -> Result<Self> {
        let follow = |agent: &'a KubeAgent| Ok(Followed { agent, follower: agent.follow()?, past: 0 });
        let agents = agents.iter().map(follow).collect::<Result<_>>()?;
        Ok(Self { agents, counted: 0 })
    }

    /// What was seen since it was asked last. A record comes a moment after its answer, so those of `requests` are waited
    /// for; that some never come is for the verdict to say.
    pub(super) fn testify(&mut self, requests: u64) -> Result<Seen> {
        let began = Instant::now();
        loop {
            let (seen, records, counted) = self.look()?;
            if seen.accounts_for(requests) || began.elapsed() > LIMIT {
                self.counted = counted;
                self.agents.iter_mut().zip(records).for_each(|(of, records)| of.past += records);
                return Ok(seen);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// What is there, of how many records of each agent, and what the counters say.
    fn look(&mut self) -> Result<(Seen, Vec<usize>, u64)> {
        let (mut seen, mut records, mut counted) = (Seen::default(), Vec::new(), 0.0);
        for of in &mut self.agents {
            let flows = of.follower.after(of.past)?;
            flows.iter().for_each(|flow| seen.add(flow));
            records.push(flows.len());
            let own = of.agent.metric("istio_requests_total", &[("reporter", "source")])?;
            counted += own.unwrap_or_default();
        }
        let counted = counted as u64;
        seen.counted = counted - self.counted;
        Ok((seen, records, counted))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(flows: &[serde_json::Value]) -> Seen {
        let mut seen = Seen::default();
        flows.iter().for_each(|flow| seen.add(&Flow(flow.clone())));
        seen
    }

    #[test]
    fn requests_are_told_from_their_connections_and_from_those_that_are_bytes() {
        let source = json!({"namespace": "gateway-conformance-mesh"});
        let request = json!({"direction": "outbound", "protocol": "http/1.1", "source": source, "path": "tunnel",
            "http": {"method": "GET", "route": "a/b/0"}});
        let unrouted = json!({"direction": "outbound", "protocol": "http/1.1", "source": source, "path": "proxy",
            "http": {"method": "GET"}});
        let its_connection = json!({"direction": "outbound", "protocol": "http/1.1", "source": source});
        let bytes = json!({"direction": "outbound", "protocol": "tcp", "source": source});
        let received = json!({"direction": "inbound", "protocol": "http/1.1", "source": source,
            "http": {"method": "GET"}});
        let others = json!({"direction": "outbound", "protocol": "tcp", "source": {"namespace": "shop"}});
        let seen = seen(&[request, unrouted, its_connection, bytes, received, others]);
        let rules = BTreeMap::from([("a/b/0".to_owned(), 1)]);
        assert_eq!(seen, Seen { requests: 2, tunnelled: 1, connections: 1, counted: 0, received: 1, rules });
    }

    #[test]
    fn records_without_counters_account_for_nothing_and_counters_without_records_neither() {
        let seen =
            |requests, connections, counted| Seen { requests, connections, counted, ..Seen::default() };
        assert!(seen(3, 0, 3).accounts_for(3));
        assert!(seen(3, 3, 3).accounts_for(6));
        assert!(!seen(3, 0, 0).accounts_for(3));
        assert!(!seen(0, 0, 3).accounts_for(3));
        assert!(!seen(2, 0, 2).accounts_for(3));
        // Nobody received it.
        assert!(!Seen { tunnelled: 1, ..seen(3, 0, 3) }.accounts_for(3));
    }
}
