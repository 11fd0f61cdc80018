//! A directory of YAML as the source of the cluster's state.
//!
//! Entry point: [`YamlDirectory`]. The files `*.yaml` and `*.yml` of the directory itself are read, in
//! the order of their names; those that begin with `.` or `#`, and subdirectories, are not. What each
//! scan finds is compared with what is in force, and only the difference becomes events.

mod catalogue;
mod read;
pub(crate) mod watch;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

pub(crate) use catalogue::Catalogue;

use super::{Problem, Scan};
use watch::Watch;

/// Larger files are not read.
pub const LARGEST_FILE: u64 = 16 << 20;

/// The directory cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("state directory {path}: {error}: make it, or name another one", path = path.display())]
pub struct OpenError {
    path: PathBuf,
    error: io::Error,
}

/// A directory whose YAML files describe the cluster.
#[derive(Debug)]
pub struct YamlDirectory {
    path: PathBuf,
    catalogue: Catalogue,
    watch: Watch,
}

impl YamlDirectory {
    /// Starts to watch the directory at `path`. Nothing is read yet.
    ///
    /// # Errors
    /// When there is no such directory or it cannot be listed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        match fs::read_dir(&path) {
            Ok(_) => Ok(Self { watch: Watch::start(&path), catalogue: Catalogue::default(), path }),
            Err(error) => Err(OpenError { path, error }),
        }
    }

    /// Reads the directory. It blocks on the disk, and its work grows with the files that have changed.
    pub fn scan(&mut self) -> Scan {
        self.watch.before_scan();
        match files(&self.path) {
            Ok(files) => self.catalogue.update(files.into_iter().map(|name| {
                let content = content(&self.path.join(&name));
                (name, content)
            })),
            // All that is in force stays: a directory that is away for a moment must not empty the mesh.
            Err(error) => {
                let file = self.path.display().to_string();
                let problem = Problem::of_file(&file, format!("the directory cannot be listed: {error}"));
                Scan { problems: vec![problem], hides_pods: true, ..Scan::default() }
            }
        }
    }

    /// Waits until something in the directory has changed since the last scan, and until it has been
    /// quiet for a moment. Dropping the future loses nothing. Runs in a tokio runtime with time.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }
}

/// The names of the files to read, sorted.
fn files(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_to_be_read(&name) && !directory.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Neither hidden files (ConfigMap volumes keep theirs behind `..data`) nor what editors leave around.
fn is_to_be_read(name: &str) -> bool {
    let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    yaml && !name.starts_with(['.', '#'])
}

/// The text of a file, or why there is none.
pub(super) fn content(path: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    // Asked before opening: a FIFO would block.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a regular file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("is larger than {} MiB", LARGEST_FILE >> 20));
    }
    String::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))
}
