//! Finds pods by a selector, and selectors by a pod's labels, without looking at all of either.
//!
//! Entry point: [`LabelIndex`]. It answers with candidates: a superset that the caller still matches
//! (`selects`), because entries are filed under hashes of one label each.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
};

use super::few::Few;

/// What is filed under (namespace, label, value).
#[derive(Debug)]
pub(super) struct LabelIndex<T> {
    hasher: RandomState,
    filed: HashMap<u64, Few<T>>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), filed: HashMap::default() }
    }
}

/// Whether a pod with `labels` has every label of `selector`; an empty selector selects nothing.
pub(super) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(label, value)| labels.get(label) == Some(value))
}

impl<T: Ord + Clone> LabelIndex<T> {
    /// Files `object` under each of `labels`.
    pub(super) fn insert(&mut self, object: &T, namespace: &str, labels: &BTreeMap<String, String>) {
        for slot in self.slots(namespace, labels) {
            self.filed.entry(slot).or_default().insert(object.clone());
        }
    }

    /// Undoes [`insert`](Self::insert) with the same labels.
    pub(super) fn remove(&mut self, object: &T, namespace: &str, labels: &BTreeMap<String, String>) {
        for slot in self.slots(namespace, labels) {
            self.remove_from(slot, object);
        }
    }

    /// Files `object` under the rarest of `labels` only, and says under which.
    pub(super) fn insert_rarest(
        &mut self,
        object: &T,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<u64> {
        let slots = self.slots(namespace, labels);
        let rarest = slots.into_iter().min_by_key(|slot| self.population(*slot))?;
        self.filed.entry(rarest).or_default().insert(object.clone());
        Some(rarest)
    }

    /// Takes `object` out of what [`insert_rarest`](Self::insert_rarest) answered.
    pub(super) fn remove_from(&mut self, slot: u64, object: &T) {
        if let Some(objects) = self.filed.get_mut(&slot) {
            objects.remove(object);
            if objects.is_empty() {
                self.filed.remove(&slot);
            }
        }
    }

    /// What is filed under any of `labels` in `namespace`.
    pub(super) fn filed_under_any(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = &T> {
        let slots = self.slots(namespace, labels);
        slots.into_iter().filter_map(|slot| self.filed.get(&slot)).flat_map(Few::iter)
    }

    /// What is filed under the rarest of `labels` in `namespace`: all that have all of them, and more.
    pub(super) fn filed_under_rarest(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = &T> {
        let slots = self.slots(namespace, labels);
        let rarest = slots.into_iter().min_by_key(|slot| self.population(*slot));
        rarest.and_then(|slot| self.filed.get(&slot)).into_iter().flat_map(Few::iter)
    }

    /// Whether nothing is filed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.filed.is_empty()
    }

    fn slots(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<u64> {
        labels.iter().map(|(label, value)| self.hasher.hash_one((namespace, label, value))).collect()
    }

    fn population(&self, slot: u64) -> usize {
        self.filed.get(&slot).map_or(0, Few::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn a_selector_finds_pods_by_its_rarest_label() {
        let mut index = LabelIndex::default();
        for n in 0..10 {
            let app = if n == 3 { "pay" } else { "cart" };
            index.insert(&format!("p{n}"), "shop", &labels(&[("app", app), ("of", "shop")]));
        }
        let selector = labels(&[("app", "pay"), ("of", "shop")]);
        let found: Vec<_> = index.filed_under_rarest("shop", &selector).collect();
        assert_eq!(found, ["p3"]);
        assert_eq!(index.filed_under_rarest("other", &selector).count(), 0);
    }

    #[test]
    fn a_pod_finds_selectors_by_its_labels_and_what_is_taken_out_is_gone() {
        let mut index = LabelIndex::default();
        let slot = index.insert_rarest(&"pay", "shop", &labels(&[("app", "pay"), ("of", "shop")]));
        let pod = labels(&[("app", "pay"), ("of", "shop"), ("x", "y")]);
        assert_eq!(index.filed_under_any("shop", &pod).collect::<Vec<_>>(), [&"pay"]);
        index.remove_from(slot.expect("it has labels"), &"pay");
        assert!(index.is_empty());
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!selects(&labels(&[]), &labels(&[("app", "pay")])));
        assert!(selects(&labels(&[("app", "pay")]), &labels(&[("app", "pay"), ("x", "y")])));
        assert!(!selects(&labels(&[("app", "pay")]), &labels(&[("app", "cart")])));
    }
}
