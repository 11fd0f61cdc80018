//! A set that mostly has one element.
//!
//! Entry point: [`Few`]. An index of a large cluster has a hundred thousand of them, and a set that is ready for more costs
//! ten times what it holds.

use std::collections::BTreeSet;

/// A sorted set: one element stands in itself, several in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Few<T> {
    One(T),
    /// Never one.
    Others(BTreeSet<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Others(BTreeSet::new())
    }
}

impl<T: Ord> Few<T> {
    pub(super) fn insert(&mut self, element: T) {
        *self = match std::mem::take(self) {
            Self::One(one) if one == element => Self::One(one),
            Self::One(one) => Self::Others([one, element].into()),
            Self::Others(none) if none.is_empty() => Self::One(element),
            Self::Others(mut others) => {
                others.insert(element);
                Self::Others(others)
            }
        };
    }

    pub(super) fn remove(&mut self, element: &T) {
        *self = match std::mem::take(self) {
            Self::One(one) if one == *element => Self::default(),
            Self::One(one) => Self::One(one),
            Self::Others(mut others) => {
                others.remove(element);
                if others.len() > 1 {
                    Self::Others(others)
                } else {
                    others.pop_first().map_or_else(Self::default, Self::One)
                }
            }
        };
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Others(others) => others.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, others) = match self {
            Self::One(one) => (Some(one), None),
            Self::Others(others) => (None, Some(others)),
        };
        one.into_iter().chain(others.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..4u8), 0..40)) {
            let (mut few, mut set) = (Few::default(), BTreeSet::new());
            for (comes, element) in steps {
                if comes {
                    few.insert(element);
                    set.insert(element);
                } else {
                    few.remove(&element);
                    set.remove(&element);
                }
                prop_assert!(few.iter().eq(&set));
                prop_assert_eq!((few.len(), few.is_empty()), (set.len(), set.is_empty()));
                prop_assert_eq!(matches!(few, Few::One(_)), set.len() == 1);
            }
        }
    }
}
