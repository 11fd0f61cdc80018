//! `weir cni` as a container runtime runs it: what it is told, what it says, and its exit status.

use std::{
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

/// A node's directories, on which no agent runs.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn enroll(&self, namespaces: &[&str]) {
        let text = json!({"namespaces": namespaces}).to_string();
        std::fs::write(self.0.path().join("namespaces.json"), text).expect("written");
    }

    /// The plugin under its own name, with this configuration beside what the agent puts into it.
    fn run(&self, command: &str, namespace: &str, more: &Value) -> Output {
        let plugin = self.0.path().join("weir-cni");
        if !plugin.exists() {
            symlink(env!("CARGO_BIN_EXE_weir"), &plugin).expect("a link");
        }
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "weir-cni",
            "socket": self.0.path().join("agent.sock"), "state": self.0.path(),
        });
        for (name, value) in more.as_object().expect("an object") {
            config[name] = value.clone();
        }
        run(&plugin, &[], command, &format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=cart"), &config)
    }
}

fn run(program: &Path, words: &[&str], command: &str, arguments: &str, config: &Value) -> Output {
    let mut child = Command::new(program)
        .args(words)
        .env("CNI_COMMAND", command)
        .env("CNI_ARGS", arguments)
        .env("CNI_NETNS", "/proc/self/ns/net")
        .env("CNI_CONTAINERID", "1a2b")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    // It may end before it has read all.
    let _ = child.stdin.take().expect("standard input").write_all(config.to_string().as_bytes());
    child.wait_with_output().expect("it ends")
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

fn previous() -> Value {
    json!({"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.2/24", "of its own": [1]}], "dns": {}})
}

#[test]
fn without_an_agent_a_pod_that_is_not_enrolled_gets_the_result_of_the_plugins_before() {
    let node = Node::new();
    for namespaces in [None, Some(&["other"][..])] {
        namespaces.into_iter().for_each(|namespaces| node.enroll(namespaces));
        let output = node.run("ADD", "shop", &json!({"prevResult": previous()}));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(said(&output), previous());
    }
}

#[test]
fn without_an_agent_an_enrolled_pod_gets_an_error_that_says_why() {
    let node = Node::new();
    node.enroll(&["shop"]);
    let output = node.run("ADD", "shop", &json!({"prevResult": previous()}));
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output);
    assert_eq!((&error["code"], &error["cniVersion"]), (&json!(11), &json!("1.0.0")));
    for words in ["shop/cart", "of its namespace", "no agent answers at", "agent.sock"] {
        assert!(error["msg"].as_str().is_some_and(|text| text.contains(words)), "{words}: {error}");
    }

    let disabled = json!({"io.kubernetes.cri.pod-annotations": {"weir.dev/mesh": "disabled"}});
    let output = node.run("ADD", "shop", &json!({"prevResult": previous(), "runtimeConfig": disabled}));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_takes_a_pod_away_or_asks_for_the_nodes_network_never_fails() {
    let node = Node::new();
    node.enroll(&["shop"]);
    for command in ["DEL", "GC", "STATUS"] {
        let output = node.run(command, "shop", &json!({}));
        assert!(output.status.success() && output.stdout.is_empty(), "{command}: {output:?}");
    }
    assert_eq!(node.run("CHECK", "shop", &json!({"prevResult": previous()})).status.code(), Some(1));
    assert!(node.run("CHECK", "other", &json!({"prevResult": previous()})).status.success());
}

#[test]
fn the_subcommand_does_the_same_and_tells_its_versions() {
    let weir = Path::new(env!("CARGO_BIN_EXE_weir"));
    let output = run(weir, &["cni"], "VERSION", "", &json!({}));
    assert!(said(&output)["supportedVersions"].as_array().is_some_and(|all| all.contains(&json!("1.0.0"))));
    let output = run(weir, &["cni"], "ADD", "", &json!({"cniVersion": "1.0.0"}));
    assert_eq!((output.status.code(), &said(&output)["code"]), (Some(1), &json!(7)), "it is not chained");
}
