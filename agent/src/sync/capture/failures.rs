//! Enrolled pods that are not captured, and what is said of them when.
//!
//! Entry point: [`Failures::note`]. A pod that starts has no process and no address for a while: that is worth a warning only
//! when it stays so. What is wrong from the first is said at once; the same is said once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::Level;

use super::CaptureError;
use crate::state::model::NamespacedName;

/// A sandbox takes seconds; volumes that are not there, and plugins that refuse, take as long as they like.
const TO_RUN: Duration = Duration::from_secs(300);
/// The kubelet says a pod's address as soon as its sandbox is there.
const TO_HAVE_AN_ADDRESS: Duration = Duration::from_secs(60);

/// Those that are not captured, and why.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<NamespacedName, Failure>);

#[derive(Debug)]
struct Failure {
    error: CaptureError,
    since: Instant,
    /// When it was tried last.
    tried: Instant,
    warned: bool,
}

impl Failures {
    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&NamespacedName, &CaptureError)> {
        self.0.iter().map(|(pod, failure)| (pod, &failure.error))
    }

    /// Why a pod is not captured.
    pub fn get(&self, pod: &NamespacedName) -> Option<&CaptureError> {
        self.0.get(pod).map(|failure| &failure.error)
    }

    /// Since when a pod could have been captured, if it could not be captured at once: a pod that starts could not be while
    /// nothing of it ran, or it had no address.
    pub(super) fn since(&self, pod: &NamespacedName) -> Option<Instant> {
        let failure = self.0.get(pod)?;
        Some(if patience(&failure.error) > Duration::ZERO { failure.tried } else { failure.since })
    }

    /// Notes that a pod cannot be captured, with a kubelet that starts it or without; says how loud that is to be said now,
    /// if at all.
    pub(super) fn note(
        &mut self,
        pod: &NamespacedName,
        error: CaptureError,
        starts: bool,
        now: Instant,
    ) -> Option<Level> {
        let patience = if starts { patience(&error) } else { Duration::ZERO };
        let before = self.0.get(pod).filter(|before| before.error.to_string() == error.to_string());
        let (is_new, since) = (before.is_none(), before.map_or(now, |before| before.since));
        let warned = before.is_some_and(|before| before.warned);
        let due = !warned && now.duration_since(since) >= patience;
        self.0.insert(pod.clone(), Failure { error, since, tried: now, warned: warned || due });
        match (due, is_new) {
            (true, _) => Some(Level::WARN),
            (false, true) => Some(Level::DEBUG),
            (false, false) => None,
        }
    }

    /// Forgets a pod.
    pub(super) fn remove(&mut self, pod: &NamespacedName) {
        self.0.remove(pod);
    }

    /// Forgets all others.
    pub(super) fn keep(&mut self, wanted: impl Fn(&NamespacedName) -> bool) {
        self.0.retain(|pod, _| wanted(pod));
    }
}

/// How long a pod that starts may be like this.
fn patience(error: &CaptureError) -> Duration {
    match error {
        CaptureError::NotRunning => TO_RUN,
        CaptureError::NoAddress => TO_HAVE_AN_ADDRESS,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> NamespacedName {
        NamespacedName::new("shop", "cart-0")
    }

    #[test]
    fn a_pod_that_starts_is_warned_of_once_and_only_when_it_takes_too_long() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let mut note = |error, after| failures.note(&pod(), error, true, start + after);
        assert_eq!(note(CaptureError::NotRunning, Duration::ZERO), Some(Level::DEBUG));
        assert_eq!(note(CaptureError::NotRunning, TO_RUN / 2), None);
        // The next step of its start has a time of its own.
        assert_eq!(note(CaptureError::NoAddress, TO_RUN / 2), Some(Level::DEBUG));
        assert_eq!(note(CaptureError::NoAddress, TO_RUN / 2 + TO_HAVE_AN_ADDRESS), Some(Level::WARN));
        assert_eq!(note(CaptureError::NoAddress, TO_RUN * 2), None);
        assert_eq!(note(CaptureError::NotRunning, TO_RUN * 2), Some(Level::DEBUG));
        assert_eq!(note(CaptureError::NotRunning, TO_RUN * 3), Some(Level::WARN));
    }

    #[test]
    fn the_time_of_a_capture_begins_when_it_could_have_been_made() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(failures.since(&pod()), None);
        failures.note(&pod(), CaptureError::NotRunning, true, start);
        failures.note(&pod(), CaptureError::NotRunning, true, start + second);
        assert_eq!(failures.since(&pod()), Some(start + second));
        failures.note(&pod(), CaptureError::Disputed, true, start + 2 * second);
        failures.note(&pod(), CaptureError::Disputed, true, start + 3 * second);
        assert_eq!(failures.since(&pod()), Some(start + 2 * second));
    }

    #[test]
    fn what_is_wrong_from_the_first_is_said_at_once() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.note(&pod(), CaptureError::Disputed, true, now), Some(Level::WARN));
        assert_eq!(failures.note(&pod(), CaptureError::Disputed, true, now), None);
        let other = CaptureError::Full("WORKLOADS");
        assert_eq!(failures.note(&pod(), other, true, now), Some(Level::WARN));
        // No kubelet will give it one.
        assert_eq!(failures.note(&pod(), CaptureError::NoAddress, false, now), Some(Level::WARN));
        failures.keep(|_| false);
        assert_eq!(failures.note(&pod(), CaptureError::Disputed, true, now), Some(Level::WARN));
    }
}
