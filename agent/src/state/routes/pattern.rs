//! Texts to compare with: exact ones and regular expressions.
//!
//! Entry points: [`TextMatch`], [`Pattern`]. An expression is bounded in size and linear in time (the
//! crate `regex`), and must match the whole text. It knows bytes only: `\w`, `\d` and case are ASCII's.

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that one expression may take once compiled. `(a{100}){100}` does not fit, `[a-z0-9-]{1,63}` does.
const MOST_COMPILED: usize = 64 * 1024;
/// Bytes that matching may keep as its cache, for each expression.
const MOST_CACHED: usize = 64 * 1024;
const DEEPEST: u32 = 32;

/// A regular expression for a whole text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: Box<str>,
    regex: Regex,
}

impl Pattern {
    /// # Errors
    /// What is wrong with the expression, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // On its own first: `a)(?:b` must not become right by what is put around it.
        build(text)?;
        let regex = build(&format!(r"\A(?:{text})\z"))?;
        Ok(Self { text: text.into(), regex })
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Characters of the expression: how specific it is among others.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn build(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(MOST_COMPILED)
        .dfa_size_limit(MOST_CACHED)
        .nest_limit(DEEPEST)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(most) => {
            format!("is too large a regular expression: more than {most} bytes compiled")
        }
        // The last line says what is wrong; those before it draw where.
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("is no regular expression: {reason}")
        }
    })
}

/// What a text is to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextMatch {
    /// This, byte by byte.
    Exact(Box<str>),
    /// Matched as a whole.
    Regex(Pattern),
}

impl TextMatch {
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == text,
            Self::Regex(pattern) => pattern.matches(text),
        }
    }

    /// Characters of what is written.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Exact(text) => text.len(),
            Self::Regex(pattern) => pattern.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_whole_texts_only() {
        let table = [
            ("/v[0-9]+/.*", "/v1/pay", true),
            ("/v[0-9]+", "/v1/pay", false),
            ("v1", "/v1", false),
            ("a|b", "ab", false),
            ("a|bc", "bc", true),
            ("(?i)PAY", "pay", true),
            (r"\w+", "ä", false),
            ("(?m)a$", "a\nb", false),
            ("", "", true),
        ];
        for (pattern, text, matches) in table {
            let compiled = Pattern::parse(pattern).expect(pattern);
            assert_eq!(compiled.matches(text.as_bytes()), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused_in_one_line() {
        let deep = "(".repeat(200) + &")".repeat(200);
        for text in ["(", "a)(?:b", "[", "*", r"(a)\1", "(?=a)", "((a{100}){100}){100}", "(?x)a#", &deep] {
            let error = Pattern::parse(text).expect_err(text);
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_takes_others_for_ever_is_linear() {
        let pattern = Pattern::parse("(a*)*b").expect("a pattern");
        assert!(!pattern.matches("a".repeat(1 << 14).as_bytes()));
    }
}
