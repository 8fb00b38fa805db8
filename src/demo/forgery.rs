//! Forgeries to order: make the log of a stopped server wrong in one place, with numbers and checksums right again.
//!
//! For canaries: a checker that finds nothing is only worth something if it finds what was put there. Tests use it in the process and, by the
//! hidden `segue demo --forge`, from outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::event_log::{KIND_TOPIC_RECORD, StoredRecord, Topic, money_dir};
use crate::events::{self, BeaconRecord, Event};
use crate::journal::{self, RealDisk, SharedDisk, edit};
use crate::model::{BeaconEvent, ImpressionId, Micros};

/// What is made wrong: always the record of a paid impression that was heard in time and recorded once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Forgery {
    /// The record is taken out.
    DeleteRecord,
    /// A second one is put behind it.
    DoubleRecord,
    /// Its price is one micro higher.
    ChangePrice,
}

/// Where a log was forged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Forged {
    /// The record's number in the money journal.
    pub(super) seq: u64,
    /// What it tells of the impression.
    pub(super) beacon: Box<BeaconRecord>,
}

impl Forgery {
    /// Every forgery.
    pub const ALL: [Self; 3] = [Self::DeleteRecord, Self::DoubleRecord, Self::ChangePrice];

    /// Forges the money journal of a stopped server.
    ///
    /// # Errors
    /// When it can't be read or written, or there is no such record.
    pub(super) fn commit(self, data_dir: &Path) -> anyhow::Result<Forged> {
        let (disk, dir): (SharedDisk, _) = (Arc::new(RealDisk), money_dir(data_dir));
        let forged = paid_impression(&dir)?;
        match self {
            Self::DeleteRecord => edit::delete_record(&disk, &dir, forged.seq),
            Self::DoubleRecord => edit::double_record(&disk, &dir, forged.seq),
            Self::ChangePrice => {
                edit::change_payload(&disk, &dir, forged.seq, |payload| *payload = dearer(&forged, payload))
            }
        }
        .context("forging the money journal")?;
        Ok(forged)
    }
}

impl Forged {
    /// What was forged, by all the names under which it may be found.
    pub(super) fn in_words(&self, forgery: Forgery) -> String {
        let BeaconRecord { impression_id, creative_id, decision_id, .. } = *self.beacon;
        let lease = match impression_id {
            ImpressionId::Leased { lease_id, ordinal } => format!("lease {lease_id} ordinal {ordinal}"),
            ImpressionId::Unleased { .. } => "no lease".to_owned(),
        };
        format!("forged {forgery:?}: impression {impression_id} {lease} creative {creative_id} break {decision_id}")
    }
}

/// The first paid impression that was heard in time and recorded once.
fn paid_impression(dir: &Path) -> anyhow::Result<Forged> {
    let mut seen = BTreeMap::<_, (Forged, u32)>::new();
    for record in journal::read_dir(Arc::new(RealDisk), dir).context("opening the money journal")? {
        let record = record.context("reading the money journal")?;
        let stored = StoredRecord::decode(record.kind, &record.payload).context("reading a record")?;
        if stored.topic != Topic::Events {
            continue;
        }
        let envelope = events::decode(stored.payload).context("reading an event")?;
        let Event::Beacon(beacon) = envelope.body else { continue };
        let is_paid = beacon.event == BeaconEvent::Impression && beacon.price > Micros::ZERO;
        if is_paid && envelope.received_at <= beacon.billable_until {
            let forged = Forged { seq: record.seq, beacon };
            seen.entry(envelope.event_id).or_insert((forged, 0)).1 += 1;
        }
    }
    let once = seen.into_values().filter(|(_, times)| *times == 1).map(|(forged, _)| forged);
    once.min_by_key(|forged| forged.seq).context("no paid impression was heard in time and recorded once")
}

/// The record's payload with a price one micro higher.
fn dearer(forged: &Forged, payload: &[u8]) -> Vec<u8> {
    let stored = StoredRecord::decode(KIND_TOPIC_RECORD, payload).expect("it was read as one");
    let mut envelope = events::decode(stored.payload).expect("it was read as one");
    let price = Micros(forged.beacon.price.0 + 1);
    envelope.body = Event::Beacon(Box::new(BeaconRecord { price, ..(*forged.beacon).clone() }));
    let changed = events::encode(&envelope);
    StoredRecord { payload: &changed, ..stored }.encode()
}
