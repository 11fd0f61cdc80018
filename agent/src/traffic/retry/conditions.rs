//! Which outcomes a policy or a route wants to have tried again.
//!
//! Entry points: [`Conditions`], [`GrpcCodes`]. Whether a request may be repeated at all is not known here.

use std::ops::RangeInclusive;

use super::super::outcome::Outcome;

/// Statuses that can be listed: those of errors (RFC 9110 §15.5, §15.6).
const STATUSES: RangeInclusive<u16> = 400..=599;

/// `retry.retryOn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// One bit for each of [`STATUSES`].
    statuses: [u64; 4],
    connect: bool,
    refused: bool,
    reset: bool,
    timeout: bool,
}

impl Conditions {
    /// None.
    pub const NONE: Self =
        Self { statuses: [0; 4], connect: false, refused: false, reset: false, timeout: false };

    /// What one text of `retry.retryOn` stands for: a status, `5xx`, `connect`, `refused`, `reset`, `timeout`.
    ///
    /// # Errors
    /// What there is to choose from, when it stands for nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut one = Self::NONE;
        match text {
            "connect" => one.connect = true,
            "refused" => one.refused = true,
            "reset" => one.reset = true,
            "timeout" => one.timeout = true,
            "5xx" => (500..=599).for_each(|status| one.add_status(status)),
            number => match number.parse::<u16>() {
                Ok(status) if STATUSES.contains(&status) && !number.starts_with('+') => {
                    one.add_status(status)
                }
                _ => {
                    return Err("is a status from 400 to 599, 5xx, connect, refused, reset or timeout".into());
                }
            },
        }
        Ok(one)
    }

    /// These and those.
    pub fn or(self, other: Self) -> Self {
        let statuses = std::array::from_fn(|word| self.statuses[word] | other.statuses[word]);
        Self {
            statuses,
            connect: self.connect | other.connect,
            refused: self.refused | other.refused,
            reset: self.reset | other.reset,
            timeout: self.timeout | other.timeout,
        }
    }

    /// These, with `statuses` instead of their own (HTTPRoute `retry.codes`); those that are no error
    /// are left out.
    pub fn with_statuses(mut self, statuses: &[u16]) -> Self {
        self.statuses = [0; 4];
        statuses
            .iter()
            .filter(|status| STATUSES.contains(status))
            .for_each(|status| self.add_status(*status));
        self
    }

    /// Whether an outcome is among them; gRPC statuses are [`GrpcCodes`]' business.
    pub fn has(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Status(status) => {
                let (word, bit) = Self::place(status);
                STATUSES.contains(&status) && self.statuses[word] & bit != 0
            }
            Outcome::Connect => self.connect,
            Outcome::Refused => self.refused,
            Outcome::Reset => self.reset,
            Outcome::Timeout => self.timeout,
            Outcome::Grpc(_) | Outcome::Cancelled => false,
        }
    }

    fn add_status(&mut self, status: u16) {
        let (word, bit) = Self::place(status);
        self.statuses[word] |= bit;
    }

    /// Which bit is a status'; that of another one, for what is not in [`STATUSES`].
    fn place(status: u16) -> (usize, u64) {
        let index = usize::from(status.wrapping_sub(*STATUSES.start())) % 256;
        (index / 64, 1 << (index % 64))
    }
}

/// 502, 503, 504, and all that the connection can do.
impl Default for Conditions {
    fn default() -> Self {
        let connection = Self { connect: true, refused: true, reset: true, timeout: true, ..Self::NONE };
        connection.with_statuses(&[502, 503, 504])
    }
}

/// `retry.onGrpc`: a set of gRPC status codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcCodes(u32);

impl GrpcCodes {
    /// The codes by their numbers; OK, which nobody retries, has none of the names that can be given.
    pub(in super::super) const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// The code with this name, like `UNAVAILABLE`.
    ///
    /// # Errors
    /// When it is no code of an error.
    pub fn parse(name: &str) -> Result<Self, String> {
        match Self::NAMES.iter().skip(1).position(|of| *of == name) {
            Some(index) => Ok(Self(2 << index)),
            None => Err("is the name of a gRPC status, like UNAVAILABLE".into()),
        }
    }

    /// These and those.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has the code.
    pub fn has(self, code: u16) -> bool {
        code < 32 && self.0 & (1 << code) != 0
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_what_was_written_and_nothing_beside_it() {
        let all: Vec<Outcome> = (0..=1100)
            .map(Outcome::Status)
            .chain([Outcome::Connect, Outcome::Refused, Outcome::Reset, Outcome::Timeout, Outcome::Cancelled])
            .collect();
        for (text, wanted) in [
            ("503", vec![Outcome::Status(503)]),
            ("400", vec![Outcome::Status(400)]),
            ("599", vec![Outcome::Status(599)]),
            ("5xx", (500..=599).map(Outcome::Status).collect()),
            ("reset", vec![Outcome::Reset]),
            ("connect", vec![Outcome::Connect]),
            ("refused", vec![Outcome::Refused]),
            ("timeout", vec![Outcome::Timeout]),
        ] {
            let conditions = Conditions::parse(text).expect("a condition");
            let has: Vec<Outcome> = all.iter().copied().filter(|outcome| conditions.has(*outcome)).collect();
            assert_eq!(has, wanted, "{text}");
        }
        for text in ["", "200", "399", "600", "+503", "4xx", "Reset", "503 "] {
            Conditions::parse(text).expect_err(text);
        }
    }

    #[test]
    fn grpc_codes_have_their_numbers() {
        for (name, number) in
            [("CANCELLED", 1), ("RESOURCE_EXHAUSTED", 8), ("UNAVAILABLE", 14), ("UNAUTHENTICATED", 16)]
        {
            let codes = GrpcCodes::parse(name).expect("a code");
            assert_eq!((0..=100).filter(|code| codes.has(*code)).collect::<Vec<_>>(), [number], "{name}");
        }
        for name in ["OK", "unavailable", "14", ""] {
            GrpcCodes::parse(name).expect_err(name);
        }
    }
}
