//! What a check says: a name, how it came out, what was found, and how to mend it.
//!
//! Entry points: [`Item`] and [`Report`]; the JSON form of `weir check -o json` is theirs. How a table of them
//! looks is `table`'s business.

use std::borrow::Cow;

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Weir runs, but not as well as it could.
    Warn,
    /// Weir cannot run.
    Fail,
    /// It cannot be found out without doing harm, or without rights that are missing.
    Unknown,
}

impl Outcome {
    /// The word of the JSON form and the table.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warn => "warn",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What was looked at, in a word or two.
    pub name: Cow<'static, str>,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// How to mend it; there whenever there is something to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Item {
    /// It is as it should be.
    pub fn ok(name: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Ok, found: found.into(), remedy: None }
    }

    /// It works, but could be better.
    pub fn warn(
        name: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), outcome: Outcome::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// It does not work.
    pub fn fail(
        name: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), outcome: Outcome::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// It cannot be told.
    pub fn unknown(name: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Unknown, found: found.into(), remedy: None }
    }

    /// One line: what is wrong, and how to mend it.
    pub fn line(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}: {}: {remedy}", self.name, self.found),
            None => format!("{}: {}", self.name, self.found),
        }
    }
}

/// All that was looked at, in the order in which it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    failed: bool,
    items: Vec<Item>,
}

impl Report {
    /// A report of `items`.
    pub fn new(items: Vec<Item>) -> Self {
        Self { failed: items.iter().any(|item| item.outcome == Outcome::Fail), items }
    }

    /// Whether Weir cannot run here: exit status 1.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// What was looked at.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The first that failed, for whoever can print only one line.
    pub fn first_failure(&self) -> Option<&Item> {
        self.items.iter().find(|item| item.outcome == Outcome::Fail)
    }

    /// The report for a person: at most 120 columns wide, ends in a newline.
    pub fn table(&self) -> String {
        super::table::render(self)
    }
}
