//! Bitmaps as words of 64.

/// Bits in a word.
const WORD: usize = 64;

/// A bitmap of fixed length; bits past its length are clear.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// `count` set bits.
    #[must_use]
    pub fn set(count: usize) -> Self {
        let mut words = vec![u64::MAX; count.div_ceil(WORD)];
        if let Some(last) = words.last_mut()
            && !count.is_multiple_of(WORD)
        {
            *last = (1 << (count % WORD)) - 1;
        }
        Self { words }
    }

    /// Clears a bit.
    pub(crate) fn remove(&mut self, bit: usize) {
        self.words[bit / WORD] &= !(1 << (bit % WORD));
    }

    /// Whether a bit is set.
    #[must_use]
    pub fn contains(&self, bit: usize) -> bool {
        self.words[bit / WORD] & (1 << (bit % WORD)) != 0
    }
}
