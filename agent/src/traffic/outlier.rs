//! When an endpoint is left alone for a time, and for how long.
//!
//! Entry points: [`Record`], what one worker knows of one endpoint; [`lagging`], which compares endpoints.
//! How many may be out at once is not known here: the set of endpoints decides.

use std::{cell::Cell, time::Duration};

use super::{
    moment::Moment,
    settings::{Outlier, SuccessRate},
};

/// However alike the others are, an endpoint is not ejected for being less than this below their mean.
const LEAST_GAP: f64 = 0.05;

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Record {
    failures_in_a_row: Cell<u32>,
    /// Since the last comparison.
    successes: Cell<u32>,
    answers: Cell<u32>,
    /// Ejections that are not forgotten yet.
    ejections: Cell<u32>,
    out_until: Cell<Option<Moment>>,
    /// When it came back, or when an ejection was last forgotten.
    well_since: Cell<Moment>,
}

impl Record {
    /// Counts an answer; true when it is one failure too many.
    pub(super) fn note(&self, failed: bool, settings: &Outlier) -> bool {
        // What was sent before it was ejected is no news.
        if self.is_out() {
            return false;
        }
        self.answers.set(self.answers.get().saturating_add(1));
        if !failed {
            self.successes.set(self.successes.get().saturating_add(1));
            self.failures_in_a_row.set(0);
            return false;
        }
        self.failures_in_a_row.set(self.failures_in_a_row.get().saturating_add(1));
        settings.consecutive.is_some_and(|most| self.failures_in_a_row.get() >= most)
    }

    /// Leaves it alone: for the base time, and twice as long with each time that is not forgotten.
    pub(super) fn eject(&self, now: Moment, settings: &Outlier) -> Moment {
        let times = self.ejections.replace(self.ejections.get().saturating_add(1));
        let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
        let time: Duration = settings.base_ejection.saturating_mul(factor).min(settings.max_ejection);
        let until = now.after(time);
        self.out_until.set(Some(until));
        until
    }

    /// Takes it back with a clean slate, but for the number of its ejections.
    pub(super) fn readmit(&self, now: Moment) {
        self.out_until.set(None);
        self.failures_in_a_row.set(0);
        self.successes.set(0);
        self.answers.set(0);
        self.well_since.set(now);
    }

    /// Until when it is left alone; none when it is not.
    pub(super) fn out_until(&self) -> Option<Moment> {
        self.out_until.get()
    }

    /// Whether it is left alone.
    pub(super) fn is_out(&self) -> bool {
        self.out_until.get().is_some()
    }

    /// Ends an interval: forgets one ejection if it did well throughout, and answers with the share of
    /// successes and the number of answers.
    pub(super) fn end_interval(&self, now: Moment, settings: &Outlier) -> (f64, u32) {
        let well = !self.is_out() && now.since(self.well_since.get()) >= settings.interval;
        if well && self.ejections.get() > 0 {
            self.ejections.set(self.ejections.get() - 1);
            self.well_since.set(now);
        }
        let (successes, answers) = (self.successes.take(), self.answers.take());
        (f64::from(successes) / f64::from(answers.max(1)), answers)
    }
}

/// Which of these (success rate, number of answers) are outliers: the indices of those whose rate is too
/// far below the mean of all that had enough answers.
pub(super) fn lagging(rates: &[(f64, u32)], settings: &SuccessRate) -> Vec<usize> {
    let compared = || rates.iter().enumerate().filter(|(_, (_, answers))| *answers >= settings.min_requests);
    let count = compared().count();
    if count == 0 || count < settings.min_endpoints as usize {
        return Vec::new();
    }
    let mean = compared().map(|(_, (rate, _))| rate).sum::<f64>() / count as f64;
    let variance = compared().map(|(_, (rate, _))| (rate - mean).powi(2)).sum::<f64>() / count as f64;
    let least = mean - (settings.deviations * variance.sqrt()).max(LEAST_GAP);
    compared().filter(|(_, (rate, _))| *rate < least).map(|(index, _)| index).collect()
}

/// The fewest endpoints among which a single one can be more than `deviations` below the mean: of `n`, one
/// can be at most √(n−1) away (Samuelson's inequality).
pub(super) fn least_endpoints(deviations: f64) -> u32 {
    let farthest = |n: &u32| f64::from(n - 1).sqrt();
    (2..=1000).find(|n| farthest(n) > deviations).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::settings::Percent;

    fn settings() -> Outlier {
        Outlier {
            consecutive: Some(3),
            success_rate: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(100),
            max_ejected: Percent::of_hundred(50),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    #[test]
    fn failures_count_only_in_a_row() {
        let (record, settings) = (Record::default(), settings());
        let noted: Vec<bool> =
            [true, true, false, true, true, true].map(|failed| record.note(failed, &settings)).into();
        assert_eq!(noted, [false, false, false, false, false, true]);
        let never = Outlier { consecutive: None, ..settings };
        assert!((0..100).all(|_| !record.note(true, &never)));
    }

    #[test]
    fn each_ejection_is_longer_until_the_endpoint_does_well() {
        let (record, settings) = (Record::default(), settings());
        let mut now = at(0);
        for seconds in [30, 60, 100, 100] {
            let until = record.eject(now, &settings);
            assert_eq!(until.since(now), Duration::from_secs(seconds));
            assert!(!record.note(true, &settings), "what it does meanwhile does not count");
            now = until;
            record.readmit(now);
        }
        for seconds in [9, 10, 19, 20, 30, 40, 50] {
            record.end_interval(now.after(Duration::from_secs(seconds)), &settings);
        }
        let now = now.after(Duration::from_secs(60));
        assert_eq!(record.eject(now, &settings).since(now), Duration::from_secs(30), "all is forgotten");
    }

    #[test]
    fn an_endpoint_lags_by_its_deviation_and_by_a_gap_that_matters() {
        let settings = SuccessRate { deviations: 1.7, min_requests: 100, min_endpoints: 5 };
        let rates = |of: [f64; 6]| of.map(|rate| (rate, 100)).to_vec();
        assert_eq!(lagging(&rates([1.0, 0.99, 1.0, 0.98, 0.3, 1.0]), &settings), [4]);
        assert_eq!(
            lagging(&rates([1.0, 1.0, 1.0, 1.0, 0.96, 1.0]), &settings),
            [0; 0],
            "as good as the rest"
        );
        assert_eq!(lagging(&rates([0.1; 6]), &settings), [0; 0], "all alike");
        assert_eq!(lagging(&rates([0.9, 0.5, 0.9, 0.5, 0.9, 0.5]), &settings), [0; 0]);
        let mut few = rates([1.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
        few[4].1 = 99;
        assert_eq!(lagging(&few, &settings), [0; 0], "too few answers to tell");
        assert_eq!(lagging(&few[..4], &settings), [0; 0], "too few endpoints to tell");
        assert_eq!(lagging(&[], &SuccessRate { min_endpoints: 0, ..settings }), [0; 0]);
    }

    #[test]
    fn the_fewest_endpoints_that_can_be_told_apart_are_known() {
        for deviations in [0.5, 1.1, 1.9, 3.1] {
            let count = least_endpoints(deviations) as usize;
            let settings = SuccessRate { deviations, min_requests: 0, min_endpoints: 0 };
            let one_bad =
                |count: usize| Vec::from_iter((0..count).map(|index| (f64::from(u8::from(index > 0)), 1)));
            assert_eq!(lagging(&one_bad(count), &settings), [0], "{deviations}: {count}");
            assert_eq!(lagging(&one_bad(count - 1), &settings), [0; 0], "{deviations}: {count}");
        }
    }
}
