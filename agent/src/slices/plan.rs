//! Which pods are in which WorkloadSlice, and which of these have to be written.
//!
//! Entry point: [`Plan`]. A pod stays where it is for as long as it lives; a new one goes to those of its owner, since they
//! come and go together, or else where most are, so that holes are filled. Pure: what was told in, what to write out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    COMPLETE, MOST_PODS,
    spec::{WorkloadSliceSpec, pack},
};
use crate::state::{
    input::{Pod, WorkloadSlice},
    model::NamespacedName,
};

/// A slice with no more than so many pods may be emptied into another one that has no more than that, either.
const FEW: usize = MOST_PODS / 4;

type Pods = BTreeMap<Arc<str>, Arc<Pod>>;

/// The slices as they are to be.
#[derive(Debug, Default)]
pub struct Plan {
    slices: BTreeMap<Arc<str>, Slice>,
    /// The names of those of a namespace.
    of_namespace: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    place: HashMap<NamespacedName, Arc<str>>,
    /// As the API server has them, whatever is in them.
    told: HashMap<Arc<str>, Arc<WorkloadSlice>>,
    /// Those that may differ from what the API server has.
    dirty: BTreeSet<Arc<str>>,
    /// Namespaces of which a pod has gone since they were looked at.
    shrunk: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Slice {
    namespace: Arc<str>,
    pods: Pods,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The slice is to say this.
    Put(Arc<str>, WorkloadSliceSpec),
    /// There is to be no such slice.
    Delete(Arc<str>),
}

impl Write {
    /// The slice's name.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Put(name, _) | Self::Delete(name) => name,
        }
    }
}

impl Plan {
    /// How many slices there are to be.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// How many pods are in them.
    pub fn pods(&self) -> usize {
        self.place.len()
    }

    /// The API server has this slice, or none of this name. Pods that are in it and have no place yet have theirs there: a
    /// writer that is new leaves what is right.
    pub fn told(&mut self, name: &Arc<str>, slice: Option<Arc<WorkloadSlice>>) {
        if **name == *COMPLETE {
            return;
        }
        self.dirty.insert(name.clone());
        match slice {
            Some(slice) => drop(self.told.insert(name.clone(), slice)),
            None => drop(self.told.remove(name)),
        }
    }

    /// Takes the places of pods that nobody has told yet from the slices that the API server has: for the beginning.
    pub fn adopt(&mut self) {
        let told: Vec<_> = self.told.iter().map(|(name, slice)| (name.clone(), slice.clone())).collect();
        for (name, slice) in told {
            for pod in &slice.pods {
                // Of two slices with one pod the first keeps it, and the other one is written anew.
                if !self.place.contains_key(&pod.key) && self.has_room(&name, &pod.key.namespace) {
                    self.add(&name, pod);
                }
            }
        }
    }

    /// The pod is now like this, as other nodes know it, or nothing to them; `fresh` makes names for slices.
    pub fn set(&mut self, key: &NamespacedName, pod: Option<Arc<Pod>>, fresh: impl FnMut() -> String) {
        match (self.place.get(key).cloned(), pod) {
            (Some(name), Some(pod)) => {
                if let Some(slice) = self.slices.get_mut(&name)
                    && slice.pods.get(&key.name) != Some(&pod)
                {
                    slice.pods.insert(key.name.clone(), pod);
                    self.dirty.insert(name);
                }
            }
            (Some(_), None) => {
                self.remove(key);
                self.shrunk.insert(key.namespace.clone());
            }
            (None, Some(pod)) => {
                let name = self.choose(&pod).unwrap_or_else(|| self.fresh(&pod.key.namespace, fresh));
                self.add(&name, &pod);
            }
            (None, None) => {}
        }
    }

    /// The pods that have a place.
    pub fn known(&self) -> impl Iterator<Item = &NamespacedName> {
        self.place.keys()
    }

    /// What has to be written, new and changed slices first: a pod that moves is somewhere at every moment. What
    /// [`Plan::failed`] is not told of counts as done.
    pub fn writes(&mut self) -> Vec<Write> {
        for namespace in std::mem::take(&mut self.shrunk) {
            self.merge(&namespace);
        }
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for name in std::mem::take(&mut self.dirty) {
            let (wanted, told) = (self.slices.get(&name), self.told.get(&name));
            match (wanted, told) {
                (Some(wanted), Some(told)) if wanted.is(told) => {}
                (Some(wanted), _) => {
                    puts.push(Write::Put(
                        name.clone(),
                        pack(&wanted.namespace, wanted.pods.values().map(|pod| &**pod)),
                    ));
                    let pods = wanted.pods.values().cloned().collect();
                    let key = NamespacedName::new("", name.clone());
                    self.told.insert(name, Arc::new(WorkloadSlice { key, complete: false, pods }));
                }
                (None, Some(_)) => {
                    self.told.remove(&name);
                    deletes.push(Write::Delete(name));
                }
                (None, None) => {}
            }
        }
        puts.extend(deletes);
        puts
    }

    /// What was to be written was not: it is to be written again.
    pub fn failed(&mut self, write: &Write) {
        let name = write.name().clone();
        // Whatever the API server has, it is not what it should be.
        let key = NamespacedName::new("", name.clone());
        match write {
            Write::Put(..) => drop(self.told.remove(&name)),
            Write::Delete(_) => {
                let nothing = WorkloadSlice { key, complete: false, pods: Vec::new() };
                self.told.insert(name.clone(), Arc::new(nothing));
            }
        }
        self.dirty.insert(name);
    }

    /// The slice where a new pod goes.
    fn choose(&self, pod: &Pod) -> Option<Arc<str>> {
        let names = self.of_namespace.get(&pod.key.namespace)?;
        let with_room = names.iter().filter_map(|name| {
            let slice = self.slices.get(name).filter(|slice| slice.pods.len() < MOST_PODS)?;
            let akin = slice.pods.values().any(|other| other.owner == pod.owner);
            Some(((akin, slice.pods.len()), name))
        });
        with_room.max().map(|(_, name)| name.clone())
    }

    fn fresh(&self, namespace: &str, mut fresh: impl FnMut() -> String) -> Arc<str> {
        loop {
            let name: Arc<str> = format!("{namespace}-{}", fresh()).into();
            if !self.slices.contains_key(&name) && !self.told.contains_key(&name) {
                return name;
            }
        }
    }

    fn has_room(&self, name: &Arc<str>, namespace: &Arc<str>) -> bool {
        self.slices
            .get(name)
            .is_none_or(|slice| slice.namespace == *namespace && slice.pods.len() < MOST_PODS)
    }

    fn add(&mut self, name: &Arc<str>, pod: &Arc<Pod>) {
        let namespace = &pod.key.namespace;
        let slice = self.slices.entry(name.clone());
        let slice = slice.or_insert_with(|| Slice { namespace: namespace.clone(), pods: Pods::new() });
        slice.pods.insert(pod.key.name.clone(), pod.clone());
        self.place.insert(pod.key.clone(), name.clone());
        self.of_namespace.entry(namespace.clone()).or_default().insert(name.clone());
        self.dirty.insert(name.clone());
    }

    fn remove(&mut self, key: &NamespacedName) {
        let Some(name) = self.place.remove(key) else { return };
        let Some(slice) = self.slices.get_mut(&name) else { return };
        slice.pods.remove(&key.name);
        if slice.pods.is_empty() {
            self.forget(&name);
        }
        self.dirty.insert(name);
    }

    fn forget(&mut self, name: &Arc<str>) {
        let Some(slice) = self.slices.remove(name) else { return };
        if let Some(names) = self.of_namespace.get_mut(&slice.namespace) {
            names.remove(name);
            if names.is_empty() {
                self.of_namespace.remove(&slice.namespace);
            }
        }
    }

    /// Makes one of the two smallest slices of a namespace, where both are small.
    fn merge(&mut self, namespace: &Arc<str>) {
        let names = self.of_namespace.get(namespace).into_iter().flatten();
        let mut small: Vec<(usize, Arc<str>)> = names
            .filter_map(|name| Some((self.slices.get(name)?.pods.len(), name.clone())))
            .filter(|(pods, _)| *pods <= FEW)
            .collect();
        small.sort();
        let [(_, from), (_, to), ..] = small.as_slice() else { return };
        let moving: Vec<Arc<Pod>> =
            self.slices.get(from).map(|slice| slice.pods.values().cloned().collect()).unwrap_or_default();
        self.forget(from);
        self.dirty.insert(from.clone());
        moving.iter().for_each(|pod| self.add(to, pod));
    }
}

impl Slice {
    /// Whether the API server has it so.
    fn is(&self, told: &WorkloadSlice) -> bool {
        self.pods.len() == told.pods.len()
            && told.pods.iter().all(|pod| self.pods.get(&pod.key.name) == Some(pod))
    }
}

#[cfg(test)]
mod tests;
