//! Where things lie: the checkout and its target directory.
//!
//! Entry point: [`Checkout::find`]. Creates nothing.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The checkout that this xtask was built from.
pub(crate) struct Checkout {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR`, or `target` in the root.
    pub(crate) target: PathBuf,
}

impl Checkout {
    /// Errors when xtask runs without cargo and outside a checkout.
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let manifest = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = manifest.parent().context("xtask lies in no workspace")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if !dir.is_empty() => std::path::absolute(dir).context("CARGO_TARGET_DIR")?,
            _ => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Tools that setup built for this checkout; nothing of it is on anybody's `PATH`.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The eBPF object that the agent embeds. `agent/build.rs` looks for it here.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf/weir.o")
    }

    /// The eBPF crate, a workspace of its own.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("ebpf")
    }

    /// The fuzz targets, a workspace of its own.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// Target directory of the eBPF crate: apart, because another compiler fills it.
    pub(crate) fn ebpf_target(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// A program built by `cargo build` in this profile.
    pub(crate) fn program(&self, release: bool, name: &str) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join(name)
    }

    /// `path` as the reader knows it: relative to the root where it lies below it.
    pub(crate) fn show<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
