//! What flow records say, as metrics.
//!
//! Entry point: [`FlowMetrics`], which the flows' collector task tells of every record. Verdicts of policy
//! are counted when they are made: when a connection opens, or when a live one is denied.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

pub use super::istio::ClusterNames;
use super::{
    Counter, Gauge, Metrics, catalogue,
    istio::TcpMetrics,
    requests::{MOST_REQUEST_SERIES, RequestMetrics},
    series::{MOST_SERIES, Series},
};
use crate::flows::record::{FlowRecord, PolicyRef, Reason, Verdict};

/// The metrics that flows feed.
#[derive(Clone, Debug)]
pub struct FlowMetrics {
    tcp: Arc<Mutex<TcpMetrics>>,
    requests: Arc<Mutex<RequestMetrics>>,
    flows: Arc<Series<Counter>>,
    live: Arc<Series<Gauge>>,
    verdicts: Arc<Series<Counter>>,
    audit_denials: Arc<Series<Counter>>,
    retries: Arc<Series<Counter>>,
    /// Would-be denials that the audit table had no room for.
    pub audit_uncounted: Counter,
    /// Records lost because the collector did not keep up.
    pub lost_in_queue: Counter,
    /// Records that left the ring before a follower read them.
    pub lost_by_followers: Counter,
    /// Records of forwarded requests that were not kept because nobody asked for all of them.
    pub sampled_out: Counter,
}

impl FlowMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics, names: ClusterNames) -> Self {
        let requests = Arc::new(Mutex::new(RequestMetrics::new(names.clone(), MOST_REQUEST_SERIES)));
        let (counted, refused) = (requests.clone(), requests.clone());
        metrics.read(&catalogue::REQUESTS, move || lock(&counted).samples());
        for definition in
            [&catalogue::REQUEST_DURATION, &catalogue::REQUEST_BYTES, &catalogue::RESPONSE_BYTES]
        {
            let requests = requests.clone();
            metrics.read_histograms(definition, move || lock(&requests).histograms(definition));
        }
        metrics.also_refused("istio_requests", move || lock(&refused).refused());
        let tcp = Arc::new(Mutex::new(TcpMetrics::new(names, MOST_SERIES)));
        for definition in [
            &catalogue::TCP_OPENED,
            &catalogue::TCP_CLOSED,
            &catalogue::TCP_FAILED,
            &catalogue::TCP_SENT,
            &catalogue::TCP_RECEIVED,
        ] {
            let tcp = tcp.clone();
            metrics.read(definition, move || lock(&tcp).samples(definition));
        }
        let refused = tcp.clone();
        metrics.also_refused("istio_tcp", move || lock(&refused).refused());
        let lost = metrics.counters(&catalogue::FLOWS_LOST);
        Self {
            tcp,
            requests,
            flows: metrics.counters(&catalogue::FLOWS),
            live: metrics.gauges(&catalogue::CONNECTIONS),
            verdicts: metrics.counters(&catalogue::POLICY_VERDICTS),
            audit_denials: metrics.counters(&catalogue::POLICY_AUDIT_DENIALS),
            retries: metrics.counters(&catalogue::RETRIES),
            audit_uncounted: metrics.counter(&catalogue::POLICY_AUDIT_UNCOUNTED),
            lost_in_queue: lost.with(&["queue"]),
            lost_by_followers: lost.with(&["follower"]),
            sampled_out: metrics.counter(&catalogue::FLOWS_SAMPLED_OUT),
        }
    }

    /// A connection began, and was judged.
    pub fn opened(&self, flow: &FlowRecord) {
        lock(&self.tcp).opened(flow, Instant::now());
        self.live(flow).inc();
        self.judged(flow);
    }

    /// A connection that was announced as opened has ended.
    pub fn closed(&self, flow: &FlowRecord) {
        self.live(flow).dec();
        self.ended(flow);
        if flow.verdict == Verdict::Denied {
            self.count_verdict(flow);
        }
    }

    /// A connection that was never announced has ended, or was refused; or a request was answered, or was none.
    pub fn whole(&self, flow: &FlowRecord) {
        if flow.request.is_none() && flow.reason == Some(Reason::HttpMalformed) {
            // Of a connection that has a record of its own.
            self.counted(flow);
            return;
        }
        if let Some(request) = &flow.request {
            lock(&self.requests).count(flow, Instant::now());
            if let Some(retries) = request.http.retries.filter(|retries| *retries > 0) {
                let service = flow.destination.service.as_deref().unwrap_or("unknown");
                self.retries.with(&[service]).inc_by(retries.into());
            }
            self.judged(flow);
            self.counted(flow);
            return;
        }
        lock(&self.tcp).opened(flow, Instant::now());
        self.judged(flow);
        self.ended(flow);
    }

    fn live(&self, flow: &FlowRecord) -> Gauge {
        self.live.with(&[flow.direction.word(), flow.path.word()])
    }

    fn ended(&self, flow: &FlowRecord) {
        lock(&self.tcp).closed(flow, Instant::now());
        self.counted(flow);
    }

    fn counted(&self, flow: &FlowRecord) {
        let reason = flow.reason.map_or("", |reason| reason.word());
        self.flows.with(&[flow.direction.word(), flow.path.word(), flow.verdict.word(), reason]).inc();
    }

    fn judged(&self, flow: &FlowRecord) {
        self.count_verdict(flow);
        let Some(audit) = flow.audit.as_ref().filter(|_| flow.judged_here) else { return };
        let text = |text: &Option<Arc<str>>| text.clone().unwrap_or_else(|| "unknown".into());
        let labels = [
            policy_label(audit).into(),
            text(&flow.source.namespace),
            text(&flow.source.workload),
            text(&flow.destination.namespace),
            text(&flow.destination.workload),
        ];
        self.audit_denials.with(&labels.each_ref().map(|label: &Arc<str>| &**label)).inc();
    }

    fn count_verdict(&self, flow: &FlowRecord) {
        if !flow.judged_here {
            return;
        }
        let (policy, action) = match &flow.policy {
            Some(policy) => (policy_label(policy), &*policy.action),
            None => ("none".into(), "none"),
        };
        self.verdicts.with(&[&policy, action, flow.verdict.word()]).inc();
    }
}

/// `tier/namespace/name`, or `tier` alone where a tier's default decided.
fn policy_label(policy: &PolicyRef) -> String {
    if policy.name.is_empty() {
        policy.tier.to_string()
    } else {
        format!("{}/{}/{}", policy.tier, policy.namespace, policy.name)
    }
}

fn lock<T>(series: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::samples;

    fn judged() -> FlowRecord {
        let mut flow = samples::full();
        flow.judged_here = true;
        flow
    }

    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.text();
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn a_flow_is_counted_by_verdict_and_reason_and_its_policy_by_name() {
        let metrics = Metrics::new("0");
        FlowMetrics::new(&metrics, ClusterNames::default()).whole(&judged());
        has(
            &metrics,
            r#"weir_flows_total{direction="outbound",path="tunnel",verdict="denied",reason="policy_denied"} 1"#,
        );
        has(
            &metrics,
            r#"weir_policy_verdicts_total{policy="application/shop/pay-callers",action="deny",verdict="denied"} 1"#,
        );
        has(
            &metrics,
            r#"weir_policy_audit_denials_total{policy="application/shop/pay-audit",source_workload_namespace="shop",source_workload="cart",destination_workload_namespace="shop",destination_workload="pay"} 1"#,
        );
    }

    #[test]
    fn the_end_that_did_not_judge_counts_no_verdict() {
        let metrics = Metrics::new("0");
        FlowMetrics::new(&metrics, ClusterNames::default()).whole(&samples::full());
        assert!(!metrics.text().contains("weir_policy_verdicts_total{"));
        assert!(!metrics.text().contains("weir_policy_audit_denials_total{"));
    }

    #[test]
    fn a_verdict_is_counted_when_it_is_made_and_again_only_when_a_live_connection_is_denied() {
        let metrics = Metrics::new("0");
        let flows = FlowMetrics::new(&metrics, ClusterNames::default());
        let mut flow = judged();
        (flow.verdict, flow.reason, flow.policy) = (Verdict::Forwarded, None, None);
        flows.opened(&flow);
        flows.closed(&flow);
        has(&metrics, r#"weir_policy_verdicts_total{policy="none",action="none",verdict="forwarded"} 1"#);
        flows.opened(&flow);
        (flow.verdict, flow.reason) = (Verdict::Denied, Some(Reason::NoLongerAllowed));
        flow.policy = Some(PolicyRef {
            tier: "security".into(),
            namespace: "".into(),
            name: "".into(),
            rule: None,
            action: "default-deny".into(),
        });
        flows.closed(&flow);
        has(
            &metrics,
            r#"weir_policy_verdicts_total{policy="security",action="default-deny",verdict="denied"} 1"#,
        );
    }

    #[test]
    fn a_histogram_adds_up_its_buckets_and_has_a_sum_and_a_count() {
        let metrics = Metrics::new("0");
        let flows = FlowMetrics::new(&metrics, ClusterNames::default());
        flows.whole(&judged());
        flows.whole(&judged());
        let text = metrics.text();
        assert!(text.contains("# TYPE istio_request_duration_milliseconds histogram\n"), "{text}");
        let of = |begin: &str, end: &str| {
            let begin = format!("istio_request_duration_milliseconds_{begin}");
            text.lines().filter(|line| line.starts_with(&begin) && line.ends_with(end)).count()
        };
        // 5.021 ms, twice.
        for (begin, end) in [
            ("bucket{le=\"5.0\",", "} 0"),
            ("bucket{le=\"10.0\",", "} 2"),
            ("bucket{le=\"+Inf\",", "} 2"),
            ("count{", "} 2"),
            ("sum{", "} 10.042"),
        ] {
            assert_eq!(of(begin, end), 1, "{begin} {end}\n{text}");
        }
    }

    #[test]
    fn retries_are_counted_by_service() {
        let metrics = Metrics::new("0");
        let flows = FlowMetrics::new(&metrics, ClusterNames::default());
        for retries in [None, Some(1), Some(2)] {
            let mut flow = judged();
            flow.request.as_mut().expect("a request").http.retries = retries;
            flows.whole(&flow);
        }
        has(&metrics, r#"weir_request_retries_total{service="shop/pay"} 3"#);
    }

    #[test]
    fn what_was_no_request_is_counted_as_a_flow_and_as_no_connection() {
        let metrics = Metrics::new("0");
        let flow = FlowRecord { request: None, reason: Some(Reason::HttpMalformed), ..judged() };
        FlowMetrics::new(&metrics, ClusterNames::default()).whole(&flow);
        has(
            &metrics,
            r#"weir_flows_total{direction="outbound",path="tunnel",verdict="denied",reason="http_malformed"} 1"#,
        );
        assert!(!metrics.text().contains("istio_tcp_connections_opened_total{"));
    }

    #[test]
    fn every_istio_metric_is_served_under_its_exact_name() {
        let metrics = Metrics::new("0");
        let flows = FlowMetrics::new(&metrics, ClusterNames::default());
        flows.whole(&judged());
        flows.whole(&FlowRecord { request: None, ..judged() });
        let text = metrics.text();
        for name in [
            "istio_requests_total",
            "istio_request_duration_milliseconds_count",
            "istio_request_bytes_sum",
            "istio_response_bytes_count",
            "istio_tcp_connections_opened_total",
            "istio_tcp_connections_closed_total",
            "istio_tcp_connections_failed_total",
            "istio_tcp_sent_bytes_total",
            "istio_tcp_received_bytes_total",
        ] {
            assert!(text.contains(&format!("\n{name}{{reporter=\"source\",")), "{name}\n{text}");
        }
    }
}
