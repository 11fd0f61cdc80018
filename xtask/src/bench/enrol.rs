//! How long it takes until a pod that runs already is captured, once its annotation has been seen.
//!
//! Entry point: [`measure`]. A real Kubernetes runs the pods; the agents' own log says how long each capture took, from
//! the moment that the watch told of the annotation.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::{BUSYBOX, Cluster, KubeAgent, eventually_within};

use super::scale::Table;

/// The longest that anything here takes.
const LONG: Duration = Duration::from_secs(600);
/// Where the agent is that is looked at.
const NODE: &str = "node-1";
/// At most so long should it take, in milliseconds.
const GOAL: f64 = 100.0;

/// Measures, and says it in a table.
pub(super) fn measure(quick: bool) -> Result<String> {
    let (pods, rounds) = if quick { (10, 3) } else { (50, 10) };
    let cluster = Cluster::up(&[])?;
    let mut table = Table::default();
    let agent = node(&cluster)?.agent()?;
    for (namespace, pods) in [("one", 1), ("many", pods)] {
        run(&cluster, namespace, pods)?;
        let mut each = Vec::new();
        for _ in 0..rounds {
            each.extend(enrol(&cluster, &agent, namespace, pods)?);
        }
        each.sort_by(f64::total_cmp);
        let worst = each.last().copied().unwrap_or(f64::NAN);
        table.row(
            format!(
                "a Namespace of {pods}, {rounds} times: annotation seen → each pod captured, median / worst"
            ),
            format!(
                "{:.1} / {worst:.1} ms, goal ≤ {GOAL} ms {}",
                each.get(each.len() / 2).copied().unwrap_or(f64::NAN),
                if worst <= GOAL { "✓" } else { "✗ missed" }
            ),
        );
    }
    Ok(table.text())
}

fn node(cluster: &Cluster) -> Result<&weir_tests::KubeNode> {
    cluster.nodes().iter().find(|node| node.name() == NODE).context("no such node")
}

/// Pods that do nothing, in a namespace that says nothing.
fn run(cluster: &Cluster, namespace: &str, pods: usize) -> Result<()> {
    let namespaces = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": format!("pod-{number}")},
            "spec": {
                "nodeName": NODE, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "app", "image": BUSYBOX, "imagePullPolicy": "Never"}],
            },
        })
    };
    let items: Vec<Value> = [namespaces].into_iter().chain((0..pods).map(pod)).collect();
    cluster.api().apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    let words = ["-n", namespace, "get", "pods", r"-o=jsonpath={.items[*].status.phase}"];
    eventually_within(LONG, "the pods to run", || {
        let phases = cluster.kubectl(words)?;
        Ok((phases.split_whitespace().filter(|phase| *phase == "Running").count() == pods).then_some(()))
    })
}

/// Annotates, and takes it back; how long each capture took, in milliseconds.
fn enrol(cluster: &Cluster, agent: &KubeAgent, namespace: &str, pods: usize) -> Result<Vec<f64>> {
    let object = format!("namespace/{namespace}");
    let annotate = |word: &str| cluster.kubectl(["annotate", "--overwrite", &object, word]).map(drop);
    let captured = |count: usize| {
        eventually_within(LONG, &format!("{count} captured pods"), || {
            let now = agent.metric("weir_workloads", &[("state", "captured")])?;
            Ok((now == Some(count as f64)).then_some(()))
        })
    };
    let before = agent.log().len();
    annotate("weir.dev/mesh=enabled")?;
    captured(pods)?;
    let log = agent.log();
    let took: Vec<f64> =
        log[before..].lines().filter(|line| line.contains(" captured")).filter_map(took).collect();
    anyhow::ensure!(took.len() == pods, "{} captures of {pods} in the log", took.len());
    annotate("weir.dev/mesh-")?;
    captured(0)?;
    Ok(took)
}

/// The milliseconds behind `took=`, as a `Duration` prints itself.
fn took(line: &str) -> Option<f64> {
    let word = line.split("took=").nth(1)?.split_whitespace().next()?;
    let unit = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = word[..unit].parse().ok()?;
    match &word[unit..] {
        "ns" => Some(number / 1e6),
        "µs" => Some(number / 1e3),
        "ms" => Some(number),
        "s" => Some(number * 1e3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_each_of_its_units() {
        let read = |word: &str| took(&format!("INFO captured pod=a/b took={word} more=1"));
        assert_eq!(read("1.5ms"), Some(1.5));
        assert_eq!(read("250µs"), Some(0.25));
        assert_eq!(read("2s"), Some(2000.0));
        assert_eq!((read("much"), took("nothing")), (None, None));
    }
}
