//! What the plugin asks the agent, and what the agent answers; over the admin API.
//!
//! Entry points: [`Question`], [`Answer`]; [`Desk`], by which the API hands questions to the part that captures pods.
//! Nothing that decides who a pod is comes from the plugin: whether it is enrolled, and its identity, are the API server's
//! word. The plugin tells where the pod's network is, which is checked.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::fallback::Word;

/// How long an agent tries to capture a pod before it says that it cannot.
pub const AGENT_PATIENCE: Duration = Duration::from_secs(8);

/// Most questions that wait to be looked at: more pods than a node runs.
const MOST: usize = 512;

/// Where the agent is asked.
pub const ADD: &str = "/v1/cni/add";
/// The same, for a sandbox that was made earlier.
pub const CHECK: &str = "/v1/cni/check";
/// The same, for a sandbox that goes.
pub const DEL: &str = "/v1/cni/del";

/// A pod's sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its UID, as its kubelet knows it.
    pub uid: String,
    /// The sandbox's id.
    pub sandbox: String,
    /// Path of its network namespace.
    pub netns: PathBuf,
    /// The addresses that it was given.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// What the pod's own annotation says. It is believed only if it says that the pod has nothing to do with the mesh,
    /// and only as long as the API server has said nothing of the pod.
    #[serde(default)]
    pub word: Word,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The pod is captured: it may start.
    Captured,
    /// The pod is none of the mesh's: it may start.
    NotEnrolled,
    /// The sandbox is forgotten.
    Released,
    /// The pod is enrolled and not captured, for this reason: it may not start.
    Refused(String),
    /// It cannot be told what the pod is, for this reason.
    Unknown(String),
}

/// An answer that is no error, as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Admission {
    /// `captured`, `not_enrolled` or `released`.
    pub verdict: String,
}

impl Answer {
    /// The word of the metric.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::NotEnrolled => "not_enrolled",
            Self::Released => "released",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What is to be done about a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Its pod is to be captured if it is enrolled.
    Add,
    /// It was: is it still?
    Check,
    /// It goes.
    Del,
}

/// A question on its way, with whom to answer.
#[derive(Debug)]
pub struct Asked {
    /// What is to be done.
    pub concern: Concern,
    /// About what.
    pub question: Question,
    /// Nobody may be there any more.
    pub answer: oneshot::Sender<Answer>,
}

/// Where questions are handed in; a cheap handle.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Asked>);

impl Desk {
    /// A desk, and where its questions come out.
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(MOST);
        (Self(sender), receiver)
    }

    /// Hands a question in and waits for its answer.
    pub async fn ask(&self, concern: Concern, question: Question) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Asked { concern, question, answer }).is_err() {
            return Answer::Unknown(format!("the agent has more than {MOST} such questions, or is stopping"));
        }
        // Beyond its patience the agent is busy with something else.
        match tokio::time::timeout(AGENT_PATIENCE + Duration::from_secs(1), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Unknown("the agent is stopping".into()),
            Err(_) => Answer::Unknown("the agent is too busy to answer".into()),
        }
    }
}
