//! What was made once is not made again while nothing that decides it has changed.
//!
//! Entry point: [`made`].

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

/// Calls `make` unless `dir` holds what it made of the very same `sources` (folders) and `also`; `what` is it, in words.
pub(crate) fn made(
    dir: &Path,
    sources: &[PathBuf],
    also: &[u8],
    what: &str,
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut stamp = also.to_vec();
    for source in sources {
        for file in files(source)? {
            stamp.extend(file.strip_prefix(source)?.as_os_str().as_encoded_bytes());
            stamp.extend(fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    let file = dir.join("stamp");
    if fs::read(&file).is_ok_and(|made| made == stamp) {
        return Ok(());
    }
    let began = Instant::now();
    eprintln!("setup makes {what}");
    fs::create_dir_all(dir)?;
    // Gone until all is made: what is there is then of no state in particular.
    let _ = fs::remove_file(&file);
    make()?;
    fs::write(&file, stamp)?;
    eprintln!("they are there ({:.1} s)", began.elapsed().as_secs_f64());
    Ok(())
}

/// The files below `dir`, in order.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
