//! Which statuses of answers somebody asks for.
//!
//! Entry point: [`StatusRange`].

use std::str::FromStr;

/// `404`, or `5xx` for all of a class (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// Whether `status` is asked for.
    pub fn has(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix("xx").filter(|class| class.len() == 1).unwrap_or(text);
        let number = digits.parse::<u16>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match number {
            Some(class @ 1..=5) if digits.len() < text.len() => {
                Ok(Self { first: class * 100, last: class * 100 + 99 })
            }
            Some(status @ 100..=599) => Ok(Self { first: status, last: status }),
            _ => Err("a status such as 404, or a class such as 5xx, is needed".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_its_statuses_and_a_status_itself() {
        let class: StatusRange = "5xx".parse().expect("a class");
        assert_eq!([499, 500, 599, 600].map(|status| class.has(status)), [false, true, true, false]);
        let one: StatusRange = "404".parse().expect("a status");
        assert_eq!([403, 404, 405].map(|status| one.has(status)), [false, true, false]);
        for wrong in ["", "xx", "0xx", "6xx", "55xx", "5x", "99", "600", "+40", "+5xx", "4.4"] {
            assert!(wrong.parse::<StatusRange>().is_err(), "{wrong}");
        }
    }
}
