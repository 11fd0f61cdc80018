//! The eBPF object that the agent embeds: built when its sources or its toolchain changed, else left alone.
//!
//! Entry point: [`ensure`]. `agent/build.rs` finds what this leaves behind.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{checkout::Checkout, command, toolchain::Toolchain};

/// Builds the object unless one of these sources and this toolchain is already there.
pub(crate) fn ensure(checkout: &Checkout, toolchain: &Toolchain) -> Result<()> {
    let object = checkout.object();
    let made_of = object.with_extension("o.sources");
    let sources = fingerprint(checkout, toolchain)?;
    if object.is_file() && fs::read_to_string(&made_of).is_ok_and(|known| known == sources) {
        return Ok(());
    }
    eprintln!("building the eBPF programs");
    command::run(&mut toolchain.cargo("build", checkout, false)?)?;
    fs::create_dir_all(object.parent().context("the object lies in no directory")?)?;
    // Renamed into place: an agent being built at this moment embeds the old one or the new one.
    let fresh = object.with_extension("o.new");
    strip(&Toolchain::built_object(checkout), &fresh)?;
    fs::rename(&fresh, &object)?;
    fs::write(&made_of, sources)?;
    Ok(())
}

/// Copies `built` without its debug sections (four fifths of it) but with BTF. The rustc that builds the
/// agent ships a tool for that; without it the whole object is as good, only larger.
fn strip(built: &Path, to: &Path) -> Result<()> {
    if rust_objcopy()
        .is_some_and(|mut objcopy| command::output(objcopy.arg("--strip-debug").arg(built).arg(to)).is_ok())
    {
        return Ok(());
    }
    fs::copy(built, to).with_context(|| built.display().to_string())?;
    Ok(())
}

fn rust_objcopy() -> Option<Command> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = command::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    let lib = Path::new(sysroot.trim()).join("lib");
    let hosts = fs::read_dir(lib.join("rustlib")).ok()?.flatten();
    let program = hosts.map(|host| host.path().join("bin/rust-objcopy")).find(|file| file.is_file())?;
    let mut command = Command::new(program);
    // It is linked with rustc's own LLVM, which it does not find by itself.
    command.env("LD_LIBRARY_PATH", lib);
    Some(command)
}

/// Names the sources' content and the toolchain.
fn fingerprint(checkout: &Checkout, toolchain: &Toolchain) -> Result<String> {
    let mut files = Vec::new();
    for dir in [checkout.ebpf(), checkout.root.join("common")] {
        list_sources(&dir, &mut files).with_context(|| format!("reading {}", checkout.show(&dir)))?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in &files {
        file.hash(&mut hasher);
        fs::read(file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n{}", hasher.finish(), toolchain.stamp()?))
}

fn list_sources(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                list_sources(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| ["rs", "toml", "lock"].iter().any(|e| extension == *e))
        {
            files.push(path);
        }
    }
    Ok(())
}
