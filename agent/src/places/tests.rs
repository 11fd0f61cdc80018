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
        Places { proc: self.0.path().into(), found: HashMap::new() }
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
    assert_eq!(places.of(UID), Some(&*proc.netns(pause.0.id())));
    assert!(places.keep(wanted(&[UID])).is_empty());

    drop(pause);
    assert_eq!(places.keep(wanted(&[UID])), wanted(&[UID]));
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
