//! After the last step: how to look around in what --keep left, or that nothing is left.
//!
//! Entry points: [`how_to_look_around`], [`nothing_is_left`].

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use super::stage::{PAY, Stage};

/// `in POD COMMAND…`: what `kubectl exec` is to a cluster. A pod is a network namespace and a cgroup.
const IN: &str = r#"#!/bin/sh
# in NAMESPACE/POD COMMAND...: runs COMMAND in a pod of the demo.
case $1 in
PLACES
*) echo "usage: $0 (PODS) COMMAND..." >&2; exit 2 ;;
esac
shift
echo $$ > "$cgroup/cgroup.procs" && exec nsenter --net="$netns" -- "$@"
"#;

/// Prints the commands, with a script for what would be long.
pub(super) fn how_to_look_around(stage: &Stage<'_>) -> Result<()> {
    let pods = &stage.pods;
    let all =
        [&pods.web, &pods.cart, &pods.batch, &pods.old, &pods.pay, &pods.ledger, &pods.next, &pods.broken];
    let places = all.map(|pod| {
        let (key, cgroup, netns) = (super::stage::key(pod), pod.cgroup(), pod.netns());
        format!("{key}) cgroup={} netns={} ;;", cgroup.display(), netns.display())
    });
    let names = all.map(super::stage::key).join(" | ");
    let script = stage.dir.join("in");
    fs::write(&script, IN.replace("PLACES", &places.join("\n")).replace("PODS", &names))?;
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;

    let (weir, dir) = (&stage.screen.weir, stage.dir.display());
    let screen = &stage.screen;
    screen.heading("It stays up. To look around:");
    println!("watch what happens on node-a, in a terminal of its own:");
    println!("  WEIR_SOCKET={} {weir} flows --follow", stage.node(0).socket().display());
    println!("the other node's agent:");
    println!("  WEIR_SOCKET={} {weir} status", stage.node(1).socket().display());
    println!("run something in a pod (by nsenter; see the script):");
    println!("  {dir}/in shop/web curl http://{PAY}/7.txt");
    println!("  {dir}/in shop/batch sh");
    println!("change the cluster; the agents follow what is in this directory, their logs are beside it:");
    println!("  ls {dir}/state; tail {dir}/node-a.log");
    println!("remove it all:");
    println!("  cargo xtask demo --remove");
    Ok(())
}

/// Looks for what the demo made, and says that it is gone.
pub(super) fn nothing_is_left(name: &str) -> Result<()> {
    let name = format!("weir-{name}");
    for place in ["/run/netns", "/sys/fs/bpf", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        let left: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|entry| *entry == name || entry.starts_with(&format!("{name}-")))
            .collect();
        ensure!(left.is_empty(), "left behind in {place}: {}", left.join(" "));
    }
    ensure!(!Path::new(&std::env::temp_dir()).join(&name).exists(), "the demo's files are left behind");
    println!("Removed: agents, eBPF programs, pods, nodes, files.");
    Ok(())
}
