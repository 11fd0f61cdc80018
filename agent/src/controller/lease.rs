//! Which of several controllers writes: the holder of a Lease.
//!
//! Entry point: [`Lease::spawn`]. As Kubernetes' own parts do it (coordination.k8s.io/v1): who finds a lease that was not
//! renewed for its whole duration, by his own clock, takes it. Whoever cannot renew stops to write before that.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// For how long a lease holds without being renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed, or looked at.
const PAUSE: Duration = Duration::from_secs(3);
/// Who has not renewed it for this long no longer counts on it.
const GIVES_UP: Duration = Duration::from_secs(10);

/// One who would hold a lease.
pub(super) struct Lease {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Who: the pod's name.
    pub(super) holder: String,
}

/// What was seen of another's lease, and when by the clock here.
struct Seen {
    version: Option<String>,
    at: Instant,
    duration: Duration,
}

/// Whether it was renewed, and if not, whether it might be.
enum Round {
    Held,
    AnothersHolds,
}

impl Lease {
    /// Tries for it for as long as what is returned is kept; the receiver says whether it is held.
    pub(super) fn spawn(self) -> (watch::Receiver<bool>, JoinSet<()>) {
        let (says, held) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut seen = None;
            let mut renewed: Option<Instant> = None;
            loop {
                let begun = Instant::now();
                match timeout(PAUSE, self.round(&mut seen)).await {
                    Ok(Ok(Round::Held)) => renewed = Some(begun),
                    Ok(Ok(Round::AnothersHolds)) => renewed = None,
                    Ok(Err(error)) => tracing::debug!(%error, "the lease"),
                    Err(_) => tracing::debug!("the lease: no answer in time"),
                }
                let holds = renewed.is_some_and(|at| at.elapsed() < GIVES_UP);
                says.send_if_modified(|held| {
                    if *held != holds {
                        tracing::info!(lease = self.name, holds, "the lease");
                    }
                    std::mem::replace(held, holds) != holds
                });
                sleep(PAUSE.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
            }
        });
        (held, task)
    }

    /// Lets go of it, so that the next need not wait.
    pub(super) async fn release(client: Client, namespace: &str, name: &str, holder: &str) {
        let api: Api<Object> = Api::namespaced(client, namespace);
        let Ok(Ok(mut lease)) = timeout(PAUSE, api.get(name)).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(holder) {
            spec.holder_identity = Some(String::new());
            let _ = timeout(PAUSE, api.replace(name, &PostParams::default(), &lease)).await;
        }
    }

    async fn round(&self, seen: &mut Option<Seen>) -> kube::Result<Round> {
        let api: Api<Object> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(mut lease) = api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let mut lease = Object { metadata, ..Object::default() };
            self.take(&mut lease, true);
            return settle(api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let own = holder == self.holder;
        if !own && !holder.is_empty() {
            let version = lease.metadata.resource_version.clone();
            if seen.as_ref().is_none_or(|seen| seen.version != version) {
                let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                let duration = seconds.map_or(DURATION, Duration::from_secs);
                *seen = Some(Seen { version, at: Instant::now(), duration });
            }
            if seen.as_ref().is_some_and(|seen| seen.at.elapsed() < seen.duration) {
                return Ok(Round::AnothersHolds);
            }
        }
        self.take(&mut lease, !own);
        settle(api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn take(&self, lease: &mut Object, anew: bool) {
        let now = MicroTime(Timestamp::now());
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        if anew {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        spec.holder_identity = Some(self.holder.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
    }
}

/// Another may have been quicker.
fn settle(written: kube::Result<Object>) -> kube::Result<Round> {
    match written {
        Ok(_) => Ok(Round::Held),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Round::AnothersHolds),
        Err(error) => Err(error),
    }
}
