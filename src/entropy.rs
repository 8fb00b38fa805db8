//! The one place that draws randomness.
//!
//! Everybody else is given an [`Entropy`], or random bytes, or a seed. Real entropy comes from the operating system and is fit for
//! secrets; seeded entropy repeats itself, for tests and simulations.

use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A source of random bytes. Cheap to clone; clones of a seeded source share one stream.
#[derive(Clone, Debug)]
pub struct Entropy(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The operating system's generator.
    Real,
    /// A stream that the seed determines. The lock is held for one draw; nothing on a request's path draws from a seeded source.
    Seeded(Arc<Mutex<ChaCha20Rng>>),
}

impl Entropy {
    /// The operating system's generator.
    #[must_use]
    pub const fn real() -> Self {
        Self(Kind::Real)
    }

    /// A stream that `seed` determines. Never for secrets that protect anything.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Kind::Seeded(Arc::new(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))))
    }

    /// `N` random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: no id or secret can be made then, and the process can do nothing right.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Kind::Real => getrandom::fill(&mut bytes).expect("the operating system gives randomness"),
            Kind::Seeded(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes),
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_stream_and_clones_share_it() {
        let first = Entropy::seeded(7);
        let second = Entropy::seeded(7);
        let (a, b): ([u8; 16], [u8; 16]) = (first.bytes(), first.clone().bytes());
        assert_ne!(a, b);
        assert_eq!((a, b), (second.bytes(), second.bytes()));
    }

    #[test]
    fn real_entropy_does_not_repeat() {
        assert_ne!(Entropy::real().bytes::<16>(), Entropy::real().bytes::<16>());
    }
}
