//! The examples of this repository's documentation, as objects.
//!
//! Entry points: [`example`], [`examples`]. What a page shows is put into a mesh as it stands there.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::manifest::Manifest;

/// The object called `name` in the YAML blocks of the page `docs/PAGE`.
pub fn example(page: &str, name: &str) -> Result<Manifest> {
    let found = of_file(&root()?.join("docs").join(page))?;
    let found = found.into_iter().find(|example| example.object.value()["metadata"]["name"] == name);
    found.map(|example| example.object).with_context(|| format!("docs/{page} has no example {name}"))
}

/// An example as it stands somewhere.
#[derive(Debug)]
pub struct Example {
    /// The file that it is in.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// What is written there.
    pub object: Manifest,
}

/// Every object of Weir's kinds in the documentation and in `deploy/examples`.
pub fn examples() -> Result<Vec<Example>> {
    let mut found = Vec::new();
    for dir in ["docs", "deploy/examples"] {
        for file in files(&root()?.join(dir))? {
            let ours = |example: &Example| {
                let version = example.object.value()["apiVersion"].as_str();
                version.is_some_and(|version| version.starts_with("weir.dev/"))
            };
            found.extend(of_file(&file)?.into_iter().filter(ours));
        }
    }
    Ok(found)
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no checkout")
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        match path.extension().and_then(OsStr::to_str) {
            _ if path.is_dir() => found.extend(files(&path)?),
            Some("md" | "yaml") => found.push(path),
            _ => {}
        }
    }
    Ok(found)
}

/// The documents of a file of YAML, or of the YAML blocks of a page.
fn of_file(file: &Path) -> Result<Vec<Example>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let blocks: Vec<&str> = match file.extension().and_then(OsStr::to_str) {
        Some("md") => text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect(),
        _ => vec![&text],
    };
    let mut found = Vec::new();
    for text in blocks.into_iter().flat_map(|block| block.split("\n---\n")) {
        let object = serde_norway::from_str(text).with_context(|| file.display().to_string())?;
        found.push(Example {
            file: file.to_owned(),
            text: text.to_owned(),
            object: Manifest::object(object),
        });
    }
    Ok(found)
}
