//! Tokens that were verified, so that a client's next request costs a hash and a look.
//!
//! Entry points: [`Cache::get`], [`Cache::put`]. What is remembered holds only as long as the very rule and the very key
//! set by which it was verified are in force, and the token is valid: keys that change void it without anybody
//! telling. Refused tokens are not remembered, so that nobody can fill it without a good one. Bounded by weight.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aws_lc_rs::digest;

use super::{
    keys::KeyRing,
    locate::Located,
    merge::Authentication,
    verify::{Proof, Verified},
};

const SHARDS: usize = 16;
/// Bytes of memory that all tokens together may take, as estimated by [`weight`].
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// What a token takes beside its texts: its place in the map, and the allocations.
const LEAST_WEIGHT: usize = 512;

/// By the SHA-256 of the token, and by the rules it was judged by.
type Key = ([u8; 32], u64);

/// Verified tokens. Shared by all workers; each lock is held for one look.
#[derive(Debug)]
pub(super) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    most_in_generation: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Two generations: when the younger one is full it becomes the older one, and what nobody asked for since is
/// forgotten.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Key, Proof>,
    young_weight: usize,
    old: HashMap<Key, Proof>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::holding(MOST_BYTES)
    }
}

impl Cache {
    /// A cache of at most `bytes`.
    pub(super) fn holding(bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            most_in_generation: bytes / SHARDS / 2,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// What the token proved before, if it still does.
    pub(super) fn get(
        &self,
        located: &Located<'_>,
        authentication: &Authentication,
        ring: &KeyRing,
        now: u64,
    ) -> Option<Arc<Verified>> {
        let key = key(located, authentication);
        let mut shard = self.shard(&key);
        let found = shard.take_fresh(&key, self.most_in_generation, |proof| {
            now < proof.verified.valid_until
                && located.is_at(&proof.rule.locations)
                && authentication.rules().iter().any(|rule| Arc::ptr_eq(rule, &proof.rule))
                && ring.of(&proof.rule.keys).is_some_and(|keys| Arc::ptr_eq(keys, &proof.keys))
        });
        drop(shard);
        if found.is_some() { &self.hits } else { &self.misses }.fetch_add(1, Relaxed);
        found
    }

    /// Remembers what a token proved.
    pub(super) fn put(&self, located: &Located<'_>, authentication: &Authentication, proof: Proof) {
        let weight = weight(&proof.verified);
        // One token must not drive out many.
        if weight > self.most_in_generation / 4 {
            return;
        }
        let key = key(located, authentication);
        self.shard(&key).put(key, proof, weight, self.most_in_generation);
    }

    /// How often a token was known, and how often not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(key.0[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let length = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(length).sum()
    }
}

impl Shard {
    fn take_fresh(
        &mut self,
        key: &Key,
        most: usize,
        holds: impl Fn(&Proof) -> bool,
    ) -> Option<Arc<Verified>> {
        if let Some(proof) = self.young.get(key) {
            if holds(proof) {
                return Some(proof.verified.clone());
            }
            let gone = self.young.remove(key);
            self.young_weight -= gone.map_or(0, |proof| weight(&proof.verified));
            return None;
        }
        let proof = self.old.remove(key).filter(holds)?;
        let verified = proof.verified.clone();
        self.put(*key, proof, weight(&verified), most);
        Some(verified)
    }

    fn put(&mut self, key: Key, proof: Proof, weight_of_it: usize, most: usize) {
        if self.young_weight + weight_of_it > most {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        self.old.remove(&key);
        self.young_weight += weight_of_it;
        if let Some(former) = self.young.insert(key, proof) {
            self.young_weight -= weight(&former.verified);
        }
    }
}

fn key(located: &Located<'_>, authentication: &Authentication) -> Key {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, located.token.as_bytes()).as_ref());
    (hash, authentication.bucket())
}

/// An estimate of the memory that it takes, in bytes.
fn weight(verified: &Verified) -> usize {
    let text = |text: &String| text.len() + 48;
    let texts = |list: &Vec<String>| list.iter().map(text).sum::<usize>() + 24;
    let Verified { user, headers, .. } = verified;
    let claims: usize = user.claims.iter().map(|(name, values)| text(name) + texts(values)).sum();
    let headers: usize = headers.iter().map(|(_, value)| text(value)).sum();
    LEAST_WEIGHT + text(&user.issuer) + text(&user.subject) + texts(&user.audiences) + claims + headers
}
