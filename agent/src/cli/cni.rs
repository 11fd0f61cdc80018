//! `weir cni`: the plugin that a container runtime runs for each pod.
//!
//! Entry points: [`is_plugin`], [`run`]. It reads what the runtime tells, asks the node's agent, and says what came of it on
//! standard output. Who may start without an agent is decided in [`crate::cni::fallback`].

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::Value;

use super::client::{self, ClientError};
use crate::cni::{
    PLUGIN,
    fallback::may_start,
    invocation::{Command, Invocation, PodName},
    namespaces, question,
    question::{Admission, Question},
    reply::{self, Fault},
};

/// How long the agent is waited for: a little longer than it tries itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a pod that may start whatever the agent says.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// The longest configuration that is read.
const LONGEST: u64 = 16 << 20;

/// Whether this program was called by the plugin's name.
pub fn is_plugin(program: Option<std::ffi::OsString>) -> bool {
    program.is_some_and(|program| Path::new(&program).file_name().is_some_and(|name| name == PLUGIN))
}

/// Does what the runtime asks: the answer goes to standard output, and the status is 1 when it is an error.
pub fn run() -> ExitCode {
    let mut input = Vec::new();
    let read = io::stdin().lock().take(LONGEST).read_to_end(&mut input);
    let invocation = match read {
        Ok(_) => Invocation::read(|name| std::env::var(name).ok(), &input),
        Err(error) => Err(Fault::undecodable(format!("the configuration cannot be read: {error}"))),
    };
    let version = invocation.as_ref().map_or(reply::VERSION, |invocation| &invocation.version).to_owned();
    let (answer, status) = match invocation.and_then(|invocation| carry_out(&invocation)) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(answer)) => (answer, ExitCode::SUCCESS),
        Err(fault) => (fault.to_json(&version), ExitCode::FAILURE),
    };
    // With standard output gone there is nobody to tell.
    let _ = writeln!(io::stdout(), "{answer}");
    status
}

fn carry_out(invocation: &Invocation) -> Result<Option<Value>, Fault> {
    match invocation.command {
        Command::Version => Ok(Some(reply::versions())),
        // A runtime that is told that no network can be made now starts no pod at all, also none that is not enrolled.
        Command::Status => Ok(None),
        // The agent lets go of what is gone by itself.
        Command::Gc => Ok(None),
        Command::Del => {
            if let Some(pod) = &invocation.pod {
                let question = question(invocation, pod, Vec::new());
                // It must not fail, and the agent notices soon by itself.
                let _ = ask(&invocation.socket, question::DEL, &question, IMPATIENCE);
            }
            Ok(None)
        }
        Command::Check => invocation.pod.as_ref().map_or(Ok(()), |pod| admit(invocation, pod)).map(|()| None),
        Command::Add => {
            let previous = invocation.previous.clone().ok_or_else(|| {
                Fault::config(
                    "prevResult: there is none: weir-cni belongs behind the plugin that makes the network",
                )
            })?;
            invocation.pod.as_ref().map_or(Ok(()), |pod| admit(invocation, pod)).map(|()| Some(previous))
        }
    }
}

/// Whether the pod may start, or go on.
fn admit(invocation: &Invocation, pod: &PodName) -> Result<(), Fault> {
    let enrolled = namespaces::read(&invocation.state);
    let alone = may_start(invocation.word, &pod.namespace, enrolled.as_ref());
    let patience = if alone.is_ok() { IMPATIENCE } else { PATIENCE };
    let path = if invocation.command == Command::Add { question::ADD } else { question::CHECK };
    let asked = invocation.addresses().map_err(|fault| fault.message).and_then(|addresses| {
        let answer = ask(&invocation.socket, path, &question(invocation, pod, addresses), patience);
        match answer {
            Err(ClientError::Refused { status: 409, message, .. }) => Ok(Err(message)),
            answer => answer.map(|_: Admission| Ok(())).map_err(|error| error.to_string()),
        }
    });
    let name = format!("{}/{}", pod.namespace, pod.name);
    match asked {
        Ok(answer) => answer.map_err(|why| Fault::later(format!("the pod {name} cannot be captured: {why}"))),
        Err(why) => alone.map_err(|enrolled| {
            Fault::later(format!(
                "the pod {name} {} and does not start outside of it: {why}; it starts when the agent of this node has \
                 captured it",
                enrolled.words()
            ))
        }),
    }
}

fn question(invocation: &Invocation, pod: &PodName, addresses: Vec<std::net::IpAddr>) -> Question {
    Question {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        sandbox: invocation.sandbox.clone(),
        // /var/run is a link on the node, and need not be one where the agent runs.
        netns: fs::canonicalize(&invocation.netns).unwrap_or_else(|_| PathBuf::from(&invocation.netns)),
        addresses,
        word: invocation.word,
    }
}

fn ask(socket: &Path, path: &str, question: &Question, patience: Duration) -> Result<Admission, ClientError> {
    let answer = client::run(async {
        let answer = async { client::post(socket, path, question).await?.all().await };
        let late = |_| ClientError::Late { socket: socket.display().to_string() };
        Ok::<_, ClientError>(
            tokio::time::timeout(patience, answer).await.map_err(late).and_then(|answer| answer),
        )
    });
    let unusable = |error: anyhow::Error| ClientError::Socket {
        socket: socket.display().to_string(),
        error: io::Error::other(error),
    };
    let lines = answer.map_err(unusable)??;
    serde_json::from_slice(&lines.concat()).map_err(|error| unusable(error.into()))
}
