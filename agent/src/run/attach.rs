//! Pods whose network was just made: captured before anything of them runs, as the CNI plugin asks.
//!
//! Entry points: [`Cni`], `Control::attend`, `Control::settle_attachments`. Whether a pod is enrolled, and who it is, is the API
//! server's word, so its object is waited for; where its network is, is the plugin's, and is verified as for any other pod.

use std::{fs, io, os::fd::OwnedFd, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::control::Control;
use crate::{
    admin::Problem,
    cni::{
        fallback::Word,
        install::{Installed, Wanted},
        question::{AGENT_PATIENCE, Answer, Asked, Concern, Question},
    },
    metrics::{Counter, Metrics, Sample, Series, catalogue},
    places::Given,
    state::{Change, model::NamespacedName},
};

/// What the control loop has of the CNI plugin.
pub(super) struct Cni {
    questions: mpsc::Receiver<Asked>,
    wanted: watch::Sender<Wanted>,
    installed: watch::Receiver<Installed>,
    answers: Arc<Series<Counter>>,
    /// At most as many as the admin API has connections.
    waiting: Vec<Waiting>,
}

/// A question that has no answer yet.
struct Waiting {
    concern: Concern,
    question: Question,
    pod: NamespacedName,
    answer: oneshot::Sender<Answer>,
    until: Instant,
    /// The inode number of the pod's network namespace, once the reconciler has taken it for the pod's.
    netns: Option<u64>,
    /// Why it has not.
    why: Option<String>,
}

/// What the agent knows of the pod that is asked about.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    /// Nothing; and whether its namespace is enrolled, if that is known.
    Nothing(Option<bool>),
    NotEnrolled,
    Captured,
    /// It is enrolled and not captured, for this reason.
    NotCaptured(String),
}

impl Cni {
    pub(super) fn new(
        questions: mpsc::Receiver<Asked>,
        wanted: watch::Sender<Wanted>,
        installed: watch::Receiver<Installed>,
        metrics: &Metrics,
    ) -> Self {
        type Pick = fn(&Installed) -> f64;
        let of = installed.clone();
        metrics.read_one(&catalogue::CNI_INSTALLED, move || f64::from(u8::from(of.borrow().installed)));
        let of = installed.clone();
        metrics.read(&catalogue::CNI_CHANGES, move || {
            let rows: [(&str, Pick); 2] =
                [("done", |told| told.changes as f64), ("failed", |told| told.failures as f64)];
            rows.map(|(word, pick)| Sample::new(&[word], pick(&of.borrow()))).into()
        });
        let answers = metrics.counters(&catalogue::CNI_ANSWERS);
        Self { questions, wanted, installed, answers, waiting: Vec::new() }
    }

    /// The next question; there is always another, until the agent ends.
    pub(super) async fn next(cni: &mut Option<Self>) -> Asked {
        let asked = match cni {
            Some(cni) => cni.questions.recv().await,
            None => None,
        };
        match asked {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Says which namespaces are enrolled; none, that another agent is to look after the plugin.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// Why the plugin is not in the chain.
    pub(super) fn problem(&self) -> Option<Problem> {
        let installed = self.installed.borrow();
        let (file, message) = installed.problem.as_ref()?;
        Some(Problem {
            file: file.display().to_string(),
            message: format!("the CNI plugin cannot be installed: {message}"),
            ..Problem::default()
        })
    }

    fn reply(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        self.answers.with(&[answer.word()]).inc();
        // The plugin may have given up.
        let _ = to.send(answer);
    }
}

impl Control {
    /// Takes a question, and all others that are there.
    pub(super) fn attend(&mut self, first: Asked) {
        let Some(cni) = &mut self.cni else { return };
        let others: Vec<Asked> = std::iter::from_fn(|| cni.questions.try_recv().ok()).collect();
        let mut gone = Vec::new();
        for Asked { concern, question, answer } in std::iter::once(first).chain(others) {
            if self.frozen {
                cni.reply(answer, Answer::Unknown("another agent is taking over".into()));
            } else if concern == Concern::Del {
                let pod = NamespacedName::new(&*question.namespace, &*question.pod);
                if self.reconciler.take_place_back(&question.uid, &question.sandbox) {
                    gone.push(pod);
                }
                cni.reply(answer, Answer::Released);
            } else {
                let pod = NamespacedName::new(&*question.namespace, &*question.pod);
                let until = Instant::now() + AGENT_PATIENCE;
                cni.waiting.push(Waiting { concern, question, pod, answer, until, netns: None, why: None });
            }
        }
        self.withdraw(gone);
        self.settle_attachments();
    }

    /// Captures what is asked for, as far as it is known by now, and answers.
    pub(super) fn settle_attachments(&mut self) {
        let Some(mut waiting) = self.cni.as_mut().map(|cni| std::mem::take(&mut cni.waiting)) else { return };
        waiting.retain(|waiting| !waiting.answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        self.place(&mut waiting);
        let (mut rest, mut gone) = (Vec::new(), Vec::new());
        for asked in waiting {
            let known = self.known_of(&asked);
            let answer = answer(known, asked.question.word, asked.until <= Instant::now());
            let (Some(answer), Some(cni)) = (answer, &self.cni) else {
                rest.push(asked);
                continue;
            };
            // The runtime takes such a sandbox away again.
            if answer != Answer::Captured
                && asked.concern == Concern::Add
                && self.reconciler.take_place_back(&asked.question.uid, &asked.question.sandbox)
            {
                gone.push(asked.pod);
            }
            cni.reply(asked.answer, answer);
        }
        self.withdraw(gone);
        if let Some(cni) = &mut self.cni {
            cni.waiting = rest;
        }
        self.publish();
    }

    /// Gives the reconciler the places of enrolled pods, all at once, and has it capture them.
    fn place(&mut self, waiting: &mut [Waiting]) {
        let snapshot = self.state.snapshot();
        let (mut changes, mut is_new) = (Vec::new(), false);
        for asked in waiting.iter_mut().filter(|asked| asked.netns.is_none()) {
            let Some(workload) = snapshot.workload(&asked.pod).filter(|workload| {
                *workload.kubelet_uid == *asked.question.uid
                    && *workload.node == *self.shared.node
                    && workload.enrolled
            }) else {
                continue;
            };
            let Question { netns, addresses, sandbox, uid, .. } = &asked.question;
            let given = open(netns).map_err(|error| {
                format!(
                    "its network namespace {} cannot be opened where the agent runs: {error}",
                    netns.display()
                )
            });
            let taken = given.and_then(|(opened, inode)| {
                if asked.concern == Concern::Add {
                    let given = Given { netns: opened, name: netns.clone(), sandbox: sandbox.clone() };
                    let taken = self.reconciler.give_place(workload, addresses, given);
                    taken.map_err(|error| error.to_string())?;
                    changes.extend(self.state.stand_in(&asked.pod, uid, addresses.clone()));
                    is_new = true;
                }
                Ok(inode)
            });
            match taken {
                Ok(inode) => asked.netns = Some(inode),
                Err(why) => asked.why = Some(why),
            }
        }
        if !changes.is_empty() {
            self.enforce(&changes, std::time::Instant::now());
        } else if is_new {
            self.reconciler.look_at_pods();
        }
    }

    fn known_of(&self, asked: &Waiting) -> Known {
        let snapshot = self.state.snapshot();
        let workload = snapshot.workload(&asked.pod).filter(|workload| {
            *workload.kubelet_uid == *asked.question.uid && *workload.node == *self.shared.node
        });
        let Some(workload) = workload else {
            return Known::Nothing(self.state.is_enrolled(&asked.question.namespace));
        };
        if !workload.enrolled {
            return Known::NotEnrolled;
        }
        if asked.netns.is_some_and(|netns| self.reconciler.is_captured_in(&asked.pod, netns)) {
            return Known::Captured;
        }
        let failure = || self.reconciler.failed().get(&asked.pod).map(ToString::to_string);
        let why = asked.why.clone().filter(|_| asked.netns.is_none()).or_else(failure);
        Known::NotCaptured(why.unwrap_or_else(|| "it is not captured in this network namespace".into()))
    }

    /// Lets go of the addresses that these pods were given.
    fn withdraw(&mut self, pods: Vec<NamespacedName>) {
        let changes: Vec<Change> = pods.iter().flat_map(|pod| self.state.withdraw(pod)).collect();
        if !changes.is_empty() {
            self.enforce(&changes, std::time::Instant::now());
        }
    }
}

/// The answer, as soon as there is one; `late` is when one is due.
fn answer(known: Known, word: Word, late: bool) -> Option<Answer> {
    match known {
        Known::Captured => Some(Answer::Captured),
        Known::NotEnrolled => Some(Answer::NotEnrolled),
        Known::NotCaptured(why) => late.then_some(Answer::Refused(why)),
        // The API server will say the same of it: there is nothing to wait for.
        Known::Nothing(Some(_)) if word == Word::Disabled => Some(Answer::NotEnrolled),
        Known::Nothing(Some(false)) if word == Word::Silent => Some(Answer::NotEnrolled),
        Known::Nothing(_) => {
            late.then(|| Answer::Unknown("the API server has not told the agent of it".into()))
        }
    }
}

/// Opens a namespace by the path that its maker gave, once; what it is, is checked when something is to be done in it.
fn open(path: &Path) -> io::Result<(OwnedFd, u64)> {
    let file = fs::File::open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file.into(), inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [Word; 4] = [Word::NotTold, Word::Silent, Word::Enabled, Word::Disabled];

    #[test]
    fn the_api_servers_word_is_what_counts() {
        for word in WORDS {
            for late in [false, true] {
                assert_eq!(answer(Known::Captured, word, late), Some(Answer::Captured));
                assert_eq!(answer(Known::NotEnrolled, word, late), Some(Answer::NotEnrolled));
                let refused = answer(Known::NotCaptured("why".into()), word, late);
                assert_eq!(refused, late.then(|| Answer::Refused("why".into())));
            }
        }
    }

    #[test]
    fn a_pod_of_which_nothing_is_known_is_waited_for_unless_it_has_nothing_to_do_with_the_mesh() {
        let at_once = |namespace, word| answer(Known::Nothing(namespace), word, false);
        for namespace in [Some(false), Some(true), None] {
            for word in [Word::NotTold, Word::Enabled] {
                assert_eq!(at_once(namespace, word), None);
            }
        }
        assert_eq!(at_once(Some(false), Word::Silent), Some(Answer::NotEnrolled));
        assert_eq!(at_once(Some(true), Word::Silent), None);
        assert_eq!(at_once(Some(true), Word::Disabled), Some(Answer::NotEnrolled));
        assert_eq!(at_once(None, Word::Silent), None);
        for word in [Word::NotTold, Word::Enabled] {
            assert!(matches!(answer(Known::Nothing(None), word, true), Some(Answer::Unknown(_))));
        }
    }
}
