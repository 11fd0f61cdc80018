//! Pods that have left the mesh while they run, so that nobody who talks with them notices.
//!
//! Entry points: `Reconciler::leave`, `Reconciler::settle_leaving`. From the first moment on new connections are made as if
//! there were no mesh. What is on its way to a listener of the agent's still gets there, until other nodes have heard of
//! it too; then nobody listens there any more. Connections that the agent carries go on until they end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use weir_common::{Workload as KernelWorkload, workload};

use super::{
    Captured, Reconciler,
    capture::{ending, kernel_workload},
};
use crate::{flows::record::Reason, proxy::pod::LocalPod, state::model::NamespacedName};

/// How long other nodes may take to hear that a pod has left: until then they come by the tunnel.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// A pod that has left the mesh.
#[derive(Debug)]
pub(super) struct Leaving {
    captured: Captured,
    /// Until when somebody listens for it; `None` when nobody does any more.
    listens: Option<Instant>,
}

impl Leaving {
    pub(super) fn pod(&self) -> &Arc<LocalPod> {
        &self.captured.pod
    }

    pub(super) fn virtual_port(&self) -> u16 {
        self.captured.virtual_port
    }

    fn is_of(&self, cookie: u64) -> bool {
        self.captured.pod.netns.cookie() == cookie
    }
}

impl Reconciler {
    /// Whether a captured pod is where it was, and who it was, and only no longer in the mesh.
    pub(super) fn has_left(&self, key: &NamespacedName) -> bool {
        let Some((captured, workload)) = self.pods.get(key).zip(self.snapshot.workload(key)) else {
            return false;
        };
        !workload.enrolled
            && *workload.node == *self.options.node
            && captured.pod.is(workload)
            && self.is_at_home(captured)
    }

    /// Captures a pod no longer, and leaves what is under way alone.
    pub(super) fn leave(&mut self, key: &NamespacedName) {
        let Some(captured) = self.pods.remove(key) else { return };
        let cookie = captured.pod.netns.cookie();
        let value = KernelWorkload {
            flags: workload::LEAVING,
            ..kernel_workload(&captured.workload, captured.virtual_port)
        };
        self.datapath.tables.workloads.set(cookie, value);
        self.forget_endpoints(&captured);
        self.forget_rules(cookie);
        self.known.gone(cookie);
        tracing::info!(pod = %key, "left the mesh");
        self.leaving.push(Leaving { captured, listens: Some(Instant::now() + HEARD_WITHIN) });
    }

    /// Ends the listening for those that others have had the time to hear of, and lets go of those of which nothing is
    /// left.
    pub(super) fn settle_leaving(&mut self) {
        let now = Instant::now();
        for mut leaving in std::mem::take(&mut self.leaving) {
            let cookie = leaving.pod().netns.cookie();
            let is_gone = !self.is_at_home(&leaving.captured);
            if leaving.listens.is_some_and(|until| until <= now || is_gone) {
                leaving.listens = None;
                self.steer_to_nobody(cookie);
                self.forget(cookie);
                self.workers.leave(leaving.pod());
            }
            if is_gone {
                let why = ending(Reason::Reset, "the pod's network namespace is gone");
                self.workers.remove(leaving.pod(), &why);
            } else if leaving.listens.is_some() || Arc::strong_count(leaving.pod()) > 1 {
                // Whoever carries something for it has it too.
                self.leaving.push(leaving);
            }
        }
    }

    /// Whether somebody still listens in this namespace for a pod that has left.
    pub(super) fn is_leaving(&self, cookie: u64) -> bool {
        self.leaving_port(cookie).is_some()
    }

    /// The loopback port at which somebody still listens in this namespace for a pod that has left.
    pub(super) fn leaving_port(&self, cookie: u64) -> Option<u16> {
        let mut leaving = self.leaving.iter();
        let listens = |leaving: &&Leaving| leaving.is_of(cookie) && leaving.listens.is_some();
        leaving.find(listens).map(Leaving::virtual_port)
    }

    /// Says that a pod is back: its new listeners take what the old ones would have.
    pub(super) fn succeed(&mut self, cookie: u64) {
        for leaving in self.leaving.iter_mut().filter(|leaving| leaving.is_of(cookie)) {
            if leaving.listens.take().is_some() {
                self.workers.leave(leaving.pod());
            }
        }
    }
}
