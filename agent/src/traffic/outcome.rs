//! How a try ended, in the words that ejection and retries need.
//!
//! Entry point: [`Outcome`]. Whoever carries the request finds out which it was.

/// How one try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP response came, with this status.
    Status(u16),
    /// A gRPC response came, with this `grpc-status`, in its trailers or instead of them.
    Grpc(u16),
    /// No connection could be made, so nothing of the request arrived.
    Connect,
    /// The endpoint said that it did not look at the request: REFUSED_STREAM, or a GOAWAY that names an
    /// earlier stream (RFC 9113 §8.7).
    Refused,
    /// The connection or the stream ended before the response's head.
    Reset,
    /// The try's time was up before the response's head.
    Timeout,
    /// The client went away first: says nothing about the endpoint.
    Cancelled,
}

impl Outcome {
    /// Whether it speaks against the endpoint; none when it says nothing about it.
    ///
    /// A gRPC status counts where the mapping of gRPC to HTTP makes it one of 5xx, but for
    /// UNIMPLEMENTED, which is about the caller.
    pub fn is_failure(self) -> Option<bool> {
        match self {
            Self::Status(status) => Some(status >= 500),
            // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            Self::Grpc(code) => Some(matches!(code, 2 | 4 | 13 | 14 | 15)),
            Self::Connect | Self::Refused | Self::Reset | Self::Timeout => Some(true),
            Self::Cancelled => None,
        }
    }

    /// Whether the endpoint's application has certainly not seen the request, so that it can be sent again
    /// whatever its method (RFC 9110 §9.2.2).
    pub fn is_unseen(self) -> bool {
        matches!(self, Self::Connect | Self::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_did_does_not_speak_against_the_endpoint() {
        for outcome in [Outcome::Status(200), Outcome::Status(404), Outcome::Status(429), Outcome::Grpc(0)] {
            assert_eq!(outcome.is_failure(), Some(false), "{outcome:?}");
        }
        for outcome in [Outcome::Grpc(5), Outcome::Grpc(7), Outcome::Grpc(8), Outcome::Grpc(12)] {
            assert_eq!(outcome.is_failure(), Some(false), "{outcome:?}");
        }
        for outcome in [Outcome::Status(500), Outcome::Status(503), Outcome::Grpc(14), Outcome::Reset] {
            assert_eq!(outcome.is_failure(), Some(true), "{outcome:?}");
        }
        assert_eq!(Outcome::Cancelled.is_failure(), None);
    }
}
