//! Requests on their way to a Service: routes, retries, limits, on real sockets, both nodes.

#[path = "../stage/mod.rs"]
mod stage;

mod documented;
mod limits;
mod retries;
mod routing;
mod users;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stage::Stage;
use weir_tests::{Agent, Manifest, Pod, Process, python};

/// Where the servers listen, and where their Services are asked.
const TARGET: u16 = 8080;
const PORT: u16 = 80;

/// Services `pay`, of both pods, `pay-v1`, of the near one, and `pay-v2`, of the far one.
pub(crate) struct Shop {
    pub(crate) here: Agent,
    pub(crate) there: Agent,
    pub(crate) near: Process,
    pub(crate) far: Process,
    pub(crate) stage: Stage,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Head and body.
    pub(crate) text: String,
    /// What the server says of the request, if one did.
    pub(crate) said: Value,
}

impl Answer {
    /// Who answered.
    pub(crate) fn name(&self) -> &str {
        self.said["name"].as_str().unwrap_or_default()
    }
}

impl Shop {
    /// With these objects beside the Services; the port is named `http`.
    pub(crate) fn new(objects: &[Manifest]) -> Result<Self> {
        Self::named("http", objects)
    }

    /// [`Shop::new`], with another name for the port.
    pub(crate) fn named(port: &str, objects: &[Manifest]) -> Result<Self> {
        Self::with(port, objects, &[])
    }

    /// [`Shop::named`], with more words on the command line of the client's node's agent.
    pub(crate) fn with(port: &str, objects: &[Manifest], words: &[&str]) -> Result<Self> {
        let stage = Stage::new()?;
        let (near, far) = (serve(&stage.near)?, serve(&stage.far)?);
        let state = stage.topology.state();
        for (name, pods) in
            [("pay", &[&stage.near, &stage.far][..]), ("pay-v1", &[&stage.near]), ("pay-v2", &[&stage.far])]
        {
            state.put(&Manifest::service("shop", name, &addresses(name)).port(port, PORT, TARGET))?;
            state.put_all(&Manifest::endpoint_slices("shop", name, (port, TARGET), pods))?;
        }
        state.put_all(objects)?;
        let (here, there) = stage.agents_with(words)?;
        Ok(Self { here, there, near, far, stage })
    }

    /// Asks `pay` for `path`, with more words for curl.
    pub(crate) fn ask(&self, path: &str, more: &[&str]) -> Result<Answer> {
        ask(&self.stage.client, address("pay"), path, more)
    }

    pub(crate) fn put(&self, object: &Manifest) -> Result<()> {
        self.stage.topology.state().put(object)
    }
}

/// The cluster addresses of a Service.
fn addresses(name: &str) -> [IpAddr; 2] {
    let number: u16 = match name {
        "pay" => 10,
        "pay-v1" => 11,
        _ => 12,
    };
    [IpAddr::from([10, 96, 0, number as u8]), IpAddr::from([0xfd10, 0x96, 0, 0, 0, 0, 0, number])]
}

pub(crate) fn address(name: &str) -> SocketAddr {
    SocketAddr::new(addresses(name)[0], PORT)
}

fn serve(pod: &Pod) -> Result<Process> {
    let words = [pod.name().to_owned(), TARGET.to_string()];
    let mut server = pod.spawn(python(include_str!("server.py"), words))?;
    server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
    Ok(server)
}

/// What curl says of `path` on `to`.
pub(crate) fn ask(from: &Pod, to: SocketAddr, path: &str, more: &[&str]) -> Result<Answer> {
    let url = format!("http://{to}{path}");
    let words = ["curl", "-s", "-i", "--globoff", "--path-as-is", "-m", "20", "-w", "\n%{http_code}", &url];
    let printed = from.run(words.iter().chain(more))?;
    let (text, status) = printed.stdout.rsplit_once('\n').context("a status")?;
    let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
    let said = serde_json::from_str(body).unwrap_or_default();
    Ok(Answer { status: status.parse()?, text: text.to_owned(), said })
}

/// An HTTPRoute `shop/NAME` on `pay` with these rules.
pub(crate) fn route(name: &str, rules: Value) -> Manifest {
    route_in("shop", name, rules)
}

/// [`route`], in another namespace.
pub(crate) fn route_in(namespace: &str, name: &str, rules: Value) -> Manifest {
    route_of("pay", namespace, name, rules)
}

/// [`route_in`], on another Service of the shop.
pub(crate) fn route_of(service: &str, namespace: &str, name: &str, rules: Value) -> Manifest {
    Manifest::object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": service, "namespace": "shop"}],
            "rules": rules,
        },
    }))
}

/// A TrafficPolicy on a Service of the shop.
pub(crate) fn traffic(service: &str, mut spec: Value) -> Manifest {
    spec["targetRefs"] = json!([{"kind": "Service", "name": service}]);
    Manifest::object(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"namespace": "shop", "name": service}, "spec": spec,
    }))
}

/// A backend of a route.
pub(crate) fn to(service: &str) -> Value {
    json!({"name": service, "namespace": "shop", "port": PORT})
}
