//! Three clients and two servers that policies tell apart, and the question what one can reach.
//!
//! Entry points: [`World`], [`Reach`].

use std::net::SocketAddr;

use anyhow::{Result, bail};
use serde_json::Value;
use weir_tests::{Agent, Listener, Manifest, Pod, Serve, Topology, eventually, python};

/// `shop/cart`, `shop/other` and `bank/teller` on node-a call `shop/near`, beside them, and `shop/pay` on
/// node-b; both echo on [`PORTS`] and are labelled `role: server`.
///
/// The fields are in the order in which they have to go.
pub(crate) struct World {
    pub(crate) agents: Vec<Agent>,
    _echoes: Vec<Listener>,
    pub(crate) cart: Pod,
    pub(crate) other: Pod,
    pub(crate) teller: Pod,
    pub(crate) near: Pod,
    pub(crate) pay: Pod,
    enforced: Vec<Manifest>,
    pub(crate) topology: Topology,
}

pub(crate) const PORTS: [u16; 3] = [8080, 8081, 9005];

/// What came of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The server answered.
    Open,
    /// connect(2) said ECONNREFUSED.
    Refused,
    /// It was reset before anything came.
    Reset,
}

/// Dials every address at once, says `x`, and waits for an answer.
const CALLS: &str = "
import socket, sys
for end in sys.argv[1:]:
    address, port = end.rsplit(':', 1)
    try:
        with socket.create_connection((address.strip('[]'), int(port)), timeout=10) as made:
            made.sendall(b'x')
            print('Open' if made.recv(9) == b'x' else 'Ended')
    except OSError as error: print(type(error).__name__)
";

impl World {
    /// With `policies` from the start.
    pub(crate) fn new(policies: &[Manifest]) -> Result<Self> {
        let topology = Topology::new()?;
        let (a, b) = (topology.node("a"), topology.node("b"));
        let (cart, other, teller) = (a.pod("shop/cart")?, a.pod("shop/other")?, a.pod("bank/teller")?);
        let (near, pay) = (a.pod("shop/near")?, b.pod("shop/pay")?);
        let state = topology.state();
        state.put_all(&[Manifest::meshed("shop"), Manifest::meshed("bank")])?;
        state.put_all(&[cart.manifest(), other.manifest(), teller.manifest()])?;
        state.put_all(&[near.manifest().label("role", "server"), pay.manifest().label("role", "server")])?;
        state.put_all(policies)?;
        let echo = |pod: &Pod, port: u16| pod.serve(Serve::Echo, port);
        let echoes = PORTS.iter().flat_map(|port| [echo(&near, *port), echo(&pay, *port)]);
        let echoes = echoes.collect::<Result<_>>()?;
        let agents = topology.agents()?;
        let enforced = policies.to_vec();
        Ok(Self { agents, _echoes: echoes, cart, other, teller, near, pay, enforced, topology })
    }

    /// Puts these policies in force and no others, and waits until every agent has read them.
    pub(crate) fn enforce(&mut self, policies: &[Manifest]) -> Result<()> {
        let generation = |agent: &Agent| Ok(agent.status()?["policy_generation"].as_u64().unwrap_or(0));
        let before = self.agents.iter().map(generation).collect::<Result<Vec<u64>>>()?;
        // In one go, so that no agent sees an in-between.
        let gone = self.enforced.iter().filter(|old| policies.iter().all(|new| name(new) != name(old)));
        let gone: Vec<Manifest> = gone.cloned().collect();
        self.topology.state().put_all(policies)?;
        gone.iter().try_for_each(|policy| self.topology.state().delete(policy))?;
        self.enforced = policies.to_vec();
        for (agent, before) in self.agents.iter().zip(before) {
            agent.wait_status("the new policy", |status| {
                status["policy_generation"].as_u64().is_some_and(|now| now > before)
            })?;
        }
        Ok(())
    }

    /// Checks that `client` reaches exactly `ports` of the servers that `expected` says, over IPv4 and IPv6:
    /// `(near, pay)`.
    pub(crate) fn expect(&self, client: &Pod, near: &[u16], pay: &[u16]) -> Result<()> {
        self.expect_with(client, near, pay, Reach::Refused)
    }

    /// The same where it hangs on requests: the kernel asks the agent, also on one node, and nobody speaks HTTP.
    pub(crate) fn expect_asked(&self, client: &Pod, near: &[u16], pay: &[u16]) -> Result<()> {
        self.expect_with(client, near, pay, Reach::Reset)
    }

    fn expect_with(&self, client: &Pod, near: &[u16], pay: &[u16], closed: Reach) -> Result<()> {
        let targets = self.targets();
        let expected: Vec<Reach> = targets
            .iter()
            .map(|target| {
                let is_near = self.near.addresses().contains(&target.ip());
                let open = if is_near { near } else { pay }.contains(&target.port());
                match (open, is_near) {
                    (true, _) => Reach::Open,
                    (false, true) => closed,
                    (false, false) => Reach::Reset,
                }
            })
            .collect();
        let mut last = Vec::new();
        // An agent that has read a policy needs a moment to lay it down in the kernel.
        let found = eventually("what policy says", || {
            last = reach(client, &targets)?;
            Ok((last == expected).then_some(()))
        });
        if found.is_err() {
            let wrong: Vec<_> =
                targets.iter().zip(&last).zip(&expected).filter(|((_, is), ought)| is != ought).collect();
            bail!("{}/{}: {wrong:?} (target, is, ought)", client.namespace(), client.name());
        }
        Ok(())
    }

    fn targets(&self) -> Vec<SocketAddr> {
        let of = |pod: &Pod| PORTS.iter().flat_map(|port| [pod.v4(*port), pod.v6(*port)]).collect::<Vec<_>>();
        [of(&self.near), of(&self.pay)].concat()
    }

    /// The agent of node-a, where the clients are.
    pub(crate) fn a(&mut self) -> &mut Agent {
        &mut self.agents[0]
    }

    /// The agent of node-b.
    pub(crate) fn b(&mut self) -> &mut Agent {
        &mut self.agents[1]
    }
}

/// What comes of connections from `client` to each of `targets`.
pub(crate) fn reach(client: &Pod, targets: &[SocketAddr]) -> Result<Vec<Reach>> {
    let printed = client.run(python(CALLS, targets.iter().map(ToString::to_string)))?.success()?;
    let word = |line: &str| match line {
        "Open" => Ok(Reach::Open),
        "ConnectionRefusedError" => Ok(Reach::Refused),
        "ConnectionResetError" => Ok(Reach::Reset),
        other => bail!("neither open nor closed: {other}"),
    };
    printed.lines().map(word).collect()
}

/// A policy of the namespace shop for both servers.
pub(crate) fn for_servers(name: &str, mut spec: Value) -> Manifest {
    spec["selector"] = serde_json::json!({"matchLabels": {"role": "server"}});
    Manifest::access_policy("shop", name, spec)
}

fn name(policy: &Manifest) -> (&Value, &Value) {
    let metadata = &policy.value()["metadata"];
    (&metadata["namespace"], &metadata["name"])
}
