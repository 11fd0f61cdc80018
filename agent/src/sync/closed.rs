//! Namespaces that stay closed although nothing is captured in them.
//!
//! Entry points: `Reconciler::close`, `Reconciler::settle_closed`. A pod that is enrolled and cannot be captured
//! must not fall out of the mesh it was in: its hooks stay, its listeners are gone, so that whatever needs the
//! agent is refused. That goes for a pod captured by an earlier agent too, as long as something of the state that
//! could tell of it cannot be read.

use std::collections::HashSet;

use weir_common::Workload as KernelWorkload;

use super::Reconciler;
use crate::{datapath::netns::Netns, state::model::NamespacedName};

impl Reconciler {
    /// Says whether all of the source could be read, so that a pod it does not tell of is none.
    pub fn know_all(&mut self, complete: bool) {
        self.complete = complete;
        self.settle_closed();
    }

    /// What an earlier agent captured is closed until it is captured again, or known to be let go.
    pub(super) fn close_adopted(&mut self) {
        let captured = self.cookies();
        let adopted: Vec<(u64, KernelWorkload)> =
            self.adopted.iter().map(|(cookie, workload)| (*cookie, *workload)).collect();
        for (cookie, workload) in adopted {
            if !captured.contains(&cookie) {
                self.datapath.tables.workloads.set(cookie, workload);
                self.closed.insert(cookie);
            }
        }
        self.settle_closed();
        for cookie in self.closed.iter().filter(|_| !self.complete) {
            tracing::warn!(cookie, "a namespace stays closed until all of the state can be read");
        }
    }

    /// Whether `key`, which is being released, is to stay closed: the snapshot still has it in the mesh.
    pub(super) fn stays_closed(&self, key: &NamespacedName) -> bool {
        let Some(captured) = self.pods.get(key) else { return false };
        let in_mesh = self.snapshot.workload(key).is_some_and(|workload| {
            workload.enrolled && !workload.host_network && *workload.node == *self.options.node
        });
        in_mesh && self.is_at_home(captured)
    }

    /// Opens what is closed without need: it was captured again, or nobody wants it captured.
    pub(super) fn settle_closed(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        let captured = self.cookies();
        self.closed.retain(|cookie| !captured.contains(cookie));
        let failed: HashSet<u64> = self.failed.iter().filter_map(|(key, _)| self.cookie_of(key)).collect();
        let complete = self.complete;
        let over = |cookie: &u64| complete && !failed.contains(cookie);
        let gone: Vec<u64> = self
            .closed
            .iter()
            .copied()
            .filter(|cookie| over(cookie) || !self.datapath.is_steered_somewhere(*cookie))
            .collect();
        for cookie in gone {
            self.closed.remove(&cookie);
            self.forget(cookie);
        }
    }

    /// Of the namespace that a pod names.
    fn cookie_of(&self, key: &NamespacedName) -> Option<u64> {
        let path = self.netns_of(self.snapshot.workload(key)?)?;
        Some(Netns::open(&path).ok()?.cookie())
    }
}
