//! What every attack needs: a victim with something to protect, and somebody who may talk to it.
//!
//! Entry point: [`Mesh`].

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{Agent, Listener, Manifest, Node, Pod, Serve, Topology, python};

/// `shop/cart` on node-a; `shop/pay`, which greets on port 8080, on node-b; an agent on each.
///
/// The fields are in the order in which they have to go.
pub(crate) struct Mesh {
    pub(crate) a: Agent,
    pub(crate) b: Agent,
    _greets: [Listener; 2],
    pub(crate) cart: Pod,
    pub(crate) pay: Pod,
    pub(crate) topology: Topology,
}

/// The port of `shop/pay`.
pub(crate) const PORT: u16 = 8080;

/// What `shop/pay` says to everybody it talks to.
pub(crate) const SECRET: &str = "the secret";

/// A record of TLS with a fatal alert (RFC 8446 §5.1, §6), up to which one it is.
pub(crate) const TLS_ALERT: &str = "\u{15}\u{3}\u{3}\0\u{2}\u{2}";

impl Mesh {
    /// With `policies` from the start.
    pub(crate) fn new(pay_mtls: &str, policies: &[Manifest]) -> Result<Self> {
        let topology = Topology::new()?;
        let cart = topology.node("a").pod("shop/cart")?;
        let pay = topology.node("b").pod("shop/pay")?;
        let state = topology.state();
        state.put_all(&[Manifest::meshed("shop"), cart.manifest()])?;
        state.put(&pay.manifest().annotation("weir.dev/mtls", pay_mtls))?;
        state.put_all(policies)?;
        let _greets = greets(&pay)?;
        let [a, b] = two(topology.agents()?);
        Ok(Self { a, b, _greets, cart, pay, topology })
    }

    /// A pod that is not enrolled.
    pub(crate) fn outsider(&self, node: &Node) -> Result<Pod> {
        node.pod("outside/mallory")
    }
}

fn two(agents: Vec<Agent>) -> [Agent; 2] {
    agents.try_into().unwrap_or_else(|_| panic!("there are two nodes"))
}

/// Serves [`SECRET`] over IPv4 and IPv6.
pub(crate) fn greets(pod: &Pod) -> Result<[Listener; 2]> {
    let greet = || Serve::Greet(SECRET.to_owned());
    Ok([pod.serve_at(greet(), pod.v4(PORT))?, pod.serve_at(greet(), pod.v6(PORT))?])
}

/// Only `shop/cart` may talk to `shop/pay`.
pub(crate) fn only_cart() -> Manifest {
    let rules = json!([{"from": [{"serviceAccounts": ["shop/cart"]}]}]);
    Manifest::access_policy(
        "shop",
        "only-cart",
        json!({"selector": {"matchLabels": {"app": "pay"}}, "rules": rules}),
    )
}

/// Runs a Python program in `pod` to its end; what it printed last, read as JSON.
pub(crate) fn ask(pod: &Pod, program: &str, arguments: &[&str]) -> Result<Value> {
    answer(pod.run(python(program, arguments.iter().copied()))?.success()?)
}

/// The last line, read as JSON.
pub(crate) fn answer(printed: String) -> Result<Value> {
    Ok(serde_json::from_str(printed.lines().last().unwrap_or_default())?)
}
