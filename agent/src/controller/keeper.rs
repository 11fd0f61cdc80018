//! Keeps the authority's key and roots: makes them where there are none, rotates them, hands them to who signs.
//!
//! Entry point: [`Keeper::run`]. Every controller reads the Secret and the ConfigMap; only the one that holds the lease
//! writes them. What cannot be read changes nothing that is in force, and is never written over.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use super::{
    authority::Authority,
    counters::Counters,
    material::{self, Material, candidate, published_fields, read_published},
    rotation::{Choice, Plan, Published, Situation, Times, plan},
};
use crate::{ca::Clock, identity::TrustDomain, metrics::readiness::Wait};

/// How often everything is looked at though nothing was heard: time alone makes things due.
const PAUSE: Duration = Duration::from_secs(15);

/// Where the two objects are, and what is done with them.
pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) secret: String,
    pub(super) roots: String,
    pub(super) trust_domain: TrustDomain,
    pub(super) times: Times,
    pub(super) clock: Clock,
    pub(super) authority: Arc<Authority>,
    pub(super) counters: Counters,
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    /// The outer one is whether anything was.
    secret: Option<Option<Secret>>,
    roots: Option<Option<ConfigMap>>,
    /// What the Secret of this version holds.
    material: Option<(String, Material)>,
}

impl Keeper {
    /// Keeps them until it is dropped; `not_ready` is let go when something can sign.
    pub(super) async fn run(self, mut leads: watch::Receiver<bool>, not_ready: Wait) {
        let mut not_ready = Some(not_ready);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut secret = pin!(watch_one(secrets.clone(), &self.secret));
        let mut roots = pin!(watch_one(maps.clone(), &self.roots));
        let mut heard = Heard::default();
        let mut trouble = None;
        loop {
            tokio::select! {
                Some(told) = secret.next() => heard.secret = Some(told),
                Some(told) = roots.next() => heard.roots = Some(told),
                Ok(()) = leads.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            let leads = *leads.borrow_and_update();
            let problem = self.step(&mut heard, leads, &secrets, &maps).await.err();
            if let Some(problem) = &problem {
                self.counters.authority_errors.inc();
                if trouble.as_ref() != Some(problem) {
                    tracing::error!(problem, "the authority's key or roots");
                }
            }
            trouble = problem;
            if self.authority.signer().is_some() {
                drop(not_ready.take());
            }
        }
    }

    async fn step(
        &self,
        heard: &mut Heard,
        leads: bool,
        secrets: &Api<Secret>,
        maps: &Api<ConfigMap>,
    ) -> Result<(), String> {
        let (Some(secret), Some(map)) = (&heard.secret, &heard.roots) else { return Ok(()) };
        let now = self.clock.now();
        let Some(secret) = secret else {
            return match leads {
                true => self.make(secrets).await,
                false => Ok(()),
            };
        };
        let version = secret.resource_version().unwrap_or_default();
        if heard.material.as_ref().is_none_or(|(known, _)| *known != version) {
            let material = Material::read(secret, &self.trust_domain, now)
                .map_err(|problem| format!("Secret {}/{}: {problem}", self.namespace, self.secret))?;
            self.counters.expires(material.active.validity.to);
            heard.material = Some((version, material));
        }
        let Some((_, material)) = &heard.material else { return Ok(()) };
        let published = match map {
            Some(map) => read_published(map)
                .map_err(|problem| format!("ConfigMap {}/{}: {problem}", self.namespace, self.roots))?,
            None => Vec::new(),
        };
        let former = self.authority.signer().filter(|former| !Arc::ptr_eq(former, &material.active));
        let situation = Situation {
            active: candidate(&material.active),
            next: material.next.as_deref().map(candidate),
            former: former.as_deref().map(candidate),
            published: &published,
        };
        let plan = plan(&situation, self.times, now);
        self.put(material, former, &plan, &published)?;
        if leads {
            self.write(secret, map.as_ref(), material, &plan, &published, secrets, maps).await
        } else {
            Ok(())
        }
    }

    /// Has the right one sign.
    fn put(
        &self,
        material: &Material,
        former: Option<Arc<crate::ca::signer::Signer>>,
        plan: &Plan,
        published: &[Published],
    ) -> Result<(), String> {
        let signer = match plan.choice {
            Choice::Active => material.active.clone(),
            Choice::Former => former.unwrap_or_else(|| material.active.clone()),
            Choice::Nobody => return Ok(()),
        };
        let roots: Vec<_> = published.iter().map(|published| published.root.clone()).collect();
        self.counters.roots.set(i64::try_from(roots.len()).unwrap_or(i64::MAX));
        self.authority.put(&signer, roots).map_err(|error| error.to_string())
    }

    /// One thing at a time; what was written is heard, and then comes the next.
    #[expect(clippy::too_many_arguments, reason = "both objects, as they are and as they should be")]
    async fn write(
        &self,
        secret: &Secret,
        map: Option<&ConfigMap>,
        material: &Material,
        plan: &Plan,
        published: &[Published],
        secrets: &Api<Secret>,
        maps: &Api<ConfigMap>,
    ) -> Result<(), String> {
        let now = self.clock.now();
        if plan.published != published {
            tracing::info!(roots = plan.published.len(), "the roots that are trusted change");
            return self.publish(map, published_fields(&plan.published), maps).await;
        }
        let changed = if plan.promote {
            tracing::info!("all agents know the next root; it signs from now on");
            material::promoted(secret)
        } else if material.wants_next(now) {
            tracing::info!("a rotation begins: the next root is made and published");
            material::with_next(secret, &self.trust_domain, now)?
        } else {
            return Ok(());
        };
        settle(secrets.replace(&self.secret, &PostParams::default(), &changed).await)
    }

    async fn make(&self, secrets: &Api<Secret>) -> Result<(), String> {
        tracing::info!(secret = self.secret, "there is no key yet: one is made");
        let secret =
            material::new_secret(&self.namespace, &self.secret, &self.trust_domain, self.clock.now())?;
        settle(secrets.create(&PostParams::default(), &secret).await)
    }

    async fn publish(
        &self,
        map: Option<&ConfigMap>,
        fields: BTreeMap<String, String>,
        maps: &Api<ConfigMap>,
    ) -> Result<(), String> {
        let post = PostParams::default();
        match map {
            Some(map) => {
                let changed = ConfigMap { data: Some(fields), ..map.clone() };
                settle(maps.replace(&self.roots, &post, &changed).await)
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.roots.clone()), ..ObjectMeta::default() };
                let map = ConfigMap { metadata, data: Some(fields), ..ConfigMap::default() };
                settle(maps.create(&post, &map).await)
            }
        }
    }
}

/// An object as it is, and then whenever it changes; nothing while it cannot be watched.
fn watch_one<K>(api: Api<K>, name: &str) -> impl Stream<Item = Option<K>> + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let name = name.to_owned();
    watcher::watch_object(api, &name).default_backoff().filter_map(move |told| {
        let told = told.inspect_err(|error| tracing::warn!(name, %error, "cannot be watched")).ok();
        std::future::ready(told)
    })
}

/// Somebody else may have been quicker; what is then is heard.
fn settle<K>(written: kube::Result<K>) -> Result<(), String> {
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
