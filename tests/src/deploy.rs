//! What the checkout's `deploy/` comes to, without a cluster.
//!
//! Entry points: [`kustomize_objects`], [`chart_objects`].

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::programs;

/// The objects that `kubectl apply -k deploy/PATH` would install.
pub fn kustomize_objects(path: &str) -> Result<Vec<Value>> {
    let mut kubectl = Command::new(programs::kubernetes("kubectl")?);
    objects(kubectl.arg("kustomize").arg(folder()?.join(path)))
}

/// The objects that Helm would install of the chart with these values.
pub fn chart_objects(values: &[&str]) -> Result<Vec<Value>> {
    let mut helm = Command::new(programs::kubernetes("helm")?);
    helm.args(["template", "weir", "--namespace", "weir-system"]).arg(folder()?.join("helm/weir"));
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    objects(&mut helm)
}

/// `deploy/`.
pub(crate) fn folder() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the checkout")?;
    Ok(root.join("deploy"))
}

fn objects(command: &mut Command) -> Result<Vec<Value>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let documents = serde_norway::Deserializer::from_str(&text);
    Ok(documents.map(Value::deserialize).collect::<Result<_, _>>()?)
}
