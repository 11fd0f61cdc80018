//! Policy that looks at requests, on real sockets: clients and servers of others, both nodes, both families.

#[path = "../stage/mod.rs"]
mod stage;

mod judged;
mod malformed;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stage::Stage;
use weir_tests::{Agent, Manifest, Pod, Process, python};

/// Where the servers of HTTP listen.
const PORT: u16 = 8080;

/// The stage with a server in each pod, and agents that know one policy.
pub(crate) struct Web {
    pub(crate) here: Agent,
    pub(crate) there: Agent,
    pub(crate) near: Process,
    pub(crate) far: Process,
    pub(crate) stage: Stage,
}

impl Web {
    /// Nothing below `/admin/` on any pod of the shop.
    pub(crate) fn new() -> Result<Self> {
        Self::with(json!({"action": "deny", "rules": [{"to": [{"ports": [PORT], "paths": ["/admin/*"]}]}]}))
    }

    /// With the policy `shop/rules`.
    pub(crate) fn with(spec: Value) -> Result<Self> {
        let stage = Stage::new()?;
        let (near, far) = (serve(&stage.near)?, serve(&stage.far)?);
        stage.topology.state().put(&Manifest::access_policy("shop", "rules", spec))?;
        let (here, there) = stage.agents()?;
        Ok(Self { here, there, near, far, stage })
    }
}

fn serve(pod: &Pod) -> Result<Process> {
    let mut server = pod.spawn(python(include_str!("server.py"), [PORT.to_string()]))?;
    server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
    Ok(server)
}

/// What curl says of `path` on `to`: the status, and the answer with its head.
pub(crate) fn curl(from: &Pod, to: std::net::SocketAddr, path: &str, more: &[&str]) -> Result<(u16, String)> {
    let url = format!("http://{to}{path}");
    let words = ["curl", "-s", "-i", "--globoff", "--path-as-is", "-m", "10", "-w", "\n%{http_code}", &url];
    let printed = from.run(words.iter().chain(more))?;
    let (answer, status) = printed.stdout.rsplit_once('\n').context("a status")?;
    Ok((status.parse()?, answer.to_owned()))
}

/// What comes back for each text that is said over a connection of its own.
pub(crate) fn raw(from: &Pod, to: std::net::SocketAddr, texts: &[String]) -> Result<Vec<String>> {
    let words = [to.ip().to_string(), to.port().to_string(), serde_json::to_string(texts)?];
    let printed = from.run(python(include_str!("raw.py"), words))?.success()?;
    Ok(serde_json::from_str(&printed)?)
}
