//! The closed lists of words that flows, metrics, logs and the command line share.
//!
//! Entry points: [`Direction`], [`Path`], [`Verdict`], [`Reason`]. A word is written once, here, and
//! explained once, in `docs/reasons.md`. Knows nothing of records.

/// An enum whose variants each have one word, by which it is written, read and serialized.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, for documents and tests.
            pub const ALL: [$name; [$($word),*].len()] = [$($name::$variant),*];

            /// Its word, the same wherever it is written.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }

            /// The value whose word is `word`.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.word() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

words! {
    /// Which end of the connection saw it.
    Direction {
        /// Seen at the source's node.
        Outbound = "outbound",
        /// Seen at the destination's node.
        Inbound = "inbound",
    }
}

words! {
    /// How the bytes travelled.
    Path {
        /// Pod to pod on the same node, vouched for by the kernel, no proxy.
        Direct = "direct",
        /// Through the agent, in plaintext.
        Proxy = "proxy",
        /// Through the agent, over mutual TLS.
        Tunnel = "tunnel",
        /// Untouched by the mesh.
        Passthrough = "passthrough",
    }
}

words! {
    /// How it ended.
    Verdict {
        /// Carried.
        Forwarded = "forwarded",
        /// Refused by policy or by what the mesh requires.
        Denied = "denied",
        /// Carried, but an audit policy would have denied it.
        Audited = "audited",
        /// Not carried for a reason that is not policy.
        Failed = "failed",
    }
}

words! {
    /// Why a connection was denied or failed, or how an unusual one ended. Documented in `docs/reasons.md`.
    Reason {
        /// A policy, or a tier's default, denied it.
        PolicyDenied = "policy_denied",
        /// Plaintext to a strict workload.
        PlaintextRefused = "plaintext_refused",
        /// A live connection that a later change of policy, identity or enrolment no longer allows.
        NoLongerAllowed = "no_longer_allowed",
        /// The application's socket was bound to a device, which capture cannot redirect.
        BoundToDevice = "bound_to_device",
        /// Somebody dialled the agent's listener without having been redirected there.
        NotRedirected = "not_redirected",
        /// No endpoint is ready for the Service's port.
        NoEndpoints = "no_endpoints",
        /// The destination did not accept the connection (refused, reset).
        UpstreamRefused = "upstream_refused",
        /// The destination, or its node, could not be reached in time.
        UpstreamTimeout = "upstream_timeout",
        /// No route to the destination, or its network said no.
        UpstreamUnreachable = "upstream_unreachable",
        /// The tunnel to the destination's node could not be made: TLS failed.
        TlsFailed = "tls_failed",
        /// The destination's certificate has another identity than its endpoint.
        IdentityMismatch = "identity_mismatch",
        /// The tunnel's peer broke its protocol, or ended the session.
        TunnelFailed = "tunnel_failed",
        /// A CONNECT for an address that is not the pod's own.
        RelayRefused = "relay_refused",
        /// No certificate for this identity came in time.
        NoCertificate = "no_certificate",
        /// A bound on connections, sessions or streams of this workload was reached.
        LimitReached = "limit_reached",
        /// No agent was there to take the connection.
        AgentUnavailable = "agent_unavailable",
        /// What came was no good HTTP.
        HttpMalformed = "http_malformed",
        /// The request's token is not valid.
        TokenInvalid = "token_invalid",
        /// Routes attach to the Service, and none of their rules matches the request.
        NoRoute = "no_route",
        /// The rule, or the backend that was drawn, cannot be used.
        RouteInvalid = "route_invalid",
        /// Too many requests of this source, or to this workload.
        RateLimited = "rate_limited",
        /// A bound on what is under way to the Service was reached.
        CircuitOpen = "circuit_open",
        /// A fault that a TrafficPolicy asks for.
        FaultInjected = "fault_injected",
        /// The time of the request, or of its last try, was up.
        RequestTimeout = "request_timeout",
        /// The server's answer was no good HTTP.
        UpstreamMalformed = "upstream_malformed",
        /// The connection was not looked at as HTTP, and now is to be: its client comes again.
        RequestsAsked = "requests_asked",
        /// The client broke off before it had its whole answer.
        ClientGone = "client_gone",
        /// One end reset the connection.
        Reset = "reset",
        /// The agent was stopping and its time to drain was over.
        Drained = "drained",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_back_as_the_value_that_wrote_it() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.word()), Some(reason));
        }
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_word(&verdict.to_string()), Some(verdict));
        }
    }

    #[test]
    fn words_are_told_apart_and_case_matters() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert_eq!(Verdict::from_word("Denied"), None);
        assert_eq!(Direction::from_word(""), None);
    }
}
