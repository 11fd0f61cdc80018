//! Watches as agents have them, whose events are counted and thrown away.
//!
//! Entry point: [`watch`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};

const BEGIN: &str =
    "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&watch=true";
/// In the bookmark behind all that there was.
const WHOLE: &[u8] = b"k8s.io/initial-events-end";

/// What all of them have heard.
#[derive(Default)]
struct Heard {
    bytes: AtomicU64,
    events: AtomicU64,
    whole: AtomicU64,
    failed: AtomicU64,
    progress: Notify,
}

impl Heard {
    fn print(&self, nth: usize, began: Instant) {
        let [bytes, events, failed] =
            [&self.bytes, &self.events, &self.failed].map(|count| count.load(Relaxed));
        let seconds = began.elapsed().as_secs_f64();
        let said =
            json!({"nth": nth, "seconds": seconds, "bytes": bytes, "events": events, "failed": failed});
        println!("{said}");
    }
}

pub(super) async fn watch(client: &Client, count: usize, what: &str) -> Result<()> {
    let path = match what {
        "pods" => "/api/v1/pods",
        "slices" => "/apis/weir.dev/v1alpha1/namespaces/weir-system/workloadslices",
        _ => bail!("pods or slices"),
    };
    let (heard, began) = (Arc::new(Heard::default()), Instant::now());
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (client, heard, path) = (client.clone(), heard.clone(), path.to_owned());
        all.spawn(async move {
            while let Err(_error) = one(&client, &path, &heard).await {
                heard.failed.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(200 + fastrand::u64(..1000))).await;
            }
        });
    }
    while heard.whole.load(Relaxed) < count as u64 {
        heard.progress.notified().await;
    }
    heard.print(0, began);
    let mut nth = 0;
    let mut lines = super::lines();
    while lines.recv().await.is_some() {
        nth += 1;
        heard.print(nth, began);
    }
    Ok(())
}

async fn one(client: &Client, path: &str, heard: &Heard) -> Result<()> {
    let request = http::Request::get(format!("{path}?{BEGIN}")).body(kube::client::Body::empty())?;
    let answer = client.send(request).await?;
    if !answer.status().is_success() {
        bail!("{}", answer.status());
    }
    let mut body = answer.into_body().into_data_stream();
    let mut tail = Vec::new();
    let mut whole = false;
    while let Some(data) = body.next().await {
        let data = data.context("a watch broke off")?;
        heard.bytes.fetch_add(data.len() as u64, Relaxed);
        heard.events.fetch_add(data.iter().filter(|byte| **byte == b'\n').count() as u64, Relaxed);
        if !whole {
            tail.extend_from_slice(&data);
            if tail.windows(WHOLE.len()).any(|window| window == WHOLE) {
                whole = true;
                heard.whole.fetch_add(1, Relaxed);
                heard.progress.notify_one();
            }
            let keep = tail.len().saturating_sub(WHOLE.len());
            tail.drain(..keep);
        }
    }
    bail!("a watch ended")
}
