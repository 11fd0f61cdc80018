//! One measurement of requests: a client in its pod, run to its end, its figures read.
//!
//! Entry points: [`wrk`] for HTTP/1.1, [`h2`] for the rest, [`Users`].

use std::{fmt::Write, fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{Issuer, Pod};

use super::{
    super::load::{Core, Load, number},
    objects::{AUDIENCE, ISSUER},
    samples::{Measured, Protocol},
    stage::Stage,
};

/// Connections, or streams of one.
const PARALLEL: usize = 32;
/// Users whose requests come in turns.
const USERS: usize = 100;

/// What wrk says of itself is rounded; this is not. Whatever is no answer below 400 is a failure.
pub(super) const REPORT: &str = r#"
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"count":%d,"us":%d,"p50_us":%d,"p99_us":%d,"failures":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"#;
/// Requests are made once, not each time.
const IN_TURNS: &str = r#"
local requests, turn = {}, 0
init = function()
  for i, token in ipairs(tokens) do
    requests[i] = wrk.format("GET", nil, { ["authorization"] = "Bearer " .. token })
  end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"#;

/// People with tokens.
pub(super) struct Users {
    /// The issuer's public keys.
    pub(super) keys: Value,
    tokens: Vec<String>,
}

impl Users {
    pub(super) fn new() -> Result<Self> {
        let issuer = Issuer::new(ISSUER, "bench")?;
        let more = json!({"groups": ["staff", "readers"], "scope": "read write"});
        let token = |number| issuer.token(AUDIENCE, &format!("user-{number}"), more.clone());
        Ok(Self { keys: issuer.jwks(), tokens: (0..USERS).map(token).collect::<Result<_>>()? })
    }

    fn script(&self) -> String {
        let mut script = String::from("local tokens = {");
        for token in &self.tokens {
            let _ = write!(script, "\"{token}\",");
        }
        script + "}" + IN_TURNS
    }
}

/// HTTP/1.1 over 32 connections; with `users`, each request in the name of the next one.
pub(super) fn wrk(
    stage: &Stage,
    address: SocketAddr,
    users: Option<&Users>,
    time: Duration,
) -> Result<Measured> {
    let script = users.map(Users::script).unwrap_or_default() + REPORT;
    let words = wrk_words(stage, "client", PARALLEL, address, &script, time)?;
    let printed =
        stage.client.run(Core::Client.words().iter().copied().chain(words.iter().map(String::as_str)))?;
    let (measured, failures) = read(&printed.success()?)?;
    ensure!(failures == 0.0, "{failures} of {} requests to {address} failed", measured.count);
    Ok(measured)
}

/// The words that run wrk; the script goes to a file of this name.
pub(super) fn wrk_words(
    stage: &Stage,
    name: &str,
    connections: usize,
    address: SocketAddr,
    script: &str,
    time: Duration,
) -> Result<Vec<String>> {
    let file = stage.topology.dir().join(format!("{name}.lua"));
    fs::write(&file, script).with_context(|| file.display().to_string())?;
    // It counts whole seconds.
    let seconds = time.as_secs().max(1);
    let options =
        [format!("-c{connections}"), format!("-d{seconds}s"), format!("http://{address}/v1/answer")];
    let words = ["wrk", "-t1", "-s", &file.display().to_string()].map(str::to_owned);
    Ok(words.into_iter().chain(options).collect())
}

/// What [`REPORT`] wrote, and how many requests were refused or came to nothing.
pub(super) fn read(printed: &str) -> Result<(Measured, f64)> {
    let json = printed.lines().rev().find(|line| line.starts_with('{'));
    let figures: Value = serde_json::from_str(json.with_context(|| format!("wrk: {printed}"))?)?;
    let of = |name| number(&figures, name);
    let count = of("count")?;
    ensure!(count > 0.0, "wrk had no answer: {printed}");
    let rate = count * 1e6 / of("us")?;
    Ok((Measured { count, rate, p50_us: of("p50_us")?, p99_us: of("p99_us")?, cpu_us: 0.0 }, of("failures")?))
}

/// HTTP/2 or gRPC, 32 streams of one connection.
pub(super) fn h2(
    load: &Load,
    stage: &Stage,
    address: SocketAddr,
    protocol: Protocol,
    time: Duration,
) -> Result<Measured> {
    let kind = if protocol == Protocol::Grpc { "grpc" } else { "http2" };
    let (address, time) = (address.to_string(), time.as_millis().to_string());
    let figures =
        run(load, &stage.client, Core::Client, &["requests", &address, &time, &PARALLEL.to_string(), kind])?;
    measured(&figures)
}

/// Runs the load program to its end and reads its figures.
pub(super) fn run(load: &Load, pod: &Pod, core: Core, words: &[&str]) -> Result<Value> {
    /// A large body takes its time where nothing is optimised.
    const PATIENCE: Duration = Duration::from_secs(120);
    let printed = load.spawn(pod, core, words)?.finish_within(PATIENCE)?.success()?;
    serde_json::from_str(&printed).with_context(|| format!("load: {printed}"))
}

/// The load program's figures of requests.
pub(super) fn measured(figures: &Value) -> Result<Measured> {
    let of = |name| number(figures, name);
    Ok(Measured {
        count: of("count")?,
        rate: of("per_second")?,
        p50_us: of("p50_us")?,
        p99_us: of("p99_us")?,
        cpu_us: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_what_wrk_says_itself() {
        let printed = "Running 1s test\n  1 threads\nTransfer/sec: 5MB\n\
            {\"count\":500,\"us\":2000000,\"p50_us\":90,\"p99_us\":700,\"failures\":3}";
        let (measured, failures) = read(printed).expect("figures");
        assert_eq!((measured.rate, measured.p99_us, failures), (250.0, 700.0, 3.0));
        assert!(read(&printed.replace("\"count\":500", "\"count\":0")).is_err());
        assert!(read("Running 1s test\n").is_err());
    }
}
