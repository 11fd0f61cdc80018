//! What audit policies would have denied, counted by policy, source and destination.
//!
//! Entry points: [`AuditTable::count`], [`AuditRow`], which is also the API's form. Bounded: what does not
//! fit is counted, not kept. Knows nothing of how policies are evaluated.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::record::{FlowRecord, Peer, PolicyRef, timestamp};

/// Rows that a table keeps.
pub const MOST_ROWS: usize = 4096;

/// One workload, as an audit row names it; a part that is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuditPeer {
    /// Kubernetes namespace.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name of the workload that owns the pod.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub workload: Arc<str>,
    /// SPIFFE id, where it was verified.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub identity: Arc<str>,
}

/// How often one policy would have denied one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// The rule, or the tier's default, that would have denied.
    pub policy: PolicyRef,
    /// Who connected.
    pub source: AuditPeer,
    /// To whom.
    pub destination: AuditPeer,
    /// The destination's port.
    pub port: u16,
    /// Connections since the agent started.
    pub count: u64,
    /// The first of them, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub first: String,
    /// The last of them, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last: String,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    policy: PolicyRef,
    source: AuditPeer,
    destination: AuditPeer,
    port: u16,
}

#[derive(Debug)]
struct Hits {
    count: u64,
    first: SystemTime,
    last: SystemTime,
}

/// The counts.
#[derive(Debug)]
pub struct AuditTable {
    rows: HashMap<Key, Hits>,
    most: usize,
}

impl AuditTable {
    /// An empty table of at most `most` rows.
    pub fn new(most: usize) -> Self {
        Self { rows: HashMap::new(), most }
    }

    /// Counts the would-be denial in `record`, if it has one that this node judged; `false` when the
    /// table had no room for it.
    pub fn count(&mut self, record: &FlowRecord) -> bool {
        let Some(policy) = record.audit.as_ref().filter(|_| record.judged_here) else { return true };
        let key = Key {
            policy: policy.clone(),
            source: peer(&record.source),
            destination: peer(&record.destination),
            port: record.destination.address.map_or(0, |address| address.port()),
        };
        if let Some(hits) = self.rows.get_mut(&key) {
            hits.count += 1;
            hits.last = record.time;
            return true;
        }
        if self.rows.len() >= self.most {
            return false;
        }
        self.rows.insert(key, Hits { count: 1, first: record.time, last: record.time });
        true
    }

    /// The rows, most frequent first.
    pub fn rows(&self) -> Vec<AuditRow> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(a, a_hits), (b, b_hits)| {
            let order = |key: &Key| (key.source.clone(), key.destination.clone(), key.port);
            b_hits.count.cmp(&a_hits.count).then_with(|| order(a).cmp(&order(b)))
        });
        let row = |(key, hits): (&Key, &Hits)| AuditRow {
            policy: key.policy.clone(),
            source: key.source.clone(),
            destination: key.destination.clone(),
            port: key.port,
            count: hits.count,
            first: timestamp(hits.first),
            last: timestamp(hits.last),
        };
        rows.into_iter().map(row).collect()
    }
}

fn peer(peer: &Peer) -> AuditPeer {
    let text = |text: &Option<Arc<str>>| text.clone().unwrap_or_default();
    AuditPeer {
        namespace: text(&peer.namespace),
        workload: text(if peer.workload.is_some() { &peer.workload } else { &peer.pod }),
        identity: text(&peer.identity),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flows::record::samples;

    fn judged(workload: &str) -> FlowRecord {
        let mut record = samples::full();
        record.judged_here = true;
        record.source.workload = Some(workload.into());
        record
    }

    #[test]
    fn would_be_denials_are_counted_by_policy_source_destination_and_port() {
        let mut table = AuditTable::new(10);
        let mut later = judged("cart");
        later.time += Duration::from_secs(1);
        for record in [judged("cart"), judged("web"), later] {
            assert!(table.count(&record));
        }
        let rows = table.rows();
        let seen: Vec<_> = rows.iter().map(|row| (&*row.source.workload, row.port, row.count)).collect();
        assert_eq!(seen, [("cart", 8080, 2), ("web", 8080, 1)]);
        assert_eq!(&*rows[0].policy.name, "pay-audit");
        assert_eq!(
            (rows[0].first.as_str(), rows[0].last.as_str()),
            ("2026-01-02T03:04:05.678901Z", "2026-01-02T03:04:06.678901Z")
        );
    }

    #[test]
    fn what_another_node_judged_is_not_counted_twice() {
        let mut table = AuditTable::new(10);
        let mut record = judged("cart");
        record.judged_here = false;
        assert!(table.count(&record) && table.rows().is_empty());
    }

    #[test]
    fn a_full_table_turns_newcomers_away_and_goes_on_counting_the_known() {
        let mut table = AuditTable::new(1);
        assert!(table.count(&judged("cart")));
        assert!(!table.count(&judged("web")));
        assert!(table.count(&judged("cart")));
        assert_eq!(table.rows()[0].count, 2);
    }
}
