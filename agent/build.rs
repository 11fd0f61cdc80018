//! Finds the eBPF object for the agent to embed, and says what to run when there is none.
//!
//! Entry point: `WEIR_BPF_OBJECT`, the object's path, for `include_bytes_aligned!(env!("WEIR_BPF_OBJECT"))`.
//! Builds nothing: that takes another toolchain, which `cargo xtask build` brings.

use std::{
    env,
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo::rerun-if-env-changed=WEIR_BPF_OBJECT");
    match object() {
        Ok(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            println!("cargo::rustc-env=WEIR_BPF_OBJECT={}", object.display());
        }
        Err(problem) => {
            println!("cargo::error={problem}");
            println!("cargo::error=run this once, it brings the BPF toolchain too: cargo xtask build");
        }
    }
}

/// `WEIR_BPF_OBJECT`, or `bpf/weir.o` in the target directory, wherever below it this script's output lies.
fn object() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("WEIR_BPF_OBJECT") {
        let path = PathBuf::from(path);
        return if path.is_absolute() && path.is_file() {
            Ok(path)
        } else {
            Err(format!("WEIR_BPF_OBJECT is {}, which is no absolute path of a file", path.display()))
        };
    }
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    let built = Path::new(&out).ancestors().map(|dir| dir.join("bpf/weir.o")).find(|file| file.is_file());
    built.ok_or_else(|| "the agent embeds its eBPF programs, and they are not built".to_owned())
}
