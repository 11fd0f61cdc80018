//! Where the cluster's state comes from: Kubernetes objects become the events of [`state`](crate::state).
//!
//! Entry points: [`Source`], of which there are two: [`yaml::YamlDirectory`] reads a directory, [`kube::KubeSource`] asks an API server; [`lint`] says what is wrong with files
//! before anybody reads them; [`convert`] trims the Kubernetes API's own types, for every source alike.
//! What cannot be read is a [`Problem`], never a panic and never an empty state.

pub mod convert;
pub mod kube;
pub mod lint;
pub mod names;
pub mod yaml;

mod fields;
pub(crate) mod object;

use std::{fmt, time::Instant};

use crate::{
    policy::FieldError,
    state::{Event, model::ObjectKey},
};

/// One scan lists at most this many problems and counts the rest.
pub const MOST_PROBLEMS: usize = 1000;

/// What a look at a source found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// The difference to what was in force before.
    pub events: Vec<Event>,
    /// Everything that is wrong now, also what was wrong before; sorted by file.
    pub problems: Vec<Problem>,
    /// How many more problems there are than `problems` lists.
    pub problems_left_out: usize,
    /// When the first of it was told, where that is known.
    pub heard: Option<Instant>,
    /// Whether something is wrong that could hide a pod, or what enrols it.
    pub hides_pods: bool,
}

/// Where the cluster's state comes from.
#[derive(Debug)]
pub enum Source {
    /// Files.
    Directory(yaml::YamlDirectory),
    /// An API server.
    Kubernetes(kube::KubeSource),
}

impl Source {
    /// All there is, when it is known.
    pub async fn first(&mut self) -> Scan {
        match self {
            Self::Directory(directory) => directory.scan(),
            Self::Kubernetes(kubernetes) => kubernetes.first().await,
        }
    }

    /// What is different since the last time.
    pub fn scan(&mut self) -> Scan {
        match self {
            Self::Directory(directory) => directory.scan(),
            Self::Kubernetes(kubernetes) => kubernetes.scan(),
        }
    }

    /// Waits until something may be different. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        match self {
            Self::Directory(directory) => directory.changed().await,
            Self::Kubernetes(kubernetes) => kubernetes.changed().await,
        }
    }
}

/// What is wrong with a file, or with an object or a field in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file, by its name in the directory or as it was given; empty for what the API server gave.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The object, when it can be told which one it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
    /// The field inside the object, like `metadata.annotations["weir.dev/mesh"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The field's value, cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with a whole file.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), object: None, field: None, value: None, message: message.into() }
    }

    /// A problem with a field of an object, if it is known which.
    pub fn of_field(file: &str, object: Option<&ObjectKey>, error: FieldError) -> Self {
        Self {
            file: file.into(),
            object: object.cloned(),
            field: Some(error.field).filter(|field| !field.is_empty()),
            value: Some(error.value).filter(|value| !value.is_empty()),
            message: error.message,
        }
    }
}

/// One line, whatever is in the file: `pods.yaml: Pod shop/cart-0: spec.hostNetwork: "yes": …`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file.escape_debug())?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{}: ", OneLine(field))?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value:?}: ")?;
        }
        write!(f, "{}", OneLine(&self.message))
    }
}

/// Text whose control characters cannot break a line or colour a terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if char.is_control() {
                write!(f, "{}", char.escape_default())?;
            } else {
                write!(f, "{char}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_names_file_object_field_and_value() {
        let key = ObjectKey { kind: "Pod".into(), namespace: "shop".into(), name: "cart-0".into() };
        let error = FieldError {
            field: "spec.hostNetwork".into(),
            value: "yes\nno".into(),
            message: "must be\ntrue or false".into(),
        };
        let problem = Problem::of_field("pods.yaml", Some(&key), error);
        assert_eq!(
            problem.to_string(),
            r#"pods.yaml: Pod shop/cart-0: spec.hostNetwork: "yes\nno": must be\ntrue or false"#
        );
        assert_eq!(Problem::of_file("x.yaml", "is not YAML").to_string(), "x.yaml: is not YAML");
    }

    #[test]
    fn a_problem_in_json_leaves_out_what_it_does_not_know() {
        let json = serde_json::to_value(Problem::of_file("x.yaml", "is not YAML")).expect("plain data");
        assert_eq!(json, serde_json::json!({"file": "x.yaml", "message": "is not YAML"}));
    }
}
