//! TLS as the tunnel speaks it: 1.3 only, ALPN `h2`, both sides with certificates, post-quantum first.
//!
//! Entry point: [`TlsConfigs`], one per worker, which makes a session's configuration from the workload's
//! credentials and keeps what handshakes share. Knows nothing of HTTP/2 or of sockets.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, LazyLock, Weak},
};

use rustls::{
    ClientConfig, Error, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};

use super::verify::{ClientIdentity, ServerIdentity};
use crate::identity::{Credentials, Identity};

/// The protocol that both sides must agree on.
pub(super) const ALPN: &[u8] = b"h2";

/// Most configurations that one worker keeps of each kind; beyond, the cache starts anew.
const CACHED: usize = 4096;

/// What a session's handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// The protocol's version, `TLSv1.3`.
    pub version: &'static str,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: &'static str,
}

impl TlsInfo {
    pub(super) fn of(connection: &rustls::CommonState) -> Self {
        let group = connection.negotiated_key_exchange_group();
        Self { version: "TLSv1.3", group: group.map_or("none", |group| group_name(group.name())) }
    }
}

fn group_name(group: rustls::NamedGroup) -> &'static str {
    match group {
        rustls::NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        rustls::NamedGroup::X25519 => "X25519",
        _ => "other",
    }
}

/// Configurations by credentials. A renewal is a new `Arc<Credentials>` and therefore a new configuration;
/// those of credentials that are gone are dropped.
#[derive(Default)]
pub struct TlsConfigs {
    clients: RefCell<Cache<ClientConfig>>,
    servers: RefCell<Cache<ServerConfig>>,
}

type Cache<C> = HashMap<(usize, Option<Identity>), (Weak<Credentials>, Arc<C>)>;

impl TlsConfigs {
    /// The configuration with which `credentials` dials an endpoint that must be `expected`.
    ///
    /// # Errors
    /// When the roots or the key cannot be used.
    pub fn client(
        &self,
        credentials: &Arc<Credentials>,
        expected: &Identity,
    ) -> Result<Arc<ClientConfig>, Error> {
        cached(&self.clients, credentials, Some(expected.clone()), || client_config(credentials, expected))
    }

    /// The configuration with which `credentials` takes sessions in.
    ///
    /// # Errors
    /// When the roots or the key cannot be used.
    pub fn server(&self, credentials: &Arc<Credentials>) -> Result<Arc<ServerConfig>, Error> {
        cached(&self.servers, credentials, None, || server_config(credentials))
    }
}

fn cached<C>(
    cache: &RefCell<Cache<C>>,
    credentials: &Arc<Credentials>,
    expected: Option<Identity>,
    make: impl FnOnce() -> Result<C, Error>,
) -> Result<Arc<C>, Error> {
    let mut cache = cache.borrow_mut();
    // A weak reference keeps the address from being given to another value.
    let key = (Arc::as_ptr(credentials) as usize, expected);
    if let Some((_, config)) = cache.get(&key) {
        return Ok(config.clone());
    }
    let config = Arc::new(make()?);
    forget_unused(&mut cache);
    cache.insert(key, (Arc::downgrade(credentials), config.clone()));
    Ok(config)
}

/// Runs only when a configuration is made, which a handshake follows that costs far more.
fn forget_unused<C>(cache: &mut Cache<C>) {
    cache.retain(|_, (credentials, _)| credentials.strong_count() > 0);
    if cache.len() >= CACHED {
        cache.clear();
    }
}

fn client_config(credentials: &Credentials, expected: &Identity) -> Result<ClientConfig, Error> {
    let algorithms = PROVIDER.signature_verification_algorithms;
    let verifier = ServerIdentity::new(credentials.roots.clone(), expected.clone(), algorithms);
    let mut config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified_key.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(credentials: &Credentials) -> Result<ServerConfig, Error> {
    let verifier = ClientIdentity::new(
        credentials.roots.clone(),
        credentials.identity.trust_domain().clone(),
        PROVIDER.clone(),
    )?;
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified_key.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// aws-lc-rs with TLS 1.3 suites only, X25519MLKEM768 first, then X25519, and no other group.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(provider)
});
