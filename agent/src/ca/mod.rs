//! Who signs certificates: one trait, what it is asked and what it answers.
//!
//! Entry points: [`CertificateAuthority`] and its providers: [`LocalCa`], embedded, and [`RemoteCa`]. Knows nothing of who
//! needs a certificate or when it is renewed; that is `certs`.

mod clock;
mod directory;
pub(crate) mod istio;
mod local;
mod random;
mod remote;
mod request;
pub(crate) mod signer;
pub(crate) mod trust;

use futures::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

pub use clock::Clock;
pub use directory::OpenError;
pub use local::{LocalCa, LocalCaOptions};
pub(crate) use random::fraction;
pub use remote::{RemoteCa, RemoteCaOptions};
pub use request::CertificateRequest;
pub use trust::Trust;

/// Signs certificates for workloads of one trust domain.
pub trait CertificateAuthority: Send + Sync {
    /// Signs a certificate for exactly `request.identity`.
    ///
    /// # Errors
    /// [`CaError`], which says whether to try again is of use and what a person should look at.
    fn issue(&self, request: CertificateRequest) -> BoxFuture<'_, Result<Issued, CaError>>;

    /// A number that grows when other roots are to be trusted than before, and every certificate should be asked for
    /// again; none where that does not happen.
    fn generations(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// What a certificate authority answers.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, leaf first, then what leads to a root; the root itself may be absent.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots by which peers of the same trust domain are checked.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why no certificate came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// It did not answer, or not in time.
    #[error("the certificate authority cannot be reached: {0}")]
    Unreachable(String),
    /// It answered no: this identity is not for this node, or the authority may not sign at all.
    #[error("the certificate authority refused: {0}")]
    Denied(String),
    /// What it was asked, or what it answered, is not right.
    #[error("not a valid certificate or request: {0}")]
    Invalid(String),
}
