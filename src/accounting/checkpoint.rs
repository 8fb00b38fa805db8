//! Checkpoints: the books as of a place in the log, sealed each into the next (INV-43).
//!
//! ```text
//! log ──records──▶ book, chain of records, sums ──each hour of log time, and at a stop──▶ checkpoint n = { …, digest of checkpoint n−1 }
//! ```
//!
//! A checkpoint is kept with the books and appended to `segue.ledger`, so that the log and the store vouch for each other: who changes one has
//! to change the other, and all that came after. What is due comes from the log alone, never from a clock: the hour turns when a record of a later
//! hour is read; a stop is a place that the log itself names, by the record of the checkpoint that was sealed there ([`Sealer::expect`]). So a
//! full replay seals the same checkpoints (INV-25).
//!
//! Sealing copies and walks over all that is remembered; once an hour that is a fraction of a second for a million impressions.

use std::collections::{BTreeMap, BTreeSet};

use super::account::{AdvertiserAccount, Balance, LevelId, Outcome};
use super::book::Book;
use super::chain::Chain;
use super::delivery::{DeliveryChanges, UnbilledReason};
use super::lease::{Bitmap, Grant, Lease, Returned};
use super::ledger;
use super::loose::{Loose, LooseSet};
use crate::events::{Checkpoint, Delivered, Envelope, Event, LedgerEntry, Reversal, TrialBalance, encode_reversal};
use crate::model::{ImpressionId, Micros, PriceModel, WallMs};

/// The sums that go into a checkpoint, and the place that they are of: kept with the books.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    /// All entries.
    pub trial: TrialBalance,
    /// All delivery.
    pub delivered: Delivered,
    /// Offset after the last record applied. (The books' cursor may be further: what lies between is not accounting's.)
    pub applied_until: u64,
}

/// What was sealed and posted since it was last asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sealed {
    /// Entries, by number.
    pub entries: Vec<LedgerEntry>,
    /// Checkpoints, by number.
    pub checkpoints: Vec<Checkpoint>,
}

/// Posts entries and seals checkpoints, beside the book.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sealer {
    partition: u32,
    sums: Sums,
    last: Option<Checkpoint>,
    /// Counts of records after which the log says that a checkpoint was sealed.
    expected: BTreeSet<u64>,
    fresh: Sealed,
}

impl Sealer {
    /// A sealer of a partition's books that goes on where they are.
    #[must_use]
    pub fn new(partition: u32, sums: Sums, last: Option<Checkpoint>) -> Self {
        Self { partition, sums, last, expected: BTreeSet::new(), fresh: Sealed::default() }
    }

    /// The log has the record of a checkpoint that was sealed after so many records: it will be sealed there again if the books are not so far.
    pub fn expect(&mut self, chain_records: u64) {
        self.expected.insert(chain_records);
    }

    /// The sums so far.
    #[must_use]
    pub const fn sums(&self) -> Sums {
        self.sums
    }

    /// The newest checkpoint.
    #[must_use]
    pub const fn last(&self) -> Option<&Checkpoint> {
        self.last.as_ref()
    }

    /// Whether a checkpoint is due before a record that was received at `next` is applied.
    #[must_use]
    pub fn is_due(&mut self, book: &Book, chain: &Chain, next: WallMs) -> bool {
        while self.expected.first().is_some_and(|records| *records < chain.records) {
            self.expected.pop_first();
        }
        let is_new_hour = next.hour_start() > book.log_time.hour_start();
        self.has_news(chain) && (is_new_hour || self.expected.contains(&chain.records))
    }

    /// Whether the log says that a checkpoint was sealed right here, and it is not yet.
    #[must_use]
    pub fn is_expected(&self, chain: &Chain) -> bool {
        self.has_news(chain) && self.expected.contains(&chain.records)
    }

    /// Whether a record was applied since the last checkpoint.
    #[must_use]
    pub fn has_news(&self, chain: &Chain) -> bool {
        chain.records > self.last.map_or(0, |last| last.chain_records)
    }

    /// Seals a checkpoint of the book.
    pub fn seal(&mut self, book: &Book, chain: &Chain) {
        let checkpoint = Checkpoint {
            number: self.last.map_or(0, |last| last.number) + 1,
            partition: self.partition,
            cursor: self.sums.applied_until,
            log_time: book.log_time,
            chain_records: chain.records,
            chain_digest: chain.digest,
            book_digest: remembered_digest(book),
            trial: self.sums.trial,
            delivered: self.sums.delivered,
            previous_digest: self.last.map_or([0; 32], |last| digest(&last)),
        };
        self.last = Some(checkpoint);
        self.fresh.checkpoints.push(checkpoint);
    }

    /// Takes note of a record that was applied at `offset`, with what it did. Returns the entry that it brought about.
    pub fn applied(
        &mut self,
        offset: u64,
        envelope: &Envelope,
        outcome: Outcome,
        delivery: &DeliveryChanges,
        book: &Book,
    ) -> Option<LedgerEntry> {
        self.sums.applied_until = offset + 1;
        for totals in delivery.values() {
            self.sums.delivered.impressions += totals.impressions;
            self.sums.delivered.billed += totals.billed;
            self.sums.delivered.unbilled += totals.unbilled.values().sum::<i64>();
            self.sums.delivered.billed_micros += i128::from(totals.billed_micros.0);
        }
        let number = self.sums.trial.entries + 1;
        let entry = entry(number, envelope, outcome, book)?;
        ledger::post(&mut self.sums.trial, &entry);
        self.fresh.entries.push(entry.clone());
        Some(entry)
    }

    /// What was sealed and posted since the last call.
    #[must_use]
    pub fn take(&mut self) -> Sealed {
        std::mem::take(&mut self.fresh)
    }
}

/// The entry that a record brings about.
fn entry(number: u64, envelope: &Envelope, outcome: Outcome, book: &Book) -> Option<LedgerEntry> {
    match (&envelope.body, outcome) {
        (Event::LeaseClosed(closed), Outcome::Closed(lease_id)) => {
            let lease = book.accounts.get(&closed.advertiser_id)?.leases.get(&lease_id)?;
            ledger::settlement(number, closed.advertiser_id, lease, closed.closed_at)
        }
        (Event::Reversal(reversal), Outcome::Reversed { .. }) => ledger::reversal(number, reversal),
        (
            Event::LeaseGranted(_)
            | Event::LeaseReturned(_)
            | Event::LeaseClosed(_)
            | Event::Reversal(_)
            | Event::Beacon(_)
            | Event::Decision(_)
            | Event::Catalog(_)
            | Event::Ledger(_),
            _,
        ) => None,
    }
}

/// A checkpoint's own digest, which the next one holds: BLAKE3 over a domain name and every field, numbers big-endian.
#[must_use]
pub fn digest(checkpoint: &Checkpoint) -> [u8; 32] {
    let Checkpoint {
        number,
        partition,
        cursor,
        log_time,
        chain_records,
        chain_digest,
        book_digest,
        trial: TrialBalance { entries, advertisers, networks, house },
        delivered: Delivered { impressions, billed, unbilled, billed_micros },
        previous_digest,
    } = checkpoint;
    let mut canon = Canon::new(b"segue.checkpoint.v1");
    canon.unsigned(*number).unsigned(u64::from(*partition)).unsigned(*cursor).signed(log_time.0);
    canon.unsigned(*chain_records).bytes(chain_digest).bytes(book_digest);
    canon.unsigned(*entries).wide(*advertisers).wide(*networks).wide(*house);
    canon.signed(*impressions).signed(*billed).signed(*unbilled).wide(*billed_micros);
    canon.bytes(previous_digest);
    canon.finish()
}

/// The digest of what a book must remember at its log time: when the rest is dropped depends on clocks and on what servers say of themselves.
fn remembered_digest(book: &Book) -> [u8; 32] {
    let mut kept = book.clone();
    drop(kept.forget());
    book_digest(&kept)
}

/// The digest of all that a book remembers: BLAKE3 over a domain name and its canonical bytes, in the order of the maps.
#[must_use]
pub fn book_digest(book: &Book) -> [u8; 32] {
    let Book { accounts, unpaid, log_time } = book;
    let mut canon = Canon::new(b"segue.book.v1");
    canon.signed(log_time.0).loose_set(unpaid);
    // Whether an account without anything in it is there depends on who looked for it.
    for account in accounts.values().filter(|account| !is_empty(account)) {
        canon.account(account);
    }
    canon.finish()
}

fn is_empty(account: &AdvertiserAccount) -> bool {
    *account == AdvertiserAccount::new(account.advertiser_id)
}

/// Canonical bytes into a hash: numbers of fixed width, big-endian; lengths before what varies. Each struct is taken apart by name, so that a
/// field that is added does not compile until it is hashed.
struct Canon(blake3::Hasher);

impl Canon {
    fn new(domain: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(domain);
        Self(hasher)
    }

    fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    fn unsigned(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    fn signed(&mut self, number: i64) -> &mut Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    fn wide(&mut self, number: i128) -> &mut Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.unsigned(bytes.len() as u64).0.update(bytes);
        self
    }

    fn optional(&mut self, number: Option<i64>) -> &mut Self {
        self.unsigned(u64::from(number.is_some())).signed(number.unwrap_or_default())
    }

    fn bits(&mut self, bits: &Bitmap) -> &mut Self {
        self.bytes(bits.as_bytes())
    }

    fn account(&mut self, account: &AdvertiserAccount) {
        let AdvertiserAccount { advertiser_id, levels, leases, loose, reversed } = account;
        self.bytes(&advertiser_id.to_bytes());
        self.unsigned(levels.len() as u64);
        for (level, balance) in levels {
            self.balance(*level, balance);
        }
        self.unsigned(leases.len() as u64);
        for lease in leases.values() {
            self.lease(lease);
        }
        self.loose_set(loose);
        self.unsigned(reversed.len() as u64);
        for reversal in reversed.values() {
            self.reversal(reversal);
        }
    }

    fn balance(&mut self, level: LevelId, balance: &Balance) {
        let (kind, id) = match level {
            LevelId::Advertiser(id) => (0, id.to_bytes()),
            LevelId::Campaign(id) => (1, id.to_bytes()),
            LevelId::LineItem(id) => (2, id.to_bytes()),
            LevelId::AdvertiserDay(id, _) => (3, id.to_bytes()),
            LevelId::CampaignDay(id, _) => (4, id.to_bytes()),
            LevelId::LineItemDay(id, _) => (5, id.to_bytes()),
        };
        let Balance { settled, settled_count, open, open_count, budget } = balance;
        self.unsigned(kind).bytes(&id).optional(level.day().map(|day| i64::from(day.0)));
        self.signed(settled.0).unsigned(*settled_count).signed(open.0).unsigned(*open_count);
        self.optional(budget.map(|budget| budget.0));
    }

    fn lease(&mut self, lease: &Lease) {
        let Lease {
            grant,
            settled,
            delivered,
            unbilled,
            awaiting,
            heard,
            voided,
            started,
            completed,
            clicked,
            settled_micros,
            settled_count,
            delivered_count,
            digest,
            returned,
            closed_at,
        } = lease;
        self.grant(grant);
        self.bits(settled).bits(delivered).bits(voided).bits(heard).bits(started).bits(completed).bits(clicked);
        self.ordinals(unbilled, |reason: &UnbilledReason| i64::from(reason.code()));
        self.ordinals(awaiting, |price: &Micros| price.0);
        self.signed(settled_micros.0).unsigned(u64::from(*settled_count)).unsigned(u64::from(*delivered_count));
        self.bytes(digest).unsigned(u64::from(returned.is_some()));
        if let Some(Returned { drawn, drawn_count, at }) = returned {
            self.signed(drawn.0).unsigned(u64::from(*drawn_count)).signed(at.0);
        }
        self.optional(closed_at.map(|at| at.0));
    }

    fn grant(&mut self, grant: &Grant) {
        let Grant {
            lease_id,
            server_id,
            boot_id,
            network_id,
            campaign_id,
            line_item_id,
            amount,
            max_ordinals,
            granted_at,
            draw_until,
            last_billable_until,
            price_model,
            advertiser_day,
            line_item_day,
        } = grant;
        for id in [
            lease_id.to_bytes(),
            server_id.to_bytes(),
            boot_id.to_bytes(),
            network_id.to_bytes(),
            campaign_id.to_bytes(),
            line_item_id.to_bytes(),
        ] {
            self.bytes(&id);
        }
        self.signed(amount.0).unsigned(u64::from(*max_ordinals));
        self.signed(granted_at.0).signed(draw_until.0).signed(last_billable_until.0);
        let model = match price_model {
            PriceModel::Cpm => 1,
            PriceModel::Cpcl => 2,
            PriceModel::Cpc => 3,
            PriceModel::Flat => 4,
        };
        self.unsigned(model).signed(i64::from(advertiser_day.0)).signed(i64::from(line_item_day.0));
    }

    fn ordinals<T>(&mut self, ordinals: &BTreeMap<u32, T>, number: impl Fn(&T) -> i64) {
        self.unsigned(ordinals.len() as u64);
        for (ordinal, value) in ordinals {
            self.unsigned(u64::from(*ordinal)).signed(number(value));
        }
    }

    fn loose_set(&mut self, loose: &LooseSet) {
        let LooseSet { seen } = loose;
        self.unsigned(seen.len() as u64);
        for (impression_id, Loose { kinds, unbilled, forget_after }) in seen {
            self.impression(*impression_id).unsigned(u64::from(*kinds));
            self.optional(unbilled.map(|reason| i64::from(reason.code()))).signed(forget_after.0);
        }
    }

    /// A reversal as it is kept: one message, whose fields are written in the order of their numbers.
    fn reversal(&mut self, reversal: &Reversal) {
        self.bytes(&encode_reversal(reversal));
    }

    fn impression(&mut self, impression_id: ImpressionId) -> &mut Self {
        self.bytes(&impression_id.to_bytes())
    }
}

#[cfg(test)]
mod tests;
