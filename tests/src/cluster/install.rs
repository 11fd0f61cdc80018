//! Weir on a cluster as `deploy/` installs it.
//!
//! Entry points: [`Cluster::install`], [`Cluster::install_by_helm`], [`Cluster::on_agent`]. What is applied is the checkout's own kustomization and one
//! patch: nodes that share a machine share its cgroups, so that each agent is given its own node's part of them.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::Cluster;
use crate::{deploy, netns, process::Finished, programs};

/// Weir's namespace.
const NAMESPACE: &str = "weir-system";
/// Where Debian has the plugins of CNI.
const PLUGINS: &str = "/usr/lib/cni";
/// The node's own part; Kubernetes puts the name in.
const CGROUP: &str = "--cgroup=/host/cgroup/$(WEIR_NODE)";

impl Cluster {
    /// Installs Weir by kustomize and waits until every node's agent is in charge.
    pub fn install(&self) -> Result<()> {
        let dir = self.write_kustomization()?.display().to_string();
        self.kubectl(["apply", "--server-side", "-k", &dir])?;
        self.wait_agents()
    }

    /// Writes the kustomization that installs Weir here, and gives its folder.
    pub fn write_kustomization(&self) -> Result<PathBuf> {
        let dir = self.scope.dir.join("install");
        fs::create_dir_all(&dir)?;
        // Kustomize takes no absolute path.
        let up = "../".repeat(dir.components().count() - 1);
        let deploy = deploy::folder()?;
        let overlay = deploy.strip_prefix("/").unwrap_or(&deploy);
        let patch = json!([
            {"op": "replace", "path": "/spec/template/spec/volumes/0/hostPath/path", "value": self.scope.cgroup},
            {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": CGROUP},
            {"op": "test", "path": "/spec/template/spec/volumes/5/name", "value": "cni-bin"},
            {"op": "replace", "path": "/spec/template/spec/volumes/5/hostPath/path", "value": PLUGINS},
        ]);
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "resources": [format!("{up}{}", overlay.display())],
            "patches": [{"target": {"kind": "DaemonSet"}, "patch": patch.to_string()}],
        });
        fs::write(dir.join("kustomization.yaml"), kustomization.to_string())?;
        Ok(dir)
    }

    /// Installs Weir by Helm and waits until every node's agent is in charge. The definitions are not in the chart.
    pub fn install_by_helm(&self) -> Result<()> {
        self.api.define()?;
        let chart = deploy::folder()?.join("helm/weir").display().to_string();
        let words =
            ["install", "weir", &chart, "--namespace", NAMESPACE, "--create-namespace"].map(str::to_owned);
        self.helm(words.into_iter().chain(self.values()))?;
        self.wait_agents()
    }

    /// Runs `weir WORDS…` as somebody would who has the cluster's kubeconfig.
    pub fn weir<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<Finished> {
        self.api.run_with_kubeconfig(&programs::weir()?, words)
    }

    /// Runs `helm WORDS…` to its end, and gives what it printed.
    pub fn helm<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        self.api.ask_with("helm", words)
    }

    /// Writes a `kubectl` and a `helm` that speak to this cluster and take what installs Weir for what does so here, and
    /// gives their folder.
    pub fn write_clients(&self) -> Result<PathBuf> {
        let dir = self.scope.dir.join("clients");
        fs::create_dir_all(&dir)?;
        let netns = netns::path(&self.scope.netns("control"));
        let (install, values) = (self.write_kustomization()?, quoted(&self.values()));
        for (name, before) in [
            ("kubectl", format!(r#"[ "$word" = deploy ] && word={}"#, install.display())),
            ("helm", format!(r#"[ "$word" = deploy/helm/weir ] && words+=({values})"#)),
        ] {
            let (home, netns) = (dir.display(), netns.display());
            let (program, kubeconfig) = (programs::kubernetes(name)?, self.api.kubeconfig());
            let script = format!(
                r#"#!/bin/bash
words=()
for word; do
  {before}
  words+=("$word")
done
export HOME={home}
exec nsenter --net={netns} -- {program} --kubeconfig={} "${{words[@]}}"
"#,
                kubeconfig.display()
            );
            let file = dir.join(name);
            fs::write(&file, script)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(dir)
    }

    /// What is to be set of the chart here.
    fn values(&self) -> Vec<String> {
        let set = |name: &str, value: String| format!("--set={name}={value}");
        vec![
            set("agent.cgroup", self.scope.cgroup.display().to_string()),
            set("agent.extraArgs[0]", CGROUP.into()),
            set("agent.cni.binDir", PLUGINS.into()),
        ]
    }

    /// Waits until every node's agent, of the newest kind, is in charge.
    pub fn wait_agents(&self) -> Result<()> {
        let rollout = ["rollout", "status", "daemonset/weir-agent", "--timeout=55s", "-n", NAMESPACE];
        self.kubectl(rollout).map(drop)
    }

    /// Runs `weir WORDS…` in the pod of the agent that is in charge of a node.
    pub fn on_agent<S: AsRef<str>>(&self, node: &str, words: impl IntoIterator<Item = S>) -> Result<String> {
        let words: Vec<String> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let on_node = format!("--field-selector=spec.nodeName={node},status.phase=Running");
        let newest = "--sort-by=.metadata.creationTimestamp";
        let select =
            ["get", "pod", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=weir-agent", &on_node, newest];
        let names = self.kubectl(select.into_iter().chain(["-o", "name"]))?;
        let pod = names.lines().last().with_context(|| format!("no agent on {node}"))?;
        let exec = ["exec", "-n", NAMESPACE, pod, "--", "weir"];
        self.kubectl(exec.into_iter().chain(words.iter().map(String::as_str)))
    }
}

/// Words for a shell.
fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}
