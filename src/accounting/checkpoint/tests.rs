//! What is sealed when, and that a digest covers all that it stands for.

use super::*;
use crate::accounting::record_digest;
use crate::accounting::testing::{ADVERTISER, T0, at, beacon, closed, granted};
use crate::events;
use crate::model::{AdvertiserId, BeaconEvent};

const HOUR_MS: i64 = 3_600_000;

/// Book, chain and sealer over the same records, as accounting and audit hold them.
#[derive(Clone, Default)]
struct Books {
    book: Book,
    chain: Chain,
    sealer: Sealer,
}

impl Books {
    fn read(&mut self, envelope: &Envelope) -> Option<LedgerEntry> {
        if self.sealer.is_due(&self.book, &self.chain, envelope.received_at) {
            self.seal();
        }
        let offset = self.chain.records * 2;
        self.chain.append(record_digest(&events::encode(envelope)));
        let applied = self.book.apply(envelope);
        self.sealer.applied(offset, envelope, applied.outcome, &applied.delivery, &self.book)
    }

    fn seal(&mut self) {
        self.sealer.seal(&self.book, &self.chain);
    }
}

/// A lease of which one impression is heard, hours in which nothing happens, and its end.
fn records() -> Vec<Envelope> {
    vec![
        granted(1, 0, 100, 10),
        beacon(1, 0, 0, BeaconEvent::Start),
        beacon(1, 0, 0, BeaconEvent::Impression),
        at(beacon(1, 1, 0, BeaconEvent::Impression), T0.plus_ms(HOUR_MS)),
        closed(1, 0, 20, 2, 80),
    ]
}

#[test]
fn the_turn_of_the_hour_seals_and_each_is_chained_to_the_one_before() {
    let mut books = Books::default();
    let entries: Vec<_> = records().iter().filter_map(|record| books.read(record)).collect();
    assert_eq!(entries.len(), 1, "the close posts what the lease charged");
    assert_eq!((entries[0].number, ledger::charge(&entries[0]), entries[0].advertiser_id), (1, 20, ADVERTISER));
    books.seal();
    let checkpoints = books.sealer.take().checkpoints;
    assert_eq!(checkpoints.iter().map(|sealed| sealed.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(checkpoints.iter().map(|sealed| sealed.chain_records).collect::<Vec<_>>(), [3, 5]);
    assert_eq!(checkpoints[0].previous_digest, [0; 32]);
    for pair in checkpoints.windows(2) {
        assert_eq!(pair[1].previous_digest, digest(&pair[0]));
    }
    assert_eq!(checkpoints[1].cursor, 9, "the offset after the last record");
    assert_eq!(checkpoints[1].trial, TrialBalance { entries: 1, advertisers: 20, networks: -20, house: 0 });
    assert_eq!(checkpoints[1].delivered, Delivered { impressions: 2, billed: 2, unbilled: 0, billed_micros: 20 });
    assert!(!books.sealer.has_news(&books.chain), "nothing new, nothing to seal");
}

// INV-43, INV-25.
#[test]
fn a_stop_that_the_log_names_is_sealed_again_by_a_replay() {
    let (mut books, records) = (Books::default(), records());
    for (place, record) in records.iter().enumerate() {
        books.read(record);
        if place == 1 {
            books.seal();
        }
    }
    let sealed = books.sealer.take();
    let mut again = Books::default();
    again.sealer.expect(2);
    for record in &records {
        again.read(record);
    }
    assert_eq!(again.sealer.take(), sealed);
    let mut without = Books::default();
    for record in &records {
        without.read(record);
    }
    assert_ne!(without.sealer.take().checkpoints, sealed.checkpoints);
}

#[test]
fn a_digest_changes_with_every_field() {
    let sample = crate::events::samples::checkpoint();
    let changes: [fn(&mut Checkpoint); 16] = [
        |it| it.number += 1,
        |it| it.partition += 1,
        |it| it.cursor += 1,
        |it| it.log_time.0 += 1,
        |it| it.chain_records += 1,
        |it| it.chain_digest[31] ^= 1,
        |it| it.book_digest[0] ^= 1,
        |it| it.trial.entries += 1,
        |it| it.trial.advertisers += 1,
        |it| it.trial.networks += 1,
        |it| it.trial.house += 1,
        |it| it.delivered.impressions += 1,
        |it| it.delivered.billed += 1,
        |it| it.delivered.unbilled += 1,
        |it| it.delivered.billed_micros += 1,
        |it| it.previous_digest[7] ^= 1,
    ];
    for (place, change) in changes.iter().enumerate() {
        let mut changed = sample;
        change(&mut changed);
        assert_ne!(digest(&changed), digest(&sample), "change {place}");
    }
    // The format: if this fails, checkpoints that were sealed can't be verified any more.
    let hex = digest(&sample).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(&hex[..16], "8b1c502102925336");
}

#[test]
fn the_book_digest_sees_a_lease_a_balance_and_a_loose_impression_and_no_empty_account() {
    let mut books = Books::default();
    for record in &records()[..3] {
        books.read(record);
    }
    let digest = book_digest(&books.book);
    let mut looked = books.book.clone();
    let _ = looked.account(AdvertiserId::from_u128(99));
    assert_eq!(book_digest(&looked), digest);
    let change = |change: &dyn Fn(&mut AdvertiserAccount)| {
        let mut book = books.book.clone();
        change(book.accounts.get_mut(&ADVERTISER).expect("an account"));
        book_digest(&book)
    };
    let lease_id = crate::accounting::testing::lease(1);
    let changed = [
        change(&|account| account.levels.values_mut().for_each(|balance| balance.settled.0 += 1)),
        change(&|account| assert!(account.leases.get_mut(&lease_id).expect("a lease").completed.insert(3))),
        change(&|account| account.leases.get_mut(&lease_id).expect("a lease").grant.amount.0 += 1),
        change(&|account| drop(account.leases.remove(&lease_id))),
    ];
    for (place, changed) in changed.iter().enumerate() {
        assert_ne!(*changed, digest, "change {place}");
    }
}
