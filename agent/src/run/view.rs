//! What the control loop publishes for those who ask: the admin API and the metrics.
//!
//! Entry points: [`Shared`], which answers the admin API, and [`View`].

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;

use super::verify::Verification;
use crate::{
    admin::{
        AdminSource, AuditRow, ExplainError, ExplainQuery, Explanation, Looks, Problem, ProgramStatus,
        StatusReport, WorkloadStatus,
    },
    certs::Certificates,
    cni::question::Desk,
    datapath::Datapath,
    flows::{Flows, record::timestamp},
    metrics::{Histogram, readiness::Readiness},
    proxy::pod::LocalPod,
    source,
    state::{
        Conflict, Snapshot,
        model::{Mtls, NamespacedName},
    },
    sync::{CaptureError, Reconciler},
    traffic::TrafficConflict,
    users::KeyFetcher,
};

/// What everyone may read.
pub(super) struct Shared {
    pub(super) node: Arc<str>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) certificates: Certificates,
    pub(super) flows: Flows,
    pub(super) keys: KeyFetcher,
    pub(super) readiness: Readiness,
    /// Where a look at all pods is asked for.
    pub(super) looks: Looks,
    /// Where the CNI plugin asks, if there is one.
    pub(super) desk: Option<Desk>,
    pub(super) view: ArcSwap<View>,
}

/// The reconciler's side, as of the last time it did something.
#[derive(Default)]
pub(super) struct View {
    pub(super) pods: BTreeMap<NamespacedName, Arc<LocalPod>>,
    pub(super) failed: BTreeMap<NamespacedName, String>,
    pub(super) kernel: Arc<Kernel>,
    pub(super) problems: Vec<Problem>,
    /// When every pod was looked at last, RFC 3339, and how often each was mended.
    pub(super) verified: Option<String>,
    pub(super) mended: BTreeMap<NamespacedName, u64>,
    /// Name, entries, capacity, turned away.
    pub(super) maps: Vec<(&'static str, usize, u32, u64)>,
    /// How long captures took, in milliseconds.
    pub(super) captures: Histogram,
}

/// What only a look at the kernel tells. It takes a hundred system calls, more than a change of a pod should cost.
#[derive(Default)]
pub(super) struct Kernel {
    pub(super) programs: Vec<ProgramStatus>,
    /// Name and value of each kernel counter.
    pub(super) counters: Vec<(&'static str, u64)>,
}

impl Kernel {
    pub(super) fn look(datapath: &Datapath) -> Self {
        let attached = datapath.is_attached();
        let program = |program: &crate::datapath::Program| ProgramStatus {
            name: program.name.clone(),
            attached,
            id: (program.id != 0).then_some(program.id),
        };
        Self {
            programs: datapath.programs().iter().map(program).collect(),
            counters: weir_common::counter::NAMES.into_iter().zip(datapath.tables.counters()).collect(),
        }
    }
}

impl View {
    pub(super) fn new(
        reconciler: &Reconciler,
        kernel: Arc<Kernel>,
        verification: &Verification,
        captures: &Histogram,
        problems: Vec<Problem>,
    ) -> Self {
        let captured = reconciler.captured();
        let failed = reconciler.failed();
        Self {
            pods: captured.iter().map(|(key, captured)| (key.clone(), captured.pod.clone())).collect(),
            failed: failed.iter().map(|(key, error)| (key.clone(), error.to_string())).collect(),
            kernel,
            problems,
            verified: verification.at(),
            mended: verification.mended().clone(),
            maps: reconciler.datapath().tables.occupancy(),
            captures: captures.clone(),
        }
    }
}

impl AdminSource for Shared {
    fn status(&self) -> StatusReport {
        let snapshot = self.snapshot.load();
        let view = self.view.load();
        let expiries: BTreeMap<String, String> = self
            .certificates
            .status()
            .into_iter()
            .filter_map(|status| Some((status.identity.to_string(), timestamp(status.not_after?.into()))))
            .collect();
        let workloads = snapshot.workloads_on_node(&self.node).map(|workload| {
            let pod = view.pods.get(&workload.key);
            let identity = workload.identity.to_string();
            WorkloadStatus {
                namespace: workload.key.namespace.to_string(),
                pod: workload.key.name.to_string(),
                enrolled: workload.enrolled,
                captured: pod.is_some(),
                reason: view.failed.get(&workload.key).cloned(),
                certificate_expiry: expiries.get(&identity).cloned().filter(|_| pod.is_some()),
                identity,
                mtls: match workload.mtls {
                    Mtls::Permissive => "permissive".into(),
                    Mtls::Strict => "strict".into(),
                },
                addresses: workload.addresses.iter().map(ToString::to_string).collect(),
                repairs: view.mended.get(&workload.key).copied().unwrap_or_default(),
                connections: pod.map_or(0, |pod| u64::from(pod.connections())),
                processor_ms: pod
                    .map_or(0, |pod| u64::try_from(pod.processor().as_millis()).unwrap_or(u64::MAX)),
            }
        });
        StatusReport {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            ready: self.readiness.is_ready(),
            waiting_for: self.readiness.reasons(),
            verified: view.verified.clone(),
            generation: snapshot.generation,
            policy_generation: snapshot.policy_generation,
            programs: view.kernel.programs.clone(),
            workloads: workloads.collect(),
            problems: view.problems.clone(),
            counters: view.kernel.counters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        }
    }

    fn audit(&self) -> Vec<AuditRow> {
        self.flows.audit()
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ExplainError> {
        super::explain::explain(&self.snapshot.load(), query)
    }

    fn looks(&self) -> Option<&Looks> {
        Some(&self.looks)
    }

    fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    fn problems(&self) -> Vec<Problem> {
        self.view.load().problems.clone()
    }
}

/// Seconds since the epoch.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

pub(super) fn of_source(problem: &source::Problem) -> Problem {
    Problem {
        file: problem.file.clone(),
        object: problem.object.as_ref().map(ToString::to_string),
        field: problem.field.clone(),
        value: problem.value.clone(),
        message: problem.message.clone(),
    }
}

pub(super) fn of_conflict(conflict: &Conflict) -> Problem {
    let claimants: Vec<String> = conflict.claimants.iter().map(ToString::to_string).collect();
    Problem {
        object: claimants.first().cloned(),
        field: Some("address".into()),
        value: Some(conflict.address.to_string()),
        message: format!("claimed by {}: none of them has it until one lets go", claimants.join(" and ")),
        ..Problem::default()
    }
}

pub(super) fn of_traffic(conflict: &TrafficConflict) -> Problem {
    Problem {
        object: Some(format!("TrafficPolicy {}", conflict.ignored)),
        field: Some("spec.targetRefs".into()),
        value: Some(conflict.service.name.to_string()),
        message: conflict.message(),
        ..Problem::default()
    }
}

pub(super) fn of_capture(pod: &NamespacedName, error: &CaptureError) -> Problem {
    let netns = match error {
        CaptureError::Netns { path, .. }
        | CaptureError::NotIts { path, .. }
        | CaptureError::OfNode { path }
        | CaptureError::ClaimedTwice { path, .. } => Some(path.display().to_string()),
        _ => None,
    };
    Problem {
        object: Some(format!("Pod {pod}")),
        field: netns.is_some().then(|| "metadata.annotations[\"weir.dev/netns\"]".into()),
        value: netns,
        message: format!("not captured: {error}"),
        ..Problem::default()
    }
}
