//! Abuse of HTTP/2 frame by frame: it ends the session that it comes on, and no other one of the same pod.

use std::fs;

use anyhow::{Context, Result};
use weir_tests::{Agent, Process, client, python};

use super::{Destination, PORT, World};

/// By how much an abuse may raise what an agent holds at most, in kB. A hundred stalled answers are 5 GB.
const GROWTH: u64 = 64 * 1024;

/// To the other node: at a pod's own address its agent ends the session, at a Service's the client's.
fn destinations(world: &World) -> impl Iterator<Item = Destination> + use<> {
    world.destinations().into_iter().filter(|to| to.pod == "far")
}

fn serve(world: &World) -> Result<[Process; 2]> {
    world.serve(&[client("nethttp")?, "serve".into(), PORT.to_string()])
}

fn flood(world: &World, to: Destination, mode: &str) -> Result<Process> {
    let words = [&to.address.ip().to_string(), &PORT.to_string(), mode].map(str::to_owned);
    world.stage.client.spawn(python(include_str!("floods.py"), words))
}

/// A client of the same pod that asks again and again over one connection.
fn bystander(world: &World, to: Destination) -> Result<Process> {
    let words = [&*client("nethttp")?, "bystander", "2", &to.address.to_string()].map(str::to_owned);
    let mut process = world.stage.client.spawn(words)?;
    process.wait_line("an answer", |line| line.starts_with("answered").then_some(()))?;
    Ok(process)
}

/// Every answer came, over the connection that it had from the start.
fn was_well(mut bystander: Process) -> Result<()> {
    bystander.close_input();
    let printed = bystander.finish()?.success()?;
    assert!(printed.ends_with(" answers over 1 connections\n"), "{printed}");
    Ok(())
}

/// The most that an agent has held, in kB.
fn peak(agent: &Agent) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn ends_that_session_alone(modes: &[&str]) -> Result<()> {
    let mut world = World::new("http")?;
    let _servers = serve(&world)?;
    for to in destinations(&world) {
        let mark = world.mark(to)?;
        let other = bystander(&world, to)?;
        let before = [peak(&world.here)?, peak(&world.there)?];
        for mode in modes {
            let printed = flood(&world, to, mode)?.finish()?.success()?;
            assert_eq!(printed, "ended\n", "{mode} {to:?}");
        }
        was_well(other)?;
        for (before, agent) in before.into_iter().zip([&world.here, &world.there]) {
            let after = peak(agent)?;
            assert!(after < before + GROWTH, "{before} kB, then {after} kB: {modes:?} {to:?}");
        }
        world.seen(to, mark, &[("protocol", "http/2"), ("http.path", "/id/bystander-0")], 200)?;
    }
    Ok(())
}

#[test]
fn heads_without_end_and_data_without_content_end_their_session_alone() -> Result<()> {
    ends_that_session_alone(&["continuations", "empty-continuations", "empty-data"])
}

#[test]
fn rapid_resets_end_their_session_alone() -> Result<()> {
    ends_that_session_alone(&["resets"])
}

#[test]
fn floods_of_pings_and_settings_end_their_session_alone() -> Result<()> {
    ends_that_session_alone(&["pings", "settings"])
}

#[test]
fn stalled_answers_are_not_gathered_and_stall_nobody_else() -> Result<()> {
    let mut world = World::new("http")?;
    let _servers = serve(&world)?;
    for to in destinations(&world) {
        let mark = world.mark(to)?;
        let other = bystander(&world, to)?;
        let before = [peak(&world.here)?, peak(&world.there)?];
        let mut stalled = flood(&world, to, "stall")?;
        stalled.wait_line("answers to begin", |line| line.starts_with("stalled").then_some(()))?;
        // Another one, that comes while they stall.
        was_well(bystander(&world, to)?)?;
        was_well(other)?;
        for (before, agent) in before.into_iter().zip([&world.here, &world.there]) {
            let after = peak(agent)?;
            assert!(after < before + GROWTH, "{before} kB, then {after} kB: {to:?}");
        }
        stalled.close_input();
        assert_eq!(stalled.finish()?.success()?, "stalled\nheld\n");
        world.seen(to, mark, &[("protocol", "http/2"), ("http.path", "/id/bystander-0")], 200)?;
    }
    Ok(())
}
