//! An issuer's keys, where they come from, and which of them are there now.
//!
//! Entry points: [`KeySet`], [`Source`], [`KeyRing`]. All immutable: new keys are a new set, a new set is a
//! new ring. Nothing here fetches.

use std::{collections::BTreeMap, fmt, sync::Arc};

use aws_lc_rs::digest;
use serde_json::Value;

use super::{
    algorithm::Algorithm,
    json,
    jwk::{Key, Unfit},
    uri::JwksUri,
};

/// More keys than this in one set are refused: an issuer has two or three.
pub(super) const MOST_KEYS: usize = 64;
/// A token that does not say by which key it is signed is tried with so many at most.
const MOST_TRIED: usize = 4;

/// The keys of one issuer (RFC 7517 §5).
#[derive(Debug, Default, PartialEq)]
pub struct KeySet {
    keys: Vec<Key>,
    left_out: usize,
}

/// Why a key set that was fetched is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or a name twice.
    #[error("{0}")]
    NotJson(&'static str),
    /// No list `keys`.
    #[error("has no list named keys (RFC 7517 §5)")]
    NoKeys,
    /// Too many.
    #[error("has more than {MOST_KEYS} keys")]
    TooMany,
    /// Not one that can be used, so that taking it would refuse every token.
    #[error("has no key that could verify a token")]
    NothingFits,
}

/// Why no key of a set verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The set has no key of this name, or none of the algorithm's type.
    Unknown,
    /// The token names no key, and too many could be meant.
    Ambiguous,
    /// It is not the signature of any key that could be meant.
    Signature,
}

impl KeySet {
    /// Those keys, of which `left_out` others were not fit.
    pub(super) fn new(keys: Vec<Key>, left_out: usize) -> Self {
        Self { keys, left_out }
    }

    /// Reads what an issuer serves. Keys that are not taken are left out, for a new type of key must not
    /// take the others away.
    ///
    /// # Errors
    /// When nothing in it could be used; then the keys in hand are better.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let document = json::object(text).map_err(KeySetError::NotJson)?;
        let list = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoKeys)?;
        if list.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let read: Vec<Result<Key, Unfit>> = list.iter().map(Key::parse).collect();
        let keys: Vec<Key> = read.into_iter().flatten().collect();
        if keys.is_empty() {
            return Err(KeySetError::NothingFits);
        }
        let left_out = list.len() - keys.len();
        Ok(Self { keys, left_out })
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys were not taken: symmetric, private, weak, of another type or for another purpose.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Finds the key by which `message` is signed.
    ///
    /// A key of the token's `kid` is the only one that counts. Without one, on either side, the type of key
    /// must leave few enough to try (OpenID Connect Core §10.1 asks for a `kid` where there are several).
    pub(super) fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), NoKey> {
        let fitting = || self.keys.iter().filter(|key| key.fits(algorithm));
        let named = |key: &&Key| id.is_some() && key.id() == id;
        let mut meant: Vec<&Key> = fitting().filter(named).collect();
        if meant.is_empty() {
            meant = fitting().filter(|key| id.is_none() || key.id().is_none()).collect();
        }
        match meant.len() {
            0 => Err(NoKey::Unknown),
            1..=MOST_TRIED if meant.iter().any(|key| key.verifies(algorithm, message, signature)) => Ok(()),
            1..=MOST_TRIED => Err(NoKey::Signature),
            _ => Err(NoKey::Ambiguous),
        }
    }
}

/// Where the keys of an issuer are, when not in the object itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub(super) id: SourceId,
    pub(super) uri: JwksUri,
    /// PEM; none: the node's own roots.
    pub(super) ca: Option<Arc<str>>,
    /// Milliseconds between fetches.
    pub(super) refresh: u64,
    pub(super) reach: Reach,
}

/// What a [`Source`] is known by: the same for objects that ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId([u8; 32]);

/// How far a URI may lead. The agent runs on the node and as root, and whoever may write an object in some
/// namespace is not thereby allowed to make it read files or ask services that only the node can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Addresses of the network: not the node's loopback, not link-local, no files.
    Network,
    /// Everything; for objects of the root namespace.
    Node,
}

impl Source {
    pub(super) fn new(uri: JwksUri, ca: Option<Arc<str>>, refresh: u64, reach: Reach) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        let reach_byte = [reach as u8, u8::from(ca.is_some())];
        for part in [uri.as_str().as_bytes(), ca.as_deref().unwrap_or("").as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.update(&reach_byte);
        context.update(&refresh.to_be_bytes());
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self { id: SourceId(id), uri, ca, refresh, reach }
    }

    /// The same for an object whose URI may lead as far as `reach`.
    pub(super) fn reaching(&self, reach: Reach) -> Self {
        Self::new(self.uri.clone(), self.ca.clone(), self.refresh, reach)
    }

    /// What it is known by.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The URI.
    pub fn uri(&self) -> &JwksUri {
        &self.uri
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.as_str())
    }
}

/// `issuers[].jwks`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Keys {
    Inline(Arc<KeySet>),
    Fetched(Arc<Source>),
}

/// The key sets that were fetched, as they are now.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    sets: BTreeMap<SourceId, Arc<KeySet>>,
}

impl KeyRing {
    /// These sets.
    pub fn new(sets: impl IntoIterator<Item = (SourceId, Arc<KeySet>)>) -> Self {
        Self { sets: sets.into_iter().collect() }
    }

    /// The keys now; none while none could be fetched.
    pub(super) fn of<'a>(&'a self, keys: &'a Keys) -> Option<&'a Arc<KeySet>> {
        match keys {
            Keys::Inline(set) => Some(set),
            Keys::Fetched(source) => self.sets.get(&source.id),
        }
    }
}
