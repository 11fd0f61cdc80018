//! What is told about certificates: one line for each identity, and counters.
//!
//! Entry points: [`CertificateStatus`] and [`CertificateCounters`], for `weir status` and the metrics.

use std::sync::{Arc, atomic::AtomicU64};

use serde::Serialize;
use time::OffsetDateTime;

use crate::identity::Identity;

/// How one identity's certificate is doing. Absent fields are left out of the JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    /// Whose it is.
    pub identity: Identity,
    /// Its serial number, hexadecimal; absent before the first certificate, as are the times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Arc<str>>,
    /// Valid from.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<OffsetDateTime>,
    /// Valid to; one that has expired is shown but not used.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_after: Option<OffsetDateTime>,
    /// Certificates after the first.
    pub renewals: u64,
    /// Why the last request failed; absent once one was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Connections that wait for it now.
    pub waiting: usize,
}

/// Counters since the start, but for `waiting`, which is a gauge.
#[derive(Debug, Default)]
pub struct CertificateCounters {
    /// Certificates obtained, first ones and renewals.
    pub issued: AtomicU64,
    /// Requests that did not end in a certificate.
    pub failed: AtomicU64,
    /// Connections that wait for a certificate now.
    pub waiting: AtomicU64,
    /// Connections that waited in vain.
    pub waits_failed: AtomicU64,
    /// Identities that were wanted beyond the bound.
    pub turned_away: AtomicU64,
}
