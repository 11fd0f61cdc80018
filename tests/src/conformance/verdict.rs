//! What a run of the suite says about Weir.
//!
//! Entry points: [`Findings::wrong`], [`Findings::table`].

use super::{suite::Outcome, witness::Seen};

/// How many tests of a mesh v1.5.1 of the suite has. One that has more asks for features that nobody has looked at yet.
const TESTS: usize = 22;

const HEAD: &str = "\
| test | suite | answers | requests | counted | tunnelled | received | connections | routes |
|---|---|---|---|---|---|---|---|---|
";

/// What a run of the suite gives.
#[derive(Debug)]
pub struct Findings {
    /// One for each test of a mesh that the suite has, or for the one that was asked for.
    pub verdicts: Vec<Verdict>,
    /// The suite's own report.
    pub report: String,
    /// All that the suite printed.
    pub log: String,
}

/// What became of one test.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its name.
    pub test: String,
    /// What the suite says.
    pub outcome: Outcome,
    /// Whether it has routes.
    pub routes: bool,
    /// How many answers the suite had for it.
    pub requests: u64,
    /// What the agents have seen of them.
    pub seen: Seen,
}

impl Verdict {
    /// Whether it passed, and every one of its requests was Weir's.
    pub fn holds(&self) -> bool {
        self.outcome == Outcome::Passed && self.is_carried()
    }

    /// Whether Weir carried every request of it, by its records and by its counters, some by a rule where it has any.
    pub fn is_carried(&self) -> bool {
        let by_the_proxy = self.seen.requests > 0 && (!self.routes || !self.seen.rules.is_empty());
        self.requests > 0 && by_the_proxy && self.seen.accounts_for(self.requests)
    }
}

impl Findings {
    /// What keeps the whole suite from holding: a sentence each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = self.wrong_tests();
        if self.verdicts.len() != TESTS {
            wrong.push(format!("the suite has {} tests of a mesh, not {TESTS}", self.verdicts.len()));
        }
        wrong
    }

    /// The same of the tests that were run.
    pub fn wrong_tests(&self) -> Vec<String> {
        let fails = self.verdicts.iter().filter(|verdict| !verdict.holds());
        fails
            .map(|verdict| match verdict.outcome {
                Outcome::Passed => format!("{} passed, but not by Weir: {:?}", verdict.test, verdict.seen),
                outcome => format!("{} {outcome}", verdict.test),
            })
            .collect()
    }

    /// All verdicts, for people: Markdown.
    pub fn table(&self) -> String {
        let mut table = String::from(HEAD);
        for Verdict { test, outcome, requests: answers, seen, .. } in &self.verdicts {
            let routes = seen.routes();
            let routes: Vec<String> =
                routes.iter().map(|(route, count)| format!("{route} {count}")).collect();
            let Seen { requests, counted, tunnelled, received, connections, .. } = seen;
            let numbers = [answers, requests, counted, tunnelled, received, connections];
            let numbers = numbers.map(u64::to_string).join(" | ");
            table += &format!("| {test} | {outcome} | {numbers} | {} |\n", routes.join(", "));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn passed() -> Verdict {
        let rules = BTreeMap::from([("a/b/0".to_owned(), 3)]);
        Verdict {
            test: "MeshTrafficSplit".into(),
            outcome: Outcome::Passed,
            routes: true,
            requests: 3,
            seen: Seen { requests: 3, counted: 3, rules, ..Seen::default() },
        }
    }

    #[test]
    fn what_passed_and_was_carried_holds() {
        assert!(passed().holds());
    }

    #[test]
    fn what_passed_with_no_mesh_does_not_hold() {
        assert!(!Verdict { seen: Seen::default(), ..passed() }.holds());
        // One of three went past the mesh.
        let seen = Seen { requests: 2, counted: 2, ..passed().seen };
        assert!(!Verdict { seen, ..passed() }.holds());
        // All were carried, and by no rule.
        let seen = Seen { rules: BTreeMap::new(), ..passed().seen };
        assert!(!Verdict { seen: seen.clone(), ..passed() }.holds());
        assert!(Verdict { seen, routes: false, ..passed() }.holds());
        // All were bytes.
        let seen = Seen { connections: 3, ..Seen::default() };
        assert!(!Verdict { seen, routes: false, ..passed() }.holds());
    }

    #[test]
    fn what_made_no_request_does_not_hold() {
        assert!(!Verdict { requests: 0, ..passed() }.holds());
    }

    #[test]
    fn what_failed_or_was_skipped_does_not_hold_and_is_named() {
        for (outcome, words) in [(Outcome::Failed, "failed"), (Outcome::Skipped, "skipped")] {
            let verdict = Verdict { outcome, ..passed() };
            let findings =
                Findings { verdicts: vec![passed(), verdict], report: String::new(), log: String::new() };
            assert_eq!(findings.wrong_tests(), [format!("MeshTrafficSplit {words}")]);
            assert_eq!(findings.wrong()[1], "the suite has 2 tests of a mesh, not 22");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_test() {
        let findings = Findings { verdicts: vec![passed()], report: String::new(), log: String::new() };
        let table = findings.table();
        let row = "| MeshTrafficSplit | passed | 3 | 3 | 3 | 0 | 0 | 0 | a/b 3 |";
        assert_eq!(table.lines().nth(2), Some(row), "{table}");
    }
}
