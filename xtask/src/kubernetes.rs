//! The parts of a real Kubernetes, built for the tests, and what the Gateway API's conformance is tested with.
//!
//! Entry points: [`ensure`], [`ensure_conformance`], [`helm`]. One program has all parts, and links with their names; a CoreDNS and
//! a Helm stand beside it. What is no program is taken from the sources that were fetched to build one.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{checkout::Checkout, golang::Go, stamp};

/// The linker's flags for a program that nobody debugs.
const SMALL: &[&str] = &["-ldflags", "-s -w"];
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
    let [module, dns, helm] =
        ["kubernetes", "coredns", "helm"].map(|name| checkout.root.join("tests/kube").join(name));
    let made = checkout.tools().join("kube");
    let what = format!("a Kubernetes for the tests in {}; some minutes", checkout.show(&made));
    stamp::made(&made, &[module.clone(), dns.clone(), helm.clone()], &[], &what, || {
        let go = Go::find(checkout, &module)?;
        let flags = ["-ldflags", &version_flags(&fs::read_to_string(module.join("go.mod"))?)?];
        go.build(&module, &made.join("kubernetes"), &flags, ".")?;
        for part in PARTS {
            let link = made.join(part);
            let _ = fs::remove_file(&link);
            symlink("kubernetes", link)?;
        }
        Go::find(checkout, &dns)?.build(&dns, &made.join("coredns"), SMALL, ".")?;
        Go::find(checkout, &helm)?.build(&helm, &made.join("helm"), SMALL, "helm.sh/helm/v4/cmd/helm")
    })
}

/// The Helm that [`ensure`] builds.
pub(crate) fn helm(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("kube/helm")
}

/// The same for the conformance suite, the programs that it has pods run, its manifests of them, and the definitions of the
/// Gateway API's kinds: about three minutes.
pub(crate) fn ensure_conformance(checkout: &Checkout) -> Result<()> {
    let [suite, echo] = ["conformance", "echo"].map(|name| checkout.root.join("tests/kube").join(name));
    let made = checkout.tools().join("conformance");
    let what = format!("the Gateway API's conformance in {}; some minutes", checkout.show(&made));
    stamp::made(&made, &[suite.clone(), echo.clone()], &[], &what, || {
        let go = Go::find(checkout, &suite)?;
        go.build_tests(&suite, &made.join("suite"), SMALL)?;
        let (api, own) = ("sigs.k8s.io/gateway-api", "sigs.k8s.io/gateway-api/conformance");
        copy(&go.sources_of(&suite, own)?.join("mesh/manifests.yaml"), &made.join("mesh.yaml"))?;
        let definitions = go.sources_of(&suite, api)?.join("config/crd");
        for channel in ["standard", "experimental"] {
            copy_folder(&definitions.join(channel), &made.join(channel))?;
        }
        let go = Go::find(checkout, &echo)?;
        for part in ["client", "server"] {
            let package = format!("istio.io/istio/pkg/test/echo/cmd/{part}");
            go.build(&echo, &made.join(format!("echo-{part}")), SMALL, &package)?;
        }
        Ok(())
    })
}

/// Copies what the folder has, into one that has nothing else.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies what the file says: fetched sources may not be written to, and this may.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).with_context(|| from.display().to_string())?;
    fs::write(to, text).with_context(|| to.display().to_string())
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
