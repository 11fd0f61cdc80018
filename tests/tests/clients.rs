//! Clients and a server that no one here wrote: curl, Python's asyncio, Java's NIO, Go's net/http, against
//! nginx behind a Service, on the same node and on the other, over IPv4 and IPv6.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use weir_tests::{Agent, Manifest, Pod, Process, Topology, client, eventually};

/// The client and a server on the first node, another server on the second; each server is nginx behind a
/// Service of its own.
struct Mesh {
    near: Agent,
    client: Pod,
    /// nginx near, nginx far.
    _servers: [Process; 2],
    /// What all clients fetch.
    body: Body,
    _far: Agent,
    /// Last, so that the agents go first.
    topology: Topology,
}

/// The file that is served.
struct Body {
    length: usize,
    sha256: String,
}

/// The Services: by which path their server is reached, which pod it is, their addresses.
const SERVICES: [(&str, &str, [&str; 2]); 2] =
    [("direct", "near", ["10.96.0.1", "fd10:96::1"]), ("tunnel", "far", ["10.96.0.2", "fd10:96::2"])];

/// Where a client is to fetch from.
fn targets() -> impl Iterator<Item = SocketAddr> {
    let addresses = SERVICES.iter().flat_map(|(_, _, addresses)| addresses);
    addresses.map(|address| SocketAddr::new(address.parse().expect("an address"), 80))
}

impl Mesh {
    fn new() -> Result<Self> {
        let topology = Topology::new()?;
        let (a, b) = (topology.node("a"), topology.node("b"));
        let client = a.pod("shop/client")?;
        let servers = [a.pod("shop/near")?, b.pod("shop/far")?];
        let state = topology.state();
        state.put_all(&[Manifest::meshed("shop"), client.manifest()])?;
        for (server, (_, name, addresses)) in servers.iter().zip(SERVICES) {
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
            state.put(&server.manifest())?;
            state.put(&Manifest::service("shop", name, &addresses).port("web", 80, 8080))?;
            state.put_all(&Manifest::endpoint_slices("shop", name, ("web", 8080), &[server]))?;
        }
        let body = Body::write(&topology.dir())?;
        let [near, far] = servers.each_ref().map(|server| nginx(&topology.dir(), server));
        let mut agents = topology.agents()?.into_iter();
        let agents = (agents.next().expect("two nodes"), agents.next().expect("two nodes"));
        Ok(Self { near: agents.0, client, _servers: [near?, far?], body, topology, _far: agents.1 })
    }

    /// Checks a client's lines, `PEER STATUS LENGTH SHA256`: the whole body, `times` from every address.
    fn check(&self, printed: &str, times: usize) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in printed.lines() {
            let (peer, rest) = line.split_once(' ').unwrap_or_default();
            assert_eq!(rest, format!("200 {} {}", self.body.length, self.body.sha256), "{printed}");
            let peer: IpAddr = peer.parse().unwrap_or_else(|_| panic!("no address: {line}"));
            *counts.entry(peer.to_string()).or_default() += 1;
        }
        let wanted: BTreeMap<String, usize> = targets().map(|to| (to.ip().to_string(), times)).collect();
        assert_eq!(counts, wanted, "{printed}");
    }

    /// Checks that the client's connections went by the paths that they ought to, and were counted.
    fn check_flows(&mut self) -> Result<()> {
        for (path, name, _) in SERVICES {
            for family in ["10.244.", "[fd10:244:"] {
                let what = format!("{path} to {name} at {family}");
                let flow = self.near.wait_flow(&what, |flow| {
                    flow.is(&[
                        ("direction", "outbound"),
                        ("path", path),
                        ("verdict", "forwarded"),
                        ("source.identity", "spiffe://cluster.local/ns/shop/sa/client"),
                        ("destination.identity", &format!("spiffe://cluster.local/ns/shop/sa/{name}")),
                        ("destination.service", &format!("shop/{name}")),
                    ]) && flow.text("destination.address").starts_with(family)
                })?;
                let received = flow.number("bytes_received").unwrap_or_default();
                assert!(received > self.body.length as u64, "{flow:?}");
            }
        }
        let bad: Vec<_> =
            self.near.flows()?.into_iter().filter(|flow| flow.text("verdict") != "forwarded").collect();
        assert!(bad.is_empty(), "{bad:?}");
        Ok(())
    }
}

impl Body {
    /// Not a multiple of anything, without a pattern that a repeated or lost block would keep.
    fn write(dir: &Path) -> Result<Self> {
        let text: String =
            (0..60_000_u32).map(|n| format!("{n} {}\n", n.wrapping_mul(2_654_435_761))).collect();
        let file = dir.join("body");
        fs::write(&file, &text)?;
        let sums = Command::new("sha256sum").arg(&file).output().context("cannot start sha256sum")?;
        let sha256 = String::from_utf8(sums.stdout)?.split(' ').next().unwrap_or_default().to_owned();
        Ok(Self { length: text.len(), sha256 })
    }
}

/// Serves `dir` in `pod` at port 8080, with a listener for every worker (SO_REUSEPORT).
fn nginx(dir: &Path, pod: &Pod) -> Result<Process> {
    let own = dir.join(format!("nginx-{}", pod.name()));
    fs::create_dir(&own)?;
    let (root, file) = (dir.display(), own.join("nginx.conf"));
    let config = format!(
        "user root; daemon off; worker_processes 2; pid {own}/pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
           access_log off; sendfile on; client_body_temp_path {own}/1; proxy_temp_path {own}/2;\n\
           fastcgi_temp_path {own}/3; uwsgi_temp_path {own}/4; scgi_temp_path {own}/5;\n\
           server {{ listen 8080 reuseport; listen [::]:8080 reuseport; root {root}; }}\n\
         }}\n",
        own = own.display()
    );
    fs::write(&file, config)?;
    let mut server =
        pod.spawn(["nginx", "-p", &own.display().to_string(), "-c", &file.display().to_string()])?;
    eventually("nginx to listen", || {
        if !server.is_running()? {
            bail!("nginx ended: {}", server.log());
        }
        let both = ["127.0.0.1:8080", "[::1]:8080"].map(|own| own.parse().expect("an address"));
        Ok((pod.dial(both[0])?.connected && pod.dial(both[1])?.connected).then_some(()))
    })?;
    Ok(server)
}

/// A file beside the sources of these tests.
fn source(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name).display().to_string()
}

/// `ADDRESS PORT …`
fn words() -> Vec<String> {
    targets().flat_map(|to| [to.ip().to_string(), to.port().to_string()]).collect()
}

#[test]
fn curl_fetches_from_both_nodes_in_every_way_it_has_to_connect() -> Result<()> {
    let mut mesh = Mesh::new()?;
    let [v4, v6] = mesh.client.addresses().map(|ip| ip.to_string());
    let fetched = mesh.topology.dir().join("fetched");
    for to in targets() {
        let own = if to.is_ipv4() { &v4 } else { &v6 };
        let ways: [&[&str]; 4] =
            [&[], &["--interface", own], &["--tcp-fastopen"], &["--no-keepalive", "--http1.0"]];
        for way in ways {
            let url = format!("http://{to}/body");
            let file = fetched.display().to_string();
            let form = "%{remote_ip} %{local_ip} %{http_code} %{size_download}";
            let plain = ["curl", "-sS", "--max-time", "15", "-o", &file, "-w", form, &url];
            let printed = mesh.client.run([&plain[..], way].concat())?.success()?;
            assert_eq!(printed, format!("{} {own} 200 {}", to.ip(), mesh.body.length), "{way:?}");
            assert_eq!(fs::read(&fetched)?, fs::read(mesh.topology.dir().join("body"))?, "{to} {way:?}");
        }
    }
    mesh.check_flows()
}

#[test]
fn python_asyncio_streams_fetch_from_both_nodes() -> Result<()> {
    let mut mesh = Mesh::new()?;
    let script = source("asyncio_get.py");
    let command = ["python3", &script, "/body"].map(str::to_owned).into_iter().chain(words());
    mesh.check(&mesh.client.run(command)?.success()?, 8);
    mesh.check_flows()
}

#[test]
fn java_nio_channels_fetch_from_both_nodes() -> Result<()> {
    let mut mesh = Mesh::new()?;
    let program = source("NioGet.java");
    // Started from source: a JDK is there, and a class file would be no source.
    let quick = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", &program, "/body"];
    let command = quick.map(str::to_owned).into_iter().chain(words());
    let printed = mesh.client.spawn(command)?.finish_within(Duration::from_secs(60))?.success()?;
    mesh.check(&printed, 4);
    mesh.check_flows()
}

#[test]
fn go_net_http_fetches_from_both_nodes_and_keeps_its_connections() -> Result<()> {
    let mut mesh = Mesh::new()?;
    let command = [client("httpget")?, "/body".to_owned()];
    let command = command.into_iter().chain(targets().map(|to| to.to_string()));
    mesh.check(&mesh.client.run(command)?.success()?, 8);
    mesh.check_flows()?;
    // It fetched 32 times, and kept connections for it.
    let flows = mesh.near.flows()?;
    let connections = flows.iter().filter(|flow| flow.text("direction") == "outbound").count();
    assert!(connections < 32, "{connections} connections");
    Ok(())
}
