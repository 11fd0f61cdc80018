//! Durations as Gateway API writes them.
//!
//! Entry point: [`parse`]. GEP-2257: one to four numbers of one to five digits, each with its unit (`h`,
//! `m`, `s`, `ms`), added up: `1h30m`, `250ms`, `0s`. No sign, no fraction, no number without a unit.

use std::time::Duration;

/// Reads a duration of GEP-2257.
///
/// # Errors
/// What a duration is like, when `text` is none.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is like 250ms, 2s or 1m30s (GEP-2257)".to_string();
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        parts += 1;
        if !(1..=5).contains(&digits) || parts > 4 {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return Err(wrong()),
        };
        rest = tail;
    }
    if parts == 0 { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_gep_writes_them() {
        for (text, millis) in [
            ("0s", 0),
            ("0h", 0),
            ("250ms", 250),
            ("2s", 2_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1h1m1s1ms", 3_661_001),
            ("10s30m1h", 5_410_000),
            ("99999h", 359_996_400_000),
            ("1s1s", 2_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_the_gep_does_not_allow_is_refused() {
        for text in [
            "",
            "1",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1d",
            "1us",
            "1ns",
            "100000s",
            "1h1m1s1ms1s",
            "1S",
            "1sec",
            "١s",
            "1s1",
        ] {
            parse(text).expect_err(text);
        }
    }
}
