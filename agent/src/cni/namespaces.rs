//! The namespaces that are enrolled, in a file that outlives the agent and the machine's being up.
//!
//! Entry points: [`write`], [`read`]. It is what a plugin goes by while no agent answers. After the machine's start there is
//! none for a while, so the file must not be where a start empties it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Content {
    namespaces: BTreeSet<String>,
}

/// Where it is in an agent's directory.
pub fn path(state: &Path) -> PathBuf {
    state.join("namespaces.json")
}

/// Puts the namespaces in place of those that are there, in one step; does nothing when they are the same.
///
/// # Errors
/// When the file cannot be written.
pub fn write(state: &Path, namespaces: &BTreeSet<String>) -> io::Result<()> {
    if read(state).as_ref() == Some(namespaces) {
        return Ok(());
    }
    fs::create_dir_all(state)?;
    let text = serde_json::to_vec(&Content { namespaces: namespaces.clone() })?;
    super::install::replace(&path(state), &text, 0o644)
}

/// The namespaces; none are known when there is no file that can be read.
pub fn read(state: &Path) -> Option<BTreeSet<String>> {
    let text = fs::read(path(state)).ok()?;
    serde_json::from_slice::<Content>(&text).ok().map(|content| content.namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_broken_is_not_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("weir/cni");
        assert_eq!(read(&state), None);
        for names in [&["shop", "other"][..], &[]] {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            write(&state, &names).expect("written");
            assert_eq!(read(&state), Some(names));
        }
        fs::write(path(&state), "{").expect("written");
        assert_eq!(read(&state), None);
        assert_eq!(fs::read_dir(&state).expect("listed").count(), 1);
    }
}
