//! The `weir` binary against a real socket: what scripts rely on.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::SystemTime,
};

use tokio::sync::oneshot;

use weir_agent::{
    admin::{self, AdminSource, Answer, AuditRow, ExplainError, ExplainQuery, Explanation, StatusReport},
    flows::{
        self, Recorder, RecorderOptions,
        filter::ParameterError,
        record::{Direction, FlowRecord, Path, Peer, Verdict},
    },
    metrics::Metrics,
};

struct Fake;

impl AdminSource for Fake {
    fn status(&self) -> StatusReport {
        StatusReport { node: "node-a".into(), ready: true, ..StatusReport::default() }
    }

    fn audit(&self) -> Vec<AuditRow> {
        Vec::new()
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ExplainError> {
        if query.from.1 == "ghost" {
            return Err(ExplainError::NotFound(ParameterError::new(
                "from",
                "shop/ghost",
                "there is no such pod",
            )));
        }
        let allowed = query.from.1 == "cart-0";
        let answers = vec![Answer { allowed, ..Answer::default() }];
        Ok(Explanation { from: query.from.1.clone(), allowed, answers, ..Explanation::default() })
    }
}

/// An agent's API, without the agent.
struct Agent {
    socket: PathBuf,
    recorder: Recorder,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("agent.sock");
        let (listener, file) = admin::bind(&socket).expect("a socket");
        let metrics = Metrics::new("0");
        let (recorder, collector, flows) = flows::start(RecorderOptions::for_records(1000), &metrics);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let _file = file;
            runtime().block_on(async move {
                let collector = tokio::spawn(collector.run());
                let shutdown = async { drop(stopped.await) };
                admin::serve(listener, Arc::new(Fake), flows, &metrics, shutdown).await.expect("served");
                collector.abort();
            });
        });
        Self { socket, recorder, stop: Some(stop), server: Some(server), _directory: directory }
    }

    fn record(&self, count: u64) {
        for number in 0..count {
            let peer =
                |pod: &str| Peer { namespace: Some("shop".into()), pod: Some(pod.into()), ..Peer::default() };
            let ends = (peer("cart-0"), peer("pay-0"));
            let mut flow = FlowRecord::new(
                SystemTime::now(),
                "node-a".into(),
                Direction::Outbound,
                ends,
                Path::Tunnel,
                Verdict::Forwarded,
            );
            flow.bytes_sent = number;
            self.recorder.record(flow);
        }
        runtime().block_on(self.recorder.flush());
    }

    fn weir(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).env("WEIR_SOCKET", &self.socket).env_remove("COLUMNS");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.weir(args).output().expect("weir runs")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.server.take().map(JoinHandle::join);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn flows_as_json_are_lines_of_the_api_and_as_a_table_lines_under_one_header() {
    let agent = Agent::start();
    agent.record(3);
    let json = agent.run(&["flows", "-o", "json", "--last", "2"]);
    assert!(json.status.success());
    let sent: Vec<_> = text(&json.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["bytes_sent"].clone())
        .collect();
    assert_eq!(sent, [1, 2]);
    let table = text(&agent.run(&["flows"]).stdout);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.starts_with("TIME (UTC)") && !table.contains('\x1b'), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
}

#[test]
fn a_follower_prints_each_flow_as_it_comes() {
    let agent = Agent::start();
    agent.record(1);
    let mut follower = agent
        .weir(&["flows", "--follow", "--last", "1", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("weir runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("\"bytes_sent\":0"));
    agent.record(2);
    assert!(next().contains("\"bytes_sent\":0"));
    assert!(next().contains("\"bytes_sent\":1"));
    follower.kill().expect("it can be ended");
    follower.wait().expect("it ends");
}

#[test]
fn a_pipe_that_closes_early_is_no_error() {
    let agent = Agent::start();
    agent.record(1000);
    let mut command = agent
        .weir(&["flows", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir runs");
    let mut first = [0; 1];
    command.stdout.take().expect("its output").read_exact(&mut first).expect("a byte");
    let output = command.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_explanation_answers_with_its_exit_status() {
    let agent = Agent::start();
    for (from, status) in [("shop/cart-0", 0), ("shop/web-0", 1), ("shop/ghost", 2)] {
        let output = agent.run(&["policy", "explain", "--from", from, "--to", "shop/pay:80"]);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    }
    let ghost = agent.run(&["policy", "explain", "--from", "shop/ghost", "--to", "shop/pay:80"]);
    assert_eq!(text(&ghost.stderr), "weir: from=shop/ghost: there is no such pod\n");
}

#[test]
fn status_and_audit_answer_in_both_forms() {
    let agent = Agent::start();
    assert!(text(&agent.run(&["status"]).stdout).starts_with("node node-a: ready"));
    let json = agent.run(&["status", "-o", "json"]);
    assert_eq!(serde_json::from_slice::<StatusReport>(&json.stdout).expect("a status"), Fake.status());
    assert!(agent.run(&["policy", "audit"]).status.success());
}

#[test]
fn without_an_agent_one_line_says_what_to_do() {
    let agent = Agent::start();
    let nowhere = agent.socket.with_file_name("nowhere.sock");
    for command in [&["status"][..], &["flows"], &["policy", "audit"]] {
        let output = agent.weir(command).env("WEIR_SOCKET", &nowhere).output().expect("weir runs");
        assert_eq!(output.status.code(), Some(1));
        let words = text(&output.stderr);
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(words.contains("nowhere.sock") && words.contains("weir agent"), "{words}");
    }
}
