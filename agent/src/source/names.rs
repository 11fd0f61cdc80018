//! What Kubernetes allows as a name.
//!
//! Entry points: [`label`], [`subdomain`] (Kubernetes, "Object Names and IDs"; RFC 1123 §2.1).

/// A name of namespaces and Services: lower-case letters, digits and `-`, at most 63 characters,
/// beginning and ending with a letter or digit.
///
/// # Errors
/// Words that say what would be right.
pub fn label(text: &str) -> Result<(), String> {
    if is_label(text) {
        return Ok(());
    }
    Err("must be at most 63 lower-case letters, digits and '-', with a letter or digit at both ends \
         (RFC 1123 label)"
        .into())
}

/// A name of most other objects: such labels joined by `.`, at most 253 characters in all.
///
/// # Errors
/// Words that say what would be right.
pub fn subdomain(text: &str) -> Result<(), String> {
    let part = |part: &str| is_plain(part) && !part.is_empty();
    if text.len() <= 253 && text.split('.').all(part) {
        return Ok(());
    }
    Err("must be at most 253 lower-case letters, digits, '-' and '.', each part with a letter or digit \
         at both ends (RFC 1123 subdomain)"
        .into())
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_allows() {
        let long = "a".repeat(63);
        for good in ["a", "a-b", "0", "a1", &long] {
            assert!(label(good).is_ok() && subdomain(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "..", "a\n", "ä"] {
            assert!(label(bad).is_err() && subdomain(bad).is_err(), "{bad}");
        }
        assert!(subdomain("node-1.example.com").is_ok() && label("node-1.example.com").is_err());
        assert!(label(&"a".repeat(64)).is_err() && subdomain(&"a".repeat(64)).is_ok());
        assert!(subdomain(&"a".repeat(254)).is_err());
        assert!(subdomain("a..b").is_err() && subdomain("a.-b").is_err());
    }
}
