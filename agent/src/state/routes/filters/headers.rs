//! Headers that are set, added and removed.
//!
//! Entry point: [`HeaderModifier`] (Gateway API, `HTTPHeaderFilter`).

use std::{borrow::Cow, sync::Arc};

/// Changes to the headers of a request or of an answer. One header has one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    pub(in super::super) set: Vec<(Arc<str>, Arc<str>)>,
    pub(in super::super) add: Vec<(Arc<str>, Arc<str>)>,
    pub(in super::super) remove: Vec<Arc<str>>,
}

/// One change. Names are in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderOperation<'a> {
    /// This value, whatever values there were.
    Set(&'a str, &'a str),
    /// This value behind those there are, with a comma (RFC 9110 §5.3); of `set-cookie` a field more.
    Add(&'a str, &'a str),
    /// No value.
    Remove(&'a str),
}

impl HeaderModifier {
    /// The changes, for those who keep headers in a form of their own.
    pub fn operations(&self) -> impl Iterator<Item = HeaderOperation<'_>> {
        let set = self.set.iter().map(|(name, value)| HeaderOperation::Set(name, value));
        let add = self.add.iter().map(|(name, value)| HeaderOperation::Add(name, value));
        let remove = self.remove.iter().map(|name| HeaderOperation::Remove(name));
        set.chain(add).chain(remove)
    }

    /// Changes `headers`, whose names are in lower case.
    pub fn apply<'h>(&'h self, headers: &mut Vec<(Cow<'h, str>, Cow<'h, str>)>) {
        for operation in self.operations() {
            match operation {
                HeaderOperation::Remove(name) => headers.retain(|(of, _)| of != name),
                HeaderOperation::Set(name, value) => {
                    let at = headers.iter().position(|(of, _)| of == name);
                    headers.retain(|(of, _)| of != name);
                    let at = at.unwrap_or(headers.len());
                    headers.insert(at, (Cow::Borrowed(name), Cow::Borrowed(value)));
                }
                HeaderOperation::Add(name, value) => {
                    let last = headers.iter_mut().rev().find(|(of, _)| of == name && name != "set-cookie");
                    match last {
                        Some((_, old)) => *old = Cow::Owned(format!("{old},{value}")),
                        None => headers.push((Cow::Borrowed(name), Cow::Borrowed(value))),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
        of.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    }

    fn applied(modifier: &HeaderModifier, headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (Cow::Owned(name.to_string()), Cow::Owned(value.to_string())))
            .collect();
        modifier.apply(&mut headers);
        headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn headers_are_set_added_and_removed_as_the_specification_shows() {
        let set = HeaderModifier { set: pairs(&[("my-header", "bar")]), ..HeaderModifier::default() };
        let add = HeaderModifier { add: pairs(&[("my-header", "bar,baz")]), ..HeaderModifier::default() };
        let remove = vec!["my-header1".into(), "my-header3".into()];
        let remove = HeaderModifier { remove, ..HeaderModifier::default() };
        let cookie = HeaderModifier { add: pairs(&[("set-cookie", "b=2")]), ..HeaderModifier::default() };
        type Headers = &'static [(&'static str, &'static str)];
        let table: [(&HeaderModifier, Headers, Headers); 8] = [
            (&set, &[("my-header", "foo")], &[("my-header", "bar")]),
            (&set, &[], &[("my-header", "bar")]),
            (
                &set,
                &[("my-header", "a"), ("x", "y"), ("my-header", "b")],
                &[("my-header", "bar"), ("x", "y")],
            ),
            (&add, &[("my-header", "foo")], &[("my-header", "foo,bar,baz")]),
            (&add, &[], &[("my-header", "bar,baz")]),
            (
                &add,
                &[("my-header", "a"), ("my-header", "b")],
                &[("my-header", "a"), ("my-header", "b,bar,baz")],
            ),
            (
                &remove,
                &[("my-header1", "foo"), ("my-header2", "bar"), ("my-header3", "baz"), ("my-header1", "x")],
                &[("my-header2", "bar")],
            ),
            (&cookie, &[("set-cookie", "a=1")], &[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        ];
        for (modifier, before, after) in table {
            let found = applied(modifier, before);
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, after, "{modifier:?} {before:?}");
        }
    }
}
