//! Verdicts: reads the log for what a verdict is about, judges it by the books, and appends the reversals.
//!
//! One search at a time, on a thread that may block, over a bounded part of the log: nothing of it touches the path of an ad break.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::accounting::REVERSIBLE_MS;
use crate::accounting::verdict::{Claim, Search, Standing, VerdictRefusal, judge, of_missing};
use crate::event_log::{AppendError, EventLog, ReadError, Topic};
use crate::events::{self, BeaconRecord, Envelope, Event, Reversal};
use crate::journal;
use crate::model::{AdvertiserId, BootId, Day, ImpressionId, InvalidTraffic, NetworkId, ServerId, WallMs};
use crate::roles::records;
use crate::store::{LedgerReader, ReadsLedger as _, StoreError};

/// Records of one read.
const READ_RECORDS_MAX: usize = 8_192;
/// Bytes of one read.
const READ_BYTES_MAX: usize = 4 << 20;
/// Most records of one search: some tens of seconds.
pub const SEARCH_RECORDS_MAX: u64 = 10_000_000;
/// How much earlier than a record's stamp it is looked for, in milliseconds: clocks of two servers.
const SLACK_MS: i64 = 60_000;

/// Finds and appends. Cheap to clone.
#[derive(Clone)]
pub struct Verdicts {
    log: EventLog,
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
    pub fn new(log: EventLog, ledger: LedgerReader, server_id: ServerId, boot_id: BootId) -> Self {
        Self { log, ledger, server_id, boot_id, searching: Arc::default() }
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
            self.log.append_blocking(new).map_err(VerdictError::Append)?;
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
        let mut next = self.first_at(from.plus_ms(-SLACK_MS))?;
        let end = self.log.durable_end(Topic::Events);
        let mut seen = 0;
        while next < end && !search.is_complete() {
            match self.log.read(Topic::Events, None, next, READ_RECORDS_MAX, READ_BYTES_MAX) {
                Ok(batch) => {
                    seen += batch.records.len() as u64;
                    // What can't be understood is audit's to name.
                    let understood = batch.records.iter().filter_map(|record| events::decode(&record.payload).ok());
                    understood.for_each(|envelope| search.see(&envelope));
                    next = batch.next_offset;
                }
                Err(ReadError::Journal(journal::ReadError::Damaged { resume_at, .. })) => next = resume_at,
                Err(error) => return Err(VerdictError::Read(error)),
            }
            if seen > SEARCH_RECORDS_MAX {
                return Err(VerdictError::TooLong);
            }
        }
        if search.is_full() { Err(VerdictError::TooMany) } else { Ok(search) }
    }

    /// An offset at or before the first record that was journalled at `at` or later, by halving: journal time never goes backwards.
    fn first_at(&self, at: WallMs) -> Result<u64, VerdictError> {
        let (mut low, mut high) = (0, self.log.durable_end(Topic::Events));
        while low < high {
            let middle = low + (high - low) / 2;
            let first = match self.log.read(Topic::Events, None, middle, 1, READ_BYTES_MAX) {
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
