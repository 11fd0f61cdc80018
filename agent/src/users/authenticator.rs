//! On whose behalf a request is made: what the proxy asks for each request of a workload that some object selects.
//!
//! Entry point: [`Authenticator::authenticate`]. Knows headers and the time; answers are the caller's to send.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use super::{
    cache::Cache,
    fetcher::KeyFetcher,
    locate::{Headers, locate},
    merge::Authentication,
    refusal::TokenError,
    verify::{Refused, Verified, verify},
};

/// So many requests wait for fresh keys at a time; more are answered with the keys in hand.
const MOST_WAITING: usize = 1024;

/// Verifies tokens. One for the whole agent.
#[derive(Debug)]
pub struct Authenticator {
    keys: KeyFetcher,
    cache: Cache,
    waiting: AtomicUsize,
    verified: AtomicU64,
    refused: [AtomicU64; TokenError::ALL.len()],
    not_waited: AtomicU64,
}

/// What became of tokens, since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Requests whose token was taken.
    pub verified: u64,
    /// Requests whose token was refused, by [`TokenError::word`].
    pub refused: Vec<(&'static str, u64)>,
    /// Tokens that were known from an earlier request.
    pub cache_hits: u64,
    /// Tokens that had to be verified.
    pub cache_misses: u64,
    /// Requests that could have waited for fresh keys, if fewer others had.
    pub not_waited: u64,
}

impl Authenticator {
    /// Verifies with the keys that `keys` has.
    pub fn new(keys: KeyFetcher) -> Self {
        Self {
            keys,
            cache: Cache::default(),
            waiting: AtomicUsize::new(0),
            verified: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; TokenError::ALL.len()],
            not_waited: AtomicU64::new(0),
        }
    }

    /// The user of a request with these headers, at `now` in seconds of Unix time; none when it has no token.
    ///
    /// Waits at most two seconds, and only when the token's key is not known and its issuer has not been asked a
    /// short time ago.
    ///
    /// # Errors
    /// Why the token is refused; [`TokenError::status`] and [`TokenError::challenge`] are the answer.
    pub async fn authenticate(
        &self,
        authentication: &Authentication,
        headers: &Headers<'_>,
        now: u64,
    ) -> Result<Option<Arc<Verified>>, TokenError> {
        let mut found = self.look(authentication, headers, now);
        if let Err(Refused { error, rule: Some(rule) }) = &found
            && error.is_about_keys()
            && let Some(source) = rule.source()
            && let Some(_place) = self.waiting_place()
            && self.keys.refreshed(source).await
        {
            found = self.look(authentication, headers, now);
        }
        match found {
            Ok(Some(_)) => self.verified.fetch_add(1, Relaxed),
            Ok(None) => 0,
            Err(Refused { error, .. }) => self.refused[error as usize].fetch_add(1, Relaxed),
        };
        found.map_err(|refused| refused.error)
    }

    /// What became of tokens.
    pub fn counts(&self) -> TokenCounts {
        let (cache_hits, cache_misses) = self.cache.counts();
        let refused = TokenError::ALL.iter().zip(&self.refused);
        TokenCounts {
            verified: self.verified.load(Relaxed),
            refused: refused.map(|(error, count)| (error.word(), count.load(Relaxed))).collect(),
            cache_hits,
            cache_misses,
            not_waited: self.not_waited.load(Relaxed),
        }
    }

    /// The answer with the keys in hand.
    fn look(
        &self,
        authentication: &Authentication,
        headers: &Headers<'_>,
        now: u64,
    ) -> Result<Option<Arc<Verified>>, Refused> {
        let Some(located) = locate(authentication, headers)? else { return Ok(None) };
        let ring = self.keys.ring();
        if let Some(verified) = self.cache.get(&located, authentication, &ring, now) {
            return Ok(Some(verified));
        }
        let proof = verify(&located, authentication, &ring, now)?;
        let verified = proof.verified.clone();
        self.cache.put(&located, authentication, proof);
        Ok(Some(verified))
    }

    fn waiting_place(&self) -> Option<WaitingPlace<'_>> {
        let place = WaitingPlace(&self.waiting);
        if self.waiting.fetch_add(1, Relaxed) < MOST_WAITING {
            return Some(place);
        }
        self.not_waited.fetch_add(1, Relaxed);
        None
    }
}

/// One of those who wait, until it is dropped.
struct WaitingPlace<'a>(&'a AtomicUsize);

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
