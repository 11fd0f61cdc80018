//! Every metric that the agent can serve: name, kind, labels, help.
//!
//! Entry points: the constants, and [`ALL`]. A metric cannot be registered without a definition from
//! here, and a test fails when `docs/metrics.md` does not name one. Knows no values.

/// What one metric is.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
}

/// How a metric's values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from 0 at the agent's start; the name ends in `_total`.
    Counter,
    /// Up and down.
    Gauge,
    /// How often a value was at most each bound; only up.
    Histogram,
}

impl Definition {
    /// The name as it is served.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How its values go.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The names of its labels.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// What it counts, in words.
    pub fn help(&self) -> &'static str {
        self.help
    }
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Definition =
                Definition { name: $name, kind: Kind::$kind, labels: $labels, help: $help };
        )*

        /// Every definition.
        pub const ALL: &[&Definition] = &[$(&$id),*];
    };
}

/// Labels of Istio's standard TCP metrics.
pub const ISTIO_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_canonical_service",
    "source_canonical_revision",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

/// Labels of Istio's standard metrics of requests: those of TCP, and what the answer said.
pub const ISTIO_REQUEST_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_canonical_service",
    "source_canonical_revision",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
    "response_code",
    "grpc_response_status",
];

catalogue! {
    REQUESTS = Counter "istio_requests_total" ISTIO_REQUEST_LABELS, "Requests";
    REQUEST_DURATION = Histogram "istio_request_duration_milliseconds" ISTIO_REQUEST_LABELS, "How long requests took, to the end of the answer";
    REQUEST_BYTES = Histogram "istio_request_bytes" ISTIO_REQUEST_LABELS, "Sizes of the bodies of requests";
    RESPONSE_BYTES = Histogram "istio_response_bytes" ISTIO_REQUEST_LABELS, "Sizes of the bodies of answers";
    TCP_OPENED = Counter "istio_tcp_connections_opened_total" ISTIO_LABELS, "Connections opened";
    TCP_CLOSED = Counter "istio_tcp_connections_closed_total" ISTIO_LABELS, "Connections closed, failed ones included";
    TCP_FAILED = Counter "istio_tcp_connections_failed_total" ISTIO_LABELS, "Connections that were denied or failed";
    TCP_SENT = Counter "istio_tcp_sent_bytes_total" ISTIO_LABELS, "Bytes of responses, destination to source";
    TCP_RECEIVED = Counter "istio_tcp_received_bytes_total" ISTIO_LABELS, "Bytes of requests, source to destination";

    FLOWS = Counter "weir_flows_total" &["direction", "path", "verdict", "reason"], "Flow records made";
    FLOWS_LOST = Counter "weir_flows_lost_total" &["where"],
        "Flow records lost: before they were recorded (queue), or before a follower read them (follower)";
    FLOWS_EVICTED = Counter "weir_flows_evicted_total" &[], "Flow records that left the ring to make room for newer ones";
    FLOWS_SAMPLED_OUT = Counter "weir_flows_sampled_out_total" &[], "Records of forwarded requests that were counted and not kept, as --flows-sample asks";
    FLOWS_STORED = Gauge "weir_flows_stored" &[], "Flow records in the ring";
    FLOWS_STORED_BYTES = Gauge "weir_flows_stored_bytes" &[], "Memory of the flow records in the ring, estimated";
    CONNECTIONS = Gauge "weir_connections" &["direction", "path"], "Connections that live now, of those that the agent carries";
    LIMIT_REFUSALS = Counter "weir_limit_refusals_total" &["limit"], "What a bound turned away, by the bound: connections_per_workload (sessions too), requests_per_workload, kept_bodies_per_workload (bodies that are then not tried again)";

    POLICY_VERDICTS = Counter "weir_policy_verdicts_total" &["policy", "action", "verdict"],
        "Connections judged on this node, by the rule that decided";
    POLICY_AUDIT_DENIALS = Counter "weir_policy_audit_denials_total"
        &["policy", "source_workload_namespace", "source_workload", "destination_workload_namespace", "destination_workload"],
        "Connections that an audit policy would have denied";
    POLICY_AUDIT_UNCOUNTED = Counter "weir_policy_audit_uncounted_total" &[],
        "Would-be denials for which the table behind weir policy audit had no room";

    RETRIES = Counter "weir_request_retries_total" &["service"], "Tries of requests after the first one, by the Service that they were for";
    RETRIES_DENIED = Counter "weir_request_retries_denied_total" &[], "Retries that a retry budget refused";
    EJECTIONS = Counter "weir_endpoint_ejections_total" &["result"],
        "Endpoints that failed too often: ejected, held_back because too many were out already";
    TRAFFIC_REFUSALS = Counter "weir_traffic_refusals_total" &["limit"],
        "What a TrafficPolicy's bounds turned away: connections, pending, requests, workload_rate, source_rate";
    TURNS_HELD = Counter "weir_turns_held_total" &[],
        "How often something for a pod was ready and waited, because the pod had had its turn and others had not";
    POD_PROCESSOR = Counter "weir_pod_processor_seconds_total" &["namespace", "pod"],
        "Time of the processor that the agent took for a captured pod: its connections, requests and sessions";
    MIRRORS_LOST = Counter "weir_mirrors_lost_total" &[], "Copies of requests that were left out or given up";
    TOKENS = Counter "weir_tokens_total" &["result"], "Requests with a token: verified, or the word by which it was refused";
    TOKEN_CACHE = Counter "weir_token_cache_lookups_total" &["result"],
        "Tokens sought among those that were verified before: hit, miss";
    TOKENS_NOT_WAITED = Counter "weir_token_waits_refused_total" &[],
        "Requests that were not let wait for fresh keys, because too many others waited";
    KEY_FETCHES = Counter "weir_key_fetches_total" &["result"],
        "Fetches of issuers' key sets: ok, failed, too_soon where a key was unknown shortly after a fetch";
    KEY_CHANGES = Counter "weir_key_changes_total" &[], "Fetched key sets that differed from the set before";

    SOURCE_AGE = Gauge "weir_source_age_seconds" &[], "Seconds since the API server said anything that was no error";
    SOURCE_OBJECTS = Gauge "weir_source_objects" &["kind"], "Objects that the API server told and that could be used";
    SOURCE_LISTS = Counter "weir_source_lists_total" &["kind"], "How often the API server was asked for all objects of a kind";
    SOURCE_ERRORS = Counter "weir_source_errors_total" &["kind"], "Watches of the API server that failed and were made anew";
    OBJECTS = Gauge "weir_objects" &["kind"], "Objects in force";
    OBJECT_PROBLEMS = Gauge "weir_object_problems" &["kind"], "Objects, or files, that could not be used";
    BAD_ANNOTATIONS = Counter "weir_bad_annotations_total" &["kind", "annotation"],
        "Values of Weir's annotations that make no sense: an agent counts those of its node's pods, the controller those of Namespaces";
    STATE_GENERATION = Gauge "weir_state_generation" &[], "Generation of the snapshot in force";
    POLICY_GENERATION = Gauge "weir_policy_generation" &[], "Generation of the policy in force";
    WORKLOADS = Gauge "weir_workloads" &["state"], "Workloads on this node: enrolled, captured";

    CAPTURES = Histogram "weir_capture_duration_milliseconds" &[],
        "How long it took to capture a pod, from when the agent heard that it is to be, or from when it could be";
    POD_REPAIRS = Counter "weir_pod_repairs_total" &["gap"],
        "Captured pods of which something was missing that was mended: hooks, entry, steering, listeners";
    OBJECT_EVENTS = Counter "weir_object_events_total" &["result"],
        "Kubernetes Events on pods and Namespaces: written, failed, held_back (said before), lost (too many at once)";
    CNI_ANSWERS = Counter "weir_cni_answers_total" &["result"],
        "What the CNI plugin was answered: captured, not_enrolled, released, refused (enrolled, and not captured in time), unknown";
    CNI_INSTALLED = Gauge "weir_cni_installed" &[], "1 when the CNI plugin is in the chain, else 0; absent without --cni-conf-dir";
    CNI_CHANGES = Counter "weir_cni_chain_changes_total" &["result"],
        "Changes of the runtime's CNI configuration: done, or failed because a file made no sense or could not be written";

    MAP_ENTRIES = Gauge "weir_map_entries" &["map"], "Entries in a kernel map";
    MAP_CAPACITY = Gauge "weir_map_capacity" &["map"], "Entries that a kernel map can hold";
    MAP_FULL = Counter "weir_map_full_total" &["map"], "Entries for which a kernel map had no room";
    DRIFT_REPAIRS = Counter "weir_drift_repairs_total" &["map"], "Entries of a kernel map that were not what the state says, and were mended";
    EVENTS_LOST = Counter "weir_events_lost_total" &[], "Kernel events for which the ring buffer had no room";
    KERNEL_COUNTERS = Counter "weir_kernel_connections_total" &["what"], "What the kernel programs counted: redirected, direct, denied and what went wrong";
    NOT_REDIRECTED = Counter "weir_not_redirected_total" &[], "Connections to the agent's listeners that had not been redirected there";
    CONNECTIONS_ENDED = Counter "weir_connections_ended_total" &[], "Live connections of the proxy that were judged again and ended";

    CERTIFICATES = Gauge "weir_certificates" &["state"], "Certificates of workloads on this node: valid, pending, expired";
    CERTIFICATE_EXPIRY = Gauge "weir_certificate_expiry_seconds" &[], "When the first certificate in use expires, in seconds since the epoch";
    CERTIFICATE_ISSUES = Counter "weir_certificate_issues_total" &["result"], "Certificates asked of the authority: ok, failed";

    TUNNEL_SESSIONS = Gauge "weir_tunnel_sessions" &["role"], "Tunnel sessions that live now: client, server";
    TUNNEL_SESSIONS_ENDED = Counter "weir_tunnel_sessions_ended_total" &["role", "reason"], "Tunnel sessions that ended";

    BUILD_INFO = Gauge "weir_agent_build_info" &["version"], "1, with the agent's version";
    READY = Gauge "weir_agent_ready" &[], "1 when the agent is ready, else 0";
    START_TIME = Gauge "weir_agent_start_time_seconds" &[], "When the agent started, in seconds since the epoch";
    CA_REQUESTS = Counter "weir_ca_requests_total" &["result"], "Certificates that the controller was asked for: issued, denied, invalid, unavailable";
    CA_MICROSECONDS = Counter "weir_ca_request_microseconds_total" &[], "Time that the controller took to answer them";
    CA_REFUSED = Counter "weir_ca_connections_refused_total" &[], "Connections to the controller's authority that its bound turned away";
    CA_ERRORS = Counter "weir_ca_errors_total" &[], "Times that the authority's Secret or ConfigMap could not be read or written";
    CA_EXPIRY = Gauge "weir_ca_expiry_timestamp_seconds" &[], "When the certificate with which the controller signs expires";
    CA_ROOTS = Gauge "weir_ca_roots" &[], "Roots that are trusted; more than one while they are rotated";
    CONTROLLER_LEADS = Gauge "weir_controller_leads" &[], "1 for the controller that holds the lease and writes";
    CONTROLLER_PODS = Gauge "weir_controller_pods" &[], "Pods on nodes that the controller knows";
    SLICES = Gauge "weir_controller_slices" &[], "WorkloadSlices that the controller keeps";
    SLICED_PODS = Gauge "weir_controller_sliced_pods" &[], "Pods that are in them";
    SLICE_WRITES = Counter "weir_controller_slice_writes_total" &["result"], "WorkloadSlices that the controller wrote: written, failed";
    STATUS_WRITES = Counter "weir_controller_status_writes_total" &["kind", "result"], "Statuses of objects that the controller wrote: written, failed";
    HTTP_REFUSED = Counter "weir_http_connections_refused_total" &["server"], "Connections to the agent's own servers that a bound or a peer check refused: admin, metrics";
    SERIES_REFUSED = Counter "weir_metrics_series_refused_total" &["metric"], "Updates of series for which a metric had no room";
    RESIDENT_MEMORY = Gauge "process_resident_memory_bytes" &[], "Resident memory of the agent";
    CPU_SECONDS = Counter "process_cpu_seconds_total" &[], "CPU time of the agent, user and system";
    OPEN_FDS = Gauge "process_open_fds" &[], "Open file descriptors of the agent";
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::flows::words::Reason;

    fn document(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names in the first column of a document's tables.
    fn rows(document: &str) -> Vec<String> {
        let first = |line: &str| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned());
        document.lines().filter_map(first).collect()
    }

    #[test]
    fn every_metric_is_documented_with_its_labels_and_no_other_is() {
        let text = document("metrics.md");
        let documented: BTreeSet<String> = rows(&text).into_iter().collect();
        let defined: BTreeSet<String> = ALL.iter().map(|metric| metric.name().to_owned()).collect();
        assert_eq!(documented, defined);
        assert!(ISTIO_REQUEST_LABELS.starts_with(ISTIO_LABELS));
        for metric in ALL {
            let row = text.lines().find(|line| line.starts_with(&format!("| `{}`", metric.name())));
            let own = metric.labels().strip_prefix(ISTIO_LABELS).unwrap_or(metric.labels());
            for label in own {
                assert!(
                    row.is_some_and(|row| row.contains(&format!("`{label}`"))),
                    "{} {label}",
                    metric.name()
                );
            }
        }
        for label in ISTIO_LABELS {
            let end = label.strip_prefix("source_").or(label.strip_prefix("destination_"));
            let short = end.map(|end| format!("_{end}`"));
            let named = |name: &str| text.contains(name);
            assert!(named(&format!("`{label}`")) || short.is_some_and(|short| named(&short)), "{label}");
        }
    }

    #[test]
    fn every_reason_is_documented_and_no_other_is() {
        let documented = rows(&document("reasons.md"));
        let defined: Vec<String> = Reason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
        assert_eq!(documented, defined);
    }

    #[test]
    fn names_are_unique_and_only_counters_end_in_total() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert_eq!(
                metric.name().ends_with("_total"),
                metric.kind() == Kind::Counter,
                "{}",
                metric.name()
            );
        }
    }
}
