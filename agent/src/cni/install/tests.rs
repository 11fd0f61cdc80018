//! In directories of the test's own.

use serde_json::json;

use super::*;

struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().expect("a directory"));
        for directory in [node.directories().conf, node.directories().bin] {
            fs::create_dir(directory).expect("a directory");
        }
        node
    }

    fn directories(&self) -> Directories {
        let at = |name: &str| self.0.path().join(name);
        Directories { conf: at("net.d"), bin: at("bin"), state: at("state/cni") }
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directories().conf.join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn keeper(&self) -> (Keeper, watch::Receiver<Installed>, watch::Sender<Wanted>) {
        let (want, wanted) = watch::channel(Some(Arc::new(["shop".to_owned()].into())));
        let (mut keeper, told) = Keeper::new(self.directories(), "/run/weir/agent.sock".as_ref(), wanted);
        assert_eq!(keeper.program, Path::new("/proc/self/exe"));
        keeper.program = self.0.path().join("program");
        fs::write(&keeper.program, "the program").expect("written");
        (keeper, told, want)
    }
}

fn bridge() -> String {
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}).to_string()
}

fn parsed(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON")
}

fn has_entry(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| chain::parse(&text).is_ok_and(|list| chain::is_in(&list)))
}

#[test]
fn the_plugin_is_installed_and_removed_without_a_trace() {
    let node = Node::new();
    let list = node.put("10-pods.conflist", &bridge());
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).expect("a mode");
    let (mut keeper, told, _want) = node.keeper();
    keeper.once(&["shop".to_owned()].into());
    keeper.once(&["shop".to_owned()].into());
    assert_eq!(*told.borrow(), Installed { installed: true, changes: 1, ..Installed::default() });
    assert!(has_entry(&list));
    let Directories { bin, state, .. } = node.directories();
    assert_eq!(fs::read_to_string(bin.join(PLUGIN)).expect("the plugin"), "the program");
    assert_eq!(fs::metadata(bin.join(PLUGIN)).expect("the plugin").permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(&list).expect("the list").permissions().mode() & 0o777, 0o600);
    assert_eq!(namespaces::read(&state), Some(["shop".to_owned()].into()));

    let done = uninstall(&node.directories()).expect("uninstalled");
    assert_eq!(done.len(), 3);
    assert_eq!(parsed(&list), serde_json::from_str::<Value>(&bridge()).expect("JSON"));
    for (directory, files) in [(node.directories().conf, 1), (bin, 0)] {
        assert_eq!(fs::read_dir(directory).expect("listed").count(), files);
    }
    assert!(!state.exists());
    assert_eq!(uninstall(&node.directories()).expect("nothing to do"), [] as [PathBuf; 0]);
}

#[test]
fn what_is_malformed_is_left_alone_and_counted_once() {
    let node = Node::new();
    let list = node.put("10-pods.conflist", "{");
    let (mut keeper, told, _want) = node.keeper();
    for _ in 0..2 {
        keeper.once(&BTreeSet::new());
    }
    let Installed { installed, failures, problem, .. } = told.borrow().clone();
    assert_eq!((installed, failures), (false, 1));
    assert_eq!(problem.map(|(path, _)| path), Some(list.clone()));
    assert_eq!(fs::read_to_string(&list).expect("the list"), "{");

    node.put("10-pods.conflist", &bridge());
    keeper.once(&BTreeSet::new());
    assert_eq!(*told.borrow(), Installed { installed: true, changes: 1, failures: 1, problem: None });
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let node = Node::new();
    let (mut keeper, told, _want) = node.keeper();
    fs::remove_dir(node.directories().conf).expect("removed");
    keeper.once(&BTreeSet::new());
    assert_eq!(told.borrow().problem.as_ref().map(|(path, _)| path.clone()), Some(node.directories().conf));
    assert!(uninstall(&node.directories()).is_ok());
}

#[test]
fn what_somebody_else_has_written_meanwhile_stays() {
    let node = Node::new();
    let list = node.put("10-pods.conflist", "theirs");
    let error = replace_known(&list, Some(b"as it was read"), b"ours", 0o644).expect_err("another's");
    assert!(error.to_string().contains("somebody else"), "{error}");
    assert_eq!(fs::read_to_string(&list).expect("the list"), "theirs");
}

#[tokio::test]
async fn a_chain_that_is_rewritten_is_mended_and_left_alone_while_another_agent_is_to_do_it() {
    let node = Node::new();
    let list = node.put("10-pods.conflist", &bridge());
    let (keeper, mut told, want) = node.keeper();
    let keeper = tokio::spawn(keeper.run());
    told.wait_for(|told| told.changes == 1).await.expect("told");

    node.put("10-pods.conflist", &bridge());
    told.wait_for(|told| told.changes == 2).await.expect("told");
    assert!(has_entry(&list));

    fs::remove_file(node.directories().bin.join(PLUGIN)).expect("removed");
    want.send_replace(Some(Arc::new(["other".to_owned()].into())));
    while namespaces::read(&node.directories().state) != Some(["other".to_owned()].into())
        || !node.directories().bin.join(PLUGIN).exists()
    {
        tokio::task::yield_now().await;
    }

    want.send_replace(None);
    drop(want);
    keeper.await.expect("ended");
}
