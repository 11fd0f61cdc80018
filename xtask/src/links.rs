//! Links in the documents: those that stay in the repository must lead somewhere.
//!
//! Entry point: [`check`]. Looks at no link to the net.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{checkout::Checkout, command};

/// Errors with every link of a tracked `*.md` that leads to no file or to no heading.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(&checkout.root).args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]);
    let mut broken = Vec::new();
    for file in command::output(&mut git)?.lines() {
        let path = checkout.root.join(file);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (line, link) in links(&text) {
            if !leads_somewhere(&path, &text, link) {
                broken.push(format!("{file}:{line}: {link}"));
            }
        }
    }
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// Targets of `[text](target)` with their line numbers, outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number, target));
            rest = &rest[end..];
        }
    }
    found
}

/// Lines that are not inside a fenced block, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

fn leads_somewhere(from: &Path, text: &str, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = from.parent().unwrap_or(Path::new("")).join(file);
    if !file.is_empty() && !target.exists() {
        return false;
    }
    if heading.is_empty() || (!file.is_empty() && !file.ends_with(".md")) {
        return true;
    }
    let other =
        if file.is_empty() { text.to_owned() } else { fs::read_to_string(target).unwrap_or_default() };
    prose(&other).any(|(_, line)| line.starts_with('#') && anchor(line) == heading)
}

/// A heading's anchor as code hosts make it: lower case, spaces to hyphens, punctuation gone.
fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_inside_code_blocks_are_not_links() {
        let text = "see [a](a.md)\n```\n[b](b.md)\n```\nand [c](c.md \"title\"), [d](#d)\n";
        assert_eq!(links(text), [(1, "a.md"), (5, "c.md"), (5, "#d")]);
    }

    #[test]
    fn a_link_to_a_heading_needs_that_heading() {
        let text = "# One page\n## What's `new`?\n```\n# not a heading\n```\n";
        let here = Path::new("/nowhere/page.md");
        assert!(leads_somewhere(here, text, "#one-page"));
        assert!(leads_somewhere(here, text, "#whats-new"));
        assert!(!leads_somewhere(here, text, "#not-a-heading"));
    }

    #[test]
    fn a_link_to_no_file_leads_nowhere() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        assert!(leads_somewhere(&here, "", "Cargo.toml"));
        assert!(leads_somewhere(&here, "", "../Cargo.toml"));
        assert!(!leads_somewhere(&here, "", "Cargo.yaml"));
        assert!(leads_somewhere(&here, "", "https://example.org/nothing"));
    }
}
