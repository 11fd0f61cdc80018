//! The API's paths and what each answers.
//!
//! Entry point: [`answer`]. Lists are JSON lines, one object a line; errors are one object that names the
//! parameter at fault. Documented in `docs/api.md`.

use std::{convert::Infallible, time::SystemTime};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, Response, StatusCode, Uri, body::Frame, header};
use serde::Serialize;

use super::{
    AdminSource, query,
    report::{ErrorReport, ExplainError},
};
use crate::{
    flows::{FlowQuery, Flows, read::FlowCursor},
    serve::{Body, respond},
};

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
