//! The directory of YAML that agents read the cluster from, as somebody careful writes it.
//!
//! Entry point: [`State`]. A file is written elsewhere and renamed into place, so that nobody reads half.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::manifest::Manifest;

/// A directory with one file for each object.
pub struct State {
    dir: PathBuf,
}

impl State {
    pub(crate) fn new(dir: PathBuf) -> Result<Self> {
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self { dir })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds an object, or replaces it.
    pub fn put(&self, object: &Manifest) -> Result<()> {
        self.write(&object.file_name(), &object.to_string())
    }

    /// [`State::put`] for several, in this order.
    pub fn put_all<'m>(&self, objects: impl IntoIterator<Item = &'m Manifest>) -> Result<()> {
        objects.into_iter().try_for_each(|object| self.put(object))
    }

    /// Removes an object.
    pub fn delete(&self, object: &Manifest) -> Result<()> {
        let file = self.dir.join(object.file_name());
        fs::remove_file(&file).with_context(|| file.display().to_string())
    }

    /// Writes any text to the file `name`, in one step.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let fresh = self.dir.with_file_name(format!(".new-{name}"));
        fs::write(&fresh, text).with_context(|| fresh.display().to_string())?;
        fs::rename(&fresh, self.dir.join(name)).with_context(|| format!("renaming to {name}"))
    }

    /// Writes any text to the file `name` as an editor may: in place, where a reader can see half of it.
    pub fn write_in_place(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.dir.join(name), text).with_context(|| name.to_owned())
    }
}
