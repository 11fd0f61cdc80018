//! The Kubernetes API as the source of the cluster's state.
//!
//! Entry points: [`client`], [`KubeSource`]; [`events`] and [`annotations`] for what is told on objects. Each kind is watched by a task of its own; what they hear is trimmed on
//! arrival, and only what is different from what is in force becomes events. Everything is read; nothing is written but events.

pub mod annotations;
pub mod events;
mod raw;
mod shared;
mod store;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use kube::{Client, client::ClientBuilder, core::ApiResource};
use tokio::{
    sync::mpsc::{Receiver, channel},
    task::JoinSet,
    time::{interval_at, sleep},
};
use tower::util::MapResponseLayer;

use self::{
    shared::Common,
    store::{Store, Told},
    watch::{Scope, Watch},
};
use super::Scan;
use crate::state::{Event, Kind};

/// What was told and not yet taken in; the watches wait when it is full.
const TOLD: usize = 4096;
/// Taken in at once.
const AT_ONCE: usize = 16 * 1024;
/// What there is to watch where every Pod is: all kinds but WorkloadSlices.
const PLAIN: [Kind; 11] = [
    Kind::Namespace,
    Kind::Node,
    Kind::Pod,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::ReferenceGrant,
    Kind::AccessPolicy,
    Kind::RequestAuthentication,
    Kind::TrafficPolicy,
];
/// An API server sends something to each watch at least once a minute.
const SILENCE: Duration = Duration::from_secs(120);
/// Until somebody who waits for the API server is told so again.
const WAITING: Duration = Duration::from_secs(10);
/// The first version (of 1.x) of Kubernetes that begins a watch with all there is, unless that is switched off.
const STREAMS: u32 = 34;

/// What was told of a kind, and when.
type Message = (Kind, Told, Instant);

/// The API server cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is neither a service account nor a kubeconfig.
    #[error("{0}: run in a pod with a service account, or name a kubeconfig in KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// They cannot be used.
    #[error("cannot talk to the API server: {0}")]
    Client(#[from] kube::Error),
}

/// When the API server was last heard.
#[derive(Clone, Debug)]
pub struct Heard(Arc<(Instant, AtomicU64)>);

impl Heard {
    fn new() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }

    fn now(&self) {
        let (origin, at) = &*self.0;
        at.store(u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long ago the API server said anything that was no error.
    pub fn age(&self) -> Duration {
        let (origin, at) = &*self.0;
        origin.elapsed().saturating_sub(Duration::from_millis(at.load(Relaxed)))
    }
}

/// A client for the API server that the service account of this pod, or a kubeconfig, names; and when that was heard.
///
/// # Errors
/// Neither is there, or it cannot be used.
pub async fn client() -> Result<(Client, Heard), ClientError> {
    let mut config = kube::Config::infer().await?;
    config.read_timeout = Some(SILENCE);
    let heard = Heard::new();
    let hearing = heard.clone();
    let layer = MapResponseLayer::new(move |response: http::Response<_>| {
        let hearing = hearing.clone();
        let well = response.status().is_success();
        response.map(move |body: Box<kube::client::DynBody>| {
            body.map_frame(move |frame| {
                if well {
                    hearing.now();
                }
                frame
            })
        })
    });
    Ok((ClientBuilder::try_from(config)?.with_layer(&layer).build(), heard))
}

/// How the watches do.
#[derive(Debug)]
pub struct Status {
    heard: Heard,
    kinds: BTreeMap<Kind, OfKind>,
}

/// How the watch of a kind does.
#[derive(Debug, Default)]
pub struct OfKind {
    /// How many objects are in force.
    pub objects: AtomicUsize,
    /// How often it was told all there is.
    pub lists: Count,
    /// How often it failed.
    pub errors: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Status {
    fn of(&self, kind: Kind) -> &OfKind {
        // Every kind that is watched is in it.
        &self.kinds[&kind]
    }

    /// How long ago the API server was heard.
    pub fn age(&self) -> Duration {
        self.heard.age()
    }

    /// Each kind, and how its watch does.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, &OfKind)> {
        self.kinds.iter().map(|(kind, of)| (*kind, of))
    }
}

/// How pods are known.
#[derive(Clone, Debug)]
pub enum Pods {
    /// Every Pod is watched.
    All,
    /// The same, beside the WorkloadSlices that are made of them.
    Written {
        /// The namespace of the WorkloadSlices.
        namespace: Arc<str>,
    },
    /// Those of one node are; of others there is what WorkloadSlices say.
    Sliced {
        /// The node.
        node: Arc<str>,
        /// The namespace of the WorkloadSlices.
        namespace: Arc<str>,
    },
}

impl Pods {
    fn scope(&self, kind: Kind) -> Scope {
        match (self, kind) {
            (Self::Sliced { node, .. }, Kind::Pod) => {
                Scope { fields: Some(format!("spec.nodeName={node}")), ..Scope::default() }
            }
            (Self::Sliced { node, namespace }, Kind::WorkloadSlice) => {
                Scope { namespace: Some(namespace.clone()), except: Some(node.clone()), ..Scope::default() }
            }
            (Self::Written { namespace }, Kind::WorkloadSlice) => {
                Scope { namespace: Some(namespace.clone()), ..Scope::default() }
            }
            _ => Scope::default(),
        }
    }
}

/// The objects of an API server.
#[derive(Debug)]
pub struct KubeSource {
    kinds: &'static [Kind],
    /// Whether it is from slices that all pods have to be known.
    sliced: bool,
    store: Store,
    told: Receiver<Message>,
    /// What was waited for and not yet taken in.
    next: Option<Message>,
    /// When the first was told of what was taken in and nobody has yet.
    first_told: Option<Instant>,
    /// What was taken in and nobody has yet.
    events: Vec<Event>,
    status: Arc<Status>,
    /// Ends with the source.
    _watches: JoinSet<()>,
}

impl KubeSource {
    /// Begins to watch. Runs in a tokio runtime.
    pub fn start(client: Client, heard: Heard, pods: Pods) -> Self {
        match pods {
            Pods::All => Self::start_with(client, heard, &PLAIN, pods),
            Pods::Written { .. } | Pods::Sliced { .. } => Self::start_with(client, heard, &Kind::ALL, pods),
        }
    }

    /// The same for some kinds only.
    pub fn start_with(client: Client, heard: Heard, kinds: &'static [Kind], pods: Pods) -> Self {
        let (sender, told) = channel(TOLD);
        let of_kinds = kinds.iter().map(|kind| (*kind, OfKind::default())).collect();
        let status = Arc::new(Status { heard, kinds: of_kinds });
        let sliced = matches!(pods, Pods::Sliced { .. });
        let mut watches = JoinSet::new();
        let of_watches = status.clone();
        watches.spawn(async move {
            let streams = streams(&client).await;
            let mut all = JoinSet::new();
            for kind in kinds.iter().copied() {
                let (client, told, status) = (client.clone(), sender.clone(), of_watches.clone());
                let (scope, common) = (pods.scope(kind), Common::default());
                all.spawn(Watch { kind, client, streams, scope, told, status, common }.run());
            }
            drop(sender);
            all.join_all().await;
        });
        Self {
            kinds,
            sliced,
            store: Store::default(),
            told,
            next: None,
            first_told: None,
            events: Vec::new(),
            status,
            _watches: watches,
        }
    }

    /// How the watches do.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Waits until all there is was told, and takes it in. Dropping the future loses nothing.
    pub async fn first(&mut self) -> Scan {
        // What comes again and again of some kinds is not what is waited for.
        let mut said = interval_at(tokio::time::Instant::now() + WAITING, WAITING);
        loop {
            let missing = self.store.missing(self.kinds, self.sliced);
            if missing.is_empty() {
                return self.scan();
            }
            tokio::select! {
                () = self.changed() => self.drain(),
                _ = said.tick() => {
                    let kinds: Vec<&str> = missing.iter().map(|kind| kind.word()).collect();
                    tracing::warn!(kinds = kinds.join(", "), "waiting for the API server; a kind that it does not know has to be defined: deploy/crds");
                }
            }
        }
    }

    /// Takes in what was told since.
    pub fn scan(&mut self) -> Scan {
        self.drain();
        for (kind, count) in self.store.counts() {
            self.status.of(kind).objects.store(count, Relaxed);
        }
        let (problems, problems_left_out) = self.store.problems();
        Scan {
            events: std::mem::take(&mut self.events),
            problems,
            problems_left_out,
            heard: self.first_told.take(),
            hides_pods: self.store.hides_pods(),
        }
    }

    /// Waits until something was told. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if self.next.is_none() {
            match self.told.recv().await {
                Some(told) => self.next = Some(told),
                // Watches do not end before the source.
                None => std::future::pending().await,
            }
        }
    }

    fn drain(&mut self) {
        let told = std::iter::from_fn(|| self.next.take().or_else(|| self.told.try_recv().ok()));
        for (kind, told, at) in told.take(AT_ONCE) {
            self.first_told.get_or_insert(at);
            self.store.take(kind, told, &mut self.events);
        }
    }
}

/// How objects of a kind are asked for.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    // A kind is served in one version at least.
    raw::resources(kind).swap_remove(0)
}

/// Whether the API server knows a kind.
///
/// # Errors
/// When it does not say.
pub(crate) async fn is_served(client: &Client, kind: Kind) -> kube::Result<bool> {
    let resource = resource(kind);
    match client.list_api_group_resources(&resource.api_version).await {
        Ok(list) => Ok(list.resources.iter().any(|of| of.name == resource.plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the API server begins a watch with all there is; waits until it says what it is.
async fn streams(client: &Client) -> bool {
    let mut pause = Duration::from_millis(200);
    loop {
        match client.apiserver_version().await {
            Ok(version) => {
                // Some have a plus behind it.
                let minor = version.minor.trim_end_matches(|c: char| !c.is_ascii_digit());
                return version.major != "1" || minor.parse().is_ok_and(|minor: u32| minor >= STREAMS);
            }
            Err(error) => tracing::debug!(%error, "the API server does not say what it is"),
        }
        sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}
