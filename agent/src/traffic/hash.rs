//! Hashes that all agents compute alike.
//!
//! Entry points: [`stable_hash`] of octets, [`mix`] of a number.

/// FNV-1a over the octets (its offset and prime are part of what agents agree upon), then mixed.
pub(super) fn stable_hash(octets: &[u8]) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
    mix(octets.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Spreads a change of any bit over all of them; one to one.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_other_agents_compute() {
        // Changing it moves every key of every Service while agents of two versions run.
        assert_eq!(stable_hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(stable_hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
    }
}
