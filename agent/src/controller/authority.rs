//! What signs now, and how this server is known: handed from the keeper to whoever answers.
//!
//! Entry points: [`Authority::put`] and [`Authority::issue`]. Knows nothing of where keys come from or who asks.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use rcgen::KeyPair;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{
    ca::{CaError, CertificateRequest, Clock, Issued, signer::Signer},
    identity::TrustDomain,
};

/// The authority of one trust domain.
pub(super) struct Authority {
    trust_domain: TrustDomain,
    /// How long a certificate lives at most.
    lifetime: Duration,
    /// The names by which clients know this server.
    names: Vec<String>,
    clock: Clock,
    in_force: ArcSwapOption<InForce>,
}

struct InForce {
    signer: Arc<Signer>,
    /// All roots that are trusted.
    roots: Vec<CertificateDer<'static>>,
    server: Arc<ServerConfig>,
    /// When the server's own certificate is made anew.
    renewal: SystemTime,
}

impl Authority {
    /// One that cannot sign yet.
    pub(super) fn new(
        trust_domain: TrustDomain,
        lifetime: Duration,
        names: Vec<String>,
        clock: Clock,
    ) -> Self {
        Self { trust_domain, lifetime, names, clock, in_force: ArcSwapOption::empty() }
    }

    /// From now on `signer` signs, and `roots` are given out with each certificate.
    ///
    /// # Errors
    /// When it cannot sign this server's own certificate; then all stays as it was.
    pub(super) fn put(
        &self,
        signer: &Arc<Signer>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<(), CaError> {
        let now = self.clock.now();
        let in_force = self.in_force.load_full();
        let same = in_force.filter(|of| Arc::ptr_eq(&of.signer, signer) && now < of.renewal);
        let (server, renewal) = match same {
            Some(in_force) if in_force.roots == roots => return Ok(()),
            Some(in_force) => (in_force.server.clone(), in_force.renewal),
            None => (Arc::new(self.server(signer, now)?), now + self.lifetime / 2),
        };
        self.in_force.store(Some(Arc::new(InForce { signer: signer.clone(), roots, server, renewal })));
        Ok(())
    }

    /// The signer that is in force.
    pub(super) fn signer(&self) -> Option<Arc<Signer>> {
        self.in_force.load().as_ref().map(|in_force| in_force.signer.clone())
    }

    /// How a TLS connection is accepted; none before something can sign.
    pub(super) fn server_config(&self) -> Option<Arc<ServerConfig>> {
        self.in_force.load().as_ref().map(|in_force| in_force.server.clone())
    }

    /// A certificate for what `request` asks for, for `wanted` or less.
    ///
    /// # Errors
    /// [`CaError`]: another trust domain, a request that is not right, or nothing can sign.
    pub(super) fn issue(
        &self,
        request: &CertificateRequest,
        wanted: Option<Duration>,
    ) -> Result<Issued, CaError> {
        if *request.identity.trust_domain() != self.trust_domain {
            let words = format!("{} is not of the trust domain {}", request.identity, self.trust_domain);
            return Err(CaError::Denied(words));
        }
        let Some(in_force) = self.in_force.load_full() else {
            return Err(CaError::Unreachable("the authority has no key yet".into()));
        };
        let lifetime = wanted.unwrap_or(self.lifetime).min(self.lifetime);
        let issued = in_force.signer.issue(request, lifetime, self.clock.now())?;
        Ok(Issued { roots: in_force.roots.clone(), ..issued })
    }

    fn server(&self, signer: &Signer, now: SystemTime) -> Result<ServerConfig, CaError> {
        let invalid = |error: &dyn std::fmt::Display| CaError::Invalid(error.to_string());
        let key = KeyPair::generate().map_err(|error| invalid(&error))?;
        let issued = signer.issue_to_server(&self.names, &key, self.lifetime, now)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| invalid(&error))?
            .with_no_client_auth()
            .with_single_cert(issued.chain, key)
            .map_err(|error| invalid(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
