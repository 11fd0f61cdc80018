//! From a parsed document to a typed object, with everything that is wrong in it.
//!
//! Entry points: [`parse`], [`read`]. Deserializing stops at the first error; here the offending field is taken
//! out and the rest is read again, so that an author sees all mistakes at once.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::field::{Fault, FieldError, FieldPath, Step};

/// More errors than this in one object are not looked for: each costs one more reading.
const MOST_ERRORS: usize = 50;

/// What could be read of a document, and what was wrong with it.
pub(crate) struct Reading<T> {
    /// The object without its offending fields; none when there is nothing left to read.
    pub(crate) object: Option<T>,
    /// What was wrong, in the places where it was in the document.
    pub(crate) faults: Vec<Fault>,
}

/// Reads the value that stands at `root` and makes of it what `compile` does.
///
/// # Errors
/// Everything that is wrong with it, by reading and by compiling.
pub(crate) fn parse<T: DeserializeOwned, U>(
    root: &FieldPath,
    document: Value,
    compile: impl FnOnce(T) -> Result<U, Vec<Fault>>,
) -> Result<U, Vec<FieldError>> {
    let Reading { object, mut faults } = read(root, document);
    let mut more = match object.map(compile) {
        Some(Ok(compiled)) if faults.is_empty() => return Ok(compiled),
        Some(Err(more)) => more,
        Some(Ok(_)) | None => Vec::new(),
    };
    // What is empty only because something wrong was taken out of it is not an error of its own.
    more.iter_mut().for_each(|fault| fault.path = in_document(&fault.path, &faults));
    more.retain(|fault| !faults.iter().any(|cause| fault.path.holds(&cause.path)));
    faults.append(&mut more);
    Err(faults.into_iter().map(FieldError::from).collect())
}

/// Reads the value that stands at `root`.
pub(crate) fn read<T: DeserializeOwned>(root: &FieldPath, mut document: Value) -> Reading<T> {
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(&document) {
            Ok(object) => return Reading { object: Some(object), faults },
            Err(error) => error,
        };
        let steps = steps(error.path());
        let path = FieldPath(root.0.iter().chain(&steps).cloned().collect());
        let value = take(&mut document, &steps);
        faults.push(Fault {
            path: in_document(&path, &faults),
            value: value.as_ref().unwrap_or(&document).to_string(),
            message: error.into_inner().to_string(),
        });
        if value.is_none() || faults.len() == MOST_ERRORS {
            return Reading { object: None, faults };
        }
    }
}

/// The place in the document of what is at `path` in the object that is left when all that
/// `faults` speaks of is taken out: a list from which elements were taken has moved together.
pub(crate) fn in_document(path: &FieldPath, faults: &[Fault]) -> FieldPath {
    let mut place = FieldPath::default();
    for step in &path.0 {
        let Step::Index(mut index) = *step else {
            place.0.push(step.clone());
            continue;
        };
        let taken = |fault: &Fault| match fault.path.0.split_last() {
            Some((Step::Index(index), list)) if list == place.0 => Some(*index),
            _ => None,
        };
        let mut gone: Vec<usize> = faults.iter().filter_map(taken).collect();
        gone.sort_unstable();
        index += gone.into_iter().fold(0, |before, gone| before + usize::from(gone <= index + before));
        place = place.index(index);
    }
    place
}

/// Takes the value at `steps` out of `document`; none when it is the document itself.
fn take(document: &mut Value, steps: &[Step]) -> Option<Value> {
    let (last, way) = steps.split_last()?;
    let holder = way.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })?;
    match (holder, last) {
        (Value::Object(fields), Step::Key(key)) => fields.remove(key),
        (Value::Array(list), Step::Index(index)) if *index < list.len() => Some(list.remove(*index)),
        _ => None,
    }
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}
