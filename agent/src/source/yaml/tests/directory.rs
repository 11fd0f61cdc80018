//! Files that come, change and go, on a real disk and without one.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use proptest::prelude::*;

use super::{Files, pod, told};
use crate::{
    source::{
        Scan,
        yaml::{LARGEST_FILE, YamlDirectory},
    },
    state::{Event, Object},
};

struct Directory {
    on_disk: tempfile::TempDir,
    source: YamlDirectory,
}

impl Directory {
    fn new() -> Self {
        let on_disk = tempfile::tempdir().expect("a directory");
        let source = YamlDirectory::open(on_disk.path()).expect("it can be read");
        Self { on_disk, source }
    }

    fn path(&self) -> &Path {
        self.on_disk.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("written");
    }

    /// Waits for the change that was made before, and reads.
    async fn next(&mut self) -> Scan {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, self.source.changed()).await.expect("the change is noticed");
        self.source.scan()
    }
}

#[test]
fn only_what_differs_becomes_an_event() {
    let (mut files, scan) = Files::with("a.yaml", &(pod("one", "") + &pod("two", "")));
    assert_eq!(told(&scan), ["+ Pod shop/one", "+ Pod shop/two"]);
    assert_eq!(files.scan(), Scan::default());
    let commented = format!("# a comment\n{}\n\n{}", pod("one", ""), pod("two", "spec: {priority: 7}"));
    assert_eq!(files.write("a.yaml", &commented), Scan::default());
    let scan = files.write("a.yaml", &(pod("one", "") + &pod("two", "spec: {nodeName: n}")));
    assert_eq!(told(&scan), ["+ Pod shop/two"]);
    assert_eq!(told(&files.remove("a.yaml")), ["- Pod shop/one", "- Pod shop/two"]);
}

#[test]
fn an_object_that_moves_to_another_file_is_not_deleted() {
    let (mut files, _) = Files::with("a.yaml", &pod("one", ""));
    files.contents.remove("a.yaml");
    assert_eq!(files.write("b.yaml", &pod("one", "")), Scan::default());
    assert_eq!(told(&files.remove("b.yaml")), ["- Pod shop/one"]);
}

#[test]
fn hidden_files_temporaries_and_subdirectories_are_not_read() {
    let mut directory = Directory::new();
    for name in [".a.yaml", "#b.yaml", "c.yaml~", ".d.yaml.swp", "e.txt", "4913"] {
        directory.write(name, &pod("no", ""));
    }
    fs::create_dir(directory.path().join("f.yaml")).expect("made");
    directory.write("g.yml", &pod("one", ""));
    let scan = directory.source.scan();
    assert_eq!(told(&scan), ["+ Pod shop/one"]);
    assert_eq!(scan.problems, []);
}

#[test]
fn a_file_that_cannot_be_read_is_reported() {
    let mut directory = Directory::new();
    let large = fs::File::create(directory.path().join("a.yaml")).expect("created");
    large.set_len(LARGEST_FILE + 1).expect("a sparse file");
    symlink("nowhere", directory.path().join("b.yaml")).expect("linked");
    fs::write(directory.path().join("c.yaml"), [0xff, 0xfe]).expect("written");
    let told: Vec<_> = directory.source.scan().problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], "a.yaml: is larger than 16 MiB");
    assert!(told[1].starts_with("b.yaml: cannot be read: "), "{}", told[1]);
    assert!(told[2].starts_with("c.yaml: is not UTF-8: "), "{}", told[2]);
}

#[test]
fn a_fifo_does_not_make_the_reader_wait() {
    let mut directory = Directory::new();
    let path = directory.path().join("a.yaml");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("a FIFO");
    assert_eq!(directory.source.scan().problems[0].message, "is not a regular file");
}

#[test]
fn a_directory_that_is_not_there_cannot_be_opened_and_one_that_goes_empties_nothing() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("state");
    let error = YamlDirectory::open(&path).expect_err("nothing is there").to_string();
    assert!(error.contains("state") && error.contains("No such file"), "{error}");
    fs::create_dir(&path).expect("made");
    let mut source = YamlDirectory::open(&path).expect("it can be read");
    fs::write(path.join("a.yaml"), pod("one", "")).expect("written");
    source.scan();
    fs::rename(&path, parent.path().join("away")).expect("moved");
    let scan = source.scan();
    assert!(scan.events.is_empty());
    assert!(scan.problems[0].message.starts_with("the directory cannot be listed"));
    fs::rename(parent.path().join("away"), &path).expect("moved back");
    assert_eq!(source.scan(), Scan::default());
}

#[tokio::test]
async fn a_file_that_is_written_changed_renamed_over_or_removed_is_noticed() {
    let mut directory = Directory::new();
    directory.write("a.yaml", &pod("one", ""));
    assert_eq!(told(&directory.next().await), ["+ Pod shop/one"]);
    directory.write("a.yaml", &pod("one", "spec: {nodeName: n}"));
    assert_eq!(told(&directory.next().await), ["+ Pod shop/one"]);
    directory.write(".a.yaml.tmp", &(pod("one", "spec: {nodeName: n}") + &pod("two", "")));
    fs::rename(directory.path().join(".a.yaml.tmp"), directory.path().join("a.yaml")).expect("renamed");
    assert_eq!(told(&directory.next().await), ["+ Pod shop/two"]);
    fs::remove_file(directory.path().join("a.yaml")).expect("removed");
    assert_eq!(told(&directory.next().await), ["- Pod shop/one", "- Pod shop/two"]);
}

#[tokio::test]
async fn a_config_map_volume_that_swaps_its_data_is_noticed() {
    let mut directory = Directory::new();
    for (version, text) in [("..1", pod("one", "")), ("..2", pod("two", ""))] {
        fs::create_dir(directory.path().join(version)).expect("made");
        directory.write(&format!("{version}/a.yaml"), &text);
    }
    symlink("..1", directory.path().join("..data")).expect("linked");
    symlink("..data/a.yaml", directory.path().join("a.yaml")).expect("linked");
    assert_eq!(told(&directory.next().await), ["+ Pod shop/one"]);
    symlink("..2", directory.path().join("..data_tmp")).expect("linked");
    fs::rename(directory.path().join("..data_tmp"), directory.path().join("..data")).expect("swapped");
    assert_eq!(told(&directory.next().await), ["+ Pod shop/two", "- Pod shop/one"]);
}

/// What one file can hold at one time: pods by number with one of two nodes, bad ones, and garbage.
fn text() -> impl Strategy<Value = String> {
    let object = (0..4u8, 0..4u8).prop_map(|(name, kind)| match kind {
        0 => pod(&format!("p{name}"), "spec: {nodeName: n}"),
        1 => pod(&format!("p{name}"), "spec: {nodeName: m}"),
        2 => pod(&format!("p{name}"), "spec: {nodeNmae: m}"),
        _ => pod(&format!("p{name}"), "").replace("kind: Pod", "kind: Pdo"),
    });
    let objects = prop::collection::vec(object, 0..4).prop_map(|objects| objects.concat());
    prop_oneof![8 => objects, 1 => Just("{".to_string())]
}

proptest! {
    #[test]
    fn the_events_add_up_to_what_is_in_force_and_good_files_converge(
        steps in prop::collection::vec((0..3u8, prop::option::weighted(0.8, text())), 0..12)
    ) {
        let mut files = Files::default();
        let mut state = std::collections::BTreeMap::new();
        for (file, text) in steps {
            let file = format!("{file}.yaml");
            let scan = match text {
                Some(text) => files.write(&file, &text),
                None => files.remove(&file),
            };
            for event in scan.events {
                match event {
                    Event::Apply(object) => {
                        let before = state.insert(object.key(), object.clone());
                        prop_assert_ne!(before, Some(object), "an event without a change");
                    }
                    Event::Delete(key) => prop_assert!(state.remove(&key).is_some()),
                }
            }
            let in_force: Vec<Object> = files.catalogue.in_force().map(|(_, object)| object.clone()).collect();
            prop_assert_eq!(&in_force, &state.values().cloned().collect::<Vec<_>>());
            prop_assert_eq!(files.scan().events, []);
            // With nothing wrong, what is in force is what the files say, whatever was there before.
            let mut fresh = Files { contents: files.contents.clone(), ..Files::default() };
            if fresh.scan().problems.is_empty() {
                let fresh: Vec<Object> = fresh.catalogue.in_force().map(|(_, object)| object.clone()).collect();
                prop_assert_eq!(in_force, fresh);
            }
        }
    }
}
