//! A report as a table of at most 120 columns: one line a check, and below what is wrong, how to mend it.
//!
//! Entry point: [`render`]. Pure; knows nothing of what was checked.

use super::{Item, Outcome, Report};

/// The widest line, in characters.
const WIDTH: usize = 120;
/// A name that is longer is shown whole on a line of its own.
const MAX_NAME: usize = 24;

pub(super) fn render(report: &Report) -> String {
    let shown =
        report.items().iter().map(|item| item.name.chars().count()).filter(|length| *length <= MAX_NAME);
    let name_width = shown.max().unwrap_or(0).max("CHECK".len());
    let indent = name_width + 2 + "unknown".len() + 2;
    let mut table = String::new();
    line(&mut table, &format!("{:name_width$}  RESULT   FOUND", "CHECK"));
    for item in report.items() {
        let name = if item.name.chars().count() <= MAX_NAME {
            item.name.as_ref()
        } else {
            wrapped(&mut table, &item.name, 0);
            ""
        };
        let head = format!("{name:name_width$}  {:7}  ", item.outcome.word());
        let mut body = String::new();
        wrapped(&mut body, &item.found, indent);
        line(&mut table, &format!("{head}{}", body.trim_start_matches(' ').trim_end_matches('\n')));
        if let Some(remedy) = &item.remedy {
            wrapped(&mut table, &format!("to mend it: {remedy}"), indent);
        }
    }
    line(&mut table, &summary(report.items()));
    table
}

fn summary(items: &[Item]) -> String {
    let count = |outcome| items.iter().filter(|item| item.outcome == outcome).count();
    let (failed, warned, unknown) = (count(Outcome::Fail), count(Outcome::Warn), count(Outcome::Unknown));
    let verdict = if failed > 0 { "Weir cannot run here" } else { "Weir can run here" };
    format!("{verdict}: {} checks, {failed} failed, {warned} to mind, {unknown} unknown", items.len())
}

fn line(table: &mut String, text: &str) {
    table.push_str(text.trim_end());
    table.push('\n');
}

/// Adds `text`, broken between words, and inside a word that is wider than a line.
fn wrapped(table: &mut String, text: &str, indent: usize) {
    let room = WIDTH - indent;
    let (mut current, mut used) = (" ".repeat(indent), 0);
    // What was found may quote a file or an error; a line break or an escape in it must not reach the terminal.
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > room {
            line(table, &current);
            (current, used) = (" ".repeat(indent), 0);
        }
        while word.len() > room {
            let rest = word.split_off(room);
            current.extend(word);
            line(table, &current);
            (current, used) = (" ".repeat(indent), 0);
            word = rest;
        }
        if used > 0 {
            current.push(' ');
            used += 1;
        }
        used += word.len();
        current.extend(word);
    }
    line(table, &current);
}
