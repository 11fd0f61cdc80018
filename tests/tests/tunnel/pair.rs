//! A pod on each of two nodes, with an agent each.
//!
//! Entry point: [`Pair`].

use anyhow::Result;
use weir_tests::{Agent, Manifest, Pod, Process, Topology, python};

/// `shop/client` on node-a and `shop/server` on node-b.
///
/// The fields are in the order in which they have to go.
pub(crate) struct Pair {
    pub(crate) a: Agent,
    pub(crate) b: Agent,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) topology: Topology,
}

pub(crate) const PORT: u16 = 8080;

/// What every program begins with. `pattern(n, k)` is the `k` bytes (a multiple of 8) from position `n` on of
/// a stream in which no two places are alike.
const PRELUDE: &str = "
import array, select, socket, struct, sys, threading
def pattern(position, length):
    return array.array('Q', range(position // 8, (position + length) // 8)).tobytes()
def exactly(made, length):
    data = bytearray()
    while len(data) < length and (part := made.recv(length - len(data))): data += part
    assert len(data) == length, f'{len(data)} of {length}'
    return data
CHUNK = 1 << 20
def write(made, total, done=lambda: None):
    for position in range(0, total, CHUNK):
        made.sendall(pattern(position, CHUNK))
    done()
def check(made, total):
    for position in range(0, total, CHUNK):
        assert exactly(made, CHUNK) == pattern(position, CHUNK), f'after {position}'
def both(*tasks):
    failed = []
    def guard(task):
        try: task()
        except BaseException as error: failed.append(repr(error))
    threads = [threading.Thread(target=guard, args=[task]) for task in tasks]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not failed, failed
def dial():
    made = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
def serve(handle):
    listener = socket.create_server(('::', int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    print('listening')
    def one(made):
        made.settimeout(60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What a handler gives back is kept open.
        if handle(made) is None: made.close()
    while True:
        threading.Thread(target=one, args=[listener.accept()[0]]).start()
";

impl Pair {
    pub(crate) fn new() -> Result<Self> {
        let topology = Topology::new()?;
        let client = topology.node("a").pod("shop/client")?;
        let server = topology.node("b").pod("shop/server")?;
        topology.state().put_all(&[Manifest::meshed("shop"), client.manifest(), server.manifest()])?;
        let agents = topology.agents()?;
        let [a, b] = agents.try_into().unwrap_or_else(|_| panic!("there are two nodes"));
        Ok(Self { a, b, client, server, topology })
    }

    /// Starts `program`, which ends in `serve(…)`, on the server's [`PORT`].
    pub(crate) fn serve(&self, program: &str) -> Result<Process> {
        let mut process = self.server.spawn(self.words(program, 0))?;
        process.wait_line("its listening line", |line| line.starts_with("listening").then_some(()))?;
        Ok(process)
    }

    /// Starts `program` in the client; `dial()` in it connects to the server, over IPv4 (0) or IPv6 (1).
    pub(crate) fn dial(&self, program: &str, family: usize) -> Result<Process> {
        self.client.spawn(self.words(program, family))
    }

    /// The same to its end, which is to be a good one.
    pub(crate) fn run(&self, program: &str, family: usize) -> Result<String> {
        self.dial(program, family)?.finish_within(std::time::Duration::from_secs(60))?.success()
    }

    fn words(&self, program: &str, family: usize) -> Vec<String> {
        let address = self.server.addresses()[family].to_string();
        python(&format!("{PRELUDE}{program}"), [address, PORT.to_string()])
    }
}
