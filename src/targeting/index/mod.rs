//! The index: which of many line items' targeting a request meets, best rank first, without looking at each.
//!
//! Line items come in order of rank. Each conjunction of a line item's normal form is an *entry*. Entries stand on *shelves*: one for each network and
//! each value of the lane (a field, say the country) that leaves a listener least to read, and one for those that ask nothing of it. An entry that asks for
//! several values stands on several. A request reads two shelves, from the front, as one sequence:
//!
//! ```text
//!                 shelf (network 7, "se")                                    shelf (network 7, no country)
//!                 block 0 (512 entries)  block 1  ...                        block 0 ...
//!   rows          age 13-17   1101...011
//!   (a bit        age 18-24   0111...010      & these of the listener's       of those that pass every row of the listener,
//!   for each      no age      0100...010        values, band by band          in order, the record decides:
//!   entry)        city, 1/16  1011...110
//!                 Mondays     1110...011                                      record   document 4711, city one of 17, 902,
//!                 ...                                                                  no segment of 5, 31007, 40199
//! ```
//!
//! *Rows* ([`bands`]) are computed on 512 entries at a time and say "no" or "maybe"; where values have a row of their own they say "yes", and nothing is
//! left open. *Records* ([`record`]) hold what rows leave open, and are looked at only for entries that passed. As a reader stops when it has enough, most of
//! an index is never touched; as rows of a block lie side by side, what is touched lies together. This is the bit-sliced signature file of `BitFunnel`
//! (Goodwin et al., SIGIR 2017), with exact rows where they are to be had, and the best line items in front.
//!
//! Values are numbers here ([`ValueId`]); the catalogue's dictionary gives them. An index never changes: what is taken out is cleared in
//! a bitmap of live documents beside it.

mod bands;
mod bits;
mod build;
mod compile;
mod cursor;
mod query;
mod record;
mod shelf;
#[cfg(test)]
mod tests;

pub use bits::Bits;
pub use build::Index;
pub use compile::Document;
pub use cursor::{Cursor, Sabotage};
pub use query::{Lane, Query};

/// A value's number, given by a dictionary: from 0 on in each lane, without gaps to speak of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
