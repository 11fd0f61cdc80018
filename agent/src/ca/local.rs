//! The embedded CA: its key in a directory, its signer in the agent's process.
//!
//! Entry point: [`LocalCa::open`]. Knows nothing of nodes or pods: whoever reads the directory can sign for
//! every identity of the trust domain, so it is for one machine, or for machines that trust each other.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use futures::future::{BoxFuture, FutureExt, ready};

use super::{
    CaError, CertificateAuthority, CertificateRequest, Clock, Issued,
    directory::{self, OpenError},
    root::{self, Root},
};
use crate::identity::TrustDomain;

/// How a [`LocalCa`] signs.
#[derive(Clone, Debug)]
pub struct LocalCaOptions {
    /// How long a certificate lives, from now; less when the root expires before.
    pub lifetime: Duration,
    /// How long before now a certificate is valid already, for peers whose clock is behind.
    pub backdated: Duration,
    /// The time of day.
    pub clock: Clock,
}

impl Default for LocalCaOptions {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(24 * 3600),
            backdated: Duration::from_secs(60),
            clock: Clock::system(),
        }
    }
}

/// Signs with a root that it keeps in a directory.
pub struct LocalCa {
    trust_domain: TrustDomain,
    root: Root,
    options: LocalCaOptions,
}

impl LocalCa {
    /// Reads `ca.pem` and `ca.key` in `directory`, or makes them: P-256, ten years, files 0600, directory 0700.
    ///
    /// Any number of processes may do so at once and share one root. Blocks on the disk, and for up to 10 s
    /// on another process that is making the same root.
    ///
    /// # Errors
    /// [`OpenError`], whose words name the file, what is wrong with it, and how to mend it. Files that others
    /// could read (the key) or replace are refused.
    pub fn open(directory: &Path, trust_domain: TrustDomain) -> Result<Self, OpenError> {
        Self::open_with(directory, trust_domain, LocalCaOptions::default())
    }

    /// As [`LocalCa::open`], with other than the usual options.
    ///
    /// # Errors
    /// As [`LocalCa::open`].
    pub fn open_with(
        directory: &Path,
        trust_domain: TrustDomain,
        options: LocalCaOptions,
    ) -> Result<Self, OpenError> {
        let now = options.clock.now();
        let pems = directory::read_or_make(directory, |key| root::make(directory, &trust_domain, key, now))?;
        let root = Root::read(directory, &pems, &trust_domain, now)?;
        Ok(Self { trust_domain, root, options })
    }

    /// When the root expires; nothing is signed afterwards, and nothing beyond it before.
    pub fn not_after(&self) -> SystemTime {
        self.root.not_after
    }

    fn sign(&self, request: &CertificateRequest) -> Result<Issued, CaError> {
        if *request.identity.trust_domain() != self.trust_domain {
            let words = format!("{} is not of the trust domain {}", request.identity, self.trust_domain);
            return Err(CaError::Denied(words));
        }
        let key = request.public_key()?;
        let now = self.options.clock.now();
        if now >= self.root.not_after {
            return Err(CaError::Denied("the root certificate has expired".into()));
        }
        let not_before = (now - self.options.backdated).max(self.root.not_before);
        let not_after = (now + self.options.lifetime).min(self.root.not_after);
        let leaf =
            self.root.sign(&request.identity, &key, not_before, not_after).map_err(CaError::Invalid)?;
        Ok(Issued { chain: vec![leaf], roots: vec![self.root.certificate.clone()] })
    }
}

impl CertificateAuthority for LocalCa {
    fn issue(&self, request: CertificateRequest) -> BoxFuture<'_, Result<Issued, CaError>> {
        ready(self.sign(&request)).boxed()
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod directory_tests;
#[cfg(test)]
mod tests;
