//! Whatever way a path is written that an application may read as a denied one, it is denied.

use proptest::{collection::vec, prelude::*, sample::select};

use super::fixtures::{from, together};
use crate::policy::{Applicable, normalise};

/// Characters of segments that applications read alike, encoded or not.
const SEGMENTS: [&str; 8] = ["admin", "v1", "a.b", "~u_x-1", "@me", "pay:now", "x+y=1", "..."];

/// A path, and how to write each of its characters.
#[derive(Clone, Debug)]
struct Spelling {
    path: String,
    written: String,
}

/// One character as it is, or encoded, in either case.
fn character(byte: char) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(byte.to_string()),
        1 => Just(format!("%{:02X}", byte as u32)),
        1 => Just(format!("%{:02x}", byte as u32)),
    ]
}

fn segment(text: &str) -> impl Strategy<Value = String> + use<> {
    text.chars().map(character).collect::<Vec<_>>().prop_map(|characters| characters.concat())
}

/// What may stand between two segments and comes to one slash.
fn detour() -> impl Strategy<Value = String> {
    let dot = || select(&[".", "%2e", "%2E"][..]);
    let above = (select(&SEGMENTS[..]).prop_flat_map(segment), dot(), dot());
    prop_oneof![
        6 => Just("/".to_string()),
        1 => Just("//".to_string()),
        1 => Just("///".to_string()),
        1 => dot().prop_map(|dot| format!("/{dot}/")),
        1 => above.prop_map(|(segment, one, two)| format!("/{segment}/{one}{two}/")),
        1 => dot().prop_map(|dot| format!("//a/b//..//.{dot}/{dot}/")),
    ]
}

fn spelling() -> impl Strategy<Value = Spelling> {
    vec(select(&SEGMENTS[..]), 1..4).prop_flat_map(|segments| {
        let path = format!("/{}", segments.join("/"));
        let parts: Vec<_> = segments.iter().map(|text| (detour(), segment(text))).collect();
        // From the root, going up stays there.
        let up = select(&["", "/..", "/../%2E%2e", "/."][..]);
        (up, parts).prop_map(move |(up, parts)| {
            let parts: Vec<String> = parts.into_iter().map(|(slash, text)| slash + &text).collect();
            Spelling { path: path.clone(), written: format!("{up}{}", parts.concat()) }
        })
    })
}

fn denying(paths: &[&str]) -> Applicable {
    let paths: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
    together([(
        "shop/deny",
        &format!("{{action: deny, rules: [{{to: [{{paths: [{}]}}]}}]}}", paths.join(",")),
    )])
}

fn denied(policies: &Applicable, path: &str) -> bool {
    !from("shop/cart").gets(path).of(policies).allowed
}

proptest! {
    #[test]
    fn any_spelling_of_a_denied_path_is_denied(spelling in spelling()) {
        let Spelling { path, written } = &spelling;
        let top = path.rsplit_once('/').map_or("", |(top, _)| top);
        let leaf = &path[top.len()..];
        for rule in [path.clone(), format!("{top}/*"), format!("*{leaf}")] {
            prop_assert!(denied(&denying(&[&rule]), written), "{} as {}", rule, written);
        }
    }

    #[test]
    fn a_rule_may_be_written_in_any_spelling_of_characters(
        (rule, sent) in select(&SEGMENTS[..]).prop_flat_map(|text| (segment(text), segment(text))),
    ) {
        let (rule, sent) = (format!("/{rule}"), format!("/{sent}"));
        prop_assert!(denied(&denying(&[&rule]), &sent), "{} as {}", rule, sent);
    }

    #[test]
    fn what_is_another_path_is_not_denied(spelling in spelling()) {
        let policies = denying(&["/other", "/other/*", "*/other", "*.other"]);
        prop_assert!(normalise(spelling.written.as_bytes()).is_ok());
        prop_assert!(!denied(&policies, &spelling.written));
    }
}
