//! What every supported kernel must do with the real programs: each promise of the data path as one check.
//!
//! Entry point: [`run`]. Part of the guests' `kernel-selftest`, and of the tests of this machine's own kernel.
//! It fills the maps itself: no agent, no policy, no proxy takes part, only the kernel's side of them.

mod attaching;
mod inbound;
mod machine;
mod outbound;
mod same_node;

use anyhow::{Result, ensure};
use machine::Machine;

/// A check's name and what it does.
type Check = (&'static str, fn(&mut Machine) -> Result<()>);

/// In this order: what comes later stands on what is attached first, and the last ones take it away.
const CHECKS: [&[Check]; 5] =
    [attaching::FIRST, outbound::CHECKS, inbound::CHECKS, same_node::CHECKS, attaching::LAST];

/// Runs every check; prints `check NAME: ok` or `check NAME: FAIL detail` for each, then
/// `selftest: N passed, M failed`. Says whether all held.
pub(crate) fn run() -> bool {
    let (mut passed, mut failed) = (0, 0);
    let mut tell = |name: &str, outcome: Result<()>| match outcome {
        Ok(()) => {
            println!("check {name}: ok");
            passed += 1;
        }
        Err(error) => {
            // The verifier's log has many lines, and its last ones say why.
            let words = format!("{error:#}");
            let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
            println!("check {name}: FAIL {}", lines.first().unwrap_or(&"without a word"));
            lines.iter().skip(1).rev().take(12).rev().for_each(|line| println!("  | {line}"));
            failed += 1;
        }
    };
    match Machine::new() {
        Ok(mut machine) => {
            for (name, check) in CHECKS.into_iter().flatten() {
                tell(name, machine.begin().and_then(|()| check(&mut machine)));
            }
            tell("the machine is left as it was", machine.remove());
        }
        Err(error) => tell("two pods can be made", Err(error)),
    }
    println!("selftest: {passed} passed, {failed} failed");
    failed == 0
}

/// Errors, with both values, unless they are equal.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:?}, not {wanted:?}");
    Ok(())
}
