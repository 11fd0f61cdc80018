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
    place: HashMap<NamespacedName, Arc<NamespacedName>>,
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
        let (before, after) = different(pods_of(old.as_ref()), pods_of(new.as_ref()));
        let (mut touched, at) = (Vec::new(), Arc::new(key.clone()));
        for (pod, said) in &after {
            let place = self.place.entry((*pod).clone()).or_insert_with(|| at.clone());
            let moved = *key < **place;
            if moved {
                *place = at.clone();
            }
            if moved || (**place == *key && before.get(pod) != Some(said)) {
                touched.push((*pod).clone());
            }
        }
        let still = |pod: &NamespacedName| pods_of(new.as_ref()).iter().any(|other| other.key == *pod);
        for pod in before.into_keys().filter(|pod| !after.contains_key(pod) && !still(pod)) {
            if self.place.get(pod).is_some_and(|place| **place == *key) {
                match self.another_with(pod) {
                    Some(other) => self.place.insert(pod.clone(), Arc::new(other)),
                    None => self.place.remove(pod),
                };
                touched.push(pod.clone());
            }
        }
        touched
    }

    /// What is said of a pod.
    pub(super) fn pod(&self, key: &NamespacedName) -> Option<&Arc<Pod>> {
        let slice = self.slices.get(&**self.place.get(key)?)?;
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

fn pods_of(slice: Option<&Arc<WorkloadSlice>>) -> &[Arc<Pod>] {
    slice.map_or(&[], |slice| &slice.pods)
}

type ByKey<'a> = HashMap<&'a NamespacedName, &'a Arc<Pod>>;

/// The pods of two slices by their keys, without most of those that are in both and alike: where one of a hundred changes,
/// the others stand before and behind it as they stood.
fn different<'a>(before: &'a [Arc<Pod>], after: &'a [Arc<Pod>]) -> (ByKey<'a>, ByKey<'a>) {
    let same = |(a, b): &(&Arc<Pod>, &Arc<Pod>)| a == b;
    let front = before.iter().zip(after).take_while(same).count();
    let (before, after) = (&before[front..], &after[front..]);
    let back = before.iter().rev().zip(after.iter().rev()).take_while(same).count();
    let by_key = |pods: &'a [Arc<Pod>]| pods[..pods.len() - back].iter().map(|pod| (&pod.key, pod)).collect();
    (by_key(before), by_key(after))
}
