//! Sums, days at the edges of a month, and when an invoice is final.

use super::*;
use crate::accounting::testing::{ADVERTISER, NETWORK, T0, settled_lease};
use crate::events::{Reversal, samples};
use crate::roles::campaign::samples as catalogue;

const DAY_MS: i64 = 86_400_000;

struct World {
    advertiser: Advertiser,
    network: Network,
    leases: Vec<Lease>,
    entries: Vec<LedgerEntry>,
    checkpoints: Vec<Checkpoint>,
    log_time: WallMs,
}

fn month() -> Month {
    "2025-06".parse().expect("a month")
}

fn day(text: &str) -> Day {
    day_of(text.parse().expect("a date"))
}

impl World {
    fn new() -> Self {
        Self {
            advertiser: Advertiser { id: ADVERTISER, ..catalogue::advertiser(ADVERTISER, NETWORK) },
            network: catalogue::network(NETWORK),
            leases: Vec::new(),
            entries: Vec::new(),
            checkpoints: Vec::new(),
            log_time: T0,
        }
    }

    /// A lease of a day that charged so many impressions; closed ones have an entry.
    fn lease(&mut self, n: u128, on: &str, charged: u32, is_closed: bool) -> &mut Lease {
        let mut lease = settled_lease(n, charged);
        lease.grant.advertiser_day = day(on);
        if is_closed {
            lease.closed_at = Some(T0.plus_ms(10 * DAY_MS));
            let number = self.entries.len() as u64 + 1;
            self.entries.extend(ledger::settlement(number, ADVERTISER, &lease, T0));
        }
        self.leases.push(lease);
        self.leases.last_mut().expect("just pushed")
    }

    fn reverse(&mut self, on: &str, price: i64) {
        let reversal = Reversal {
            network_id: NETWORK,
            advertiser_id: ADVERTISER,
            campaign_id: self.leases[0].grant.campaign_id,
            line_item_id: self.leases[0].grant.line_item_id,
            price: Micros(price),
            advertiser_day: day(on),
            ..samples::reversal()
        };
        let number = self.entries.len() as u64 + 1;
        self.entries.extend(ledger::reversal(number, &reversal));
    }

    fn seal(&mut self, log_time: WallMs) {
        let number = self.checkpoints.len() as u64 + 1;
        let trial = crate::events::TrialBalance { entries: self.entries.len() as u64, ..Default::default() };
        self.checkpoints.push(Checkpoint { number, log_time, trial, ..samples::checkpoint() });
        self.log_time = log_time;
    }

    fn invoice(&self) -> Result<Invoice, InvoiceError> {
        invoice(&Material {
            advertiser: &self.advertiser,
            network: &self.network,
            month: month(),
            leases: &self.leases,
            entries: &self.entries,
            checkpoints: &self.checkpoints,
            log_time: self.log_time,
            names: &Names::default(),
        })
    }
}

/// The first hour of July in Stockholm.
const JULY: WallMs = WallMs(1_751_320_800_000);

#[test]
fn months_are_read_and_end_where_the_zone_says() {
    for bad in ["", "2025-6", "2025-13", "2025-00", "202506", "2025/06", "+025-06", "20256-1"] {
        assert_eq!(bad.parse::<Month>(), Err(NotAMonth), "{bad:?}");
    }
    let month = month();
    assert_eq!(
        (month.to_string(), month.first(), month.last(), month.end()),
        ("2025-06".to_owned(), day("2025-06-01"), day("2025-06-30"), day("2025-07-01"))
    );
    assert!(month.contains(day("2025-06-30")) && !month.contains(day("2025-07-01")));
    assert_eq!(Month::of(day("2025-06-17")), month);
    assert_eq!(month.end_in(&Zone::named("Europe/Stockholm").expect("a zone")), JULY);
    assert_eq!("9999-12".parse::<Month>().map(Month::last), Ok(day("9999-12-31")));
}

// INV-44.
#[test]
fn a_month_is_the_leases_of_its_days_less_the_reversals_of_its_days() {
    let mut world = World::new();
    world.lease(1, "2025-05-31", 7, true);
    world.lease(2, "2025-06-01", 3, true);
    world.lease(3, "2025-06-30", 2, true).unbilled.insert(9, UnbilledReason::Late);
    world.lease(4, "2025-07-01", 5, true);
    world.reverse("2025-06-02", 10);
    world.reverse("2025-07-02", 10);
    let made = world.invoice().expect("sums fit").amounts;
    assert_eq!((made.charged, made.credited, made.total), (Micros(50), Micros(-10), Micros(40)));
    assert_eq!((made.charges.len(), made.credits.len()), (1, 1));
    assert_eq!((made.charges[0].quantity, made.charges[0].unit_price), (5, Some(Micros(10))));
    assert_eq!((made.credits[0].quantity, made.credits[0].unit_price), (1, Some(Micros(-10))));
    assert_eq!(world.invoice().expect("sums fit").unbilled, BTreeMap::from([(UnbilledReason::Late, 1)]));
}

#[test]
fn prices_that_differ_have_no_unit_price_and_the_sum_is_exact() {
    let mut world = World::new();
    world.lease(1, "2025-06-01", 3, false).settled_micros = Micros(31);
    let line = world.invoice().expect("sums fit").amounts.charges.remove(0);
    assert_eq!((line.quantity, line.unit_price, line.amount), (3, None, Micros(31)));
    world.leases[0].settled_micros = Micros(30);
    world.lease(2, "2025-06-02", 2, false).settled_micros = Micros(40);
    let line = world.invoice().expect("sums fit").amounts.charges.remove(0);
    assert_eq!((line.quantity, line.unit_price, line.amount), (5, None, Micros(70)));
}

#[test]
fn it_is_a_draft_until_the_month_is_over_all_is_closed_and_sealed() {
    let mut world = World::new();
    world.lease(1, "2025-06-01", 3, true);
    world.seal(T0);
    let state = |world: &World| world.invoice().expect("sums fit").state;
    assert_eq!(state(&world), InvoiceState::Draft(DraftReason::MonthRuns));
    world.log_time = JULY;
    assert_eq!(state(&world), InvoiceState::Draft(DraftReason::NotSealed));
    world.seal(JULY.plus_ms(SETTLE_MARGIN_MS - 1));
    assert_eq!(state(&world), InvoiceState::Draft(DraftReason::NotSealed), "a reversal may still be on its way");
    world.seal(JULY.plus_ms(SETTLE_MARGIN_MS));
    assert_eq!(state(&world), InvoiceState::Final);
    let first = world.invoice().expect("sums fit");
    assert_eq!(first.checkpoints.iter().map(|sealing| sealing.number).collect::<Vec<_>>(), [3]);
    // INV-44: whatever comes later, the same.
    world.reverse("2025-07-02", 10);
    world.lease(2, "2025-07-01", 9, false);
    world.seal(JULY.plus_ms(10 * DAY_MS));
    assert_eq!(world.invoice(), Ok(first));
    world.lease(3, "2025-06-03", 1, false);
    assert_eq!(state(&world), InvoiceState::Draft(DraftReason::LeasesOpen(1)));
}

#[test]
fn books_that_disagree_make_no_invoice() {
    let mut world = World::new();
    world.lease(1, "2025-06-01", 3, true);
    world.entries.clear();
    assert_eq!(world.invoice(), Err(InvoiceError::Disagrees { month: month(), leases: 30, entries: 0 }));
    let mut world = World::new();
    for n in 0..2 {
        world.lease(n, "2025-06-01", 1, false).settled_micros = Micros(i64::MAX);
    }
    assert_eq!(world.invoice(), Err(InvoiceError::Overflow(MoneyOverflow)));
}

#[test]
fn numbers_name_month_and_advertiser() {
    let mut world = World::new();
    world.advertiser.id = AdvertiserId::from_u128(0x0190_a2b4_7c1e_7000_8000_0123_4567_89ab);
    assert_eq!(world.invoice().expect("sums fit").number, "2025-06-0123-4567-89AB");
}
