//! What the files say, what is in force, and the difference between the two.
//!
//! Entry point: [`Catalogue::update`]. Pure: texts in, events and problems out. The rule throughout is
//! that what cannot be understood changes nothing: a bad object, a second one of the same name, or a
//! file that cannot be read leave in force what was there.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

use super::read;
use crate::{
    policy::FieldError,
    source::{
        MOST_PROBLEMS, Problem, Scan,
        object::{self, Found},
    },
    state::{Event, Object, model::ObjectKey},
};

/// The files as last understood, and the objects in force.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    hasher: RandomState,
    files: BTreeMap<Arc<str>, File>,
    in_force: BTreeMap<ObjectKey, InForce>,
}

/// A file as it could last be taken apart.
#[derive(Debug, Default)]
struct File {
    /// Of the text that `found` was taken from; none before the first.
    hash: Option<u64>,
    found: Vec<Found>,
    /// Why it cannot be taken apart now. What was found before still counts.
    broken: Option<String>,
}

#[derive(Debug)]
struct InForce {
    file: Arc<str>,
    object: Object,
}

/// One mention of an object: where, and what it is there.
type Mention<'a> = (&'a Arc<str>, &'a Result<Object, Vec<FieldError>>);

impl Catalogue {
    /// Takes in all files there are now, with their texts or why these cannot be had.
    pub(crate) fn update(
        &mut self,
        contents: impl IntoIterator<Item = (String, Result<String, String>)>,
    ) -> Scan {
        let mut present = BTreeSet::new();
        for (name, content) in contents {
            let name: Arc<str> = name.into();
            self.read(&name, content);
            present.insert(name);
        }
        self.files.retain(|name, _| present.contains(name));

        let (events, doubles) = self.compare();
        for event in &events {
            if let Event::Delete(key) = event {
                self.in_force.remove(key);
            }
        }
        let mut problems = self.problems();
        problems.extend(doubles);
        problems.sort_by(|a, b| a.file.cmp(&b.file));
        let hides_pods = problems.iter().any(could_hide_pods);
        let problems_left_out = problems.len().saturating_sub(MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        Scan { events, problems, problems_left_out, heard: None, hides_pods }
    }

    /// The objects in force, with the files they came from.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.in_force.values().map(|held| (&*held.file, &held.object))
    }

    fn read(&mut self, name: &Arc<str>, content: Result<String, String>) {
        let hash = content.as_ref().ok().map(|text| self.hasher.hash_one(text));
        let file = self.files.entry(name.clone()).or_default();
        match content {
            Ok(_) if file.hash == hash => file.broken = None,
            Ok(text) => match read::documents(&text) {
                Ok(found) => *file = File { hash, found, broken: None },
                Err(error) => file.broken = Some(error),
            },
            Err(error) => file.broken = Some(error),
        }
    }

    /// Brings what is in force up to date, but for what is to be deleted; names objects that there are
    /// several of.
    fn compare(&mut self) -> (Vec<Event>, Vec<Problem>) {
        let mut events = Vec::new();
        let mut doubles = Vec::new();
        let mentions = mentions(&self.files);
        for (key, mentions) in &mentions {
            match mentions[..] {
                [(file, Ok(object))] => {
                    let held = self.in_force.get(*key);
                    if held.is_none_or(|held| held.object != *object) {
                        events.push(Event::Apply(object.clone()));
                    }
                    let held = InForce { file: file.clone(), object: object.clone() };
                    self.in_force.insert((*key).clone(), held);
                }
                [_] => {}
                _ => doubles.extend(double(key, mentions, self.in_force.get(*key))),
            }
        }
        let gone = self.in_force.iter().filter(|(key, held)| {
            let may_be_there = |file: &File| file.found.iter().any(|found| may_be(found, key));
            !mentions.contains_key(*key) && !self.files.get(&held.file).is_some_and(may_be_there)
        });
        events.extend(gone.map(|(key, _)| Event::Delete(key.clone())));
        (events, doubles)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, file) in &self.files {
            if let Some(error) = &file.broken {
                problems.push(Problem::of_file(name, error));
                continue;
            }
            for found in &file.found {
                match found {
                    Found::Object(key, read) => problems
                        .extend(object::faults(read).map(|fault| Problem::of_field(name, Some(key), fault))),
                    Found::Unknown(_, error) => problems.push(Problem::of_field(name, None, error.clone())),
                }
            }
        }
        problems
    }
}

fn mentions(files: &BTreeMap<Arc<str>, File>) -> BTreeMap<&ObjectKey, Vec<Mention<'_>>> {
    let mut mentions: BTreeMap<&ObjectKey, Vec<Mention<'_>>> = BTreeMap::new();
    for (name, file) in files {
        for found in &file.found {
            if let Found::Object(key, object) = found {
                mentions.entry(key).or_default().push((name, object));
            }
        }
    }
    mentions
}

/// Whether what cannot be told apart could be the object `key`, so that this one must not be deleted:
/// `kind: AccesPolicy` must not open a workload.
fn may_be(found: &Found, key: &ObjectKey) -> bool {
    match found {
        Found::Object(..) => false,
        Found::Unknown(name, _) => name.as_ref().is_none_or(|name| *name == key.name || !is_name(name)),
    }
}

/// Whether it could be a pod's, or that of what enrols it.
fn could_hide_pods(problem: &Problem) -> bool {
    problem.object.as_ref().is_none_or(|object| matches!(&*object.kind, "Pod" | "Namespace"))
}

fn is_name(text: &str) -> bool {
    crate::source::names::subdomain(text).is_ok()
}

/// One problem for each mention of an object that there are several of.
fn double(key: &ObjectKey, mentions: &[Mention<'_>], held: Option<&InForce>) -> Vec<Problem> {
    let state = match held {
        Some(held) => format!("the version of {} stays in force", held.file),
        None => "none of them is in force".into(),
    };
    let mut problems = Vec::new();
    for (index, (file, _)) in mentions.iter().enumerate() {
        let others = mentions.iter().enumerate().filter(|(other, _)| *other != index);
        let places: BTreeSet<&str> = others.map(|(_, (file, _))| &***file).collect();
        let places = Vec::from_iter(places).join(", ");
        let error = FieldError {
            field: "metadata.name".into(),
            value: key.name.to_string(),
            message: format!("another {} of this name is in {places}; {state}", key.kind),
        };
        problems.push(Problem::of_field(file, Some(key), error));
    }
    problems
}
