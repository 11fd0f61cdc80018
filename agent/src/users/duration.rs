//! Durations as the Gateway API writes them (GEP-2257): `30s`, `1m30s`, `500ms`.
//!
//! Entry point: [`milliseconds`].

/// The duration in milliseconds.
///
/// # Errors
/// Words that say what would be right.
pub(super) fn milliseconds(text: &str) -> Result<u64, &'static str> {
    const RIGHT: &str = "a duration is like 30s, 5m or 1h30m: up to four numbers of at most five digits, \
                         each with h, m, s or ms";
    let mut rest = text;
    let mut whole = 0;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let unit = behind.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, behind) = behind.split_at(unit);
        let factor = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(RIGHT),
        };
        let number = number.parse::<u64>().ok().filter(|_| digits <= 5).ok_or(RIGHT)?;
        whole += number * factor;
        rest = behind;
        if rest.is_empty() {
            return Ok(whole);
        }
    }
    Err(RIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        for (text, wanted) in [("0s", 0), ("30s", 30_000), ("1h30m", 5_400_000), ("1m1s500ms", 61_500)] {
            assert_eq!(milliseconds(text), Ok(wanted), "{text}");
        }
        for text in ["", "30", "s", "1d", "-1s", "1.5s", "1 s", "100000s", "1s1s1s1s1s", "1S", "１s", "5m "]
        {
            milliseconds(text).expect_err(text);
        }
    }
}
