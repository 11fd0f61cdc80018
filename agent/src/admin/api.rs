//! The API's paths and what each answers.
//!
//! Entry points: [`answer`]; [`attend`] for what the CNI plugin asks. Lists are JSON lines, one object a line; errors are one object that names the
//! parameter at fault. Documented in `docs/api.md`.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::{
    Method, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    header,
};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    AdminSource, query,
    report::{ErrorReport, ExplainError},
};
use crate::{
    cni::question::{self, Admission, Answer, Concern},
    flows::{FlowQuery, Flows, read::FlowCursor},
    serve::{Body, respond},
};

/// Where a look at every pod is asked for.
pub(crate) const VERIFY: &str = "/v1/verify";

/// How long a look may take.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// The longest question that is read.
const LONGEST_QUESTION: usize = 64 * 1024;

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";

/// The answer to one request.
pub(super) fn answer(method: &Method, uri: &Uri, source: &dyn AdminSource, flows: &Flows) -> Response<Body> {
    if method != Method::GET {
        let report = ErrorReport { error: format!("{method}: only GET is answered"), ..Default::default() };
        return error(StatusCode::METHOD_NOT_ALLOWED, report);
    }
    let text = uri.query().unwrap_or_default();
    match uri.path() {
        "/v1/flows" => match query::flow_query(text, SystemTime::now()) {
            Ok(query) => stream_flows(flows, query),
            Err(bad) => error(StatusCode::BAD_REQUEST, bad.into()),
        },
        "/v1/policy/explain" => explain(text, source),
        "/v1/status" => without_query(text, || json(StatusCode::OK, &source.status())),
        "/v1/policy/audit" => without_query(text, || lines(&source.audit())),
        "/v1/problems" => without_query(text, || lines(&source.problems())),
        path => {
            let report =
                ErrorReport { error: format!("{path}: there is no such path"), ..Default::default() };
            error(StatusCode::NOT_FOUND, report)
        }
    }
}

/// Has every pod looked at, and says what was found.
pub(super) async fn verify(source: &dyn AdminSource) -> Response<Body> {
    let found = match source.looks() {
        Some(looks) => {
            let (tell, told) = oneshot::channel();
            let asked = looks.try_send(tell).is_ok();
            let look = async { if asked { told.await.ok() } else { None } };
            tokio::time::timeout(LONGEST_LOOK, look).await.ok().flatten()
        }
        None => None,
    };
    match found {
        Some(found) => json(StatusCode::OK, &found),
        None => {
            let busy = "the agent is too busy, or another one is taking over; try again".into();
            error(StatusCode::SERVICE_UNAVAILABLE, ErrorReport { error: busy, ..Default::default() })
        }
    }
}

/// What the CNI plugin wants, if this is a request of its.
pub(super) fn concern(method: &Method, uri: &Uri) -> Option<Concern> {
    let concerns =
        [(question::ADD, Concern::Add), (question::CHECK, Concern::Check), (question::DEL, Concern::Del)];
    let found = concerns.into_iter().find(|(path, _)| *path == uri.path());
    found.map(|(_, concern)| concern).filter(|_| method == Method::POST)
}

/// The answer to the CNI plugin.
pub(super) async fn attend(body: Incoming, concern: Concern, source: &dyn AdminSource) -> Response<Body> {
    let report = |error: String| ErrorReport { error, ..Default::default() };
    let Some(desk) = source.desk().cloned() else {
        let missing = report("this agent has no CNI plugin (--cni-conf-dir)".into());
        return error(StatusCode::NOT_FOUND, missing);
    };
    let body = match Limited::new(body, LONGEST_QUESTION).collect().await {
        Ok(body) => body.to_bytes(),
        Err(broken) => return error(StatusCode::BAD_REQUEST, report(broken.to_string())),
    };
    let question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(bad) => return error(StatusCode::BAD_REQUEST, report(format!("not such a question: {bad}"))),
    };
    match desk.ask(concern, question).await {
        Answer::Refused(why) => error(StatusCode::CONFLICT, report(why)),
        Answer::Unknown(why) => error(StatusCode::SERVICE_UNAVAILABLE, report(why)),
        answer => json(StatusCode::OK, &Admission { verdict: answer.word().into() }),
    }
}

fn explain(text: &str, source: &dyn AdminSource) -> Response<Body> {
    let asked = match query::explain_query(text) {
        Ok(asked) => asked,
        Err(bad) => return error(StatusCode::BAD_REQUEST, bad.into()),
    };
    match source.explain(&asked) {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(ExplainError::NotFound(bad)) => error(StatusCode::NOT_FOUND, bad.into()),
        Err(ExplainError::Bad(bad)) => error(StatusCode::BAD_REQUEST, bad.into()),
    }
}

fn without_query(text: &str, answer: impl FnOnce() -> Response<Body>) -> Response<Body> {
    match query::pairs(text).map(|pairs| pairs.into_iter().next()) {
        Ok(None) => answer(),
        Ok(Some((field, value))) => {
            let report = ErrorReport {
                error: "this path takes no parameters".into(),
                field: Some(field),
                value: Some(value),
            };
            error(StatusCode::BAD_REQUEST, report)
        }
        Err(bad) => error(StatusCode::BAD_REQUEST, bad.into()),
    }
}

/// One line for each record, and `{"lost":n}` where a reader was too slow. The body is made page by page as
/// the reader takes it.
fn stream_flows(flows: &Flows, query: FlowQuery) -> Response<Body> {
    let pages = stream::unfold(flows.read(query), |mut cursor: FlowCursor| async move {
        let page = cursor.next_page().await?;
        let mut text = Vec::new();
        if page.lost > 0 {
            push_line(&mut text, &serde_json::json!({"lost": page.lost}));
        }
        page.records.iter().for_each(|record| push_line(&mut text, record));
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), cursor))
    });
    let mut response = Response::new(StreamBody::new(pages).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(JSON_LINES));
    response
}

fn lines<T: Serialize>(rows: &[T]) -> Response<Body> {
    let mut text = Vec::new();
    rows.iter().for_each(|row| push_line(&mut text, row));
    respond(StatusCode::OK, JSON_LINES, text)
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    let mut text = Vec::new();
    push_line(&mut text, value);
    respond(status, JSON, text)
}

fn error(status: StatusCode, report: ErrorReport) -> Response<Body> {
    json(status, &report)
}

/// Appends `value` and a newline, or nothing when it has no JSON form: then its type is wrong, not its
/// value.
fn push_line<T: Serialize>(text: &mut Vec<u8>, value: &T) {
    let before = text.len();
    match serde_json::to_writer(&mut *text, value) {
        Ok(()) => text.push(b'\n'),
        Err(error) => {
            tracing::error!(%error, "a value has no JSON form");
            text.truncate(before);
        }
    }
}
