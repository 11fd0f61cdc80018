//! A controller: the certificate authority of a cluster, beside its API server.
//!
//! Entry point: [`ApiServer::controller`]. What agents ask of it, a test asks with [`ApiServer::inside`].

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::{
    api_server::{ApiServer, Host},
    metrics,
    process::{Process, eventually},
    programs,
};

/// A running controller; dropping it kills it.
pub struct Controller {
    host: Host,
    scraped: SocketAddr,
    process: Process,
}

impl ApiServer {
    /// Starts a controller beside the API server, with what these words add; its ports are 15012 + `number` for the
    /// authority and 15020 + `number` for what is scraped, and it is known as `localhost`, too.
    pub fn controller<'a>(
        &self,
        number: u16,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Controller> {
        let host = self.host().clone();
        let scraped = SocketAddr::from((Ipv4Addr::LOCALHOST, 15020 + number));
        let mut command = vec![
            "env".to_owned(),
            "NO_COLOR=1".into(),
            format!("KUBECONFIG={}", self.kubeconfig().display()),
            programs::weir()?.display().to_string(),
            "controller".into(),
            format!("--listen=127.0.0.1:{}", 15012 + number),
            format!("--metrics={scraped}"),
            "--dns-names=localhost".into(),
        ];
        command.extend(words.into_iter().map(str::to_owned));
        let process = host.spawn(command)?;
        Ok(Controller { host, scraped, process })
    }
}

impl Controller {
    /// Waits until it is ready.
    pub fn ready(mut self) -> Result<Self> {
        eventually("the controller to be ready", || {
            anyhow::ensure!(self.process.is_running()?, "the controller has ended: {}", self.process.log());
            Ok(self.http("/readyz").ok())
        })?;
        Ok(self)
    }

    /// What it answers at `path`; an error unless it is well.
    pub fn http(&self, path: &str) -> Result<String> {
        metrics::fetch(&self.host.netns, self.scraped, path)
    }

    /// The value of a metric, if there is one.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        Ok(metrics::sum(&self.http("/metrics")?, name, labels))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits for a line of its log.
    pub fn wait_log(&mut self, what: &str, words: &str) -> Result<()> {
        self.process.wait_any_line(what, |line| line.contains(words).then_some(()))
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait()?;
        anyhow::ensure!(status.success(), "the controller ended with {status}: {}", self.process.log());
        Ok(())
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait().map(drop).context("the controller did not end")
    }
}
