//! The parts of a real Kubernetes, built for the tests.
//!
//! Entry points: [`ensure`], [`helm`]. One program has all parts, and links with their names; a CoreDNS and a Helm stand
//! beside it.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result};

use crate::{checkout::Checkout, golang::Go, stamp};

/// What the one program can be.
const PARTS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
];

/// Builds what is not there, or not of these sources: about five minutes, else a millisecond.
pub(crate) fn ensure(checkout: &Checkout) -> Result<()> {
    let sources = checkout.root.join("tests/kube");
    let made = checkout.tools().join("kube");
    let what = format!("a Kubernetes for the tests in {}; some minutes", checkout.show(&made));
    stamp::made(&made, std::slice::from_ref(&sources), &[], &what, || {
        let module = sources.join("kubernetes");
        let go = Go::find(checkout, &module)?;
        let flags = ["-ldflags", &version_flags(&fs::read_to_string(module.join("go.mod"))?)?];
        go.build(&module, &made.join("kubernetes"), &flags, ".")?;
        for part in PARTS {
            let link = made.join(part);
            let _ = fs::remove_file(&link);
            symlink("kubernetes", link)?;
        }
        let module = sources.join("coredns");
        Go::find(checkout, &module)?.build(&module, &made.join("coredns"), &["-ldflags", "-s -w"], ".")?;
        let module = sources.join("helm");
        let helm = "helm.sh/helm/v4/cmd/helm";
        Go::find(checkout, &module)?.build(&module, &made.join("helm"), &["-ldflags", "-s -w"], helm)
    })
}

/// The Helm that [`ensure`] builds.
pub(crate) fn helm(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("kube/helm")
}

/// The linker's flags by which the parts know their version; without one, kubelet and kubectl cannot read their own.
fn version_flags(module: &str) -> Result<String> {
    let version = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
        .context("go.mod names no k8s.io/kubernetes")?;
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let base = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {base}.gitVersion=v{version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion=v{version}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_modules() {
        let flags = version_flags("require (\n\tk8s.io/kubectl v0.0.0\n\tk8s.io/kubernetes v1.35.4\n)\n")
            .expect("one");
        assert!(
            flags.contains("version.gitVersion=v1.35.4 -X k8s.io/component-base/version.gitMajor=1 "),
            "{flags}"
        );
        assert!(flags.contains("gitMinor=35 "), "{flags}");
    }
}
