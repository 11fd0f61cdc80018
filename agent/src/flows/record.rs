//! One flow record: what happened to one connection, as one end of it saw it.
//!
//! Entry point: [`FlowRecord`], whose JSON form is the product's contract. Its words ([`Reason`] and
//! its like) are closed lists. Knows nothing of where records are kept or who reads them.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

pub use super::{
    request::{GrpcInfo, HttpInfo, RequestInfo, TraceId, UserInfo},
    words::{Direction, Path, Reason, Verdict},
};

/// One end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Peer {
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Pod name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// Name of the workload that owns the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<str>>,
    /// `namespace/name` of the Service by which the destination was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// Service account name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Arc<str>>,
    /// SPIFFE id; for a source only where it was verified or vouched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<str>>,
    /// Address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// How metrics name the workload; not part of the JSON form.
    #[serde(skip)]
    pub canonical: Option<Arc<Canonical>>,
}

/// Istio's canonical service and revision of a workload, by which its dashboards group metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Canonical {
    /// The application's name.
    pub service: Arc<str>,
    /// Its version.
    pub revision: Arc<str>,
}

impl Canonical {
    /// From a pod's labels; `owner`, the name of the pod's workload, stands in for a missing name and
    /// `latest` for a missing version, as Istio has it.
    pub fn new(labels: &BTreeMap<String, String>, owner: &str) -> Self {
        let first = |keys: [&str; 3], otherwise: &str| -> Arc<str> {
            let found = keys.iter().find_map(|key| labels.get(*key).filter(|value| !value.is_empty()));
            found.map_or(otherwise, String::as_str).into()
        };
        Self {
            service: first(["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"], owner),
            revision: first(
                ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"],
                "latest",
            ),
        }
    }
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRef {
    /// `platform`, `security` or `application`.
    pub tier: Arc<str>,
    /// Namespace of the policy; empty when a tier's default denied.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name of the policy; empty when a tier's default denied.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// Index of the rule in `spec.rules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// `allow`, `deny`, or `default-deny`.
    pub action: Arc<str>,
}

/// The TLS session that carried a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TlsInfo {
    /// `1.3`.
    pub version: Arc<str>,
    /// Name of the key exchange group.
    pub group: Arc<str>,
    /// SPIFFE id of the peer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Arc<str>>,
}

/// What happened to one connection, or to one request on it. Absent fields are left out of the JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowRecord {
    /// When the connection ended (RFC 3339, microseconds, UTC).
    #[serde(serialize_with = "rfc3339_micros")]
    pub time: SystemTime,
    /// The agent's node.
    pub node: Arc<str>,
    /// Which end saw it.
    pub direction: Direction,
    /// Who connected.
    pub source: Peer,
    /// To whom.
    pub destination: Peer,
    /// `tcp`, `http/1.1`, `http/2` or `grpc`.
    pub protocol: &'static str,
    /// How the bytes travelled.
    pub path: Path,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, where the verdict needs a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The reason in words for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
    /// The rule that decided; absent when no policy selects the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRef>,
    /// The audit policy that would have denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<PolicyRef>,
    /// The TLS session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsInfo>,
    /// From the source to the destination.
    pub bytes_sent: u64,
    /// From the destination to the source.
    pub bytes_received: u64,
    /// How long setting it up took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// How long it lived, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Smoothed round-trip time, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// Segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// The request; in the JSON form its parts stand beside the others, as `http` and `grpc`.
    #[serde(flatten)]
    pub request: Option<Box<RequestInfo>>,
    /// W3C trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// Whether this end evaluated the policy, rather than repeat what the other end answered: what is
    /// judged once is counted once. Not part of the JSON form.
    #[serde(skip)]
    pub judged_here: bool,
}

impl FlowRecord {
    /// A record of a TCP connection with nothing but its ends; the rest is set on its fields.
    pub fn new(
        time: SystemTime,
        node: Arc<str>,
        direction: Direction,
        ends: (Peer, Peer),
        path: Path,
        verdict: Verdict,
    ) -> Self {
        let (source, destination) = ends;
        Self {
            time,
            node,
            direction,
            source,
            destination,
            protocol: "tcp",
            path,
            verdict,
            reason: None,
            detail: None,
            policy: None,
            audit: None,
            tls: None,
            bytes_sent: 0,
            bytes_received: 0,
            connect_us: None,
            duration_us: None,
            rtt_us: None,
            retransmits: None,
            request: None,
            trace_id: None,
            judged_here: false,
        }
    }
}

/// `at` as RFC 3339 with microseconds in UTC, the form of every time in the API.
pub fn timestamp(at: SystemTime) -> String {
    const FORM: &[time::format_description::FormatItem<'_>] = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
    );
    let nanos = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    };
    // A time beyond the year 9999 has no such form, and comes from no clock: it is shown as the epoch.
    let at =
        time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.format(FORM).unwrap_or_default()
}

fn rfc3339_micros<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*at))
}

/// Records for tests.
#[cfg(test)]
pub(crate) mod samples {
    use std::time::Duration;

    use super::*;

    /// 2026-01-02T03:04:05.678901Z.
    pub(crate) fn time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_323_045_678_901)
    }

    fn peer(pod: &str, workload: &str, address: &str) -> Peer {
        Peer {
            namespace: Some("shop".into()),
            pod: Some(pod.into()),
            workload: Some(workload.into()),
            service: None,
            service_account: Some(workload.into()),
            identity: Some(format!("spiffe://cluster.local/ns/shop/sa/{workload}").into()),
            address: Some(address.parse().expect("an address")),
            canonical: None,
        }
    }

    /// A forwarded flow with little in it.
    pub(crate) fn plain() -> FlowRecord {
        let ends = (peer("cart-0", "cart", "10.244.1.2:41532"), peer("pay-0", "pay", "10.244.2.2:8080"));
        FlowRecord::new(time(), "node-a".into(), Direction::Outbound, ends, Path::Tunnel, Verdict::Forwarded)
    }

    /// A denied flow with every field set.
    pub(crate) fn full() -> FlowRecord {
        let policy = |name: &str, rule| PolicyRef {
            tier: "application".into(),
            namespace: "shop".into(),
            name: name.into(),
            rule: Some(rule),
            action: "deny".into(),
        };
        let mut record = plain();
        record.destination.service = Some("shop/pay".into());
        record.verdict = Verdict::Denied;
        record.reason = Some(Reason::PolicyDenied);
        record.detail = Some("words for a person".into());
        record.policy = Some(policy("pay-callers", 0));
        record.audit = Some(policy("pay-audit", 1));
        record.tls = Some(TlsInfo {
            version: "1.3".into(),
            group: "X25519MLKEM768".into(),
            peer: record.destination.identity.clone(),
        });
        (record.bytes_sent, record.bytes_received) = (5, 17);
        (record.connect_us, record.duration_us) = (Some(310), Some(5021));
        (record.rtt_us, record.retransmits) = (Some(40), Some(0));
        let (method, host, path) = ("GET".into(), "pay".into(), "/v1/pay/1".into());
        record.request = Some(Box::new(RequestInfo {
            http: HttpInfo {
                method,
                host,
                path,
                status: Some(403),
                retries: Some(1),
                route: Some("shop/pay/0".into()),
            },
            grpc: Some(GrpcInfo { service: "v1.pay".into(), method: "1".into(), status: Some(7) }),
            user: Some(UserInfo { issuer: "https://id.example".into(), subject: "ann".into() }),
        }));
        record.trace_id = TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736");
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_of_a_full_record_is_the_contract() {
        let expected = serde_json::json!({
            "time": "2026-01-02T03:04:05.678901Z", "node": "node-a", "direction": "outbound",
            "source": {
                "namespace": "shop", "pod": "cart-0", "workload": "cart", "service_account": "cart",
                "identity": "spiffe://cluster.local/ns/shop/sa/cart", "address": "10.244.1.2:41532",
            },
            "destination": {
                "namespace": "shop", "pod": "pay-0", "workload": "pay", "service": "shop/pay",
                "service_account": "pay", "identity": "spiffe://cluster.local/ns/shop/sa/pay",
                "address": "10.244.2.2:8080",
            },
            "protocol": "tcp", "path": "tunnel", "verdict": "denied", "reason": "policy_denied",
            "detail": "words for a person",
            "policy": {
                "tier": "application", "namespace": "shop", "name": "pay-callers", "rule": 0, "action": "deny",
            },
            "audit": {
                "tier": "application", "namespace": "shop", "name": "pay-audit", "rule": 1, "action": "deny",
            },
            "tls": {
                "version": "1.3", "group": "X25519MLKEM768", "peer": "spiffe://cluster.local/ns/shop/sa/pay",
            },
            "bytes_sent": 5, "bytes_received": 17, "connect_us": 310, "duration_us": 5021, "rtt_us": 40,
            "retransmits": 0, "http": {
                "method": "GET", "host": "pay", "path": "/v1/pay/1", "status": 403, "retries": 1,
                "route": "shop/pay/0",
            },
            "grpc": {"service": "v1.pay", "method": "1", "status": 7},
            "user": {"issuer": "https://id.example", "subject": "ann"},
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        });
        assert_eq!(serde_json::to_value(samples::full()).expect("JSON"), expected);
    }

    #[test]
    fn absent_fields_are_left_out_of_the_json_form() {
        let mut record = samples::plain();
        record.source = Peer::default();
        record.destination = Peer { address: record.destination.address, ..Peer::default() };
        assert_eq!(
            serde_json::to_string(&record).expect("JSON"),
            r#"{"time":"2026-01-02T03:04:05.678901Z","node":"node-a","direction":"outbound","source":{},"#
                .to_owned()
                + r#""destination":{"address":"10.244.2.2:8080"},"protocol":"tcp","path":"tunnel","#
                + r#""verdict":"forwarded","bytes_sent":0,"bytes_received":0}"#
        );
    }

    #[test]
    fn the_default_denial_of_a_tier_has_no_policy_name() {
        let policy = PolicyRef {
            tier: "platform".into(),
            namespace: "".into(),
            name: "".into(),
            rule: None,
            action: "default-deny".into(),
        };
        let text = serde_json::to_string(&policy).expect("JSON");
        assert_eq!(text, r#"{"tier":"platform","action":"default-deny"}"#);
        assert_eq!(serde_json::from_str::<PolicyRef>(&text).expect("a policy"), policy);
    }

    #[test]
    fn a_canonical_name_follows_istio_s_order_of_labels() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for (given, service, revision) in [
            (labels(&[]), "cart", "latest"),
            (labels(&[("app", "basket"), ("version", "v2")]), "basket", "v2"),
            (labels(&[("app", "basket"), ("app.kubernetes.io/name", "trolley")]), "trolley", "latest"),
            (labels(&[("app", "")]), "cart", "latest"),
        ] {
            let canonical = Canonical::new(&given, "cart");
            assert_eq!((&*canonical.service, &*canonical.revision), (service, revision));
        }
    }
}
