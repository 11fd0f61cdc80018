//! Where on this machine a pod runs: the process whose network namespace is the pod's.
//!
//! Entry points: [`Places::look`], [`Places::give`]. The kubelet puts each pod's processes into a cgroup that has the pod's UID in its path,
//! whatever the container runtime; the oldest of them is the sandbox's, which makes the namespace and lives as long as
//! it. Before it runs anything, its network is made: who makes that can give the namespace, which then stands in for what
//! is not found yet, and must be the same as what is found later. All this is a hint: whose namespace it is, is checked by
//! who uses it.

mod cgroup;

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{fstat, stat},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Pods by UID.
#[derive(Debug)]
pub struct Places {
    proc: PathBuf,
    found: HashMap<Arc<str>, Place>,
    given: HashMap<Arc<str>, Given>,
}

/// A namespace that was made for a pod of which nothing runs yet.
#[derive(Debug)]
pub struct Given {
    /// The namespace, which lives as long as this is open.
    pub netns: OwnedFd,
    /// As its maker called it.
    pub name: PathBuf,
    /// The sandbox that it is for.
    pub sandbox: String,
}

/// A pod's oldest process.
#[derive(Debug)]
struct Place {
    netns: PathBuf,
    /// Tells when the process ends, and that its number is not another's.
    process: OwnedFd,
}

impl Default for Places {
    fn default() -> Self {
        Self { proc: "/proc".into(), found: HashMap::new(), given: HashMap::new() }
    }
}

impl Places {
    /// The network namespace of the pod with this UID, if it is known where that runs or will run.
    pub fn of(&self, uid: &str) -> Option<PathBuf> {
        let found = self.found.get(uid).map(|place| place.netns.clone());
        found.or_else(|| self.given.get(uid).map(Given::path))
    }

    /// Whether the pod runs elsewhere than in the namespace that was made for it last.
    pub fn is_disputed(&self, uid: &str) -> bool {
        self.given.get(uid).is_some_and(|given| self.runs_elsewhere(uid, given))
    }

    /// Whether the pod runs, and elsewhere than there.
    pub fn runs_elsewhere(&self, uid: &str, given: &Given) -> bool {
        self.found.get(uid).is_some_and(|found| !given.is(found))
    }

    /// Notes a namespace that was made for the pod with this UID, in place of an earlier one.
    pub fn give(&mut self, uid: Arc<str>, given: Given) {
        self.given.insert(uid, given);
    }

    /// Forgets what was given for the pod with this UID, if it was for this sandbox; says whether it was.
    pub fn take_back(&mut self, uid: &str, sandbox: &str) -> bool {
        let was = self.given.get(uid).is_some_and(|given| given.sandbox == sandbox);
        if was {
            self.given.remove(uid);
        }
        was
    }

    /// Forgets pods that are not `wanted` or whose process has ended, and says of which it is not known where they run.
    pub fn keep(&mut self, wanted: HashSet<Arc<str>>) -> HashSet<Arc<str>> {
        self.found.retain(|uid, place| wanted.contains(uid) && !place.is_over());
        let found = &self.found;
        // What runs there holds the namespace from then on, and no longer than it lives.
        self.given.retain(|uid, given| {
            wanted.contains(uid) && !found.get(uid).is_some_and(|place| given.is(place))
        });
        wanted.into_iter().filter(|uid| !self.found.contains_key(uid)).collect()
    }

    /// Looks for pods among all processes. It reads a file of each, which takes some microseconds.
    ///
    /// # Errors
    /// When processes cannot be listed.
    pub fn look(&mut self, wanted: &HashSet<Arc<str>>) -> io::Result<()> {
        let mut oldest: HashMap<&Arc<str>, (u64, i32)> = HashMap::new();
        let of_node = self.netns_of("self");
        for entry in fs::read_dir(&self.proc)? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // Processes come and go meanwhile.
            let Some((uid, began)) = self.pod_of(pid).and_then(|uid| {
                let uid = wanted.get(&*uid)?;
                Some((uid, self.began(pid)?))
            }) else {
                continue;
            };
            // A runtime puts a process into the pod's cgroup before it joins the pod's namespace.
            if of_node.is_some() && self.netns_of(&pid.to_string()) == of_node {
                continue;
            }
            let place = oldest.entry(uid).or_insert((began, pid));
            *place = (*place).min((began, pid));
        }
        for (uid, (_, pid)) in oldest {
            let Some(process) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            else {
                continue;
            };
            // What the number meant before the descriptor was there, could be another process by now.
            if self.pod_of(pid).is_some_and(|found| *found == **uid) {
                let netns = self.proc.join(pid.to_string()).join("ns/net");
                self.found.insert(uid.clone(), Place { netns, process });
            }
        }
        Ok(())
    }

    /// The UID of the pod that a process is in.
    fn pod_of(&self, pid: i32) -> Option<String> {
        let text = fs::read_to_string(self.proc.join(pid.to_string()).join("cgroup")).ok()?;
        cgroup::pod(&text)
    }

    /// The network namespace of a process, as the file system tells it from others.
    fn netns_of(&self, process: &str) -> Option<(u64, u64)> {
        let netns = stat(self.proc.join(process).join("ns/net")).ok()?;
        Some((netns.st_dev, netns.st_ino))
    }

    /// When a process began, in clock ticks since boot (`starttime`, proc(5)).
    fn began(&self, pid: i32) -> Option<u64> {
        let text = fs::read_to_string(self.proc.join(pid.to_string()).join("stat")).ok()?;
        // The name, which may have any character, is the second field and in parentheses.
        let (_, behind) = text.rsplit_once(") ")?;
        behind.split(' ').nth(19)?.parse().ok()
    }
}

impl Given {
    /// A path of the namespace, for as long as this is there.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.netns.as_raw_fd()).into()
    }

    /// Whether it is the namespace that a process is in.
    fn is(&self, place: &Place) -> bool {
        let (own, other) = (fstat(self.netns.as_fd()), stat(&place.netns));
        own.is_ok_and(|own| other.is_ok_and(|other| (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)))
    }
}

impl Place {
    fn is_over(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&now)) != Ok(0)
    }
}

#[cfg(test)]
mod tests;
