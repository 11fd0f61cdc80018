//! Requests of a pod's, one after another and without an end, and what became of each.
//!
//! Entry point: [`Traffic::start`].

use anyhow::Result;

use super::Cluster;
use crate::{CLUSTER_LIMIT, process::eventually_within};

/// Requests that have to work before and after what a test does meanwhile.
const SOME: usize = 20;

/// Requests by HTTP of one pod to each of some addresses, with a new connection for each.
pub struct Traffic<'c> {
    cluster: &'c Cluster,
    client: String,
}

impl<'c> Traffic<'c> {
    /// Has `client`, `NAMESPACE/NAME`, ask at these addresses, each with a name for it, and waits until it has been
    /// answered a few times at each.
    pub fn start(cluster: &'c Cluster, client: &str, servers: &[(&str, String)]) -> Result<Self> {
        let traffic = Self { cluster, client: client.into() };
        for (name, address) in servers {
            // What stays when the exec ends must hold none of its pipes.
            let script = format!(
                "rm -f /tmp/end; while [ ! -e /tmp/end ]; do \
                   if said=$(wget -qO- http://{address}/ 2>&1); then echo ok; else echo \"{name}: $said\"; fi; \
                 done >/tmp/log.{name} 2>&1 </dev/null &"
            );
            cluster.exec(client, ["sh", "-c", &script])?;
        }
        for (name, _) in servers {
            eventually_within(CLUSTER_LIMIT, &format!("requests to {name}"), || {
                Ok((traffic.log(name)?.0 > SOME).then_some(()))
            })?;
        }
        Ok(traffic)
    }

    /// Waits until some more have ended, whatever became of them.
    pub fn goes_on(&self) -> Result<()> {
        let count = || self.so_far().map(|(worked, failed)| worked + failed.len());
        let before = count()?;
        eventually_within(CLUSTER_LIMIT, "more requests", || Ok((count()? > before + SOME).then_some(())))
    }

    /// How many have worked, and what was said of those that have not.
    pub fn so_far(&self) -> Result<(usize, Vec<String>)> {
        self.log("*")
    }

    /// Ends it after some more, with all as it is now, and gives what [`Traffic::so_far`] does.
    pub fn stop(self) -> Result<(usize, Vec<String>)> {
        self.goes_on()?;
        self.cluster.exec(&self.client, ["sh", "-c", ": > /tmp/end"])?;
        self.so_far()
    }

    fn log(&self, name: &str) -> Result<(usize, Vec<String>)> {
        let log = self.cluster.exec(&self.client, ["sh", "-c", &format!("cat /tmp/log.{name}")])?;
        let (worked, failed): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| *line == "ok");
        Ok((worked.len(), failed.into_iter().map(str::to_owned).collect()))
    }
}
