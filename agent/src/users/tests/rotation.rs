//! When keys are fetched and which are kept: rotation, outage, floors and bounds. The time is made up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::fixtures::{Signer, ed25519, key_set};
use crate::users::{
    Reach, Source,
    keys::Keys,
    store::{MOST_SOURCES, Store, Wish},
};

const MINUTE: Duration = Duration::from_secs(60);

fn source(name: &str) -> Arc<Source> {
    let uri = format!("https://{name}/keys").parse().expect("a URI");
    Arc::new(Source::new(uri, None, 300_000, Reach::Network))
}

/// A store that fetches the one source `id`, and a clock.
struct Issuer {
    store: Store,
    source: Arc<Source>,
    now: Instant,
}

impl Issuer {
    fn new() -> Self {
        let mut issuer = Self { store: Store::new(7), source: source("id"), now: Instant::now() };
        issuer.store.use_only(&[issuer.source.clone()], issuer.now);
        issuer
    }

    fn later(&mut self, by: Duration) -> &mut Self {
        self.now += by;
        self
    }

    /// Whether a fetch is started now.
    fn starts(&mut self) -> bool {
        !self.store.start_due(self.now).is_empty()
    }

    fn answers(&mut self, keys: &[&Signer]) -> bool {
        let jwks: Vec<_> = keys.iter().map(|key| key.jwk("a")).collect();
        self.store.finished(self.source.id(), Ok(key_set(&jwks)), self.now)
    }

    fn fails(&mut self) {
        assert!(!self.store.finished(self.source.id(), Err("down".into()), self.now));
    }

    /// How many keys there are.
    fn keys(&self) -> Option<usize> {
        self.store.ring().of(&Keys::Fetched(self.source.clone())).map(|keys| keys.len())
    }

    fn wants(&mut self) -> Wish {
        self.store.want(&self.source, self.now)
    }
}

#[test]
fn a_new_source_is_fetched_at_once_and_then_at_its_own_pace() {
    let key = ed25519();
    let mut issuer = Issuer::new();
    assert_eq!(issuer.keys(), None);
    assert!(issuer.starts());
    assert!(!issuer.starts(), "one at a time");
    assert!(issuer.answers(&[&key]));
    assert_eq!(issuer.keys(), Some(1));
    assert!(
        !issuer.later(4 * MINUTE - Duration::from_secs(1)).starts(),
        "five minutes, less at most a fifth"
    );
    assert!(issuer.later(MINUTE + Duration::from_secs(1)).starts());
    assert!(!issuer.answers(&[&key]), "the same keys are no change");
    assert_eq!((issuer.store.counts().fetched, issuer.store.counts().changed), (2, 1));
}

#[test]
fn the_same_keys_stay_the_same_set_and_new_ones_do_not() {
    let (old, new) = (ed25519(), ed25519());
    let mut issuer = Issuer::new();
    let set = |issuer: &Issuer| issuer.store.ring().of(&Keys::Fetched(issuer.source.clone())).cloned();
    issuer.starts();
    issuer.answers(&[&old]);
    let first = set(&issuer).expect("keys");
    issuer.later(5 * MINUTE).starts();
    issuer.answers(&[&old]);
    assert!(Arc::ptr_eq(&first, &set(&issuer).expect("keys")), "what was verified stays verified");
    issuer.later(5 * MINUTE).starts();
    assert!(issuer.answers(&[&new]));
    assert!(!Arc::ptr_eq(&first, &set(&issuer).expect("keys")));
}

#[test]
fn the_last_good_set_is_kept_while_the_issuer_is_down() {
    let mut issuer = Issuer::new();
    issuer.starts();
    issuer.answers(&[&ed25519()]);
    for _ in 0..1_000 {
        issuer.later(5 * MINUTE);
        assert!(issuer.starts());
        issuer.fails();
        assert_eq!(issuer.keys(), Some(1));
    }
    let status = issuer.store.status(issuer.now).remove(0);
    assert_eq!((status.keys, status.failures, status.error.as_deref()), (Some(1), 1_000, Some("down")));
    assert_eq!(status.age, Some(5_000 * MINUTE));
    issuer.later(5 * MINUTE).starts();
    issuer.answers(&[&ed25519(), &ed25519()]);
    assert_eq!(issuer.keys(), Some(2));
    let status = issuer.store.status(issuer.now).remove(0);
    assert_eq!((status.failures, status.error, status.age), (0, None, Some(Duration::ZERO)));
}

#[test]
fn a_failure_is_tried_again_soon_and_then_less_and_less_often() {
    let mut issuer = Issuer::new();
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert!(issuer.starts());
        issuer.fails();
        let next = issuer.store.next_due().expect("a next time");
        waits.push((next - issuer.now).as_secs_f64());
        issuer.now = next;
    }
    for (wait, whole) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
        assert!((whole * 0.8..=whole).contains(wait), "{waits:?}");
    }
}

#[test]
fn an_unknown_key_brings_a_fetch_but_never_two_within_the_floor() {
    let mut issuer = Issuer::new();
    issuer.starts();
    assert_eq!(issuer.wants(), Wish::Round(1), "the one that runs will do");
    issuer.answers(&[&ed25519()]);
    assert!(issuer.store.has_ended(issuer.source.id(), 1));
    issuer.later(Duration::from_secs(9));
    for _ in 0..100 {
        assert_eq!(issuer.wants(), Wish::Not);
    }
    assert_eq!(issuer.store.counts().floored, 100);
    assert!(!issuer.starts());
    issuer.later(Duration::from_secs(1));
    assert_eq!(issuer.wants(), Wish::Round(2));
    assert!(issuer.starts());
    assert_eq!(issuer.wants(), Wish::Round(2));
    assert!(!issuer.store.has_ended(issuer.source.id(), 2));
    issuer.answers(&[&ed25519()]);
    assert!(issuer.store.has_ended(issuer.source.id(), 2));
    assert_eq!(issuer.wants(), Wish::Not);
}

#[test]
fn an_issuer_that_is_down_is_not_asked_for_each_bad_token() {
    let mut issuer = Issuer::new();
    let mut fetches = 0;
    // A bad token each tenth of a second, for ten minutes.
    for _ in 0..6_000 {
        issuer.wants();
        if issuer.starts() {
            fetches += 1;
            issuer.fails();
        }
        issuer.later(Duration::from_millis(100));
    }
    assert!((10..=20).contains(&fetches), "{fetches}");
}

#[test]
fn a_source_that_nobody_uses_any_more_is_forgotten_even_while_it_is_fetched() {
    let mut issuer = Issuer::new();
    issuer.starts();
    issuer.answers(&[&ed25519()]);
    issuer.later(5 * MINUTE).starts();
    assert!(issuer.store.use_only(&[], issuer.now));
    assert_eq!(issuer.keys(), None);
    assert!(!issuer.answers(&[&ed25519()]));
    assert_eq!((issuer.keys(), issuer.store.next_due()), (None, None));
    assert!(issuer.store.has_ended(issuer.source.id(), 9), "nobody waits for it");
    issuer.store.use_only(&[issuer.source.clone()], issuer.now);
    assert!(issuer.starts());
}

#[test]
fn sources_and_fetches_at_a_time_are_bounded() {
    let now = Instant::now();
    let mut store = Store::new(0);
    let sources: Vec<_> = (0..MOST_SOURCES + 3).map(|at| source(&format!("id{at}"))).collect();
    store.use_only(&sources, now);
    assert_eq!((store.status(now).len(), store.turned_away()), (MOST_SOURCES, 3));
    let started = store.start_due(now);
    assert_eq!((started.len(), store.start_due(now).len(), store.next_due()), (8, 0, None));
    let keys = key_set(&[ed25519().jwk("a")]);
    store.finished(started[0].id(), Ok(keys), now);
    assert_eq!(store.start_due(now).len(), 1);
    assert_eq!(store.want(&source("one-more"), now), Wish::Not);
    store.use_only(&sources[..2], now);
    assert_eq!((store.status(now).len(), store.turned_away()), (2, 0));
}

#[test]
fn a_source_comes_into_use_when_a_token_needs_it() {
    let now = Instant::now();
    let mut store = Store::new(0);
    assert_eq!(store.want(&source("id"), now), Wish::Round(1));
    assert_eq!(store.start_due(now).len(), 1);
}

#[test]
fn agents_do_not_fetch_in_step() {
    let now = Instant::now();
    let due = |seed| {
        let mut store = Store::new(seed);
        store.use_only(&[source("id")], now);
        store.start_due(now);
        store.finished(source("id").id(), Ok(key_set(&[json!(ed25519().jwk("a"))])), now);
        store.next_due().expect("a next time") - now
    };
    let dues: Vec<Duration> = (0..20).map(|seed| due(seed << 59 | seed)).collect();
    let (least, most) = (dues.iter().min().expect("some"), dues.iter().max().expect("some"));
    assert!(*least >= 4 * MINUTE && *most <= 5 * MINUTE && *most - *least > MINUTE / 3, "{dues:?}");
}
