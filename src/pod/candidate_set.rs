//! A set of candidates, one bit each, by their place in the order of value.

/// Words of a set.
const WORDS: usize = 4;

/// Most members.
pub(super) const CAPACITY: usize = WORDS * 64;

/// A set of numbers below [`CAPACITY`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct CandidateSet([u64; WORDS]);

impl CandidateSet {
    /// No members.
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    /// Every number below `count`.
    pub(super) fn first(count: usize) -> Self {
        let mut set = Self::EMPTY;
        (0..count).for_each(|member| set.insert(member));
        set
    }

    pub(super) const fn insert(&mut self, member: usize) {
        self.0[member / 64] |= 1 << (member % 64);
    }

    pub(super) const fn remove(&mut self, member: usize) {
        self.0[member / 64] &= !(1 << (member % 64));
    }

    pub(super) const fn contains(&self, member: usize) -> bool {
        self.0[member / 64] & (1 << (member % 64)) != 0
    }

    /// Those in both.
    pub(super) fn and(self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// Those in either.
    pub(super) fn or(self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Those of this one that are not in the other.
    pub(super) fn without(self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// The lowest member.
    pub(super) fn lowest(&self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// Members in ascending order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    word * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let members = [0, 1, 63, 64, 128, 200, CAPACITY - 1];
        let mut set = CandidateSet::EMPTY;
        for member in members {
            set.insert(member);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), members);
        set.remove(0);
        assert_eq!(set.lowest(), Some(1));
        assert!(!set.contains(0) && set.contains(200));
        let low = CandidateSet::first(64);
        assert_eq!(set.and(&low).iter().collect::<Vec<_>>(), [1, 63]);
        assert_eq!(set.without(&low).lowest(), Some(64));
        assert_eq!(set.or(&low).iter().count(), 64 + 4);
        assert_eq!(CandidateSet::EMPTY.lowest(), None);
    }
}
