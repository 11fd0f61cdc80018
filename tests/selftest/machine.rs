//! Two pods and the data path over them, made with what a guest's busybox can do.
//!
//! Entry points: [`Machine::new`], [`Machine::remove`]; between checks, [`Machine::begin`]. All that it makes
//! bears the name of this process, so that the harness sweeps what a killed run left.

use std::{
    fs, io,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Runtime;
use weir_agent::{
    addr::octets,
    check::cgroup2_root,
    datapath::{Datapath, Options, events::Events, netns::Netns, uninstall::uninstall},
};
use weir_common::*;
use weir_tests::inside;

/// How long anything is waited for; guests are slow.
const LIMIT: Duration = Duration::from_secs(10);

/// The pods, and what is attached to them.
pub(super) struct Machine {
    /// The pod that dials.
    pub(super) client: Pod,
    /// The pod that is dialled.
    pub(super) server: Pod,
    datapath: Option<Datapath>,
    events: Option<Events>,
    heard: Vec<Event>,
    generation: u32,
    runtime: Runtime,
    name: String,
    cgroup: PathBuf,
    /// Where this process was before.
    home: PathBuf,
}

/// A network namespace with an address of each family.
pub(super) struct Pod {
    /// The namespace.
    pub(super) netns: Netns,
    /// The loopback port of its redirected connections.
    pub(super) virtual_port: u16,
    path: PathBuf,
    host: u8,
}

impl Pod {
    fn new(name: &str, host: u8) -> Result<Self> {
        let path = Path::new("/run/netns").join(name);
        fs::create_dir_all("/run/netns")?;
        fs::write(&path, "")?;
        sh(&format!("unshare --net={} true", path.display()))?;
        let netns = Netns::open(&path)?;
        Ok(Self { netns, virtual_port: 61_000 + u16::from(host), path, host })
    }

    /// Its namespace's cookie.
    pub(super) fn cookie(&self) -> u64 {
        self.netns.cookie()
    }

    /// Its IPv4 address.
    pub(super) fn v4(&self) -> IpAddr {
        Ipv4Addr::new(10, 244, 1, self.host).into()
    }

    /// Its IPv6 address.
    pub(super) fn v6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd10, 0x244, 1, 0, 0, 0, 0, self.host.into()).into()
    }

    /// Runs `code` on a thread in the namespace, in this process' cgroup.
    pub(super) fn inside<T: Send>(&self, code: impl FnOnce() -> T + Send) -> Result<T> {
        inside(&self.path, code)
    }

    /// Connects as an application does.
    pub(super) fn dial(&self, ip: IpAddr, port: u16) -> Result<io::Result<TcpStream>> {
        self.inside(|| TcpStream::connect_timeout(&SocketAddr::new(ip, port), LIMIT))
    }

    /// Connects as an application does, and succeeds.
    pub(super) fn connect(&self, ip: IpAddr, port: u16) -> Result<TcpStream> {
        let stream = self.dial(ip, port)?.with_context(|| format!("connecting to {ip} port {port}"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// Listens as an application does, on every address.
    pub(super) fn listen(&self, port: u16) -> Result<TcpListener> {
        let listener = self.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        listener.with_context(|| format!("listening on port {port}"))
    }

    fn sh(&self, script: &str) -> Result<()> {
        let script = script.to_owned();
        self.inside(move || sh(&script))?
    }
}

impl Machine {
    /// Makes the pods and enters a cgroup of its own.
    pub(super) fn new() -> Result<Self> {
        let name = format!("weir-{}-0", std::process::id());
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = cgroup2_root(&mounts).context("cgroup2 is not mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let home = own.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup2")?;
        let (home, cgroup) = (root.join(home), root.join(&name));
        fs::create_dir(&cgroup).with_context(|| format!("{} (needs root)", cgroup.display()))?;
        enter(&cgroup)?;
        let client = Pod::new(&format!("{name}-client"), 2)?;
        let server = Pod::new(&format!("{name}-server"), 3)?;
        connect_pods(&client, &server)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (heard, generation) = (Vec::new(), 0);
        let (datapath, events) = (None, None);
        Ok(Self { client, server, datapath, events, heard, generation, runtime, name, cgroup, home })
    }

    /// Undoes all of it.
    pub(super) fn remove(mut self) -> Result<()> {
        self.close();
        uninstall(&self.bpffs())?;
        enter(&self.home)?;
        fs::remove_dir(&self.cgroup).with_context(|| self.cgroup.display().to_string())?;
        let paths = [self.client.path.clone(), self.server.path.clone()];
        // A mount of which a file is open is busy.
        drop(self);
        paths.iter().try_for_each(|path| sh(&format!("umount {0} && rm {0}", path.display())))
    }

    /// Empties every map and forgets every event: each check writes what it needs.
    pub(super) fn begin(&mut self) -> Result<()> {
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let tables = &mut datapath.tables;
        tables.workloads.unset_where(|_, _| true);
        tables.endpoints.unset_where(|_, _| true);
        tables.services.unset_where(|_, _| true);
        tables.backends.unset_where(|_, _| true);
        tables.verdicts.unset_where(|_, _| true);
        tables.plaintext_sources.unset_where(|_, _| true);
        tables.port_rules.unset_where(|_, _| true);
        tables.node_addresses.unset_where(|_, _| true);
        self.configure(0)?;
        self.heard.clear();
        Ok(())
    }

    /// Opens the data path, which is closed first if it is open.
    pub(super) fn open(&mut self) -> Result<&mut Datapath> {
        self.close();
        let options =
            Options { cgroup: self.cgroup.clone(), bpffs: self.bpffs(), congestion: None, log: false };
        let _inside = self.runtime.enter();
        let (datapath, events) = Datapath::open(options)?;
        self.events = Some(events);
        Ok(self.datapath.insert(datapath))
    }

    /// Closes it, as an agent that ends does: what is pinned stays.
    pub(super) fn close(&mut self) {
        let _inside = self.runtime.enter();
        self.events = None;
        self.datapath = None;
    }

    /// The data path.
    pub(super) fn datapath(&mut self) -> Result<&mut Datapath> {
        self.datapath.as_mut().context("the data path is not open")
    }

    /// Where it is pinned.
    pub(super) fn bpffs(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.name)
    }

    /// Puts a new policy generation in force, with these bits of [`config`].
    pub(super) fn configure(&mut self, flags: u32) -> Result<()> {
        self.generation += 1;
        let config = Config { generation: self.generation, flags, workers: 1, ..Config::default() };
        Ok(self.datapath()?.tables.configure(config)?)
    }

    /// Attaches the steering program to both pods.
    pub(super) fn steer(&mut self) -> Result<()> {
        let Self { client, server, datapath, .. } = self;
        let datapath = datapath.as_mut().context("the data path is not open")?;
        datapath.steer(&client.netns)?;
        datapath.steer(&server.netns)?;
        Ok(())
    }

    /// Enrols the client, with bits of [`workload`].
    pub(super) fn enrol_client(&mut self, flags: u32) -> Result<()> {
        let (cookie, value) = entry(&self.client, flags);
        ensure!(self.datapath()?.tables.workloads.set(cookie, value), "no room in WORKLOADS");
        Ok(())
    }

    /// Enrols the server, with bits of [`workload`].
    pub(super) fn enrol_server(&mut self, flags: u32) -> Result<()> {
        let (cookie, value) = entry(&self.server, flags);
        ensure!(self.datapath()?.tables.workloads.set(cookie, value), "no room in WORKLOADS");
        Ok(())
    }

    /// Makes the server's addresses endpoints of the mesh: on this node where `here`, else on another one.
    pub(super) fn mesh_server(&mut self, here: bool) -> Result<()> {
        let netns = if here { self.server.cookie() } else { 0 };
        for ip in [self.server.v4(), self.server.v6()] {
            let endpoint = Endpoint { netns, flags: endpoint::MESHED, pad: 0 };
            ensure!(self.datapath()?.tables.endpoints.set(address(ip), endpoint), "no room in ENDPOINTS");
        }
        Ok(())
    }

    /// Lays down a verdict about the client, or about a class of plaintext, and the server.
    pub(super) fn decide(&mut self, source: u64, port: u16, action: u32) -> Result<()> {
        let (destination, generation) = (self.server.cookie(), self.generation);
        for family in [4, 6] {
            let key = VerdictKey { source, destination, port, family, pad: 0 };
            let verdict = Verdict { generation, action };
            ensure!(self.datapath()?.tables.verdicts.set(key, verdict), "no room in VERDICTS");
        }
        Ok(())
    }

    /// Steers SYNs of a kind in a pod to a new listener of the agent's, which it gives.
    pub(super) fn agent_listens(&mut self, pod: fn(&Self) -> &Pod, kind: u32) -> Result<TcpListener> {
        let key = ListenerKey { netns: pod(self).cookie(), kind, worker: 0 };
        let datapath = self.datapath.as_ref().context("the data path is not open")?;
        let listener = datapath.sockets().listener(&pod(self).netns)?;
        self.datapath()?.tables.steer_to(key, &listener)?;
        Ok(listener)
    }

    /// Connects from the client with a socket of the agent's.
    pub(super) fn agent_dials(&mut self, ip: IpAddr, port: u16) -> Result<io::Result<TcpStream>> {
        let datapath = self.datapath.as_ref().context("the data path is not open")?;
        let to = SocketAddr::new(ip, port);
        let socket = datapath.sockets().dialler(&self.client.netns, to)?;
        socket.set_nonblocking(false)?;
        Ok(socket.connect_timeout(&to.into(), LIMIT).map(|()| socket.into()))
    }

    /// How often `counter` was counted so far.
    pub(super) fn counted(&mut self, counter: u32) -> Result<u64> {
        Ok(self.datapath()?.tables.counters()[counter as usize])
    }

    /// Waits for an event of this kind for which `condition` holds. Ends of earlier checks' connections may
    /// come late.
    pub(super) fn event(&mut self, kind: u16, condition: impl Fn(&Event) -> bool) -> Result<Event> {
        let Self { events, heard, runtime, .. } = self;
        let events = events.as_mut().context("the data path is not open")?;
        loop {
            if let Some(found) = heard.iter().find(|event| event.kind == kind && condition(event)) {
                return Ok(*found);
            }
            let next = runtime
                .block_on(async { tokio::time::timeout(LIMIT, events.next(64, |e| heard.push(e))).await });
            let Ok(result) = next else {
                let kinds: Vec<u16> = heard.iter().map(|event| event.kind).collect();
                bail!("no event of kind {kind}, only of kinds {kinds:?}");
            };
            result?;
        }
    }
}

fn entry(pod: &Pod, flags: u32) -> (u64, Workload) {
    let (address4, address6) = (address(pod.v4()), address(pod.v6()));
    (pod.cookie(), Workload { address4, address6, flags, virtual_port: pod.virtual_port, pad: 0 })
}

/// An address as the maps have it.
pub(super) fn address(ip: IpAddr) -> Address {
    Address::from_octets(octets(ip))
}

/// Takes in one connection.
pub(super) fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let limit = Timespec::try_from(LIMIT)?;
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit))? == 0 {
        bail!("no connection came to {}", listener.local_addr()?);
    }
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends `text` one way and expects it there.
pub(super) fn carry(mut from: &TcpStream, mut to: &TcpStream, text: &str) -> Result<()> {
    from.write_all(text.as_bytes())?;
    let mut read = vec![0; text.len()];
    to.read_exact(&mut read).context("reading what was sent")?;
    ensure!(read == text.as_bytes(), "other bytes came than were sent");
    Ok(())
}

/// Errors unless connecting was refused as by a closed port.
pub(super) fn refused(outcome: io::Result<TcpStream>) -> Result<()> {
    match outcome {
        Ok(stream) => bail!("connected from {}", stream.local_addr()?),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => bail!("{error}, not ECONNREFUSED"),
    }
}

/// A veth between the pods. busybox cannot name its other end, which comes to be veth0.
fn connect_pods(client: &Pod, server: &Pod) -> Result<()> {
    client.sh("ip link set lo up && ip link add name eth0 type veth")?;
    let mut there = server.inside(|| Command::new("sleep").arg("60").spawn())??;
    let moved = client.sh(&format!("ip link set veth0 netns {}", there.id()));
    there.kill()?;
    there.wait()?;
    moved?;
    server.sh("ip link set lo up && ip link set veth0 name eth0")?;
    for pod in [client, server] {
        pod.sh(&format!(
            "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad && ip link set eth0 up && \
             ip addr add {}/24 dev eth0 && ip -6 addr add {}/64 dev eth0",
            pod.v4(),
            pod.v6()
        ))?;
    }
    Ok(())
}

fn enter(cgroup: &Path) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, std::process::id().to_string()).with_context(|| procs.display().to_string())
}

fn sh(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-c", script]).output().context("cannot start sh")?;
    if !output.status.success() {
        bail!("{script}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
