//! What must not start: one line that says what is wrong and how to mend it, and nothing touched.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result};
use weir_tests::{AgentBuilder, Finished, Topology, python};

/// Runs an agent that cannot start; gives what it said, in one line of its own, and leaves nothing attached.
fn fails(builder: AgentBuilder) -> Result<String> {
    said(builder.run()?, 1)
}

fn said(finished: Finished, status: i32) -> Result<String> {
    assert_eq!(finished.status.code(), Some(status), "{finished:?}");
    let mut own = finished.stderr.lines().filter(|line| line.starts_with("weir: "));
    let line = own.next().with_context(|| format!("it said nothing: {finished:?}"))?;
    assert_eq!(own.next(), None, "in one line: {finished:?}");
    assert_eq!(finished.stderr.lines().last(), Some(line), "as the last thing it says");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    Ok(line.to_owned())
}

/// Fails unless `line` has all of `words`.
fn has(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

#[test]
fn a_directory_that_is_no_cgroup() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    let plain = topology.dir().display().to_string();
    has(&fails(node.agent().args(["--cgroup", &plain]))?, &["cgroup2", &plain, "--cgroup"]);
    let missing = node.cgroup().join("missing").display().to_string();
    has(
        &fails(node.agent().args(["--cgroup", &missing]))?,
        &["cgroup2", &missing, "No such file", "--cgroup"],
    );
    Ok(())
}

#[test]
fn a_place_where_no_bpf_file_system_can_be_mounted() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    has(&fails(node.agent().args(["--bpffs", "/proc/weir"]))?, &["/proc/weir", "mount"]);
    let file = topology.dir().join("file");
    fs::write(&file, "precious")?;
    let below = file.join("weir").display().to_string();
    has(&fails(node.agent().args(["--bpffs", &below]))?, &[&below, "mount"]);
    Ok(())
}

#[test]
fn a_metrics_port_that_is_taken() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    let listen = "import signal, socket\ns = socket.create_server(('127.0.0.1', 15020))\nprint('listening')\nsignal.pause()";
    let mut taken = node.spawn(python(listen, [""; 0]))?;
    taken.wait_line("the listener", |line| line.starts_with("listening").then_some(()))?;
    has(&fails(node.agent())?, &["127.0.0.1:15020", "in use", "--metrics"]);
    assert!(!node.bpffs().join("v1").exists(), "nothing was touched");
    Ok(())
}

#[test]
fn a_socket_path_where_a_plain_file_is() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    fs::write(node.socket(), "precious")?;
    let line = fails(node.agent())?;
    has(&line, &[&node.socket().display().to_string(), "--socket"]);
    assert_eq!(fs::read_to_string(node.socket())?, "precious");
    assert!(!node.bpffs().join("v1").exists(), "nothing was touched");
    Ok(())
}

#[test]
fn a_state_directory_that_is_not_there() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let missing = topology.dir().join("missing").display().to_string();
    has(&fails(topology.node("a").agent().args(["--state", &missing]))?, &[&missing, "--state"]);
    Ok(())
}

#[test]
fn an_authority_that_others_can_write_to() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    fs::create_dir_all(node.ca_dir())?;
    fs::set_permissions(node.ca_dir(), fs::Permissions::from_mode(0o777))?;
    let own = node.ca_dir().display().to_string();
    has(&fails(node.agent())?, &["--ca", &own, "chmod"]);
    Ok(())
}

#[test]
fn an_authority_in_a_place_that_cannot_be_written() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    has(&fails(topology.node("a").agent().args(["--ca", "local:/proc/weir"]))?, &["--ca", "/proc/weir"]);
    Ok(())
}

#[test]
fn an_agent_without_its_capabilities() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let bare = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let line = fails(topology.node("a").agent().under(bare))?;
    has(&line, &["capabilities", "CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    let one = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
    let line = fails(topology.node("a").agent().under(one))?;
    has(&line, &["capabilities", "CAP_NET_ADMIN"]);
    assert!(!line.contains("CAP_BPF"), "only what is missing: {line}");
    Ok(())
}

#[test]
fn values_that_cannot_be_used_are_bad_use() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    for (flag, value) in [
        ("--same-node", "sideways"),
        ("--when-down", "ajar"),
        ("--ca", "remote:/tmp"),
        ("--metrics", "15020"),
        ("--drain", "soon"),
        ("--repair-interval", "0"),
        ("--workers", "0"),
        ("--trust-domain", "Not A Domain"),
        ("--unheard-of", "flag"),
    ] {
        let finished = node.agent().args([format!("{flag}={value}")]).run()?;
        assert_eq!(finished.status.code(), Some(2), "{flag} {value}: {finished:?}");
        assert!(finished.stderr.contains(flag), "{flag} {value}: {finished:?}");
    }
    Ok(())
}

#[test]
fn a_congestion_control_that_the_kernel_does_not_know() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    has(
        &fails(topology.node("a").agent().args(["--congestion", "teleport"]))?,
        &["teleport", "--congestion"],
    );
    Ok(())
}
