//! The directory of a local CA: `ca.pem` and `ca.key`, made once however many agents start at once.
//!
//! Entry point: [`read_or_make`]. Knows nothing of what is inside the two files.
//!
//! The key is put in its place before the certificate, each by a rename of a file already on the disk, so
//! that whoever finds `ca.pem` finds both whole, without a lock, even where DIR is read-only. Whoever does
//! not find it takes the lock, looks again, and makes what is missing. A crash in between leaves a key, which
//! the next start uses: no certificate of it was ever given out, and one that an operator lost is made again
//! for the same key, under which what was issued stays good.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

/// The CA's certificate, PEM.
pub(super) const CERTIFICATE: &str = "ca.pem";
/// The CA's private key, PEM (PKCS #8).
pub(super) const KEY: &str = "ca.key";
/// Whoever makes the two holds this locked; it is never removed, or two could hold two locks.
const LOCK: &str = "ca.lock";

const MAX_FILE: u64 = 64 * 1024;
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a local CA cannot be opened; each says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system said no.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Others than the owner could read the key or replace a file.
    #[error("{}: {problem}: {remedy}", .path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Who can do what.
        problem: String,
        /// What to run.
        remedy: &'static str,
    },
    /// A certificate without its key can sign nothing.
    #[error(
        "{} is there but {KEY} beside it is not: put {KEY} back from a copy, or remove {CERTIFICATE} for a new \
         root and restart every agent that shares the directory", .path.display()
    )]
    KeyMissing {
        /// The certificate.
        path: PathBuf,
    },
    /// A file does not hold what it must.
    #[error("{}: {problem}: {remedy}", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// How to mend it.
        remedy: &'static str,
    },
    /// Another process is making the CA and does not come to an end.
    #[error("{}: locked by another process for {} s: is it stopped?", .path.display(), LOCK_LIMIT.as_secs())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
}

/// The two files' contents.
#[derive(Clone, Debug)]
pub(super) struct Pems {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The CA in `directory`; what is missing of it is made by `make`, which is given the key if there is one.
///
/// Blocks, on the disk and for up to 10 s on another process that is making the same CA.
pub(super) fn read_or_make(
    directory: &Path,
    make: impl FnOnce(Option<&str>) -> Result<Pems, OpenError>,
) -> Result<Pems, OpenError> {
    make_directory(directory)?;
    if let Some(pems) = read(directory)? {
        return Ok(pems);
    }
    let _locked = lock(&directory.join(LOCK))?;
    if let Some(pems) = read(directory)? {
        return Ok(pems);
    }
    let key = read_file(&directory.join(KEY), Secrecy::Private)?;
    let made = make(key.as_deref())?;
    if key.is_none() {
        put(directory, KEY, &made.key)?;
    }
    put(directory, CERTIFICATE, &made.certificate)?;
    Ok(made)
}

fn make_directory(directory: &Path) -> Result<(), OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io_error(directory, "make it"))?;
    let metadata = fs::metadata(directory).map_err(io_error(directory, "look at it"))?;
    check_owner(directory, &metadata)?;
    let (others_write, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
    if others_write && !sticky {
        return Err(OpenError::Exposed {
            path: directory.into(),
            problem: format!("others may replace files in it (mode {:04o})", metadata.mode() & 0o7777),
            remedy: "chmod go-w it",
        });
    }
    Ok(())
}

/// Both files, or nothing where there is no certificate.
fn read(directory: &Path) -> Result<Option<Pems>, OpenError> {
    let path = directory.join(CERTIFICATE);
    let Some(certificate) = read_file(&path, Secrecy::Public)? else { return Ok(None) };
    match read_file(&directory.join(KEY), Secrecy::Private)? {
        Some(key) => Ok(Some(Pems { certificate, key })),
        None => Err(OpenError::KeyMissing { path }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Public,
    Private,
}

fn read_file(path: &Path, secrecy: Secrecy) -> Result<Option<String>, OpenError> {
    // Non-blocking, so that a named pipe in this place is an error and not a wait for ever.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, "open it")(error)),
    };
    check_file(path, &file, secrecy)?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(io_error(path, "read it as text"))?;
    Ok(Some(text))
}

/// Like ssh, a key that others can read is refused and not only warned about: it may have been read.
fn check_file(path: &Path, file: &File, secrecy: Secrecy) -> Result<(), OpenError> {
    let metadata = file.metadata().map_err(io_error(path, "look at it"))?;
    if !metadata.is_file() {
        return Err(OpenError::Unfit {
            path: path.into(),
            problem: "is not a file".into(),
            remedy: "remove it, or name another directory",
        });
    }
    check_owner(path, &metadata)?;
    let (forbidden, verb, remedy) = match secrecy {
        Secrecy::Private => (0o077, "use the private key", "chmod 600 it if nobody else has read it"),
        Secrecy::Public => (0o022, "replace it", "chmod go-w it"),
    };
    if metadata.mode() & forbidden == 0 {
        return Ok(());
    }
    let problem = format!("others may {verb} (mode {:04o})", metadata.mode() & 0o7777);
    Err(OpenError::Exposed { path: path.into(), problem, remedy })
}

fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), OpenError> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() == own || metadata.uid() == 0 {
        return Ok(());
    }
    Err(OpenError::Exposed {
        path: path.into(),
        problem: format!("belongs to user {}, the agent runs as {own}", metadata.uid()),
        remedy: "chown it to the agent's user",
    })
}

/// The lock, held until the file is dropped; the kernel lets go of it when the process dies.
fn lock(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(io_error(path, "make the lock"))?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::AGAIN) => return Err(OpenError::Busy { path: path.into() }),
            Err(error) => return Err(io_error(path, "lock it")(error.into())),
        }
    }
}

/// Puts `text` under `name`: whole on the disk first, then under its name, then the name on the disk.
fn put(directory: &Path, name: &str, text: &str) -> Result<(), OpenError> {
    let (path, unfinished) = (directory.join(name), directory.join(format!("{name}.new")));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(&unfinished, "remove what a crash left")(error));
        }
        _ => {}
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(io_error(&unfinished, "write it"))?;
    fs::rename(&unfinished, &path).map_err(io_error(&path, "put it in its place"))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error(directory, "write it to the disk"))
}

fn io_error<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { path: path.into(), action, source }
}
