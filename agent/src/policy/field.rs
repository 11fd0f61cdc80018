//! Where in an object something is wrong, and what: the errors and warnings of one policy.
//!
//! Entry points: [`FieldError`], [`Warning`]; [`FieldPath`] and [`Faults`] are how they come about.

use std::fmt;

/// Values are cut to so many characters.
pub(crate) const LONGEST_VALUE: usize = 200;
/// So are fields, which may have outside names in them, and messages, which may repeat a value.
const LONGEST_TEXT: usize = 400;

/// What is wrong with one field of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value}: {message}")]
pub struct FieldError {
    /// The field, like `spec.rules[0].to[0].ports[1]`.
    pub field: String,
    /// Its value as JSON or text, cut to 200 characters.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// What is suspicious about a field of an object that is nevertheless in force.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The field, like `spec.rules[0].to[0].paths`.
    pub field: String,
    /// What it does that its author may not expect.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The way from an object's root to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldPath(pub(crate) Vec<Step>);

impl FieldPath {
    /// The path of `spec`.
    pub(crate) fn spec() -> Self {
        Self::default().key("spec")
    }

    /// The field `key` of the object at this path.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.into()));
        Self(steps)
    }

    /// The element `index` of the list at this path.
    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// Whether `other` is this field or inside it.
    pub(crate) fn holds(&self, other: &FieldPath) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong, while its path can still be computed with.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) path: FieldPath,
    pub(crate) value: String,
    pub(crate) message: String,
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        FieldError {
            field: cut(fault.path.to_string(), LONGEST_TEXT),
            value: cut(fault.value, LONGEST_VALUE),
            message: cut(fault.message, LONGEST_TEXT),
        }
    }
}

pub(crate) fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Collects everything that is wrong with an object, so that its author sees it all at once.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    /// Notes that the field at `path` has a `value` that is wrong.
    pub(crate) fn add(&mut self, path: FieldPath, value: impl fmt::Display, message: impl Into<String>) {
        self.0.push(Fault { path, value: value.to_string(), message: message.into() });
    }

    /// Parses each value of a list that may be absent; a list that is present must not be empty.
    pub(crate) fn list<T: fmt::Display, U>(
        &mut self,
        path: FieldPath,
        list: Option<&[T]>,
        parse: impl Fn(&T) -> Result<U, String>,
    ) -> Option<Vec<U>> {
        let list = list?;
        if list.is_empty() {
            self.add(path, "[]", "an empty list matches nothing: leave it out, or name a value");
            return None;
        }
        let mut parsed = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match parse(value) {
                Ok(value) => parsed.push(value),
                Err(message) => self.add(path.index(index), value, message),
            }
        }
        Some(parsed)
    }
}
