//! Metrics of parts that do not count by themselves, read when they are asked for.
//!
//! Entry points: [`register`], [`of_source`].

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::view::{Shared, seconds};
use crate::{
    metrics::{Metrics, Sample, catalogue},
    proxy::{Context, pod::LocalPod},
    source::kube::{OfKind, Status},
    state::model::NamespacedName,
    traffic::Bound,
    tunnel::SessionError,
};

/// Registers them all.
pub(super) fn register(metrics: &Metrics, shared: &Arc<Shared>, context: &Arc<Context>) {
    state(metrics, shared);
    kernel(metrics, shared);
    certificates(metrics, shared);
    proxy(metrics, context);
    traffic(metrics, context);
    tokens(metrics, shared, context);
}

/// Registers those of the API server's watches.
pub(super) fn of_source(metrics: &Metrics, status: &Arc<Status>) {
    let of = status.clone();
    metrics.read_one(&catalogue::SOURCE_AGE, move || of.age().as_secs_f64());
    type Pick = fn(&OfKind) -> f64;
    let columns: [(&'static catalogue::Definition, Pick); 3] = [
        (&catalogue::SOURCE_OBJECTS, |of| of.objects.load(Relaxed) as f64),
        (&catalogue::SOURCE_LISTS, |of| of.lists.get() as f64),
        (&catalogue::SOURCE_ERRORS, |of| of.errors.get() as f64),
    ];
    for (definition, pick) in columns {
        let of = status.clone();
        metrics.read(definition, move || {
            of.kinds().map(|(kind, of)| Sample::new(&[kind.word()], pick(of))).collect()
        });
    }
}

fn state(metrics: &Metrics, shared: &Arc<Shared>) {
    let of = shared.clone();
    metrics.read_one(&catalogue::STATE_GENERATION, move || of.snapshot.load().generation as f64);
    let of = shared.clone();
    metrics.read_one(&catalogue::POLICY_GENERATION, move || of.snapshot.load().policy_generation as f64);
    let of = shared.clone();
    metrics.read(&catalogue::OBJECTS, move || {
        let snapshot = of.snapshot.load();
        vec![
            Sample::new(&["Pod"], snapshot.workloads().count() as f64),
            Sample::new(&["Service"], snapshot.services().count() as f64),
            Sample::new(&["Node"], snapshot.nodes().count() as f64),
            Sample::new(&["AccessPolicy"], snapshot.policies().len() as f64),
            Sample::new(&["RequestAuthentication"], snapshot.authentications().len() as f64),
            Sample::new(&["TrafficPolicy"], snapshot.traffic_policies().len() as f64),
        ]
    });
    let of = shared.clone();
    metrics.read(&catalogue::OBJECT_PROBLEMS, move || {
        let mut kinds: BTreeMap<String, f64> = BTreeMap::new();
        for problem in &of.view.load().problems {
            let kind = problem.object.as_deref().and_then(|object| object.split(' ').next());
            *kinds.entry(kind.unwrap_or("file").to_owned()).or_default() += 1.0;
        }
        kinds.into_iter().map(|(kind, count)| Sample::new(&[&kind], count)).collect()
    });
    let of = shared.clone();
    metrics
        .read_histograms(&catalogue::CAPTURES, move || vec![(Vec::new(), of.view.load().captures.clone())]);
    let of = shared.clone();
    metrics.read(&catalogue::WORKLOADS, move || {
        let snapshot = of.snapshot.load();
        let enrolled = snapshot.workloads_on_node(&of.node).filter(|workload| workload.enrolled).count();
        let captured = of.view.load().pods.len();
        vec![Sample::new(&["enrolled"], enrolled as f64), Sample::new(&["captured"], captured as f64)]
    });
    let of = shared.clone();
    metrics.read(&catalogue::POD_PROCESSOR, move || {
        let view = of.view.load();
        let taken = |(key, pod): (&NamespacedName, &Arc<LocalPod>)| {
            Sample::new(&[&key.namespace, &key.name], pod.processor().as_secs_f64())
        };
        view.pods.iter().map(taken).collect()
    });
}

fn kernel(metrics: &Metrics, shared: &Arc<Shared>) {
    type Pick = fn(&(&'static str, usize, u32, u64)) -> f64;
    let columns: [(&'static catalogue::Definition, Pick); 3] = [
        (&catalogue::MAP_ENTRIES, |row| row.1 as f64),
        (&catalogue::MAP_CAPACITY, |row| f64::from(row.2)),
        (&catalogue::MAP_FULL, |row| row.3 as f64),
    ];
    for (definition, pick) in columns {
        let of = shared.clone();
        metrics.read(definition, move || {
            of.view.load().maps.iter().map(|row| Sample::new(&[row.0], pick(row))).collect()
        });
    }
    let of = shared.clone();
    metrics.read_one(&catalogue::EVENTS_LOST, move || {
        of.view
            .load()
            .kernel
            .counters
            .iter()
            .find(|(name, _)| *name == "events_lost")
            .map_or(0.0, |row| row.1 as f64)
    });
    let of = shared.clone();
    metrics.read(&catalogue::KERNEL_COUNTERS, move || {
        of.view.load().kernel.counters.iter().map(|row| Sample::new(&[row.0], row.1 as f64)).collect()
    });
}

fn certificates(metrics: &Metrics, shared: &Arc<Shared>) {
    let of = shared.clone();
    metrics.read(&catalogue::CERTIFICATES, move || {
        let now = time::OffsetDateTime::now_utc();
        let mut counts = [0.0; 3];
        for status in of.certificates.status() {
            let state = match status.not_after {
                Some(end) if end > now => 0,
                None => 1,
                Some(_) => 2,
            };
            counts[state] += 1.0;
        }
        let states = ["valid", "pending", "expired"];
        states.iter().zip(counts).map(|(state, count)| Sample::new(&[state], count)).collect()
    });
    let of = shared.clone();
    metrics.read_one(&catalogue::CERTIFICATE_EXPIRY, move || {
        let ends = of.certificates.status().into_iter().filter_map(|status| status.not_after);
        ends.min().map_or(0.0, |end| seconds(end.into()))
    });
    let counters = shared.certificates.counters();
    metrics.read(&catalogue::CERTIFICATE_ISSUES, move || {
        vec![
            Sample::new(&["ok"], counters.issued.load(Relaxed) as f64),
            Sample::new(&["failed"], counters.failed.load(Relaxed) as f64),
        ]
    });
}

fn proxy(metrics: &Metrics, context: &Arc<Context>) {
    let of = context.clone();
    metrics.read(&catalogue::LIMIT_REFUSALS, move || {
        vec![
            Sample::new(&["connections_per_workload"], of.counters.limited.load(Relaxed) as f64),
            Sample::new(&["requests_per_workload"], of.counters.limited_requests.load(Relaxed) as f64),
            Sample::new(&["kept_bodies_per_workload"], of.counters.bodies_unkept.load(Relaxed) as f64),
        ]
    });
    let of = context.clone();
    metrics.read(&catalogue::TUNNEL_SESSIONS, move || {
        vec![Sample::new(&["client"], of.counters.sessions.load(Relaxed) as f64)]
    });
    let of = context.clone();
    metrics.read(&catalogue::TUNNEL_SESSIONS_ENDED, move || {
        let refused = SessionError::WORDS.iter().zip(&of.counters.sessions_refused);
        let mut samples: Vec<Sample> =
            refused.map(|(word, count)| Sample::new(&["server", word], count.load(Relaxed) as f64)).collect();
        let failed = of.counters.sessions_failed.load(Relaxed) as f64;
        samples.push(Sample::new(&["client", "failed"], failed));
        samples
    });
    let of = context.clone();
    metrics.read_one(&catalogue::TURNS_HELD, move || of.counters.turns_held.load(Relaxed) as f64);
    let of = context.clone();
    metrics.read_one(&catalogue::NOT_REDIRECTED, move || of.counters.not_redirected.load(Relaxed) as f64);
    let of = context.clone();
    metrics.read_one(&catalogue::CONNECTIONS_ENDED, move || of.counters.ended.load(Relaxed) as f64);
}

fn traffic(metrics: &Metrics, context: &Arc<Context>) {
    let of = context.clone();
    metrics.read(&catalogue::EJECTIONS, move || {
        vec![
            Sample::new(&["ejected"], of.counters.ejections.load(Relaxed) as f64),
            Sample::new(&["held_back"], of.counters.ejections_held_back.load(Relaxed) as f64),
        ]
    });
    let of = context.clone();
    metrics.read_one(&catalogue::RETRIES_DENIED, move || of.counters.retries_denied.load(Relaxed) as f64);
    let of = context.clone();
    metrics.read_one(&catalogue::MIRRORS_LOST, move || of.counters.mirrors_lost.load(Relaxed) as f64);
    let of = context.clone();
    metrics.read(&catalogue::TRAFFIC_REFUSALS, move || {
        let bounds = Bound::ALL.into_iter().zip(of.traffic.turned_away());
        let word = |bound| match bound {
            Bound::Connections => "connections",
            Bound::Pending => "pending",
            Bound::Requests => "requests",
        };
        let bounds = bounds.map(|(bound, count)| (word(bound), count));
        let rates = ["workload_rate", "source_rate"].into_iter().zip(of.limits.turned_away());
        bounds.chain(rates).map(|(word, count)| Sample::new(&[word], count as f64)).collect()
    });
}

fn tokens(metrics: &Metrics, shared: &Arc<Shared>, context: &Arc<Context>) {
    let of = context.clone();
    metrics.read(&catalogue::TOKENS, move || {
        let counts = of.authenticator.counts();
        let results = std::iter::once(("verified", counts.verified)).chain(counts.refused);
        results.map(|(word, count)| Sample::new(&[word], count as f64)).collect()
    });
    let of = context.clone();
    metrics.read(&catalogue::TOKEN_CACHE, move || {
        let counts = of.authenticator.counts();
        vec![
            Sample::new(&["hit"], counts.cache_hits as f64),
            Sample::new(&["miss"], counts.cache_misses as f64),
        ]
    });
    let of = context.clone();
    metrics.read_one(&catalogue::TOKENS_NOT_WAITED, move || of.authenticator.counts().not_waited as f64);
    let keys = shared.keys.clone();
    metrics.read(&catalogue::KEY_FETCHES, move || {
        let counts = keys.counts();
        vec![
            Sample::new(&["ok"], counts.fetched as f64),
            Sample::new(&["failed"], counts.failed as f64),
            Sample::new(&["too_soon"], counts.floored as f64),
        ]
    });
    let keys = shared.keys.clone();
    metrics.read_one(&catalogue::KEY_CHANGES, move || keys.counts().changed as f64);
}
