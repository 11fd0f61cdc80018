//! Certificates and peers for tests: a small authority, and loopback sockets on one thread.
//!
//! Entry points: [`Authority`] and [`on_worker`].

use std::{
    cell::Cell,
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{Incoming, Pool, PoolKey, ServerOptions, SessionError, TlsConfigs, serve};
use crate::identity::{Credentials, Identity, TrustDomain};

/// Issues certificates under one root.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).expect("a root");
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).expect("a root that can be used");
        Self { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
    }

    /// Credentials of `service_account` in namespace `test` of the default trust domain.
    pub(crate) fn credentials(&self, service_account: &str) -> Arc<Credentials> {
        let identity = identity(service_account);
        self.credentials_with(identity.clone(), &[&identity.to_string()])
    }

    /// Credentials whose certificate names `uris`, whatever `identity` is.
    pub(crate) fn credentials_with(&self, identity: Identity, uris: &[&str]) -> Arc<Credentials> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("an ASCII name"))).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = aws_lc_rs::sign::any_supported_type(&der).expect("a usable key");
        Arc::new(Credentials {
            identity,
            certified_key: Arc::new(CertifiedKey::new(vec![leaf.der().clone()], signer)),
            roots: self.roots.clone(),
            not_before: SystemTime::now(),
            not_after: SystemTime::now() + Duration::from_secs(3600),
        })
    }
}

/// `service_account` in namespace `test` of the default trust domain.
pub(crate) fn identity(service_account: &str) -> Identity {
    Identity::new(&TrustDomain::default(), "test", service_account).expect("a name")
}

/// Runs `test` as a worker does: one thread, one local set. Hangs become failures.
pub(crate) fn on_worker<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limited =
        async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, limited)
}

/// A key by which `source` dials `destination`, which should be `expected`.
pub(crate) fn key(source: &Credentials, destination: SocketAddr, expected: &str) -> PoolKey {
    PoolKey {
        source: source.identity.clone(),
        source_pod: "pod".into(),
        destination,
        expected: identity(expected),
    }
}

/// Opens a stream for `authority` over real sockets.
pub(crate) async fn open(
    pool: &Pool,
    key: &PoolKey,
    credentials: &Arc<Credentials>,
    authority: SocketAddr,
) -> Result<super::Stream, super::TunnelError> {
    let destination = key.destination;
    let request = super::ConnectRequest::new(authority);
    let opened = pool.open(key, credentials, || TcpStream::connect(destination), &request).await;
    opened.map(|(stream, _)| stream)
}

/// A tunnel server that calls `handler` for each stream, and tells how its sessions ended.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) sessions: Rc<Cell<usize>>,
    pub(crate) ended: tokio::sync::mpsc::UnboundedReceiver<Result<(), SessionError>>,
    pub(crate) shutdown: Rc<tokio::sync::Notify>,
}

impl Server {
    pub(crate) async fn start<F>(
        credentials: &Arc<Credentials>,
        options: ServerOptions,
        handler: impl Fn(Incoming) -> F + Clone + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = TlsConfigs::default().server(credentials).expect("a configuration");
        let (tell, ended) = tokio::sync::mpsc::unbounded_channel();
        let sessions = Rc::new(Cell::new(0));
        let shutdown = Rc::new(tokio::sync::Notify::new());
        let (count, stop) = (sessions.clone(), shutdown.clone());
        tokio::task::spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                count.set(count.get() + 1);
                let (config, options, handler, tell, stop) =
                    (config.clone(), options.clone(), handler.clone(), tell.clone(), stop.clone());
                tokio::task::spawn_local(async move {
                    let shutdown = async {
                        stop.notified().await;
                        options.drain
                    };
                    let outcome = serve(socket, config, &options, shutdown, handler).await;
                    let _ = tell.send(outcome);
                });
            }
        });
        Self { address, sessions, ended, shutdown }
    }
}
