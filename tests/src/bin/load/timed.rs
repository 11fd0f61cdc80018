//! How long things took: collected, sorted, printed as one JSON object.
//!
//! Entry points: [`timed`], [`report`].

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

/// Does `one` again and again for `time`; how long each took, shortest first.
pub(crate) fn timed(time: Duration, mut one: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time {
        let start = Instant::now();
        one()?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    Ok(took)
}

/// Prints how many and how long; `took` is sorted, `seconds` is how long all of them took.
pub(crate) fn report(congestion: &str, took: &[Duration], seconds: f64) {
    let at = |part: f64| -> Value {
        let index = (took.len().saturating_sub(1) as f64 * part) as usize;
        took.get(index).map(|took| took.as_nanos() as f64 / 1e3).into()
    };
    let rate = took.len() as f64 / seconds;
    println!(
        "{}",
        json!({
            "congestion": congestion, "count": took.len(), "per_second": rate,
            "p50_us": at(0.5), "p99_us": at(0.99),
        })
    );
}
