//! A second agent starts where one runs: pods notice nothing.

mod stage;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;
use stage::{Stage, connects};
use weir_tests::{Agent, Pod, Process, eventually, python};

/// Connects, sends a byte, reads it back and closes, from some threads, until its input ends; then prints
/// what came of it. `argv`: address, port and how many threads.
const DIALLER: &str = r#"
import json, socket, sys, threading
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
done, counts, lock = threading.Event(), {"ok": 0, "errors": []}, threading.Lock()
def loop():
    while not done.is_set():
        try:
            with socket.create_connection((address, port), timeout=10) as connection:
                connection.sendall(b"x")
                answer = connection.recv(1)
            error = None if answer == b"x" else "no answer"
        except OSError as failure:
            error = str(failure)
        with lock:
            if error is None: counts["ok"] += 1
            else: counts["errors"].append(error)
            if counts["ok"] == 20: print("under way", flush=True)
threads = [threading.Thread(target=loop) for _ in range(count)]
for thread in threads: thread.start()
sys.stdin.read()
done.set()
for thread in threads: thread.join()
print(json.dumps(counts), flush=True)
"#;

/// Connections made one after another for as long as it lives.
struct Dialler(Process);

impl Dialler {
    fn start(pod: &Pod, to: SocketAddr) -> Result<Self> {
        Self::with(4, pod, to)
    }

    fn with(threads: usize, pod: &Pod, to: SocketAddr) -> Result<Self> {
        let words = [to.ip().to_string(), to.port().to_string(), threads.to_string()];
        let mut process = pod.spawn(python(DIALLER, words))?;
        process.wait_line("connections", |line| line.starts_with("under way").then_some(()))?;
        Ok(Self(process))
    }

    /// How many worked, and what went wrong with the others.
    fn stop(mut self) -> Result<(u64, Vec<Value>)> {
        self.0.close_input();
        let counts: Value = self
            .0
            .wait_line("its counts", |line| serde_json::from_str(line).ok().filter(Value::is_object))?;
        let errors = counts["errors"].as_array().cloned().unwrap_or_default();
        Ok((counts["ok"].as_u64().context("a count")?, errors))
    }
}

/// Starts a second agent beside `first` and waits until the first has handed over.
fn successor(stage: &Stage, first: &mut Agent) -> Result<Agent> {
    successor_on("a", stage, first)
}

fn successor_on(node: &str, stage: &Stage, first: &mut Agent) -> Result<Agent> {
    let second = stage.node(node).agent().start()?;
    first.wait_log("that it drains", |line| line.contains("draining").then_some(()))?;
    Ok(second)
}

#[test]
fn no_connection_fails_while_one_agent_takes_over_from_another() -> Result<()> {
    let stage = Stage::new()?;
    let (mut first, _there) = stage.agents()?;
    connects(&stage.client, stage.far.v4(7))?.context("a connection")?;
    let far = Dialler::start(&stage.client, stage.far.v4(7))?;
    let near = Dialler::start(&stage.client, stage.near.v6(7))?;
    let outside = Dialler::start(&stage.plain, stage.near.v4(7))?;

    let second = successor(&stage, &mut first)?;
    assert_eq!(first.wait()?.code(), Some(0));

    for (what, dialler) in [("through the tunnel", far), ("on the node", near), ("in plaintext", outside)] {
        let (worked, failed) = dialler.stop()?;
        println!("{what}: {worked} worked, {} failed", failed.len());
        assert_eq!(failed, Vec::<Value>::new(), "{what}, beside {worked} that worked");
    }
    stage.captured(second, "by the second one")?;
    Ok(())
}

/// The peers of an agent that ends keep their sessions with it until they hear of it, and open streams meanwhile.
#[test]
fn no_connection_fails_while_the_agent_at_its_other_end_is_replaced_again_and_again() -> Result<()> {
    let stage = Stage::new()?;
    let (_here, mut there) = stage.agents()?;
    connects(&stage.client, stage.far.v4(7))?.context("a connection")?;
    // With more than one there would hardly be a moment at which the agent carries nothing and may go.
    let far = Dialler::with(1, &stage.client, stage.far.v4(7))?;
    for _ in 0..5 {
        let next = successor_on("b", &stage, &mut there)?;
        assert_eq!(there.wait()?.code(), Some(0));
        there = next;
    }
    let (worked, failed) = far.stop()?;
    println!("{worked} worked, {} failed", failed.len());
    assert_eq!(failed, Vec::<Value>::new(), "beside {worked} that worked");
    Ok(())
}

#[test]
fn live_connections_stay_with_the_agent_that_carries_them() -> Result<()> {
    let stage = Stage::new()?;
    let (mut first, _there) = stage.agents()?;
    let mut out = stage.client.hold(stage.far.v4(7))?;
    let mut back = stage.far.hold(stage.client.v6(7))?;
    out.echo("before")?;
    back.echo("before")?;

    let second = successor(&stage, &mut first)?;

    let second = stage.captured(second, "by the second one")?;
    out.echo("after")?;
    back.echo("after")?;
    for held in [&mut out, &mut back] {
        held.half_close();
        assert_eq!(held.wait_closed()?, None);
    }
    assert_eq!(first.wait()?.code(), Some(0));
    assert_eq!(second.status()?["node"], "node-a", "the second one answers at the socket");
    second.http("/readyz")?;
    Ok(())
}

#[test]
fn an_agent_whose_successor_does_not_come_about_goes_on() -> Result<()> {
    let stage = Stage::new()?;
    let (first, _there) = stage.agents()?;

    let failed = stage.node("a").agent().args(["--ca", "local:/proc/nowhere"]).run()?;

    assert_eq!(failed.status.code(), Some(1));
    let first = stage.captured(first, "by the first one")?;
    // It was not even told: nothing of it is frozen.
    stage.topology.state().delete(&stage.near.manifest())?;
    first.wait_metric("weir_workloads", &[("state", "enrolled")], 1.0)?;
    eventually("the pod to be let go of", || Ok((stage.pod_pins("a")?.len() == 1).then_some(())))?;
    first.stop()
}

#[test]
fn a_third_agent_takes_over_from_the_second_while_the_first_still_drains() -> Result<()> {
    let stage = Stage::new()?;
    let (mut first, _there) = stage.agents_with(&["--drain", "3600"])?;
    let mut held = stage.client.hold(stage.far.v4(7))?;
    held.echo("first")?;
    let mut second = successor(&stage, &mut first)?;

    let third = successor(&stage, &mut second)?;

    assert_eq!(second.wait()?.code(), Some(0));
    held.echo("still the first")?;
    stage.captured(third, "by the third one")?;
    first.signal(Signal::TERM)?;
    assert_eq!(first.wait()?.code(), Some(1));
    Ok(())
}
