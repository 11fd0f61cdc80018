//! What becomes of a kind that the API server does not know, or knows no longer. Time is tokio's, and jumps.

use std::{collections::BTreeMap, convert::Infallible};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{
    sync::{
        mpsc::{Receiver, channel},
        watch,
    },
    task::{AbortHandle, spawn},
};
use tower::service_fn;

use super::*;
use crate::source::kube::{Heard, OfKind};

const KIND: Kind = Kind::AccessPolicy;

/// A watch of a kind that an API server knows while it is `installed`, with one object.
struct Watched {
    installed: watch::Sender<bool>,
    told: Receiver<Message>,
    watch: AbortHandle,
}

impl Watched {
    fn start(installed: bool) -> Self {
        let (installed, known) = watch::channel(installed);
        let server = service_fn(move |request: Request<Body>| {
            let known = known.clone();
            async move { Ok::<_, Infallible>(answer(&request, known)) }
        });
        let (sender, told) = channel(16);
        let kinds = BTreeMap::from([(KIND, OfKind::default())]);
        let watch = Watch {
            kind: KIND,
            client: Client::new(server, "default"),
            streams: false,
            scope: Scope::default(),
            told: sender,
            status: Arc::new(Status { heard: Heard::new(), kinds }),
            common: Common::default(),
        };
        Self { installed, told, watch: spawn(watch.run()).abort_handle() }
    }

    /// What is told, but for that a list is asked for: it may not come.
    async fn next(&mut self) -> Told {
        loop {
            match self.told.recv().await.expect("the watch goes on").1 {
                Told::Listing => {}
                told => return told,
            }
        }
    }

    /// All there is was told.
    async fn listed(&mut self) {
        assert!(matches!(self.next().await, Told::Is(..)));
        assert_eq!(self.next().await, Told::Listed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// A list, or a watch in which nothing happens until the kind is taken away, which ends it.
fn answer(request: &Request<Body>, mut known: watch::Receiver<bool>) -> Response<Answer> {
    let json = |status: StatusCode, value: Value| {
        let body = Full::from(value.to_string()).boxed_unsync();
        Response::builder().status(status).body(body).expect("an answer")
    };
    if !*known.borrow_and_update() {
        let unknown = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
            "reason": "NotFound", "message": "the server could not find the requested resource",
        });
        return json(StatusCode::NOT_FOUND, unknown);
    }
    if !request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        let object = json!({"metadata": {"namespace": "shop", "name": "callers", "resourceVersion": "1"}});
        let list = json!({
            "kind": "AccessPolicyList", "apiVersion": "weir.dev/v1alpha1", "metadata": {"resourceVersion": "1"},
            "items": [object],
        });
        return json(StatusCode::OK, list);
    }
    let it_goes = async move {
        // Whoever could take it away may be gone, which is as good.
        let _ = known.wait_for(|known| !known).await;
        None
    };
    Response::new(Empty::new().with_trailers(it_goes).boxed_unsync())
}

#[tokio::test(start_paused = true)]
async fn the_objects_of_a_kind_that_is_taken_away_stay_in_force_for_a_while() {
    let mut watched = Watched::start(true);
    watched.listed().await;
    watched.installed.send_replace(false);
    let began = Instant::now();
    assert_eq!(watched.next().await, Told::Absent);
    let waited = began.elapsed();
    assert!((DOUBT..DOUBT + 2 * ABSENT).contains(&waited), "{waited:?}");

    // And when it comes again, so do they.
    watched.installed.send_replace(true);
    watched.listed().await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_comes_again_in_time_was_never_away() {
    let mut watched = Watched::start(true);
    watched.listed().await;
    for _ in 0..3 {
        watched.installed.send_replace(false);
        sleep(DOUBT / 2).await;
        watched.installed.send_replace(true);
        watched.listed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_was_never_there_has_no_objects_at_once() {
    let mut watched = Watched::start(false);
    let began = Instant::now();
    assert_eq!(watched.next().await, Told::Absent);
    assert!(began.elapsed() < ABSENT);
    watched.installed.send_replace(true);
    loop {
        match watched.next().await {
            Told::Absent => {}
            told => break assert!(matches!(told, Told::Is(..)), "{told:?}"),
        }
    }
}
