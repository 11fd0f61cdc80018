//! Random octets for serial numbers and jitter, from the same generator that makes the keys.

use rustls::crypto::{GetRandomFailed, aws_lc_rs};

/// Fills `octets` with random ones.
pub(super) fn fill(octets: &mut [u8]) -> Result<(), GetRandomFailed> {
    aws_lc_rs::default_provider().secure_random.fill(octets)
}

/// A number in `0.0..1.0`, for jitter; the middle when the generator fails, which only costs the jitter.
pub(crate) fn fraction() -> f64 {
    let mut octets = [0; 4];
    match fill(&mut octets) {
        Ok(()) => f64::from(u32::from_ne_bytes(octets)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
