//! One kind of objects, watched for as long as the agent runs.
//!
//! Entry point: [`Watch::run`]. Whatever the API server does, it goes on: what was told stays until it is told otherwise.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client,
    core::ApiResource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{
    sync::mpsc::{Sender, error::SendError},
    time::{Instant, sleep},
};

use super::{
    Message, Status,
    raw::{Raw, resources},
    shared::Common,
    store::Told,
};
use crate::state::{Kind, Object};

/// How long the API server may keep one request open; each takes a little less, so that not all are renewed at once.
const OPEN: u32 = 290;
/// Until a kind that is not installed is asked for again.
const ABSENT: Duration = Duration::from_secs(10);
/// For how long a kind that was there must be away until its objects are: an API server that starts may not know it yet.
const DOUBT: Duration = Duration::from_secs(60);

/// Which objects of a kind are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Those of one namespace.
    pub(super) namespace: Option<Arc<str>>,
    /// Those that match, in the words of a field selector.
    pub(super) fields: Option<String>,
    /// Of a WorkloadSlice, the pods that are not on this node: they are watched themselves.
    pub(super) except: Option<Arc<str>>,
}

/// Watches one kind.
pub(super) struct Watch {
    pub(super) kind: Kind,
    pub(super) client: Client,
    /// Whether the API server can tell all there is as the beginning of a watch.
    pub(super) streams: bool,
    pub(super) scope: Scope,
    pub(super) told: Sender<Message>,
    pub(super) status: Arc<Status>,
    /// What was told and is in many objects.
    pub(super) common: Common,
}

/// Why a watch has to begin anew in another way.
enum Ended {
    /// The kind is not known in this version.
    Unknown,
    /// It does not begin with all there is.
    DoesNotStream,
    /// Nobody wants to know any more.
    Unwanted,
}

impl Watch {
    /// Tells what there is until nobody listens.
    pub(super) async fn run(mut self) {
        let versions = resources(self.kind);
        let mut unknown = 0;
        let mut known = false;
        let mut away: Option<Instant> = None;
        loop {
            let resource = &versions[unknown % versions.len()];
            match self.watch(resource, &mut known).await {
                Ended::Unwanted => return,
                Ended::DoesNotStream => self.streams = false,
                Ended::Unknown => {
                    unknown += 1;
                    if std::mem::take(&mut known) {
                        away = Some(Instant::now());
                        tracing::warn!(kind = %self.kind, "the API server no longer knows this kind");
                    }
                    if !unknown.is_multiple_of(versions.len()) {
                        continue;
                    }
                    // Without slices nobody knows which pods there are, and that there are none is not true.
                    if self.kind != Kind::WorkloadSlice
                        && away.is_none_or(|since| since.elapsed() >= DOUBT)
                        && self.tell(Told::Absent).await.is_err()
                    {
                        return;
                    }
                    sleep(ABSENT.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
                }
            }
        }
    }

    async fn watch(&mut self, resource: &ApiResource, known: &mut bool) -> Ended {
        let api: Api<Raw> = match &self.scope.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        let mut config = watcher::Config::default().timeout(OPEN - fastrand::u32(0..OPEN / 4));
        config.field_selector.clone_from(&self.scope.fields);
        if self.streams {
            config = config.streaming_lists();
        }
        // What goes wrong is told at once, and what follows waits, longer from time to time.
        let mut stream = pin!(watcher(api, config).default_backoff());
        let mut trouble = None;
        while let Some(event) = stream.next().await {
            let told = match event {
                Ok(event) => {
                    // Where it does not stream, the first is said before the API server is asked.
                    if !matches!(event, Event::Init) {
                        *known = true;
                        if trouble.take().is_some() {
                            tracing::info!(kind = %self.kind, "watched again");
                        }
                    }
                    self.read(event, resource)
                }
                Err(error) => {
                    match code(&error) {
                        Some(404) => return Ended::Unknown,
                        Some(400 | 422) if self.streams => return Ended::DoesNotStream,
                        _ => self.failed(&error, &mut trouble),
                    }
                    continue;
                }
            };
            if self.tell(told).await.is_err() {
                return Ended::Unwanted;
            }
        }
        // A watcher does not end.
        Ended::Unwanted
    }

    async fn tell(&self, told: Told) -> Result<(), SendError<Message>> {
        self.told.send((self.kind, told, std::time::Instant::now())).await
    }

    fn read(&mut self, event: Event<Raw>, resource: &ApiResource) -> Told {
        match event {
            Event::Init => {
                self.status.of(self.kind).lists.add();
                Told::Listing
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let (key, (mut read, faults)) =
                    (object.key(self.kind), object.read(self.kind, &resource.api_version));
                if let (Ok(Object::WorkloadSlice(slice)), Some(node)) = (&mut read, &self.scope.except) {
                    Arc::make_mut(slice).pods.retain(|pod| pod.node != *node);
                }
                if let Ok(object) = &mut read {
                    self.common.share(object);
                }
                Told::Is(key, (read, faults))
            }
            Event::Delete(object) => Told::Gone(object.key(self.kind)),
            Event::InitDone => Told::Listed,
        }
    }

    fn failed(&self, error: &watcher::Error, trouble: &mut Option<String>) {
        // That what happened since cannot be told any more is no failure: all is told anew.
        if code(error) == Some(410) {
            return;
        }
        self.status.of(self.kind).errors.add();
        let words = error.to_string();
        if trouble.as_ref() != Some(&words) {
            tracing::warn!(kind = %self.kind, error = words, "cannot watch; what was told stays in force");
            *trouble = Some(words);
        }
    }
}

/// The API server's own answer, where it gave one.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
