//! Container images made by hand: one layer, no daemon, no registry; for the machine that makes them.
//!
//! Entry point: [`Image`]. What is written is a tar of an OCI image layout (image-spec v1.1), which `ctr image import`
//! and every other tool read; the same content gives the same bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

const FOLDERS: [&str; 9] = ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"];
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image to be written.
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    layer: tar::Builder<Vec<u8>>,
}

impl Image {
    /// An image with nothing in it; `name` is like `weir.dev/weir:1`.
    pub fn scratch(name: &str) -> Self {
        Self { name: name.into(), entrypoint: Vec::new(), layer: tar::Builder::new(Vec::new()) }
    }

    /// An image with a few empty folders and users.
    pub fn new(name: &str) -> Result<Self> {
        let mut image = Self::scratch(name);
        for folder in FOLDERS {
            let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
            let mut header = header(tar::EntryType::Directory, mode, 0);
            image.layer.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
        }
        image.add_text(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        )?;
        image.add_text("etc/group", "root:x:0:\nnobody:x:65534:\n")?;
        Ok(image)
    }

    /// What it runs.
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds a program of this machine as `path`.
    pub fn program(mut self, file: &Path, path: &str) -> Result<Self> {
        self.add(file, path, 0o755)?;
        Ok(self)
    }

    /// Adds a file of this machine, to be read by everybody, as `path`.
    pub fn file(mut self, file: &Path, path: &str) -> Result<Self> {
        self.add(file, path, 0o644)?;
        Ok(self)
    }

    /// Adds a file with this text as `path`.
    pub fn text(mut self, path: &str, content: &str) -> Result<Self> {
        self.add_text(path, content)?;
        Ok(self)
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.layer.append_link(&mut header, path, target)?;
        Ok(self)
    }

    /// Writes it to `file`.
    pub fn write(self, file: &Path) -> Result<()> {
        let mut blobs = BTreeMap::new();
        let mut put = |content: Vec<u8>, kind: &str| -> Value {
            let digest = sha256(&content);
            let size = content.len();
            blobs.insert(digest.clone(), content);
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size})
        };
        let layer = put(self.layer.into_inner()?, "application/vnd.oci.image.layer.v1.tar");
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = put(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = put(manifest.to_string().into_bytes(), MANIFEST);
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        manifest["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});

        let mut archive = tar::Builder::new(File::create(file).with_context(|| file.display().to_string())?);
        let mut add = |path: &str, content: &[u8]| {
            let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
            archive.append_data(&mut header, path, content)
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", index.to_string().as_bytes())?;
        for (digest, content) in &blobs {
            add(&format!("blobs/sha256/{digest}"), content)?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }

    fn add(&mut self, file: &Path, path: &str, mode: u32) -> Result<()> {
        let content = fs::read(file).with_context(|| file.display().to_string())?;
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        Ok(self.layer.append_data(&mut header, path, &*content)?)
    }

    fn add_text(&mut self, path: &str, content: &str) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
        Ok(self.layer.append_data(&mut header, path, content.as_bytes())?)
    }
}

/// This machine's, by the name that images have for it (Go's).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Of nobody in particular and of no time, so that the same content is the same image.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
