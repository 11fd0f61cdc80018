//! One thread per core, each with a runtime of its own: a connection lives and dies on one of them.
//!
//! Entry point: [`Workers`]. Listeners are dealt out by the kernel's steering, so workers share nothing
//! on the path of the bytes.

use std::{
    collections::HashMap,
    io,
    net::TcpListener,
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet, LocalSet},
};

use super::{
    context::{Context, Worker},
    inbound, judge,
    live::Ending,
    outbound,
    pod::LocalPod,
};
use crate::{
    addr::ClientAddr,
    flows::record::Reason,
    state::Snapshot,
    turns::{self, Share},
};

/// How often a worker adds what its pool did to the node's account, and frees what it has no use for.
const PUBLISH: Duration = Duration::from_secs(1);

/// How long a peer may take to answer a goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// Commands that may wait for a worker.
const QUEUE: usize = 4096;

/// The agent's sockets in one pod, of one worker.
#[derive(Debug)]
pub struct Listeners {
    /// Takes the pod's redirected connections.
    pub outbound: TcpListener,
    /// Takes tunnel sessions.
    pub tunnel: TcpListener,
    /// Takes plaintext that the kernel could not judge.
    pub inbound: TcpListener,
}

enum Command {
    Add(Arc<LocalPod>, Listeners),
    Leave(Arc<LocalPod>),
    Remove(Arc<LocalPod>, Ending),
    JudgeAgain(Arc<Snapshot>),
    Drain(Duration, oneshot::Sender<usize>),
}

/// The threads. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    commands: Vec<mpsc::Sender<Command>>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("count", &self.commands.len()).finish()
    }
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize, context: &Arc<Context>) -> io::Result<Self> {
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count.max(1) {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(turns::idle)
                .build()?;
            let context = context.clone();
            let thread =
                std::thread::Builder::new().name(format!("weir-worker-{index}")).spawn(move || {
                    LocalSet::new().block_on(&runtime, run(context, receiver));
                })?;
            commands.push(sender);
            threads.push(thread);
        }
        Ok(Self { commands, threads: Arc::new(Mutex::new(threads)) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.commands.len()
    }

    /// Accepts for a pod, one set of listeners for each worker.
    pub fn add(&self, pod: Arc<LocalPod>, listeners: Vec<Listeners>) {
        for (commands, listeners) in self.commands.iter().zip(listeners) {
            send(commands, Command::Add(pod.clone(), listeners));
        }
    }

    /// Accepts no more for a pod than what waits already. Its connections go on until they end, by the sessions that
    /// they have.
    pub fn leave(&self, pod: &Arc<LocalPod>) {
        pod.leave();
        for commands in &self.commands {
            send(commands, Command::Leave(pod.clone()));
        }
    }

    /// Accepts no more for a pod, ends its connections, and lets go of its namespace.
    pub fn remove(&self, pod: &Arc<LocalPod>, why: &Ending) {
        pod.release();
        for commands in &self.commands {
            send(commands, Command::Remove(pod.clone(), why.clone()));
        }
    }

    /// Judges every live connection under `snapshot`.
    pub fn judge_again(&self, snapshot: Arc<Snapshot>) {
        for commands in &self.commands {
            send(commands, Command::JudgeAgain(snapshot.clone()));
        }
    }

    /// Accepts no more, waits until every connection has ended or `limit` is over, ends the rest, and
    /// stops the threads; says how many connections had to be ended.
    pub async fn drain(&self, limit: Duration) -> usize {
        let mut waits = Vec::new();
        for commands in &self.commands {
            let (done, wait) = oneshot::channel();
            if commands.send(Command::Drain(limit, done)).await.is_ok() {
                waits.push(wait);
            }
        }
        let mut ended = 0;
        for wait in waits {
            ended += wait.await.unwrap_or(0);
        }
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        for thread in threads {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        ended
    }
}

/// Never waits: the reconciler must not hang on a worker.
fn send(commands: &mpsc::Sender<Command>, command: Command) {
    if let Err(error) = commands.try_send(command) {
        tracing::error!(%error, "a worker does not take commands");
    }
}

async fn run(context: Arc<Context>, mut commands: mpsc::Receiver<Command>) {
    let worker = Worker::new(context);
    // It ends with the runtime.
    drop(tokio::task::spawn_local(turns::rounds()));
    let mut tasks = JoinSet::new();
    let mut pods: HashMap<u64, Served> = HashMap::new();
    let mut publish = tokio::time::interval(PUBLISH);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            Some(_) = tasks.join_next() => continue,
            _ = publish.tick() => {
                worker.publish();
                pods.values_mut().for_each(Served::publish);
                worker.rest();
                continue;
            }
        };
        match command {
            Some(Command::Add(pod, listeners)) => {
                let served = pods.entry(pod.netns.cookie()).or_insert_with(|| Served::new(&pod));
                served.accept_all(&worker, listeners, &mut tasks);
            }
            Some(Command::Leave(pod)) => {
                // Those who accept hear of it from the pod.
                pods.remove(&pod.netns.cookie());
                worker.upstreams.forget(&pod.uid);
                worker.context.limits.forget(&pod.uid);
                worker.pool.retire(&pod.uid);
            }
            Some(Command::Remove(pod, why)) => {
                worker.live.end_where(|subject| Arc::ptr_eq(subject.pod(), &pod).then(|| why.clone()));
                let cookie = pod.netns.cookie();
                // One that has left may be back, and captured anew.
                if pods.get(&cookie).is_some_and(|served| !Arc::ptr_eq(&served.pod, &pod)) {
                    continue;
                }
                if let Some(served) = pods.remove(&cookie) {
                    served.tasks.iter().for_each(AbortHandle::abort);
                }
                worker.upstreams.forget(&pod.uid);
                worker.context.limits.forget(&pod.uid);
                worker.pool.forget(&pod.uid);
            }
            Some(Command::JudgeAgain(snapshot)) => {
                let ended = worker.live.end_where(|subject| judge::again(&snapshot, subject));
                worker.context.counters.ended.fetch_add(ended as u64, std::sync::atomic::Ordering::Relaxed);
            }
            Some(Command::Drain(limit, done)) => {
                let _ = done.send(drain(&worker, tasks, limit).await);
                return;
            }
            None => return,
        }
    }
}

async fn drain(worker: &Worker, mut accepting: JoinSet<()>, limit: Duration) -> usize {
    worker.stop();
    let finished = async {
        // Each takes what already waits for it, which nobody else could.
        while accepting.join_next().await.is_some() {}
        worker.upstreams.drain();
        worker.pool.drain();
        finished(worker).await;
    };
    if tokio::time::timeout(limit, finished).await.is_ok() {
        return 0;
    }
    let words = format!("the agent stopped and had waited {limit:?}");
    let ending = Ending { reason: Reason::Drained, policy: None, detail: words.into(), gently: false };
    let ended = worker.live.end_where(|_| Some(ending.clone()));
    // Each is told, resets both its ends and records that.
    let _ = tokio::time::timeout(Duration::from_secs(2), worker.live.empty()).await;
    ended
}

/// Waits until nothing is carried. A session from another node that carries nothing may have a stream on its way: its
/// peer is told to open none, and has [`FAREWELL`] to say that it has heard it.
async fn finished(worker: &Worker) {
    loop {
        worker.live.empty().await;
        if tokio::time::timeout(FAREWELL, worker.accepted.ended()).await.is_ok() || worker.live.is_empty() {
            return;
        }
    }
}

/// A pod, as one worker serves it.
struct Served {
    pod: Arc<LocalPod>,
    /// They accept.
    tasks: Vec<AbortHandle>,
    /// On whose account all is done for it.
    share: Rc<Share>,
    /// What of the account has been told.
    told: Duration,
}

impl Served {
    fn new(pod: &Arc<LocalPod>) -> Self {
        Self { pod: pod.clone(), tasks: Vec::new(), share: Rc::default(), told: Duration::ZERO }
    }

    fn accept_all(&mut self, worker: &Rc<Worker>, listeners: Listeners, tasks: &mut JoinSet<()>) {
        let Listeners { outbound, tunnel, inbound } = listeners;
        let at = (worker, &self.pod, &self.share);
        self.tasks.extend([
            tasks.spawn_local(accept(at, outbound, outbound::serve)),
            tasks.spawn_local(accept(at, tunnel, inbound::tunnel)),
            tasks.spawn_local(accept(at, inbound, inbound::plaintext)),
        ]);
    }

    /// Adds what was done for it since the last time to the pod's account.
    fn publish(&mut self) {
        let taken = self.share.taken();
        self.pod.add_processor(taken - self.told);
        self.told = taken;
    }
}

/// Accepts on one listener until the worker stops or the pod leaves; each connection is a task on the pod's account, and outlives the
/// listener. The runtime owns it: it ends with the worker at the latest.
fn accept<F>(
    (worker, pod, share): (&Rc<Worker>, &Arc<LocalPod>, &Rc<Share>),
    listener: TcpListener,
    serve: fn(Rc<Worker>, Arc<LocalPod>, tokio::net::TcpStream, ClientAddr) -> F,
) -> impl Future<Output = ()> + 'static
where
    F: Future<Output = ()> + 'static,
{
    let (worker, pod, share) = (worker.clone(), pod.clone(), share.clone());
    async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(pod = %pod.key, %error, "a listener cannot be used");
                return;
            }
        };
        let (stopping, left) = (worker.stopping(), pod.left());
        let stopping = async move {
            tokio::select! {
                () = stopping => {}
                _ = left => {}
            }
        };
        let mut stopping = pin!(stopping);
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                // Nothing waits: what comes now would be reset when the listener is closed.
                () = &mut stopping => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let peer = ClientAddr::new(peer);
                    let connection = serve(worker.clone(), pod.clone(), stream, peer);
                    drop(share.spawn(worker.accepted.count(connection)));
                }
                Err(error) => {
                    // Out of descriptors or memory: wait for some to come back rather than spin.
                    tracing::warn!(pod = %pod.key, %error, "cannot accept");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(50)) => {}
                        () = &mut stopping => return,
                    }
                }
            }
        }
    }
}
