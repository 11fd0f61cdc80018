//! Whether captured pods are captured in full: what the kernel has of each, compared with what it ought to have.
//!
//! Entry point: [`Reconciler::gaps`]. It only looks; [`Reconciler::repair`] mends.

use std::collections::BTreeMap;

use weir_common::ListenerKey;

use super::{Reconciler, listeners::KINDS};
use crate::state::model::NamespacedName;

/// What is missing of a pod's capture: through each of them something of the pod would pass by the mesh, or find nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The programs that look at sockets are not attached to the cgroup, or are others.
    Hooks,
    /// The kernel does not know the pod's namespace as one of the mesh.
    Entry,
    /// Nothing looks at connections that come to the pod.
    Steering,
    /// What is to be looked at finds no listener of the agent's.
    Listeners,
}

impl Gap {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hooks, Self::Entry, Self::Steering, Self::Listeners];

    /// The word of the metric.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::Entry => "entry",
            Self::Steering => "steering",
            Self::Listeners => "listeners",
        }
    }
}

impl Reconciler {
    /// The captured pods that are not captured in full, and what is missing of each.
    pub fn gaps(&self) -> BTreeMap<NamespacedName, Vec<Gap>> {
        let attached = self.datapath.is_attached();
        let workloads = &self.datapath.tables.workloads;
        let (entries, listeners) = (workloads.actual(), self.datapath.tables.listeners());
        let workers = self.workers.count() as u32;
        let mut gaps = BTreeMap::new();
        for (key, captured) in &self.pods {
            let netns = captured.pod.netns.cookie();
            let of = |worker| KINDS.map(|kind| ListenerKey { netns, kind, worker });
            let is_whole = |gap: &Gap| match gap {
                Gap::Hooks => attached,
                Gap::Entry => entries.get(&netns) == workloads.desired(&netns),
                Gap::Steering => self.datapath.is_steered(&captured.pod.netns),
                Gap::Listeners => (0..workers).flat_map(of).all(|key| listeners.contains(&key)),
            };
            let found: Vec<Gap> = Gap::ALL.into_iter().filter(|gap| !is_whole(gap)).collect();
            if !found.is_empty() {
                gaps.insert(key.clone(), found);
            }
        }
        gaps
    }
}
