//! The roots by which an authority over the network is known, and which peers' certificates may have.
//!
//! Entry points: [`Trust::of_file`], [`Trust::of_config_map`]. They are looked at for as long as the agent runs, because
//! they change when the authority's root does. What cannot be read leaves those in force that were read before.

use std::{io::Read, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use rustls::{RootCertStore, pki_types::CertificateDer};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::signer::{Part, read_certificates};

/// The field of the ConfigMap, and the file's name where it is mounted.
pub(crate) const ROOTS: &str = "roots.pem";
/// How often a file is looked at. A kubelet brings a ConfigMap's change within about a minute.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest text that is looked at, in octets.
const MOST: u64 = 256 * 1024;

/// Roots that are looked at until this is dropped. Cheap to ask.
#[derive(Debug)]
pub struct Trust {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

/// What is known of them.
#[derive(Clone, Debug)]
struct State {
    roots: Option<Arc<Vec<CertificateDer<'static>>>>,
    /// Why there are none, or none newer.
    problem: Option<String>,
    /// Counts the changes.
    generation: u64,
}

impl Trust {
    /// Those of a file, PEM. Runs in a tokio runtime.
    pub fn of_file(path: PathBuf) -> Self {
        let (known, state) = watch::channel(State::new(format!("{} was not read yet", path.display())));
        let task = tokio::spawn(async move {
            while !known.is_closed() {
                take(&known, read_file(&path));
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { state, task }
    }

    /// Those in the field `roots.pem` of a ConfigMap. Runs in a tokio runtime.
    pub fn of_config_map(client: Client, namespace: &str, name: &str) -> Self {
        let what = format!("ConfigMap {namespace}/{name}");
        let (known, state) = watch::channel(State::new(format!("{what} is not there yet")));
        let api: Api<ConfigMap> = Api::namespaced(client, namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let task = tokio::spawn(async move {
            let mut stream = pin!(watcher(api, config).default_backoff());
            while let Some(event) = stream.next().await {
                let told = match event {
                    Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                        let text = map.data.unwrap_or_default().remove(ROOTS).unwrap_or_default();
                        read(&format!("{what}: {ROOTS}"), &text)
                    }
                    Ok(watcher::Event::Delete(_)) => Err(format!("{what} is gone")),
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                    Err(error) => Err(format!("{what}: {error}")),
                };
                take(&known, told);
            }
        });
        Self { state, task }
    }

    /// Waits until they are there, for `limit` at most.
    pub(super) async fn known(&self, limit: Duration) {
        let mut state = self.state.clone();
        let _ = timeout(limit, state.wait_for(|state| state.roots.is_some())).await;
    }

    /// Them, for a connection to the authority.
    ///
    /// # Errors
    /// Why there are none yet.
    pub fn store(&self) -> Result<RootCertStore, String> {
        let state = self.state.borrow();
        let Some(roots) = &state.roots else { return Err(state.problem.clone().unwrap_or_default()) };
        let mut store = RootCertStore::empty();
        for root in roots.iter() {
            store.add(root.clone()).map_err(|error| error.to_string())?;
        }
        Ok(store)
    }

    /// A number that grows when they change.
    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        let mut state = self.state.clone();
        let (sender, generations) = watch::channel(state.borrow_and_update().generation);
        tokio::spawn(async move {
            while state.changed().await.is_ok() {
                let generation = state.borrow_and_update().generation;
                sender.send_if_modified(|known| std::mem::replace(known, generation) != generation);
            }
        });
        generations
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn new(problem: String) -> Self {
        Self { roots: None, problem: Some(problem), generation: 0 }
    }
}

fn take(known: &watch::Sender<State>, told: Result<Vec<CertificateDer<'static>>, String>) {
    known.send_if_modified(|state| match told {
        Ok(roots) => {
            state.problem = None;
            if state.roots.as_deref() == Some(&roots) {
                return false;
            }
            tracing::info!(roots = roots.len(), "the authority's roots");
            state.roots = Some(Arc::new(roots));
            state.generation += 1;
            true
        }
        Err(problem) => {
            let news = state.problem.as_ref() != Some(&problem);
            if news {
                tracing::warn!(problem, "the authority's roots cannot be read");
                state.problem = Some(problem);
            }
            news
        }
    });
}

fn read_file(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST).read_to_string(&mut text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    read(&path.display().to_string(), &text)
}

fn read(what: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = read_certificates(Part::Roots, text).map_err(|unfit| format!("{what} {}", unfit.problem))?;
    for root in &found {
        // What no connection could use is found out now.
        RootCertStore::empty().add(root.clone()).map_err(|error| format!("{what}: {error}"))?;
    }
    Ok(found)
}
