//! A certificate, its key and the roots it is checked against: what one workload shows to its peers.
//!
//! Entry point: [`Credentials`]. Knows nothing of how certificates are issued or renewed.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::{RootCertStore, sign::CertifiedKey};

use super::Identity;

/// One identity's certificate in force. A renewal makes a new value; sessions keep the one they began with.
#[derive(Clone)]
pub struct Credentials {
    /// The identity in the certificate's URI subject alternative name.
    pub identity: Identity,
    /// Chain (leaf first) and signing key. The key never leaves the process.
    pub certified_key: Arc<CertifiedKey>,
    /// The trust domain's roots.
    pub roots: Arc<RootCertStore>,
    /// `notBefore` of the leaf.
    pub not_before: SystemTime,
    /// `notAfter` of the leaf.
    pub not_after: SystemTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
