//! Processes that are there: this one's own child stands for a pod's.

use std::{
    os::unix::fs::symlink,
    process::{Child, Command},
};

use super::*;

const UID: &str = "8dbc8ad9-57a6-4d0f-b7b1-2c7a7b6a1d11";

/// A folder as `/proc` is, with what the test says of some processes.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn process(&self, pid: u32, pod: &str, began: u64) {
        let dir = self.0.path().join(pid.to_string());
        fs::create_dir_all(dir.join("ns")).expect("a folder");
        fs::write(dir.join("cgroup"), format!("0::/kubepods/pod{pod}/x\n")).expect("a file");
        let fields = vec!["0"; 18].join(" ");
        fs::write(dir.join("stat"), format!("{pid} (a ) b) S {fields} {began} 0 0\n")).expect("a file");
        let _ = symlink("net:[1]", dir.join("ns/net"));
    }

    fn places(&self) -> Places {
        Places { proc: self.0.path().into(), ..Places::default() }
    }

    fn netns(&self, pid: u32) -> PathBuf {
        self.0.path().join(format!("{pid}/ns/net"))
    }
}

/// A process that waits.
struct Waiting(Child);

impl Waiting {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().expect("a process"))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wanted(uids: &[&str]) -> HashSet<Arc<str>> {
    uids.iter().map(|uid| Arc::from(*uid)).collect()
}

#[test]
fn a_pod_is_where_its_oldest_process_is_until_that_ends() {
    let (proc, pause, app) = (Proc::new(), Waiting::new(), Waiting::new());
    proc.process(app.0.id(), UID, 900);
    proc.process(pause.0.id(), UID, 800);
    let mut places = proc.places();
    assert_eq!(places.keep(wanted(&[UID])), wanted(&[UID]));
    places.look(&wanted(&[UID])).expect("processes");
    assert_eq!(places.of(UID), Some(proc.netns(pause.0.id())));
    assert!(places.keep(wanted(&[UID])).is_empty());

    drop(pause);
    assert_eq!(places.keep(wanted(&[UID])), wanted(&[UID]));
    assert_eq!(places.of(UID), None);
}

#[test]
fn a_process_that_has_not_joined_its_pods_namespace_yet_shows_nothing() {
    let (proc, pause) = (Proc::new(), Waiting::new());
    let put = |process: &str, netns: &str| {
        let link = proc.0.path().join(process).join("ns/net");
        let _ = fs::remove_file(&link);
        fs::hard_link(proc.0.path().join(netns), link).expect("a file");
    };
    for netns in ["of-node", "of-pod"] {
        fs::write(proc.0.path().join(netns), "").expect("a file");
    }
    fs::create_dir_all(proc.0.path().join("self/ns")).expect("a folder");
    put("self", "of-node");
    let pid = pause.0.id().to_string();
    proc.process(pause.0.id(), UID, 800);
    put(&pid, "of-node");
    let mut places = proc.places();
    places.look(&wanted(&[UID])).expect("processes");
    assert_eq!(places.of(UID), None);

    put(&pid, "of-pod");
    places.look(&wanted(&[UID])).expect("processes");
    assert_eq!(places.of(UID), Some(proc.netns(pause.0.id())));
}

#[test]
fn a_namespace_that_was_made_for_a_pod_stands_in_until_the_pod_runs_there() {
    let (proc, pause) = (Proc::new(), Waiting::new());
    let made = proc.0.path().join("made");
    fs::write(&made, "").expect("a file");
    let given = |sandbox: &str| Given {
        netns: fs::File::open(&made).expect("a file").into(),
        name: made.clone(),
        sandbox: sandbox.into(),
    };
    let mut places = proc.places();
    places.give(UID.into(), given("a"));
    // Where a pod will run is not where it runs.
    assert_eq!(places.keep(wanted(&[UID])), wanted(&[UID]));
    let path = places.of(UID).expect("a path");
    assert_eq!(fs::canonicalize(path).expect("a file"), fs::canonicalize(&made).expect("a file"));

    proc.process(pause.0.id(), UID, 800);
    fs::remove_file(proc.netns(pause.0.id())).expect("a link");
    fs::hard_link(&made, proc.netns(pause.0.id())).expect("a file");
    places.look(&wanted(&[UID])).expect("processes");
    assert!(!places.is_disputed(UID));
    places.keep(wanted(&[UID]));
    assert!(places.given.is_empty());
    assert_eq!(places.of(UID), Some(proc.netns(pause.0.id())));

    // The sandbox is made anew while something of the old one still runs.
    fs::write(proc.0.path().join("anew"), "").expect("a file");
    fs::rename(proc.0.path().join("anew"), &made).expect("renamed");
    places.give(UID.into(), given("b"));
    places.keep(wanted(&[UID]));
    assert!(places.is_disputed(UID));
    drop(pause);
    places.keep(wanted(&[UID]));
    assert!(!places.is_disputed(UID));
}

#[test]
fn what_was_given_is_taken_back_with_its_own_sandbox_only_and_goes_with_the_pod() {
    let mut places = Proc::new().places();
    let given = || Given {
        netns: fs::File::open("/dev/null").expect("a file").into(),
        name: "made".into(),
        sandbox: "new".into(),
    };
    places.give(UID.into(), given());
    assert!(!places.take_back(UID, "old"));
    assert!(places.of(UID).is_some());
    assert!(places.take_back(UID, "new"));
    assert_eq!(places.of(UID), None);
    places.give(UID.into(), given());
    places.keep(HashSet::new());
    assert_eq!(places.of(UID), None);
}

#[test]
fn only_what_is_wanted_is_found_and_kept() {
    let (proc, process) = (Proc::new(), Waiting::new());
    proc.process(process.0.id(), UID, 800);
    let mut places = proc.places();
    places.look(&wanted(&["00000000-0000-0000-0000-000000000000"])).expect("processes");
    assert_eq!(places.of(UID), None);
    places.look(&wanted(&[UID])).expect("processes");
    assert!(places.of(UID).is_some());
    assert!(places.keep(HashSet::new()).is_empty());
    assert_eq!(places.of(UID), None);
}

#[test]
fn this_machines_processes_can_be_looked_at() {
    let mut places = Places::default();
    places.look(&wanted(&[UID])).expect("processes");
    let own = i32::try_from(std::process::id()).expect("a number");
    assert!(places.began(own).is_some_and(|ticks| ticks > 0));
}
