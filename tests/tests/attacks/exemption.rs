//! No app exempts its own sockets from capture, reaches what the agent listens on, or takes its place.

use anyhow::Result;
use weir_tests::python;

use crate::mesh::{Mesh, PORT, SECRET, TLS_ALERT, ask};

/// Of the first pod that a node captures, with Linux' usual `ip_local_port_range`.
const VIRTUAL_PORT: u16 = 61_000;

const LOOPBACK: &str = include_str!("loopback.py");

/// Every mark that a mesh is known to use, every single bit, and everything else that a socket can be given
/// which a careless capture could take for the agent's own.
const DISGUISES: &str = r#"
import json, os, socket, sys
address, port = sys.argv[1], int(sys.argv[2])
own = sys.argv[3]
SO_MARK = 36
heard = []

def hear(made):
    made.settimeout(10)
    made.connect((address, port))
    heard.append(made.makefile().read())

marks = [0x539, 0x1337, 0xd3e, 0xb00, 0x200, 0xe0000, 0x7fffffff, 0xffffffff]
for mark in marks + [1 << bit for bit in range(32)]:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, SO_MARK, mark.to_bytes(4, "little"))
    hear(made)
for source in 15001, 15006, 15008, 15020, 15053:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((own, source))
    hear(made)
for option, value in (socket.SO_PRIORITY, 6), (socket.SO_DONTROUTE, 0), (socket.SO_REUSEPORT, 1):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, option, value)
    hear(made)
made = socket.socket()
made.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
hear(made)
for user in 1337, 65534:
    child = os.fork()
    if child == 0:
        os.setresuid(user, user, user)
        hear(socket.socket())
        os._exit(0 if heard[-1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    heard.append(heard[-1])
print(json.dumps(heard))
"#;

#[test]
fn no_mark_port_option_or_user_exempts_a_socket_from_capture() -> Result<()> {
    let mut mesh = Mesh::new("permissive", &[])?;
    let (cart, pay) = (&mesh.cart, &mesh.pay);
    let to = [pay.v4(PORT).ip().to_string(), PORT.to_string(), cart.v4(0).ip().to_string()];
    let heard = ask(cart, DISGUISES, &[&to[0], &to[1], &to[2]])?;

    let heard = heard.as_array().expect("a list");
    assert_eq!(heard.len(), 40 + 5 + 3 + 1 + 2);
    // The app's peer is its own node's agent for every one of them: none came from the wire.
    let of_the_agent = format!("{SECRET} {}:", pay.v4(0).ip());
    for words in heard {
        let words = words.as_str().expect("text").replace("[::ffff:", "").replace("]:", ":");
        assert!(words.starts_with(&of_the_agent), "{words}");
    }
    let count = heard.len();
    let mut tunnelled = 0;
    mesh.a.wait_flow("one for each socket", |flow| {
        tunnelled += usize::from(flow.is(&[
            ("direction", "outbound"),
            ("source.pod", "cart"),
            ("path", "tunnel"),
            ("verdict", "forwarded"),
        ]));
        tunnelled == count
    })?;
    assert!(mesh.a.flows()?.iter().all(|flow| flow.text("path") == "tunnel"));
    Ok(())
}

#[test]
fn what_the_agent_listens_on_carries_nothing_that_was_not_redirected_there() -> Result<()> {
    let mut mesh = Mesh::new("permissive", &[])?;
    let (cart, pay) = (&mesh.cart, &mesh.pay);
    let program = format!(
        "{LOOPBACK}
port = virtual_port(sys.argv[1], int(sys.argv[2]))
found = listening()
own = sys.argv[3:]
ends = {{}}
for address in ['127.0.0.1', '127.0.0.2', '::1', *own]:
    for number in [port, 15008, *found]:
        ends[f'{{address}} {{number}}'] = poke(address, number)
print(json.dumps({{'virtual': port, 'listening': found, 'ends': ends}}))"
    );
    let (to, own4, own6) =
        (pay.v4(0).ip().to_string(), cart.v4(0).ip().to_string(), cart.v6(0).ip().to_string());
    let came = ask(cart, &program, &[&to, &PORT.to_string(), &own4, &own6])?;

    let listening = came["listening"].as_array().expect("a list");
    assert!(
        listening.len() >= 3,
        "the agent listens for the pod's connections, sessions and plaintext: {came}"
    );
    assert!(!listening.contains(&came["virtual"]), "somebody listens on the virtual port");
    for (end, outcome) in came["ends"].as_object().expect("an object") {
        // TLS says that it was not spoken to.
        let data = outcome["data"].as_str().expect("text");
        assert!(data.is_empty() || data.starts_with(TLS_ALERT), "{end} gave back {data:?}");
    }
    // At the least the virtual port and the outbound listener itself, over both families.
    mesh.a.wait_metric("weir_not_redirected_total", &[], 4.0)?;
    mesh.a.wait_flow("a refusal", |flow| {
        flow.is(&[("source.pod", "cart"), ("verdict", "denied"), ("reason", "not_redirected")])
    })?;
    mesh.a.wait_flow("the connection that was to find the virtual port", |flow| {
        flow.is(&[("source.pod", "cart"), ("verdict", "forwarded")])
    })?;
    let carried = mesh.a.flows()?.iter().filter(|flow| flow.text("verdict") == "forwarded").count();
    assert_eq!(carried, 1, "only the connection that was to find the virtual port");
    Ok(())
}

/// Listens in every way there is on the port that it is told, and says what it is given.
const THIEF: &str = r#"
import selectors, socket, sys
port = int(sys.argv[1])
selector = selectors.DefaultSelector()
ways = [(socket.AF_INET, '127.0.0.1'), (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::1')]
for family, address in ways + [(socket.AF_INET6, '::ffff:127.0.0.1'), (socket.AF_INET6, '::')]:
    for _ in range(4):
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int('f' not in address))
        made.bind((address, port))
        made.listen()
        selector.register(made, selectors.EVENT_READ)
print('listening')
while True:
    for key, _ in selector.select():
        print('stolen', key.fileobj.accept()[1])
"#;

#[test]
fn a_listener_of_the_app_on_the_virtual_port_or_the_tunnel_port_is_given_nothing() -> Result<()> {
    let mut mesh = Mesh::new("strict", &[])?;
    let (cart, pay) = (&mesh.cart, &mesh.pay);
    // Before the first connection: while the agent has one that was redirected there, the port is taken.
    let mut thieves = Vec::new();
    for (pod, port) in [(cart, VIRTUAL_PORT), (cart, 15008), (pay, 15008)] {
        let mut thief = pod.spawn(python(THIEF, [port.to_string()]))?;
        thief.wait_line("its listeners", |line| line.starts_with("listening").then_some(()))?;
        thieves.push(thief);
    }

    for round in 0..10 {
        for to in [pay.v4(PORT), pay.v6(PORT)] {
            let dialled = cart.dial(to)?;
            assert!(dialled.received.starts_with(SECRET), "round {round}, {to}: {dialled:?}");
        }
    }

    let program = format!("{LOOPBACK}\nprint(virtual_port(sys.argv[1], int(sys.argv[2])))");
    let used = ask(cart, &program, &[&pay.v4(0).ip().to_string(), &PORT.to_string()])?;
    assert_eq!(used, VIRTUAL_PORT, "the thief was after another port than the agent's");
    for thief in &thieves {
        assert!(!thief.stdout().contains("stolen"), "{}", thief.stdout());
    }
    mesh.b.wait_flow("the last one", |flow| flow.is(&[("path", "tunnel"), ("verdict", "forwarded")]))?;
    // A thief that nothing comes to proves nothing unless it would notice.
    let dial = "import socket; socket.create_connection(('127.0.0.1', 15008))";
    pay.run(python::<String>(dial, []))?.success()?;
    thieves[2].wait_line("what it is given", |line| line.starts_with("stolen").then_some(()))?;
    Ok(())
}
