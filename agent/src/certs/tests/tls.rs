//! The credentials at work: mutual TLS 1.3 in memory, across a renewal.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::fixture::{FakeCa, identity, pass, virtual_clock};
use crate::{
    ca::Clock,
    certs::{Certificates, CertificatesOptions},
    identity::Credentials,
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ParsedCertificate, WebPkiClientVerifier},
    sign::SingleCertAndKey,
    time_provider::TimeProvider,
};

/// Accepts any name under the roots; which identity a peer must have is for the tunnel to say.
#[derive(Debug)]
struct AnyOfTheRoots(Arc<Credentials>);

impl ServerCertVerifier for AnyOfTheRoots {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.0.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok()?))
    }
}

struct Session {
    client: ClientConnection,
    server: ServerConnection,
}

impl Session {
    fn open(client: &Arc<Credentials>, server: &Arc<Credentials>, clock: &Clock) -> Result<Self, Error> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let time = || -> Arc<dyn TimeProvider> { Arc::new(Time(clock.clone())) };
        let versions = &[&rustls::version::TLS13];
        let client = ClientConfig::builder_with_details(Arc::clone(&provider), time())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyOfTheRoots(Arc::clone(client))))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&client.certified_key))));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&server.roots), Arc::clone(&provider))
                .build()
                .expect("roots");
        let server = ServerConfig::builder_with_details(provider, time())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&server.certified_key))));
        let name = ServerName::try_from("pay.shop").expect("a name");
        let mut session = Self {
            client: ClientConnection::new(Arc::new(client), name)?,
            server: ServerConnection::new(Arc::new(server))?,
        };
        while session.client.is_handshaking() || session.server.is_handshaking() {
            session.exchange()?;
        }
        Ok(session)
    }

    /// Carries what each end has to say to the other.
    fn exchange(&mut self) -> Result<(), Error> {
        let mut wire = Vec::new();
        self.client.write_tls(&mut wire).expect("memory");
        self.server.read_tls(&mut wire.as_slice()).expect("memory");
        self.server.process_new_packets()?;
        wire.clear();
        self.server.write_tls(&mut wire).expect("memory");
        self.client.read_tls(&mut wire.as_slice()).expect("memory");
        self.client.process_new_packets()?;
        Ok(())
    }

    fn carries(&mut self, words: &str) -> bool {
        self.client.writer().write_all(words.as_bytes()).expect("memory");
        self.exchange().expect("a session that goes on");
        let mut heard = vec![0; words.len()];
        self.server.reader().read_exact(&mut heard).expect("all of it");
        heard == words.as_bytes()
    }

    /// The certificate that the server saw.
    fn clients_certificate(&self) -> &CertificateDer<'static> {
        &self.server.peer_certificates().expect("mutual")[0]
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_serves_new_sessions_while_old_ones_go_on() {
    let clock = virtual_clock();
    let options = CertificatesOptions { clock: clock.clone(), ..Default::default() };
    let (certificates, _task) = Certificates::start(FakeCa::new(&clock), options);
    let (cart, pay) = (identity("cart"), identity("pay"));
    certificates.want([cart.clone(), pay.clone()]);
    let limit = Duration::from_secs(1);
    let old = certificates.wait(&cart, limit).await.expect("a certificate");
    let server = certificates.wait(&pay, limit).await.expect("a certificate");
    let mut before = Session::open(&old, &server, &clock).expect("mutual TLS");
    assert!(before.carries("before the renewal"));

    pass(Duration::from_secs(14 * 3600)).await;
    let new = certificates.current(&cart).expect("renewed");
    let server = certificates.current(&pay).expect("renewed");
    let mut after = Session::open(&new, &server, &clock).expect("mutual TLS");
    assert!(after.carries("with the new certificate"));
    assert_ne!(after.clients_certificate(), before.clients_certificate());
    assert_eq!(*after.clients_certificate(), new.certified_key.cert[0]);

    // Beyond the end of the certificate with which it was opened, too.
    pass(Duration::from_secs(14 * 3600)).await;
    assert!(clock.now() > old.not_after);
    assert!(before.carries("a session outlives its certificate"));
    let server = certificates.current(&pay).expect("renewed");
    let error = Session::open(&old, &server, &clock).err().expect("nobody accepts an expired certificate");
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_root_is_refused() {
    let clock = virtual_clock();
    let options = CertificatesOptions { clock: clock.clone(), ..Default::default() };
    let (ours, _task) = Certificates::start(FakeCa::new(&clock), options.clone());
    let (theirs, _other) = Certificates::start(FakeCa::new(&clock), options);
    let cart = identity("cart");
    let mut credentials = Vec::new();
    for certificates in [&ours, &theirs] {
        certificates.want([cart.clone()]);
        credentials.push(certificates.wait(&cart, Duration::from_secs(1)).await.expect("a certificate"));
    }
    assert!(Session::open(&credentials[0], &credentials[0], &clock).is_ok());
    assert!(Session::open(&credentials[0], &credentials[1], &clock).is_err());
    assert!(Session::open(&credentials[1], &credentials[0], &clock).is_err());
}
