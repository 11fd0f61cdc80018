//! Layer 7 with clients and servers that no one here wrote: Go's net/http and grpc-go, httpx, websockets, h2load, curl,
//! nginx. Each reaches its server in every way that there is, under a policy that looks at requests.
//!
//! Entry point: [`World`]. What they assert of HTTP is mostly their own; the tests add who was seen to ask for what.

#[path = "../stage/mod.rs"]
mod stage;

mod floods;
mod grpc;
mod load;
mod net_http;
mod nginx;
mod python;

use std::net::SocketAddr;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use stage::Stage;
use weir_tests::{Agent, Finished, Flow, Manifest, Pod, Process};

/// Where servers listen, whatever they speak.
pub(crate) const PORT: u16 = 8080;

/// The stage with agents, a policy that denies `/denied/*`, and a Service in front of each of the two pods.
pub(crate) struct World {
    pub(crate) here: Agent,
    pub(crate) there: Agent,
    pub(crate) stage: Stage,
}

/// Where a client finds a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The pod behind it: `near` or `far`.
    pub(crate) pod: &'static str,
    /// Whether it is a Service's address and not the pod's own.
    pub(crate) by_service: bool,
    pub(crate) address: SocketAddr,
}

/// The point in an agent's flows from which on they count.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl World {
    /// `port_name` is what the Services' port is called, by which it says what it speaks.
    pub(crate) fn new(port_name: &str) -> Result<Self> {
        let denied =
            json!({"action": "deny", "rules": [{"to": [{"ports": [PORT], "paths": ["/denied/*"]}]}]});
        Self::with(port_name, denied)
    }

    /// With the policy `shop/rules`.
    pub(crate) fn with(port_name: &str, policy: Value) -> Result<Self> {
        let stage = Stage::new()?;
        let state = stage.topology.state();
        for (pod, addresses) in [(&stage.near, NEAR), (&stage.far, FAR)] {
            let addresses = addresses.map(|address| address.parse().expect("an address"));
            let service = Manifest::service("shop", pod.name(), &addresses);
            state.put(&service.port(port_name, PORT, PORT))?;
            state.put_all(&Manifest::endpoint_slices("shop", pod.name(), (port_name, PORT), &[pod]))?;
        }
        state.put(&Manifest::access_policy("shop", "rules", policy))?;
        let (here, there) = stage.agents()?;
        Ok(Self { here, there, stage })
    }

    /// Every way to a server: both nodes, the pod's own address and a Service's, both families.
    pub(crate) fn destinations(&self) -> [Destination; 4] {
        let service = |address: &str| SocketAddr::new(address.parse().expect("an address"), PORT);
        let own = |pod, address| Destination { pod, by_service: false, address };
        let by_service = |pod, address| Destination { pod, by_service: true, address };
        [
            own("near", self.stage.near.v4(PORT)),
            own("far", self.stage.far.v6(PORT)),
            by_service("near", service(NEAR[1])),
            by_service("far", service(FAR[0])),
        ]
    }

    /// Starts the same server in both pods, and waits for the line by which it says that it listens.
    pub(crate) fn serve(&self, words: &[String]) -> Result<[Process; 2]> {
        let start = |pod: &Pod| -> Result<Process> {
            let mut server = pod.spawn(words)?;
            server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
            Ok(server)
        };
        Ok([start(&self.stage.near)?, start(&self.stage.far)?])
    }

    /// Runs a program in the client's pod to its end, which must be a good one; what it printed.
    pub(crate) fn client<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        self.finish(words)?.success()
    }

    /// [`World::client`] that may end badly.
    pub(crate) fn finish<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<Finished> {
        self.stage.client.spawn(words)?.finish()
    }

    /// What was seen so far at a destination's node does not count from here on.
    pub(crate) fn mark(&mut self, to: Destination) -> Result<Mark> {
        Ok(Mark(self.agent_of(to).flows()?.len()))
    }

    /// Waits for the record of a request of the client's pod, made at the destination's node since `mark`, that has
    /// these texts and this status.
    pub(crate) fn seen(
        &mut self,
        to: Destination,
        mark: Mark,
        texts: &[(&str, &str)],
        status: u64,
    ) -> Result<Flow> {
        self.seen_with(to, mark, texts, &[("http.status", status)])
    }

    /// [`World::seen`] with any numbers.
    pub(crate) fn seen_with(
        &mut self,
        to: Destination,
        Mark(before): Mark,
        texts: &[(&str, &str)],
        numbers: &[(&str, u64)],
    ) -> Result<Flow> {
        let what = format!("{texts:?} {numbers:?} to {to:?}");
        let mut count = 0;
        let flow = self.agent_of(to).wait_flow(&what, |flow| {
            count += 1;
            count > before
                && flow.is(texts)
                && numbers.iter().all(|(path, number)| flow.number(path) == Some(*number))
                && flow.is(&[
                    ("direction", "inbound"),
                    ("path", "tunnel"),
                    ("source.pod", "client"),
                    ("source.identity", "spiffe://cluster.local/ns/shop/sa/client"),
                    ("destination.pod", to.pod),
                ])
        })?;
        if (flow.text("verdict") == "denied") != (flow.number("http.status") == Some(403)) {
            bail!("{what} is {}: {flow:?}", flow.text("verdict"));
        }
        Ok(flow)
    }

    /// The agent at the server's side.
    pub(crate) fn agent_of(&mut self, to: Destination) -> &mut Agent {
        if to.pod == "near" { &mut self.here } else { &mut self.there }
    }
}

/// The Services' addresses.
const NEAR: [&str; 2] = ["10.96.7.1", "fd10:96::71"];
const FAR: [&str; 2] = ["10.96.7.2", "fd10:96::72"];
