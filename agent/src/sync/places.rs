//! Where pods run, as far as the reconciler wants to know.
//!
//! Entry points: `Reconciler::find_places`, `Reconciler::netns_of`.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use super::Reconciler;
use crate::{places::Places, state::model::Workload};

/// So often pods that are missing are looked for at every look at the pods, and from then on at every tenth.
const EAGERLY: u32 = 50;
const SELDOM: u32 = 10;

/// What was found, and what is missing.
#[derive(Debug, Default)]
pub(super) struct Found {
    places: Places,
    missing: HashSet<Arc<str>>,
    /// How often the very same ones were missing.
    looks: u32,
}

impl Reconciler {
    /// Looks for the pods of which it is not known where they run.
    pub(super) fn find_places(&mut self) {
        if !self.options.finds_places {
            return;
        }
        let own = self.snapshot.workloads_on_node(&self.options.node);
        let captured = own.filter(|workload| workload.enrolled && !workload.host_network);
        let wanted = captured.map(|workload| workload.kubelet_uid.clone()).collect();
        let found = &mut self.places;
        let missing = found.places.keep(wanted);
        if missing != found.missing {
            found.looks = 0;
        }
        found.looks = found.looks.saturating_add(1);
        if !missing.is_empty()
            && (found.looks <= EAGERLY || found.looks.is_multiple_of(SELDOM))
            && let Err(error) = found.places.look(&missing)
        {
            tracing::error!(%error, "cannot look at processes");
        }
        found.missing = missing;
    }

    /// The path of a pod's network namespace, as far as it is known.
    pub(super) fn netns_of(&self, workload: &Workload) -> Option<PathBuf> {
        let found = || self.places.places.of(&workload.kubelet_uid).map(Into::into);
        workload.netns.clone().or_else(found)
    }
}
