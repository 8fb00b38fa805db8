//! The ledger: double entry, derived from what was charged.
//!
//! An entry is posted when a lease that charged something is closed, and when a charge is taken back. It debits one account and credits
//! another by the same amount, so that all accounts together are always zero (INV-42). Nothing is ever changed: a correction is an entry of its
//! own. What nobody pays for has price zero and no entry; why it was not billed stands in the lease.
//!
//! Left to others: when an entry is posted ([`super::Sealer`]), where it is kept (`store/ledger`), who is told (`roles/accounting`).

use std::collections::BTreeMap;

use super::lease::Lease;
use crate::events::{EntryCause, LedgerAccount, LedgerEntry, Posting, Reversal, TrialBalance};
use crate::model::{AdvertiserId, BeaconEvent, Micros, PriceModel, WallMs};

/// The entry of a lease that is closed; none when it charged nothing.
#[must_use]
pub fn settlement(number: u64, advertiser_id: AdvertiserId, lease: &Lease, posted_at: WallMs) -> Option<LedgerEntry> {
    let grant = &lease.grant;
    let amount = lease.settled_micros;
    (amount > Micros::ZERO).then(|| LedgerEntry {
        number,
        cause: EntryCause::Settlement { lease_id: grant.lease_id, digest: lease.digest },
        network_id: grant.network_id,
        advertiser_id,
        campaign_id: grant.campaign_id,
        line_item_id: grant.line_item_id,
        advertiser_day: grant.advertiser_day,
        price_model: grant.price_model,
        quantity: lease.settled_count,
        postings: transfer(LedgerAccount::Advertiser(advertiser_id), LedgerAccount::Network(grant.network_id), amount),
        posted_at,
    })
}

/// The entry of a charge that is taken back: the charge's own, the other way round; none for a price of zero.
#[must_use]
pub fn reversal(number: u64, reversal: &Reversal) -> Option<LedgerEntry> {
    let (advertiser, network) =
        (LedgerAccount::Advertiser(reversal.advertiser_id), LedgerAccount::Network(reversal.network_id));
    (reversal.price > Micros::ZERO).then(|| LedgerEntry {
        number,
        cause: EntryCause::Reversal { impression_id: reversal.impression_id, reason: reversal.reason },
        network_id: reversal.network_id,
        advertiser_id: reversal.advertiser_id,
        campaign_id: reversal.campaign_id,
        line_item_id: reversal.line_item_id,
        advertiser_day: reversal.advertiser_day,
        price_model: charged_by(reversal.event),
        quantity: 1,
        postings: transfer(network, advertiser, reversal.price),
        posted_at: reversal.reversed_at,
    })
}

/// What is paid for where this event is charged.
#[must_use]
pub const fn charged_by(event: BeaconEvent) -> PriceModel {
    match event {
        BeaconEvent::Complete => PriceModel::Cpcl,
        BeaconEvent::Click => PriceModel::Cpc,
        BeaconEvent::Start
        | BeaconEvent::Impression
        | BeaconEvent::FirstQuartile
        | BeaconEvent::Midpoint
        | BeaconEvent::ThirdQuartile
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute
        | BeaconEvent::Error
        | BeaconEvent::Void
        | BeaconEvent::NotUsed => PriceModel::Cpm,
    }
}

fn transfer(debit: LedgerAccount, credit: LedgerAccount, amount: Micros) -> Vec<Posting> {
    let negative = Micros::ZERO.minus(amount).expect("the negative of a positive amount is in range");
    vec![Posting { account: debit, amount }, Posting { account: credit, amount: negative }]
}

/// The sum of an entry's postings; zero in each that holds.
#[must_use]
pub fn sum(entry: &LedgerEntry) -> i128 {
    entry.postings.iter().map(|posting| posting.amount).sum()
}

/// What an entry debits its advertiser with: negative in a reversal.
#[must_use]
pub fn charge(entry: &LedgerEntry) -> i128 {
    let own = LedgerAccount::Advertiser(entry.advertiser_id);
    entry.postings.iter().filter(|posting| posting.account == own).map(|posting| posting.amount).sum()
}

/// Adds an entry to the sums.
///
/// # Panics
/// When the entry's postings don't sum to zero: it was made wrong, and nothing may be built on it (INV-42).
pub fn post(trial: &mut TrialBalance, entry: &LedgerEntry) {
    assert_eq!(sum(entry), 0, "INV-42: an entry sums to zero");
    trial.entries += 1;
    for posting in &entry.postings {
        let amount = i128::from(posting.amount.0);
        match posting.account {
            LedgerAccount::Advertiser(_) => trial.advertisers += amount,
            LedgerAccount::Network(_) => trial.networks += amount,
            LedgerAccount::House(_) => trial.house += amount,
        }
    }
    assert_eq!(trial.advertisers + trial.networks + trial.house, 0, "INV-42: all accounts together are zero");
}

/// The balance of every account over these entries, in micros.
#[must_use]
pub fn accounts<'e>(entries: impl IntoIterator<Item = &'e LedgerEntry>) -> BTreeMap<LedgerAccount, i128> {
    let mut accounts = BTreeMap::new();
    for posting in entries.into_iter().flat_map(|entry| &entry.postings) {
        *accounts.entry(posting.account).or_default() += i128::from(posting.amount.0);
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::testing::{ADVERTISER, NETWORK, T0};
    use crate::events::samples;

    #[test]
    fn every_entry_sums_to_zero_and_a_reversal_undoes_its_charge() {
        let lease = crate::accounting::testing::settled_lease(1, 3);
        let charged = settlement(1, ADVERTISER, &lease, T0).expect("it charged something");
        assert_eq!((sum(&charged), charge(&charged), charged.quantity), (0, 30, 3));
        let taken_back =
            Reversal { network_id: NETWORK, advertiser_id: ADVERTISER, price: Micros(30), ..samples::reversal() };
        let back = reversal(2, &taken_back).expect("a price");
        assert_eq!((sum(&back), charge(&back)), (0, -30));
        let mut trial = TrialBalance::default();
        post(&mut trial, &charged);
        assert_eq!((trial.advertisers, trial.networks), (30, -30));
        post(&mut trial, &back);
        assert_eq!(trial, TrialBalance { entries: 2, ..TrialBalance::default() });
        assert!(accounts([&charged, &back]).values().all(|balance| *balance == 0));
    }

    #[test]
    fn nothing_of_zero_is_posted() {
        let lease = crate::accounting::testing::settled_lease(1, 0);
        assert_eq!(settlement(1, ADVERTISER, &lease, T0), None);
        assert_eq!(reversal(1, &Reversal { price: Micros::ZERO, ..samples::reversal() }), None);
    }

    #[test]
    #[should_panic(expected = "INV-42")]
    fn an_entry_that_does_not_sum_to_zero_is_never_posted() {
        let lease = crate::accounting::testing::settled_lease(1, 3);
        let mut entry = settlement(1, ADVERTISER, &lease, T0).expect("it charged something");
        entry.postings[0].amount = Micros(31);
        post(&mut TrialBalance::default(), &entry);
    }
}
