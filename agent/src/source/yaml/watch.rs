//! Tells that a directory may have changed.
//!
//! Entry point: [`Watch`]. The kernel's notices (inotify) come at once; the files are also looked at
//! now and then, because notices can be refused (too many watches), get lost, or never be made: for a
//! file behind a symbolic link, on some network file systems, after the directory itself was replaced.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::mpsc, time};

/// Writers get this long to finish what they began.
const QUIET: Duration = Duration::from_millis(50);
/// A directory that is never quiet is read nevertheless.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const POLL_WITH_NOTICES: Duration = Duration::from_secs(5);
const POLL_WITHOUT: Duration = Duration::from_secs(1);

/// Device, inode, size, and the time of the last change in nanoseconds.
type Stamp = (u64, u64, u64, i64);
/// The stamp of each file of the directory.
type Look = BTreeMap<PathBuf, Stamp>;

/// Watches one directory.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    /// The device and inode that are watched under that path.
    watched: Option<(u64, u64)>,
    /// Dropping it ends the notices.
    watcher: Option<RecommendedWatcher>,
    notices: mpsc::Receiver<()>,
    /// A notice was taken that nobody has been told of yet.
    pending: bool,
    /// How the files looked when they were last read.
    seen: Look,
}

impl Watch {
    /// Starts to watch; without notices where the kernel gives none.
    pub(crate) fn start(directory: &Path) -> Self {
        let (sender, notices) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(is_only_a_look) {
                return;
            }
            // A full channel already says what there is to say.
            let _ = sender.try_send(());
        });
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(
                directory = %directory.display(), %error,
                "no notices of changed files; looking at them every second instead"
            );
        }
        Self {
            directory: directory.into(),
            watched: inode(directory),
            watcher: watcher.ok(),
            notices,
            pending: false,
            seen: Look::new(),
        }
    }

    /// Remembers how the files look, before they are read: what changes later is a change.
    pub(crate) fn before_scan(&mut self) {
        let there = inode(&self.directory);
        if there.is_some() && there != self.watched {
            // The kernel watches a directory, not a path, and this is another directory.
            *self = Self::start(&self.directory);
        }
        self.seen = look(&self.directory);
    }

    /// Waits for a change and then for quiet.
    pub(crate) async fn changed(&mut self) {
        while !self.pending {
            let poll = if self.watcher.is_some() { POLL_WITH_NOTICES } else { POLL_WITHOUT };
            match time::timeout(poll, notice(&mut self.notices, self.watcher.is_some())).await {
                Ok(()) => self.pending = true,
                Err(_) => self.pending = look(&self.directory) != self.seen,
            }
        }
        let has_notices = self.watcher.is_some();
        let quiet =
            async { while time::timeout(QUIET, notice(&mut self.notices, has_notices)).await.is_ok() {} };
        // Either way it is time to read.
        let _ = time::timeout(LONGEST_WAIT, quiet).await;
        self.pending = false;
    }
}

/// The next notice; never, where there are none.
async fn notice(notices: &mut mpsc::Receiver<()>, has_notices: bool) {
    if !has_notices || notices.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Whether somebody only opened or read a file, as every scan does.
fn is_only_a_look(event: &notify::Event) -> bool {
    let written = AccessKind::Close(AccessMode::Write);
    matches!(event.kind, EventKind::Access(kind) if kind != written) && !event.need_rescan()
}

fn look(directory: &Path) -> Look {
    let Ok(entries) = fs::read_dir(directory) else {
        return Look::new();
    };
    let stamp = |path: PathBuf| {
        let of = fs::metadata(&path).ok()?;
        let changed = of.ctime().wrapping_mul(1_000_000_000).wrapping_add(of.ctime_nsec());
        Some((path, (of.dev(), of.ino(), of.size(), changed)))
    };
    entries.flatten().filter_map(|entry| stamp(entry.path())).collect()
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|of| (of.dev(), of.ino()))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn reading_a_file_is_no_change_and_writing_one_is() {
        let looks = |kind| is_only_a_look(&notify::Event::new(kind));
        assert!(looks(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(looks(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        for change in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::Any),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
        ] {
            assert!(!looks(change), "{change:?}");
        }
    }

    #[tokio::test]
    async fn without_notices_a_change_is_seen_by_looking() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut watch = Watch::start(directory.path());
        watch.watcher = None;
        watch.before_scan();
        fs::write(directory.path().join("a.yaml"), "").expect("written");
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_no_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut watch = Watch::start(directory.path());
        let (sender, notices) = mpsc::channel(1);
        watch.notices = notices;
        watch.before_scan();
        sender.try_send(()).expect("there is room");
        assert!(futures::FutureExt::now_or_never(watch.changed()).is_none(), "it waits for quiet");
        // Nothing differs on the disk, so only the notice that was taken can end this.
        time::timeout(Duration::from_secs(30), watch.changed()).await.expect("the notice is kept");
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_watched_again() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("state");
        fs::create_dir(&directory).expect("made");
        let mut watch = Watch::start(&directory);
        fs::rename(&directory, parent.path().join("old")).expect("moved");
        fs::create_dir(&directory).expect("made");
        watch.before_scan();
        assert_eq!(watch.watched, inode(&directory));
        fs::write(directory.join("a.yaml"), "").expect("written");
        watch.notices.recv().await.expect("a notice of the new directory");
    }
}
