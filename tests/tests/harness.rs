//! The harness itself: nodes and pods that talk without a mesh, and leave nothing behind.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use rustix::io::Errno;
use weir_tests::{Manifest, Serve, Topology};

/// What shows on the machine of the topology whose folder is `dir`.
fn traces(dir: &Path) -> Vec<PathBuf> {
    let name = dir.file_name().expect("a topology has a folder").to_string_lossy().into_owned();
    let mut folders = vec![PathBuf::from("/run/netns"), "/sys/fs/bpf".into(), std::env::temp_dir()];
    folders.extend(["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let is_own = |file: &str| file == name || file.starts_with(&format!("{name}-"));
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|file| is_own(&file.to_string_lossy())))
        .collect()
}

#[test]
fn pods_on_two_nodes_talk_over_ipv4_and_ipv6() -> Result<()> {
    let topology = Topology::new()?;
    let client = topology.node("a").pod("shop/client")?;
    let server = topology.node("b").pod("shop/server")?;
    let _greeter = server.serve(Serve::Greet("hello".to_owned()), 8080)?;

    for to in [server.v4(8080), server.v6(8080), server.v4_mapped(8080)] {
        let dialled = client.dial(to)?;
        assert!(dialled.connected, "{to}: {dialled:?}");
        assert_eq!(dialled.peer, Some(to));
        let seen = dialled.local.expect("a connected socket has an address");
        let own = if to == server.v6(8080) { client.v6(0) } else { client.v4_mapped(0) };
        let shown = if to == server.v4(8080) { client.v4(0) } else { own };
        assert_eq!(seen.ip(), shown.ip());
        assert_eq!(dialled.received, format!("hello [{}]:{}\n", own.ip(), seen.port()));
    }
    Ok(())
}

#[test]
fn pods_on_one_node_talk_and_a_port_without_a_listener_refuses() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    let (client, server) = (node.pod("shop/client")?, node.pod("shop/server")?);
    let _echo = server.serve(Serve::Echo, 7)?;

    assert_eq!(client.ask(server.v4(7), "over the bridge")?.received, "over the bridge");
    assert!(client.dial(server.v4(8))?.refused_with(Errno::CONNREFUSED));
    let bound = client.dial_with(server.v4(7), &["--bind", &client.v4(40_000).to_string()])?;
    assert_eq!(bound.local, Some(client.v4(40_000)));
    Ok(())
}

#[test]
fn a_held_connection_reports_when_the_other_side_goes() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    let (client, server) = (node.pod("shop/client")?, node.pod("shop/server")?);
    let echo = server.serve(Serve::Echo, 7)?;

    let mut held = client.hold(server.v4(7))?;
    held.echo("one")?;
    held.echo("two")?;
    assert_eq!(held.received(), "onetwo");
    assert!(held.is_open()?);
    drop(echo);
    held.wait_closed()?;
    Ok(())
}

#[test]
fn a_pod_runs_its_commands_in_its_own_namespace_and_cgroup() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let pod = topology.node("a").pod("shop/client")?;
    let namespace = pod.run(["stat", "-L", "-c", "%i", "/proc/self/ns/net"])?.success()?;
    let file = pod.run(["stat", "-c", "%i", &pod.netns().display().to_string()])?.success()?;
    assert_eq!(namespace, file);
    let cgroups = pod.run(["cat", "/proc/self/cgroup"])?.success()?;
    assert!(
        cgroups.lines().any(|line| line.starts_with("0::") && line.ends_with("/node-a/pods/shop-client"))
    );
    Ok(())
}

#[test]
fn nothing_is_left_after_drop_even_with_a_child_that_hangs() -> Result<()> {
    let topology = Topology::new()?;
    let dir = topology.dir();
    let pod = topology.node("a").pod("shop/client")?;
    topology.state().put_all(&[Manifest::meshed("shop"), pod.manifest()])?;
    // Deaf to everything that can be ignored, in a session of its own, with a child.
    let stubborn = "trap '' TERM INT HUP; echo up; while :; do sleep 1000; done";
    let mut hung = pod.spawn(["setsid", "sh", "-c", stubborn])?;
    hung.wait_line("its first line", |line| line.starts_with("up").then_some(()))?;
    // One for each of: folder, cgroup, pins, two nodes, the pod.
    assert_eq!(traces(&dir).len(), 6, "{:?}", traces(&dir));

    drop(topology);

    assert_eq!(traces(&dir), Vec::<PathBuf>::new());
    assert!(!hung.is_running()?);
    Ok(())
}

#[test]
fn nothing_is_left_after_a_panic() {
    let mut dir = PathBuf::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let topology = Topology::new().expect("root, and a kernel with namespaces");
        dir = topology.dir();
        let pod = topology.node("b").pod("shop/server").expect("a pod");
        let _echo = pod.serve(Serve::Echo, 7).expect("a server");
        panic!("as a failing assertion does");
    }));
    assert!(outcome.is_err());
    assert_eq!(traces(&dir), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next_one() -> Result<()> {
    const ROLE: &str = "WEIR_TEST_ROLE";
    match std::env::var(ROLE).as_deref() {
        Ok("killed") => {
            let topology = Topology::new()?;
            let pod = topology.node("a").pod("shop/client")?;
            let _echo = pod.serve(Serve::Echo, 7)?;
            println!("left {}", topology.dir().display());
            std::process::abort();
        }
        Ok(_) => return Topology::with_nodes(1).map(drop),
        Err(_) => {}
    }
    let own = std::env::current_exe()?;
    let run_as = |role: &str| {
        let name = "what_a_killed_run_left_is_swept_by_the_next_one";
        let mut test = Command::new(&own);
        test.args(["--exact", name, "--nocapture"]).env(ROLE, role).stderr(Stdio::null());
        test.output()
    };
    let printed = String::from_utf8(run_as("killed")?.stdout)?;
    let left = printed.lines().find_map(|line| line.split_once("left ")).expect("the killed run's folder").1;
    assert!(!traces(Path::new(left)).is_empty(), "the killed run left nothing to sweep");

    assert!(run_as("next")?.status.success());

    assert_eq!(traces(Path::new(left)), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_pod_that_is_removed_takes_its_veth_along() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    let pod = node.pod("shop/client")?;
    let _echo = pod.serve(Serve::Echo, 7)?;
    let links = || node.run(["ip", "-o", "link", "show", "master", "pods"])?.success();
    assert_eq!(links()?.lines().count(), 1);

    pod.remove()?;

    weir_tests::eventually("the veth to go", || Ok(links()?.is_empty().then_some(())))?;
    // The name and the address are free again.
    node.pod_at("shop/client", 2)?;
    Ok(())
}

#[test]
fn waiting_for_a_line_of_a_process_that_has_ended_fails_at_once_and_shows_its_output() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let mut process = topology.node("a").spawn(["sh", "-c", "echo words; echo errors >&2"])?;
    let error = process.wait_line("more", |line| line.contains("more").then_some(())).expect_err("it ended");
    assert!(error.to_string().contains("it ended") && error.to_string().contains("words\n"), "{error}");
    assert!(error.to_string().contains("errors\n"), "{error}");
    Ok(())
}
