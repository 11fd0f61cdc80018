//! The control loop: the source is read, the state kept, the kernel reconciled, events recorded.
//!
//! Entry point: [`Control::run`]. One task owns the mutable state; everyone else reads what it publishes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{
    attach::Cni,
    process::{Asked, Signals},
    verify::Verification,
    view::{self, Kernel, Shared, View},
};
use crate::{
    admin::Problem,
    datapath::events::Events,
    metrics::{Histogram, readiness::Wait},
    observe::Observer,
    proxy::Workers,
    source::{self, Source},
    state::{Change, Event, State},
    sync::Reconciler,
};

/// How often namespaces are looked at: a pod that is gone must not be held for long.
const LOOK: Duration = Duration::from_millis(200);

/// How often programs and counters in the kernel are.
const LOOK_AT_KERNEL: Duration = Duration::from_secs(1);

/// How often a sign of life is given (`--when-down open`).
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a frozen agent waits for its successor before it goes on by itself.
const FROZEN: Duration = Duration::from_secs(30);

/// How long connections that are on their way still find the old listeners after a take-over.
const GRACE: Duration = Duration::from_millis(300);

/// Events read in one turn.
const EVENTS: usize = 1024;

/// The one owner of the state.
pub(super) struct Control {
    source: Source,
    pub(super) state: State,
    pub(super) reconciler: Reconciler,
    pub(super) shared: Arc<Shared>,
    pub(super) cni: Option<Cni>,
    pub(super) problems: Vec<source::Problem>,
    hides_pods: bool,
    waiting: Option<Wait>,
    /// How long captures took, in milliseconds.
    captures: Histogram,
    pub(super) verification: Verification,
    /// How often the kernel's maps are read back.
    repair_interval: Duration,
    stopping: watch::Sender<bool>,
    /// Whether the admin API answers: before it does, the agent is not ready.
    answering: bool,
    /// The kernel, as it was looked at last.
    kernel: Arc<Kernel>,
    pub(super) frozen: bool,
}

impl Control {
    pub(super) fn new(
        source: Source,
        state: State,
        reconciler: Reconciler,
        shared: Arc<Shared>,
        (problems, hides_pods): (Vec<source::Problem>, bool),
        repair_interval: Duration,
        verification: Verification,
    ) -> Self {
        let waiting = Some(shared.readiness.waiting_for("the first look at the pods of this node"));
        let stopping = watch::Sender::new(false);
        let control = Self {
            source,
            state,
            reconciler,
            shared,
            cni: None,
            problems,
            hides_pods,
            waiting,
            captures: Histogram::default(),
            verification,
            repair_interval,
            stopping,
            answering: false,
            kernel: Arc::default(),
            frozen: false,
        };
        control.log_problems(&[]);
        control
    }

    /// Told when the agent stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Takes the questions of a CNI plugin from now on.
    pub(super) fn attend_to(&mut self, cni: Cni) {
        self.cni = Some(cni);
    }

    /// Takes none any more, and wants nothing of the plugin: its keeper ends.
    pub(super) fn detach(&mut self) {
        self.cni = None;
    }

    /// Puts the first snapshot in force.
    pub(super) fn begin(&mut self) {
        self.tell_namespaces();
        self.tell_bad_annotations();
        let snapshot = self.state.snapshot();
        self.shared.keys.use_only(&snapshot.key_sources_on_node(&self.shared.node));
        self.shared.certificates.want(self.reconciler.identities(&snapshot));
        self.reconciler.know_all(!self.hides_pods);
        self.reconciler.adopt(snapshot);
        self.look_at_kernel();
        self.publish();
    }

    /// Says that the admin API answers.
    pub(super) fn answering(&mut self) {
        self.answering = true;
        self.publish();
    }

    /// Runs until the agent is told to stop.
    pub(super) async fn run(&mut self, signals: &mut Signals, mut events: Events, observer: &Observer) {
        let (mut look, mut heartbeat) = (every(LOOK), every(HEARTBEAT));
        let (mut kernel, mut repair) = (every(LOOK_AT_KERNEL), every(self.repair_interval));
        let mut thaw = Instant::now();
        loop {
            let frozen = self.frozen;
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break,
                    Asked::Freeze => {
                        tracing::info!("a successor is starting");
                        self.frozen = true;
                        self.cni.iter().for_each(|cni| cni.want(None));
                        thaw = Instant::now() + FROZEN;
                    }
                },
                () = tokio::time::sleep_until(thaw), if frozen => {
                    tracing::warn!("no successor came; going on");
                    self.frozen = false;
                    self.begin();
                }
                result = events.next(EVENTS, |event| observer.record(&event)), if !frozen => {
                    if let Err(error) = result {
                        tracing::error!(%error, "cannot read the kernel's events");
                    }
                }
                () = self.source.changed(), if !frozen => self.read_source(),
                asked = Cni::next(&mut self.cni) => self.attend(asked),
                _ = look.tick(), if !frozen => {
                    self.reconciler.look_at_pods();
                    self.settle_attachments();
                    self.publish();
                }
                _ = kernel.tick(), if !frozen => self.look_at_kernel(),
                _ = repair.tick(), if !frozen => { self.verify(); },
                asked = self.verification.asked(), if !frozen => {
                    // Whoever asked may be gone.
                    let _ = asked.send(self.verify());
                }
                _ = heartbeat.tick(), if !frozen => self.reconciler.heartbeat(),
            }
        }
        self.stopping.send_replace(true);
    }

    /// Whether a successor has asked this agent to leave the kernel alone.
    pub(super) fn is_superseded(&self) -> bool {
        self.frozen
    }

    /// Finishes what there is, to the deadline.
    pub(super) async fn drain(&mut self, workers: &Workers, limit: Duration) {
        let _draining = self.shared.readiness.waiting_for("the agent is stopping");
        if self.frozen {
            tokio::time::sleep(GRACE).await;
        } else {
            self.reconciler.farewell();
        }
        tracing::info!(limit_seconds = limit.as_secs(), "draining");
        let ended = workers.drain(limit).await;
        if ended > 0 {
            tracing::warn!(connections = ended, "connections had to be ended");
        }
    }

    /// What it shows is published with everything else.
    pub(super) fn look_at_kernel(&mut self) {
        self.kernel = Arc::new(Kernel::look(self.reconciler.datapath()));
    }

    fn read_source(&mut self) {
        let now = std::time::Instant::now();
        let scan = self.source.scan();
        let heard = scan.heard.unwrap_or(now);
        let of_namespaces = scan.events.iter().any(Event::is_of_namespace);
        let changes = self.state.apply_all(scan.events);
        let before = std::mem::replace(&mut self.problems, scan.problems);
        self.log_problems(&before);
        self.tell_bad_annotations();
        if of_namespaces {
            self.tell_namespaces();
        }
        if !changes.is_empty() {
            self.enforce(&changes, heard);
        }
        self.hides_pods = scan.hides_pods;
        self.reconciler.know_all(!self.hides_pods);
        self.settle_attachments();
        self.publish();
    }

    /// Puts the state as it is now in force, of which the agent `heard` then.
    pub(super) fn enforce(&mut self, changes: &[Change], heard: std::time::Instant) {
        let snapshot = self.state.snapshot();
        // Readers first: what the kernel asks from here on is answered under the new state.
        self.shared.snapshot.store(snapshot.clone());
        self.shared.keys.use_only(&snapshot.key_sources_on_node(&self.shared.node));
        self.shared.certificates.want(self.reconciler.identities(&snapshot));
        self.reconciler.apply(snapshot, changes, heard);
    }

    /// Has the CNI plugin know which namespaces are enrolled, also when there is no agent.
    fn tell_namespaces(&self) {
        if let Some(cni) = &self.cni {
            let namespaces = self.state.enrolled_namespaces();
            cni.want(Some(Arc::new(namespaces.iter().map(ToString::to_string).collect())));
        }
    }

    fn log_problems(&self, before: &[source::Problem]) {
        for problem in self.problems.iter().filter(|problem| !before.contains(problem)) {
            tracing::warn!(
                file = problem.file,
                object = problem.object.as_ref().map(tracing::field::display),
                field = problem.field,
                value = problem.value,
                "{}",
                problem.message
            );
        }
    }

    /// Shows the world what is.
    pub(super) fn publish(&mut self) {
        self.shared.certificates.want(self.reconciler.identities(&self.state.snapshot()));
        let mut problems: Vec<Problem> = self.problems.iter().map(view::of_source).collect();
        problems.extend(self.state.conflicts().iter().map(view::of_conflict));
        problems.extend(self.state.snapshot().traffic_policies().conflicts().map(|of| view::of_traffic(&of)));
        problems.extend(self.reconciler.failed().iter().map(|(pod, error)| view::of_capture(pod, error)));
        problems.extend(self.cni.iter().filter_map(Cni::problem));
        for took in self.reconciler.take_durations() {
            self.captures.observe(took.as_secs_f64() * 1e3);
        }
        self.shared.view.store(Arc::new(View::new(
            &self.reconciler,
            self.kernel.clone(),
            &self.verification,
            &self.captures,
            problems,
        )));
        // One of which nothing runs yet, for want of a volume say, can be so for ever.
        let outside = || self.reconciler.failed().iter().filter(|(_, error)| !error.is_harmless());
        if outside().next().is_none() {
            if self.answering && self.waiting.take().is_some() {
                tracing::info!(pods = self.reconciler.captured().len(), "ready");
            }
        } else if self.waiting.is_some() {
            let pods: Vec<String> = outside().map(|(pod, _)| pod.to_string()).collect();
            let words = format!("pods that are not captured: {}", pods.join(", "));
            self.waiting = Some(self.shared.readiness.waiting_for(words));
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
