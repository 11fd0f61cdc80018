//! `to[].paths`: which paths a rule speaks of.
//!
//! Entry points: [`PathMatch`], one as it was written, and [`Paths`], all of a rule. Both hold texts that
//! are normalised, and are compared with paths that are.

use std::fmt;

use super::{
    affix::{Beginnings, Endings, Exact},
    path::{Folded, normalise},
};

/// One of `to[].paths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct PathMatch {
    written: Box<str>,
    form: Form,
}

/// What a path has to be, as [`Folded`] gives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Anything: from `*` or `/*`.
    Any,
    /// This path and no other.
    Exact(Box<[u8]>),
    /// Below this path, which ends in a slash: from `/v1/*`.
    Below(Box<[u8]>),
    /// It ends in this text, which begins with a slash or a dot: from `*/admin`, `*.php`.
    Ending(Box<[u8]>),
}

impl std::str::FromStr for PathMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "a path is like /v1/pay, /v1/* for all below, */admin or *.php for all that end \
                             so, or * for any; a * stands nowhere else, and there is no query";
        let form = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            _ if matches!(text, "*" | "/*") => Form::Any,
            (None, Some(path)) if path.ends_with('/') => Form::Below(folded("", path, FORMS)?),
            (Some(end), None) if end.starts_with('/') => Form::Ending(folded("", end, FORMS)?),
            // Completed to a path: what stands before the dot is a part of its segment.
            (Some(end), None) if end.starts_with('.') => Form::Ending(folded("/x", end, FORMS)?),
            (None, None) => Form::Exact(folded("", text, FORMS)?),
            _ => return Err(FORMS.into()),
        };
        Ok(Self { written: text.into(), form })
    }
}

/// The bytes of `text`, which is a path when it comes after `before`, as paths are compared.
fn folded(before: &str, text: &str, forms: &str) -> Result<Box<[u8]>, String> {
    let path = format!("{before}{text}");
    if !path.starts_with('/') || text.contains(['*', '?', '#']) {
        return Err(forms.into());
    }
    // A request's are resolved; in a rule they are a slip of the pen.
    let decoded = path.replace("%2e", ".").replace("%2E", ".");
    if decoded.contains("//") || decoded.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("a rule's path has no . or .. parts and no empty ones: no request's has, when it is \
                    compared"
            .into());
    }
    let path = normalise(path.as_bytes()).map_err(|error| format!("no request has such a path: {error}"))?;
    Ok(Folded::new(&path).skip(before.len()).collect())
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// `to[].paths`: matches when any does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Paths {
    written: Vec<PathMatch>,
    any: bool,
    exact: Exact,
    below: Beginnings,
    endings: Endings,
}

impl Paths {
    /// Whether `path`, normalised, is one of them.
    pub(super) fn has(&self, path: &str) -> bool {
        // Most paths have no escapes, and then there is nothing to fold.
        self.any || if path.contains('%') { self.hold(Folded::new(path)) } else { self.hold(path.bytes()) }
    }

    fn hold(&self, path: impl DoubleEndedIterator<Item = u8> + Clone) -> bool {
        self.exact.has(path.clone()) || self.below.has(path.clone()) || self.endings.has(path)
    }

    /// Whether there is no path that is none of them.
    pub(super) fn are_any(&self) -> bool {
        self.any
    }

    /// As they were written.
    pub(super) fn written(&self) -> &[PathMatch] {
        &self.written
    }

    /// Those that match all below a path, but not that path: index, and the path.
    pub(in super::super) fn without_their_top(&self) -> impl Iterator<Item = (usize, &str)> {
        self.written.iter().enumerate().filter_map(|(index, path)| {
            let Form::Below(below) = &path.form else { return None };
            let top = &below[..below.len() - 1];
            let has = self.exact.has(top.iter().copied()) || self.endings.has(top.iter().copied());
            (!has).then(|| (index, path.written.trim_end_matches("/*")))
        })
    }
}

impl FromIterator<PathMatch> for Paths {
    fn from_iter<I: IntoIterator<Item = PathMatch>>(paths: I) -> Self {
        let written: Vec<PathMatch> = paths.into_iter().collect();
        let of = |pick: fn(&Form) -> Option<&Box<[u8]>>| {
            written.iter().filter_map(move |path| pick(&path.form)).cloned()
        };
        let exact = of(|form| if let Form::Exact(path) = form { Some(path) } else { None }).collect();
        let below = of(|form| if let Form::Below(path) = form { Some(path) } else { None }).collect();
        let endings = of(|form| if let Form::Ending(end) = form { Some(end) } else { None }).collect();
        let any = written.iter().any(|path| path.form == Form::Any);
        Self { any, exact, below, endings, written }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(texts: &[&str]) -> Paths {
        texts.iter().map(|text| text.parse::<PathMatch>().expect("a path")).collect()
    }

    #[test]
    fn a_path_is_exact_or_stands_for_what_begins_or_ends_so() {
        for (rule, matching, others) in [
            ("/v1/pay", &["/v1/pay"][..], &["/v1", "/v1/pay/", "/v1/pay/x", "/v1/payx", "/V1/pay", "/"][..]),
            ("/", &["/"], &["/a", "*"]),
            ("/v1/*", &["/v1/", "/v1/pay", "/v1/pay/x"], &["/v1", "/v10", "/v10/pay", "/", "/a/v1/x"]),
            ("*/admin", &["/admin", "/a/admin", "/a/b/admin"], &["/nadmin", "/admin/", "/admin/a", "/"]),
            ("*/a/b", &["/a/b", "/x/a/b"], &["/b", "/xa/b", "/a/b/"]),
            ("*/", &["/", "/a/"], &["/a"]),
            ("*.php", &["/a.php", "/b/a.php", "/.php"], &["/a.php/", "/a.php/b", "/aphp", "/a.PHP"]),
            ("*", &["/", "/a", "/a/b.php", "*"], &[]),
            ("/*", &["/", "/a", "/a/b.php", "*"], &[]),
            ("/%7euser/*", &["/~user/a"], &["/user/a"]),
            ("/a%20b", &["/a%20b"], &["/a", "/a+b"]),
            ("/caf%c3%a9", &["/caf%C3%A9"], &[]),
            // Where RFC 3986 tells two spellings apart and applications do not.
            ("/users/@me", &["/users/@me", "/users/%40me"], &[]),
            ("/pods%3Adelete", &["/pods:delete", "/pods%3Adelete"], &[]),
            ("*/a:b", &["/x/a:b", "/x/a%3Ab"], &[]),
            ("/a%2Ab/*", &["/a*b/c", "/a%2Ab/c"], &["/axb/c"]),
        ] {
            let rule = paths(&[rule]);
            for path in matching {
                assert!(rule.has(path), "{rule:?} {path}");
            }
            for path in others {
                assert!(!rule.has(path), "{rule:?} {path}");
            }
        }
    }

    #[test]
    fn any_of_several_paths_may_match() {
        let rule = paths(&["/v1/*", "/v1/pay/*", "/b", "*.php", "*.x.php", "/a"]);
        for path in ["/v1/pay/x", "/v1/x", "/a", "/b", "/c.php", "/c.x.php"] {
            assert!(rule.has(path), "{path}");
        }
        assert!(!rule.has("/c"));
    }

    #[test]
    fn what_no_request_could_match_or_reads_in_two_ways_is_refused() {
        for text in [
            "",
            "v1",
            "/v1*",
            "/*/pay",
            "*admin",
            "*admin*",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/a/%2e%2E/b",
            "/a//b",
            "//",
            "/a?b",
            "/a#b",
            "/a b",
            "/é",
            "/a%2Fb",
            "/a%2",
            "/a%00",
            "/a;b",
            "/a\\b",
            "/a%252F",
            "**",
            "*/*",
            "*.php/*",
            "*/..",
            "*//",
            "*/a/../b",
            "http://a/b",
            "/a%ff",
        ] {
            text.parse::<PathMatch>().expect_err(text);
        }
        let error = "/a%2Fb".parse::<PathMatch>().expect_err("an encoded slash");
        assert!(error.contains("encoded slash"), "{error}");
    }

    #[test]
    fn a_rule_for_all_below_a_path_knows_whether_it_has_the_path_too() {
        let tops = |texts: &[&str]| -> Vec<String> {
            paths(texts).without_their_top().map(|(index, path)| format!("{index} {path}")).collect()
        };
        assert_eq!(tops(&["/a", "/admin/*", "/a/*", "*"]), ["1 /admin"]);
        assert_eq!(tops(&["/x/admin/*", "*/admin"]), [""; 0]);
        assert_eq!(tops(&["/b", "/*"]), [""; 0]);
    }
}
