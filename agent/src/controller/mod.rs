//! `weir controller`: the cluster's certificate authority, and the writer of what objects' status says.
//!
//! Entry point: [`run`]. It wires. Every replica signs and answers; the one that holds a lease writes.

mod authority;
mod callers;
mod counters;
mod keeper;
mod lease;
mod material;
mod residents;
mod rotation;
mod server;
mod slices;
mod status;

use std::{net::TcpListener, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::watch, task::JoinSet};

use self::{
    authority::Authority, callers::Callers, counters::Counters, keeper::Keeper, lease::Lease,
    residents::Residents, rotation::Times, server::Service, slices::SliceWriter, status::StatusWriter,
};
use crate::{
    ca::Clock,
    cli::args::ControllerArgs,
    metrics::{Metrics, Sample, catalogue, readiness::Readiness, server as scrape},
    source::kube::{self, annotations::BadAnnotations, events::ObjectEvents},
    state::Settings,
};

/// The lease that says who writes.
const LEASE: &str = "weir-controller";

/// Runs the controller until `stop`.
///
/// # Errors
/// One line that says what is missing and how to mend it.
pub async fn run(args: ControllerArgs, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (client, heard) = kube::client().await?;
    let scraped = bind(args.metrics, "--metrics")?;
    let listener = bind(args.listen, "--listen")?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let readiness = Readiness::default();
    let counters = Counters::new(&metrics);
    let clock = Clock::system();
    let lifetime = Duration::from_secs(args.certificate_lifetime.into());
    let times = Times { spread: Duration::from_secs(args.rotation_spread.into()), lifetime };
    let authority =
        Arc::new(Authority::new(args.trust_domain.clone(), lifetime, names(&args), clock.clone()));

    let mut parts = JoinSet::new();
    // The pod's name, and what tells two processes of one machine apart.
    let holder =
        format!("{}_{:08x}", rustix::system::uname().nodename().to_string_lossy(), fastrand::u32(..));
    let lease = Lease {
        client: client.clone(),
        namespace: args.namespace.clone(),
        name: LEASE.into(),
        holder: holder.clone(),
    };
    let (leads, mut lease) = lease.spawn();
    let leading = leads.clone();
    metrics.read_one(&catalogue::CONTROLLER_LEADS, move || f64::from(u8::from(*leading.borrow())));
    let keeper = Keeper {
        client: client.clone(),
        namespace: args.namespace.clone(),
        secret: args.ca_secret.clone(),
        roots: args.ca_roots.clone(),
        trust_domain: args.trust_domain.clone(),
        times,
        clock,
        authority: authority.clone(),
        counters: counters.clone(),
    };
    parts.spawn(keeper.run(leads.clone(), readiness.waiting_for("a key to sign with")));

    let (events, writing) = ObjectEvents::start(client.clone(), "controller", &holder, &metrics);
    parts.spawn(async move { drop(writing.await) });
    let writer = StatusWriter {
        client: client.clone(),
        heard: heard.clone(),
        events,
        annotations: BadAnnotations::new(&metrics),
        settings: Settings {
            trust_domain: args.trust_domain.clone(),
            root_namespace: args.namespace.as_str().into(),
        },
        counters: counters.clone(),
    };
    parts.spawn(writer.run(leads.clone()));
    let slices = SliceWriter {
        client: client.clone(),
        heard,
        namespace: args.namespace.as_str().into(),
        counters: counters.clone(),
    };
    if args.slices {
        parts.spawn(slices.run(leads));
    }

    let (residents, known, mut pods) = Residents::start(client.clone());
    let residents = Arc::new(residents);
    let counted = residents.clone();
    metrics.read(&catalogue::CONTROLLER_PODS, move || vec![Sample::new(&[], counted.count() as f64)]);
    parts.spawn(wait_for(known, readiness.waiting_for("all pods to be known")));
    let (namespace, service_account) = &args.agent.0;
    let callers = Callers::new(client.clone(), namespace, service_account);
    let service = Arc::new(Service { authority, callers, residents, counters });

    let (stopping, stopped) = watch::channel(false);
    parts.spawn(server::serve(listener, service, until(stopped.clone())));
    let scraped = tokio::spawn(scrape::serve(scraped, metrics, readiness, until(stopped)));
    tracing::info!(listen = %args.listen, holder, "answering");
    tokio::select! {
        () = stop => {}
        // None of them ends by itself; one that panicked would be missed for ever.
        _ = parts.join_next() => anyhow::bail!("a part of the controller has broken off; its log says why"),
        _ = lease.join_next() => anyhow::bail!("who renews the lease has broken off; the log says why"),
        _ = pods.join_next() => anyhow::bail!("who watches pods has broken off; the log says why"),
    }
    let _ = stopping.send(true);
    Lease::release(client, &args.namespace, LEASE, &holder).await;
    scraped.await??;
    tracing::info!("stopped");
    Ok(())
}

/// As which agents know this server.
fn names(args: &ControllerArgs) -> Vec<String> {
    let (service, namespace) = (&args.service, &args.namespace);
    let mut names = vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
    ];
    names.extend(args.dns_names.iter().cloned());
    names
}

async fn wait_for(mut known: watch::Receiver<bool>, not_ready: crate::metrics::readiness::Wait) {
    // An error means that the watch is gone, and then nothing will be known.
    if known.wait_for(|known| *known).await.is_ok() {
        drop(not_ready);
    }
    std::future::pending().await
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever could say so is gone, which is as good.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn bind(address: std::net::SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("{flag} {address}: free the port, or choose another"))
}
