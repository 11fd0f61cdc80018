//! When key sets are fetched, and which are kept. Pure: the time, and what was fetched, are parameters.
//!
//! Entry points: [`Store::use_only`], [`Store::start_due`], [`Store::finished`], [`Store::want`]. A set that was fetched
//! once stays until a better one comes, however long its issuer is down.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::keys::{KeyRing, KeySet, Source, SourceId};

/// More sources than this are not fetched.
pub(super) const MOST_SOURCES: usize = 256;
/// So many are fetched at a time.
const MOST_AT_ONCE: usize = 8;
/// An unknown key does not make a set be fetched sooner than this after the last time.
const FLOOR: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// All sources in use. One lock's worth of state.
#[derive(Debug)]
pub(super) struct Store {
    slots: BTreeMap<SourceId, Slot>,
    in_flight: usize,
    turned_away: usize,
    counts: FetchCounts,
    /// Spreads the fetches of many agents: differs from agent to agent.
    seed: u64,
}

/// How fetching went, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchCounts {
    /// Key sets that were fetched and could be used.
    pub fetched: u64,
    /// Fetches that failed, or brought nothing that could be used.
    pub failed: u64,
    /// Of the fetched ones, those that differed from the set before.
    pub changed: u64,
    /// Tokens with an unknown key for which nothing was fetched, because the last fetch was too short ago.
    pub floored: u64,
}

/// One source, as `weir status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Where the keys are.
    pub uri: String,
    /// How many there are; none before they could be fetched for the first time.
    pub keys: Option<usize>,
    /// How long ago they were last fetched.
    pub age: Option<Duration>,
    /// How many fetches failed since.
    pub failures: u32,
    /// Why the last one did.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Slot {
    source: Arc<Source>,
    keys: Option<Arc<KeySet>>,
    fetched: Option<Instant>,
    due: Instant,
    in_flight: bool,
    /// When the last fetch ended, and how many have.
    ended: Option<Instant>,
    rounds: u64,
    failures: u32,
    error: Option<String>,
}

/// What becomes of the wish for fresh keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// They will be there, or not, when so many rounds have ended.
    Round(u64),
    /// They would be the same: the last fetch was too short ago, or nobody fetches this source.
    Not,
}

impl Store {
    /// Nothing is in use.
    pub(super) fn new(seed: u64) -> Self {
        Self { slots: BTreeMap::new(), in_flight: 0, turned_away: 0, counts: FetchCounts::default(), seed }
    }

    /// From now on, these sources and no others are in use. Those that are new are due at once. Answers whether a
    /// key set went away.
    pub(super) fn use_only(&mut self, sources: &[Arc<Source>], now: Instant) -> bool {
        let wanted: BTreeMap<SourceId, &Arc<Source>> =
            sources.iter().map(|source| (source.id(), source)).collect();
        let before = self.slots.len();
        let in_flight = &mut self.in_flight;
        self.slots.retain(|id, slot| {
            let stays = wanted.contains_key(id);
            *in_flight -= usize::from(!stays && slot.in_flight);
            stays
        });
        let went = self.slots.len() < before;
        self.turned_away = 0;
        for (id, source) in wanted {
            if self.slots.contains_key(&id) {
                continue;
            }
            if self.slots.len() >= MOST_SOURCES {
                self.turned_away += 1;
                continue;
            }
            self.slots.insert(id, Slot::new(source.clone(), now));
        }
        went
    }

    /// What is to be fetched now; each must be answered with [`finished`](Self::finished).
    pub(super) fn start_due(&mut self, now: Instant) -> Vec<Arc<Source>> {
        let mut due: Vec<&mut Slot> =
            self.slots.values_mut().filter(|slot| !slot.in_flight && slot.due <= now).collect();
        due.sort_by_key(|slot| slot.due);
        let mut started = Vec::new();
        for slot in due.into_iter().take(MOST_AT_ONCE.saturating_sub(self.in_flight)) {
            slot.in_flight = true;
            started.push(slot.source.clone());
        }
        self.in_flight += started.len();
        started
    }

    /// When to ask [`start_due`](Self::start_due) again, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.in_flight >= MOST_AT_ONCE {
            return None;
        }
        self.slots.values().filter(|slot| !slot.in_flight).map(|slot| slot.due).min()
    }

    /// A fetch ended. Answers whether the keys differ from before.
    pub(super) fn finished(&mut self, id: SourceId, fetched: Result<KeySet, String>, now: Instant) -> bool {
        // One that is in use no more, or was taken out and in again meanwhile, has nobody who waits.
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.in_flight) else {
            return false;
        };
        self.in_flight -= 1;
        slot.in_flight = false;
        slot.ended = Some(now);
        slot.rounds += 1;
        match fetched {
            Ok(keys) => {
                self.counts.fetched += 1;
                slot.failures = 0;
                slot.error = None;
                slot.fetched = Some(now);
                let refresh = Duration::from_millis(slot.source.refresh);
                slot.due = now + jittered(refresh, self.seed, slot.rounds);
                let changed = slot.keys.as_deref() != Some(&keys);
                if changed {
                    self.counts.changed += 1;
                    slot.keys = Some(Arc::new(keys));
                }
                changed
            }
            Err(error) => {
                self.counts.failed += 1;
                slot.due = now + jittered(slot.retry(), self.seed, slot.rounds);
                slot.failures = slot.failures.saturating_add(1);
                slot.error = Some(error);
                false
            }
        }
    }

    /// Somebody has a token whose key is not known. Its source becomes due, unless it was fetched a short time ago.
    /// One that is not in use yet comes into use.
    pub(super) fn want(&mut self, source: &Arc<Source>, now: Instant) -> Wish {
        if !self.slots.contains_key(&source.id()) && self.slots.len() < MOST_SOURCES {
            self.slots.insert(source.id(), Slot::new(source.clone(), now));
        }
        let Some(slot) = self.slots.get_mut(&source.id()) else { return Wish::Not };
        if !slot.in_flight && slot.due > now {
            // While an issuer is down, it is asked at its due times and not once for each bad token.
            let floor = if slot.failures > 0 { slot.due } else { slot.ended.map_or(now, |at| at + FLOOR) };
            if now < floor {
                self.counts.floored += 1;
                return Wish::Not;
            }
            slot.due = now;
        }
        Wish::Round(slot.rounds + 1)
    }

    /// Whether so many fetches of the source have ended, or none ever will.
    pub(super) fn has_ended(&self, id: SourceId, round: u64) -> bool {
        self.slots.get(&id).is_none_or(|slot| slot.rounds >= round)
    }

    /// The key sets now.
    pub(super) fn ring(&self) -> KeyRing {
        KeyRing::new(self.slots.iter().filter_map(|(id, slot)| Some((*id, slot.keys.clone()?))))
    }

    /// How fetching went.
    pub(super) fn counts(&self) -> FetchCounts {
        self.counts
    }

    /// How many sources are in use beyond those that are fetched.
    pub(super) fn turned_away(&self) -> usize {
        self.turned_away
    }

    /// Every source.
    pub(super) fn status(&self, now: Instant) -> Vec<SourceStatus> {
        let status = |slot: &Slot| SourceStatus {
            uri: slot.source.to_string(),
            keys: slot.keys.as_ref().map(|keys| keys.len()),
            age: slot.fetched.map(|at| now.saturating_duration_since(at)),
            failures: slot.failures,
            error: slot.error.clone(),
        };
        self.slots.values().map(status).collect()
    }
}

impl Slot {
    fn new(source: Arc<Source>, due: Instant) -> Self {
        Self {
            source,
            keys: None,
            fetched: None,
            due,
            in_flight: false,
            ended: None,
            rounds: 0,
            failures: 0,
            error: None,
        }
    }

    /// How long to wait after one more failure; never longer than between two good fetches.
    fn retry(&self) -> Duration {
        let doubled = FIRST_RETRY * 2_u32.pow(self.failures.min(6));
        doubled.min(LONGEST_RETRY).min(Duration::from_millis(self.source.refresh).max(FIRST_RETRY))
    }
}

/// `duration`, less up to a fifth of it.
fn jittered(duration: Duration, seed: u64, round: u64) -> Duration {
    // One step of a splitmix generator: any spread will do.
    let mut mixed = seed ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let part = u32::try_from(mixed >> 54).unwrap_or(0);
    duration - duration / 5 * part / 1024
}
