//! Pods that are known from WorkloadSlices.
//!
//! Entry point: [`Slices`]. Where a Pod has been told itself, that counts, and what a slice says of it does not.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    input::{Pod, WorkloadSlice},
    model::NamespacedName,
};

/// The slices in force, and where each pod is.
#[derive(Debug, Default)]
pub(super) struct Slices {
    slices: BTreeMap<NamespacedName, Arc<WorkloadSlice>>,
    /// Of the slices that say a pod, the first by its name.
    place: HashMap<NamespacedName, NamespacedName>,
}

impl Slices {
    /// Puts a slice in place of what it was; answers with the pods that this touches.
    pub(super) fn put(
        &mut self,
        key: &NamespacedName,
        new: Option<Arc<WorkloadSlice>>,
    ) -> Vec<NamespacedName> {
        let old = match new.clone() {
            Some(new) => self.slices.insert(key.clone(), new),
            None => self.slices.remove(key),
        };
        let pods = |slice: &Option<Arc<WorkloadSlice>>| -> HashMap<NamespacedName, Arc<Pod>> {
            slice.iter().flat_map(|slice| &slice.pods).map(|pod| (pod.key.clone(), pod.clone())).collect()
        };
        let (before, after) = (pods(&old), pods(&new));
        let mut touched = Vec::new();
        for (pod, said) in &after {
            let place = self.place.entry(pod.clone()).or_insert_with(|| key.clone());
            let moved = *key < *place;
            if moved {
                *place = key.clone();
            }
            if moved || (*place == *key && before.get(pod) != Some(said)) {
                touched.push(pod.clone());
            }
        }
        for pod in before.into_keys().filter(|pod| !after.contains_key(pod)) {
            if self.place.get(&pod) == Some(key) {
                match self.another_with(&pod) {
                    Some(other) => self.place.insert(pod.clone(), other),
                    None => self.place.remove(&pod),
                };
                touched.push(pod);
            }
        }
        touched
    }

    /// What is said of a pod.
    pub(super) fn pod(&self, key: &NamespacedName) -> Option<&Arc<Pod>> {
        let slice = self.slices.get(self.place.get(key)?)?;
        slice.pods.iter().find(|pod| pod.key == *key)
    }

    /// A pod that moves from one slice to another is in both for a moment, and what is told of them may come in any order.
    fn another_with(&self, key: &NamespacedName) -> Option<NamespacedName> {
        let is_of =
            |slice: &WorkloadSlice| slice.pods.first().is_some_and(|pod| pod.key.namespace == key.namespace);
        let of_namespace = self.slices.values().filter(|slice| is_of(slice));
        let mut with_it = of_namespace.filter(|slice| slice.pods.iter().any(|pod| pod.key == *key));
        with_it.next().map(|slice| slice.key.clone())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.place.is_empty()
    }
}
