//! The YAML source as an operator meets it: good objects, bad input, and files that come and go.

mod bad_input;
mod directory;
mod objects;
mod routes;
mod users;

use crate::{
    source::{Scan, yaml::Catalogue},
    state::{Event, Object, model::ObjectKey},
};

/// Files and what is in force of them, without a disk.
#[derive(Default)]
struct Files {
    catalogue: Catalogue,
    contents: std::collections::BTreeMap<String, Result<String, String>>,
}

impl Files {
    fn with(file: &str, text: &str) -> (Self, Scan) {
        let mut files = Self::default();
        let scan = files.write(file, text);
        (files, scan)
    }

    fn write(&mut self, file: &str, text: &str) -> Scan {
        self.contents.insert(file.into(), Ok(text.into()));
        self.scan()
    }

    fn remove(&mut self, file: &str) -> Scan {
        self.contents.remove(file);
        self.scan()
    }

    fn scan(&mut self) -> Scan {
        self.catalogue.update(self.contents.clone())
    }

    /// Names of the objects in force.
    fn in_force(&self) -> Vec<String> {
        self.catalogue.in_force().map(|(_, object)| object.key().to_string()).collect()
    }
}

/// `+ Pod a/b` for an object that is applied, `- Pod a/b` for one that is deleted.
fn told(scan: &Scan) -> Vec<String> {
    let told = |event: &Event| match event {
        Event::Apply(object) => format!("+ {}", object.key()),
        Event::Delete(key) => format!("- {key}"),
    };
    scan.events.iter().map(told).collect()
}

/// (file, object, field, value) of each problem.
fn places(scan: &Scan) -> Vec<(&str, String, &str, &str)> {
    scan.problems
        .iter()
        .map(|problem| {
            (
                problem.file.as_str(),
                problem.object.as_ref().map(ObjectKey::to_string).unwrap_or_default(),
                problem.field.as_deref().unwrap_or_default(),
                problem.value.as_deref().unwrap_or_default(),
            )
        })
        .collect()
}

fn applied(scan: &Scan) -> Vec<&Object> {
    let mut applied = Vec::new();
    for event in &scan.events {
        if let Event::Apply(object) = event {
            applied.push(object);
        }
    }
    applied
}

fn pod(name: &str, rest: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n{rest}\n")
}
