//! Fixtures: a mesh with Services, routes written in YAML, and requests that read like requests.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    policy::FieldError,
    state::{
        Change, Event, Object, Settings, Snapshot, State,
        input::{PortSpec, ServiceSpec, TargetPort},
        model::NamespacedName,
        routes::{
            ConditionType, Outcome, ParentStatus, ReferenceGrant, RequestUrl, RequestView, Route, RouteKey,
            RouteKind, RouteMeta, Scheme,
        },
    },
};

pub(super) const HTTP: RouteKind = RouteKind::Http;
pub(super) const GRPC: RouteKind = RouteKind::Grpc;

pub(super) fn named(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    NamespacedName::new(namespace, name)
}

pub(super) fn yaml(text: &str) -> Value {
    serde_norway::from_str(text).expect("YAML")
}

pub(super) fn read(kind: RouteKind, key: &str, created: i64, spec: &str) -> Result<Route, Vec<FieldError>> {
    let meta = RouteMeta { created: Some(created), generation: Some(7) };
    let read = if kind == HTTP { Route::http } else { Route::grpc };
    read(named(key), meta, yaml(spec))
}

/// A Service with the ports `80`, named `http`, and `8080`, named `alt`.
pub(super) fn service(key: &str) -> ServiceSpec {
    let port = |port, name: &str| PortSpec {
        port,
        name: name.into(),
        app_protocol: None,
        target: TargetPort::Number(port),
    };
    ServiceSpec {
        key: named(key),
        addresses: vec!["10.96.0.1".parse().expect("an address")],
        ports: vec![port(80, "http"), port(8080, "alt")],
        selector: BTreeMap::new(),
        publish_not_ready: false,
    }
}

/// A mesh with the Services `shop/pay`, `shop/v1`, `shop/v2` and `bank/ledger`.
pub(super) struct Mesh(pub(super) State);

impl Mesh {
    pub(super) fn new() -> Self {
        let mut mesh = Self(State::new(Settings::default()));
        for key in ["shop/pay", "shop/v1", "shop/v2", "bank/ledger"] {
            mesh.put(service(key));
        }
        mesh
    }

    pub(super) fn put(&mut self, object: impl Into<Object>) -> Vec<Change> {
        self.0.apply(Event::Apply(object.into()))
    }

    pub(super) fn delete(&mut self, object: impl Into<Object>) -> Vec<Change> {
        self.0.apply(Event::Delete(object.into().key()))
    }

    /// An HTTPRoute with these rules at `shop/pay`.
    pub(super) fn rules(&mut self, key: &str, created: i64, rules: &str) {
        let spec = format!("parentRefs: [{PAY}]\nrules:\n{rules}");
        self.put(read(HTTP, key, created, &spec).expect("a right route"));
    }

    pub(super) fn http(&mut self, key: &str, spec: &str) -> Vec<Change> {
        self.put(read(HTTP, key, 1, spec).expect("a right route"))
    }

    pub(super) fn grpc(&mut self, key: &str, spec: &str) -> Vec<Change> {
        self.put(read(GRPC, key, 1, spec).expect("a right route"))
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    /// What becomes of a request that a client in `shop` sends to port 80 of `shop/pay`.
    pub(super) fn ask(&self, request: &Request) -> String {
        self.ask_from("shop", 80, request)
    }

    /// `as is`, `404`, `500`, `301 https://…`, or the backend and rule: `shop/v1:80 by shop/r/0`.
    pub(super) fn ask_from(&self, namespace: &str, port: u16, request: &Request) -> String {
        let snapshot = self.snapshot();
        let Some(routes) = snapshot.routes(namespace, &named("shop/pay"), port) else {
            return "as is".into();
        };
        let Some(rule) = routes.find(&request.view()) else {
            return "404".into();
        };
        match rule.outcome(0) {
            Outcome::Fail(_) => "500".into(),
            Outcome::Redirect(redirect) => {
                let RequestView { host, path, query, .. } = request.view();
                let url = RequestUrl { scheme: Scheme::Http, host, port, path, query };
                format!("{} {}", redirect.status, redirect.location(&url))
            }
            Outcome::Forward(to, _) => format!("{}:{} by {}", to.service, to.port, rule.reference),
        }
    }

    /// What is said of a route at its parents, by parent.
    pub(super) fn statuses(&self, kind: RouteKind, key: &str) -> Vec<ParentStatus> {
        let key = RouteKey { kind, name: named(key) };
        let snapshot = self.snapshot();
        let mut statuses: Vec<_> =
            snapshot.route_statuses().filter(|status| status.route == key).cloned().collect();
        statuses.sort_by_key(|status| status.parent.index);
        statuses
    }

    /// `Accepted` at the only parent, `ResolvedRefs=BackendNotFound PartiallyInvalid=UnsupportedValue`, …:
    /// each condition that is not simply as it should be.
    pub(super) fn said(&self, kind: RouteKind, key: &str) -> String {
        let statuses = self.statuses(kind, key);
        let [status] = &statuses[..] else {
            panic!("one parent: {statuses:?}");
        };
        assert_eq!(status.generation, Some(7));
        let good = |kind| kind != ConditionType::PartiallyInvalid;
        let bad = status.conditions.iter().filter(|of| of.status != good(of.kind) || !good(of.kind));
        let words: Vec<_> = bad.map(|of| format!("{}={}", of.kind.word(), of.reason.word())).collect();
        if words.is_empty() { "good".into() } else { words.join(" ") }
    }
}

/// A parent reference to `shop/pay` that stands in any namespace.
pub(super) const PAY: &str = "{group: '', kind: Service, name: pay, namespace: shop}";

pub(super) fn grant(key: &str, spec: &str) -> ReferenceGrant {
    ReferenceGrant::parse(named(key), yaml(spec)).expect("a right grant")
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    method: String,
    path: String,
    query: String,
    host: String,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

/// `GET` of a path with or without query.
pub(super) fn get(target: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: "GET".into(),
        path: path.into(),
        query: query.into(),
        host: "pay.shop".into(),
        headers: vec![],
    }
}

impl Request {
    pub(super) fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    pub(super) fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_string().into(), value.to_string().into()));
        self
    }

    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            host: &self.host,
            headers: &self.headers,
        }
    }
}
