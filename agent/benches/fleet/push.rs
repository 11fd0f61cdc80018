//! What a server of its own would cost the controller: pods over TLS to each agent, as Istio's workload xDS sends them.
//!
//! Entry point: [`push`]. The frames are as long as xDS's are and nothing else of it is there, so that this is the least
//! that it could cost.

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::time::{ClockId, clock_gettime};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes of one pod: its Workload message, its resource's name and what is around them.
const POD: usize = 300;

pub(super) async fn push(count: usize, pods: usize) -> Result<()> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    // The clients on a thread of their own, whose time is not the server's.
    let readers = std::thread::spawn(move || -> Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..count {
                let connector = connector.clone();
                all.spawn(async move {
                    let socket = TcpStream::connect(address).await?;
                    let mut stream = connector.connect(ServerName::try_from("localhost")?, socket).await?;
                    let mut buffer = vec![0; 64 << 10];
                    while stream.read(&mut buffer).await? > 0 {}
                    anyhow::Ok(())
                });
            }
            while let Some(ended) = all.join_next().await {
                // A connection that is dropped is how this ends.
                let _ = ended?;
            }
            Ok(())
        })
    });
    let server = std::thread::spawn(move || serve(listener, &acceptor, count, pods));
    server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    let _ = readers.join();
    Ok(())
}

fn serve(listener: TcpListener, acceptor: &TlsAcceptor, count: usize, pods: usize) -> Result<()> {
    let listener = listener.into_std()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(acceptor.accept(listener.accept().await?.0).await?);
        }
        let (began, cpu) = (Instant::now(), thread_time());
        let page = vec![7; POD * 100];
        for stream in &mut streams {
            for _ in 0..pods.div_ceil(100) {
                stream.write_all(&page).await?;
            }
            stream.flush().await?;
        }
        let first = json!({"seconds": began.elapsed().as_secs_f64(), "cpu": thread_time() - cpu});
        let (changes, cpu) = (100, thread_time());
        for _ in 0..changes {
            for stream in &mut streams {
                stream.write_all(&page[..POD]).await?;
                stream.flush().await?;
            }
        }
        let each = (thread_time() - cpu) / f64::from(changes);
        println!("{}", json!({"first": first, "cpu_of_a_change": each, "bytes_of_a_change": POD * count}));
        Ok(())
    })
}

fn thread_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
