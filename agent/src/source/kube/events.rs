//! Events on pods: what a person sees who asks `kubectl describe pod`.
//!
//! Entry point: [`PodEvents`]. Bounded three ways: what waits, how often one pod is told the same, and how many are written in
//! a second; what that turns away is counted. That an event cannot be written changes nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use crate::{
    metrics::{Counter, Metrics, Series, catalogue},
    state::model::NamespacedName,
};

/// Events that wait to be written.
const WAITING: usize = 256;
/// A pod is told the same no sooner again.
const AGAIN: Duration = Duration::from_secs(600);
/// Between two events.
const PAUSE: Duration = Duration::from_millis(200);

/// Where events are handed in; a cheap handle.
#[derive(Clone, Debug)]
pub struct PodEvents {
    waiting: mpsc::Sender<PodEvent>,
    results: Arc<Series<Counter>>,
}

#[derive(Debug)]
struct PodEvent {
    pod: NamespacedName,
    uid: Arc<str>,
    reason: &'static str,
    note: String,
}

impl PodEvents {
    /// Begins to write what is handed in, as the agent of `node`; until the task is aborted.
    pub fn start(client: Client, node: &str, metrics: &Metrics) -> (Self, JoinHandle<()>) {
        let (waiting, events) = mpsc::channel(WAITING);
        let results = metrics.counters(&catalogue::POD_EVENTS);
        let reporter = Reporter { controller: "weir.dev/agent".into(), instance: Some(node.into()) };
        let task = tokio::spawn(write(Recorder::new(client, reporter), events, results.clone()));
        (Self { waiting, results }, task)
    }

    /// Has an event written on a pod.
    pub fn tell(&self, pod: NamespacedName, uid: Arc<str>, reason: &'static str, note: String) {
        if self.waiting.try_send(PodEvent { pod, uid, reason, note }).is_err() {
            self.results.with(&["lost"]).inc();
        }
    }
}

async fn write(recorder: Recorder, mut events: mpsc::Receiver<PodEvent>, results: Arc<Series<Counter>>) {
    let mut told: HashMap<(Arc<str>, &'static str), Instant> = HashMap::new();
    while let Some(PodEvent { pod, uid, reason, note }) = events.recv().await {
        told.retain(|_, at| at.elapsed() < AGAIN);
        if told.contains_key(&(uid.clone(), reason)) {
            results.with(&["held_back"]).inc();
            continue;
        }
        told.insert((uid.clone(), reason), Instant::now());
        let event = Event {
            type_: EventType::Warning,
            reason: reason.into(),
            note: Some(note),
            action: "Capture".into(),
            secondary: None,
        };
        let on = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace.to_string()),
            name: Some(pod.name.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        match recorder.publish(&event, &on).await {
            Ok(()) => results.with(&["written"]).inc(),
            Err(error) => {
                tracing::warn!(%pod, %error, "an event cannot be written");
                results.with(&["failed"]).inc()
            }
        };
        sleep(PAUSE).await;
    }
}
