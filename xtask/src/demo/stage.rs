//! The demo's world: two nodes, six pods, real servers in them, the cluster's objects, an agent on each node.
//!
//! Entry point: [`Stage::set`]. What happens on it is decided by the steps.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result};
use weir_tests::{Agent, Finished, Flow, Manifest, Node, Pod, Process, Topology, eventually};

use super::screen::Screen;

/// The Service's address, that of no machine.
pub(super) const PAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// That of its next version.
pub(super) const NEXT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11));
/// That of a Service with a broken pod.
pub(super) const STOCK: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 12));
/// Where the servers in pods listen.
pub(super) const PORT: u16 = 8080;
/// Where the endless answer is.
pub(super) const TICKER: u16 = 9000;

const TICKER_PROGRAM: &str = include_str!("ticker.py");
const BROKEN_PROGRAM: &str = include_str!("broken.py");

/// The pods, by what they are for.
pub(super) struct Pods {
    /// On node-a: a client.
    pub(super) web: Pod,
    /// On node-a: a server.
    pub(super) cart: Pod,
    /// On node-a: a client that will be denied.
    pub(super) batch: Pod,
    /// On node-a: a client outside the mesh.
    pub(super) old: Pod,
    /// On node-b: the server behind the Service.
    pub(super) pay: Pod,
    /// On node-b: a server that takes no plaintext.
    pub(super) ledger: Pod,
    /// On node-a: the next version of `pay`.
    pub(super) next: Pod,
    /// On node-b: a server that answers everything with 503.
    pub(super) broken: Pod,
}

/// Everything that the steps play on.
pub(super) struct Stage<'t> {
    pub(super) screen: Screen,
    pub(super) pods: Pods,
    /// The folder of the demo's files.
    pub(super) dir: PathBuf,
    topology: &'t Topology,
    agents: Vec<Agent>,
    servers: Vec<Process>,
}

impl<'t> Stage<'t> {
    /// Makes pods, starts servers, writes the objects, starts the agents. The apps run before the mesh comes.
    pub(super) fn set(topology: &'t Topology, screen: Screen) -> Result<Self> {
        let (a, b) = (topology.node("a"), topology.node("b"));
        let pods = Pods {
            web: a.pod("shop/web")?,
            cart: a.pod("shop/cart")?,
            batch: a.pod("shop/batch")?,
            old: a.pod("legacy/old")?,
            pay: b.pod("shop/pay-0")?,
            ledger: b.pod("shop/ledger")?,
            next: a.pod("shop/pay-next")?,
            broken: b.pod("shop/stock-1")?,
        };
        let dir = topology.dir();
        let mut stage = Self { screen, pods, dir, topology, agents: Vec::new(), servers: Vec::new() };
        stage.start_servers()?;
        stage.write_objects()?;
        let agents = topology.nodes().iter().map(|node| node.agent().log_file(stage.log_file(node)).spawn());
        stage.agents = agents.collect::<Result<Vec<_>>>()?;
        stage.agents = stage.agents.drain(..).map(Agent::ready).collect::<Result<_>>()?;
        Ok(stage)
    }

    fn start_servers(&mut self) -> Result<()> {
        fs::write(self.dir.join("ticker.py"), TICKER_PROGRAM)?;
        for (pod, answer) in [
            (&self.pods.pay, "receipt 7: 42.00 EUR, paid"),
            (&self.pods.cart, "cart 7: one river barge"),
            (&self.pods.ledger, "ledger 7: balanced"),
            (&self.pods.next, "receipt 7: 42.00 EUR, paid, with thanks"),
        ] {
            let files = self.dir.join(pod.name());
            fs::create_dir(&files)?;
            fs::create_dir(files.join("admin"))?;
            for file in ["7.txt", "admin/7.txt"] {
                fs::write(files.join(file), format!("{answer}\n"))?;
            }
            let (port, files) = (PORT.to_string(), files.display().to_string());
            let server = ["python3", "-u", "-m", "http.server", &port, "--directory", &files];
            self.servers.push(in_background(pod, &self.server_log(pod), &server)?);
        }
        let program = self.dir.join("ticker.py").display().to_string();
        let ticker = ["python3", "-u", &program, &TICKER.to_string()];
        self.servers.push(in_background(&self.pods.pay, &self.dir.join("ticker.log"), &ticker)?);
        let program = self.dir.join("broken.py").display().to_string();
        fs::write(&program, BROKEN_PROGRAM)?;
        let broken = ["python3", "-u", &program, &PORT.to_string()];
        self.servers.push(in_background(&self.pods.broken, &self.dir.join("stock-1.log"), &broken)?);
        let Pods { cart, pay, ledger, next, broken, .. } = &self.pods;
        let servers = [cart, pay, ledger, next, broken].map(|pod| (pod, PORT));
        for (pod, port) in servers.into_iter().chain([(pay, TICKER)]) {
            let listens = || Ok(pod.dial_with(pod.v4(port), &["--timeout", "100"])?.connected.then_some(()));
            eventually("a server to listen", listens)?;
        }
        Ok(())
    }

    fn write_objects(&self) -> Result<()> {
        let Pods { web, cart, batch, old, pay, ledger, next, broken } = &self.pods;
        let state = self.topology.state();
        state.put_all(&[Manifest::meshed("shop"), Manifest::namespace("legacy")])?;
        state.put_all(&[web, cart, batch, old, broken].map(Pod::manifest))?;
        state.put(&next.manifest().service_account("pay").label("app", "pay"))?;
        state.put(&pay.manifest().service_account("pay").label("app", "pay"))?;
        state.put(&ledger.manifest().annotation("weir.dev/mtls", "strict"))?;
        state.put(&Manifest::service("shop", "pay", &[PAY]).port("http", 80, PORT))?;
        state.put(&Manifest::service("shop", "pay-next", &[NEXT]).port("http", 80, PORT))?;
        state.put(&Manifest::service("shop", "stock", &[STOCK]).port("http", 80, PORT))?;
        for (service, pods) in [("pay", &[pay][..]), ("pay-next", &[next]), ("stock", &[cart, broken])] {
            state.put_all(&Manifest::endpoint_slices("shop", service, ("http", PORT), pods))?;
        }
        Ok(())
    }

    /// The node with this index: 0 is node-a.
    pub(super) fn node(&self, index: usize) -> &Node {
        &self.topology.nodes()[index]
    }

    /// The agent of the node with this index.
    pub(super) fn agent(&mut self, index: usize) -> &mut Agent {
        &mut self.agents[index]
    }

    /// What the server in `pod` has logged of its clients.
    pub(super) fn server_log(&self, pod: &Pod) -> PathBuf {
        self.dir.join(format!("{}.log", pod.name()))
    }

    fn log_file(&self, node: &Node) -> PathBuf {
        self.dir.join(format!("{}.log", node.name()))
    }

    /// Shows `command` with words of the user, and runs it in `pod` to its end.
    pub(super) fn run(&self, pod: &Pod, command: &str) -> Result<Finished> {
        self.screen.command(&key(pod), command);
        let finished = pod.run(["sh", "-c", command])?;
        self.screen.output(&finished.stdout);
        self.screen.output(&finished.stderr);
        Ok(finished)
    }

    /// Runs `weir WORDS` against the agent of a node; its output goes where ours goes.
    pub(super) fn weir(&self, node: usize, words: &str) -> Result<ExitStatus> {
        let node = self.node(node);
        self.screen.command(node.name(), &format!("weir {words}"));
        let mut command = Command::new(weir_tests::weir()?);
        command.args(words.split(' ')).env("WEIR_SOCKET", node.socket());
        command.status().context("cannot start weir")
    }

    /// What `weir WORDS` prints, unseen.
    pub(super) fn ask(&self, node: usize, words: &[&str]) -> Result<String> {
        Ok(self.agents[node].weir(words)?.stdout)
    }

    /// Waits for a flow at a node's agent.
    pub(super) fn wait_flow(&mut self, node: usize, what: &str, fields: &[(&str, &str)]) -> Result<Flow> {
        self.agent(node).wait_flow(what, |flow| flow.is(fields))
    }

    /// Shows an object, writes it, and waits until `seen` says that it is in force.
    pub(super) fn put(&self, object: &Manifest, seen: impl Fn() -> Result<bool>) -> Result<()> {
        let file = format!("{}.yaml", object.value()["metadata"]["name"].as_str().unwrap_or_default());
        let state = self.topology.state();
        self.screen.command("node-a", &format!("cat {file} && cp {file} {}", state.dir().display()));
        self.screen.output(&object.to_string());
        state.put(object)?;
        eventually("an object to be in force", || Ok(seen()?.then_some(())))
    }

    /// What curl prints in `pod`, for a look that is not shown.
    pub(super) fn peek(&self, pod: &Pod, words: &[&str]) -> Result<String> {
        Ok(pod.run(["curl", "-sS", "-m", "5"].iter().chain(words))?.stdout)
    }

    /// Puts a policy in force: shows it, writes it, waits until `question` is answered so.
    pub(super) fn apply(&mut self, policy: &Manifest, question: &str, answer: (&str, bool)) -> Result<()> {
        let file = format!("{}.yaml", policy.value()["metadata"]["name"].as_str().unwrap_or_default());
        self.screen
            .command("node-a", &format!("cat {file} && cp {file} {}", self.topology.state().dir().display()));
        self.screen.output(&policy.to_string());
        self.topology.state().put(policy)?;
        let words: Vec<&str> =
            ["policy", "explain", "-o", "json"].into_iter().chain(question.split(' ')).collect();
        for index in 0..self.agents.len() {
            let agent = &self.agents[index];
            eventually("a policy to be in force", || {
                let printed = agent.weir(&words)?;
                let explained: serde_json::Value =
                    serde_json::from_str(&printed.stdout).context(printed.stderr)?;
                Ok((is_in(&explained, answer.0) && explained["allowed"] == answer.1).then_some(()))
            })?;
        }
        Ok(())
    }

    /// The end of each agent's log.
    pub(super) fn logs(&self) -> String {
        let logs = self.topology.nodes().iter().map(|node| {
            let log = fs::read_to_string(self.log_file(node)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!(
                "--- the agent of {}:\n{}\n",
                node.name(),
                lines[lines.len().saturating_sub(15)..].join("\n")
            )
        });
        logs.collect()
    }

    /// Leaves agents and servers running when this process ends.
    pub(super) fn leave(self) {
        self.agents.into_iter().for_each(Agent::leave);
        self.servers.into_iter().for_each(std::mem::forget);
    }
}

/// `NAMESPACE/NAME`.
pub(super) fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace(), pod.name())
}

/// `http://ADDRESS/FILE`, without the port that need not be said.
pub(super) fn url(address: SocketAddr, file: &str) -> String {
    match address.port() {
        80 => format!("http://{}/{file}", address.ip()),
        _ => format!("http://{address}/{file}"),
    }
}

/// Whether a policy called `name` was considered in an explanation.
fn is_in(explained: &serde_json::Value, name: &str) -> bool {
    explained["answers"].to_string().contains(name)
}

/// Starts `command` in `pod`, its output in `log`: it may outlive this process.
fn in_background(pod: &Pod, log: &std::path::Path, command: &[&str]) -> Result<Process> {
    let log = log.display().to_string();
    let words = ["sh", "-c", r#"log=$1 && shift && exec "$@" >"$log" 2>&1"#, "sh", &log];
    pod.spawn(words.iter().chain(command))
}
