//! Values of which there are few and that many objects hold.
//!
//! Entry point: [`Interned`]. What is equal is one value, and what nobody holds any more is forgotten from time to time.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

use hashbrown::{Equivalent, HashSet};

/// Nothing is swept before there are so many.
const FEW: usize = 1024;

/// A value whose clones are one value.
pub(crate) trait Shared: Clone + Eq + Hash {
    /// How many there are of it.
    fn holders(&self) -> usize;
}

impl Shared for Arc<str> {
    fn holders(&self) -> usize {
        Arc::strong_count(self)
    }
}

impl Shared for Arc<[Arc<str>]> {
    fn holders(&self) -> usize {
        Arc::strong_count(self)
    }
}

impl Shared for Arc<BTreeMap<String, String>> {
    fn holders(&self) -> usize {
        Arc::strong_count(self)
    }
}

/// Each value once. It keeps at most twice as many as are held, and [`FEW`].
#[derive(Debug)]
pub(crate) struct Interned<T> {
    all: HashSet<T, RandomState>,
    sweep_at: usize,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { all: HashSet::with_hasher(RandomState::new()), sweep_at: FEW }
    }
}

impl<T: Shared> Interned<T> {
    /// The value that is like `like`; `make` makes it where there is none.
    pub(crate) fn get<Q: Hash + Equivalent<T> + ?Sized>(
        &mut self,
        like: &Q,
        make: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        if let Some(known) = self.all.get(like) {
            return Some(known.clone());
        }
        let new = make()?;
        debug_assert_eq!(
            self.all.hasher().hash_one(&new),
            self.all.hasher().hash_one(like),
            "a value is found by what is like it"
        );
        if self.all.len() >= self.sweep_at {
            self.all.retain(|value| value.holders() > 1);
            self.sweep_at = FEW.max(2 * self.all.len());
        }
        self.all.insert(new.clone());
        Some(new)
    }

    /// Puts the one value that is equal to it in place of `value`.
    pub(crate) fn share(&mut self, value: &mut T) {
        if let Some(one) = self.get(&*value, || Some(value.clone())) {
            *value = one;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_one() {
        let mut names = Interned::<Arc<str>>::default();
        let (mut a, mut b, mut c): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "a".into(), "c".into());
        for name in [&mut a, &mut b, &mut c] {
            names.share(name);
        }
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
        assert_eq!((&*a, &*c), ("a", "c"));
        assert_eq!(names.get("d", || None), None);
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut names = Interned::<Arc<str>>::default();
        let held: Vec<Arc<str>> = (0..10)
            .filter_map(|n| names.get(&*format!("held-{n}"), || Some(format!("held-{n}").into())))
            .collect();
        for n in 0..10 * FEW {
            let name = format!("gone-{n}");
            names.get(&*name, || Some(name.as_str().into()));
            assert!(names.all.len() <= FEW + 1);
        }
        for (n, name) in held.iter().enumerate() {
            assert!(names.get(&*format!("held-{n}"), || None).is_some_and(|known| Arc::ptr_eq(&known, name)));
        }
    }
}
