//! The agent: every part made, wired together, run and drained.
//!
//! Entry point: [`agent`]. It wires; what is decided is decided in the parts.

mod asked;
mod attach;
mod control;
mod daemonset;
mod explain;
mod metrics;
mod process;
mod takeover;
mod verify;
mod view;

use std::{net::TcpListener, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;

use self::{
    attach::Cni,
    control::Control,
    daemonset::DaemonSet,
    takeover::Predecessor,
    verify::Verification,
    view::{Shared, View},
};
use crate::{
    admin,
    ca::{CertificateAuthority, LocalCa, RemoteCa, RemoteCaOptions, Trust},
    certs::{Certificates, CertificatesOptions},
    check,
    cli::args::{AgentArgs, CaArg, CaRoots, ControllerArgs, PodsArg, SameNode, WhenDown},
    cni::{
        self,
        install::{Keeper, Wanted},
        question::Desk,
    },
    controller,
    datapath::{self, Datapath, memory},
    flows::{self, RecorderOptions},
    metrics::{Metrics, readiness::Readiness},
    observe::Observer,
    proxy::{Context, Limits, ProxyCounters, ProxyOptions, Workers},
    source::{
        Source,
        kube::{self, KubeSource, Pods},
        yaml::YamlDirectory,
    },
    state::{Settings, State},
    sync::{Known, Options, Reconciler},
    traffic::Registry,
    users::{self, Authenticator},
};

/// Most worker threads unless `--workers` says otherwise: each has listeners in every pod.
const MOST_WORKERS: usize = 16;

/// Objects that are put into the state together while it begins.
const AT_ONCE: usize = 256;

/// The namespace whose policies are for the whole mesh.
const ROOT_NAMESPACE: &str = "weir-system";

/// Runs the agent until it is told to stop.
///
/// # Errors
/// One line that says what is missing and how to mend it.
pub fn agent(args: AgentArgs) -> anyhow::Result<()> {
    process::start_log(args.log_format, &args.log)?;
    process::raise_limits();
    anyhow::ensure!(
        args.kube || args.cni.directories().is_none(),
        "--cni-conf-dir needs --kube: only a kubelet's pods have a CNI plugin"
    );
    let report = check::run_at_start(&check::CheckOptions {
        cgroup: args.cgroup.clone(),
        bpffs: args.bpffs.clone(),
        socket: args.socket.clone(),
        metrics: args.metrics,
        extra: Vec::new(),
    });
    if let Some(failure) = report.first_failure() {
        anyhow::bail!("{}", failure.line());
    }
    // Mounted in a container, it would go with that, and what is pinned with it.
    if args.daemonset.is_some() && !datapath::bpffs::is_within(&args.bpffs) {
        anyhow::bail!(
            "--bpffs {}: the node has no BPF file system there: mount -t bpf bpf /sys/fs/bpf, on the node",
            args.bpffs.display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

/// Runs the controller until it is told to stop.
///
/// # Errors
/// One line that says what is missing and how to mend it.
pub fn controller(args: ControllerArgs) -> anyhow::Result<()> {
    process::start_log(args.log_format, &args.log)?;
    process::raise_limits();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = process::Signals::new()?;
        let stop = async move { while !matches!(signals.next().await, process::Asked::Stop) {} };
        controller::run(args, stop).await
    })
}

async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let ca = open_ca(&args).await?;
    let mut signals = process::Signals::new()?;
    let (mut source, client) = open_source(&args).await?;
    let daemonset = client.clone().zip(args.daemonset.clone());
    let daemonset = daemonset.map(|(client, name)| DaemonSet::watch(client, name));
    if let Some(congestion) = &args.congestion {
        datapath::sockets::check_congestion(congestion)
            .with_context(|| format!("--congestion {congestion}"))?;
    }
    let predecessor = Predecessor::find(&args.socket);
    // Without one, a taken port is found out before anything is touched.
    let early = match &predecessor {
        Some(_) => None,
        None => Some(bind_metrics(&args)?),
    };
    let socket = admin::prepare(&args.socket)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let readiness = Readiness::default();
    let options = RecorderOptions {
        sample: args.flows_sample,
        ..RecorderOptions::for_records(args.flows_capacity as usize)
    };
    let (recorder, collector, flows) = flows::start(options, &metrics);
    let collector = tokio::spawn(collector.run());
    let (certificates, certificates_task) = Certificates::start(ca, CertificatesOptions::default());

    let mut state = State::new(Settings {
        trust_domain: args.trust_domain.clone(),
        root_namespace: ROOT_NAMESPACE.into(),
    });
    let scan = tokio::select! {
        scan = source.first() => scan,
        // Nothing has been touched yet.
        _ = signals.next() => return Ok(()),
    };
    // Together, what they touch is derived once; what is marked meanwhile takes memory.
    let mut events = scan.events.into_iter().peekable();
    while events.peek().is_some() {
        state.apply_all(events.by_ref().take(AT_ONCE));
    }
    let snapshot = Arc::new(ArcSwap::new(state.snapshot()));

    if predecessor.is_some() {
        takeover::certified(&certificates, &snapshot.load(), &args.node).await;
    }
    if let Some(predecessor) = &predecessor {
        tracing::info!(pid = predecessor.pid(), "taking over from the agent that is running");
        predecessor.freeze();
    }
    let (mut datapath, events) = open_datapath(&args)?;
    if let Err(error) = datapath.start_log() {
        tracing::warn!(%error, "the kernel programs' log cannot be read");
    }
    let (keys, keys_task) = users::spawn(crate::proxy::seed());
    let context = Arc::new(Context {
        node: args.node.as_str().into(),
        cluster: args.cluster.as_str().into(),
        snapshot: snapshot.clone(),
        certificates: certificates.clone(),
        recorder: recorder.clone(),
        authenticator: Authenticator::new(keys.clone()),
        limits: Limits::default(),
        origin: std::time::Instant::now(),
        traffic: Registry::default(),
        sockets: datapath.sockets().clone(),
        options: ProxyOptions { requests_per_pod: args.max_requests, ..ProxyOptions::default() },
        counters: ProxyCounters::default(),
    });
    let workers = Workers::start(worker_count(&args), &context).context("cannot start the workers")?;
    let known = Known::default();
    let options = Options {
        node: context.node.clone(),
        open_when_down: args.when_down == WhenDown::Open,
        tunnel_same_node: args.same_node == SameNode::Tunnel,
        most_connections: args.max_connections,
        finds_places: args.kube,
    };
    let reconciler = Reconciler::new(options, datapath, workers.clone(), known.clone(), snapshot.load_full());
    let (desk, questions) = args.cni.directories().map(|_| Desk::new()).unzip();
    let object_events =
        client.map(|client| kube::events::ObjectEvents::start(client, "agent", &args.node, &metrics));
    let (object_events, events_task) = object_events.unzip();
    let (verification, looks) = Verification::new(object_events, &metrics);
    let shared = Arc::new(Shared {
        node: context.node.clone(),
        snapshot: snapshot.clone(),
        certificates: certificates.clone(),
        flows: flows.clone(),
        keys,
        readiness: readiness.clone(),
        looks,
        desk,
        view: ArcSwap::from_pointee(View::default()),
    });
    metrics::register(&metrics, &shared, &context);
    if let Source::Kubernetes(source) = &source {
        metrics::of_source(&metrics, &source.status());
    }
    let observer = Observer { node: context.node.clone(), snapshot, known, recorder: recorder.clone() };
    let repair_interval = Duration::from_secs(args.repair_interval.into());
    let mut control = Control::new(
        source,
        state,
        reconciler,
        shared.clone(),
        (scan.problems, scan.hides_pods),
        repair_interval,
        verification,
    );
    let keeper = questions.zip(args.cni.directories()).map(|(questions, directories)| {
        let (want, wanted) = tokio::sync::watch::channel(Wanted::None);
        let (keeper, installed) = Keeper::new(directories, &args.socket, wanted);
        control.attend_to(Cni::new(questions, want, installed, &metrics));
        keeper
    });
    control.begin();
    // What the beginning took and nobody needs any more.
    memory::give_back();

    // From here on new connections come to this agent; the other one finishes what it has.
    if let Some(predecessor) = predecessor {
        predecessor.end();
    }
    let listener = match early {
        Some(listener) => listener,
        None => takeover::retry(Duration::from_secs(10), || bind_metrics(&args)).await?,
    };
    let (socket, socket_file) = socket.publish()?;
    let stopping = control.stopping();
    let servers = tokio::spawn({
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        let (first, second) = (stopping.clone(), stopping);
        async move {
            let admin = admin::serve(socket, shared, flows, &metrics, wait(first));
            let scrape = crate::metrics::server::serve(listener, metrics.clone(), readiness, wait(second));
            tokio::join!(admin, scrape)
        }
    });
    control.answering();
    // Whoever runs the plugin finds somebody to ask.
    let mut keeper = keeper.map(|keeper| tokio::spawn(keeper.run()));
    control.run(&mut signals, events, &observer).await;

    // The file first: a successor that finds it would wait for us.
    drop(socket_file);
    let outlives = control.is_superseded() && daemonset.is_some();
    let stopped = process::end_at_a_signal(signals, outlives);
    if let Some(daemonset) = &daemonset
        && !control.is_superseded()
        && daemonset.is_gone().await
    {
        control.detach();
        if let Some(keeper) = &mut keeper {
            // What it has begun it ends, and would put back what is taken away before that.
            let _ = keeper.await;
        }
        leave(&args);
    }
    control.drain(&workers, Duration::from_secs(args.drain.into())).await;
    if let (Err(error), _) | (_, Err(error)) = servers.await? {
        tracing::warn!(%error, "a server of the agent's own did not run");
    }
    recorder.flush().await;
    certificates_task.stop().await;
    keys_task.stop().await;
    collector.abort();
    keeper.into_iter().chain(events_task).for_each(|task| task.abort());
    if outlives {
        tracing::info!("waiting to be stopped");
        takeover::outlived(&args.socket, stopped).await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Takes what the agent has put on the node off it: from now on pods talk as if there were no mesh.
fn leave(args: &AgentArgs) {
    // First of all what runs for each pod that starts.
    match args.cni.directories().map(|directories| cni::install::uninstall(&directories)) {
        None => {}
        Some(Ok(paths)) => tracing::info!(paths = paths.len(), "the CNI plugin is removed"),
        Some(Err(error)) => {
            tracing::error!(%error, "the CNI plugin cannot be removed: run weir uninstall with --cni-conf-dir and --cni-bin-dir");
        }
    }
    match datapath::uninstall::uninstall(&args.bpffs) {
        Ok(pins) => tracing::info!(pins, "Weir is being removed; nothing of it is attached any more"),
        Err(error) => {
            tracing::error!(%error, "Weir is being removed, and this node is not rid of it: run weir uninstall");
        }
    }
}

async fn wait(mut stopping: tokio::sync::watch::Receiver<bool>) {
    // An error means that the control task is gone, which is as good.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn open_ca(args: &AgentArgs) -> anyhow::Result<Arc<dyn CertificateAuthority>> {
    let (host, port) = match &args.ca {
        CaArg::Local(directory) => {
            let ca = LocalCa::open(directory, args.trust_domain.clone())
                .with_context(|| format!("--ca local:{}", directory.display()))?;
            return Ok(Arc::new(ca));
        }
        CaArg::Remote(host, port) => (host.clone(), *port),
    };
    let trust = match &args.ca_roots {
        CaRoots::File(path) => Trust::of_file(path.clone()),
        CaRoots::ConfigMap(namespace, name) => {
            let (client, _) = kube::client().await.context("--ca-roots")?;
            Trust::of_config_map(client, namespace, name)
        }
    };
    let options = RemoteCaOptions { host, port, token: args.ca_token.clone(), cluster: args.cluster.clone() };
    let ca = RemoteCa::new(options, trust).map_err(anyhow::Error::msg).context("--ca")?;
    Ok(Arc::new(ca))
}

fn pods(args: &AgentArgs) -> Pods {
    match args.pods {
        PodsArg::All => Pods::All,
        PodsArg::Slices => Pods::Sliced { node: args.node.as_str().into(), namespace: ROOT_NAMESPACE.into() },
    }
}

/// The source, and a client of the API server if that is it.
async fn open_source(args: &AgentArgs) -> anyhow::Result<(Source, Option<::kube::Client>)> {
    Ok(match &args.state {
        Some(directory) => (Source::Directory(YamlDirectory::open(directory).context("--state")?), None),
        None => {
            let (client, heard) = kube::client().await.context("--kube")?;
            (Source::Kubernetes(KubeSource::start(client.clone(), heard, pods(args))), Some(client))
        }
    })
}

fn open_datapath(args: &AgentArgs) -> anyhow::Result<(Datapath, datapath::events::Events)> {
    let cgroup = match &args.cgroup {
        Some(cgroup) => cgroup.clone(),
        None => std::fs::read_to_string("/proc/self/mountinfo")
            .ok()
            .and_then(|mounts| check::cgroup2_root(&mounts))
            .context("cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")?,
    };
    Ok(Datapath::open(datapath::Options {
        cgroup,
        bpffs: args.bpffs.clone(),
        congestion: args.congestion.clone(),
        log: args.ebpf_log,
    })?)
}

fn bind_metrics(args: &AgentArgs) -> anyhow::Result<TcpListener> {
    TcpListener::bind(args.metrics)
        .with_context(|| format!("--metrics {}: free the port, or choose another", args.metrics))
}

fn worker_count(args: &AgentArgs) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
    args.workers.map_or_else(cores, usize::from)
}
