//! The writer of WorkloadSlices: what all nodes have to know of each other's pods.
//!
//! Entry point: [`SliceWriter::run`]. The controller that holds the lease watches every Pod; what others have to know of them
//! is written where it differs from what the API server has. Many changes that come together are written together.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until, timeout},
};

use super::counters::Counters;
use crate::{
    slices::{COMPLETE, Plan, WorkloadSliceSpec, face, plan::Write},
    source::kube::{Heard, KubeSource, Pods, resource},
    state::{Event, Kind, Object, model::NamespacedName},
};

const KINDS: [Kind; 2] = [Kind::Pod, Kind::WorkloadSlice];
/// More may follow at once.
const GATHER: Duration = Duration::from_millis(50);
/// Between one round of writes and the next: what comes meanwhile is written together. Every node reads each write.
const ROUND: Duration = Duration::from_millis(500);
/// What could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a write may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Writes at one time.
const AT_ONCE: usize = 8;

/// Writes.
pub(super) struct SliceWriter {
    pub(super) client: Client,
    pub(super) heard: Heard,
    pub(super) namespace: Arc<str>,
    pub(super) counters: Counters,
}

/// What is there and what should be.
#[derive(Default)]
struct Known {
    plan: Plan,
    /// Whether all slices are said to be there.
    complete: bool,
}

impl SliceWriter {
    /// Writes for as long as it runs and the lease is held.
    pub(super) async fn run(self, mut leads: watch::Receiver<bool>) {
        loop {
            // An error means that nobody will ever lead.
            if leads.wait_for(|leads| *leads).await.is_err() {
                return std::future::pending().await;
            }
            self.write_while_leading(&mut leads).await;
            self.counters.sliced(0, 0);
        }
    }

    async fn write_while_leading(&self, leads: &mut watch::Receiver<bool>) {
        let pods = Pods::Written { namespace: self.namespace.clone() };
        let mut source = KubeSource::start_with(self.client.clone(), self.heard.clone(), &KINDS, pods);
        let mut known = tokio::select! {
            scan = source.first() => Known::begin(scan.events),
            _ = leads.wait_for(|leads| !*leads) => return,
        };
        loop {
            let round = Instant::now() + ROUND;
            let behind = !self.write_all(&mut known, leads).await;
            self.counters.sliced(known.plan.len(), known.plan.pods());
            tokio::select! {
                () = source.changed() => {}
                () = sleep(AGAIN), if behind => {}
                _ = leads.wait_for(|leads| !*leads) => return,
            }
            sleep_until((Instant::now() + GATHER).max(round).into()).await;
            source.scan().events.into_iter().for_each(|event| known.take(event));
        }
    }

    /// Writes what differs; says whether all of it was written.
    async fn write_all(&self, known: &mut Known, leads: &watch::Receiver<bool>) -> bool {
        let (puts, deletes): (Vec<Write>, Vec<Write>) =
            known.plan.writes().into_iter().partition(|write| matches!(write, Write::Put(..)));
        let mut done = true;
        // A slice that others go to is there before those that they come from are gone.
        for writes in [puts, deletes] {
            let written = futures::stream::iter(writes).map(async |write| {
                let written =
                    if *leads.borrow() { self.write(&write).await } else { Err("leads no more".into()) };
                (write, written)
            });
            let written: Vec<_> = written.buffer_unordered(AT_ONCE).collect().await;
            for (write, written) in written {
                self.counters.slice_written(written.is_ok());
                if let Err(words) = written {
                    tracing::warn!(slice = %write.name(), error = words, "a WorkloadSlice cannot be written");
                    known.plan.failed(&write);
                    done = false;
                }
            }
        }
        if done && !known.complete {
            let spec = WorkloadSliceSpec { complete: Some(true), ..WorkloadSliceSpec::default() };
            known.complete = self.write(&Write::Put(COMPLETE.into(), spec)).await.is_ok();
            return known.complete;
        }
        done
    }

    async fn write(&self, write: &Write) -> Result<(), String> {
        let of = resource(Kind::WorkloadSlice);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &of);
        let writing = async {
            match write {
                Write::Put(name, spec) => put(&api, name, spec).await,
                Write::Delete(name) => match api.delete(name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                    deleted => deleted.map(drop),
                },
            }
        };
        match timeout(LIMIT, writing).await {
            Err(_) => Err(format!("no answer within {LIMIT:?}")),
            Ok(written) => written.map_err(|error| error.to_string()),
        }
    }
}

async fn put(api: &Api<DynamicObject>, name: &str, spec: &WorkloadSliceSpec) -> kube::Result<()> {
    let spec = serde_json::to_value(spec).map_err(kube::Error::SerdeError)?;
    match api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        patched => return patched.map(drop),
    }
    let mut object = DynamicObject::new(name, &resource(Kind::WorkloadSlice));
    object.data = Value::from_iter([("spec", spec)]);
    api.create(&PostParams::default(), &object).await.map(drop)
}

impl Known {
    /// What is there: the slices first, since pods stay where they are.
    fn begin(events: Vec<Event>) -> Self {
        let mut known = Self::default();
        let is_slice = |event: &Event| matches!(event, Event::Apply(Object::WorkloadSlice(_)));
        let (slices, others): (Vec<Event>, Vec<Event>) = events.into_iter().partition(is_slice);
        slices.into_iter().for_each(|event| known.take(event));
        known.plan.adopt();
        let mut there = HashSet::new();
        for event in others {
            if let Event::Apply(Object::Pod(pod)) = &event {
                there.insert(pod.key.clone());
            }
            known.take(event);
        }
        let gone: Vec<NamespacedName> =
            known.plan.known().filter(|key| !there.contains(*key)).cloned().collect();
        gone.iter().for_each(|key| known.plan.set(key, None, fresh));
        known
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Apply(Object::Pod(pod)) => self.plan.set(&pod.key, face(&pod).map(Arc::new), fresh),
            Event::Apply(Object::WorkloadSlice(slice)) => {
                self.complete |= slice.complete;
                self.plan.told(&slice.key.name.clone(), Some(slice));
            }
            Event::Delete(key) if *key.kind == *Kind::Pod.word() => {
                self.plan.set(&NamespacedName::new(key.namespace, key.name), None, fresh);
            }
            Event::Delete(key) if *key.kind == *Kind::WorkloadSlice.word() => {
                self.complete &= *key.name != *COMPLETE;
                self.plan.told(&key.name, None);
            }
            _ => {}
        }
    }
}

/// Letters that no two slices of a namespace have in common.
fn fresh() -> String {
    std::iter::repeat_with(fastrand::lowercase).take(8).collect()
}
