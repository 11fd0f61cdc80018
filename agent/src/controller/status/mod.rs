//! The writer of what objects' status says.
//!
//! Entry point: [`StatusWriter::run`]. Objects are judged as agents judge them, by the same code; what their status says
//! is compared with that, and written where it differs, by the one controller that holds the lease. Namespaces have no status
//! for it: what is wrong with their annotations becomes an event.

mod desired;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::counters::Counters;
use crate::{
    policy::FieldError,
    source::{
        Problem,
        kube::{
            Heard, KubeSource, Pods,
            annotations::BadAnnotations,
            events::{ObjectEvents, Subject},
            resource,
        },
        object,
    },
    state::{
        Kind, Settings, Snapshot, State,
        model::{NamespacedName, ObjectKey},
        routes::RouteKind,
    },
};

/// Whose status is written.
const WRITTEN: [Kind; 5] =
    [Kind::AccessPolicy, Kind::RequestAuthentication, Kind::TrafficPolicy, Kind::HttpRoute, Kind::GrpcRoute];
/// What else has to be known for it.
const KNOWN: [Kind; 8] = [
    Kind::Namespace,
    Kind::Service,
    Kind::ReferenceGrant,
    Kind::AccessPolicy,
    Kind::RequestAuthentication,
    Kind::TrafficPolicy,
    Kind::HttpRoute,
    Kind::GrpcRoute,
];
/// What was told and not yet taken in; the watches wait when it is full.
const TOLD: usize = 1024;
/// More may follow at once.
const GATHER: Duration = Duration::from_millis(100);
/// What could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a write may take.
const LIMIT: Duration = Duration::from_secs(10);

type Key = (Kind, NamespacedName);

/// Writes.
pub(super) struct StatusWriter {
    pub(super) client: Client,
    pub(super) heard: Heard,
    pub(super) settings: Settings,
    pub(super) counters: Counters,
    pub(super) events: ObjectEvents,
    pub(super) annotations: BadAnnotations,
}

/// What is known.
#[derive(Default)]
struct Objects {
    all: HashMap<Key, DynamicObject>,
    /// While those of a kind are told anew: which were told so far.
    telling: BTreeMap<Kind, BTreeSet<NamespacedName>>,
}

impl StatusWriter {
    /// Writes for as long as it runs and the lease is held.
    pub(super) async fn run(mut self, mut leads: watch::Receiver<bool>) {
        let mut source = KubeSource::start_with(self.client.clone(), self.heard.clone(), &KNOWN, Pods::All);
        let (sender, mut told) = mpsc::channel(TOLD);
        let mut watches = JoinSet::new();
        for kind in WRITTEN {
            watches.spawn(watch_kind(self.client.clone(), kind, sender.clone()));
        }
        drop(sender);
        let mut state = State::new(self.settings.clone());
        state.apply_all(source.first().await.events);
        let mut objects = Objects::default();
        let mut behind = false;
        loop {
            tokio::select! {
                () = source.changed() => {}
                Some((kind, event)) = told.recv() => objects.take(kind, event),
                Ok(()) = leads.changed() => {}
                () = sleep(AGAIN), if behind => {}
            }
            sleep(GATHER).await;
            let scan = source.scan();
            state.apply_all(scan.events);
            if *leads.borrow() {
                self.tell_bad_annotations(&scan.problems);
            }
            while let Ok((kind, event)) = told.try_recv() {
                objects.take(kind, event);
            }
            behind = *leads.borrow_and_update() && !self.write_all(&objects, &state.snapshot(), &leads).await;
        }
    }

    /// Tells Namespaces which of their annotations make no sense; agents tell it of their pods.
    fn tell_bad_annotations(&mut self, problems: &[Problem]) {
        let namespace = |key: &ObjectKey| {
            (*key.kind == *Kind::Namespace.word()).then(|| Subject::of_namespace(key.name.clone()))
        };
        self.annotations.tell(problems, Some(&self.events), namespace);
    }

    /// Writes what differs; says whether all of it was written.
    async fn write_all(&self, objects: &Objects, snapshot: &Snapshot, leads: &watch::Receiver<bool>) -> bool {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut done = true;
        for ((kind, name), status) in objects.differing(snapshot, &now) {
            if !*leads.borrow() {
                return true;
            }
            let written = self.write(kind, &name, &status).await;
            let word = if written.is_ok() { "written" } else { "failed" };
            self.counters.written.with(&[kind.word(), word]).inc();
            if let Err(words) = written {
                tracing::warn!(object = %format!("{kind} {name}"), error = words, "its status cannot be written");
                done = false;
            }
        }
        done
    }

    async fn write(&self, kind: Kind, name: &NamespacedName, patch: &Value) -> Result<(), String> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource(kind));
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match timeout(LIMIT, api.patch_status(&name.name, &params, &patch)).await {
            Err(_) => Err(format!("no answer within {LIMIT:?}")),
            // It changed, or is gone: that is told, and then it is looked at again.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl Objects {
    fn take(&mut self, kind: Kind, event: Event<DynamicObject>) {
        let name = |object: &DynamicObject| {
            NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any())
        };
        match event {
            Event::Init => drop(self.telling.insert(kind, BTreeSet::new())),
            Event::Apply(object) | Event::InitApply(object) => {
                let name = name(&object);
                if let Some(telling) = self.telling.get_mut(&kind) {
                    telling.insert(name.clone());
                }
                self.all.insert((kind, name), object);
            }
            Event::Delete(object) => drop(self.all.remove(&(kind, name(&object)))),
            Event::InitDone => {
                if let Some(told) = self.telling.remove(&kind) {
                    self.all.retain(|(of, name), _| *of != kind || told.contains(name));
                }
            }
        }
    }

    /// What has to be sent for each object whose status is not what it should be.
    fn differing(&self, snapshot: &Snapshot, now: &str) -> Vec<(Key, Value)> {
        let mut of_routes: HashMap<Key, Vec<_>> = HashMap::new();
        for parent in snapshot.route_statuses() {
            let kind = match parent.route.kind {
                RouteKind::Http => Kind::HttpRoute,
                RouteKind::Grpc => Kind::GrpcRoute,
            };
            of_routes.entry((kind, parent.route.name.clone())).or_default().push(parent);
        }
        let mut conflicts: HashMap<NamespacedName, Vec<String>> = HashMap::new();
        for conflict in snapshot.traffic_policies().conflicts() {
            let ignored = &conflict.ignored;
            let name = NamespacedName::new(ignored.namespace.clone(), ignored.name.clone());
            let words = format!("Service {}: {}", conflict.service, conflict.message());
            conflicts.entry(name).or_default().push(words);
        }
        let mut differing = Vec::new();
        for (key, object) in &self.all {
            let mut value = serde_json::to_value(object).unwrap_or_default();
            // The items of a list do not say what they are.
            value["apiVersion"] = resource(key.0).api_version.into();
            value["kind"] = key.0.word().into();
            let status = match key.0 {
                Kind::HttpRoute | Kind::GrpcRoute => {
                    let parents = of_routes.get(key).map(Vec::as_slice).unwrap_or_default();
                    // What was judged is not what is here: the other watch will tell.
                    let generation = object.metadata.generation;
                    if parents.iter().any(|parent| parent.generation != generation) {
                        continue;
                    }
                    desired::of_route(&value, parents, now)
                }
                kind => {
                    let beside = conflicts.get(&key.1).filter(|_| kind == Kind::TrafficPolicy);
                    desired::of_own(
                        &value,
                        &faults(kind, &key.1, &value),
                        beside.map_or(&[], Vec::as_slice),
                        now,
                    )
                }
            };
            let (old, none) = (&value["status"], status["parents"].as_array().is_some_and(Vec::is_empty));
            if *old != status && !(old.is_null() && none) {
                // Whoever wrote meanwhile must not be written over.
                let version = object.metadata.resource_version.clone();
                differing
                    .push((key.clone(), json!({"metadata": {"resourceVersion": version}, "status": status})));
            }
        }
        differing
    }
}

/// What agents find wrong with an object.
fn faults(kind: Kind, name: &NamespacedName, value: &Value) -> Vec<FieldError> {
    object::faults(&object::read_served(kind, name.clone(), value)).collect()
}

/// Tells of one kind for as long as somebody listens; of one that is not installed, nothing.
async fn watch_kind(client: Client, kind: Kind, told: mpsc::Sender<(Kind, Event<DynamicObject>)>) {
    let api: Api<DynamicObject> = Api::all_with(client, &resource(kind));
    let mut stream = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let event = event.modify(|object| object.metadata.managed_fields = None);
                if told.send((kind, event)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%kind, %error, "cannot be watched"),
        }
    }
}
