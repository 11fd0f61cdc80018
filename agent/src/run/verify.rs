//! Every enrolled pod of the node is looked at again and again: is it captured, in full, with a certificate? What is not so
//! is mended where it can be, counted, and told on the pod.
//!
//! Entry points: [`Verification`], `Control::verify`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::{mpsc, oneshot};

use super::control::Control;
use crate::{
    admin::{Looks, Verified},
    flows::record::timestamp,
    identity::Identity,
    metrics::{Counter, Metrics, Series, catalogue},
    source::kube::{
        annotations::BadAnnotations,
        events::{ObjectEvents, Subject, What},
    },
    state::{
        Kind,
        model::{NamespacedName, ObjectKey, Workload},
    },
    sync::Repairs,
};

/// Most who wait for one look.
const MOST: usize = 16;

/// What became of looks.
pub(super) struct Verification {
    asked: mpsc::Receiver<oneshot::Sender<Verified>>,
    /// Where the pods' events go, if they are a Kubernetes'.
    events: Option<ObjectEvents>,
    annotations: BadAnnotations,
    repairs: Arc<Series<Counter>>,
    pod_repairs: Arc<Series<Counter>>,
    /// How often each captured pod was mended.
    mended: BTreeMap<NamespacedName, u64>,
    at: Option<SystemTime>,
}

impl Verification {
    /// None yet, and where it is asked for.
    pub(super) fn new(events: Option<ObjectEvents>, metrics: &Metrics) -> (Self, Looks) {
        let (sender, asked) = mpsc::channel(MOST);
        let verification = Self {
            asked,
            events,
            annotations: BadAnnotations::new(metrics),
            repairs: metrics.counters(&catalogue::DRIFT_REPAIRS),
            pod_repairs: metrics.counters(&catalogue::POD_REPAIRS),
            mended: BTreeMap::new(),
            at: None,
        };
        (verification, sender)
    }

    /// The next one who asks for a look; there is always another, until the agent ends.
    pub(super) async fn asked(&mut self) -> oneshot::Sender<Verified> {
        match self.asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// How often each captured pod was mended.
    pub(super) fn mended(&self) -> &BTreeMap<NamespacedName, u64> {
        &self.mended
    }

    /// When all was looked at last, RFC 3339.
    pub(super) fn at(&self) -> Option<String> {
        self.at.map(timestamp)
    }
}

impl Control {
    /// Looks at every pod and at all that the kernel holds, and mends it.
    pub(super) fn verify(&mut self) -> Verified {
        let before = self.reconciler.gaps();
        self.mend();
        let after = self.reconciler.gaps();
        let mut found = Verified { pods: self.reconciler.captured().len() as u64, ..Verified::default() };
        for (pod, gaps) in &before {
            let words: Vec<&str> = gaps.iter().map(|gap| gap.word()).collect();
            let words = words.join(", ");
            if after.contains_key(pod) {
                tracing::error!(%pod, missing = words, "a pod is not captured in full, and cannot be mended");
                let note = format!("missing of its capture: {words}; the agent cannot mend it");
                self.tell(pod, What::NotCaptured, note);
                found.faulty += 1;
                continue;
            }
            tracing::warn!(%pod, missing = words, "a pod was not captured in full, and is again");
            let note = format!("it was not captured in full, and is again: {words}");
            self.tell(pod, What::CaptureRepaired, note);
            found.repaired += 1;
            gaps.iter().for_each(|gap| _ = self.verification.pod_repairs.with(&[gap.word()]).inc());
            *self.verification.mended.entry(pod.clone()).or_default() += 1;
        }
        let failed = self.reconciler.failed().iter().filter(|(_, error)| !error.is_harmless());
        let failed: Vec<(NamespacedName, String)> =
            failed.map(|(pod, error)| (pod.clone(), format!("it is not captured: {error}"))).collect();
        let uncertified = self.uncertified();
        for (pod, words) in failed.iter().chain(&uncertified) {
            self.tell(pod, What::NotCaptured, words.clone());
            found.faulty += 1;
        }
        let captured = self.reconciler.captured();
        self.verification.mended.retain(|pod, _| captured.contains_key(pod));
        self.verification.at = Some(SystemTime::now());
        self.look_at_kernel();
        self.publish();
        found
    }

    /// Captured pods without a certificate that is good now: what they send and what comes to them is refused.
    fn uncertified(&self) -> Vec<(NamespacedName, String)> {
        let now = time::OffsetDateTime::now_utc();
        let lacking = self.shared.certificates.status().into_iter().filter_map(|status| {
            let lacks = match status.not_after {
                Some(end) => end <= now,
                // One that was only just asked for is waited for.
                None => status.last_error.is_some(),
            };
            lacks.then(|| (status.identity, status.last_error.unwrap_or_else(|| "it has expired".into())))
        });
        let lacking: HashMap<Identity, String> = lacking.collect();
        let captured = self.reconciler.captured().iter().filter_map(|(key, captured)| {
            let why = lacking.get(&captured.pod.identity)?;
            Some((key.clone(), format!("there is no certificate for {}: {why}", captured.pod.identity)))
        });
        captured.collect()
    }

    fn mend(&mut self) {
        let Repairs { entries, programs } = self.reconciler.repair();
        for (map, wrong) in entries {
            tracing::warn!(map, wrong, "a kernel map was not as it ought to be, and was mended");
            self.verification.repairs.with(&[map]).inc_by(wrong as u64);
        }
        if programs > 0 {
            tracing::warn!(programs, "programs were not attached, and are again");
            self.verification.repairs.with(&["programs"]).inc_by(programs as u64);
        }
    }

    fn tell(&self, pod: &NamespacedName, what: What, note: String) {
        let snapshot = self.state.snapshot();
        if let (Some(events), Some(workload)) = (&self.verification.events, snapshot.workload(pod)) {
            events.tell(Subject::of_pod(pod, workload.uid.clone()), what, note);
        }
    }

    /// Tells the node's pods which of their annotations make no sense; those of Namespaces are the controller's to tell,
    /// once instead of once a node.
    pub(super) fn tell_bad_annotations(&mut self) {
        let (snapshot, node) = (self.state.snapshot(), &self.shared.node);
        let own_pod = |key: &ObjectKey| {
            let pod = NamespacedName::new(key.namespace.clone(), key.name.clone());
            let of_node =
                |workload: &&Arc<Workload>| *key.kind == *Kind::Pod.word() && workload.node == *node;
            snapshot
                .workload(&pod)
                .filter(of_node)
                .map(|workload| Subject::of_pod(&pod, workload.uid.clone()))
        };
        let Verification { annotations, events, .. } = &mut self.verification;
        annotations.tell(&self.problems, events.as_ref(), own_pod);
    }
}
