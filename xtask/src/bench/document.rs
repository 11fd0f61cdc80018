//! docs/benchmarks.md: the tables with what they were measured on; what people write of them stays.
//!
//! Entry point: [`write`].

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::Report;
use crate::checkout::Checkout;

/// From here on the document is written by people.
const KEPT: &str = "## What was missed, and why";

/// Writes the generated part anew, and returns where.
pub(super) fn write(checkout: &Checkout, report: &Report, tables: &str) -> Result<PathBuf> {
    let file = checkout.root.join("docs/benchmarks.md");
    let old = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, merged(&generated(report, tables), &old)).with_context(|| file.display().to_string())?;
    Ok(file)
}

fn merged(generated: &str, old: &str) -> String {
    let kept = old.find(KEPT).map_or_else(|| format!("{KEPT}\n"), |at| old[at..].to_owned());
    format!("{generated}\n{kept}")
}

fn generated(report: &Report, tables: &str) -> String {
    let machine = &report.machine;
    format!(
        "# Benchmarks

`cargo xtask bench --write` made this page, from the top to the last heading, in one run of {took:.0} s; \
`--quick` gives a rough idea in two minutes, and `--only tcp` or `--only http` half of it. It measures with {cores} cores ({processor}), Linux {kernel}, \
nginx {nginx}, wrk {wrk}, Envoy {envoy}, on {date}; the load average before was {busy:.1}.
{tables}
The same two nodes and three pods stand three times on this machine: without agents (no mesh), with agents, and \
with agents under `--same-node tunnel`. Each of {rounds} rounds measures all of them one after the other. A ratio is \
the median over rounds of a round's figure by the same round's without a mesh, same node by same node and cross \
node by cross node; the figures of no mesh are medians too.

- Round trips and connects are one after the other; a connect carries 64 bytes each way. Client and server are \
kept on a core each, for HTTP too; the agents run where the scheduler puts them.
- In bulk every socket has the congestion control that the row names: both applications' and the agents' \
(`weir agent --congestion`). All else is on the first of those.
- HTTP is one nginx worker that answers 64 bytes, and one wrk thread.
- Two plain relays, one in each pod of the far path, copy bytes in user space and do nothing else, without TLS, mesh \
or policy (`load relay`, one thread each): what a proxy on either node costs here before it does any work.
- Processor time is that of both agents together, user and system, by 10⁹ bytes carried.
- The agents are at rest {rest} s after the load: they give back what a burst needed.
- An idle connection is one that was made from one node to the other, carried a byte, and does nothing.

Requests have three stages of their own, measured in turn in the same way, in {request_rounds} rounds: without agents, where two Envoys stand in \
the pods of client and server too; with agents; and with agents that also know of many routes and policies of \
others. Every way is from one node to the other.

- Clients in the mesh connect to a Service's address. On its way a request meets one route of that Service port, \
mutual TLS, one policy by identity, method and path at the server, metrics, and a record at each node.
- The Envoys do the same work: a route by path in the client's pod, mutual TLS 1.3 over pooled connections, RBAC by \
identity, method and path in the server's, their own statistics, and a line in JSON for each request, which goes to \
/dev/null. One pair is for HTTP/1.1, with two threads each, and one for HTTP/2, with one thread each: what is fastest \
here.
- HTTP/1.1 is wrk and nginx, as above. HTTP/2 and gRPC are `load requests` and `load serve http2`, one thread each: \
one connection with prior knowledge, 64 bytes of answer, in gRPC 64 bytes each way.
- Every client asks again as soon as it is answered, so p50 and p99 are those of a path that is full. Processor time \
is that of both agents, or both Envoys, by the request.
- Tokens are signed with Ed25519; a hundred users take turns.
- Of a large body the taker pauses for 0.3 s half-way, so that what is between fills up. The most is the kernel's \
own mark (VmHWM).
- The quiet pod asks 400 times a second; its neighbour on the same node asks over 64 connections as often as it is \
answered, and its programs run only when nobody else wants the processor.

",
        took = report.took.as_secs_f64(),
        rest = super::REST.as_secs(),
        cores = machine.cores,
        processor = machine.processor,
        kernel = machine.kernel,
        nginx = machine.nginx,
        wrk = machine.wrk,
        date = machine.date,
        busy = machine.busy,
        rounds = report.rounds,
        request_rounds = report.request_rounds,
        envoy = super::http::ENVOY,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays() {
        let first = merged("# Benchmarks\nold table\n", "");
        assert_eq!(first, format!("# Benchmarks\nold table\n\n{KEPT}\n"));
        let written = format!("{first}Bulk, because of copies.\n");
        assert_eq!(
            merged("# Benchmarks\nnew table\n", &written),
            format!("# Benchmarks\nnew table\n\n{KEPT}\nBulk, because of copies.\n")
        );
    }
}
