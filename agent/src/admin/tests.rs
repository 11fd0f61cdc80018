//! The admin API over a real socket: what it answers, to whom, and what it refuses.

use std::path::{Path, PathBuf};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
};

use super::*;
use crate::{
    cli::client::{self, ClientError},
    cni::question::{self, Answer, Concern, Question},
    flows::{
        self, Recorder, RecorderOptions,
        filter::ParameterError,
        record::{FlowRecord, samples},
    },
};

struct Fake;

/// One with a desk.
struct Attending(Desk);

impl AdminSource for Fake {
    fn status(&self) -> StatusReport {
        let problem = |message: &str| Problem { message: message.into(), ..Problem::default() };
        StatusReport {
            node: "node-a".into(),
            ready: true,
            generation: 3,
            workloads: vec![WorkloadStatus { pod: "cart-0".into(), ..WorkloadStatus::default() }],
            problems: vec![problem("one"), problem("two")],
            ..StatusReport::default()
        }
    }

    fn audit(&self) -> Vec<AuditRow> {
        Vec::new()
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ExplainError> {
        let error = |field: &str, message: &str| ParameterError::new(field, "asked", message);
        match query.to.1.as_str() {
            "pay" => Ok(Explanation { to: "shop/pay".into(), port: query.port, ..Explanation::default() }),
            "absent" => Err(ExplainError::NotFound(error("to", "there is no such pod or Service"))),
            _ => Err(ExplainError::Bad(error("port", "the Service has no such port"))),
        }
    }
}

impl AdminSource for Attending {
    fn status(&self) -> StatusReport {
        Fake.status()
    }

    fn audit(&self) -> Vec<AuditRow> {
        Vec::new()
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ExplainError> {
        Fake.explain(query)
    }

    fn desk(&self) -> Option<&Desk> {
        Some(&self.0)
    }
}

/// A server on a socket in a directory of its own.
struct Server {
    socket: PathBuf,
    recorder: Recorder,
    metrics: Metrics,
    tasks: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn server(capacity: usize) -> Server {
    serving(Arc::new(Fake), capacity)
}

fn serving(source: Arc<dyn AdminSource>, capacity: usize) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("agent.sock");
    let (listener, file) = bind(&socket).expect("a socket");
    let metrics = Metrics::new("0");
    let (recorder, collector, flows) = flows::start(RecorderOptions::for_records(capacity), &metrics);
    let counted = metrics.clone();
    let api = async move {
        let _file = file;
        serve(listener, source, flows, &counted, std::future::pending()).await.expect("served");
    };
    let tasks = vec![tokio::spawn(collector.run()), tokio::spawn(api)];
    Server { socket, recorder, metrics, tasks, _directory: directory }
}

fn numbered(number: u64) -> FlowRecord {
    let mut flow = samples::full();
    flow.bytes_sent = number;
    flow
}

async fn lines(socket: &Path, path: &str) -> Vec<serde_json::Value> {
    let lines = client::get(socket, path).await.expect("an answer").all().await.expect("lines");
    lines.iter().map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

/// The status and the body of a bare request.
async fn bare(socket: &Path, request: &str) -> (u16, serde_json::Value) {
    let mut stream = UnixStream::connect(socket).await.expect("a connection");
    let head = format!("{request} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

#[tokio::test]
async fn flows_are_one_json_object_a_line_exactly_as_recorded() {
    let server = server(16);
    (0..3).for_each(|number| server.recorder.record(numbered(number)));
    server.recorder.flush().await;
    let expected: Vec<_> =
        (0..3).map(|number| serde_json::to_value(numbered(number)).expect("JSON")).collect();
    assert_eq!(lines(&server.socket, "/v1/flows").await, expected);
    assert_eq!(lines(&server.socket, "/v1/flows?last=1&verdict=denied").await, expected[2..]);
    assert!(lines(&server.socket, "/v1/flows?namespace=bank").await.is_empty());
}

#[tokio::test]
async fn a_follower_gets_what_comes_next_and_is_told_what_it_lost() {
    let server = server(4);
    let mut follower = client::get(&server.socket, "/v1/flows?follow=true").await.expect("an answer");
    let mut next = async || loop {
        if let Some(line) = follower.buffered() {
            return serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
        }
        assert!(follower.fill().await.expect("more"), "the stream ended");
    };
    server.recorder.record(numbered(1));
    assert_eq!(next().await["bytes_sent"], 1);

    // More than the ring holds, filed before the follower can look: this runtime has one thread.
    (0..10).for_each(|number| server.recorder.record(numbered(number)));
    let first = next().await;
    let lost = first["lost"].as_u64().expect("a loss comes first");
    assert_eq!(next().await["bytes_sent"], lost);
}

#[tokio::test]
async fn many_flows_are_streamed_whole() {
    let server = server(4096);
    (0..4096).for_each(|number| server.recorder.record(numbered(number)));
    server.recorder.flush().await;
    let lines = lines(&server.socket, "/v1/flows").await;
    let numbers: Vec<_> = lines.iter().filter_map(|line| line["bytes_sent"].as_u64()).collect();
    assert_eq!(numbers, (0..4096).collect::<Vec<_>>());
}

#[tokio::test]
async fn status_problems_audit_and_explain_answer_from_the_source() {
    let server = server(4);
    let status = lines(&server.socket, "/v1/status").await.remove(0);
    assert_eq!(serde_json::from_value::<StatusReport>(status).expect("a status"), Fake.status());
    assert_eq!(lines(&server.socket, "/v1/problems").await.len(), 2);
    assert!(lines(&server.socket, "/v1/policy/audit").await.is_empty());
    let answer = lines(&server.socket, "/v1/policy/explain?from=shop/cart-0&to=shop/pay&port=80").await;
    assert_eq!(answer[0]["port"], 80);
}

#[tokio::test]
async fn errors_have_a_status_and_name_the_parameter_and_its_value() {
    let server = server(4);
    for (request, status, field, value) in [
        ("GET /v1/flows?verdict=refused", 400, "verdict", "refused"),
        ("GET /v1/flows?since=soon", 400, "since", "soon"),
        ("GET /v1/flows?x=%zz", 400, "x", "%zz"),
        ("GET /v1/status?x=1", 400, "x", "1"),
        ("GET /v1/policy/explain?to=a/b&port=1", 400, "from", ""),
        ("GET /v1/policy/explain?from=a/b&to=a/absent&port=1", 404, "to", "asked"),
        ("GET /v1/policy/explain?from=a/b&to=a/b&port=1", 400, "port", "asked"),
    ] {
        let (found, body) = bare(&server.socket, request).await;
        assert_eq!(
            (found, &body["field"], &body["value"]),
            (status, &field.into(), &value.into()),
            "{request}"
        );
        assert!(body["error"].as_str().is_some_and(|error| error.len() > 10), "{body}");
    }
    assert_eq!(bare(&server.socket, "GET /metrics").await.0, 404);
    assert_eq!(bare(&server.socket, "POST /v1/flows").await.0, 405);
}

#[tokio::test]
async fn the_cni_plugin_is_answered_when_its_question_is() {
    let (desk, mut questions) = Desk::new();
    let server = serving(Arc::new(Attending(desk)), 4);
    let question =
        Question { pod: "cart-0".into(), addresses: vec![[10, 0, 0, 1].into()], ..Question::default() };
    let wanted = question.clone();
    let desk = tokio::spawn(async move {
        for answer in [
            Answer::Captured,
            Answer::NotEnrolled,
            Answer::Refused("no room".into()),
            Answer::Unknown("no word".into()),
        ] {
            let asked = questions.recv().await.expect("a question");
            assert_eq!((asked.concern, &asked.question), (Concern::Add, &wanted));
            asked.answer.send(answer).expect("somebody waits");
        }
    });
    let ask = async || client::post(&server.socket, question::ADD, &question).await?.all().await;
    for verdict in ["captured", "not_enrolled"] {
        let lines = ask().await.expect("an answer").concat();
        assert_eq!(lines, format!("{{\"verdict\":\"{verdict}\"}}\n").into_bytes());
    }
    for (wanted, words) in [(409, "no room"), (503, "no word")] {
        let refused = ask().await.expect_err("no admission");
        assert!(
            matches!(&refused, ClientError::Refused { status, message, .. } if (*status, &**message) == (wanted, words)),
            "{refused}"
        );
    }
    desk.await.expect("all was asked");
    let stopping = ask().await.expect_err("nobody is at the desk");
    assert!(matches!(stopping, ClientError::Refused { status: 503, .. }), "{stopping}");
}

#[tokio::test]
async fn what_is_no_question_of_the_cni_plugin_is_refused() {
    let (desk, _questions) = Desk::new();
    let server = serving(Arc::new(Attending(desk)), 4);
    for body in [serde_json::json!([]), serde_json::json!({"addresses": ["x"]}), "x".repeat(100_000).into()] {
        let refused = client::post(&server.socket, question::ADD, &body).await.expect_err("no question");
        assert!(matches!(refused, ClientError::Refused { status: 400, .. }), "{refused}");
    }
    assert_eq!(bare(&server.socket, "GET /v1/cni/add").await.0, 404);
    let without = self::server(4);
    let refused = client::post(&without.socket, question::ADD, &Question::default()).await;
    assert!(matches!(refused, Err(ClientError::Refused { status: 404, .. })));
}

#[tokio::test]
async fn the_client_tells_bad_use_from_no_agent_from_a_refusal() {
    let server = server(4);
    let bad_use = client::get(&server.socket, "/v1/flows?verdict=refused").await.expect_err("bad use");
    assert!(matches!(&bad_use, ClientError::BadUse(text) if text.contains("verdict=refused")), "{bad_use}");
    let refused = client::get(&server.socket, "/v2/flows").await.expect_err("no such path");
    assert!(matches!(refused, ClientError::Refused { status: 404, .. }), "{refused}");
    let nowhere = server.socket.with_file_name("nowhere.sock");
    let absent = client::get(&nowhere, "/v1/status").await.expect_err("no agent").to_string();
    assert!(absent.contains("nowhere.sock") && absent.contains("weir agent"), "{absent}");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_counted() {
    let server = server(4);
    let mut held = Vec::new();
    for _ in 0..LIMITS.connections {
        held.push(client::get(&server.socket, "/v1/flows?follow=true").await.expect("an answer"));
    }
    let refused = client::get(&server.socket, "/v1/status").await.expect_err("no room");
    assert!(matches!(refused, ClientError::BrokenOff { .. }), "{refused}");
    assert!(server.metrics.text().contains("weir_http_connections_refused_total{server=\"admin\"} 1\n"));
}

#[tokio::test]
async fn the_server_s_end_ends_its_connections_and_its_file() {
    let mut server = server(4);
    let mut follower = client::get(&server.socket, "/v1/flows?follow=true").await.expect("an answer");
    let api = server.tasks.pop().expect("the API's task");
    api.abort();
    assert!(api.await.expect_err("ended").is_cancelled());
    assert!(!matches!(follower.fill().await, Ok(true)));
    assert!(!server.socket.exists());
}
