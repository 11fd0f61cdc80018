//! What is wrong with files before an agent reads them.
//!
//! Entry points: [`files`], [`text`]. They read objects exactly as the agent would, and look at all
//! files together, so that two objects of one name, or two policies that contradict each other, are found, and a
//! reference that leads nowhere where the files have the Service that it is about.

use std::{collections::HashMap, path::Path};

use super::{
    Problem,
    yaml::{self, Catalogue},
};
use crate::{
    policy::{FieldError, Warning},
    state::{Event, Object, Settings, State, routes},
    traffic::TrafficIndex,
};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lint {
    /// What the agent would refuse.
    pub problems: Vec<Problem>,
    /// How many more problems there are than `problems` lists.
    pub problems_left_out: usize,
    /// What the agent would take, though it may not do what its author expects.
    pub warnings: Vec<Problem>,
    /// How many objects the agent would take.
    pub objects: usize,
}

/// Reads the files at `paths`.
pub fn files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Lint {
    lint(paths.into_iter().map(|path| {
        let path = path.as_ref();
        (path.display().to_string(), yaml::content(path))
    }))
}

/// Reads `text` as if it were the file `file`.
pub fn text(file: &str, text: &str) -> Lint {
    lint([(file.into(), Ok(text.into()))])
}

fn lint(files: impl IntoIterator<Item = (String, Result<String, String>)>) -> Lint {
    let mut catalogue = Catalogue::default();
    let scan = catalogue.update(files);
    let mut lint =
        Lint { problems: scan.problems, problems_left_out: scan.problems_left_out, ..Lint::default() };
    let mut state = State::new(Settings::default());
    state.apply_all(catalogue.in_force().map(|(_, object)| Event::Apply(object.clone())));
    let of_routes = routes::warnings(&state.snapshot());
    let (mut traffic, mut places) = (TrafficIndex::default(), HashMap::new());
    for (file, object) in catalogue.in_force() {
        lint.objects += 1;
        let (own, beside): (&[Warning], &[Warning]) = match object {
            Object::AccessPolicy(policy) => (policy.warnings(), &[]),
            Object::Route(route) => {
                (route.warnings(), of_routes.get(route.key()).map(Vec::as_slice).unwrap_or_default())
            }
            Object::TrafficPolicy(policy) => {
                traffic.put(policy.key(), Some(policy.clone()));
                places.insert(policy.key().clone(), (file, object.key()));
                (policy.warnings(), &[])
            }
            Object::RequestAuthentication(authentication) => (authentication.warnings(), &[]),
            _ => (&[], &[]),
        };
        lint.warnings.extend(own.iter().chain(beside).map(|warning| warned(file, object, warning)));
    }
    for conflict in traffic.conflicts() {
        let Some((file, key)) = places.get(&conflict.ignored) else {
            continue;
        };
        let error = FieldError {
            field: "spec.targetRefs".into(),
            value: conflict.service.name.to_string(),
            message: conflict.message(),
        };
        lint.warnings.push(Problem::of_field(file, Some(key), error));
    }
    lint
}

fn warned(file: &str, object: &Object, warning: &Warning) -> Problem {
    let error =
        FieldError { field: warning.field.clone(), value: String::new(), message: warning.message.clone() };
    Problem::of_field(file, Some(&object.key()), error)
}
