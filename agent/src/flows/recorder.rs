//! Taking flow records in: from any thread, without waiting, into one collector task.
//!
//! Entry point: [`start`], which gives a [`Recorder`] for the writers, a [`Collector`] for the caller to
//! run, and [`Flows`] for the readers. Between writers and collector is a bounded queue; what it has no
//! room for is counted. Knows nothing of connections.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    audit::{AuditTable, MOST_ROWS},
    read::{Flows, Kept},
    record::{FlowRecord, Verdict},
    ring::{Ring, RingLimit},
};
use crate::metrics::{
    Metrics, catalogue,
    flows::{ClusterNames, FlowMetrics},
};

/// Records between writers and the collector.
const QUEUE: usize = 8192;
/// Records that the collector takes at once.
const BATCH: usize = 512;
/// How long the collector lets records gather, so that a busy node wakes it 200 times a second and not
/// once for each connection.
const GATHER: Duration = Duration::from_millis(5);

/// How records are kept.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// What the ring keeps.
    pub ring: RingLimit,
    /// Records that may wait for the collector.
    pub queue: usize,
    /// Of how many records of requests that were forwarded, and of which nothing else is to be said, one is kept. All are
    /// counted.
    pub sample: NonZeroU32,
    /// Names for Istio's metrics.
    pub names: ClusterNames,
}

impl RecorderOptions {
    /// A ring of `records` records, in 288 bytes each; fewer where most of them have nothing in common.
    pub fn for_records(records: usize) -> Self {
        let ring = RingLimit::for_records(records);
        Self { ring, queue: QUEUE, sample: NonZeroU32::MIN, names: ClusterNames::default() }
    }
}

/// A writer's handle; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Entry>,
    lost: crate::metrics::Counter,
}

/// The task that files records. Run [`Collector::run`] to its end: it ends when every [`Recorder`] is gone.
#[derive(Debug)]
pub struct Collector {
    queue: mpsc::Receiver<Entry>,
    kept: Arc<Kept>,
    end: watch::Sender<u64>,
    metrics: FlowMetrics,
    sample: Sample,
}

/// Which records are kept. By chance: the two ends of a request on one node come by turns, and each Nth would be always
/// the same end. Not by the trace id, which the client may choose.
#[derive(Debug)]
struct Sample {
    one_in: NonZeroU32,
    seen: u64,
    chance: RandomState,
}

#[derive(Debug)]
enum Entry {
    Opened(Box<FlowRecord>),
    Closed(Box<FlowRecord>),
    Whole(Box<FlowRecord>),
    Flush(oneshot::Sender<()>),
}

/// A recorder, its collector and its readers' handle.
pub fn start(options: RecorderOptions, metrics: &Metrics) -> (Recorder, Collector, Flows) {
    let (sender, receiver) = mpsc::channel(options.queue.max(1));
    let (end, end_receiver) = watch::channel(0);
    let flow_metrics = FlowMetrics::new(metrics, options.names);
    let kept = Arc::new(Kept {
        ring: Mutex::new(Ring::new(options.ring)),
        audit: Mutex::new(AuditTable::new(MOST_ROWS)),
        end: end_receiver,
        lost_by_followers: flow_metrics.lost_by_followers.clone(),
    });
    register(metrics, &kept);
    let recorder = Recorder { queue: sender, lost: flow_metrics.lost_in_queue.clone() };
    let sample = Sample { one_in: options.sample, seen: 0, chance: RandomState::new() };
    let collector = Collector { queue: receiver, kept: kept.clone(), end, metrics: flow_metrics, sample };
    (recorder, collector, Flows(kept))
}

fn register(metrics: &Metrics, kept: &Arc<Kept>) {
    let ring = kept.clone();
    metrics.read_one(&catalogue::FLOWS_STORED, move || ring.ring().len() as f64);
    let ring = kept.clone();
    metrics.read_one(&catalogue::FLOWS_STORED_BYTES, move || ring.ring().bytes() as f64);
    let ring = kept.clone();
    metrics.read_one(&catalogue::FLOWS_EVICTED, move || ring.ring().first() as f64);
}

impl Recorder {
    /// Records a connection that was not announced with [`Recorder::opened`]: refused, or already over.
    /// Never waits.
    pub fn record(&self, flow: FlowRecord) {
        self.send(Entry::Whole(Box::new(flow)));
    }

    /// Announces a connection that has been judged and now lives, for the metrics only: `flow` has its ends,
    /// path, TLS and policy, no bytes. [`Recorder::closed`] must follow. Never waits.
    pub fn opened(&self, flow: &FlowRecord) {
        self.send(Entry::Opened(Box::new(flow.clone())));
    }

    /// Records the end of a connection that was announced. Never waits.
    pub fn closed(&self, flow: FlowRecord) {
        self.send(Entry::Closed(Box::new(flow)));
    }

    /// Waits until all that this thread has recorded so far can be read.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Entry::Flush(done)).await.is_ok() {
            // An error means that the collector is gone, and with it what it could have filed.
            let _ = wait.await;
        }
    }

    fn send(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.lost.inc();
        }
    }
}

impl Collector {
    /// Files records until every [`Recorder`] is gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            let flushes = self.file(&mut batch);
            let urgent = !flushes.is_empty();
            for done in flushes {
                // Whoever no longer waits for it does not matter.
                let _ = done.send(());
            }
            if self.queue.is_empty() && !urgent {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Files a batch; what asked for a flush is answered by the caller, when no lock is held.
    fn file(&mut self, batch: &mut Vec<Entry>) -> Vec<oneshot::Sender<()>> {
        let mut flushes = Vec::new();
        let mut filed = Vec::with_capacity(batch.len());
        for entry in batch.drain(..) {
            match entry {
                Entry::Opened(flow) => {
                    self.metrics.opened(&flow);
                    self.audit(&flow);
                }
                Entry::Closed(flow) => {
                    self.metrics.closed(&flow);
                    filed.push(flow);
                }
                Entry::Whole(flow) => {
                    self.metrics.whole(&flow);
                    self.audit(&flow);
                    if self.sample.keeps(&flow) {
                        filed.push(flow);
                    } else {
                        self.metrics.sampled_out.inc();
                    }
                }
                Entry::Flush(done) => flushes.push(done),
            }
        }
        let mut ring = self.kept.ring();
        filed.into_iter().for_each(|flow| ring.push(*flow));
        let end = ring.end();
        drop(ring);
        self.end.send_if_modified(|known| std::mem::replace(known, end) != end);
        flushes
    }

    fn audit(&self, flow: &FlowRecord) {
        if flow.audit.is_none() {
            return;
        }
        let counted = self.kept.audit.lock().unwrap_or_else(PoisonError::into_inner).count(flow);
        if !counted {
            self.metrics.audit_uncounted.inc();
        }
    }
}

impl Sample {
    fn keeps(&mut self, flow: &FlowRecord) -> bool {
        let usual = flow.request.is_some() && flow.verdict == Verdict::Forwarded && flow.reason.is_none();
        if !usual || self.one_in == NonZeroU32::MIN {
            return true;
        }
        self.seen = self.seen.wrapping_add(1);
        self.chance.hash_one(self.seen).is_multiple_of(self.one_in.get().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{
        read::{FlowCursor, FlowQuery},
        record::{Reason, samples},
    };

    fn numbered(number: u64) -> FlowRecord {
        let mut flow = samples::plain();
        flow.bytes_sent = number;
        flow
    }

    fn options(records: usize, queue: usize) -> RecorderOptions {
        RecorderOptions { queue, ..RecorderOptions::for_records(records) }
    }

    async fn page(cursor: &mut FlowCursor) -> (u64, Vec<u64>) {
        let page = cursor.next_page().await.expect("a page");
        (page.lost, page.records.iter().map(|flow| flow.bytes_sent).collect())
    }

    fn follow() -> FlowQuery {
        FlowQuery { follow: true, ..FlowQuery::default() }
    }

    #[tokio::test]
    async fn what_is_recorded_can_be_read_once_and_reading_ends() {
        let (recorder, collector, flows) = start(options(16, 16), &Metrics::new("0"));
        let task = tokio::spawn(collector.run());
        (0..3).for_each(|number| recorder.record(numbered(number)));
        recorder.flush().await;
        let mut cursor = flows.read(FlowQuery::default());
        assert_eq!(page(&mut cursor).await, (0, vec![0, 1, 2]));
        assert!(cursor.next_page().await.is_none());
        drop(recorder);
        task.await.expect("the collector ends when nobody can record any more");
    }

    #[tokio::test]
    async fn a_follower_sees_what_comes_next_and_ends_with_the_recorder() {
        let (recorder, collector, flows) = start(options(16, 16), &Metrics::new("0"));
        let task = tokio::spawn(collector.run());
        recorder.record(numbered(1));
        recorder.flush().await;
        let mut fresh = flows.read(follow());
        let mut with_last = flows.read(FlowQuery { last: Some(1), ..follow() });
        recorder.record(numbered(2));
        assert_eq!(page(&mut fresh).await, (0, vec![2]));
        assert_eq!(page(&mut with_last).await, (0, vec![1, 2]));
        drop(recorder);
        assert!(fresh.next_page().await.is_none());
        task.await.expect("the collector ends");
    }

    #[tokio::test]
    async fn a_slow_follower_loses_the_oldest_is_told_how_many_and_it_is_counted() {
        let metrics = Metrics::new("0");
        let (recorder, collector, flows) = start(options(4, 64), &metrics);
        let task = tokio::spawn(collector.run());
        let mut cursor = flows.read(follow());
        (0..10).for_each(|number| recorder.record(numbered(number)));
        recorder.flush().await;
        assert_eq!(page(&mut cursor).await, (6, vec![6, 7, 8, 9]));
        recorder.record(numbered(10));
        assert_eq!(page(&mut cursor).await, (0, vec![10]));
        let text = metrics.text();
        assert!(text.contains("weir_flows_lost_total{where=\"follower\"} 6\n"), "{text}");
        assert!(text.contains("\nweir_flows_evicted_total 7"), "{text}");
        assert!(text.contains("\nweir_flows_stored 4"), "{text}");
        task.abort();
    }

    #[tokio::test]
    async fn a_follower_with_a_filter_waits_for_a_match() {
        let (recorder, collector, flows) = start(options(512, 1024), &Metrics::new("0"));
        let task = tokio::spawn(collector.run());
        let mut query = follow();
        query.filter.verdict = Some(Verdict::Denied);
        let mut cursor = flows.read(query);
        (0..300).for_each(|number| recorder.record(numbered(number)));
        let mut denied = samples::full();
        denied.bytes_sent = 1_000;
        recorder.record(denied);
        assert_eq!(page(&mut cursor).await, (0, vec![1_000]));
        task.abort();
    }

    #[tokio::test]
    async fn a_full_queue_never_blocks_and_counts_what_it_lost() {
        let metrics = Metrics::new("0");
        let (recorder, collector, flows) = start(options(64, 8), &metrics);
        (0..20).for_each(|number| recorder.record(numbered(number)));
        assert!(metrics.text().contains("weir_flows_lost_total{where=\"queue\"} 12\n"));
        drop(recorder);
        collector.run().await;
        let mut cursor = flows.read(FlowQuery::default());
        assert_eq!(page(&mut cursor).await.1.len(), 8);
    }

    #[tokio::test]
    async fn an_announced_connection_is_opened_once_and_recorded_when_it_closes() {
        let metrics = Metrics::new("0");
        let (recorder, collector, flows) = start(options(16, 16), &metrics);
        let task = tokio::spawn(collector.run());
        let mut flow = samples::plain();
        flow.audit = samples::full().audit;
        flow.judged_here = true;
        recorder.opened(&flow);
        recorder.flush().await;
        assert!(flows.read(FlowQuery::default()).next_page().await.is_none());
        assert!(metrics.text().contains("istio_tcp_connections_opened_total{"));
        assert!(!metrics.text().contains("istio_tcp_connections_closed_total{"));
        recorder.closed(flow);
        recorder.flush().await;
        assert_eq!(page(&mut flows.read(FlowQuery::default())).await.1.len(), 1);
        assert!(metrics.text().contains("istio_tcp_connections_closed_total{"));
        assert_eq!(flows.audit().iter().map(|row| row.count).collect::<Vec<_>>(), [1]);
        task.abort();
    }

    #[tokio::test]
    async fn a_sample_keeps_one_in_so_many_of_the_usual_and_all_that_is_not_and_counts_everything() {
        const ALL: u64 = 4_000;
        let metrics = Metrics::new("0");
        let sample = NonZeroU32::new(4).expect("not 0");
        let options = RecorderOptions { sample, ..options(8_192, 8_192) };
        let (recorder, collector, flows) = start(options, &metrics);
        let request = |verdict, reason, number| {
            let mut flow = FlowRecord { verdict, reason, ..samples::full() };
            (flow.bytes_sent, flow.bytes_received) = (number, 0);
            flow
        };
        for number in 0..ALL {
            recorder.record(request(Verdict::Forwarded, None, number));
        }
        let unusual = [
            (Verdict::Denied, Some(Reason::PolicyDenied)),
            (Verdict::Failed, Some(Reason::NoEndpoints)),
            (Verdict::Audited, None),
            (Verdict::Forwarded, Some(Reason::Reset)),
        ];
        for (verdict, reason) in unusual.into_iter().cycle().take(40) {
            recorder.record(request(verdict, reason, ALL));
        }
        (0..10).for_each(|_| recorder.record(numbered(ALL + 1)));
        drop(recorder);
        collector.run().await;
        let mut cursor = flows.read(FlowQuery::default());
        let mut kept = Vec::new();
        while let Some(page) = cursor.next_page().await {
            kept.extend(page.records.into_iter().map(|flow| flow.bytes_sent));
        }
        let of = |wanted: std::ops::Range<u64>| kept.iter().filter(|number| wanted.contains(*number)).count();
        assert_eq!((of(ALL..ALL + 1), of(ALL + 1..ALL + 2)), (40, 10), "the unusual, and connections");
        // 1 000 are expected; 200 more or less are more than seven standard deviations.
        let usual = of(0..ALL);
        assert!((800..1_200).contains(&usual), "{usual}");
        let text = metrics.text();
        let out = ALL - usual as u64;
        assert!(text.contains(&format!("\nweir_flows_sampled_out_total {out}\n")), "{text}");
        let forwarded = r#"verdict="forwarded",reason=""} 4010"#;
        assert!(
            text.lines().any(|line| line.starts_with("weir_flows_total{") && line.ends_with(forwarded)),
            "{text}"
        );
    }
}
