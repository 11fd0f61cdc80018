//! How connections begin and end: as applications see it, through the tunnel as without one.

use anyhow::Result;

use crate::pair::Pair;

#[test]
fn a_client_that_has_said_all_is_still_answered() -> Result<()> {
    let pair = Pair::new()?;
    let _server = pair.serve(
        "
def handle(made):
    asked = b''
    while part := made.recv(65536): asked += part
    # Only now: its other half is open, and stays so.
    made.sendall(b'%d bytes' % len(asked))
    write(made, 4 << 20)
serve(handle)",
    )?;
    let client = "
made = dial()
made.sendall(b'x' * 100_000)
made.shutdown(socket.SHUT_WR)
assert exactly(made, 12) == b'100000 bytes'
check(made, 4 << 20)
assert made.recv(1) == b''";
    for family in [0, 1] {
        pair.run(client, family)?;
    }
    Ok(())
}

#[test]
fn a_server_that_speaks_first_and_has_said_all_still_hears() -> Result<()> {
    let mut pair = Pair::new()?;
    let mut server = pair.serve(
        "
def handle(made):
    made.sendall(b'welcome')
    made.shutdown(socket.SHUT_WR)
    check(made, 4 << 20)
    assert made.recv(1) == b''
    print('heard it all')
serve(handle)",
    )?;
    pair.run(
        "
made = dial()
assert exactly(made, 7) == b'welcome'
assert made.recv(1) == b''
# The end came before a word was said.
write(made, 4 << 20)
made.close()",
        0,
    )?;
    server.wait_line("the client's words", |line| line.starts_with("heard it all").then_some(()))?;
    let flow = pair.b.wait_flow("it", |flow| flow.is(&[("direction", "inbound")]))?;
    assert!(flow.is(&[("verdict", "forwarded"), ("reason", "")]), "{flow:?}");
    assert_eq!((flow.number("bytes_sent"), flow.number("bytes_received")), (Some(4 << 20), Some(7)));
    Ok(())
}

const RESET: &str = "
def reset(made):
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    made.close()
def expect_reset(made):
    try:
        assert made.recv(1) is None, 'an orderly end'
    except ConnectionResetError:
        print('reset')
";

#[test]
fn a_reset_arrives_as_a_reset_in_both_directions() -> Result<()> {
    let mut pair = Pair::new()?;
    let mut server = pair.serve(&format!(
        "{RESET}
def handle(made):
    if exactly(made, 1) == b'm':
        reset(made)
    else:
        made.sendall(b'x')
        expect_reset(made)
serve(handle)"
    ))?;
    let mine = format!("{RESET}\nmade = dial(); made.sendall(b'm'); expect_reset(made)");
    assert_eq!(pair.run(&mine, 0)?, "reset\n");
    pair.run(&format!("{RESET}\nmade = dial(); made.sendall(b'y'); exactly(made, 1); reset(made)"), 0)?;
    server.wait_line("the client's reset", |line| line.starts_with("reset").then_some(()))?;
    for (agent, direction) in [(&mut pair.a, "outbound"), (&mut pair.b, "inbound")] {
        let mut count = 0;
        agent.wait_flow("both, as resets", |flow| {
            count += usize::from(flow.is(&[
                ("direction", direction),
                ("reason", "reset"),
                ("verdict", "forwarded"),
            ]));
            count == 2
        })?;
    }
    Ok(())
}

#[test]
fn a_port_without_a_listener_is_a_reset_and_a_flow_that_says_why() -> Result<()> {
    let mut pair = Pair::new()?;
    let dialled = pair.client.dial(pair.server.v4(9))?;
    assert!(dialled.error.is_some() && dialled.received.is_empty(), "{dialled:?}");
    for (agent, direction) in [(&mut pair.a, "outbound"), (&mut pair.b, "inbound")] {
        let flow = agent.wait_flow("it", |flow| flow.is(&[("direction", direction)]))?;
        assert!(
            flow.is(&[("verdict", "failed"), ("reason", "upstream_refused"), ("path", "tunnel")]),
            "{flow:?}"
        );
    }
    Ok(())
}
