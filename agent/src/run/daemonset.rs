//! The DaemonSet that runs this agent: whether it is still there when the agent is told to stop.
//!
//! Entry points: [`DaemonSet::watch`], [`DaemonSet::is_gone`]. Who removes Weir from a cluster deletes its rights with it,
//! so that an agent that asks at its end may no longer be answered: it watches from the beginning, and what is watched is
//! told to the end. Only what was said counts: an API server that does not answer takes nobody out of the mesh.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::{apps::v1::DaemonSet as Object, core::v1::Namespace};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher::watch_object},
};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

/// How long the API server has to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// How long the watch has to tell what the API server would not answer.
const TOLD: Duration = Duration::from_secs(5);

/// The DaemonSet, and what is known of it.
pub(super) struct DaemonSet {
    client: Client,
    namespace: String,
    name: String,
    known: watch::Receiver<Known>,
    task: AbortHandle,
}

/// What the watch has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing, or that there is none: then its name may be wrong, and nothing follows from its absence.
    Nothing,
    There,
    Gone,
}

impl DaemonSet {
    /// Watches it from now on. Runs in a tokio runtime.
    pub(super) fn watch(client: Client, (namespace, name): (String, String)) -> Self {
        let (told, known) = watch::channel(Known::Nothing);
        let api: Api<Object> = Api::namespaced(client.clone(), &namespace);
        let objects = watch_object(api, &name).default_backoff();
        let task = tokio::spawn(async move {
            let mut objects = pin!(objects);
            while let Some(object) = objects.next().await {
                match object {
                    Ok(object) => {
                        let now = told.borrow().after(object.map(|object| is_going(&object.metadata)));
                        told.send_replace(now);
                    }
                    Err(error) => tracing::debug!(%error, "the agent's own DaemonSet cannot be watched"),
                }
            }
        });
        Self { client, namespace, name, known, task: task.abort_handle() }
    }

    /// Whether it, or its namespace, was there and is gone or going; not if nobody says so.
    pub(super) async fn is_gone(&self) -> bool {
        let known = *self.known.borrow();
        match known {
            Known::Gone => return true,
            Known::Nothing => {
                tracing::warn!(
                    namespace = self.namespace,
                    name = self.name,
                    "--daemonset names none that was seen"
                );
                return false;
            }
            Known::There => {}
        }
        match timeout(ANSWER, self.ask()).await {
            Ok(Ok(gone)) => gone,
            unknown => {
                let error =
                    unknown.map_or_else(|_| "no answer in time".into(), |answer| format!("{answer:?}"));
                tracing::info!(
                    error,
                    "the API server does not say whether this agent's DaemonSet is still there"
                );
                let mut known = self.known.clone();
                matches!(timeout(TOLD, known.wait_for(|known| *known == Known::Gone)).await, Ok(Ok(_)))
            }
        }
    }

    async fn ask(&self) -> kube::Result<bool> {
        let objects: Api<Object> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = objects.get_metadata_opt(&self.name).await?;
        if object.is_none_or(|object| is_going(&object.metadata)) {
            return Ok(true);
        }
        // Its namespace goes first, and it with that.
        let namespace = Api::<Namespace>::all(self.client.clone()).get_metadata_opt(&self.namespace).await?;
        Ok(namespace.is_none_or(|namespace| is_going(&namespace.metadata)))
    }
}

impl Known {
    /// What is known once it was told that there is one, which is going or not, or none.
    fn after(self, told: Option<bool>) -> Self {
        match (self, told) {
            (_, Some(true)) => Self::Gone,
            (_, Some(false)) => Self::There,
            (Self::Nothing, None) => Self::Nothing,
            (_, None) => Self::Gone,
        }
    }
}

impl Drop for DaemonSet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_going(object: &kube::core::ObjectMeta) -> bool {
    object.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_there_is_not_gone() {
        let none = Known::Nothing.after(None);
        assert_eq!(none, Known::Nothing);
        assert_eq!(none.after(Some(false)), Known::There);
        assert_eq!(none.after(Some(false)).after(None), Known::Gone);
        assert_eq!(none.after(Some(true)), Known::Gone);
        // Made anew under the same name, it is there.
        assert_eq!(Known::Gone.after(Some(false)), Known::There);
    }
}
