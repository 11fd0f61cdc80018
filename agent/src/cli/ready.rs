//! `weir ready`: whether the agent of this very container is the one in charge of the node, and ready.
//!
//! Entry point: [`answer`]. On the host's network an agent that starts beside another shares its ports: what answers at
//! `/readyz` is the other one until it has been taken over from. So a kubelet asks this until the agent has started.

use std::{fs, io, os::unix::net::UnixStream, path::Path};

use anyhow::Context;
use rustix::net::sockopt::socket_peercred;

use super::client;
use crate::admin::StatusReport;

/// Nothing when the agent of this container is in charge and ready; else what there is instead.
pub(super) fn answer(socket: &Path) -> anyhow::Result<Option<String>> {
    if !is_of_this_container(socket).with_context(|| socket.display().to_string())? {
        return Ok(Some("the agent that is in charge runs elsewhere".into()));
    }
    let lines = client::run(async { client::get(socket, "/v1/status").await?.all().await })?;
    let status: StatusReport =
        serde_json::from_slice(&lines.concat()).context("the agent's answer is not understood")?;
    Ok((!status.ready).then(|| format!("waiting for {}", status.waiting_for.join(", "))))
}

/// The processes of a container share a mount namespace, which is no other's.
fn is_of_this_container(socket: &Path) -> io::Result<bool> {
    let agent = socket_peercred(&UnixStream::connect(socket)?)?.pid;
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt"));
    Ok(namespace(&agent.as_raw_nonzero().to_string())? == namespace("self")?)
}
