//! Loads the programs, attaches them, and adopts what an earlier agent left attached.
//!
//! Entry point: [`Datapath::open`]. Links and maps are pinned: what is attached stays when the agent goes,
//! and the next one puts its own programs behind the same links without a gap.

mod attach;

use std::{
    collections::HashMap,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, RingBuf},
    programs::{CgroupSockAddr, ProgramError, SockOps},
};

use tokio::io::unix::AsyncFd;

use super::{
    bpf, bpffs,
    error::DatapathError,
    events::Events,
    netns::Netns,
    sockets::SocketMaker,
    steering::{Steering, SteeringError},
    tables::{PINNED, Tables, map},
};
use attach::{Target, attach, attach_all, open_cgroup, remove};

/// The built eBPF object.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WEIR_BPF_OBJECT"));

/// Programs attached once, to the cgroup, and how (`enum bpf_attach_type`).
const AT_CGROUP: [(&str, u32); 7] = [
    ("weir_connect4", 10),
    ("weir_connect6", 11),
    ("weir_peername4", 29),
    ("weir_peername6", 30),
    ("weir_sockname4", 31),
    ("weir_sockname6", 32),
    (OBSERVE, 3),
];

/// The one of them that is no `cgroup_sock_addr` program.
const OBSERVE: &str = "weir_observe";

/// The program attached to each pod's namespace.
const STEER: &str = "weir_steer";

/// `BPF_SK_LOOKUP` in `enum bpf_attach_type`.
const AT_LOOKUP: u32 = 36;

/// Where to load and attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// A cgroup2 directory; processes below it are captured when their namespace is enrolled.
    pub cgroup: PathBuf,
    /// Pin directory; `v<ABI>` below it is used.
    pub bpffs: PathBuf,
    /// TCP congestion control of the agent's own sockets; the host's when `None`.
    pub congestion: Option<String>,
    /// Whether the programs log.
    pub log: bool,
}

/// An attached program, as `weir status` shows it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The kernel's id of the program behind the link; 0 when it cannot be told.
    pub id: u32,
    /// Whether the link was there before this agent.
    pub adopted: bool,
}

/// Programs and maps in force.
pub struct Datapath {
    options: Options,
    directory: PathBuf,
    programs: Vec<Program>,
    ebpf: Ebpf,
    steering: Steering,
    /// Copies of it that are loaded and not attached yet, by the namespace's cookie.
    prepared: HashMap<u64, OwnedFd>,
    /// The maps.
    pub tables: Tables,
    sockets: SocketMaker,
}

impl std::fmt::Debug for Datapath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datapath").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Datapath {
    /// Loads the programs, attaches them to the cgroup or puts them behind the links that are there, and
    /// gives the stream of events. Called inside a tokio runtime.
    ///
    /// # Errors
    /// With one line that says what is missing and how to mend it.
    pub fn open(options: Options) -> Result<(Self, Events), DatapathError> {
        bpffs::prepare(&options.bpffs)?;
        let directory = options.bpffs.join(format!("v{}", weir_common::ABI));
        for part in ["maps", "links", "pods"] {
            fs::create_dir_all(directory.join(part)).map_err(|error| DatapathError::Attach {
                name: part.into(),
                target: directory.display().to_string(),
                error: error.to_string(),
            })?;
        }
        open_cgroup(&options.cgroup)?;
        let mut have_set_retval = true;
        let mut ebpf = load(&directory, &options, have_set_retval)?;
        if let Err(error) = load_program(&mut ebpf, AT_CGROUP[0].0) {
            // bpf_set_retval came with 5.18; without it a refused connect(2) says EPERM.
            tracing::debug!(%error, "trying without bpf_set_retval");
            have_set_retval = false;
            ebpf = load(&directory, &options, have_set_retval)?;
            load_program(&mut ebpf, AT_CGROUP[0].0)?;
        }
        for (name, _) in &AT_CGROUP[1..] {
            load_program(&mut ebpf, name)?;
        }
        let steering = steering(&directory, &options, have_set_retval)?;
        let programs = attach_all(&ebpf, &options.cgroup, &directory)?;
        let tables = Tables::take(&mut ebpf)?;
        let sockets = SocketMaker::new(
            descriptor(map(&mut ebpf, "AGENT_SOCKETS")?)?,
            descriptor(map(&mut ebpf, "CONNECTIONS")?)?,
            options.congestion.clone(),
        );
        let events = Events::new(RingBuf::try_from(map(&mut ebpf, "EVENTS")?)?)
            .map_err(|error| attach_error("EVENTS", "the runtime", error))?;
        let datapath =
            Self { options, directory, programs, ebpf, steering, prepared: HashMap::new(), tables, sockets };
        // aya parses the running kernel's types: some megabytes that are free again.
        super::memory::give_back();
        Ok((datapath, events))
    }

    /// Makes the agent's sockets.
    pub fn sockets(&self) -> &SocketMaker {
        &self.sockets
    }

    /// The programs attached to the cgroup.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Passes on what the programs log, from now on, if that was asked for.
    ///
    /// # Errors
    /// When the log's ring cannot be read.
    pub fn start_log(&mut self) -> anyhow::Result<()> {
        if !self.options.log {
            return Ok(());
        }
        let logger = aya_log::EbpfLogger::init(&mut self.ebpf)?;
        // SAFETY: the logger owns its ring's descriptor and gives the same one as long as it lives, which is
        // as long as the registration does.
        let logger = unsafe { AsyncFd::register(logger) };
        let mut logger = logger.map_err(|error| anyhow::anyhow!("{error}"))?;
        // Runs as long as the process: the log has no end of its own.
        drop(tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        }));
        Ok(())
    }

    /// Attaches every program that is not attached; says how many were not.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_again(&mut self) -> Result<usize, DatapathError> {
        let detached = self.detached();
        if detached > 0 {
            self.programs = attach_all(&self.ebpf, &self.options.cgroup, &self.directory)?;
        }
        Ok(detached)
    }

    /// Pins every map whose pin is gone; names them.
    ///
    /// # Errors
    /// When one cannot be pinned.
    pub fn pin_again(&self) -> io::Result<Vec<&'static str>> {
        let mut mended = Vec::new();
        for (name, map) in self.steering.maps() {
            let pin = self.directory.join("maps").join(name);
            if !pin.exists() {
                bpf::pin(map, &pin)?;
                mended.push(name);
            }
        }
        Ok(mended)
    }

    /// Loads copies of the steering program for namespaces that [`Datapath::steer`] is about to be given, in place of those
    /// loaded before and not used.
    pub fn prepare(&mut self, cookies: &[u64]) {
        self.prepared = self.steering.load_all(cookies);
    }

    /// Attaches a copy of the steering program to a pod's namespace, or puts it behind the link that is
    /// there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn steer(&mut self, netns: &Netns) -> Result<Program, DatapathError> {
        let program = match self.prepared.remove(&netns.cookie()) {
            Some(program) => program,
            None => self.steering.load(netns.cookie())?,
        };
        let to = Target {
            words: "a pod's network namespace",
            fd: netns.as_fd(),
            id: netns.inode(),
            is_cgroup: false,
            attach_type: AT_LOOKUP,
        };
        attach(STEER, program.as_fd(), &to, &self.pod_pin(netns.cookie()))
    }

    /// Detaches the steering program from a pod's namespace.
    pub fn unsteer(&mut self, cookie: u64) {
        remove(&self.pod_pin(cookie));
    }

    /// Whether the steering program is attached to this very namespace.
    pub fn is_steered(&self, netns: &Netns) -> bool {
        bpf::pinned(&self.pod_pin(netns.cookie()))
            .and_then(|link| bpf::link_info(link.as_fd(), false))
            .is_ok_and(|found| found.target == netns.inode())
    }

    /// Whether the steering program that is pinned for `cookie` is attached; when its namespace goes, it is not.
    pub fn is_steered_somewhere(&self, cookie: u64) -> bool {
        bpf::pinned(&self.pod_pin(cookie))
            .and_then(|link| bpf::link_info(link.as_fd(), false))
            .is_ok_and(|found| found.target != 0)
    }

    /// Cookies of the namespaces that have a steering program pinned.
    pub fn steered(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.directory.join("pods")) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Whether every program is attached to the cgroup.
    pub fn is_attached(&self) -> bool {
        self.detached() == 0
    }

    /// How many programs are not behind a pinned link to the cgroup, or not this agent's own.
    fn detached(&self) -> usize {
        let cgroup = fs::metadata(&self.options.cgroup).map_or(0, |cgroup| cgroup.ino());
        let is_attached = |program: &&Program| {
            bpf::pinned(&self.directory.join("links").join(&program.name))
                .and_then(|link| bpf::link_info(link.as_fd(), true))
                .is_ok_and(|found| found.target == cgroup && found.program == program.id)
        };
        self.programs.iter().filter(|program| !is_attached(program)).count()
    }

    fn pod_pin(&self, cookie: u64) -> PathBuf {
        self.directory.join("pods").join(cookie.to_string())
    }
}

fn load(directory: &Path, options: &Options, have_set_retval: bool) -> Result<Ebpf, DatapathError> {
    let level = log_level(options);
    let retval = u32::from(have_set_retval);
    let mut loader = EbpfLoader::new();
    for name in PINNED {
        loader.map_pin_path(name, directory.join("maps").join(name));
    }
    loader.override_global("HAVE_SET_RETVAL", &retval, true).override_global(aya_log::LEVEL, &level, true);
    Ok(loader.load(OBJECT)?)
}

/// The same program and constants as in [`load`], but for the cookie.
fn steering(directory: &Path, options: &Options, have_set_retval: bool) -> Result<Steering, SteeringError> {
    let (retval, level) = (u32::from(have_set_retval).to_ne_bytes(), [log_level(options)]);
    let constants: [(&str, &[u8]); 2] = [("HAVE_SET_RETVAL", &retval), (aya_log::LEVEL, &level)];
    Steering::new(OBJECT, STEER, (&directory.join("maps"), &PINNED), &constants, "NETNS_COOKIE")
}

fn log_level(options: &Options) -> u8 {
    if options.log { aya_log::Level::Debug as u8 } else { 0 }
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), DatapathError> {
    let result = if name == OBSERVE {
        program::<SockOps>(ebpf, name)?.load()
    } else {
        program::<CgroupSockAddr>(ebpf, name)?.load()
    };
    result.map_err(|error| program_error(name, error))
}

fn program_fd(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, DatapathError> {
    let program = ebpf.program(name).ok_or_else(|| attach_error(name, "anything", "not in the object"))?;
    let fd = program.fd().map_err(|error| program_error(name, error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| attach_error(name, "anything", error))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, DatapathError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or_else(|| attach_error(name, "the kernel", "not in the object"))?
        .try_into()
        .map_err(|error| program_error(name, error))
}

fn descriptor(map: Map) -> Result<OwnedFd, DatapathError> {
    let data: MapData = match map {
        Map::SkStorage(data) => data,
        _ => return Err(aya::maps::MapError::InvalidMapType { map_type: 0 }.into()),
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    fd.map_err(|error| attach_error("socket storage", "the agent", error))
}

fn program_error(name: &str, error: ProgramError) -> DatapathError {
    DatapathError::Program { name: name.into(), error }
}

fn attach_error(name: &str, target: &str, error: impl ToString) -> DatapathError {
    DatapathError::Attach { name: name.into(), target: target.into(), error: error.to_string() }
}
