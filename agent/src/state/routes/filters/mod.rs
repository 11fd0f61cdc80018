//! What a rule or a backend does to requests and answers: plain data, and functions that apply it.
//!
//! Entry point: [`Filters`]. Each kind is there at most once; they are applied in one order, whatever
//! the order in which they are written: CORS, then the redirect, else the request's headers, the
//! rewrite, the mirrors; the answer's headers last.

mod cors;
mod headers;
mod path;
mod redirect;

pub use cors::{Cors, Preflight};
pub use headers::{HeaderModifier, HeaderOperation};
pub use path::{PathModifier, Rewrite};
pub use redirect::{Redirect, RequestUrl, Scheme};

pub(super) use cors::{Listed, Origin};

/// The filters of one rule, or of one backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// `CORS`.
    pub cors: Option<Cors>,
    /// `RequestRedirect`: the answer, so that nothing is forwarded.
    pub redirect: Option<Redirect>,
    /// `RequestHeaderModifier`.
    pub request_headers: Option<HeaderModifier>,
    /// `URLRewrite`.
    pub rewrite: Option<Rewrite>,
    /// `ResponseHeaderModifier`.
    pub response_headers: Option<HeaderModifier>,
}

impl Filters {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The share of requests that are mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub(super) numerator: u32,
    /// At least 1, and at least the numerator.
    pub(super) denominator: u32,
}

impl Share {
    /// All requests.
    pub const ALL: Share = Share { numerator: 1, denominator: 1 };

    /// Whether a request with the random number `random` is one of them; each number is as likely.
    pub fn takes(self, random: u32) -> bool {
        let scaled = (u64::from(random) * u64::from(self.denominator)) >> 32;
        scaled < u64::from(self.numerator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_its_part_of_all_numbers() {
        let table = [(0, 100, 0), (100, 100, 1000), (50, 100, 500), (1, 3, 333), (1, 1000, 1)];
        for (numerator, denominator, expected) in table {
            let share = Share { numerator, denominator };
            let taken = (0..1000u32).filter(|n| share.takes(n * (u32::MAX / 1000))).count();
            assert!(taken.abs_diff(expected) <= 1, "{numerator}/{denominator}: {taken}");
        }
        assert!(Share::ALL.takes(u32::MAX));
    }
}
