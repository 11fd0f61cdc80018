//! A forged source address, as a raw socket makes it: on the same node and from another one it buys nothing.

use std::net::SocketAddr;

use anyhow::Result;
use weir_tests::{Manifest, Pod, Process, Topology, python};

use crate::mesh::{PORT, greets, only_cart};

const FORGE: &str = include_str!("forge.py");
const ANSWERS: &str = include_str!("answers.py");

/// How `pod` answers a SYN that `attacker` sends as if it were `source`'s: `rst` or `syn-ack`.
fn answer(watcher: &mut Process, attacker: &Pod, source: SocketAddr, to: SocketAddr) -> Result<String> {
    let words =
        [source.ip().to_string(), source.port().to_string(), to.ip().to_string(), to.port().to_string()];
    attacker.run(python(FORGE, words))?.success()?;
    let wanted = format!("{} {} ", source.ip(), source.port());
    watcher.wait_line("an answer to the forged SYN", |line| {
        line.strip_prefix(&wanted).map(|word| word.trim().to_owned())
    })
}

fn watch(pod: &Pod) -> Result<Process> {
    let mut watcher = pod.spawn(python::<String>(ANSWERS, []))?;
    watcher.wait_line("its first line", |line| line.starts_with("watching").then_some(()))?;
    Ok(watcher)
}

#[test]
fn a_forged_source_address_reaches_no_workload_that_policy_or_strict_mode_protects() -> Result<()> {
    let topology = Topology::new()?;
    let (a, b) = (topology.node("a"), topology.node("b"));
    // Cart may talk to pay, who is on its node; strict takes no plaintext; open is outside the mesh.
    let (cart, pay, strict) = (a.pod("shop/cart")?, a.pod("shop/pay")?, a.pod("shop/strict")?);
    let open = a.pod("outside/open")?;
    let attackers =
        [a.pod("shop/mallory")?, a.pod("outside/mallory")?, b.pod("shop/mallory")?, b.pod("outside/trudy")?];
    let state = topology.state();
    state.put_all(&[Manifest::meshed("shop"), only_cart(), cart.manifest(), pay.manifest()])?;
    state.put(&strict.manifest().annotation("weir.dev/mtls", "strict"))?;
    let _greets = [greets(&pay)?, greets(&strict)?, greets(&open)?];
    let mut agents = topology.agents()?;
    assert!(cart.dial(pay.v4(PORT))?.connected, "who really is cart is let in directly");
    let mut watchers = [watch(&pay)?, watch(&strict)?, watch(&open)?];

    for (index, attacker) in attackers.iter().enumerate() {
        for (family, source) in [cart.v4(0), cart.v6(0)].into_iter().enumerate() {
            let source = SocketAddr::new(source.ip(), 20_000 + 10 * index as u16 + family as u16);
            let of = |pod: &Pod| if family == 0 { pod.v4(PORT) } else { pod.v6(PORT) };
            let [by_pay, by_strict, by_open] = &mut watchers;
            // Without a mesh the forger is answered; were it not, the rest would prove nothing.
            assert_eq!(answer(by_open, attacker, source, of(&open))?, "syn-ack", "{index} {source}");
            assert_eq!(answer(by_pay, attacker, source, of(&pay))?, "rst", "{index} {source}");
            assert_eq!(answer(by_strict, attacker, source, of(&strict))?, "rst", "{index} {source}");
        }
    }
    let flow = agents[0].wait_flow("the refusal of a forged SYN", |flow| {
        flow.is(&[("reason", "policy_denied"), ("destination.pod", "pay")])
            && flow.text("source.address").ends_with(":20000")
    })?;
    assert_eq!(flow.text("source.identity"), "", "the address proves nothing: {flow:?}");
    Ok(())
}

/// A live direct connection is vouched for by its four numbers; they are not a key for anyone else.
#[test]
fn the_numbers_of_a_live_direct_connection_open_nothing_for_a_forger() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let a = topology.node("a");
    let (cart, pay, mallory) = (a.pod("shop/cart")?, a.pod("shop/pay")?, a.pod("outside/mallory")?);
    topology.state().put_all(&[Manifest::meshed("shop"), only_cart(), cart.manifest(), pay.manifest()])?;
    let _echo = pay.serve(weir_tests::Serve::Echo, PORT)?;
    let _agent = topology.agents()?;
    let mut held = cart.hold(pay.v4(PORT))?;
    held.echo("one")?;
    let own = held.dialled.local.expect("its address");
    let mut watcher = watch(&pay)?;

    // Inside the connection's window it is a challenge, anywhere else nothing: never a second connection.
    let words = [own.ip().to_string(), own.port().to_string(), pay.v4(0).ip().to_string(), PORT.to_string()];
    mallory.run(python(FORGE, words))?.success()?;
    // A neighbour's number is refused, and so was the SYN before it: answers come in order.
    let beside = SocketAddr::new(own.ip(), own.port() ^ 1);
    assert_eq!(answer(&mut watcher, &mallory, beside, pay.v4(PORT))?, "rst");
    assert!(!watcher.stdout().contains("syn-ack"), "{}", watcher.stdout());
    held.echo("two")?;
    Ok(())
}

/// CAP_NET_RAW is enough for IP_TRANSPARENT, with which a socket binds to any address: it dials as
/// `transparent.py SOURCE PORT DESTINATION PORT`, and stays until its input ends.
const TRANSPARENT: &str = "
import socket, sys
source, destination = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))
made = socket.socket(socket.AF_INET6 if ':' in source[0] else socket.AF_INET)
made.setsockopt(socket.IPPROTO_IP, 19, 1)
if made.family == socket.AF_INET6: made.setsockopt(socket.IPPROTO_IPV6, 75, 1)
made.bind(source)
made.setblocking(False)
made.connect_ex(destination)
print('sent')
sys.stdin.read()
";

#[test]
fn a_pod_that_may_connect_is_not_vouched_for_under_another_pod_s_address() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let a = topology.node("a");
    let (cart, pay, victim) = (a.pod("shop/cart")?, a.pod("shop/pay")?, a.pod("shop/victim")?);
    let state = topology.state();
    state.put_all(&[Manifest::meshed("shop"), only_cart(), cart.manifest(), pay.manifest()])?;
    state.put(&victim.manifest())?;
    let _greets = greets(&pay)?;
    let _agent = topology.agents()?;
    let mut watcher = watch(&pay)?;

    for (own, other, to) in
        [(cart.v4(0), victim.v4(0), pay.v4(PORT)), (cart.v6(0), victim.v6(0), pay.v6(PORT))]
    {
        // The same socket with cart's own address is let in: the option alone changes nothing.
        for (source, port, wanted) in [(own, 30_000, "syn-ack"), (other, 30_001, "rst")] {
            let ip = source.ip().to_string();
            let words = [ip.clone(), port.to_string(), to.ip().to_string(), to.port().to_string()];
            let mut dialler = cart.spawn(python(TRANSPARENT, words))?;
            dialler.wait_line("its SYN", |line| line.starts_with("sent").then_some(()))?;
            let start = format!("{ip} {port} ");
            let answered = watcher.wait_line("an answer", |line| {
                line.strip_prefix(&start).map(|word| word.trim().to_owned())
            })?;
            assert_eq!(answered, wanted, "{source}");
        }
    }
    Ok(())
}
