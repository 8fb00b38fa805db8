//! What must hold of money at rest, by the world's own knowledge of what happened: for each price model what is charged and what is not, what
//! was taken back, and the sums of it.

use std::collections::{BTreeMap, BTreeSet};

use super::board::{Ad, Record};
use super::clock_model::true_wall;
use super::invariants::levels_of;
use super::traffic::Who;
use super::world::World;
use crate::accounting::{LevelId, UnbilledReason};
use crate::catalog::Entity;
use crate::events::{EntryCause, LedgerAccount};
use crate::model::{AdvertiserId, BeaconEvent, ImpressionId, LeaseId, LineItem, LineItemId, Micros, PriceModel, Zone};

/// Clocks of servers may be so far off: what was decided so close to midnight is of either day, in milliseconds.
const MIDNIGHT_MS: i64 = 2_000;

/// What was charged.
struct Charge<'w> {
    id: ImpressionId,
    ad: &'w Ad,
    /// Its price; nothing where a fee is flat.
    price: Micros,
}

/// A day's charges at one level.
#[derive(Default)]
struct OfDays {
    by_date: BTreeMap<String, i64>,
    /// Whether a charge is of a day that nobody can tell.
    is_unsure: bool,
}

impl World {
    /// INV-4: what the books say of leases and levels fits together.
    pub(super) fn check_accounts(&self) {
        if let Some(machine) = self.machine() {
            machine.book().accounts.values().for_each(crate::accounting::AdvertiserAccount::check);
        }
    }

    /// Whether the event was acknowledged, valid, decided and received by right clocks in the token's life, and its record was not lost with a damage
    /// that was named.
    pub(super) fn is_in_time(&self, ad: &Ad, event: BeaconEvent) -> bool {
        let in_time = |record: &Record| {
            record.is_valid
                && record.received_at.is_some_and(|received_at| received_at <= ad.claims.billable_until)
                && !self.was_passed_over(record)
        };
        ad.decided_by_right_clock
            && ad.acknowledged.get(&event).is_some_and(|beacon| beacon.records.iter().any(in_time))
    }

    fn line_item(&self, id: LineItemId) -> Option<&LineItem> {
        self.catalogue.line_items().find(|line_item| line_item.id == id)
    }

    /// INV-1, INV-3: each acknowledged event that is paid for has exactly one outcome; INV-38: one that was in time is charged, and one that is
    /// invalid by all that was heard of it is not, for that reason.
    pub(super) fn check_acknowledged(&mut self) {
        let found: Vec<_> = self.board.ads.iter().filter_map(|(id, ad)| self.wrong_outcome(*id, ad)).collect();
        for (invariant, advertiser_id, what) in found {
            self.violated(invariant, Some(advertiser_id), what);
        }
    }

    fn wrong_outcome(&self, id: ImpressionId, ad: &Ad) -> Option<(&'static str, AdvertiserId, String)> {
        let ImpressionId::Leased { lease_id, ordinal } = id else { return None };
        let (event, advertiser_id) = (ad.billed_by(), ad.claims.advertiser_id);
        let beacon = ad.acknowledged.get(&event)?;
        if beacon.records.iter().all(|record| self.was_passed_over(record)) {
            return None;
        }
        let lease = self.ledger.lease(advertiser_id, lease_id);
        let billed = lease.is_some_and(|lease| lease.settled.contains(ordinal));
        let unbilled = lease.and_then(|lease| lease.unbilled.get(&ordinal).copied());
        let name = event.name();
        match (billed, unbilled) {
            (true, None) => None,
            (true, Some(_)) => Some(("INV-3", advertiser_id, format!("{name} of {id} is charged and not charged"))),
            (false, None) => Some(("INV-1", advertiser_id, format!("{name} of {id} was acknowledged and is nowhere"))),
            (false, Some(reason)) => {
                let began =
                    || [BeaconEvent::Start, BeaconEvent::Impression].iter().any(|one| self.is_in_time(ad, *one));
                let is_due = self.is_in_time(ad, event) && (!ad.needs_start() || began());
                let why = reason.name();
                if is_due && !self.is_excused(ad, reason) {
                    let what = format!("{name} of {id} was acknowledged in time and is not charged: {why}");
                    return Some(("INV-38", advertiser_id, what));
                }
                let is_valid = self.board.valid.contains(&(id, event));
                let is_misjudged =
                    if is_valid { ad.who == Who::Listener && is_invalid(reason) } else { !is_invalid(reason) };
                is_misjudged
                    .then(|| ("INV-33", advertiser_id, format!("{name} of {id} by {:?} is not charged: {why}", ad.who)))
            }
        }
    }

    /// Whether what was acknowledged in time may stay uncharged for that reason: a click where some budget may have had no room. Whether it had none
    /// is the recount's to say, which goes through the log in its order (INV-14).
    fn is_excused(&self, ad: &Ad, reason: UnbilledReason) -> bool {
        reason == UnbilledReason::NoBudget
            && ad.claims.price_model == PriceModel::Cpc
            && self.line_item(ad.claims.line_item_id).is_some_and(|line_item| self.ceilings.limits(line_item))
    }

    /// Every charge of the books, with the ad that it is for. What nobody was ever told of has none.
    fn charges(&self) -> (Vec<Charge<'_>>, Vec<ImpressionId>) {
        let (mut charges, mut unknown) = (Vec::new(), Vec::new());
        for lease in self.ledger.all_leases() {
            for ordinal in (0..lease.grant.max_ordinals).filter(|ordinal| lease.settled.contains(*ordinal)) {
                let id = ImpressionId::Leased { lease_id: lease.grant.lease_id, ordinal };
                match self.board.ads.get(&id) {
                    Some(ad) => charges.push(Charge { id, ad, price: ad.claims.price }),
                    None => unknown.push(id),
                }
            }
        }
        (charges, unknown)
    }

    /// INV-3: nothing is billed that did not happen, that nothing says began where that is asked for, or that is invalid by all that was heard of it.
    pub(super) fn check_only_what_happened_is_billed(&mut self) {
        let (charges, unknown) = self.charges();
        let mut found: Vec<_> = unknown
            .into_iter()
            .map(|id| (None, format!("impression {id} is charged and was told to nobody")))
            .collect();
        for Charge { id, ad, .. } in charges {
            let event = ad.billed_by();
            let why = if ad.billable_at().is_none() {
                "did not happen"
            } else if ad.needs_start() && !ad.says_began {
                "is of an ad of which nobody said that it began"
            } else if ad.who.listed().is_some() || !self.board.valid.contains(&(id, event)) {
                "is invalid traffic"
            } else {
                continue;
            };
            found.push((Some(ad.claims.advertiser_id), format!("{} of {id} is charged and {why}", event.name())));
        }
        for (advertiser_id, what) in found {
            self.violated("INV-3", advertiser_id, what);
        }
    }

    /// Each charge of which the log says that it is taken back is taken back once, at its price, and no other is (INV-14, INV-42).
    pub(super) fn check_reversals(&mut self) {
        let rows = self.ledger.rows();
        let mut times: BTreeMap<ImpressionId, (u32, u32)> = BTreeMap::new();
        for id in self.board.reversed.keys() {
            times.insert(*id, (0, 0));
        }
        let mut found = Vec::new();
        for reversal in &rows.reversals {
            times.entry(reversal.impression_id).or_default().0 += 1;
            let price = self.board.ads.get(&reversal.impression_id).map(|ad| ad.claims.price);
            if price != Some(reversal.price) {
                found.push(format!("{} is taken back for {:?}, not {price:?}", reversal.impression_id, reversal.price));
            }
        }
        for entry in &rows.entries {
            if let EntryCause::Reversal { impression_id, .. } = entry.cause {
                times.entry(impression_id).or_default().1 += 1;
            }
        }
        for (id, (reversals, entries)) in times {
            let said = self.board.reversed.get(&id).copied().unwrap_or(0);
            if said == 0 || (reversals, entries) != (1, 1) {
                found.push(format!("{id}: {said} reversals in the log, {reversals} in the books, {entries} entries"));
            }
        }
        for what in found {
            self.violated("INV-42", None, what);
        }
    }

    /// What was charged in flat fees, with an ad that it was charged with: one for each lease that held the fee.
    fn fees(&self, charges: &[Charge<'_>]) -> BTreeMap<LeaseId, (Micros, ImpressionId)> {
        let mut fees = BTreeMap::new();
        for Charge { id, ad, .. } in charges.iter().filter(|charge| charge.ad.claims.price_model == PriceModel::Flat) {
            let ImpressionId::Leased { lease_id, .. } = *id else { continue };
            let lease = self.ledger.lease(ad.claims.advertiser_id, lease_id);
            if lease.is_some_and(|lease| lease.grant.amount > Micros::ZERO) {
                let fee =
                    self.line_item(ad.claims.line_item_id).map_or(Micros::ZERO, |line_item| line_item.pricing.amount);
                fees.entry(lease_id).or_insert((fee, *id));
            }
        }
        fees
    }

    /// INV-4 by the world's own count: what was charged of each line item, less what was taken back, is what its charged ads cost, and levels and
    /// delivery are sums of it. INV-3: a fee is charged once.
    pub(super) fn check_budgets(&mut self) {
        let (charges, _) = self.charges();
        let mut settled: BTreeMap<LevelId, i64> = BTreeMap::new();
        let mut billed: BTreeMap<LineItemId, (i64, i64)> = BTreeMap::new();
        let mut add = |ad: &Ad, count: i64, micros: i64| {
            let Some(line_item) = self.line_item(ad.claims.line_item_id) else { return };
            for level in levels_of(line_item) {
                *settled.entry(level).or_default() += micros;
            }
            let sum = billed.entry(line_item.id).or_default();
            *sum = (sum.0 + count, sum.1 + micros);
        };
        for Charge { id, ad, price } in &charges {
            add(ad, 1, price.0);
            if self.board.reversed.contains_key(id) {
                add(ad, -1, -price.0);
            }
        }
        let (mut fees, mut twice) = (BTreeSet::new(), Vec::new());
        for (fee, id) in self.fees(&charges).values() {
            let Some(ad) = self.board.ads.get(id) else { continue };
            add(ad, 0, fee.0);
            if !fees.insert(ad.claims.line_item_id) {
                twice
                    .push((ad.claims.advertiser_id, format!("the fee of {} is charged twice", ad.claims.line_item_id)));
            }
        }
        for (advertiser_id, what) in twice {
            self.violated("INV-3", Some(advertiser_id), what);
        }
        let balances: Vec<_> = self.ledger.balances().filter(|(_, level, _)| level.day().is_none()).collect();
        for (advertiser_id, level, balance) in balances {
            let counted = settled.get(&level).copied().unwrap_or(0);
            if counted != balance.settled.0 {
                let what = format!("{level:?} says {:?} settled, the charged ads cost {counted}", balance.settled);
                self.violated("INV-4", Some(advertiser_id), what);
            }
        }
        let mut delivered: BTreeMap<LineItemId, (i64, i64)> = BTreeMap::new();
        for (key, totals) in self.ledger.rows().delivery {
            let sum = delivered.entry(key.line_item_id).or_default();
            *sum = (sum.0 + totals.billed, sum.1 + totals.billed_micros.0);
        }
        for (line_item_id, told) in delivered {
            let counted = billed.get(&line_item_id).copied().unwrap_or_default();
            if told != counted {
                self.violated("INV-4", None, format!("{line_item_id} is delivered {told:?}, charged {counted:?}"));
            }
        }
    }

    /// INV-4 by the day, by the world's own calendar: what was charged of ads that were decided on one day in the zone that holds is within the
    /// day's budget, and is what the day's balance says.
    pub(super) fn check_days(&mut self) {
        let mut zones: BTreeMap<LevelId, (AdvertiserId, Zone, Option<Micros>)> = BTreeMap::new();
        for entity in &self.catalogue.entities {
            let (level, of) = match entity {
                Entity::Advertiser(one) => (LevelId::Advertiser(one.id), (one.id, one.zone.clone(), one.budget.daily)),
                Entity::LineItem(one) => {
                    (LevelId::LineItem(one.id), (one.advertiser_id, one.flight.zone.clone(), one.budget.daily))
                }
                Entity::Network(_) | Entity::Campaign(_) | Entity::Creative(_) => continue,
            };
            zones.insert(level, of);
        }
        let (charges, _) = self.charges();
        let mut days: BTreeMap<LevelId, OfDays> = BTreeMap::new();
        let mut add = |ad: &Ad, micros: i64| {
            for level in [LevelId::Advertiser(ad.claims.advertiser_id), LevelId::LineItem(ad.claims.line_item_id)] {
                let Some((_, zone, _)) = zones.get(&level) else { continue };
                let day = |ms| day_in(zone, true_wall(ad.decided_at).plus_ms(ms));
                let of = days.entry(level).or_default();
                if ad.decided_by_right_clock && day(-MIDNIGHT_MS) == day(MIDNIGHT_MS) {
                    *of.by_date.entry(day(0)).or_default() += micros;
                } else {
                    of.is_unsure = true;
                }
            }
        };
        for charge in &charges {
            add(charge.ad, charge.price.0);
        }
        for (fee, id) in self.fees(&charges).values() {
            self.board.ads.get(id).into_iter().for_each(|ad| add(ad, fee.0));
        }
        let mut balances: BTreeMap<(LevelId, String), i64> = BTreeMap::new();
        for (_, level, balance) in self.ledger.balances() {
            let of = match level {
                LevelId::AdvertiserDay(id, day) => (LevelId::Advertiser(id), day),
                LevelId::LineItemDay(id, day) => (LevelId::LineItem(id), day),
                _ => continue,
            };
            balances.insert((of.0, of.1.to_string()), balance.settled.0);
        }
        let mut found = Vec::new();
        for (level, of) in days {
            let Some((advertiser_id, _, daily)) = zones.get(&level) else { continue };
            for (date, micros) in of.by_date {
                if daily.is_some_and(|daily| micros > daily.0) {
                    let what = format!("{level:?} is charged {micros} on {date}, its daily budget is {daily:?}");
                    found.push((*advertiser_id, what));
                }
                let balance = balances.get(&(level, date.clone())).copied().unwrap_or(0);
                if !of.is_unsure && balance != micros {
                    let what = format!("{level:?} says {balance} settled on {date}, the charged ads cost {micros}");
                    found.push((*advertiser_id, what));
                }
            }
        }
        for (advertiser_id, what) in found {
            self.violated("INV-4", Some(advertiser_id), what);
        }
    }

    /// INV-42: every entry sums to zero, and together they charge each advertiser what its balance says.
    pub(super) fn check_entries(&mut self) {
        let rows = self.ledger.rows();
        let mut charged: BTreeMap<AdvertiserId, i128> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in &rows.entries {
            let sum: i128 = entry.postings.iter().map(|posting| i128::from(posting.amount.0)).sum();
            if sum != 0 {
                found.push(format!("entry {} sums to {sum}", entry.number));
            }
            for posting in &entry.postings {
                if let LedgerAccount::Advertiser(id) = posting.account {
                    *charged.entry(id).or_default() += i128::from(posting.amount.0);
                }
            }
        }
        for (_, level, balance) in self.ledger.balances() {
            let LevelId::Advertiser(id) = level else { continue };
            let posted = charged.get(&id).copied().unwrap_or(0);
            if posted != i128::from(balance.settled.0) {
                found.push(format!("entries charge {id} {posted}, its balance says {:?}", balance.settled));
            }
        }
        for what in found {
            self.violated("INV-42", None, what);
        }
    }
}

/// Reasons by which an event is invalid traffic.
const fn is_invalid(reason: UnbilledReason) -> bool {
    matches!(
        reason,
        UnbilledReason::Robot
            | UnbilledReason::DataCentre
            | UnbilledReason::ImpossibleActivity
            | UnbilledReason::ListenerRate
            | UnbilledReason::AddressRate
    )
}

/// The date in the zone.
fn day_in(zone: &Zone, at: crate::model::WallMs) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map(|at| at.to_zoned(zone.rules().clone()).date().to_string())
        .unwrap_or_default()
}
