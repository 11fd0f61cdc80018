//! Bytes: all of them, in order, in both directions at once, in big and in tiny pieces.

use anyhow::Result;

use crate::pair::Pair;

#[test]
fn many_bytes_go_both_ways_at_once_and_none_is_lost_or_moved() -> Result<()> {
    let mut pair = Pair::new()?;
    let total: u64 = 64 << 20;
    let _server = pair.serve(&format!(
        "serve(lambda made: both(lambda: write(made, {total}), lambda: check(made, {total})))"
    ))?;
    let client = format!("made = dial(); both(lambda: write(made, {total}), lambda: check(made, {total}))");
    pair.run(&client, 0)?;
    for (agent, direction) in [(&mut pair.a, "outbound"), (&mut pair.b, "inbound")] {
        let flow = agent.wait_flow("the connection", |flow| flow.is(&[("direction", direction)]))?;
        assert_eq!((flow.number("bytes_sent"), flow.number("bytes_received")), (Some(total), Some(total)));
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_writes_of_one_byte_each_way_do_not_end_the_session() -> Result<()> {
    let mut pair = Pair::new()?;
    let tiny = "
COUNT = 100_000
def say(made):
    for index in range(COUNT):
        made.send(bytes([index % 251]))
def hear(made):
    data = exactly(made, COUNT)
    assert data == bytes(index % 251 for index in range(COUNT))
";
    let _server =
        pair.serve(&format!("{tiny}serve(lambda made: both(lambda: say(made), lambda: hear(made)))"))?;
    pair.run(&format!("{tiny}made = dial(); both(lambda: say(made), lambda: hear(made))"), 0)?;

    for (agent, direction) in [(&mut pair.a, "outbound"), (&mut pair.b, "inbound")] {
        let flow = agent.wait_flow("the connection", |flow| flow.is(&[("direction", direction)]))?;
        assert!(flow.is(&[("verdict", "forwarded"), ("reason", "")]), "{flow:?}");
        assert_eq!(
            (flow.number("bytes_sent"), flow.number("bytes_received")),
            (Some(100_000), Some(100_000))
        );
    }
    let broken = [("role", "server"), ("reason", "protocol")];
    assert_eq!(pair.b.metric("weir_tunnel_sessions_ended_total", &broken)?, Some(0.0));
    Ok(())
}

/// Stalled is who has written until nothing more fits and nobody reads it, in either direction.
#[test]
fn a_stalled_stream_stalls_no_other_between_the_same_pods() -> Result<()> {
    let pair = Pair::new()?;
    let total: u64 = 16 << 20;
    let server = format!(
        "
stuck = []
def handle(made):
    word = exactly(made, 1)
    if word == b'm':  # mute: the client writes and nobody reads
        stuck.append(made)
        return made
    elif word == b'd':  # deaf: the client does not read what is written
        write(made, {total})
    elif word == b'r':  # release the mute ones
        for one in stuck: check(one, {total})
        made.sendall(b'k')
    else:
        both(lambda: write(made, {total}), lambda: check(made, {total}))
serve(handle)"
    );
    let _server = pair.serve(&server)?;
    let client = format!(
        "
def began(word):
    made = dial()
    made.sendall(word)
    return made
mute, deaf = began(b'm'), began(b'd')
writer = threading.Thread(target=write, args=[mute, {total}])
writer.start()
# Nothing of what is not read may be on its way any more: then both are stuck.
def still():
    before = None
    while True:
        now = [open('/proc/net/tcp').read().count(f':{{made.getsockname()[1]:04X}} ') for made in (mute, deaf)]
        if not select.select([], [mute], [], 0.3)[1] and now == before: return
        before = now
still()
for _ in range(4):
    with began(b'x') as made:
        both(lambda: write(made, {total}), lambda: check(made, {total}))
assert writer.is_alive(), 'the mute one was not stalled'
with began(b'r') as made:
    assert exactly(made, 1) == b'k'
writer.join()
check(deaf, {total})"
    );
    pair.run(&client, 0).map(drop)
}
