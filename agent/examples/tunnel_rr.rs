//! The tunnel and the copy alone, without capture, policy or flows, to measure what they cost.
//!
//! `tunnel_rr keys DIR` makes a root and two identities. `tunnel_rr client DIR LISTEN TUNNEL` carries what
//! connects to LISTEN through a tunnel to TUNNEL; `tunnel_rr server DIR TUNNEL UPSTREAM` takes it in and
//! carries it to UPSTREAM; `tunnel_rr plain LISTEN UPSTREAM` carries it in plaintext. `WORKERS` is the number
//! of threads (1), `CONGESTION` the congestion control of every socket (the host's).

use std::{
    env, fs,
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::LocalSet,
};
use weir_agent::{
    identity::{Credentials, Identity, TrustDomain},
    proxy::copy::{Counters, Ended, plain, reset, through_tunnel},
    tunnel::{
        ConnectRequest, Incoming, Pool, PoolKey, PoolOptions, ServerOptions, TlsConfigs, Windows, serve,
    },
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["keys", dir] => keys(dir),
        ["client", dir, listen, tunnel] => {
            let (credentials, tunnel) = (credentials(dir, "client")?, tunnel.parse()?);
            workers(listen, move |listener| client(listener, credentials.clone(), tunnel))
        }
        ["server", dir, tunnel, upstream] => {
            let (credentials, upstream) = (credentials(dir, "server")?, upstream.parse()?);
            workers(tunnel, move |listener| server(listener, credentials.clone(), upstream))
        }
        ["plain", listen, upstream] => {
            let upstream = upstream.parse()?;
            workers(listen, move |listener| relay(listener, upstream))
        }
        _ => anyhow::bail!("usage: tunnel_rr keys|client|server|plain ..."),
    }
}

/// Runs `worker` on each of `WORKERS` threads, all of which accept from one socket.
fn workers<F>(listen: &str, worker: impl Fn(TcpListener) -> F + Send + Clone + 'static) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let listener = StdListener::bind(listen).context("listen")?;
    listener.set_nonblocking(true)?;
    congestion(&SockRef::from(&listener))?;
    let count: usize = env::var("WORKERS").map_or(Ok(1), |count| count.parse())?;
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let (listener, worker) = (listener.try_clone(), worker.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let run = async move { worker(TcpListener::from_std(listener?)?).await };
                LocalSet::new().block_on(&runtime, run)
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
    }
    Ok(())
}

fn congestion(socket: &SockRef<'_>) -> std::io::Result<()> {
    env::var("CONGESTION").map_or(Ok(()), |name| socket.set_tcp_congestion(name.as_bytes()))
}

/// `WINDOW`, a stream's window in KiB; a session's is 16 times that.
fn window(default: u32) -> anyhow::Result<u32> {
    Ok(env::var("WINDOW").map_or(Ok(default), |kib| kib.parse().map(|kib: u32| kib * 1024))?)
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    congestion(&SockRef::from(&socket))?;
    socket.set_nodelay(true)?;
    socket.connect(to).await
}

async fn client(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    tunnel: SocketAddr,
) -> anyhow::Result<()> {
    let mut options = PoolOptions::default();
    let stream = window(options.windows.stream)?;
    options.windows = Windows { stream, connection: stream * 16 };
    let pool = Rc::new(Pool::new(options));
    let key = Rc::new(PoolKey {
        source: credentials.identity.clone(),
        source_pod: "pod".into(),
        destination: tunnel,
        expected: identity("server")?,
    });
    loop {
        let (mut application, _) = listener.accept().await?;
        application.set_nodelay(true)?;
        let (pool, key, credentials) = (pool.clone(), key.clone(), credentials.clone());
        tokio::task::spawn_local(async move {
            let request = ConnectRequest::new("10.0.0.1:80".parse().expect("an address"));
            let connect = || connect(key.destination);
            let (mut stream, _) = match pool.open(&key, &credentials, connect, &request).await {
                Ok(opened) => opened,
                Err(error) => return eprintln!("{error}"),
            };
            let counters = Counters::default();
            let outcome = through_tunnel(&mut application, &mut stream, &counters).await;
            if let Ended::Failed(error) = outcome.ended {
                eprintln!("{error}");
            }
        });
    }
}

async fn server(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    upstream: SocketAddr,
) -> anyhow::Result<()> {
    let config = TlsConfigs::default().server(&credentials)?;
    let mut options = ServerOptions::default();
    let stream = window(options.windows.stream)?;
    options.windows = Windows { stream, connection: stream * 16 };
    loop {
        let (socket, _) = listener.accept().await?;
        let (config, options) = (config.clone(), options.clone());
        tokio::task::spawn_local(async move {
            let handler = move |incoming: Incoming| async move {
                let Ok(mut application) = connect(upstream).await else { return };
                let Ok(mut stream) = incoming.accept() else { return };
                let counters = Counters::default();
                through_tunnel(&mut application, &mut stream, &counters).await;
            };
            if let Err(error) = serve(socket, config, &options, std::future::pending(), handler).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn relay(listener: TcpListener, upstream: SocketAddr) -> anyhow::Result<()> {
    loop {
        let (mut near, _) = listener.accept().await?;
        near.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let Ok(mut far) = connect(upstream).await else { return drop(reset(&near)) };
            plain(&mut near, &mut far, &Counters::default()).await;
        });
    }
}

fn identity(service_account: &str) -> anyhow::Result<Identity> {
    Ok(Identity::new(&TrustDomain::default(), "bench", service_account)?)
}

fn keys(dir: &str) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    fs::write(format!("{dir}/root.der"), root.der())?;
    for name in ["client", "server"] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity(name)?.to_string().try_into()?)];
        fs::write(format!("{dir}/{name}.der"), params.signed_by(&key, &issuer)?.der())?;
        fs::write(format!("{dir}/{name}.key"), key.serialize_der())?;
    }
    Ok(())
}

fn credentials(dir: &str, name: &str) -> anyhow::Result<Arc<Credentials>> {
    let read = |file: String| fs::read(format!("{dir}/{file}")).with_context(|| format!("{dir}/{file}"));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(read("root.der".into())?))?;
    let chain = vec![CertificateDer::from(read(format!("{name}.der"))?)];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(read(format!("{name}.key"))?));
    Ok(Arc::new(Credentials {
        identity: identity(name)?,
        certified_key: Arc::new(CertifiedKey::new(chain, any_supported_type(&key)?)),
        roots: Arc::new(roots),
        not_before: SystemTime::now(),
        not_after: SystemTime::now() + Duration::from_secs(24 * 3600),
    }))
}
