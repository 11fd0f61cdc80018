//! Weir installed on a real cluster, as its manifests and its chart do it, upgraded under traffic, and removed.

mod installed;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use installed::Shop;
use serde_json::Value;
use weir_tests::{chart_objects, kustomize_objects};

#[test]
fn installed_by_kustomize_weir_shows_a_request_between_nodes_with_both_identities() -> Result<()> {
    let shop = Shop::new()?;
    shop.cluster.install()?;
    shop.is_meshed()?;
    shop.asks_when_it_starts("eager")?;
    shop.is_seen_as_a_whole()
}

#[test]
fn installed_by_helm_weir_does_the_same_and_uninstalled_it_leaves_nothing() -> Result<()> {
    let shop = Shop::new()?;
    shop.cluster.install_by_helm()?;
    shop.is_meshed()?;
    let programs = shop.programs()?;
    shop.cluster.helm(["uninstall", "weir", "--namespace", "weir-system"])?;
    shop.has_nothing_of(&programs)
}

#[test]
fn no_request_fails_while_the_agents_are_replaced_one_by_one() -> Result<()> {
    let shop = Shop::new()?;
    shop.cluster.install()?;
    shop.is_meshed()?;
    let before = shop.agents()?;
    let traffic = shop.traffic(&["near", "far"])?;

    shop.cluster.kubectl(["-n", "weir-system", "rollout", "restart", "daemonset/weir-agent"])?;
    shop.cluster.wait_agents()?;

    let (worked, failed) = traffic.stop()?;
    println!("{worked} requests worked, {} failed", failed.len());
    assert_eq!(failed, Vec::<String>::new(), "beside {worked} that worked");
    let after = shop.agents()?;
    assert!(after.keys().all(|pod| !before.contains_key(pod)), "before {before:?}, after {after:?}");
    // One that had ended by itself when it was taken over from would have been started anew.
    assert!(after.values().all(|restarts| *restarts == 0), "{after:?}");
    shop.is_meshed()
}

#[test]
fn deleted_with_all_its_objects_weir_leaves_nothing_on_a_node() -> Result<()> {
    let shop = Shop::new()?;
    shop.cluster.install()?;
    shop.is_meshed()?;
    let programs = shop.programs()?;
    let dir = shop.cluster.write_kustomization()?.display().to_string();
    shop.cluster.kubectl(["delete", "--wait=false", "-k", &dir])?;
    shop.has_nothing_of(&programs)
}

#[test]
fn an_agent_whose_daemonset_stays_leaves_everything_for_the_next_one() -> Result<()> {
    let shop = Shop::new()?;
    shop.cluster.install()?;
    shop.is_meshed()?;
    let before = shop.agents()?;
    let delete = ["-n", "weir-system", "delete", "pod", "--all", "--wait=true"];
    shop.cluster.kubectl(delete)?;
    // An agent that had removed what is pinned would have let these pods out of the mesh; there is no moment at which they
    // are.
    for node in shop.cluster.nodes() {
        assert!(!shop.pins(node)?.is_empty(), "nothing is pinned on {}", node.name());
    }
    shop.cluster.wait_agents()?;
    assert!(shop.agents()?.keys().all(|pod| !before.contains_key(pod)));
    shop.is_meshed()
}

#[test]
fn the_commands_of_the_pages_install_enrol_upgrade_and_remove() -> Result<()> {
    let shop = Shop::new()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the checkout")?;
    let page = |name: &str| fs::read_to_string(root.join(name)).with_context(|| name.to_owned());
    // Nodes that share a machine need another kustomization than real ones, which this `kubectl` takes for `deploy`.
    let clients = shop.cluster.write_clients()?;
    let run = |commands: &str| -> Result<String> {
        let path = format!("{}:{}", clients.display(), env::var("PATH").unwrap_or_default());
        let mut bash = Command::new("bash");
        bash.args(["-euxc", commands]).env("PATH", path).current_dir(root).stdin(Stdio::null());
        let output = bash.output()?;
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if !output.status.success() {
            bail!("{}", text.concat());
        }
        Ok(text.concat())
    };

    let readme = page("README.md")?;
    let (_, readme) = readme.split_once("\n## In a cluster\n").context("a chapter")?;
    run(&commands(readme.split("\n## ").next().unwrap_or_default()))?;
    shop.is_meshed()?;
    let programs = shop.programs()?;

    for name in ["docs/operations.md", "docs/enrol.md"] {
        run(&commands(&page(name)?)).with_context(|| name.to_owned())?;
    }
    shop.is_meshed()?;

    let said = run(&commands(&page("docs/install.md")?))?;
    for expected in ["shop/cart", "successfully rolled out", "release \"weir\" uninstalled"] {
        assert!(said.contains(expected), "no {expected:?} in:\n{said}");
    }
    shop.has_nothing_of(&programs)
}

/// The blocks marked `sh`.
fn commands(text: &str) -> String {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect()
}

#[test]
fn every_kustomization_gives_the_very_objects_that_the_chart_gives() -> Result<()> {
    let beside = [by_name(kustomize_objects("crds")?)?, by_name(kustomize_objects("rbac")?)?];
    for (kustomization, values) in [
        (".", &[][..]),
        ("overlays/podmonitor", &["podMonitor.enabled=true"]),
        ("overlays/single-node", &["ca.provider=node"]),
    ] {
        let mut by_kustomize = by_name(kustomize_objects(kustomization)?)?;
        // Helm makes the namespace of a release itself.
        by_kustomize
            .remove("Namespace weir-system")
            .with_context(|| format!("no namespace in {kustomization}"))?;
        for name in beside.iter().flat_map(BTreeMap::keys) {
            by_kustomize.remove(name).with_context(|| format!("no {name} in {kustomization}"))?;
        }
        assert_eq!(by_kustomize, by_name(chart_objects(values)?)?, "{kustomization}");
    }
    Ok(())
}

fn by_name(objects: Vec<Value>) -> Result<BTreeMap<String, Value>> {
    let mut named = BTreeMap::new();
    for object in objects {
        let name = format!(
            "{} {}",
            object["kind"].as_str().context("a kind")?,
            object["metadata"]["name"].as_str().context("a name")?
        );
        if let Some(twice) = named.insert(name, object) {
            bail!("twice: {twice}");
        }
    }
    Ok(named)
}
