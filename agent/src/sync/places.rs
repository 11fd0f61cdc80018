//! Where pods run, as far as the reconciler wants to know.
//!
//! Entry points: `Reconciler::find_places`, `Reconciler::netns_of`; [`Reconciler::give_place`] for who makes the network
//! of pods.

use std::{collections::HashSet, net::IpAddr, path::PathBuf, sync::Arc};

use super::{CaptureError, Reconciler, capture::own_netns};
use crate::{
    places::{Given, Places},
    state::model::{NamespacedName, Workload},
};

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
    /// Notes the namespace that was made for a pod, with these addresses, before anything of it runs. It is captured there
    /// at the next look, under the same conditions as any other.
    ///
    /// # Errors
    /// When they cannot be the pod's: then nothing is different from before.
    pub fn give_place(
        &mut self,
        workload: &Workload,
        addresses: &[IpAddr],
        given: Given,
    ) -> Result<(), CaptureError> {
        let path = given.name.clone();
        own_netns(addresses, given.path()).map_err(|error| error.at(&path))?;
        for address in addresses {
            let owner = self.snapshot.workload_by_address(*address).map(|owner| &owner.key);
            if owner != Some(&workload.key) && self.snapshot.is_claimed(*address) {
                let other = owner.cloned().unwrap_or_else(|| NamespacedName::new("several", "others"));
                return Err(CaptureError::ClaimedTwice { path, other });
            }
        }
        let places = &mut self.places.places;
        // It may have begun to run since anybody looked.
        if self.pods.contains_key(&workload.key)
            && let Err(error) = places.look(&[workload.kubelet_uid.clone()].into())
        {
            tracing::error!(%error, "cannot look at processes");
        }
        if places.runs_elsewhere(&workload.kubelet_uid, &given) {
            return Err(CaptureError::Disputed);
        }
        places.give(workload.kubelet_uid.clone(), given);
        Ok(())
    }

    /// Forgets what was given for this sandbox of a pod; says whether anything was.
    pub fn take_place_back(&mut self, uid: &str, sandbox: &str) -> bool {
        self.places.places.take_back(uid, sandbox)
    }

    /// Whether a pod is captured, in the namespace with this inode number.
    pub fn is_captured_in(&self, pod: &NamespacedName, netns: u64) -> bool {
        self.pods.get(pod).is_some_and(|captured| captured.pod.netns.inode() == netns)
    }

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

    /// Whether a pod runs elsewhere than where its network was made.
    pub(super) fn is_disputed(&self, workload: &Workload) -> bool {
        self.places.places.is_disputed(&workload.kubelet_uid)
    }

    /// The path of a pod's network namespace, as far as it is known.
    pub(super) fn netns_of(&self, workload: &Workload) -> Option<PathBuf> {
        let found = || self.places.places.of(&workload.kubelet_uid);
        workload.netns.clone().or_else(found)
    }
}
