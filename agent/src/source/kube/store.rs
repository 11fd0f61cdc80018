//! What the API server said, what is in force, and the difference between the two.
//!
//! Entry point: [`Store::take`]. Pure: what was told in, events out. What cannot be understood changes nothing: of a bad
//! object the last good version stays in force. A list that is told anew becomes what is different in it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::raw::Read;
use crate::{
    policy::FieldError,
    source::{MOST_PROBLEMS, Problem, object},
    state::{Event, Kind, Object, model::ObjectKey},
};

/// What was heard of the objects of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// All of them follow.
    Listing,
    /// One is there, or is now like this.
    Is(ObjectKey, Read),
    /// One is gone.
    Gone(ObjectKey),
    /// That was all of them.
    Listed,
    /// The API server does not know the kind, so there are none.
    Absent,
}

/// All kinds.
#[derive(Debug, Default)]
pub(super) struct Store(BTreeMap<Kind, Kept>);

/// Of one kind.
#[derive(Debug, Default)]
struct Kept {
    in_force: HashMap<ObjectKey, Object>,
    faults: BTreeMap<ObjectKey, Vec<FieldError>>,
    /// Those that are there and that cannot be read.
    unread: HashSet<ObjectKey>,
    /// While a list is told: what has been in it so far.
    listing: Option<HashSet<ObjectKey>>,
    /// Whether all was told once.
    complete: bool,
}

impl Store {
    /// Takes in what was told of `kind`; what that changes is put behind `events`.
    pub(super) fn take(&mut self, kind: Kind, told: Told, events: &mut Vec<Event>) {
        let kept = self.0.entry(kind).or_default();
        match told {
            Told::Listing => kept.listing = Some(HashSet::new()),
            Told::Is(key, (read, faults)) => {
                if let Some(seen) = &mut kept.listing {
                    seen.insert(key.clone());
                }
                kept.is(key, read, faults, events);
            }
            Told::Gone(key) => kept.gone(key, events),
            Told::Listed => {
                let seen = kept.listing.take().unwrap_or_default();
                kept.only(&seen, events);
            }
            Told::Absent => {
                kept.listing = None;
                kept.only(&HashSet::new(), events);
            }
        }
    }

    /// Those of `kinds` of which not all was told yet. Where pods are known from slices, these have to say that they are all.
    pub(super) fn missing(&self, kinds: &[Kind], sliced: bool) -> Vec<Kind> {
        let complete = |kind: &Kind| {
            let kept = self.0.get(kind).filter(|kept| kept.complete);
            kept.is_some_and(|kept| !sliced || *kind != Kind::WorkloadSlice || kept.has_all_pods())
        };
        kinds.iter().copied().filter(|kind| !complete(kind)).collect()
    }

    /// Whether a pod, or what could enrol it, is there and cannot be read.
    pub(super) fn hides_pods(&self) -> bool {
        let hides = |kind: &Kind| self.0.get(kind).is_some_and(|kept| !kept.unread.is_empty());
        [Kind::Pod, Kind::WorkloadSlice, Kind::Namespace].iter().any(hides)
    }

    /// How many objects of each kind are in force.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.0.iter().map(|(kind, kept)| (*kind, kept.in_force.len()))
    }

    /// What is wrong now, and how much more there is than is listed.
    pub(super) fn problems(&self) -> (Vec<Problem>, usize) {
        let faults = || self.0.values().flat_map(|kept| &kept.faults);
        let count: usize = faults().map(|(_, faults)| faults.len()).sum();
        let problem = |(key, faults): (&ObjectKey, &Vec<FieldError>)| -> Vec<Problem> {
            faults.iter().map(|fault| Problem::of_field("", Some(key), fault.clone())).collect()
        };
        let problems: Vec<Problem> = faults().flat_map(problem).take(MOST_PROBLEMS).collect();
        let left_out = count - problems.len();
        (problems, left_out)
    }
}

impl Kept {
    /// Whether some WorkloadSlice says that all pods are in slices.
    fn has_all_pods(&self) -> bool {
        let complete = |object: &Object| matches!(object, Object::WorkloadSlice(slice) if slice.complete);
        self.in_force.values().any(complete)
    }

    fn is(
        &mut self,
        key: ObjectKey,
        read: Result<Object, Vec<FieldError>>,
        mut faults: Vec<FieldError>,
        events: &mut Vec<Event>,
    ) {
        faults.extend(object::faults(&read));
        if read.is_ok() {
            self.unread.remove(&key);
        } else {
            self.unread.insert(key.clone());
        }
        if faults.is_empty() {
            self.faults.remove(&key);
        } else {
            self.faults.insert(key.clone(), faults);
        }
        if let Ok(object) = read
            && self.in_force.get(&key) != Some(&object)
        {
            events.push(Event::Apply(object.clone()));
            self.in_force.insert(key, object);
        }
    }

    fn gone(&mut self, key: ObjectKey, events: &mut Vec<Event>) {
        self.faults.remove(&key);
        self.unread.remove(&key);
        if let Some(seen) = &mut self.listing {
            seen.remove(&key);
        }
        if self.in_force.remove(&key).is_some() {
            events.push(Event::Delete(key));
        }
    }

    /// Nothing but `seen` is there.
    fn only(&mut self, seen: &HashSet<ObjectKey>, events: &mut Vec<Event>) {
        let mut gone: Vec<ObjectKey> =
            self.in_force.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        gone.sort();
        for key in gone {
            self.gone(key, events);
        }
        self.faults.retain(|key, _| seen.contains(key));
        self.unread.retain(|key| seen.contains(key));
        self.complete = true;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{source::object::read_served, state::model::NamespacedName};

    fn key(name: &str) -> ObjectKey {
        ObjectKey { kind: "Node".into(), namespace: "".into(), name: name.into() }
    }

    fn node(name: &str, address: &str) -> Told {
        let value = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        });
        let read = read_served(Kind::Node, NamespacedName::new("", name), &value);
        Told::Is(key(name), (read, Vec::new()))
    }

    fn tell(store: &mut Store, told: impl IntoIterator<Item = Told>) -> Vec<String> {
        let mut events = Vec::new();
        told.into_iter().for_each(|told| store.take(Kind::Node, told, &mut events));
        let word = |event: &Event| match event {
            Event::Apply(object) => format!("+{}", object.key().name),
            Event::Delete(key) => format!("-{}", key.name),
        };
        events.iter().map(word).collect()
    }

    fn listed(store: &mut Store, nodes: &[(&str, &str)]) -> Vec<String> {
        let nodes = nodes.iter().map(|(name, address)| node(name, address));
        tell(store, [Told::Listing].into_iter().chain(nodes).chain([Told::Listed]))
    }

    #[test]
    fn a_list_that_is_told_anew_becomes_what_is_different_in_it() {
        let mut store = Store::default();
        assert_eq!(listed(&mut store, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]), ["+a", "+b"]);
        assert_eq!(listed(&mut store, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]), [""; 0]);
        assert_eq!(listed(&mut store, &[("b", "10.0.0.9"), ("c", "10.0.0.3")]), ["+b", "+c", "-a"]);
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut store = Store::default();
        listed(&mut store, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
        assert_eq!(tell(&mut store, [Told::Listing, node("a", "10.0.0.1"), Told::Listing]), [""; 0]);
        assert_eq!(tell(&mut store, [node("b", "10.0.0.2"), Told::Listed]), ["-a"]);
    }

    #[test]
    fn a_bad_object_changes_nothing_and_is_a_problem_until_it_is_mended() {
        let mut store = Store::default();
        listed(&mut store, &[("a", "10.0.0.1")]);
        assert_eq!(tell(&mut store, [node("a", "nowhere")]), [""; 0]);
        let (problems, left_out) = store.problems();
        assert_eq!(
            (problems[0].to_string().as_str(), left_out),
            (r#"Node a: status.addresses[0].address: "nowhere": is not an IP address"#, 0)
        );
        // Still bad in a list: it is there.
        assert_eq!(listed(&mut store, &[("a", "nowhere")]), [""; 0]);
        assert_eq!(tell(&mut store, [node("a", "10.0.0.4")]), ["+a"]);
        assert_eq!(store.problems(), (Vec::new(), 0));
        tell(&mut store, [node("b", "nowhere")]);
        assert_eq!(tell(&mut store, [Told::Gone(key("b"))]), [""; 0]);
        assert_eq!(store.problems(), (Vec::new(), 0));
    }

    #[test]
    fn a_pod_that_cannot_be_read_hides_something_and_one_with_a_fault_does_not() {
        let mut store = Store::default();
        let key = ObjectKey { kind: "Pod".into(), namespace: "shop".into(), name: "a".into() };
        let fault = FieldError { field: "x".into(), value: "y".into(), message: "z".into() };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"containers": []},
        });
        let pod = read_served(Kind::Pod, NamespacedName::new("shop", "a"), &pod);
        let mut tell = |told| store.take(Kind::Pod, told, &mut Vec::new());
        tell(Told::Is(key.clone(), (pod, vec![fault.clone()])));
        assert!(!store.hides_pods());
        assert_eq!(store.problems().0.len(), 1);
        store.take(Kind::Pod, Told::Is(key.clone(), (Err(vec![fault]), Vec::new())), &mut Vec::new());
        assert!(store.hides_pods());
        store.take(Kind::Pod, Told::Gone(key), &mut Vec::new());
        assert!(!store.hides_pods());
    }

    #[test]
    fn what_has_not_been_told_whole_is_missing() {
        let mut store = Store::default();
        let kinds = [Kind::Node, Kind::Pod];
        assert_eq!(store.missing(&kinds, false), kinds);
        tell(&mut store, [Told::Listing, node("a", "10.0.0.1")]);
        assert_eq!(store.missing(&kinds, false), kinds);
        tell(&mut store, [Told::Listed, Told::Listing]);
        assert_eq!(store.missing(&kinds, false), [Kind::Pod]);
    }

    #[test]
    fn a_kind_that_is_not_there_has_no_objects() {
        let mut store = Store::default();
        listed(&mut store, &[("a", "10.0.0.1")]);
        assert_eq!(tell(&mut store, [Told::Absent]), ["-a"]);
        assert_eq!(store.missing(&[Kind::Node], false), []);
    }

    #[test]
    fn one_that_goes_while_a_list_is_told_is_gone() {
        let mut store = Store::default();
        let told = [Told::Listing, node("a", "10.0.0.1"), Told::Gone(key("a")), Told::Listed];
        assert_eq!(tell(&mut store, told), ["+a", "-a"]);
    }
}
