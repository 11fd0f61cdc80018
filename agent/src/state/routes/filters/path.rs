//! Paths that are replaced, as a whole or at their beginning, and the rewrite of a request.
//!
//! Entry points: [`PathModifier`], [`Rewrite`] (Gateway API, `HTTPPathModifier`, `HTTPURLRewriteFilter`).

use std::{borrow::Cow, sync::Arc};

/// How a path becomes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// `ReplaceFullPath`: this path, which begins with `/`.
    Full(Arc<str>),
    /// `ReplacePrefixMatch`. Both are without the `/` at their end.
    Prefix {
        /// What the rule's match names.
        prefix: Arc<str>,
        /// What stands there instead.
        replacement: Arc<str>,
    },
}

impl PathModifier {
    /// The path that `path` becomes; both are without query. It begins with `/`.
    pub fn apply<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        match self {
            Self::Full(whole) => Cow::Borrowed(whole),
            Self::Prefix { prefix, replacement } => {
                let Some(rest) = path.strip_prefix(&**prefix) else {
                    return Cow::Borrowed(path);
                };
                if replacement.is_empty() && rest.starts_with('/') {
                    return Cow::Borrowed(rest);
                }
                match format!("{replacement}{rest}") {
                    path if path.starts_with('/') => Cow::Owned(path),
                    path => Cow::Owned(format!("/{path}")),
                }
            }
        }
    }
}

/// `URLRewrite`: what of a request is changed before it is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The new host, in lower case, without port.
    pub hostname: Option<Arc<str>>,
    /// The new path. The query stays.
    pub path: Option<PathModifier>,
}

impl Rewrite {
    /// The path that `path` becomes.
    pub fn path<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        self.path.as_ref().map_or(Cow::Borrowed(path), |modifier| modifier.apply(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(prefix: &str, replacement: &str) -> PathModifier {
        let trimmed = |text: &str| text.strip_suffix('/').unwrap_or(text).into();
        PathModifier::Prefix { prefix: trimmed(prefix), replacement: trimmed(replacement) }
    }

    #[test]
    fn a_prefix_is_replaced_as_the_table_of_the_specification_says() {
        let table = [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            // The prefix of a rule without a path.
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
        ];
        for (path, matched, replacement, expected) in table {
            let modifier = prefix(matched, replacement);
            assert_eq!(modifier.apply(path), expected, "{path} {matched} {replacement}");
        }
    }

    #[test]
    fn a_full_path_replaces_whatever_there_was() {
        assert_eq!(PathModifier::Full("/one".into()).apply("/full/two"), "/one");
        assert_eq!(Rewrite::default().path("/as/is"), "/as/is");
    }
}
