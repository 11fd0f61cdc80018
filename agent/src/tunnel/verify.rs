//! Whom a certificate speaks for: the chain to the mesh's roots, and exactly one SPIFFE identity.
//!
//! Entry points: [`ServerIdentity`] verifies the server by the identity expected of it, never by a host
//! name; [`ClientIdentity`] verifies that a client is somebody of this trust domain; [`identity_of`] reads
//! the identity from a verified certificate. Knows nothing of sockets.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    server::WebPkiClientVerifier,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::headers::bounded;
use crate::identity::{Identity, TrustDomain};

/// Longest text taken from a certificate into an error.
const TEXT: usize = 256;

/// The certificate is trusted but is not whom it should be; travels inside `rustls::Error`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the certificate is of {presented}")]
pub(super) struct WrongIdentity {
    /// What the certificate says instead.
    pub(super) presented: Arc<str>,
}

impl WrongIdentity {
    /// Finds the cause inside what rustls reports.
    pub(super) fn find(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else {
            return None;
        };
        cause.downcast_ref::<Self>().cloned()
    }

    fn into_tls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// The one identity of a certificate.
///
/// # Errors
/// When it has no URI name, more than one, or one that is not an identity (SPIFFE X.509-SVID §2).
pub(super) fn identity_of(certificate: &CertificateDer<'_>) -> Result<Identity, WrongIdentity> {
    let wrong = |text: &str| WrongIdentity { presented: bounded(text, TEXT).into() };
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|_| wrong("an unreadable certificate"))?;
    let names = parsed.subject_alternative_name().map_err(|_| wrong("malformed names"))?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.parse().map_err(|_| wrong(uri)),
        (Some(_), Some(_)) => Err(wrong("more than one URI")),
        (None, _) => Err(wrong("no URI")),
    }
}

/// Accepts the server that has the identity expected of the endpoint, and no other.
pub(super) struct ServerIdentity {
    roots: Arc<RootCertStore>,
    expected: Identity,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerIdentity {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        expected: Identity,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { roots, expected, algorithms }
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerIdentity {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let presented = identity_of(end_entity).map_err(WrongIdentity::into_tls)?;
        if presented != self.expected {
            return Err(WrongIdentity { presented: presented.to_string().into() }.into_tls());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts any client that has exactly one identity, of this trust domain.
pub(super) struct ClientIdentity {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: TrustDomain,
}

impl ClientIdentity {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        trust_domain: TrustDomain,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Self, Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider)
            // The names of the roots tell nobody anything here, and cost bytes in every handshake.
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, trust_domain })
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientIdentity {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let identity = identity_of(end_entity).map_err(WrongIdentity::into_tls)?;
        if identity.trust_domain() != &self.trust_domain {
            return Err(WrongIdentity { presented: identity.to_string().into() }.into_tls());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
