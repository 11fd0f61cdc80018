//! What a flow record says of one request.
//!
//! Entry points: [`RequestInfo`], [`TraceId`]. Parts of the record's JSON form, and of its contract.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

/// One request, where layer 7 is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RequestInfo {
    /// What was asked and answered.
    pub http: HttpInfo,
    /// The same as gRPC says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcInfo>,
    /// On whose behalf it was made, where a token proved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserInfo>,
}

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct UserInfo {
    /// `iss`.
    pub issuer: Arc<str>,
    /// `sub`; empty when the token has none.
    pub subject: Arc<str>,
}

/// A call of gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcInfo {
    /// `package.Service`.
    pub service: Arc<str>,
    /// Its method.
    pub method: Arc<str>,
    /// `grpc-status` (google.rpc.Code); absent when none came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// What HTTP says of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpInfo {
    /// The method, as sent.
    pub method: Arc<str>,
    /// The host that it was for, without a port, in lower case.
    pub host: Arc<str>,
    /// The path without its query, cut where it is long.
    pub path: Arc<str>,
    /// The status of the answer; absent when none came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How many tries followed the first one; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The rule of a route by which it went: `shop/pay-route/0`, or its name for its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
}

/// The id by which the records of one request are found wherever it came by (W3C Trace Context §3.2.2.3): 32
/// hexadecimal digits, not all of them 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// From its number; none for 0.
    pub fn new(number: u128) -> Option<Self> {
        (number != 0).then(|| Self(number.to_be_bytes()))
    }

    /// From 32 hexadecimal digits of either case.
    pub fn parse(digits: &str) -> Option<Self> {
        let digits = Some(digits)
            .filter(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        Self::new(u128::from_str_radix(digits, 16).ok()?)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_32_digits_of_which_one_is_not_0() {
        for (digits, shown) in [
            ("4bf92f3577b34da6a3ce929d0e0e4736", Some("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("4BF92F3577B34DA6A3CE929D0E0E4736", Some("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("00000000000000000000000000000001", Some("00000000000000000000000000000001")),
            ("00000000000000000000000000000000", None),
            ("+bf92f3577b34da6a3ce929d0e0e4736", None),
            ("4bf92f3577b34da6a3ce929d0e0e473", None),
            ("", None),
        ] {
            let id = TraceId::parse(digits);
            assert_eq!(id.map(|id| id.to_string()).as_deref(), shown, "{digits:?}");
        }
    }
}
