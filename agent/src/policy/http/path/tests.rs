//! Paths in all their spellings: one normal form for each, or none.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn of(raw: &str) -> Result<String, PathError> {
    normalise(raw.as_bytes()).map(Cow::into_owned)
}

#[test]
fn every_path_has_one_spelling() {
    for (raw, normal) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/A/b", "/A/b"),
        // Unreserved characters (§6.2.2.2).
        ("/%61%2D%2e%5F%7e%39", "/a-._~9"),
        ("/%7euser", "/~user"),
        ("/.%61/..b/...", "/.a/..b/..."),
        // All else stays encoded, in upper case (§6.2.2.1).
        ("/a%20b", "/a%20b"),
        ("/%3f%23%5b%22%7c", "/%3F%23%5B%22%7C"),
        ("/%c3%A9", "/%C3%A9"),
        ("/%e2%82%ac/%f0%9f%98%80", "/%E2%82%AC/%F0%9F%98%80"),
        ("/%40%3a", "/%40%3A"),
        ("/!$&'()*+,=:@", "/!$&'()*+,=:@"),
        ("/100%25", "/100%25"),
        ("/%25zz", "/%25zz"),
        // Dot segments (§6.2.2.3).
        ("/.", "/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/../../../c", "/c"),
        ("/a/%2e/b", "/a/b"),
        ("/a/%2E./b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        // Repeated slashes, before dots are looked at.
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a//../b", "/b"),
        ("/a/.//b", "/a/b"),
        // `OPTIONS *`.
        ("*", "*"),
    ] {
        assert_eq!(of(raw).as_deref(), Ok(normal), "{raw}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    use PathError::*;
    for (raw, error) in [
        ("", Empty),
        ("a", NotAbsolute),
        ("**", NotAbsolute),
        ("*/", NotAbsolute),
        ("http://pay.local/a", NotAbsolute),
        ("pay.local:80", NotAbsolute),
        ("\\a", NotAbsolute),
        ("/a?b", BadByte(b'?')),
        ("/a#b", BadByte(b'#')),
        ("/a b", BadByte(b' ')),
        ("/a\0", BadByte(0)),
        ("/a\t", BadByte(9)),
        ("/a\r\nb", BadByte(13)),
        ("/a\x7f", BadByte(0x7f)),
        ("/é", BadByte(0xc3)),
        ("/a|b", BadByte(b'|')),
        ("/[a]", BadByte(b'[')),
        ("/a%", BadEscape),
        ("/a%2", BadEscape),
        ("/a%g0", BadEscape),
        ("/a%0g", BadEscape),
        ("/a%%32%66", BadEscape),
        ("/a%u002f", BadEscape),
        ("/a%+1", BadEscape),
        ("/a%2Fb", EncodedSlash),
        ("/a%2fb", EncodedSlash),
        ("/a/..%2fb", EncodedSlash),
        ("/a\\b", Backslash),
        ("/a%5Cb", Backslash),
        ("/a/..%5c..", Backslash),
        ("/a%00", Control(0)),
        ("/a%0D%0A", Control(13)),
        ("/a%7f", Control(0x7f)),
        ("/a;b", Parameter),
        ("/..;/a", Parameter),
        ("/a%3Bb", Parameter),
        ("/a%252Fb", EncodedTwice),
        ("/a/%252e%252e/b", EncodedTwice),
        ("/a%25%32%46b", EncodedTwice),
        ("/a%252%66", EncodedTwice),
        ("/a%25252F", EncodedTwice),
        // Overlong forms of the slash, a lone continuation, a surrogate, a character cut short.
        ("/a%C0%AFb", NotUtf8),
        ("/a%e0%80%af", NotUtf8),
        ("/a%AF", NotUtf8),
        ("/a%FF", NotUtf8),
        ("/a%ED%A0%80", NotUtf8),
        ("/a%C3", NotUtf8),
        ("/a%C3/%A9", NotUtf8),
        ("/a%C3a", NotUtf8),
    ] {
        assert_eq!(of(raw), Err(error), "{raw:?}");
    }
}

/// Bytes that are likely to matter.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "/",
        "//",
        ".",
        "..",
        "a",
        "%2e",
        "%2E",
        "%41",
        "%61",
        "%7e",
        "%40",
        "@",
        "%20",
        "%25",
        "%",
        "2",
        "F",
        "%c3%a9",
        "%e2%82%ac",
        "%C3",
        "*",
        "%2a",
        "+",
        "%2B",
        ":",
        "%2f",
        ";",
        "\\",
        "?",
        "é",
    ];
    let likely =
        vec(select(pieces.to_vec()), 0..12).prop_map(|pieces| format!("/{}", pieces.concat()).into());
    prop_oneof![4 => likely, 1 => vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_comes_out_stays(raw in hostile()) {
        if let Ok(path) = normalise(&raw) {
            let again = normalise(path.as_bytes());
            prop_assert_eq!(again.as_deref(), Ok(&*path));
            prop_assert!(matches!(again, Ok(Cow::Borrowed(_))), "allocates for nothing: {}", path);
            // What is normal already is borrowed, and only that.
            prop_assert_eq!(matches!(path, Cow::Borrowed(_)), path.as_bytes() == raw);
        }
    }

    #[test]
    fn a_normal_path_has_no_dots_no_empty_segments_and_escapes_only_where_they_are_needed(raw in hostile()) {
        let Ok(path) = normalise(&raw) else { return Ok(()) };
        if path == "*" {
            return Ok(());
        }
        let segments: Vec<&str> = path.strip_prefix('/').expect("a slash").split('/').collect();
        let (last, others) = segments.split_last().expect("one");
        prop_assert!(others.iter().all(|segment| !segment.is_empty()), "{}", path);
        prop_assert!(segments.iter().all(|segment| !matches!(*segment, "." | "..")), "{} {}", path, last);
        for at in 0..path.len() {
            let Some(value) = decoded(path.as_bytes(), at) else { continue };
            prop_assert!(!value.is_ascii_alphanumeric() && !b"-._~/\\;".contains(&value) && value >= 0x20);
            prop_assert!(!path[at..at + 3].contains(char::is_lowercase));
        }
    }

    #[test]
    fn folding_gives_the_same_from_either_end(raw in hostile()) {
        let Ok(path) = normalise(&raw) else { return Ok(()) };
        let forwards: Vec<u8> = Folded::new(&path).collect();
        let mut backwards: Vec<u8> = Folded::new(&path).rev().collect();
        backwards.reverse();
        prop_assert_eq!(forwards, backwards);
    }
}
