//! Somebody, or something, changes what the agent has put into the kernel: it is mended and counted.

mod stage;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, SockHash, lpm_trie::Key};
use serde_json::json;
use stage::{Stage, pinned, version};
use weir_common::{Config, ListenerKey, config};
use weir_tests::{Agent, Manifest, Node, eventually};

const REPAIRS: &str = "weir_drift_repairs_total";

/// A table as bytes: what the test knows of it is only that it must come back.
type Dump<const K: usize, const V: usize> = BTreeMap<[u8; K], [u8; V]>;

fn open<const K: usize, const V: usize>(
    node: &Node,
    name: &str,
) -> Result<HashMap<MapData, [u8; K], [u8; V]>> {
    HashMap::try_from(Map::HashMap(pinned(node, name)?)).with_context(|| name.to_owned())
}

fn dump<const K: usize, const V: usize>(node: &Node, name: &str) -> Result<Dump<K, V>> {
    let table = open::<K, V>(node, name)?;
    Ok(table.iter().collect::<Result<_, _>>()?)
}

/// Removes an entry, changes another one and adds a third; says how many are wrong now.
fn spoil<const K: usize, const V: usize>(node: &Node, name: &str, before: &Dump<K, V>) -> Result<usize> {
    let mut table = open::<K, V>(node, name)?;
    let (first, value) = before.first_key_value().with_context(|| format!("{name} is empty"))?;
    let mut foreign = *first;
    foreign[0] ^= 0x80;
    table.insert(foreign, value, 0)?;
    table.remove(first)?;
    let Some((second, value)) = before.iter().nth(1) else { return Ok(2) };
    let mut other = *value;
    other[0] ^= 1;
    table.insert(second, other, 0)?;
    Ok(3)
}

/// Spoils a table and waits until it is as it was.
fn mended<const K: usize, const V: usize>(agent: &Agent, name: &str) -> Result<()> {
    let node = agent.node();
    let before = dump::<K, V>(node, name)?;
    let wrong = spoil(node, name, &before)?;
    agent.wait_metric(REPAIRS, &[("map", name)], wrong as f64)?;
    ensure!(dump::<K, V>(node, name)? == before, "{name} is not as it was");
    Ok(())
}

/// Something in every table.
fn furnish(stage: &Stage) -> Result<()> {
    let service = Manifest::service("shop", "far", &["10.96.0.7".parse()?]).port("echo", 7, 7);
    let policy = json!({
        "selector": {"matchLabels": {"app": "near"}}, "action": "allow",
        "rules": [{"from": [{"serviceAccounts": ["shop/client"]}], "to": [{"ports": [7, "9000-9010"]}]}],
    });
    let skipping = stage
        .near
        .manifest()
        .annotation("weir.dev/skip-outbound-ports", "5432,5433")
        .annotation("weir.dev/skip-outbound-cidrs", "203.0.113.0/24");
    let state = stage.topology.state();
    state.put_all(&[service, Manifest::access_policy("shop", "near", policy), skipping])?;
    state.put_all(&Manifest::endpoint_slices("shop", "far", ("echo", 7), &[&stage.far]))
}

fn agent(stage: &Stage) -> Result<Agent> {
    stage.node("a").agent().args(["--repair-interval", "1"]).start()
}

#[test]
fn tables_are_mended() -> Result<()> {
    let stage = Stage::new()?;
    furnish(&stage)?;
    let agent = agent(&stage)?;

    mended::<8, 40>(&agent, "WORKLOADS")?;
    mended::<16, 16>(&agent, "ENDPOINTS")?;
    mended::<20, 16>(&agent, "SERVICES")?;
    mended::<16, 20>(&agent, "BACKENDS")?;
    mended::<24, 8>(&agent, "VERDICTS")?;
    mended::<16, 4>(&agent, "PORT_RULES")?;
    mended::<16, 4>(&agent, "NODE_ADDRESSES")?;
    Ok(())
}

#[test]
fn networks_are_mended() -> Result<()> {
    let stage = Stage::new()?;
    furnish(&stage)?;
    let agent = agent(&stage)?;
    for name in ["SKIPPED_NETWORKS", "PLAINTEXT_SOURCES"] {
        let dump = || -> Result<BTreeMap<(u32, [u8; 24]), u32>> {
            let trie = LpmTrie::<_, [u8; 24], u32>::try_from(Map::LpmTrie(pinned(agent.node(), name)?))?;
            trie.iter()
                .map(|entry| Ok(entry.map(|(key, value)| ((key.prefix_len(), key.data()), value))?))
                .collect()
        };
        let before = dump()?;
        let ((prefix, network), value) = before.first_key_value().context("an entry")?;
        let mut trie = LpmTrie::<_, [u8; 24], u32>::try_from(Map::LpmTrie(pinned(agent.node(), name)?))?;
        trie.remove(&Key::new(*prefix, *network))?;
        trie.insert(&Key::new(8, [0xee; 24]), value, 0)?;

        agent.wait_metric(REPAIRS, &[("map", name)], 2.0)?;

        assert_eq!(dump()?, before, "{name}");
    }
    Ok(())
}

#[test]
fn the_listening_ports_of_a_pod_are_mended() -> Result<()> {
    let stage = Stage::new()?;
    let agent = agent(&stage)?;
    let before = dump::<16, 4>(agent.node(), "LISTENING")?;
    let mut table = open::<16, 4>(agent.node(), "LISTENING")?;
    let port = before.keys().next().context("a listening port")?;
    table.remove(port)?;

    agent.wait_metric(REPAIRS, &[("map", "LISTENING")], 1.0)?;

    assert_eq!(dump::<16, 4>(agent.node(), "LISTENING")?, before);
    Ok(())
}

#[test]
fn a_configuration_that_opens_the_mesh_is_mended() -> Result<()> {
    let stage = Stage::new()?;
    let agent = agent(&stage)?;
    let mut map = Array::<_, Config>::try_from(Map::Array(pinned(agent.node(), "CONFIG")?))?;
    let before = map.get(&0, 0)?;
    map.set(0, Config { flags: before.flags | config::OPEN, heartbeat_ns: 0, ..before }, 0)?;

    agent.wait_metric(REPAIRS, &[("map", "CONFIG")], 1.0)?;

    assert_eq!(map.get(&0, 0)?.flags, before.flags);
    Ok(())
}

#[test]
fn what_is_steered_to_the_agent_is_mended() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents_with(&["--repair-interval", "1"])?;
    let here = stage.captured(here, "before")?;
    let mut listeners =
        SockHash::<_, ListenerKey>::try_from(Map::SockHash(pinned(here.node(), "LISTENERS")?))?;
    let before: HashSet<ListenerKey> = listeners.keys().collect::<Result<_, _>>()?;
    ensure!(!before.is_empty(), "nothing is steered to the agent");
    for key in &before {
        listeners.remove(key)?;
    }
    assert!(stage::refuses(&stage.client, stage.far.v4(7))?.is_some(), "the entries were not in use");

    here.wait_metric(REPAIRS, &[("map", "LISTENERS")], before.len() as f64)?;

    assert_eq!(listeners.keys().collect::<Result<HashSet<_>, _>>()?, before);
    stage.captured(here, "after")?;
    Ok(())
}

#[test]
fn programs_that_were_detached_are_attached_again() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents_with(&["--repair-interval", "1"])?;
    let links = version(here.node()).join("links");
    fs::remove_file(links.join("weir_connect4"))?;
    fs::remove_file(links.join("weir_observe"))?;
    fs::remove_file(stage.pod_pins("a")?.first().context("a pod's pin")?)?;

    here.wait_metric(REPAIRS, &[("map", "programs")], 3.0)?;

    assert_eq!((stage.link_inodes("a")?.len(), stage.pod_pins("a")?.len()), (7, 2));
    assert_eq!(stage::program_ids(&here.status()?).len(), 7);
    stage.captured(here, "after")?;
    Ok(())
}

#[test]
fn a_map_whose_pin_is_gone_is_pinned_again_and_new_pods_share_it() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents_with(&["--repair-interval", "1"])?;
    fs::remove_file(version(here.node()).join("maps/WORKLOADS"))?;
    // Captured while it is not pinned.
    let late = here.node().pod("shop/late")?;
    stage.topology.state().put(&late.manifest().annotation("weir.dev/mtls", "strict"))?;
    here.wait_metric("weir_workloads", &[("state", "captured")], 3.0)?;
    let _echo = late.serve(weir_tests::Serve::Echo, 7)?;
    assert!(stage::refuses(&stage.plain, late.v4(7))?.is_some(), "its SYNs are judged by another map");

    here.wait_metric(REPAIRS, &[("map", "WORKLOADS")], 1.0)?;

    eventually("three pods in the pinned map", || {
        Ok((stage::virtual_ports(here.node())?.len() == 3).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_pod_that_is_captured_in_part_is_mended_when_somebody_asks_and_is_shown() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents_with(&["--repair-interval", "86400"])?;
    ensure!(here.weir(["status", "--verify"])?.status.success(), "nothing is wrong yet");
    let before = dump::<8, 40>(here.node(), "WORKLOADS")?;
    let mut entries = open::<8, 40>(here.node(), "WORKLOADS")?;
    before.keys().try_for_each(|cookie| entries.remove(cookie))?;
    fs::remove_file(stage.pod_pins("a")?.first().context("a pod's pin")?)?;

    let printed = here.weir(["status", "--verify"])?.success()?;

    ensure!(printed.matches("was captured in part and mended").count() == before.len(), "{printed}");
    assert_eq!(dump::<8, 40>(here.node(), "WORKLOADS")?, before);
    assert_eq!(here.metric("weir_pod_repairs_total", &[("gap", "entry")])?, Some(before.len() as f64));
    assert_eq!(here.metric("weir_pod_repairs_total", &[("gap", "steering")])?, Some(1.0));
    ensure!(here.status()?["verified"].is_string(), "{}", here.status()?);
    stage.captured(here, "after")?;
    Ok(())
}
