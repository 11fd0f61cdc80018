//! `cargo xtask deploy`: what `kubectl apply -k` installs is made of the Helm chart, so that both install the same.
//!
//! Entry points: [`run`] for the task, [`check`] for lints. The chart is the one that is edited. Each of its templates
//! becomes a file of the same name below the kustomization that has it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{checkout::Checkout, command, kubernetes};

const HEADER: &str = "# Made of deploy/helm/weir by `cargo xtask deploy`; what is changed here is lost.\n";

/// A kustomization, the chart's values by which its files come about, and the templates that they are of.
struct Rendered {
    dir: &'static str,
    values: &'static [&'static str],
    /// Name in the chart, and in the kustomization.
    files: &'static [(&'static str, &'static str)],
}

const RENDERED: [Rendered; 2] = [
    Rendered {
        dir: "base",
        values: &[],
        files: &[
            ("agent/account.yaml", "agent/account.yaml"),
            ("agent/daemonset.yaml", "agent/daemonset.yaml"),
            ("controller/account.yaml", "controller/account.yaml"),
            ("controller/deployment.yaml", "controller/deployment.yaml"),
            ("controller/service.yaml", "controller/service.yaml"),
        ],
    },
    Rendered {
        dir: "overlays/podmonitor",
        values: &["podMonitor.enabled=true"],
        files: &[("agent/podmonitor.yaml", "podmonitor.yaml")],
    },
];

/// Options of `cargo xtask deploy`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Change nothing; fail if something would change.
    #[arg(long)]
    check: bool,
}

/// Writes the files, or says which differ.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout::find()?;
    kubernetes::ensure(&checkout)?;
    if options.check {
        return check(&checkout);
    }
    for (file, text) in files(&checkout)? {
        fs::create_dir_all(file.parent().context("a file lies in no directory")?)?;
        fs::write(&file, text).with_context(|| file.display().to_string())?;
        println!("{}", checkout.show(&file));
    }
    Ok(())
}

/// Fails when the chart is not sound, is of another version, or is not what the files were made of.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let chart = chart(checkout);
    command::quiet(Command::new(kubernetes::helm(checkout)).args(["lint", "--strict"]).arg(&chart))?;
    let version = env!("CARGO_PKG_VERSION");
    let own = fs::read_to_string(chart.join("Chart.yaml"))?;
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        if !own.lines().any(|it| it == line) {
            bail!("deploy/helm/weir/Chart.yaml: not of the workspace's version; it needs `{line}`");
        }
    }
    let differs = |(file, text): &(PathBuf, String)| fs::read_to_string(file).ok().as_ref() != Some(text);
    let different: Vec<_> = files(checkout)?.into_iter().filter(differs).collect();
    if let Some((file, _)) = different.first() {
        let (count, first) = (different.len(), checkout.show(file));
        bail!(
            "{count} files are not as the chart would have them, such as {first}; run `cargo xtask deploy`"
        );
    }
    Ok(())
}

/// Every file, and what it is to be.
fn files(checkout: &Checkout) -> Result<Vec<(PathBuf, String)>> {
    let mut all = Vec::new();
    for rendered in &RENDERED {
        let mut helm = Command::new(kubernetes::helm(checkout));
        helm.args(["template", "weir"]).arg(chart(checkout)).args(["--namespace", "weir-system"]);
        for value in rendered.values {
            helm.args(["--set", value]);
        }
        let printed = command::output(&mut helm)?;
        for (template, name) in rendered.files {
            let text = of_template(&printed, template);
            if text.is_empty() {
                bail!("the chart has nothing in templates/{template}");
            }
            all.push((checkout.root.join("deploy").join(rendered.dir).join(name), text));
        }
    }
    Ok(all)
}

/// The documents that come from `template`, with the comments that it has.
fn of_template(printed: &str, template: &str) -> String {
    let source = format!("# Source: weir/templates/{template}\n");
    let documents = printed.split("---\n").filter_map(|document| document.strip_prefix(&source));
    let documents: Vec<&str> = documents.map(str::trim_end).collect();
    if documents.is_empty() { String::new() } else { format!("{HEADER}{}\n", documents.join("\n---\n")) }
}

fn chart(checkout: &Checkout) -> PathBuf {
    checkout.root.join(Path::new("deploy/helm/weir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_gathered_by_their_template() {
        let printed = "---\n# Source: weir/templates/a.yaml\nkind: A\n---\n# Source: weir/templates/b.yaml\nkind: B\n\
                       ---\n# Source: weir/templates/a.yaml\n# Why.\nkind: C\n";
        assert_eq!(of_template(printed, "a.yaml"), format!("{HEADER}kind: A\n---\n# Why.\nkind: C\n"));
        assert_eq!(of_template(printed, "c.yaml"), "");
    }
}
