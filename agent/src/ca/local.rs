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
    directory::{self, CERTIFICATE, KEY, OpenError, Pems},
    signer::{self, Part, Signer, Texts, Unfit, read_certificates},
};
use crate::identity::TrustDomain;

/// How a [`LocalCa`] signs.
#[derive(Clone, Debug)]
pub struct LocalCaOptions {
    /// How long a certificate lives, from now; less when the root expires before.
    pub lifetime: Duration,
    /// The time of day.
    pub clock: Clock,
}

impl Default for LocalCaOptions {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(24 * 3600), clock: Clock::system() }
    }
}

/// Signs with a root that it keeps in a directory.
pub struct LocalCa {
    trust_domain: TrustDomain,
    root: Signer,
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
        let fault = |unfit: Unfit| in_file(directory, unfit);
        let pems = directory::read_or_make(directory, |key| {
            let (certificate, key) = signer::make(&trust_domain, key, now).map_err(fault)?;
            Ok(Pems { certificate, key })
        })?;
        let found = read_certificates(Part::Certificate, &pems.certificate).map_err(fault)?;
        if found.len() > 1 {
            let problem = format!("holds {} certificates, only the root belongs there", found.len());
            return Err(fault(Unfit { part: Part::Certificate, problem }));
        }
        let texts = Texts { certificate: &pems.certificate, key: &pems.key, roots: None };
        let root = Signer::read(texts, &trust_domain, now).map_err(fault)?;
        Ok(Self { trust_domain, root, options })
    }

    /// When the root expires; nothing is signed afterwards, and nothing beyond it before.
    pub fn not_after(&self) -> SystemTime {
        self.root.validity.to
    }

    fn sign(&self, request: &CertificateRequest) -> Result<Issued, CaError> {
        if *request.identity.trust_domain() != self.trust_domain {
            let words = format!("{} is not of the trust domain {}", request.identity, self.trust_domain);
            return Err(CaError::Denied(words));
        }
        self.root.issue(request, self.options.lifetime, self.options.clock.now())
    }
}

/// What is wrong, in the words of whoever keeps files.
fn in_file(directory: &Path, unfit: Unfit) -> OpenError {
    let (name, remedy) = match unfit.part {
        Part::Key => (KEY, RESTORE),
        Part::Certificate | Part::Roots if unfit.problem.starts_with("expired") => (CERTIFICATE, RENEW),
        Part::Certificate | Part::Roots => (CERTIFICATE, RESTORE),
    };
    OpenError::Unfit { path: directory.join(name), problem: unfit.problem, remedy }
}

const RESTORE: &str = "put both files back from a copy, or remove both for a new root and restart every agent \
                       that shares the directory";
const RENEW: &str =
    "remove ca.pem to make it anew for the same key, and restart every agent that shares the directory";

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
