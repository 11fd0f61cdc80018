//! How much a connection of HTTP/2 may receive ahead of whom it is for: what bounds its memory.
//!
//! Entry point: [`Windows::of_nth`]. The more connections somebody has, the less each of them may hold.

/// Flow-control windows (RFC 9113 §5.2), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of one stream.
    pub stream: u32,
    /// Of the connection: several times a stream's, so that one that stalls does not stall the rest.
    pub connection: u32,
}

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

impl Windows {
    /// Those of a connection that somebody makes beside `others`. The first four may hold 64 MiB together, the next
    /// sixty 60 MiB, and each one after them 256 KiB.
    pub const fn of_nth(others: u32) -> Self {
        match others {
            0..4 => Self { stream: MIB, connection: 16 * MIB },
            4..64 => Self { stream: 256 * KIB, connection: MIB },
            _ => Self { stream: 64 * KIB, connection: 256 * KIB },
        }
    }

    /// The smaller of each.
    pub(super) fn at_most(self, most: Self) -> Self {
        Self { stream: self.stream.min(most.stream), connection: self.connection.min(most.connection) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_connections_hold_little_more_than_a_hundred() {
        let total = |count| (0..count).map(|nth| u64::from(Windows::of_nth(nth).connection)).sum::<u64>();
        assert_eq!(total(4), 64 << 20);
        assert_eq!(total(64), 124 << 20);
        assert_eq!(total(1064), (124 << 20) + 1000 * (256 << 10));
        for nth in [0, 3, 4, 63, 64, u32::MAX] {
            let Windows { stream, connection } = Windows::of_nth(nth);
            assert!(stream * 4 <= connection, "{nth}");
        }
    }
}
