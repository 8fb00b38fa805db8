//! What may be spent at this moment, line item by line item: pause, throttle and lease, beside the snapshot.
//!
//! The snapshot is immutable and takes milliseconds to change; these three change every second and a pause must hold at once. So they live in
//! atomics in a side array, indexed by [`LineSlot`]. Readers never wait and nothing moves: the array grows by chunks, each twice the size of
//! the one before. A decision *reads* ([`Spending::read`], once a line item) and never writes; whoever answers *draws*
//! ([`Spending::draw`]) from the lease that the decision saw.
//!
//! INV-24: a lease's money never falls below zero, its ordinals are unique and below its maximum, and nothing is drawn from a lease that was
//! replaced, dropped, or is past its `draw_until`. The tests hold it to a naive twin, and to itself under threads.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::catalog::LineSlot;
use crate::model::{LeaseId, Micros, MonotonicMs, Now, WallMs};

/// Line items in the first chunk; a power of two.
const FIRST_CHUNK: u64 = 1 << 10;

/// Chunks that hold every `u32`: 1,024 × (2^23 − 1) cells are more than 2^32.
const CHUNKS: usize = 23;

/// What is left in a lease that may not be drawn from any more; below every price.
const SEALED: i64 = -1;

/// What a lease allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseTerms {
    /// Its id.
    pub lease_id: LeaseId,
    /// Money that may be drawn; not negative.
    pub amount: Micros,
    /// How many impressions may be drawn: ordinals are 0 up to this, excluded.
    pub max_ordinals: u32,
    /// First moment at which nothing may be drawn any more, on this boot's monotonic clock.
    pub draw_until: MonotonicMs,
    /// Last moment at which an impression drawn from it may still be billed; tokens carry nothing later.
    pub last_billable_until: WallMs,
}

/// Whether a line item is let into a break, whatever money it has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Gate {
    /// Held back, whatever the snapshot says.
    pub paused: bool,
    /// It serves where the break's hash is below this; `u64::MAX` always.
    pub throttle: u64,
}

impl Gate {
    /// All that is read of the line item, with what was read of its lease.
    #[must_use]
    pub const fn with(self, lease: Option<LeaseView>) -> SpendView {
        SpendView { paused: self.paused, throttle: self.throttle, lease }
    }
}

/// What a decision reads of one line item, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpendView {
    /// Held back, whatever the snapshot says.
    pub paused: bool,
    /// Serves where the break's hash is below it; `u64::MAX` always.
    pub throttle: u64,
    /// The lease that may be drawn from; none when there is none, or its time to draw is over.
    pub lease: Option<LeaseView>,
}

impl SpendView {
    /// The part that says whether the line item is let in.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        Gate { paused: self.paused, throttle: self.throttle }
    }
}

/// What a decision reads of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseView {
    /// Its id: what a draw must name.
    pub lease_id: LeaseId,
    /// Money left; not negative.
    pub left: Micros,
    /// Impressions left.
    pub ordinals_left: u32,
    /// Last moment at which what is drawn may be billed.
    pub last_billable_until: WallMs,
}

/// Money drawn for one impression.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Draw {
    /// From which lease.
    pub lease_id: LeaseId,
    /// Which draw of the lease; with the lease it names the impression.
    pub ordinal: u32,
    /// How much.
    pub price: Micros,
    /// Last moment at which it may be billed.
    pub last_billable_until: WallMs,
}

/// Why nothing was drawn. Outcomes of a race with accounting or other breaks, not faults: decide again without the line item.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum DrawError {
    /// The line item has no lease.
    #[error("the line item has no lease")]
    NoLease,
    /// Its lease is another one than the decision saw.
    #[error("the lease was replaced by another")]
    Replaced,
    /// The lease's time to draw is over.
    #[error("the lease's time to draw is over")]
    Expired,
    /// Less money is left than the price.
    #[error("less money is left in the lease than the price")]
    OutOfMoney,
    /// No ordinal is left.
    #[error("no ordinal is left in the lease")]
    OutOfOrdinals,
    /// The price is negative: a caller's bug, refused rather than trusted with money.
    #[error("the price is negative")]
    NegativePrice,
}

/// What was not drawn from a lease when it was taken away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseRest {
    /// The lease.
    pub lease_id: LeaseId,
    /// Money that was never drawn. A draw under way at that moment may make it smaller than it was, never larger.
    pub left: Micros,
    /// How many ordinals were drawn: those below it may yet be billed.
    pub drawn_ordinals: u32,
}

/// What was drawn for a line item since this process started, over all its leases.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct DrawnTotals {
    /// Money.
    pub drawn: Micros,
    /// Impressions.
    pub count: u64,
}

/// Pause, throttle and lease of every line item.
#[derive(Debug)]
pub struct Spending {
    chunks: [OnceLock<Box<[Cell]>>; CHUNKS],
}

#[derive(Debug)]
struct Cell {
    paused: AtomicBool,
    throttle: AtomicU64,
    lease: ArcSwapOption<Lease>,
    drawn: AtomicI64,
    drawn_count: AtomicU64,
}

#[derive(Debug)]
struct Lease {
    terms: LeaseTerms,
    left: AtomicI64,
    next_ordinal: AtomicU32,
}

// Orderings: every counter stands for itself and publishes no other memory, and read-modify-writes of one atomic have one total order, so
// `Relaxed` is enough for them. A lease's terms are published by `arc-swap`, whose store releases and whose load acquires.

impl Spending {
    /// Nothing paused, nothing throttled, no leases.
    #[must_use]
    pub fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Gives the line item a lease. The one before, if any, is sealed first, so that nothing more is drawn from it; what was left in it is
    /// returned.
    ///
    /// # Panics
    /// When the amount is negative: no grant is.
    pub fn install_lease(&self, slot: LineSlot, terms: LeaseTerms) -> Option<LeaseRest> {
        assert!(terms.amount >= Micros::ZERO, "a lease is of no negative amount");
        let lease = Lease { terms, left: AtomicI64::new(terms.amount.0), next_ordinal: AtomicU32::new(0) };
        self.cell(slot).lease.swap(Some(Arc::new(lease))).map(|before| before.seal())
    }

    /// Takes the line item's lease away, if it has one, and returns what was left in it.
    pub fn drop_lease(&self, slot: LineSlot) -> Option<LeaseRest> {
        self.known(slot)?.lease.swap(None).map(|before| before.seal())
    }

    /// Sets how often the line item serves where it is eligible: `u64::MAX` always, 0 never.
    pub fn set_throttle(&self, slot: LineSlot, throttle: u64) {
        self.cell(slot).throttle.store(throttle, Ordering::Relaxed);
    }

    /// Holds the line item back, or lets it go, from the next decision on.
    pub fn set_paused(&self, slot: LineSlot, paused: bool) {
        self.cell(slot).paused.store(paused, Ordering::Relaxed);
    }

    /// What holds for the line item at this moment. Of a line item never told about: not paused, not throttled, no lease.
    #[must_use]
    pub fn read(&self, slot: LineSlot, now: Now) -> SpendView {
        self.gate(slot).with(self.lease(slot, now))
    }

    /// The first half of [`Spending::read`]: one look at one place of memory.
    #[must_use]
    pub fn gate(&self, slot: LineSlot) -> Gate {
        self.known(slot).map_or(Gate { paused: false, throttle: u64::MAX }, |cell| Gate {
            paused: cell.paused.load(Ordering::Relaxed),
            throttle: cell.throttle.load(Ordering::Relaxed),
        })
    }

    /// The other half: the lease that may be drawn from.
    #[must_use]
    pub fn lease(&self, slot: LineSlot, now: Now) -> Option<LeaseView> {
        self.known(slot)?.lease.load().as_deref().and_then(|lease| lease.view(now))
    }

    /// Draws the price of one impression from the line item's lease, which must be the one named.
    ///
    /// # Errors
    /// [`DrawError`] says why nothing was drawn.
    pub fn draw(&self, slot: LineSlot, lease_id: LeaseId, price: Micros, now: Now) -> Result<Draw, DrawError> {
        let cell = self.known(slot).ok_or(DrawError::NoLease)?;
        let lease = cell.lease.load();
        let lease = lease.as_deref().ok_or(DrawError::NoLease)?;
        if lease.terms.lease_id != lease_id {
            return Err(DrawError::Replaced);
        }
        let draw = lease.draw(price, now)?;
        cell.drawn.fetch_add(price.0, Ordering::Relaxed);
        cell.drawn_count.fetch_add(1, Ordering::Relaxed);
        Ok(draw)
    }

    /// What was drawn for the line item so far, over all its leases. The two numbers are read one after the other: a draw under way may be in
    /// one of them only.
    #[must_use]
    pub fn totals(&self, slot: LineSlot) -> DrawnTotals {
        self.known(slot).map_or_else(DrawnTotals::default, |cell| DrawnTotals {
            drawn: Micros(cell.drawn.load(Ordering::Relaxed)),
            count: cell.drawn_count.load(Ordering::Relaxed),
        })
    }

    /// The cell, if anything was ever said of its chunk.
    fn known(&self, slot: LineSlot) -> Option<&Cell> {
        let (chunk, index) = place(slot);
        self.chunks[chunk].get()?.get(index)
    }

    /// The cell; its chunk is made at first use. Only writers come here, so a decision never waits for an allocation.
    fn cell(&self, slot: LineSlot) -> &Cell {
        let (chunk, index) = place(slot);
        let cells = self.chunks[chunk].get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| Cell::new()).collect());
        &cells[index]
    }
}

impl Default for Spending {
    fn default() -> Self {
        Self::new()
    }
}

/// Chunk and index of a slot. Chunk `k` holds `FIRST_CHUNK << k` cells, so the slots before it number `FIRST_CHUNK * (2^k - 1)`.
fn place(slot: LineSlot) -> (usize, usize) {
    let shifted = u64::from(slot.0) + FIRST_CHUNK;
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    let index = shifted - (FIRST_CHUNK << chunk);
    (chunk as usize, usize::try_from(index).expect("a u32 fits in usize"))
}

impl Cell {
    const fn new() -> Self {
        Self {
            paused: AtomicBool::new(false),
            throttle: AtomicU64::new(u64::MAX),
            lease: ArcSwapOption::const_empty(),
            drawn: AtomicI64::new(0),
            drawn_count: AtomicU64::new(0),
        }
    }
}

impl Lease {
    fn is_over(&self, now: Now) -> bool {
        now.monotonic >= self.terms.draw_until
    }

    fn view(&self, now: Now) -> Option<LeaseView> {
        let left = self.left.load(Ordering::Relaxed);
        if left < 0 || self.is_over(now) {
            return None;
        }
        Some(LeaseView {
            lease_id: self.terms.lease_id,
            left: Micros(left),
            ordinals_left: self.terms.max_ordinals.saturating_sub(self.next_ordinal.load(Ordering::Relaxed)),
            last_billable_until: self.terms.last_billable_until,
        })
    }

    fn draw(&self, price: Micros, now: Now) -> Result<Draw, DrawError> {
        if price < Micros::ZERO {
            return Err(DrawError::NegativePrice);
        }
        if self.is_over(now) {
            return Err(DrawError::Expired);
        }
        // Money first: it can be given back, an ordinal can't. SEALED is below every price, so a sealed lease refuses here.
        let subtract = |left: i64| if left >= price.0 { Some(left - price.0) } else { None };
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract)
            .map_err(|left| if left == SEALED { DrawError::Replaced } else { DrawError::OutOfMoney })?;
        let next = |ordinal: u32| if ordinal < self.terms.max_ordinals { Some(ordinal + 1) } else { None };
        let Ok(ordinal) = self.next_ordinal.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) else {
            self.give_back(price);
            return Err(DrawError::OutOfOrdinals);
        };
        let LeaseTerms { lease_id, last_billable_until, .. } = self.terms;
        Ok(Draw { lease_id, ordinal, price, last_billable_until })
    }

    /// Undoes a subtraction. Never into a sealed lease: its rest has been told, and less than is there is the safe error.
    fn give_back(&self, price: Micros) {
        let add = |left: i64| if left == SEALED { None } else { Some(left + price.0) };
        // The error means sealed, which is the case left out on purpose.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Ends drawing. Every draw is either before the swap, and then missing from `left`, or after it, and refused.
    fn seal(&self) -> LeaseRest {
        let left = self.left.swap(SEALED, Ordering::Relaxed).max(0);
        // A draw that subtracted before the swap may take its ordinal after this load; so ordinals are closed too, and it gives up.
        let drawn_ordinals = self.next_ordinal.swap(u32::MAX, Ordering::Relaxed).min(self.terms.max_ordinals);
        LeaseRest { lease_id: self.terms.lease_id, left: Micros(left), drawn_ordinals }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Now {
        Now { wall: WallMs(0), monotonic: MonotonicMs(ms) }
    }

    fn terms(lease: u128, amount: i64, max_ordinals: u32, draw_until: u64) -> LeaseTerms {
        LeaseTerms {
            lease_id: LeaseId::from_u128(lease),
            amount: Micros(amount),
            max_ordinals,
            draw_until: MonotonicMs(draw_until),
            last_billable_until: WallMs(9),
        }
    }

    #[test]
    fn places_are_dense_and_unique() {
        let mut expected = (0, 0);
        for slot in 0..100_000 {
            assert_eq!(place(LineSlot(slot)), expected);
            expected.1 += 1;
            if expected.1 == 1 << (10 + expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
        let (chunk, index) = place(LineSlot(u32::MAX));
        assert!(chunk < CHUNKS && index < 1 << (10 + chunk));
    }

    #[test]
    fn a_replaced_lease_is_not_drawn_from() {
        let spending = Spending::new();
        let (slot, old, new) = (LineSlot(70_000), LeaseId::from_u128(1), LeaseId::from_u128(2));
        assert_eq!(spending.draw(slot, old, Micros(1), at(0)), Err(DrawError::NoLease));
        assert_eq!(spending.install_lease(slot, terms(1, 10, 9, 100)), None);
        assert_eq!(spending.draw(slot, old, Micros(4), at(0)).map(|draw| draw.ordinal), Ok(0));
        let rest = spending.install_lease(slot, terms(2, 10, 9, 100));
        assert_eq!(rest, Some(LeaseRest { lease_id: old, left: Micros(6), drawn_ordinals: 1 }));
        assert_eq!(spending.draw(slot, old, Micros(4), at(0)), Err(DrawError::Replaced));
        assert_eq!(spending.draw(slot, new, Micros(4), at(100)), Err(DrawError::Expired));
        assert_eq!(spending.read(slot, at(100)).lease, None);
        assert_eq!(spending.draw(slot, new, Micros(-4), at(0)), Err(DrawError::NegativePrice));
        assert_eq!(spending.draw(slot, new, Micros(10), at(99)).map(|draw| draw.ordinal), Ok(0));
        assert_eq!(spending.totals(slot), DrawnTotals { drawn: Micros(14), count: 2 });
        assert_eq!(spending.drop_lease(slot).map(|rest| rest.left), Some(Micros(0)));
        assert_eq!(spending.drop_lease(slot), None);
    }

    /// The twin: the same rules in plain variables.
    #[derive(Default)]
    struct Naive {
        lease: Option<(LeaseTerms, i64, u32)>,
        drawn: i64,
        count: u64,
    }

    impl Naive {
        fn install(&mut self, terms: Option<LeaseTerms>) -> Option<LeaseRest> {
            let before = std::mem::replace(&mut self.lease, terms.map(|terms| (terms, terms.amount.0, 0)));
            before.map(|(terms, left, next)| LeaseRest {
                lease_id: terms.lease_id,
                left: Micros(left),
                drawn_ordinals: next,
            })
        }

        fn draw(&mut self, lease_id: LeaseId, price: i64, now: u64) -> Result<u32, DrawError> {
            let (terms, left, next) = self.lease.as_mut().ok_or(DrawError::NoLease)?;
            match () {
                () if terms.lease_id != lease_id => Err(DrawError::Replaced),
                () if price < 0 => Err(DrawError::NegativePrice),
                () if now >= terms.draw_until.0 => Err(DrawError::Expired),
                () if *left < price => Err(DrawError::OutOfMoney),
                () if *next >= terms.max_ordinals => Err(DrawError::OutOfOrdinals),
                () => {
                    *left -= price;
                    *next += 1;
                    self.drawn += price;
                    self.count += 1;
                    Ok(*next - 1)
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Install(u128, i64, u32, u64),
        Drop,
        Draw(u128, i64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (1..4_u128, 0..50_i64, 0..6_u32, 0..10_u64).prop_map(|(id, amount, max, until)| Step::Install(id, amount, max, until)),
            1 => Just(Step::Drop),
            8 => (1..4_u128, -1..12_i64, 0..10_u64).prop_map(|(id, price, now)| Step::Draw(id, price, now)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn does_what_the_naive_twin_does(steps in proptest::collection::vec(step(), 0..60)) {
            let (spending, mut naive, slot) = (Spending::new(), Naive::default(), LineSlot(5));
            for step in steps {
                match step {
                    Step::Install(id, amount, max, until) => {
                        let terms = terms(id, amount, max, until);
                        prop_assert_eq!(spending.install_lease(slot, terms), naive.install(Some(terms)));
                    }
                    Step::Drop => prop_assert_eq!(spending.drop_lease(slot), naive.install(None)),
                    Step::Draw(id, price, now) => {
                        let id = LeaseId::from_u128(id);
                        let drawn = spending.draw(slot, id, Micros(price), at(now)).map(|draw| draw.ordinal);
                        prop_assert_eq!(drawn, naive.draw(id, price, now));
                    }
                }
                let view = spending.read(slot, at(0)).lease;
                let expected = naive.lease.filter(|(terms, ..)| terms.draw_until.0 > 0);
                prop_assert_eq!(
                    view.map(|lease| (lease.lease_id, lease.left.0, lease.ordinals_left)),
                    expected.map(|(terms, left, next)| (terms.lease_id, left, terms.max_ordinals - next))
                );
                prop_assert_eq!(spending.totals(slot), DrawnTotals { drawn: Micros(naive.drawn), count: naive.count });
            }
        }
    }

    // INV-24.
    /// Threads draw while leases are replaced: of each lease the money drawn and told as left never exceed its amount, and its ordinals are
    /// unique and below its maximum.
    #[test]
    fn threads_never_overdraw_a_lease() {
        const LEASES: u128 = 200;
        const AMOUNT: i64 = 1_000;
        const MAX_ORDINALS: u32 = 180;
        let (spending, slot) = (Spending::new(), LineSlot(0));
        let (mut draws, rests) = std::thread::scope(|scope| {
            let drawers: Vec<_> = (0..3_i64)
                .map(|thread| {
                    let spending = &spending;
                    scope.spawn(move || {
                        let mut draws = Vec::new();
                        let mut tried = 0_i64;
                        while spending.read(slot, at(0)).throttle != 0 {
                            tried += 1;
                            let Some(lease) = spending.read(slot, at(0)).lease else { continue };
                            draws.extend(spending.draw(slot, lease.lease_id, Micros((tried + thread) % 7), at(0)));
                        }
                        draws
                    })
                })
                .collect();
            let mut rests = Vec::new();
            for id in 0..LEASES {
                rests.extend(spending.install_lease(slot, terms(id, AMOUNT, MAX_ORDINALS, 1)));
                // Some leases are used for a while, the others are replaced at once.
                let fresh = |lease: LeaseView| lease.left.0 > AMOUNT / 2 && lease.ordinals_left > 0;
                while id % 4 != 0 && spending.read(slot, at(0)).lease.is_some_and(fresh) {
                    std::thread::yield_now();
                }
            }
            rests.extend(spending.drop_lease(slot));
            spending.set_throttle(slot, 0);
            let draws: Vec<Draw> =
                drawers.into_iter().flat_map(|drawer| drawer.join().expect("no drawer panics")).collect();
            (draws, rests)
        });
        assert_eq!(rests.len(), LEASES as usize);
        assert!(draws.len() > 1_000, "{} draws are too few to show anything", draws.len());
        let totals = spending.totals(slot);
        assert_eq!(totals.count, draws.len() as u64);
        assert_eq!(i128::from(totals.drawn.0), draws.iter().map(|draw| draw.price).sum::<i128>());
        draws.sort_by_key(|draw| (draw.lease_id, draw.ordinal));
        for rest in rests {
            let of_lease: Vec<&Draw> = draws.iter().filter(|draw| draw.lease_id == rest.lease_id).collect();
            let drawn: i64 = of_lease.iter().map(|draw| draw.price.0).sum();
            assert!(drawn + rest.left.0 <= AMOUNT, "{drawn} drawn, {rest:?}");
            assert!(of_lease.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal), "an ordinal twice");
            assert!(of_lease.iter().all(|draw| draw.ordinal < rest.drawn_ordinals.min(MAX_ORDINALS)));
        }
    }
}
