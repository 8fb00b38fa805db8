//! Seeded draws.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of draws: `ChaCha8`, keyed by a seed and a stream number, so that two uses of one seed don't see the same values.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of that number under that seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Any bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Uniform in `0 <= x < 1`, with 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit the mantissa exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform below `count` (multiply and shift: the bias is below 2^-32 for the counts used here).
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn below(&mut self, count: u32) -> u32 {
        assert!(count > 0, "there must be something to draw from");
        let product = (self.bits() >> 32) * u64::from(count);
        u32::try_from(product >> 32).expect("a product of two 32-bit numbers has 32 bits above the lower 32")
    }

    /// Uniform from `low` to `high`, both included.
    ///
    /// # Panics
    /// When `low` is above `high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        assert!(low <= high, "the ends of a range are in order");
        low + self.below(high - low + 1)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of the choices, all alike.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// A position in something of that length.
    ///
    /// # Panics
    /// When the length is 0 or does not fit 32 bits.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).expect("lists drawn from are shorter than 2^32")) as usize
    }

    /// A position, each as likely as its weight says; weights are not negative and their sum is above 0.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len() - 1
    }

    /// Up to `count` different values of `draw`, sorted; fewer when repeats are common.
    pub fn distinct(&mut self, count: usize, mut draw: impl FnMut(&mut Self) -> u32) -> Vec<u32> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count * 4 {
            if values.len() >= count {
                break;
            }
            let value = draw(self);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.sort_unstable();
        values
    }

    /// A standard normal value (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Log-uniform from `low` to `high`.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// Puts the list in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.index(last + 1));
        }
    }
}

/// Ranks drawn so that rank `r` (from 0) has a weight of `1 / (r + 1)^exponent`.
#[derive(Clone, Debug)]
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over `count` ranks.
    #[must_use]
    pub fn new(count: u32, exponent: f64) -> Self {
        let mut cumulative = Vec::with_capacity(count as usize);
        let mut total = 0.0;
        for rank in 1..=count {
            total += f64::from(rank).powf(-exponent);
            cumulative.push(total);
        }
        for sum in &mut cumulative {
            *sum /= total;
        }
        Self { cumulative }
    }

    /// A rank.
    pub fn draw(&self, draws: &mut Draws) -> u32 {
        let at = draws.unit();
        let rank = self.cumulative.partition_point(|&sum| sum < at).min(self.cumulative.len() - 1);
        u32::try_from(rank).expect("there are fewer than 2^32 ranks")
    }
}

/// A non-negative number rounded to a whole one; 0 below, `i64::MAX` above the range.
#[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates, which is what is promised")]
pub(crate) fn whole(value: f64) -> i64 {
    value.round().max(0.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_and_streams_differ() {
        let first: Vec<u64> = (0..4).map(|_| Draws::new(7, 1).bits()).collect();
        assert!(first.iter().all(|&bits| bits == first[0]));
        assert_ne!(Draws::new(7, 1).bits(), Draws::new(7, 2).bits());
        assert_ne!(Draws::new(7, 1).bits(), Draws::new(8, 1).bits());
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut draws = Draws::new(1, 0);
        let values: Vec<u32> = (0..1_000).map(|_| draws.between(3, 6)).collect();
        assert_eq!((values.iter().min(), values.iter().max()), (Some(&3), Some(&6)));
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&draws.unit())));
        assert!((0..1_000).all(|_| draws.weighted(&[0.0, 1.0, 0.0]) == 1));
    }

    #[test]
    fn zipf_weighs_the_first_rank_most() {
        let zipf = Zipf::new(10, 1.0);
        let mut draws = Draws::new(2, 0);
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[zipf.draw(&mut draws) as usize] += 1;
        }
        // 1 / H(10) = 34 %.
        assert!((3_200..3_650).contains(&counts[0]), "{counts:?}");
        assert!(counts[9] > 0);
    }
}
