//! Events on objects: what a person sees who asks `kubectl describe pod`, or `kubectl get events`.
//!
//! Entry point: [`ObjectEvents`]. Bounded three ways: what waits, how often and how much one object is told, and how many are
//! written in a second; what that turns away is counted. That an event cannot be written changes nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use crate::{
    metrics::{Counter, Metrics, Series, catalogue},
    state::{
        Kind,
        model::{NamespacedName, ObjectKey},
    },
};

/// Events that wait to be written.
const WAITING: usize = 256;
/// An object is told the same no sooner again.
const AGAIN: Duration = Duration::from_secs(600);
/// Different things that an object is told in that time for one reason.
const MOST_DIFFERENT: usize = 4;
/// Between two events.
const PAUSE: Duration = Duration::from_millis(200);
/// Octets of a note; the API takes 1024.
const LONGEST_NOTE: usize = 1000;

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    key: ObjectKey,
    uid: Option<Arc<str>>,
}

impl Subject {
    /// A pod.
    pub fn of_pod(name: &NamespacedName, uid: Arc<str>) -> Self {
        let NamespacedName { namespace, name } = name.clone();
        Self { key: ObjectKey { kind: Kind::Pod.word().into(), namespace, name }, uid: Some(uid) }
    }

    /// A Namespace.
    pub fn of_namespace(name: Arc<str>) -> Self {
        Self { key: ObjectKey { kind: Kind::Namespace.word().into(), namespace: "".into(), name }, uid: None }
    }

    /// The word of its kind.
    pub fn kind(&self) -> &str {
        &self.key.kind
    }

    /// Where its events are: those on a Namespace in it, where those look who may look nowhere else.
    fn namespace_of_events(&self) -> &str {
        let ObjectKey { namespace, name, .. } = &self.key;
        if namespace.is_empty() { name } else { namespace }
    }

    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some(self.key.kind.to_string()),
            namespace: Some(self.namespace_of_events().into()),
            name: Some(self.key.name.to_string()),
            uid: self.uid.as_ref().map(ToString::to_string),
            ..ObjectReference::default()
        }
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// It is not captured, or has no certificate.
    NotCaptured,
    /// It was not captured in full, and is again.
    CaptureRepaired,
    /// An annotation of Weir's makes no sense.
    BadAnnotation,
}

impl What {
    /// `reason` and `action` of the event.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotCaptured => ("NotCaptured", "Capture"),
            Self::CaptureRepaired => ("CaptureRepaired", "Capture"),
            Self::BadAnnotation => ("BadAnnotation", "Read"),
        }
    }
}

/// Where events are handed in; a cheap handle.
#[derive(Clone, Debug)]
pub struct ObjectEvents {
    waiting: mpsc::Sender<(Subject, What, String)>,
    results: Arc<Series<Counter>>,
}

impl ObjectEvents {
    /// Begins to write what is handed in, as `program` of `instance`; until the task is aborted or all handles are gone.
    pub fn start(client: Client, program: &str, instance: &str, metrics: &Metrics) -> (Self, JoinHandle<()>) {
        let (waiting, events) = mpsc::channel(WAITING);
        let results = metrics.counters(&catalogue::OBJECT_EVENTS);
        let writer = Writer {
            client,
            controller: format!("weir.dev/{program}"),
            instance: instance.into(),
            told: Told::default(),
            results: results.clone(),
        };
        let task = tokio::spawn(writer.run(events));
        (Self { waiting, results }, task)
    }

    /// Has an event written on an object.
    pub fn tell(&self, subject: Subject, what: What, note: String) {
        if self.waiting.try_send((subject, what, note)).is_err() {
            self.results.with(&["lost"]).inc();
        }
    }
}

/// What objects were told lately.
#[derive(Default)]
struct Told(HashMap<(Subject, What), Vec<(Instant, String)>>);

impl Told {
    /// Whether an object is to be told this; it is taken as told.
    fn is_due(&mut self, subject: &Subject, what: What, note: &str, now: Instant) -> bool {
        self.0.retain(|_, notes| {
            notes.retain(|(at, _)| now.duration_since(*at) < AGAIN);
            !notes.is_empty()
        });
        let notes = self.0.entry((subject.clone(), what)).or_default();
        let due = notes.len() < MOST_DIFFERENT && notes.iter().all(|(_, told)| told != note);
        if due {
            notes.push((now, note.into()));
        }
        due
    }
}

/// Writes them.
struct Writer {
    client: Client,
    controller: String,
    instance: String,
    told: Told,
    results: Arc<Series<Counter>>,
}

impl Writer {
    async fn run(mut self, mut events: mpsc::Receiver<(Subject, What, String)>) {
        while let Some((subject, what, mut note)) = events.recv().await {
            note.truncate(note.floor_char_boundary(LONGEST_NOTE));
            if !self.told.is_due(&subject, what, &note, Instant::now()) {
                self.results.with(&["held_back"]).inc();
                continue;
            }
            match self.write(&subject, what, note).await {
                Ok(_) => self.results.with(&["written"]).inc(),
                Err(error) => {
                    tracing::warn!(object = %subject.key, %error, "an event cannot be written");
                    self.results.with(&["failed"]).inc()
                }
            };
            sleep(PAUSE).await;
        }
    }

    /// Not by kube's recorder: to that, two events are one when they differ in nothing but what they say.
    async fn write(&self, subject: &Subject, what: What, note: String) -> kube::Result<Event> {
        let (reason, action) = what.words();
        let namespace = subject.namespace_of_events();
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", subject.key.name)),
                namespace: Some(namespace.into()),
                ..ObjectMeta::default()
            },
            type_: Some("Warning".into()),
            reason: Some(reason.into()),
            action: Some(action.into()),
            note: Some(note),
            regarding: Some(subject.reference()),
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &event).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_the_same_once_in_a_while_and_only_so_many_different_things() {
        let (mut told, start) = (Told::default(), Instant::now());
        let cart = Subject::of_pod(&NamespacedName::new("shop", "cart-0"), "u".into());
        let mut due = |what, note: &str, after| told.is_due(&cart, what, note, start + after);
        let (soon, later) = (Duration::from_secs(1), AGAIN + Duration::from_secs(1));
        assert!(due(What::BadAnnotation, "0", Duration::ZERO));
        assert!(!due(What::BadAnnotation, "0", soon));
        assert!(due(What::NotCaptured, "0", soon));
        let different = (1..10).filter(|note| due(What::BadAnnotation, &note.to_string(), soon));
        assert_eq!(different.count(), MOST_DIFFERENT - 1);
        assert!(due(What::BadAnnotation, "0", later));
        assert!(due(What::BadAnnotation, "9", later));
    }

    #[test]
    fn one_that_comes_again_under_its_name_is_another() {
        let (mut told, now) = (Told::default(), Instant::now());
        let name = NamespacedName::new("shop", "cart-0");
        let [one, other] = ["u", "v"].map(|uid| Subject::of_pod(&name, uid.into()));
        assert!(told.is_due(&one, What::BadAnnotation, "x", now));
        assert!(told.is_due(&other, What::BadAnnotation, "x", now));
    }
}
