//! When the endpoint itself wants to be asked again: `Retry-After` and gRPC's push-back.
//!
//! Entry points: [`retry_after`], [`push_back`]. What they answer is a wish; whether there is time for it
//! is decided elsewhere.

use std::time::Duration;

use time::{Date, Month, Time, UtcDateTime};

/// What `grpc-retry-pushback-ms` says (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushBack {
    /// Again after exactly so long.
    After(Duration),
    /// Not again: a negative number, or what is none.
    Never,
}

/// Reads a value of `grpc-retry-pushback-ms`.
pub(super) fn push_back(value: &str) -> PushBack {
    let digits = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
    match value.parse::<u32>() {
        Ok(millis) if digits => PushBack::After(Duration::from_millis(millis.into())),
        _ => PushBack::Never,
    }
}

/// Reads a value of `Retry-After` (RFC 9110 §10.2.3): how long from `unix_now`, in seconds since 1970. None
/// when it is neither a number of seconds nor a date.
pub(super) fn retry_after(value: &str, unix_now: u64) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        // More than fits is certainly more than anybody waits.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    Some(Duration::from_secs(http_date(value)?.saturating_sub(unix_now)))
}

/// Seconds since 1970 of an HTTP-date in any of its three forms (RFC 9110 §5.6.7).
fn http_date(value: &str) -> Option<u64> {
    let words: Vec<&str> =
        value.split([' ', ',', '-', ':']).filter(|word| !word.is_empty()).take(9).collect();
    let (day, month, year, clock) = match words[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT; Sunday, 06-Nov-94 08:49:37 GMT.
        [_, day, month, year, hour, minute, second, "GMT"] => (day, month, year, [hour, minute, second]),
        // Sun Nov  6 08:49:37 1994.
        [_, month, day, hour, minute, second, year] => (day, month, year, [hour, minute, second]),
        _ => return None,
    };
    let number = |text: &str| text.parse::<u8>().ok();
    let year: i32 = match (year.len(), year.parse::<u16>().ok()?) {
        (4, year) => year.into(),
        // Two digits stand for a year of at most fifty years ahead; of this century, as long as it is young.
        (2, year) if year < 70 => 2000 + i32::from(year),
        (2, year) => 1900 + i32::from(year),
        _ => return None,
    };
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = u8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, number(day)?).ok()?;
    let [hour, minute, second] = clock.map(number);
    // A leap second counts as the second before it.
    let time = Time::from_hms(hour?, minute?, second?.min(59)).ok()?;
    u64::try_from(UtcDateTime::new(date, time).unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const THEN: u64 = 784_111_777;

    #[test]
    fn retry_after_is_seconds_or_any_form_of_a_date() {
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 5\t", Some(5)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(10)),
            ("Sun Nov  6 08:49:37 1994", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:60 GMT", Some(92)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ] {
            assert_eq!(retry_after(value, THEN - 10), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_push_back_that_is_not_a_number_says_never() {
        assert_eq!(push_back("0"), PushBack::After(Duration::ZERO));
        assert_eq!(push_back("250"), PushBack::After(Duration::from_millis(250)));
        for value in ["", "-1", "+1", "1.5", "soon", "99999999999", " 1"] {
            assert_eq!(push_back(value), PushBack::Never, "{value}");
        }
    }
}
