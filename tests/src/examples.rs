//! The examples of this repository's documentation, as objects.
//!
//! Entry point: [`example`]. What a page shows is put into a mesh as it stands there.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::manifest::Manifest;

/// The object called `name` in the YAML blocks of the page `docs/PAGE`.
pub fn example(page: &str, name: &str) -> Result<Manifest> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no checkout")?;
    let text = fs::read_to_string(root.join("docs").join(page)).with_context(|| page.to_owned())?;
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    for document in blocks.flat_map(serde_norway::Deserializer::from_str) {
        let object = Value::deserialize(document).with_context(|| page.to_owned())?;
        if object["metadata"]["name"] == name {
            return Ok(Manifest::object(object));
        }
    }
    anyhow::bail!("docs/{page} has no example {name}")
}
