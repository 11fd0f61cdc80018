//! The cost of a policy decision: criterion's bench of the agent, run and read.
//!
//! Entry points: [`build`], [`measure`].

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{checkout::Checkout, command};

/// One decision among so many policies that select other workloads.
pub(super) struct Decision {
    pub(super) others: u64,
    /// Deciding alone, for a workload whose policies are known: what a connection costs.
    pub(super) decide_ns: f64,
    /// With finding the policies that select the workload: what a change costs.
    pub(super) select_ns: f64,
}

/// Compiles it, so that measuring compiles nothing.
pub(super) fn build(checkout: &Checkout) -> Result<()> {
    command::run(cargo(checkout).arg("--no-run"))
}

/// Runs it.
pub(super) fn measure(checkout: &Checkout, quick: bool) -> Result<Vec<Decision>> {
    let (warm_up, time) = if quick { ("0.1", "0.3") } else { ("0.3", "1") };
    let mut bench = cargo(checkout);
    bench.args(["--quiet", "--", "decide", "--warm-up-time", warm_up, "--measurement-time", time]);
    let printed = command::output(&mut bench)?;
    let decisions = read(&printed);
    ensure!(!decisions.is_empty(), "criterion printed no figures:\n{printed}");
    Ok(decisions)
}

fn cargo(checkout: &Checkout) -> Command {
    let mut cargo = command::cargo("bench");
    cargo.current_dir(&checkout.root).args(["-p", "weir-agent", "--bench", "policy"]);
    cargo
}

/// `policy/decide/10  time:   [49.1 ns 50.2 ns 51.3 ns]`, the middle one; a long name has a line for itself.
fn read(printed: &str) -> Vec<Decision> {
    let words = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let find = |name: &str| -> Option<f64> {
        let (_, rest) = words.split_once(&format!("policy/{name} time: ["))?;
        let figures: Vec<&str> = rest.split_once(']')?.0.split(' ').collect();
        nanoseconds(figures.get(2)?, figures.get(3)?).ok()
    };
    let one = |others: u64| {
        Some(Decision {
            others,
            decide_ns: find(&format!("decide/{others}"))?,
            select_ns: find(&format!("select and decide/{others}"))?,
        })
    };
    [10, 1_000, 100_000].into_iter().filter_map(one).collect()
}

fn nanoseconds(number: &str, unit: &str) -> Result<f64> {
    let scale = match unit {
        "ps" => 1e-3,
        "ns" => 1.0,
        "ms" => 1e6,
        "s" => 1e9,
        _ => 1e3,
    };
    Ok(number.parse::<f64>().context("a figure of criterion")? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterion_s_lines_are_read() {
        let printed = "policy/select and decide/10\n    time:   [400.1 ns 402.5 ns 405.0 ns]\n\
            Found 2 outliers\npolicy/decide/10        time:   [0.9000 µs 1.5000 µs 2.0000 µs]\n";
        let decisions = read(printed);
        assert_eq!(decisions.len(), 1);
        assert_eq!(
            (decisions[0].others, decisions[0].select_ns, decisions[0].decide_ns),
            (10, 402.5, 1500.0)
        );
    }
}
