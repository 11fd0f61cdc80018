//! Numbers as people read them: bytes, durations, and how long until a moment.
//!
//! Entry points: [`bytes`], [`micros`], [`until`].

use std::time::{Duration, SystemTime};

/// At most 4 columns: `999B`, `1.2K`, `12M`; powers of 1000.
pub(super) fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count}B");
    }
    let mut value = count as f64;
    let mut unit = ' ';
    for next in ['K', 'M', 'G', 'T', 'P', 'E'] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// At most 5 columns: `310us` as `310µs`, `5.0ms`, `1.2s`, `12m`, `3h`, `5d`.
pub(super) fn micros(us: u64) -> String {
    let value = us as f64;
    let scaled = |value: f64, unit: &str| {
        if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
    };
    match us {
        0..1_000 => format!("{us}µs"),
        1_000..999_500 => scaled(value / 1e3, "ms"),
        999_500..120_000_000 => scaled(value / 1e6, "s"),
        120_000_000..7_200_000_000 => format!("{}m", us / 60_000_000),
        7_200_000_000..172_800_000_000 => format!("{}h", us / 3_600_000_000),
        _ => format!("{}d", (us / 86_400_000_000).min(9999)),
    }
}

/// How long from `now` until an RFC 3339 time: `in 23h`, or `5m ago`; the text itself when it is no time.
pub(super) fn until(moment: &str, now: SystemTime) -> String {
    let Ok(at) = time::OffsetDateTime::parse(moment, &time::format_description::well_known::Rfc3339) else {
        return moment.to_owned();
    };
    let whole_seconds = |length: Duration| micros(length.as_secs().saturating_mul(1_000_000).max(1_000_000));
    match SystemTime::from(at).duration_since(now) {
        Ok(left) => format!("in {}", whole_seconds(left)),
        Err(past) => format!("{} ago", whole_seconds(past.duration())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_read_well() {
        let read: Vec<String> =
            [0, 999, 1_000, 1_249, 9_949, 9_960, 999_499, 999_500, 12_000_000, u64::MAX].map(bytes).into();
        assert_eq!(read, ["0B", "999B", "1.0K", "1.2K", "9.9K", "10K", "999K", "1.0M", "12M", "18E"]);
        let read: Vec<String> =
            [0, 310, 5_021, 999_499, 999_500, 59_000_000, 150_000_000, 10_800_000_000, 432_000_000_000]
                .map(micros)
                .into();
        assert_eq!(read, ["0µs", "310µs", "5.0ms", "999ms", "1.0s", "59s", "2m", "3h", "5d"]);
    }

    #[test]
    fn a_moment_is_read_from_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        assert_eq!(until("2026-01-03T03:04:05Z", now), "in 24h");
        assert_eq!(until("2026-01-02T02:59:05Z", now), "5m ago");
        assert_eq!(until("soon", now), "soon");
    }

    proptest! {
        #[test]
        fn numbers_never_outgrow_their_columns(number: u64) {
            prop_assert!(bytes(number).chars().count() <= 4);
            prop_assert!(micros(number).chars().count() <= 5);
        }
    }
}
