//! Annotations that make no sense: each is counted and told on its object when it is first seen, not at each re-list.
//!
//! Entry point: [`BadAnnotations::tell`]. What counts in their place is not decided here.

use std::{collections::BTreeSet, sync::Arc};

use super::events::{ObjectEvents, Subject, What};
use crate::{
    metrics::{Counter, Metrics, Series, catalogue},
    source::Problem,
    state::{annotations::annotation_of, model::ObjectKey},
};

/// Those that are known.
#[derive(Debug)]
pub struct BadAnnotations {
    known: BTreeSet<Bad>,
    counted: Arc<Series<Counter>>,
}

/// One: the object, which annotation, and what is to be said.
type Bad = (Subject, &'static str, String);

impl BadAnnotations {
    /// None yet.
    pub fn new(metrics: &Metrics) -> Self {
        Self { known: BTreeSet::new(), counted: metrics.counters(&catalogue::BAD_ANNOTATIONS) }
    }

    /// Counts and tells those of `problems`, which are all there are, that were not known, of objects that `subject` knows.
    pub fn tell(
        &mut self,
        problems: &[Problem],
        events: Option<&ObjectEvents>,
        subject: impl Fn(&ObjectKey) -> Option<Subject>,
    ) {
        let bad = |problem: &Problem| -> Option<Bad> {
            let annotation = annotation_of(problem.field.as_deref()?)?;
            let subject = subject(problem.object.as_ref()?)?;
            Some((subject, annotation, Problem { object: None, ..problem.clone() }.to_string()))
        };
        let now: BTreeSet<Bad> = problems.iter().filter_map(bad).collect();
        for (subject, annotation, note) in now.difference(&self.known) {
            self.counted.with(&[subject.kind(), annotation]).inc();
            if let Some(events) = events {
                events.tell(subject.clone(), What::BadAnnotation, note.clone());
            }
        }
        self.known = now;
    }
}
