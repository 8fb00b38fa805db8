//! Verdicts: reads the log for what a verdict is about, judges it by the books, and appends the reversals.
//!
//! One search at a time, on a thread that may block, over a bounded part of the log: nothing of it touches the path of an ad break. The log is this server's own or
//! one that servers share ([`VerdictLog`]).

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::accounting::REVERSIBLE_MS;
use crate::accounting::verdict::{Claim, Search, Standing, VerdictRefusal, judge, of_missing};
use crate::event_log::{
    AppendError, EventLog, LogError, LogReader as _, NewRecord, Position, ReadError, SharedLog, Topic,
};
use crate::events::{self, BeaconRecord, Envelope, Event, Reversal};
use crate::journal;
use crate::model::{AdvertiserId, BootId, Day, ImpressionId, InvalidTraffic, NetworkId, ServerId, WallMs};
use crate::roles::records;
use crate::store::{LedgerReader, ReadsLedger as _, StoreError};

/// Records of one read.
const READ_RECORDS_MAX: usize = 8_192;
/// Bytes of one read.
const READ_BYTES_MAX: usize = 4 << 20;
/// How long one read of a shared log waits, and how often it may wait in vain: its brokers answer sooner, or something is wrong.
const READ_WAIT: Duration = Duration::from_millis(500);
const IDLE_READS_MAX: u32 = 30;
/// How long a reversal may take to be in a shared log.
const APPEND_WAIT: Duration = Duration::from_secs(15);
/// Most records of one search: some tens of seconds.
pub const SEARCH_RECORDS_MAX: u64 = 10_000_000;
/// How much earlier than a record's stamp it is looked for, in milliseconds: clocks of two servers.
const SLACK_MS: i64 = 60_000;

/// Finds and appends. Cheap to clone.
#[derive(Clone)]
pub struct Verdicts {
    log: Arc<dyn VerdictLog>,
    ledger: LedgerReader,
    server_id: ServerId,
    boot_id: BootId,
    searching: Arc<Mutex<()>>,
}

/// Why nothing was judged.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// Another search is under way.
    #[error("another verdict is being judged")]
    Busy,
    /// The claim is about more impressions than one verdict may take back.
    #[error("more impressions than one verdict may name")]
    TooMany,
    /// The log has too many records in that time.
    #[error("more than {SEARCH_RECORDS_MAX} records in that time")]
    TooLong,
    /// The log can't be read.
    #[error("the event log can't be read")]
    Read(#[source] ReadError),
    /// The books can't be read.
    #[error("the books can't be read")]
    Store(#[from] StoreError),
    /// The reversals can't be appended: none, some or all of them may be in the log; to say it again does no harm.
    #[error("the reversals can't be appended")]
    Append(#[source] AppendError),
    /// The log that servers share can't be used.
    #[error("the event log can't be used")]
    Shared(#[from] LogError),
    /// The log that servers share doesn't answer.
    #[error("the event log does not answer in time")]
    Silent,
}

/// What becomes of each impression.
pub type Judged = BTreeMap<ImpressionId, Result<Reversal, VerdictRefusal>>;

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verdicts(..)")
    }
}

impl Verdicts {
    /// Verdicts over a log and its books.
    #[must_use]
    pub fn new(log: impl VerdictLog + 'static, ledger: LedgerReader, server_id: ServerId, boot_id: BootId) -> Self {
        Self { log: Arc::new(log), ledger, server_id, boot_id, searching: Arc::default() }
    }

    /// Judges a claim and appends what is to be taken back; `today` is the day in an advertiser's zone. Blocks: not for an async worker.
    ///
    /// # Errors
    /// [`VerdictError`].
    pub fn say(
        &self,
        claim: Claim,
        network_id: NetworkId,
        reason: InvalidTraffic,
        now: WallMs,
        today: impl Fn(AdvertiserId) -> Day,
    ) -> Result<Judged, VerdictError> {
        let Ok(_searching) = self.searching.try_lock() else { return Err(VerdictError::Busy) };
        let (found, missing) = self.search(claim, now)?.finish();
        let mut judged: Judged = missing.into_iter().map(|id| (id, Err(of_missing(id, now)))).collect();
        for (id, beacon) in found {
            let verdict = if beacon.network_id == network_id {
                self.judge(&beacon, reason, now, today(beacon.advertiser_id))?
            } else {
                // INV-19: what is another network's is not there.
                Err(VerdictRefusal::Unknown)
            };
            judged.insert(id, verdict);
        }
        let reversals = judged.values().filter_map(|verdict| verdict.as_ref().ok());
        let new: Vec<_> = reversals.map(|reversal| records::encode(&self.envelope(reversal, now))).collect();
        if !new.is_empty() {
            self.log.append(new)?;
        }
        Ok(judged)
    }

    fn judge(
        &self,
        beacon: &BeaconRecord,
        reason: InvalidTraffic,
        now: WallMs,
        today: Day,
    ) -> Result<Result<Reversal, VerdictRefusal>, StoreError> {
        let lease = match beacon.impression_id {
            ImpressionId::Leased { lease_id, .. } => self.ledger.lease(beacon.advertiser_id, lease_id)?,
            ImpressionId::Unleased { .. } => None,
        };
        let is_reversed = self.ledger.is_reversed(beacon.advertiser_id, beacon.impression_id)?;
        Ok(judge(beacon, Standing { lease: lease.as_ref(), is_reversed, today }, reason, now))
    }

    fn envelope(&self, reversal: &Reversal, now: WallMs) -> Envelope {
        let body = Event::Reversal(Box::new(reversal.clone()));
        Envelope {
            event_id: body.id(),
            occurred_at: now,
            received_at: now,
            server_id: self.server_id,
            boot_id: self.boot_id,
            trace_id: None,
            body,
        }
    }

    /// Reads the log from where the claim may begin until all is found or it ends.
    fn search(&self, claim: Claim, now: WallMs) -> Result<Search, VerdictError> {
        let oldest = now.plus_ms(-REVERSIBLE_MS);
        let from = match &claim {
            // What is older can't be taken back.
            Claim::Impressions(_) => oldest,
            Claim::Listener { from, .. } => (*from).max(oldest),
        };
        let mut search = Search::new(claim);
        let mut seen = 0;
        self.log.scan(from.plus_ms(-SLACK_MS), &mut |payloads| {
            seen += payloads.len() as u64;
            // What can't be understood is audit's to name.
            payloads.iter().filter_map(|payload| events::decode(payload).ok()).for_each(|event| search.see(&event));
            if seen > SEARCH_RECORDS_MAX {
                return Err(VerdictError::TooLong);
            }
            Ok(if search.is_complete() { Goes::Enough } else { Goes::On })
        })?;
        if search.is_full() { Err(VerdictError::TooMany) } else { Ok(search) }
    }
}

/// Whether a search goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goes {
    /// The next records are wanted.
    On,
    /// All is found.
    Enough,
}

/// Looks at the bytes of some records of `segue.events`.
pub type Look<'l> = dyn FnMut(&[&[u8]]) -> Result<Goes, VerdictError> + 'l;

/// A log in which verdicts search, and to which they append. Calls block.
pub trait VerdictLog: Send + Sync {
    /// Shows the records of `segue.events` that were recorded at `from` or later, and perhaps some before, up to the log's end of this moment.
    ///
    /// # Errors
    /// [`VerdictError`]: the log's, or what `look` returned.
    fn scan(&self, from: WallMs, look: &mut Look<'_>) -> Result<(), VerdictError>;

    /// Appends, and returns when all of it is durable.
    ///
    /// # Errors
    /// [`VerdictError`]: none, some or all of it may be in the log.
    fn append(&self, records: Vec<NewRecord>) -> Result<(), VerdictError>;
}

/// This server's own log.
#[derive(Clone)]
pub struct OwnLog(pub EventLog);

impl VerdictLog for OwnLog {
    fn scan(&self, from: WallMs, look: &mut Look<'_>) -> Result<(), VerdictError> {
        let mut next = self.first_at(from)?;
        let end = self.0.durable_end(Topic::Events);
        while next < end {
            match self.0.read(Topic::Events, None, next, READ_RECORDS_MAX, READ_BYTES_MAX) {
                Ok(batch) => {
                    let payloads: Vec<&[u8]> = batch.records.iter().map(|record| record.payload.as_slice()).collect();
                    if look(&payloads)? == Goes::Enough {
                        return Ok(());
                    }
                    next = batch.next_offset;
                }
                Err(ReadError::Journal(journal::ReadError::Damaged { resume_at, .. })) => next = resume_at,
                Err(error) => return Err(VerdictError::Read(error)),
            }
        }
        Ok(())
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<(), VerdictError> {
        self.0.append_blocking(records).map(|_| ()).map_err(VerdictError::Append)
    }
}

impl OwnLog {
    /// An offset at or before the first record that was journalled at `at` or later, by halving: journal time never goes backwards.
    fn first_at(&self, at: WallMs) -> Result<u64, VerdictError> {
        let (mut low, mut high) = (0, self.0.durable_end(Topic::Events));
        while low < high {
            let middle = low + (high - low) / 2;
            let first = match self.0.read(Topic::Events, None, middle, 1, READ_BYTES_MAX) {
                Ok(batch) => batch.records.first().map(|record| record.at),
                // Gone or damaged: what can be read begins later.
                Err(ReadError::Journal(_)) => Some(WallMs(i64::MIN)),
                Err(error) => return Err(VerdictError::Read(error)),
            };
            match first {
                Some(journalled) if journalled < at => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}

/// A log that servers share.
#[derive(Clone)]
pub struct LogOfMany<L>(pub L);

impl<L: SharedLog> VerdictLog for LogOfMany<L> {
    fn scan(&self, from: WallMs, look: &mut Look<'_>) -> Result<(), VerdictError> {
        let places = self.0.offsets_at(Topic::Events, from)?;
        let mut reader = self.0.reader(Topic::Events, &places)?;
        let ends = places.iter().map(|place| Ok((place.partition, reader.end(place.partition)?)));
        let ends = ends.collect::<Result<BTreeMap<u32, u64>, LogError>>()?;
        let mut idle = 0;
        loop {
            // Behind a partition's last record may be marks of transactions, which are no records: then its end is where nothing comes any more.
            let is_read = |place: &Position| {
                ends.get(&place.partition).is_none_or(|end| place.offset >= *end)
                    || reader.is_at_end_of(place.partition)
            };
            if reader.positions().iter().all(is_read) {
                return Ok(());
            }
            let records = reader.read(READ_RECORDS_MAX, READ_WAIT)?;
            idle = if records.is_empty() { idle + 1 } else { 0 };
            if idle >= IDLE_READS_MAX {
                return Err(VerdictError::Silent);
            }
            let payloads: Vec<&[u8]> = records.iter().map(|record| record.payload.as_slice()).collect();
            if look(&payloads)? == Goes::Enough {
                return Ok(());
            }
        }
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<(), VerdictError> {
        let (sender, told) = channel();
        let count = records.len();
        for record in records {
            let sender = sender.clone();
            // Whoever asked may have given up waiting.
            self.0.hand_over(record, Box::new(move |done| drop(sender.send(done))));
        }
        for _ in 0..count {
            told.recv_timeout(APPEND_WAIT).map_err(|_| VerdictError::Silent)??;
        }
        Ok(())
    }
}
