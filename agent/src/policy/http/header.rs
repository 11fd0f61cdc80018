//! `to[].headers`: which fields a rule speaks of (RFC 9110 §5).
//!
//! Entry point: [`HeaderMatch`].

use std::{borrow::Cow, fmt};

use super::{super::rule::Judgement, is_token};

/// One of `to[].headers`: the field has these values and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct HeaderMatch {
    name: String,
    values: Vec<HeaderValue>,
}

impl HeaderMatch {
    /// A field of this name that has any of `values`.
    pub(in super::super) fn new(name: HeaderName, values: Vec<HeaderValue>) -> Self {
        Self { name: name.0, values }
    }

    /// Whether `headers` have it.
    ///
    /// A field may come in several lines, each with several members between commas, and to whoever reads
    /// it this is the same (RFC 9110 §5.3). So every member counts by itself; when some are wanted and
    /// others are not, which of them the application goes by cannot be told.
    pub(super) fn judge(&self, headers: &[(Cow<'_, str>, Cow<'_, str>)]) -> Judgement {
        let present = || self.lines(headers).flat_map(members);
        let wanted = |member: &str| self.values.iter().any(|value| *value.0 == *member);
        let (mut some, mut others) = (false, false);
        for member in present() {
            if wanted(member) { some = true } else { others = true }
        }
        match (some, others) {
            (true, false) => Judgement::Yes,
            // A value with commas asks for a whole list, all of whose members come in its order.
            _ if others
                && self.values.iter().any(|value| value.is_list() && present().eq(members(&value.0))) =>
            {
                Judgement::Yes
            }
            (true, true) => Judgement::CannotTell,
            (false, _) => Judgement::No,
        }
    }

    /// The lines of this field, joined as RFC 9110 §5.3 does.
    pub(super) fn had(&self, headers: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
        let lines: Vec<&str> = self.lines(headers).collect();
        match lines.is_empty() {
            true => format!("no {}", self.name),
            false => format!("{}: {}", self.name, lines.join(", ")),
        }
    }

    fn lines<'a>(
        &'a self,
        headers: &'a [(Cow<'_, str>, Cow<'_, str>)],
    ) -> impl Iterator<Item = &'a str> + Clone {
        headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&self.name)).map(|(_, value)| &**value)
    }
}

/// What stands between the commas of a field's line, without the space around it and without what is empty
/// (RFC 9110 §5.6.1.2).
fn members(line: &str) -> impl Iterator<Item = &str> + Clone {
    line.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
}

impl fmt::Display for HeaderMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values.iter().map(|value| &*value.0).collect();
        write!(f, "{}: {}", self.name, values.join(" or "))
    }
}

/// The name of a field, in lower case (RFC 9110 §5.1).
#[derive(Debug)]
pub(in super::super) struct HeaderName(String);

impl std::str::FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !is_token(text) {
            return Err("a header has a name, like x-env".into());
        }
        if text.eq_ignore_ascii_case("host") {
            return Err("HTTP/2 has no such field: write hosts, which every version has".into());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// One of `to[].headers[].values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct HeaderValue(Box<str>);

impl HeaderValue {
    fn is_list(&self) -> bool {
        self.0.contains(',')
    }
}

impl std::str::FromStr for HeaderValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if members(text).next().is_none() {
            return Err("an empty value matches nothing".into());
        }
        if text.trim_matches([' ', '\t']) != text || text.chars().any(|c| c != '\t' && c.is_control()) {
            return Err("no header has such a value: no space at its ends, no control characters".into());
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(wanted: &[&str], lines: &[(&str, &str)]) -> Judgement {
        let values = wanted.iter().map(|value| value.parse().expect("a value")).collect();
        let lines: Vec<_> = lines.iter().map(|(name, value)| (Cow::from(*name), Cow::from(*value))).collect();
        HeaderMatch::new("X-Env".parse().expect("a name"), values).judge(&lines)
    }

    #[test]
    fn every_value_of_a_field_counts_by_itself() {
        use Judgement::{CannotTell, No, Yes};
        for (wanted, lines, judgement) in [
            (&["prod"][..], &[("x-env", "prod")][..], Yes),
            (&["prod"], &[("x-env", "test")], No),
            (&["prod"], &[("x-env", "Prod")], No),
            (&["prod"], &[("x-env", "production")], No),
            (&["prod"], &[], No),
            (&["prod"], &[("x-other", "prod")], No),
            (&["prod"], &[("x-env", "")], No),
            (&["prod"], &[("x-env", "prod"), ("x-env", "prod")], Yes),
            (&["prod"], &[("x-env", "prod"), ("x-env", "")], Yes),
            (&["prod"], &[("x-env", "prod"), ("x-env", "test")], CannotTell),
            (&["prod"], &[("x-env", "test"), ("x-other", "a"), ("x-env", "prod")], CannotTell),
            (&["prod"], &[("x-env", "prod, test")], CannotTell),
            (&["prod"], &[("x-env", "test,prod")], CannotTell),
            (&["prod"], &[("x-env", ",\tprod ,")], Yes),
            (&["prod"], &[("x-env", "\"a, prod, b\"")], CannotTell),
            (&["prod", "test"], &[("x-env", "prod, test")], Yes),
            (&["a, b"], &[("x-env", "a,b")], Yes),
            (&["a, b"], &[("x-env", "a"), ("x-env", "b")], Yes),
            (&["a, b"], &[("x-env", "b, a")], No),
            (&["a, b"], &[("x-env", "a, b, c")], No),
            (&["a, b", "a"], &[("x-env", "a, b")], Yes),
            (&["a, b", "a"], &[("x-env", "a, c")], CannotTell),
        ] {
            assert_eq!(judge(wanted, lines), judgement, "{wanted:?} {lines:?}");
        }
    }

    #[test]
    fn a_name_or_value_that_no_request_has_is_refused() {
        for name in ["", "x env", ":path", "host", "Host", "x:"] {
            name.parse::<HeaderName>().expect_err(name);
        }
        for value in ["", " ", ",", " a", "a\t", "a\nb", "a\0"] {
            value.parse::<HeaderValue>().expect_err(value);
        }
    }
}
