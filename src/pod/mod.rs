//! The pod: which of the candidates fill one break, and in which order.
//!
//! A pod is worth the sum of its ads, tier by tier: more sponsorship is better than any amount of guaranteed, that than any amount of
//! auction, that than house; among equals the pod with the greater sum of lots (a hash by break and line item) wins, so that the answer depends
//! on what the candidates are and not on how they came. All in integers. The limits: total duration, number of ads, at most one ad of an
//! advertiser, and no two that compete (the same category, or one excludes the other's). A creative belongs to one advertiser, so no
//! creative is in a pod twice either, and a cap counted within the pod is kept by at most one ad an advertiser.
//!
//! The search is exact: depth first with a bound from relaxations ([`search`]), after dropping the candidates that could always be replaced by a
//! better one ([`prune`]). A limit on nodes makes it end always; what it has by then holds all the limits, and [`Pod::is_complete`] says
//! that a better one may exist. Known figures of this kind of search: Horowitz and Sahni, "Computing partitions with applications to the
//! knapsack problem" (J. ACM, 1974).

mod candidate_set;
mod problem;
mod prune;
mod search;
#[cfg(test)]
mod tests;

pub use problem::{PodCandidate, PodLimits, PodProblem};
pub use search::{Pod, PodScratch, PodValue, Unseen, is_improvable, solve};

/// Most candidates that a search takes: one bit each in a set of 256, less the 16 that stand for what is unseen.
pub const MAX_CANDIDATES: usize = 240;

/// Most ads in a pod.
pub const MAX_ADS: u8 = 16;

/// Places for them.
const PLACES: usize = MAX_ADS as usize;

/// Most nodes that one search visits: about a millisecond. Of the breaks measured, none needed more than 1,000 (120 candidates, 8 ads).
pub const MAX_NODES: u32 = 20_000;

/// Most that one ad may be worth, so that sixteen of them add up within 64 bits.
pub const MAX_VALUE: i64 = i64::MAX / 16;
