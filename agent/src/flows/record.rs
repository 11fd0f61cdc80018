//! One flow record: what happened to one connection, as one end of it saw it.
//!
//! Entry point: [`FlowRecord`], whose JSON form is the product's contract; [`Reason`] is the closed
//! list of words for what went wrong, the same in flows, metrics and logs (docs/reasons.md).

use std::{net::SocketAddr, sync::Arc};

use serde::Serialize;

/// Which end of the connection saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Seen at the source's node.
    Outbound,
    /// Seen at the destination's node.
    Inbound,
}

/// How the bytes travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Pod to pod on the same node, vouched for by the kernel, no proxy.
    Direct,
    /// Through the agent, in plaintext.
    Proxy,
    /// Through the agent, over mutual TLS.
    Tunnel,
    /// Untouched by the mesh.
    Passthrough,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Carried.
    Forwarded,
    /// Refused by policy or by what the mesh requires.
    Denied,
    /// Carried, but an audit policy would have denied it.
    Audited,
    /// Not carried for a reason that is not policy.
    Failed,
}

/// Why a connection was denied or failed, or how an unusual one ended. Documented in `docs/reasons.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A policy, or a tier's default, denied it.
    PolicyDenied,
    /// Plaintext to a strict workload.
    PlaintextRefused,
    /// A live connection that a later change of policy, identity or enrolment no longer allows.
    NoLongerAllowed,
    /// The application's socket was bound to a device, which capture cannot redirect.
    BoundToDevice,
    /// Somebody dialled the agent's listener without having been redirected there.
    NotRedirected,
    /// No endpoint is ready for the Service's port.
    NoEndpoints,
    /// The destination did not accept the connection (refused, reset).
    UpstreamRefused,
    /// The destination, or its node, could not be reached in time.
    UpstreamTimeout,
    /// No route to the destination, or its network said no.
    UpstreamUnreachable,
    /// The tunnel to the destination's node could not be made: TLS failed.
    TlsFailed,
    /// The destination's certificate has another identity than its endpoint.
    IdentityMismatch,
    /// The tunnel's peer broke its protocol, or ended the session.
    TunnelFailed,
    /// A CONNECT for an address that is not the pod's own.
    RelayRefused,
    /// No certificate for this identity came in time.
    NoCertificate,
    /// A bound on connections, sessions or streams of this workload was reached.
    LimitReached,
    /// No agent was there to take the connection.
    AgentUnavailable,
    /// One end reset the connection.
    Reset,
    /// The agent was stopping and its time to drain was over.
    Drained,
}

impl Reason {
    /// Every reason, for documents and tests.
    pub const ALL: [Reason; 18] = [
        Reason::PolicyDenied,
        Reason::PlaintextRefused,
        Reason::NoLongerAllowed,
        Reason::BoundToDevice,
        Reason::NotRedirected,
        Reason::NoEndpoints,
        Reason::UpstreamRefused,
        Reason::UpstreamTimeout,
        Reason::UpstreamUnreachable,
        Reason::TlsFailed,
        Reason::IdentityMismatch,
        Reason::TunnelFailed,
        Reason::RelayRefused,
        Reason::NoCertificate,
        Reason::LimitReached,
        Reason::AgentUnavailable,
        Reason::Reset,
        Reason::Drained,
    ];

    /// The word of this reason, as flows, metrics, logs and the tunnel's headers carry it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::PolicyDenied => "policy_denied",
            Reason::PlaintextRefused => "plaintext_refused",
            Reason::NoLongerAllowed => "no_longer_allowed",
            Reason::BoundToDevice => "bound_to_device",
            Reason::NotRedirected => "not_redirected",
            Reason::NoEndpoints => "no_endpoints",
            Reason::UpstreamRefused => "upstream_refused",
            Reason::UpstreamTimeout => "upstream_timeout",
            Reason::UpstreamUnreachable => "upstream_unreachable",
            Reason::TlsFailed => "tls_failed",
            Reason::IdentityMismatch => "identity_mismatch",
            Reason::TunnelFailed => "tunnel_failed",
            Reason::RelayRefused => "relay_refused",
            Reason::NoCertificate => "no_certificate",
            Reason::LimitReached => "limit_reached",
            Reason::AgentUnavailable => "agent_unavailable",
            Reason::Reset => "reset",
            Reason::Drained => "drained",
        }
    }

    /// The reason whose word is `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

/// One end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PolicyRef {
    /// `platform`, `security` or `application`.
    pub tier: Arc<str>,
    /// Namespace of the policy; empty when a tier's default denied.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name of the policy; empty when a tier's default denied.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// Index of the rule in `spec.rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// `allow`, `deny`, or `default-deny`.
    pub action: Arc<str>,
}

/// The TLS session that carried a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsInfo {
    /// `1.3`.
    pub version: Arc<str>,
    /// Name of the key exchange group.
    pub group: Arc<str>,
    /// SPIFFE id of the peer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Arc<str>>,
}

/// What happened to one connection. Absent fields are left out of the JSON form.
#[derive(Clone, Debug, Serialize)]
pub struct FlowRecord {
    /// When the connection ended (RFC 3339, microseconds, UTC).
    #[serde(serialize_with = "rfc3339_micros")]
    pub time: std::time::SystemTime,
    /// The agent's node.
    pub node: Arc<str>,
    /// Which end saw it.
    pub direction: Direction,
    /// Who connected.
    pub source: Peer,
    /// To whom.
    pub destination: Peer,
    /// `tcp`.
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
    /// W3C trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Arc<str>>,
}

fn rfc3339_micros<S: serde::Serializer>(
    at: &std::time::SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    const FORM: &[time::format_description::FormatItem<'_>] = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
    );
    let text = time::OffsetDateTime::from(*at).format(FORM).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
