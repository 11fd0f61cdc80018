//! One kernel map as a cache: what it ought to hold is remembered, so that a change is a few writes and
//! drift is found by reading it back.
//!
//! Entry point: [`Table`]. It does not know what its entries mean.

#[cfg(test)]
pub(crate) mod testing;

use std::{collections::HashMap, fmt, hash::Hash};

use aya::{
    Pod,
    maps::{HashMap as KernelHash, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use weir_common::NetworkKey;

/// A kernel map that a [`Table`] can stand on.
pub trait Backing<K, V>: Send {
    /// Writes one entry.
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    /// Removes one entry; one that is not there is no error.
    fn take(&mut self, key: &K) -> Result<(), MapError>;
    /// Everything that is there.
    fn entries(&self) -> Result<Vec<(K, V)>, MapError>;
}

impl<K: Pod + Send, V: Pod + Send> Backing<K, V> for KernelHash<MapData, K, V> {
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn take(&mut self, key: &K) -> Result<(), MapError> {
        absent_is_fine(self.remove(key))
    }

    fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        self.iter().collect()
    }
}

/// A network in one namespace's view: the key and how many bits of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Bits of [`NetworkKey`] that count: 64 for the cookie, then those of the address.
    pub prefix: u32,
    /// The cookie and the address.
    pub key: NetworkKey,
}

impl<V: Pod + Send> Backing<Network, V> for LpmTrie<MapData, NetworkKey, V> {
    fn put(&mut self, key: &Network, value: &V) -> Result<(), MapError> {
        self.insert(&Key::new(key.prefix, key.key), value, 0)
    }

    fn take(&mut self, key: &Network) -> Result<(), MapError> {
        absent_is_fine(self.remove(&Key::new(key.prefix, key.key)))
    }

    fn entries(&self) -> Result<Vec<(Network, V)>, MapError> {
        let network = |key: Key<NetworkKey>| Network { prefix: key.prefix_len(), key: key.data() };
        self.iter().map(|entry| entry.map(|(key, value)| (network(key), value))).collect()
    }
}

fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// A map and what it ought to hold.
pub struct Table<K, V> {
    name: &'static str,
    backing: Box<dyn Backing<K, V>>,
    desired: HashMap<K, V>,
    capacity: u32,
    turned_away: u64,
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).field("entries", &self.desired.len()).finish()
    }
}

impl<K: Copy + Eq + Hash, V: Copy + PartialEq> Table<K, V> {
    pub(super) fn new(name: &'static str, backing: Box<dyn Backing<K, V>>, capacity: u32) -> Self {
        Self { name, backing, desired: HashMap::new(), capacity, turned_away: 0 }
    }

    /// The map's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many entries it ought to hold.
    pub fn len(&self) -> usize {
        self.desired.len()
    }

    /// Whether it ought to be empty.
    pub fn is_empty(&self) -> bool {
        self.desired.is_empty()
    }

    /// How many entries it can hold.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many entries the kernel had no room for.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// What `key` ought to have.
    pub fn desired(&self, key: &K) -> Option<&V> {
        self.desired.get(key)
    }

    /// Everything that ought to be there.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.desired.iter()
    }

    /// What the kernel has for `key` now, whoever wrote it.
    pub fn actual(&self) -> HashMap<K, V> {
        self.backing.entries().map(|entries| entries.into_iter().collect()).unwrap_or_default()
    }

    /// Sets one entry; writes only what differs. `false` when the kernel had no room, which is counted.
    pub fn set(&mut self, key: K, value: V) -> bool {
        if self.desired.get(&key) == Some(&value) {
            return true;
        }
        self.write(key, value)
    }

    /// Sets one entry, also when it ought to be there already.
    fn write(&mut self, key: K, value: V) -> bool {
        match self.backing.put(&key, &value) {
            Ok(()) => {
                self.desired.insert(key, value);
                true
            }
            Err(error) => {
                self.turned_away += 1;
                self.desired.remove(&key);
                tracing::debug!(map = self.name, %error, "entry turned away");
                false
            }
        }
    }

    /// Removes one entry.
    pub fn unset(&mut self, key: &K) {
        if self.desired.remove(key).is_some() {
            self.erase(key);
        }
    }

    /// Removes every entry that `unwanted` picks.
    pub fn unset_where(&mut self, mut unwanted: impl FnMut(&K, &V) -> bool) {
        let gone: Vec<K> =
            self.desired.iter().filter(|(key, value)| unwanted(key, value)).map(|(key, _)| *key).collect();
        for key in gone {
            self.unset(&key);
        }
    }

    /// Reads the map back and mends what differs; says how many entries were wrong.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn repair(&mut self) -> Result<usize, MapError> {
        let mut missing = self.desired.clone();
        let mut wrong = 0;
        for (key, value) in self.backing.entries()? {
            match missing.remove(&key) {
                Some(wanted) if wanted == value => {}
                Some(wanted) => {
                    wrong += 1;
                    self.write(key, wanted);
                }
                None => {
                    wrong += 1;
                    self.erase(&key);
                }
            }
        }
        wrong += missing.len();
        for (key, value) in missing {
            self.write(key, value);
        }
        Ok(wrong)
    }

    fn erase(&mut self, key: &K) {
        if let Err(error) = self.backing.take(key) {
            tracing::debug!(map = self.name, %error, "entry not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::Memory, *};

    type Fake = Memory<u32, u32>;

    fn table(fake: &Fake) -> Table<u32, u32> {
        fake.table()
    }

    #[test]
    fn repair_mends_what_is_missing_changed_and_foreign() {
        let fake = Fake::of(3);
        let mut table = table(&fake);
        assert!(table.set(1, 10) && table.set(2, 20));
        fake.inner().remove(&1);
        fake.inner().insert(2, 99);
        fake.inner().insert(7, 70);
        assert_eq!(table.repair().expect("readable"), 3);
        assert_eq!(*fake.inner(), HashMap::from([(1, 10), (2, 20)]));
        assert_eq!(table.repair().expect("readable"), 0);
    }

    #[test]
    fn what_the_kernel_has_no_room_for_is_counted_and_not_remembered() {
        let fake = Fake::of(3);
        let mut table = table(&fake);
        for key in 0..3 {
            assert!(table.set(key, 1));
        }
        assert!(!table.set(3, 1));
        assert_eq!((table.turned_away(), table.len()), (1, 3));
        assert_eq!(table.repair().expect("readable"), 0);
    }
}
