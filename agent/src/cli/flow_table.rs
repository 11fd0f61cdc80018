//! Flow records as a table, one line each, as they come.
//!
//! Entry point: [`FlowTable::line`]. Columns have fixed widths, so that a follower's lines stand under each
//! other. A field or word that this version does not know is shown or skipped, never an error.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{
    human,
    table::{Style, clean, colour, fit},
};
use crate::flows::record::PolicyRef;

/// Columns that do not grow, with one blank after each: time, direction, path, verdict, bytes, time taken.
const FIXED: usize = 12 + 4 + 11 + 9 + 9 + 5 + 8;

/// Where the line of a request begins: under its source.
const INDENT: usize = 18;

/// Draws flow records.
#[derive(Debug)]
pub(super) struct FlowTable {
    style: Style,
    source: usize,
    destination: usize,
    why: usize,
    has_header: bool,
}

/// What a line shows of a record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Flow {
    time: String,
    direction: String,
    source: End,
    destination: End,
    path: String,
    verdict: String,
    reason: Option<String>,
    http: Option<Request>,
    grpc: Option<Call>,
    user: Option<User>,
    trace_id: Option<String>,
    policy: Option<PolicyRef>,
    audit: Option<PolicyRef>,
    tls: Option<serde_json::Value>,
    bytes_sent: u64,
    bytes_received: u64,
    connect_us: Option<u64>,
    duration_us: Option<u64>,
    lost: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct End {
    namespace: Option<String>,
    pod: Option<String>,
    workload: Option<String>,
    service: Option<String>,
    address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request {
    method: String,
    host: String,
    path: String,
    status: Option<u16>,
    retries: Option<u32>,
    route: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call {
    status: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    issuer: String,
    subject: String,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status} ")?,
            None => f.write_str("no answer ")?,
        }
        write!(f, "{} {}{}", self.method, self.host, self.path)
    }
}

impl FlowTable {
    pub(super) fn new(style: Style) -> Self {
        let elastic = style.width.saturating_sub(FIXED).max(30);
        let source = elastic * 18 / 62;
        let why = elastic * 20 / 62;
        Self { style, source, destination: elastic - source - why, why, has_header: false }
    }

    /// Whether nothing was drawn.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_header
    }

    /// The line for one line of JSON; the first comes under its header.
    pub(super) fn line(&mut self, json: &[u8]) -> String {
        let flow: Flow = match serde_json::from_slice(json) {
            Ok(flow) => flow,
            Err(error) => return format!("? a line that is no flow record: {error}\n"),
        };
        let mut out = if self.has_header { String::new() } else { self.header() };
        self.has_header = true;
        out.push_str(&match flow.lost {
            Some(lost) => {
                let words = format!("... {lost} records were lost: they came faster than they were read");
                self.style.paint(colour::DOUBTFUL, &words)
            }
            None => self.record(&flow),
        });
        if let Some(request) = &flow.http {
            let room = self.style.width.saturating_sub(INDENT + 2).max(30);
            for (number, line) in flow.about(request, room).iter().enumerate() {
                let begin = if number == 0 { '└' } else { ' ' };
                let _ = write!(out, "\n{:INDENT$}{begin} {}", "", line.trim_end());
            }
        }
        out.push('\n');
        out
    }

    fn header(&self) -> String {
        let line = self.columns([
            "TIME (UTC)",
            "DIR",
            "SOURCE",
            "DESTINATION",
            "PATH",
            "VERDICT",
            "REASON/POLICY",
            "SENT/RCVD",
            " TOOK",
        ]);
        self.style.paint(colour::HEADER, line.trim_end()) + "\n"
    }

    fn record(&self, flow: &Flow) -> String {
        let direction = match flow.direction.as_str() {
            "outbound" => "out→",
            "inbound" => "in←",
            _ => "?",
        };
        let path = if flow.tls.is_some() { format!("{} mTLS", flow.path) } else { flow.path.clone() };
        let moved = format!("{}/{}", human::bytes(flow.bytes_sent), human::bytes(flow.bytes_received));
        let took = flow.duration_us.or(flow.connect_us).map_or_else(|| "-".into(), human::micros);
        let line = self.columns([
            &clean(flow.time.get(11..23).unwrap_or("?")),
            direction,
            &flow.source.name(false),
            &flow.destination.name(true),
            &clean(&path),
            &clean(&flow.verdict),
            &flow.why(),
            &format!("{moved:>9}"),
            &format!("{took:>5}"),
        ]);
        self.coloured(line.trim_end(), &flow.verdict)
    }

    /// Columns at their widths, one blank between them.
    fn columns(&self, cells: [&str; 9]) -> String {
        let widths = [12, 4, self.source, self.destination, 11, 9, self.why, 9, 5];
        let drawn: Vec<String> = cells
            .into_iter()
            .zip(widths)
            // The two columns with characters beyond ASCII, arrows and µ, never need to be shortened.
            .map(|(cell, width)| if cell.is_ascii() { fit(cell, width) } else { cell.to_owned() })
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        drawn.join(" ")
    }

    /// The verdict's word in its colour.
    fn coloured(&self, line: &str, verdict: &str) -> String {
        let code = match verdict {
            "forwarded" => colour::GOOD,
            "denied" | "failed" => colour::BAD,
            _ => colour::DOUBTFUL,
        };
        // Sought after the names before it, which may hold the same word.
        let names = 12 + 1 + 4 + 1 + self.source + 1 + self.destination + 1 + 11 + 1;
        let at = line.char_indices().nth(names).map_or(line.len(), |(at, _)| at);
        match line[at..].split_once(' ') {
            Some((word, rest)) if self.style.colour => {
                format!("{}{} {rest}", &line[..at], self.style.paint(code, word))
            }
            _ => line.to_owned(),
        }
    }
}

impl End {
    /// `namespace/pod`, or the next best name; with the port where `port` is wanted.
    fn name(&self, port: bool) -> String {
        let address = self.address.as_deref().unwrap_or("?");
        let (host, number) = address.rsplit_once(':').unwrap_or((address, ""));
        let name = match (&self.namespace, self.pod.as_ref().or(self.workload.as_ref())) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.clone(),
            _ => self.service.clone().unwrap_or_else(|| host.to_owned()),
        };
        clean(&if port && !number.is_empty() { format!("{name}:{number}") } else { name })
    }
}

impl Flow {
    /// What was asked and answered, and what else is known of the request: on as few lines of `room` characters as it
    /// fits on, each part whole where one line has room for it.
    fn about(&self, request: &Request, room: usize) -> Vec<String> {
        let grpc = self.grpc.as_ref().and_then(|call| call.status);
        let retries = request.retries.filter(|retries| *retries > 0);
        let parts = [
            Some(request.to_string()),
            grpc.map(|status| format!("grpc-status {status}")),
            request.route.as_ref().map(|route| format!("route {route}")),
            retries.map(|retries| format!("{retries} {}", if retries == 1 { "retry" } else { "retries" })),
            self.user.as_ref().map(|user| {
                format!("user {}", if user.subject.is_empty() { &user.issuer } else { &user.subject })
            }),
            self.trace_id.as_ref().map(|id| format!("trace {id}")),
        ];
        let mut lines: Vec<String> = Vec::new();
        for part in parts.into_iter().flatten() {
            let part = fit(&clean(&part), room);
            match lines.last_mut() {
                Some(line) if line.len() + 2 + part.len() <= room => {
                    line.push_str("  ");
                    line.push_str(&part);
                }
                _ => lines.push(part),
            }
        }
        lines
    }

    /// What a person wants to know next: the reason, or the policy that decided.
    fn why(&self) -> String {
        let reason = self.reason.as_deref().filter(|reason| *reason != "policy_denied");
        let policy = if self.verdict == "audited" { self.audit.as_ref() } else { self.policy.as_ref() };
        clean(&match (reason, policy) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(policy)) => policy_name(policy),
            (None, None) if self.reason.is_some() => "policy_denied".into(),
            (None, None) if self.path == "passthrough" => "-".into(),
            (None, None) => "no policy".into(),
        })
    }
}

/// `namespace/name[rule]`, or the tier whose default decided.
pub(super) fn policy_name(policy: &PolicyRef) -> String {
    if policy.name.is_empty() {
        return format!("{} default", policy.tier);
    }
    let rule = policy.rule.map_or_else(String::new, |rule| format!("[{rule}]"));
    format!("{}/{}{rule}", policy.namespace, policy.name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flows::record::{Direction, FlowRecord, Path, Peer, Reason, UserInfo, Verdict, samples};

    const PLAIN: Style = Style { colour: false, width: 120 };

    fn lines(flows: &[FlowRecord], style: Style) -> String {
        let mut table = FlowTable::new(style);
        flows.iter().map(|flow| table.line(&serde_json::to_vec(flow).expect("JSON"))).collect()
    }

    #[test]
    fn a_table_is_readable_at_a_glance() {
        let mut inbound = samples::plain();
        inbound.direction = Direction::Inbound;
        inbound.source = Peer { address: inbound.source.address, ..Peer::default() };
        inbound.path = Path::Proxy;
        (inbound.bytes_sent, inbound.bytes_received, inbound.duration_us) = (1_200, 3_400_000, Some(310));
        let mut audited = samples::full();
        audited.request = None;
        (audited.verdict, audited.reason, audited.policy) = (Verdict::Audited, None, None);
        audited.destination.pod = Some("checkout-7d9f8c6b5-x2x4z".into());
        let mut failed = samples::plain();
        (failed.verdict, failed.reason) = (Verdict::Failed, Some(Reason::UpstreamUnreachable));
        failed.destination =
            Peer { service: Some("shop/pay".into()), address: failed.destination.address, ..Peer::default() };
        let text = lines(&[samples::full(), inbound, audited, failed], PLAIN);
        assert_eq!(
            format!("\n{text}"),
            r"
TIME (UTC)   DIR  SOURCE             DESTINATION              PATH        VERDICT   REASON/POLICY        SENT/RCVD  TOOK
03:04:05.678 out→ shop/cart-0        shop/pay-0:8080          tunnel mTLS denied    shop/pay-callers[0]     5B/17B 5.0ms
                  └ 403 GET pay/v1/pay/1  grpc-status 7  route shop/pay/0  1 retry  user ann
                    trace 4bf92f3577b34da6a3ce929d0e0e4736
03:04:05.678 in←  10.244.1.2         shop/pay-0:8080          proxy       forwarded no policy            1.2K/3.4M 310µs
03:04:05.678 out→ shop/cart-0        shop/checko..-x2x4z:8080 tunnel mTLS audited   shop/pay-audit[1]       5B/17B 5.0ms
03:04:05.678 out→ shop/cart-0        shop/pay:8080            tunnel      failed    upstream_unreachable     0B/0B     -
"
        );
    }

    #[test]
    fn a_request_shows_what_is_known_of_it_and_nothing_else() {
        let mut flow = samples::full();
        let request = flow.request.as_mut().expect("a request");
        (request.grpc, request.http.route, request.user, request.http.status) = (None, None, None, None);
        request.http.retries = Some(2);
        flow.trace_id = None;
        let text = lines(&[flow.clone()], PLAIN);
        assert!(text.ends_with("\n                  └ no answer GET pay/v1/pay/1  2 retries\n"), "{text}");
        let request = flow.request.as_mut().expect("a request");
        let (issuer, subject) = ("https://id.example".into(), "".into());
        (request.http.retries, request.user) = (None, Some(UserInfo { issuer, subject }));
        let text = lines(&[flow], PLAIN);
        assert!(text.ends_with("└ no answer GET pay/v1/pay/1  user https://id.example\n"), "{text}");
    }

    #[test]
    fn only_the_verdict_is_coloured() {
        let text = lines(&[samples::full()], Style { colour: true, width: 120 });
        assert!(text.contains("tunnel mTLS \x1b[31mdenied\x1b[0m    shop/pay-callers[0]"), "{text:?}");
    }

    #[test]
    fn a_loss_and_a_line_that_is_no_record_are_said_in_words() {
        let mut table = FlowTable::new(PLAIN);
        assert!(
            table
                .line(b"{\"lost\":12}\n")
                .ends_with("... 12 records were lost: they came faster than they were read\n")
        );
        assert!(table.line(b"<html>\n").starts_with("? a line that is no flow record"));
    }

    #[test]
    fn words_of_another_version_are_shown_as_they_are() {
        let mut table = FlowTable::new(PLAIN);
        let json = br#"{"verdict":"delayed","path":"mesh","new":1,"source":{"zone":"a"}}"#;
        let line = table.line(json);
        assert!(line.contains(" mesh ") && line.contains(" delayed "), "{line}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_120_columns(
            names in proptest::collection::vec("\\PC{0,70}", 8),
            sent: u64, received: u64, duration: Option<u64>,
            verdict in 0usize..4, path in 0usize..4, reason in proptest::option::of(0usize..18),
        ) {
            let mut flow = samples::full();
            let name = |index: usize| Some(names[index].as_str().into());
            (flow.source.namespace, flow.source.pod) = (name(0), name(1));
            (flow.destination.namespace, flow.destination.pod) = (name(2), name(3));
            flow.destination.address = Some("[fd10:1111:2222:3333:4444:5555:6666:7777]:65535".parse().expect("an address"));
            let policy = flow.policy.as_mut().expect("a policy");
            (policy.namespace, policy.name) = (names[4].as_str().into(), names[5].as_str().into());
            let request = flow.request.as_mut().expect("a request");
            request.http.path = names[6].as_str().into();
            request.http.route = name(7);
            request.user.as_mut().expect("a user").subject = names[0].as_str().into();
            (flow.bytes_sent, flow.bytes_received, flow.duration_us) = (sent, received, duration);
            flow.verdict = Verdict::ALL[verdict];
            flow.path = Path::ALL[path];
            flow.reason = reason.map(|reason| Reason::ALL[reason]);
            if path != 2 {
                flow.tls = None;
            }
            for line in lines(&[flow], Style { colour: false, width: 120 }).lines() {
                prop_assert!(line.chars().count() <= 120, "{} {line}", line.chars().count());
            }
        }
    }
}
