//! Chance, reproducible: whoever makes a generator gives it its seed.
//!
//! Entry point: [`Random`]. SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", OOPSLA 2014): two multiplications a number, good enough to spread load. Not for secrets.

use super::{hash::mix, settings::Percent};

/// A generator of one worker.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator with this seed. Workers need seeds of their own, or they choose alike.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, each as likely as any other up to one part in 2³²; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.bits()) * end as u128;
        (wide >> 64) as usize
    }

    /// A number from 0 up to, but without, 1.
    pub fn fraction(&mut self) -> f64 {
        // The 53 bits that a double can tell apart.
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True for this share of all questions.
    pub fn happens(&mut self, share: Percent) -> bool {
        share.millionths() > 0 && self.below(1_000_000) < share.millionths() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_numbers_of_the_algorithm_come_out() {
        let mut random = Random::seeded(1_234_567);
        let wanted = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.bits(), random.bits(), random.bits()], wanted);
    }

    #[test]
    fn numbers_stay_below_their_end_and_reach_all_of_it() {
        let mut random = Random::seeded(7);
        let mut seen = [0; 5];
        for _ in 0..5_000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn a_share_happens_as_often_as_it_says_and_none_never() {
        let mut random = Random::seeded(7);
        let mut count = |share| (0..100_000).filter(|_| random.happens(share)).count();
        assert_eq!(count(Percent::NONE), 0);
        assert_eq!(count(Percent::ALL), 100_000);
        let quarter = count(Percent::from_millionths(250_000));
        assert!((24_000..26_000).contains(&quarter), "{quarter}");
    }
}
