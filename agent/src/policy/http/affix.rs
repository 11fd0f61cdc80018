//! Sets of texts that others are compared with: whole, by their beginning, or by their end.
//!
//! Entry points: [`Exact`], [`Beginnings`], [`Endings`]. Each is asked with an iterator over bytes, so that
//! a text need not be written anew to be compared in another spelling; a question costs the logarithm of
//! how many there are.

use std::cmp::Ordering;

type Bytes = Box<[u8]>;

/// Texts to be equal to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exact(Vec<Bytes>);

impl Exact {
    pub(super) fn has(&self, text: impl Iterator<Item = u8> + Clone) -> bool {
        self.0.binary_search_by(|one| one.iter().copied().cmp(text.clone())).is_ok()
    }
}

impl FromIterator<Bytes> for Exact {
    fn from_iter<I: IntoIterator<Item = Bytes>>(texts: I) -> Self {
        let mut texts: Vec<Bytes> = texts.into_iter().collect();
        texts.sort_unstable();
        texts.dedup();
        Self(texts)
    }
}

/// Texts to begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beginnings(
    /// Sorted, and none begins with another: so the last one that does not come after a text is the only
    /// one that the text can begin with.
    Vec<Bytes>,
);

impl Beginnings {
    pub(super) fn has(&self, text: impl Iterator<Item = u8> + Clone) -> bool {
        let after = self.0.partition_point(|one| one.iter().copied().cmp(text.clone()) != Ordering::Greater);
        let candidate = after.checked_sub(1).map(|index| &self.0[index]);
        candidate.is_some_and(|one| one.iter().copied().eq(text.take(one.len())))
    }
}

impl FromIterator<Bytes> for Beginnings {
    fn from_iter<I: IntoIterator<Item = Bytes>>(texts: I) -> Self {
        let mut texts: Vec<Bytes> = texts.into_iter().collect();
        texts.sort_unstable();
        // `dedup_by` compares with the last one that was kept.
        texts.dedup_by(|text, kept| text.starts_with(kept));
        Self(texts)
    }
}

/// Texts to end in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Endings(
    /// Each from its end to its beginning.
    Beginnings,
);

impl Endings {
    pub(super) fn has(&self, text: impl DoubleEndedIterator<Item = u8> + Clone) -> bool {
        self.0.has(text.rev())
    }
}

impl FromIterator<Bytes> for Endings {
    fn from_iter<I: IntoIterator<Item = Bytes>>(texts: I) -> Self {
        let reversed = texts.into_iter().map(|mut text| {
            text.reverse();
            text
        });
        Self(reversed.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn set<T: FromIterator<Bytes>>(texts: &[String]) -> T {
        texts.iter().map(|text| Bytes::from(text.as_bytes())).collect()
    }

    proptest! {
        #[test]
        fn a_set_answers_as_looking_at_each_text_does(texts in vec("[ab/]{1,4}", 0..6), asked in "[ab/]{0,6}") {
            let bytes = asked.bytes();
            prop_assert_eq!(set::<Exact>(&texts).has(bytes.clone()), texts.contains(&asked));
            let begins = texts.iter().any(|text| asked.starts_with(text));
            prop_assert_eq!(set::<Beginnings>(&texts).has(bytes.clone()), begins);
            let ends = texts.iter().any(|text| asked.ends_with(text));
            prop_assert_eq!(set::<Endings>(&texts).has(bytes), ends);
        }
    }
}
