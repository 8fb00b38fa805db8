//! The index: which of many line items' targeting a request meets, best rank first, without looking at each.
//!
//! Line items come in order of rank. Each conjunction of a line item's normal form is a bit position of its own, those of one line item side by side. For each
//! field of which some conjunction asks a value there is a bitmap of the conjunctions that ask nothing of it, and for each value the conjunctions that ask
//! for it and those that exclude it: as a bitmap where they are many, as a sorted list where they are few. A request is then met by
//!
//! ```text
//! live & for each field (nothing asked | asked for a value of the request) & for each value of the request !excluded
//! ```
//!
//! computed block by block from the front: small blocks first, so that the best few are found at once, then larger ones. What can't be looked up (places,
//! versions, very large sets, a second set of one multi-valued field) is checked of those that are left.
//!
//! Values are numbers here ([`ValueId`]); the catalogue's dictionary gives them. An index never changes: what is taken out is cleared in
//! a bitmap of live conjunctions beside it.

mod bits;
mod build;
mod compile;
mod cursor;
mod query;

pub use bits::Bits;
pub use build::Index;
pub use compile::{Document, SET_POSTED_MAX};
pub use cursor::{Cursor, Sabotage};
pub use query::{Lane, Query};

/// A value's number, given by a dictionary: unique over all fields.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
