//! A map in memory in the kernel's place.
//!
//! Entry point: [`Memory`]. Its clones are one map, so that a test keeps one and gives a table another.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
};

use aya::maps::MapError;

use super::{Backing, Table};

/// A map with room for so many entries.
#[derive(Clone, Debug)]
pub(crate) struct Memory<K, V> {
    entries: Arc<Mutex<HashMap<K, V>>>,
    room: u32,
}

impl<K: Copy + Eq + Hash + Send + 'static, V: Copy + PartialEq + Send + 'static> Memory<K, V> {
    pub(crate) fn of(room: u32) -> Self {
        Self { entries: Arc::default(), room }
    }

    /// A table that stands on it.
    pub(crate) fn table(&self) -> Table<K, V> {
        Table::new("TEST", Box::new(self.clone()), self.room)
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.entries.lock().expect("no test panics while holding it")
    }
}

impl<K: Copy + Eq + Hash + Send, V: Copy + Send> Backing<K, V> for Memory<K, V> {
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        let mut entries = self.entries.lock().expect("no test panics while holding it");
        if entries.len() >= self.room as usize && !entries.contains_key(key) {
            return Err(MapError::OutOfBounds { index: self.room, max_entries: self.room });
        }
        entries.insert(*key, *value);
        Ok(())
    }

    fn take(&mut self, key: &K) -> Result<(), MapError> {
        self.entries.lock().expect("no test panics while holding it").remove(key);
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let entries = self.entries.lock().expect("no test panics while holding it");
        Ok(entries.iter().map(|(key, value)| (*key, *value)).collect())
    }
}
