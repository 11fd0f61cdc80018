//! Fetches one key set, from a web server or from a file: once, bounded in size and time, following nothing.
//!
//! Entry point: [`fetch`]. Says why it failed in words that have nothing of what was read in them: whoever may
//! write a RequestAuthentication may not thereby read what the node can reach.

use std::{io::Read, net::IpAddr, net::SocketAddr, os::unix::fs::OpenOptionsExt, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName, version::TLS13};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    compile::certificates,
    keys::{KeySet, Reach, Source},
    uri::Place,
};

/// From the name's lookup to the last byte.
const LONGEST: Duration = Duration::from_secs(5);
/// For one of several addresses.
const LONGEST_CONNECT: Duration = Duration::from_secs(2);
/// Of the body, in bytes.
const MOST_BYTES: usize = 256 * 1024;
/// Of the response's head, in bytes.
const MOST_HEAD: usize = 32 * 1024;

/// Fetches the key set at `source`.
///
/// # Errors
/// Words for the operator.
pub(super) async fn fetch(source: &Source) -> Result<KeySet, String> {
    let text = match source.uri.place() {
        Place::Web { tls, host, port, target } => {
            let config = if *tls { Some(tls_config(source.ca.clone()).await?) } else { None };
            let asked = ask(source.reach, host, *port, target, config);
            timeout(LONGEST, asked).await.map_err(|_| format!("no answer within {LONGEST:?}"))??
        }
        Place::File(path) => read_file(source.reach, path.clone()).await?,
    };
    KeySet::parse(&text).map_err(|error| error.to_string())
}

async fn ask(
    reach: Reach,
    host: &str,
    port: u16,
    target: &str,
    config: Option<Arc<ClientConfig>>,
) -> Result<Bytes, String> {
    let stream = connect(reach, host, port).await?;
    let usual = if config.is_some() { 443 } else { 80 };
    let host_in_uri = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let authority = if port == usual { host_in_uri } else { format!("{host_in_uri}:{port}") };
    let Some(config) = config else { return get(stream, &authority, target).await };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "the host is no name for a certificate")?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    get(stream.map_err(|error| format!("TLS: {error}"))?, &authority, target).await
}

async fn connect(reach: Reach, host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| format!("the host's address: {error}"))?.collect();
    let allowed = found.iter().filter(|address| reach == Reach::Node || is_of_network(address.ip()));
    let mut failure = if found.is_empty() {
        "the host has no address".to_owned()
    } else {
        "the host's addresses are the node's own or link-local: only an object of the root namespace may \
         lead there"
            .to_owned()
    };
    for address in allowed {
        match timeout(LONGEST_CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{address}: {error}"),
            Err(_) => failure = format!("{address}: no connection within {LONGEST_CONNECT:?}"),
        }
    }
    Err(failure)
}

/// Whether an address is one that others than the node could reach, too.
fn is_of_network(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let bad = v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast();
            !bad && v4.octets()[0] != 0
        }
        IpAddr::V6(v6) => {
            let bad = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast();
            !bad && !v6.is_unicast_link_local()
        }
    }
}

async fn get<S>(stream: S, authority: &str, target: &str) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shake = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shake.map_err(|error| format!("HTTP: {error}"))?;
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, "weir")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("HTTP: {error}"))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| format!("HTTP: {error}"))?;
        if response.status() != StatusCode::OK {
            return Err(format!("answers {} (redirects are not followed)", response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        Ok(body.map_err(|_| format!("breaks off, or sends more than {MOST_BYTES} bytes"))?.to_bytes())
    };
    // Both here, so that neither outlives this future.
    let connection = async {
        let _ended_or_failed = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = connection => never,
    }
}

/// Made for each fetch: the roots take more memory than all the rest of this, and may change on disk.
async fn tls_config(ca: Option<Arc<str>>) -> Result<Arc<ClientConfig>, String> {
    let roots = tokio::task::spawn_blocking(move || roots(ca.as_deref())).await;
    let roots = roots.map_err(|_| "the roots could not be read")??;
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| format!("TLS: {error}"))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, String> {
    let certificates = match ca {
        Some(pem) => certificates(pem).unwrap_or_default(),
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (added, _unfit) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err("the node has no root certificates (SSL_CERT_FILE names them): give jwks.ca".into());
    }
    Ok(roots)
}

async fn read_file(reach: Reach, path: String) -> Result<Bytes, String> {
    if reach != Reach::Node {
        return Err("a file is only read for objects of the root namespace".into());
    }
    let read = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<u8>> {
        // Opening a pipe would wait for its other end.
        let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("is not a file"));
        }
        let mut text = Vec::new();
        file.take(MOST_BYTES as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    });
    let text = read.await.map_err(|_| "the file could not be read".to_owned())?;
    let text = text.map_err(|error| error.to_string())?;
    if text.len() > MOST_BYTES {
        return Err(format!("has more than {MOST_BYTES} bytes"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaces_object_does_not_lead_to_the_node_itself() {
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_of_network(address.parse().expect("an address")), allowed, "{address}");
        }
    }
}
