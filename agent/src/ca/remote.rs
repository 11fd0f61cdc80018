//! An authority over the network: Istio's certificate service, asked with a token of this node's service account.
//!
//! Entry point: [`RemoteCa::new`]. Whom it may have certificates for, the authority decides: this one only asks. One
//! connection carries all requests, and is made anew when it breaks.

use std::{io::Read, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

use super::{CaError, CertificateAuthority, CertificateRequest, Issued, istio, trust::Trust};

/// How long a connection may take to be there, and the roots before it.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a connection is tried, and how long the answer may take, so that one that died is found out.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The longest token, in octets.
const MOST: u64 = 64 * 1024;

/// Where an authority is, and how it is asked.
#[derive(Debug)]
pub struct RemoteCaOptions {
    /// Its host: a DNS name or an address, as its certificate has it.
    pub host: String,
    /// Its port; Istio's is 15012.
    pub port: u16,
    /// The file with the token, read for each request: a kubelet renews it.
    pub token: PathBuf,
    /// What istiod calls this cluster.
    pub cluster: String,
}

/// Asks an authority over the network.
pub struct RemoteCa {
    options: RemoteCaOptions,
    trust: Arc<Trust>,
    client: Grpc<Channel>,
}

impl RemoteCa {
    /// One that is asked when the first certificate is; `trust` says by which roots it is known.
    ///
    /// # Errors
    /// When the host is no DNS name and no address.
    pub fn new(options: RemoteCaOptions, trust: Trust) -> Result<Self, String> {
        let name = ServerName::try_from(options.host.clone())
            .map_err(|_| format!("{:?} is neither a DNS name nor an address", options.host))?;
        let host = match &name {
            ServerName::IpAddress(rustls::pki_types::IpAddr::V6(_)) => format!("[{}]", options.host),
            _ => options.host.clone(),
        };
        let endpoint = Endpoint::from_shared(format!("https://{host}:{}", options.port))
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let trust = Arc::new(trust);
        let (address, of_connector) = ((options.host.clone(), options.port), trust.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (address, name, trust) = (address.clone(), name.clone(), of_connector.clone());
            async move { connect(address, name, &trust).await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector_lazy(connector);
        let client = Grpc::new(channel).max_decoding_message_size(istio::MAX_MESSAGE);
        Ok(Self { options, trust, client })
    }

    async fn ask(&self, request: CertificateRequest) -> Result<Issued, CaError> {
        self.trust.known(CONNECT).await;
        self.trust.store().map_err(CaError::Unreachable)?;
        let mut asked = tonic::Request::new(istio::Request::new(&request));
        asked.metadata_mut().insert("authorization", self.authorization()?);
        if let Ok(cluster) = self.options.cluster.parse() {
            asked.metadata_mut().insert("clusterid", cluster);
        }
        let mut client = self.client.clone();
        client.ready().await.map_err(|error| CaError::Unreachable(chain(&error)))?;
        let codec = ProstCodec::<istio::Request, istio::Response>::default();
        let path = http::uri::PathAndQuery::from_static(istio::PATH);
        client.unary(asked, path, codec).await.map_err(|status| refusal(&status))?.into_inner().read()
    }

    fn authorization(&self) -> Result<MetadataValue<Ascii>, CaError> {
        let path = self.options.token.display();
        let mut token = String::new();
        std::fs::File::open(&self.options.token)
            .and_then(|file| file.take(MOST).read_to_string(&mut token))
            .map_err(|error| CaError::Unreachable(format!("no token to show: {path}: {error}")))?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| CaError::Unreachable(format!("no token to show: {path} holds none")))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl CertificateAuthority for RemoteCa {
    fn issue(&self, request: CertificateRequest) -> BoxFuture<'_, Result<Issued, CaError>> {
        Box::pin(self.ask(request))
    }

    fn generations(&self) -> Option<watch::Receiver<u64>> {
        Some(self.trust.generations())
    }
}

async fn connect(
    address: (String, u16),
    name: ServerName<'static>,
    trust: &Trust,
) -> std::io::Result<TlsStream<TcpStream>> {
    // With the roots of now: they may have changed since the last connection.
    let roots = trust.store().map_err(std::io::Error::other)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    timeout(CONNECT, connecting).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

fn refusal(status: &Status) -> CaError {
    let words = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition => CaError::Denied(words),
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => CaError::Invalid(words),
        _ => CaError::Unreachable(chain(status)),
    }
}

/// An error with what caused it: the outermost says only that there was one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}
