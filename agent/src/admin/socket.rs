//! The Unix socket's file: there for root alone from its first moment, and gone when its owner ends.
//!
//! Entry points: [`prepare`], [`bind`]. An agent that takes over replaces the file in one step; the old agent's end does
//! not remove the new one's.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

/// The socket's file; dropping it removes the file if it is still this one.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: (u64, u64),
}

/// A listener that is not at its path yet; dropping it leaves nothing.
#[derive(Debug)]
pub struct Prepared {
    listener: UnixListener,
    inode: (u64, u64),
    path: PathBuf,
    /// Where it is until then.
    beside: Temporary,
}

/// Removes the file if it is there.
#[derive(Debug)]
struct Temporary(PathBuf);

/// A listener at `path`, mode 0600, in place of whatever socket was there. Missing directories are made,
/// mode 0755.
///
/// # Errors
/// As [`prepare`].
pub fn bind(path: &Path) -> io::Result<(UnixListener, Socket)> {
    prepare(path)?.publish()
}

/// Everything about a listener at `path` but that anybody finds it there: whatever can go wrong goes wrong
/// here, before an agent touches anything else.
///
/// # Errors
/// With words that name the path, when something other than a socket is there or the directory cannot be
/// written.
pub fn prepare(path: &Path) -> io::Result<Prepared> {
    prepare_quietly(path).map_err(|error| named(path, &error))
}

impl Prepared {
    /// Puts it at its path, in one step, in place of whatever socket was there.
    ///
    /// # Errors
    /// With words that name the path, when it cannot be renamed.
    pub fn publish(self) -> io::Result<(UnixListener, Socket)> {
        let Self { listener, inode, path, beside } = self;
        fs::rename(&beside.0, &path).map_err(|error| named(&path, &error))?;
        Ok((listener, Socket { path, inode }))
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn prepare_quietly(path: &Path) -> io::Result<Prepared> {
    use std::os::unix::fs::FileTypeExt;

    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket is there; remove it or choose another --socket",
            ));
        }
        _ => {}
    }
    // Bound under another name and only then moved into place, so that nobody can connect before the mode
    // is set, and so that a predecessor's socket is replaced without a gap.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&new)?;
    let beside = Temporary(new);
    fs::set_permissions(&beside.0, fs::Permissions::from_mode(0o600))?;
    let made = fs::symlink_metadata(&beside.0)?;
    Ok(Prepared { listener, inode: (made.dev(), made.ino()), path: path.to_owned(), beside })
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed, it is no longer there.
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_is_for_its_owner_alone_and_goes_with_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/weir/agent.sock");
        let (_listener, socket) = bind(&path).expect("a socket");
        let mode = fs::metadata(&path).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_is_never_published_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.sock");
        let prepared = prepare(&path).expect("a socket");
        assert!(!path.exists());
        drop(prepared);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn a_successor_takes_the_name_and_the_predecessor_s_end_leaves_it_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.sock");
        let (old_listener, old) = bind(&path).expect("a socket");
        let (new_listener, _new) = bind(&path).expect("a second socket");
        drop((old_listener, old));
        let _client = UnixStream::connect(&path).expect("the successor's socket");
        new_listener.accept().expect("the client");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_never_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.sock");
        fs::write(&path, "precious").expect("a file");
        let error = bind(&path).expect_err("not a socket").to_string();
        assert!(error.contains("agent.sock") && error.contains("--socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
    }
}
