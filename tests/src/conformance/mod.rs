//! The Gateway API's conformance suite, its tests of a mesh, against Weir on a cluster.
//!
//! Entry points: [`Conformance::up`], [`Conformance::run`]. Some of these tests pass where there is no mesh at all, so each
//! gives a [`Verdict`], which says what the agents have seen of its requests, too. Knows nothing of what a test asks for.

mod suite;
mod verdict;
mod witness;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;

pub use self::{
    suite::Outcome,
    verdict::{Findings, Verdict},
    witness::Seen,
};
use self::{
    suite::{SETUP, Suite},
    witness::Witness,
};
use crate::{
    cluster::{Cluster, KubeAgent},
    image::Image,
    programs,
    scope::Scope,
};

/// A cluster with Weir on both nodes and the kinds of the Gateway API.
pub struct Conformance {
    // Dropped in this order.
    agents: Vec<KubeAgent>,
    cluster: Cluster,
    scope: Scope,
}

impl Conformance {
    /// Starts a cluster, and Weir on it.
    pub fn up() -> Result<Self> {
        let scope = Scope::new()?;
        let echo = scope.dir.join("echo.tar");
        write_echo(&echo)?;
        let cluster = Cluster::up(&[echo])?;
        cluster.api().install_gateway_api()?;
        let agents = cluster.nodes().iter().map(|node| node.agent()).collect::<Result<_>>()?;
        Ok(Self { agents, cluster, scope })
    }

    /// Runs all tests of a mesh, or the one of this name.
    pub fn run(&self, only: Option<&str>) -> Result<Findings> {
        let report = self.scope.dir.join("report.yaml");
        let mut suite = Suite::start(self.cluster.api(), &report, only)?;
        let mut witness = Witness::of(&self.agents)?;
        let mut tests = Vec::new();
        while let Some(stop) = suite.next()? {
            if stop.after == SETUP {
                self.wait_captured()?;
            } else {
                let seen = witness.testify(stop.requests)?;
                tests.push((stop, seen));
            }
            suite.go_on()?;
        }
        let log = suite.finish()?;
        let report = fs::read_to_string(&report);
        let report = report.with_context(|| format!("the suite made no report; it printed:\n{log}"))?;
        let asked = tests.into_iter().filter(|(stop, _)| only.is_none_or(|only| stop.after == only));
        let verdicts = asked.map(|(stop, seen)| Verdict {
            outcome: Outcome::of(&log, &stop.after),
            test: stop.after,
            routes: stop.manifests > 0,
            requests: stop.requests,
            seen,
        });
        Ok(Findings { verdicts: verdicts.collect(), report, log })
    }

    /// What the agents have logged.
    pub fn logs(&self) -> String {
        self.agents.iter().map(KubeAgent::log).collect()
    }

    /// Until all pods are in the mesh: there are none but the suite's.
    fn wait_captured(&self) -> Result<()> {
        let pods = self.cluster.kubectl(["get", "pods", "--all-namespaces", "-o=json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let pods = pods["items"].as_array().context("no pods")?;
        for (node, agent) in self.cluster.nodes().iter().zip(&self.agents) {
            let own = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name());
            let names: Vec<&str> = own.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
            agent.wait_captured(&names)?;
        }
        Ok(())
    }
}

/// Istio's echo, by the name by which the suite's manifests ask for it, and with the certificate that they expect in it.
fn write_echo(file: &Path) -> Result<()> {
    let manifests = fs::read_to_string(programs::conformance("mesh.yaml")?)?;
    let name = manifests.lines().find_map(|line| line.trim().strip_prefix("image: "));
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["echo".to_owned()])?;
    Image::new(name.context("the suite's manifests name no image")?)?
        .entrypoint(&["/bin/server"])
        .program(&programs::conformance("echo-server")?, "bin/server")?
        .program(&programs::conformance("echo-client")?, "bin/client")?
        .text("cert.crt", &cert.pem())?
        .text("cert.key", &signing_key.serialize_pem())?
        .write(file)
}
