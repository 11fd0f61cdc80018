//! Debian packages: which are needed, how to see without dpkg that one is there, installing the rest.
//!
//! Entry points: [`ALL`] and the parts of it, [`missing`], [`install`]. Knows nothing of what is done with them.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::command;

/// One package, and what shows that it, or something as good, is already there.
pub(crate) struct Need {
    /// The Debian package.
    pub(crate) package: &'static str,
    /// What shows that nothing has to be installed.
    pub(crate) probe: Probe,
    /// What needs it, for the reader of setup's output.
    pub(crate) purpose: &'static str,
}

/// How to see at a glance that a need is met.
pub(crate) enum Probe {
    /// A program of this name is on `PATH`.
    Program(&'static str),
    /// This file or directory exists.
    File(&'static str),
    /// A program of this name exists that needs no shared library.
    StaticProgram(&'static str),
    /// Debian's Python, where there is one, has this module.
    DebianPythonModule(&'static str),
}

const fn need(package: &'static str, probe: Probe, purpose: &'static str) -> Need {
    Need { package, probe, purpose }
}

/// What a task needs, as it asks for it. Building needs the least, so that it works without root.
pub(crate) type Needs = &'static [&'static [Need]];

/// Needed by `build` and `lint`, besides cargo and a BPF toolchain.
pub(crate) const FOR_BUILD: Needs = &[BUILD];
/// Needed by `image`.
pub(crate) const FOR_IMAGE: Needs = &[BUILD, IMAGE];
/// Needed by `demo`.
pub(crate) const FOR_DEMO: Needs = &[BUILD, PODS];
/// Needed by `cluster`.
pub(crate) const FOR_CLUSTER: Needs = &[BUILD, IMAGE, PODS, CLUSTER, BUSYBOX];
/// Needed by `fuzz`.
pub(crate) const FOR_FUZZ: Needs = &[BUILD, FUZZ];
/// Needed by `bench`.
pub(crate) const FOR_BENCH: Needs = &[BUILD, PODS, LOAD];
/// Needed by `kernels`.
pub(crate) const FOR_KERNELS: Needs = &[BUILD, BUSYBOX, GUESTS];
/// Needed by `test` without the kernel matrix.
pub(crate) const FOR_DATA_PATH: Needs = &[BUILD, IMAGE, PODS, CLIENTS, CLUSTER, BUSYBOX];
/// Needed by `test`.
pub(crate) const FOR_TEST: Needs = &[BUILD, IMAGE, PODS, CLIENTS, CLUSTER, BUSYBOX, GUESTS];
/// Needed by any task: what `setup` installs.
pub(crate) const ALL: Needs = &[BUILD, IMAGE, FUZZ, PODS, CLIENTS, CLUSTER, BUSYBOX, LOAD, GUESTS];

const BUILD: &[Need] = &[
    need("gcc", Probe::Program("cc"), "building: the linker, and the C of the cryptography"),
    need("libc6-dev", Probe::File("/usr/include/stdlib.h"), "building: the C library's headers"),
];
const IMAGE: &[Need] = &[
    need("musl-tools", Probe::Program("musl-gcc"), "image: a C library that is linked in"),
    need(
        "ca-certificates",
        Probe::File("/etc/ssl/certs/ca-certificates.crt"),
        "image: the roots by which the agent knows other servers",
    ),
];
const FUZZ: &[Need] = &[need("g++", Probe::Program("c++"), "fuzz: the C++ of the fuzzer")];
const PODS: &[Need] = &[
    need("iproute2", Probe::Program("ip"), "demo, tests: network namespaces"),
    need("util-linux", Probe::Program("nsenter"), "demo, tests: running inside a pod"),
    need("curl", Probe::Program("curl"), "demo, tests: a client, and the agent's own API"),
    need("nginx-light", Probe::Program("nginx"), "demo, tests: a server"),
    need("python3", Probe::Program("python3"), "demo, tests: asyncio and raw-socket clients"),
];
const CLIENTS: &[Need] = &[
    // A JRE cannot run a `.java` file, and a checked-in class would be no source.
    need("default-jdk-headless", Probe::Program("javac"), "tests: Java NIO clients"),
    need(
        "python3-venv",
        Probe::DebianPythonModule("ensurepip"),
        "tests: Python's clients, and Go where it is too old",
    ),
    need("nghttp2-client", Probe::Program("h2load"), "tests: HTTP load"),
];
const CLUSTER: &[Need] = &[
    need("containerd", Probe::Program("containerd"), "tests: a Kubernetes: the container runtime"),
    need("runc", Probe::Program("runc"), "tests: a Kubernetes: what starts containers"),
    need(
        "containernetworking-plugins",
        Probe::File("/usr/lib/cni/bridge"),
        "tests: a Kubernetes: networks of pods",
    ),
    need("iptables", Probe::Program("iptables"), "tests: a Kubernetes: Services without a mesh"),
    need("conntrack", Probe::Program("conntrack"), "tests: a Kubernetes: the same"),
];
const BUSYBOX: &[Need] =
    &[need("busybox-static", Probe::StaticProgram("busybox"), "tests: user space of pods and of guests")];
const LOAD: &[Need] = &[
    need("wrk", Probe::Program("wrk"), "bench: HTTP load"),
    need("python3-pip", Probe::Program("pip3"), "bench: fetching Envoy, to compare with"),
];
const GUESTS: &[Need] = &[
    need("qemu-system-x86", Probe::Program("qemu-system-x86_64"), "kernels: booting them"),
    need("binutils", Probe::Program("strip"), "kernels: a small self-test"),
    need("xz-utils", Probe::Program("xz"), "kernels: unpacking their modules"),
];

/// The programs of [`ALL`], which setup has made sure of.
pub(crate) fn programs() -> String {
    let programs = ALL.iter().copied().flatten().filter_map(|need| match need.probe {
        Probe::Program(name) | Probe::StaticProgram(name) => Some(name),
        Probe::File(_) | Probe::DebianPythonModule(_) => None,
    });
    programs.collect::<Vec<_>>().join(" ")
}

/// The needs that are not met. Starts no program, so that every task can ask first.
pub(crate) fn missing(needs: Needs) -> Vec<&'static Need> {
    needs.iter().copied().flatten().filter(|need| !is_met(&need.probe)).collect()
}

fn is_met(probe: &Probe) -> bool {
    match probe {
        Probe::Program(name) => command::find(name).is_some(),
        Probe::File(path) => Path::new(path).exists(),
        Probe::StaticProgram(name) => command::find(name).is_some_and(|file| is_static(&file)),
        Probe::DebianPythonModule(name) => has_python_module(name),
    }
}

/// Debian splits Python's own library into packages; others do not.
fn has_python_module(name: &str) -> bool {
    // `python3` is a link to `python3.11`, whose library is in a folder of that name.
    let Ok(interpreter) = fs::canonicalize("/usr/bin/python3") else {
        return command::find("python3").is_some();
    };
    let version = interpreter.file_name().unwrap_or_default();
    Path::new("/usr/lib").join(version).join(name).join("__init__.py").exists()
}

/// A program with an interpreter names it in its first page.
fn is_static(file: &Path) -> bool {
    let Ok(bytes) = fs::read(file) else { return false };
    !bytes[..bytes.len().min(4096)].windows(9).any(|window| window == b"/ld-linux")
}

/// Whether this system installs packages with apt.
pub(crate) fn has_apt() -> bool {
    command::find("apt-get").is_some()
}

/// Whether apt knows all `packages`, by the lists it has.
pub(crate) fn known(packages: &[&str]) -> bool {
    has_apt()
        && packages.iter().all(|package| {
            command::output(Command::new("apt-cache").args(["show", "--no-all-versions", package])).is_ok()
        })
}

/// Fetches apt's lists of packages.
pub(crate) fn update_lists() -> Result<()> {
    command::quiet(Command::new("apt-get").args(["update", "-qq"]))
}

/// Installs `packages`, or says which command does. The lists must be fresh.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let command = "apt-get install -y --no-install-recommends";
    if !has_apt() {
        bail!("these are missing, and there is no apt to install them: {}", packages.join(" "));
    }
    if !command::is_root() {
        bail!("packages are missing; as root: apt-get update && {command} {}", packages.join(" "));
    }
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-qqy", "--no-install-recommends"]).args(packages);
    command::quiet(apt.env("DEBIAN_FRONTEND", "noninteractive"))?;
    stop_services(packages)
}

/// A server that the tests start for themselves must not also run on this machine from now on.
fn stop_services(packages: &[&str]) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (package, service) in [("nginx-light", "nginx"), ("containerd", "containerd")] {
        if packages.contains(&package) {
            command::quiet(Command::new("systemctl").args(["disable", "--now", service]))?;
        }
    }
    Ok(())
}
