//! The agent's API: HTTP/1.1 with JSON lines on a Unix socket, for root on this node only.
//!
//! Entry points: [`bind`], [`serve`]; whoever knows the agent's state implements [`AdminSource`].
//! Flows are served from the recorder's ring. Knows nothing of how anything is computed.

mod api;
pub mod query;
pub mod report;
mod socket;

use std::{future::Future, io, os::unix::net::UnixListener, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

pub use self::{
    report::{
        Answer, Considered, ExplainError, ExplainQuery, Explanation, Mismatch, Problem, ProgramStatus,
        StatusReport, Verified, WorkloadStatus,
    },
    socket::{Prepared, Socket, bind, prepare},
};
pub use crate::flows::audit::AuditRow;
use crate::{
    cni::question::Desk,
    flows::Flows,
    metrics::{Metrics, catalogue},
    serve::{self, Limits},
};

/// Enough for every operator and script on one node, and for as many pods as start at once; a follower may stay for a
/// day.
const LIMITS: Limits =
    Limits { connections: 512, lifetime: Duration::from_secs(86_400), silence: Duration::from_secs(30) };

/// How long one who asks for flows waits for those that are on their way: the kernel's events gather for
/// some milliseconds, and who has just seen a connection refused wants to see why.
const SETTLE: Duration = Duration::from_millis(50);

/// Where a look at every pod is asked for, with whom to tell what was found.
pub type Looks = mpsc::Sender<oneshot::Sender<Verified>>;

/// What the API asks of the agent. Called on the API's task: it must be quick and must not block.
pub trait AdminSource: Send + Sync {
    /// The agent as it is now.
    fn status(&self) -> StatusReport;

    /// What audit policies would have denied ([`Flows::audit`] has counted it).
    fn audit(&self) -> Vec<AuditRow>;

    /// What would be decided, and by which rule.
    ///
    /// # Errors
    /// When the query names what does not exist, or cannot be answered.
    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ExplainError>;

    /// Where a look at every pod of the node is asked for; none when nobody looks.
    fn looks(&self) -> Option<&Looks> {
        None
    }

    /// Where questions of the CNI plugin go; none when this agent has none.
    fn desk(&self) -> Option<&Desk> {
        None
    }

    /// Objects and files that could not be used.
    fn problems(&self) -> Vec<Problem> {
        self.status().problems
    }
}

/// Serves on `listener` until `shutdown`; must run inside a tokio runtime.
///
/// # Errors
/// When the listener cannot be made asynchronous.
pub async fn serve(
    listener: UnixListener,
    source: Arc<dyn AdminSource>,
    flows: Flows,
    metrics: &Metrics,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let refused = metrics.counters(&catalogue::HTTP_REFUSED).with(&["admin"]);
    let handler = move |request: hyper::Request<hyper::body::Incoming>| {
        let (source, flows) = (source.clone(), flows.clone());
        async move {
            let follows = request.uri().query().is_some_and(|query| query.contains("follow=true"));
            if request.uri().path() == "/v1/flows" && !follows {
                tokio::time::sleep(SETTLE).await;
            }
            if request.uri().path() == api::VERIFY && request.method() == hyper::Method::POST {
                return api::verify(&*source).await;
            }
            if let Some(concern) = api::concern(request.method(), request.uri()) {
                return api::attend(request.into_body(), concern, &*source).await;
            }
            api::answer(request.method(), request.uri(), &*source, &flows)
        }
    };
    serve::serve(listener, LIMITS, refused, handler, shutdown).await;
    Ok(())
}

#[cfg(test)]
mod tests;
