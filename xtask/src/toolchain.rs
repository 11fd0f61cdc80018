//! The BPF toolchain: a rustc with `core` for BPF, and a bpf-linker built against that rustc's LLVM.
//!
//! Entry points: [`Toolchain::ready`] (at a glance), [`install`], [`Toolchain::cargo`]. There are two ways
//! to it, [`Way`]; which one it was does not matter to what is built. Knows nothing of the programs.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{checkout::Checkout, command, packages};

const LINKER_VERSION: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";
/// A stable rustc, the `core` that belongs to it, and its clippy.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];

/// Where rustc for BPF comes from.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Debian's packages: a stable rustc with a prebuilt `core`.
    Debian,
    /// rustup's nightly with rust-src: `core` is built. `WEIR_NIGHTLY` names another than `nightly`.
    Nightly,
}

/// A toolchain that is there.
pub(crate) struct Toolchain {
    way: Way,
    rustc: PathBuf,
    llvm: PathBuf,
    tools: PathBuf,
}

/// The way that needs no more than a linker on this machine.
pub(crate) fn installed_way() -> Option<Way> {
    [Way::Debian, Way::Nightly].into_iter().find(|way| way.is_installed())
}

/// The way that can be gone from here; apt's lists must be fresh.
pub(crate) fn choose_way() -> Result<Way> {
    let debian = packages::known(&DEBIAN_PACKAGES);
    if debian && command::is_root() {
        Ok(Way::Debian)
    } else if command::find("rustup").is_some() {
        Ok(Way::Nightly)
    } else if debian {
        bail!(
            "no BPF toolchain; as root: apt-get install -y --no-install-recommends {}",
            DEBIAN_PACKAGES.join(" ")
        );
    } else {
        bail!("no BPF toolchain: neither does apt know rustc-web, nor is rustup here (https://rustup.rs)");
    }
}

/// Brings rustc (for the nightly way) and the linker, unless they are there.
pub(crate) fn install(checkout: &Checkout, way: Way) -> Result<Toolchain> {
    if let Some(ready) = Toolchain::ready(checkout).filter(|ready| ready.way == way) {
        return Ok(ready);
    }
    if way == Way::Nightly && !way.is_installed() {
        let nightly = nightly();
        eprintln!("setup installs rustup's {nightly} with rust-src");
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", &nightly, "--profile", "minimal", "-c", "rust-src"]);
        command::run(&mut rustup)?;
    }
    let rustc = way.rustc().context("this rustc is not there; `cargo xtask setup` installs it")?;
    let toolchain = Toolchain { way, llvm: libllvm(&rustc)?, rustc, tools: checkout.tools() };
    toolchain.install_linker()?;
    fs::write(stamp_file(&toolchain.tools), toolchain.stamp()?)?;
    Ok(toolchain)
}

impl Way {
    /// Whether rustc and its `core` are there.
    pub(crate) fn is_installed(self) -> bool {
        let Some(rustc) = self.rustc() else { return false };
        let rustlib = rustc.parent().and_then(Path::parent).map(|sysroot| sysroot.join("lib/rustlib"));
        let core = match self {
            Self::Debian => TARGET,
            Self::Nightly => "src/rust/library/core",
        };
        rustlib.is_some_and(|rustlib| rustlib.join(core).is_dir()) && self.missing_packages().is_empty()
    }

    /// Packages that this way still needs.
    pub(crate) fn missing_packages(self) -> Vec<&'static str> {
        if self == Self::Nightly {
            return Vec::new();
        }
        let core = format!("/usr/lib/rustlib/{TARGET}");
        let probes = ["/usr/bin/rustc", &core, "/usr/bin/clippy-driver"];
        let pairs = DEBIAN_PACKAGES.into_iter().zip(probes);
        pairs.filter(|(_, probe)| !Path::new(probe).exists()).map(|(package, _)| package).collect()
    }

    fn rustc(self) -> Option<PathBuf> {
        match self {
            Self::Debian => Some(PathBuf::from("/usr/bin/rustc")).filter(|rustc| rustc.exists()),
            Self::Nightly => {
                let mut which = Command::new("rustup");
                which.args(["which", "--toolchain", &nightly(), "rustc"]);
                command::output(&mut which).ok().map(|path| PathBuf::from(path.trim()))
            }
        }
    }
}

impl Toolchain {
    /// The toolchain that setup left, if all of it is still what it was. Starts no program.
    pub(crate) fn ready(checkout: &Checkout) -> Option<Self> {
        let tools = checkout.tools();
        let stamp = fs::read_to_string(stamp_file(&tools)).ok()?;
        let mut lines = stamp.lines();
        let way = match lines.next()? {
            "debian" => Way::Debian,
            "nightly" => Way::Nightly,
            _ => return None,
        };
        let toolchain = Self { way, rustc: lines.next()?.into(), llvm: lines.next()?.into(), tools };
        let unchanged = toolchain.stamp().is_ok_and(|now| now == stamp);
        let complete = toolchain.linker().is_file() && way.missing_packages().is_empty();
        (unchanged && complete).then_some(toolchain)
    }

    /// A cargo command for the eBPF crate, to be run in its directory. `lint` denies warnings.
    pub(crate) fn cargo(&self, subcommand: &str, checkout: &Checkout, lint: bool) -> Result<Command> {
        let mut flags = vec!["-Cdebuginfo=2", "-Clink-arg=--btf"];
        let mut cargo = match self.way {
            Way::Debian => {
                let mut cargo = command::cargo(subcommand);
                cargo.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            Way::Nightly => {
                let mut rustup = Command::new("rustup");
                command::forget_cargo(&mut rustup).args(["run", &nightly(), "cargo", subcommand]);
                rustup.arg("-Zbuild-std=core");
                rustup
            }
        };
        if lint {
            flags.push("-Dwarnings");
            if self.way == Way::Debian {
                cargo.env("RUSTC_WORKSPACE_WRAPPER", "/usr/bin/clippy-driver");
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.tools.join("bin")).chain(std::env::split_paths(&path));
        cargo
            .args(["--release", "--target", TARGET])
            .current_dir(checkout.ebpf())
            .env("PATH", std::env::join_paths(dirs)?)
            .env("CARGO_TARGET_DIR", checkout.ebpf_target())
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", "bpf-linker")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env_remove("RUSTFLAGS");
        Ok(cargo)
    }

    /// Where `cargo build` leaves the object of the binary `weir`.
    pub(crate) fn built_object(checkout: &Checkout) -> PathBuf {
        checkout.ebpf_target().join(TARGET).join("release/weir")
    }

    /// The bpf-linker of this checkout.
    pub(crate) fn linker(&self) -> PathBuf {
        self.tools.join("bin/bpf-linker")
    }

    /// Everything that an object depends on besides its sources.
    pub(crate) fn stamp(&self) -> Result<String> {
        let way = if self.way == Way::Debian { "debian" } else { "nightly" };
        let (rustc, llvm) = (self.rustc.display(), self.llvm.display());
        let (rustc_is, llvm_is) = (fingerprint(&self.rustc)?, fingerprint(&self.llvm)?);
        Ok(format!("{way}\n{rustc}\n{llvm}\n{rustc_is}\n{llvm_is}\nbpf-linker {LINKER_VERSION}\n"))
    }

    /// For a reader: what this is.
    pub(crate) fn describe(&self) -> String {
        match self.way {
            Way::Debian => format!("{} with Debian's core for BPF", self.rustc.display()),
            Way::Nightly => format!("{}, core built from rust-src", self.rustc.display()),
        }
    }

    /// bpf-linker wants nothing of LLVM but the shared library, by the name that `-lLLVM` finds.
    fn install_linker(&self) -> Result<()> {
        let lib = self.tools.join("llvm/lib");
        fs::create_dir_all(&lib)?;
        let own_name = self.llvm.file_name().context("libLLVM has no name")?;
        for name in [Path::new("libLLVM.so"), Path::new(own_name)] {
            let _ = fs::remove_file(lib.join(name));
            symlink(&self.llvm, lib.join(name))?;
        }
        let feature = format!("llvm-{}", llvm_major(&self.rustc)?);
        eprintln!(
            "setup builds bpf-linker {LINKER_VERSION} ({feature}) into {}; about a minute",
            self.tools.display()
        );
        command::run(
            command::cargo("install")
                .args(["bpf-linker", "--version", LINKER_VERSION, "--locked", "--force", "--quiet"])
                .args(["--no-default-features", "--features", &feature])
                .arg("--root")
                .arg(&self.tools)
                .env("CARGO_TARGET_DIR", self.tools.join("build"))
                .env("LLVM_PREFIX", self.tools.join("llvm"))
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        )?;
        fs::remove_dir_all(self.tools.join("build")).context("cleaning after bpf-linker's build")
    }
}

fn nightly() -> String {
    std::env::var("WEIR_NIGHTLY").unwrap_or_else(|_| "nightly".to_owned())
}

fn stamp_file(tools: &Path) -> PathBuf {
    tools.join("toolchain")
}

/// Changes whenever a package upgrade replaces the file.
fn fingerprint(file: &Path) -> Result<String> {
    let metadata = file.metadata().with_context(|| file.display().to_string())?;
    Ok(format!("{} {}", metadata.len(), metadata.mtime()))
}

/// The LLVM that `rustc` is linked with: bpf-linker must read the very bitcode that it writes.
fn libllvm(rustc: &Path) -> Result<PathBuf> {
    let linked = command::output(command::forget_cargo(Command::new("ldd").arg(rustc)))?;
    let by_ldd = linked.lines().find(|line| line.contains("libLLVM"));
    if let Some(path) = by_ldd.and_then(|line| line.split_whitespace().nth(2)) {
        return Ok(path.into());
    }
    let sysroot = rustc.parent().and_then(Path::parent).context("rustc lies in no sysroot")?;
    for entry in fs::read_dir(sysroot.join("lib"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM")) {
            return fs::canonicalize(path).context("libLLVM");
        }
    }
    bail!("{} is linked with no shared libLLVM, which bpf-linker needs", rustc.display())
}

fn llvm_major(rustc: &Path) -> Result<String> {
    let version = command::output(command::forget_cargo(Command::new(rustc).arg("-vV")))?;
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let major = line.and_then(|llvm| llvm.split('.').next()).context("rustc -vV names no LLVM version")?;
    Ok(major.to_owned())
}
