//! The thread that ships a journal of this server into the log that servers share.
//!
//! [`Shipper`] decides; this reads the journal, hands records over and keeps the checkpoint. What the log can't take now waits in the journal, for hours if
//! it must: nothing here gives a record up, but one that the log can never take (too large), which is told and counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::embedded::EmbeddedLog;
use super::shared::{LogError, LogReader, Position, SharedLog};
use super::shipper::{CheckpointError, CheckpointFile, Shipment, Shipper, ShipperInput, ShipperSettings};
use super::{NewRecord, ReadError, Topic, kafka};
use crate::ending::Ending;
use crate::journal::{self, SharedDisk};
use crate::model::Now;
use crate::patience::Reminder;

/// The log takes its own time and tells each record's fate: what was handed over is never given up from here, and so not sent twice in one life.
const SHIPPING: ShipperSettings = ShipperSettings {
    records_max: 1_000,
    in_flight_max: 8,
    timeout_ms: u64::MAX,
    retry_ms: 100,
    retry_max_ms: 5_000,
    checkpoint_ms: 500,
};
/// How long to wait for acknowledgements before the journal is looked at again.
const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_millis(5);
/// How long to wait for records when nothing is on its way.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// Bytes of one read of the journal: a shipment of large records comes in several.
const READ_BYTES_MAX: usize = 4 << 20;
/// Records of one read of the log, and how long it waits for them.
const READ_RECORDS_MAX: usize = 1_000;
const READ_WAIT: Duration = Duration::from_millis(100);
/// Pause before the log is asked again how far it reaches.
const ENDS_RETRY: Duration = Duration::from_millis(500);
/// How far back the last record of a partition is looked for at first, in offsets: what commits leave behind it has no records.
const LOOK_BACK: u64 = 16;

/// A journal of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// The money journal.
    Money,
    /// The log journal.
    Log,
}

impl Which {
    /// Its name, in files and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Log => "log",
        }
    }
}

/// Where a data directory keeps how far a journal has been shipped.
#[must_use]
pub fn shipping_file(data_dir: &Path, which: Which) -> PathBuf {
    data_dir.join("journal").join(format!("shipped-{}", which.name()))
}

/// Why shipping can't begin, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ShippingError {
    /// The journal can't be read.
    #[error("the journal can't be read, so it is not shipped")]
    Read(#[from] ReadError),
    /// The checkpoint can't be read or kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The thread can't be started.
    #[error("a thread that ships can't be started")]
    Thread(#[source] std::io::Error),
    /// A bug.
    #[error("a thread that ships ended in a panic")]
    Panicked,
}

/// How far a journal has been shipped, for whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ShippingWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Everything before it is in the log, and a restart knows.
    kept: AtomicU64,
    /// Records that the log could never take.
    refused: AtomicU64,
    ended: Ending,
    stop: AtomicBool,
    /// By partition of `segue.events`: the offset after the last record of this server's that the log acknowledged, in whatever run. None before the log
    /// was asked how far earlier runs came.
    ends: Mutex<Option<BTreeMap<u32, u64>>>,
}

impl ShippingWatch {
    /// Everything in the journal before this is in the log, and stays so for a restart: nothing before it is sent again.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.0.kept.load(Ordering::Acquire)
    }

    /// Records that the log could never take, such as one too large. They stay in the journal.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Whether shipping stopped by itself: the process should say so and end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.has_ended()
    }

    /// Where this server's records end in each partition of `segue.events`; a partition without an entry has none. Ask after [`ShippingWatch::kept`]:
    /// what is behind that lies before these. None while the log has not answered since the start: then nobody knows.
    #[must_use]
    pub fn ends(&self) -> Option<Vec<(u32, u64)>> {
        let ends = self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.as_ref().map(|ends| ends.iter().map(|(&partition, &end)| (partition, end)).collect())
    }
}

/// A journal that is being shipped. Dropping it stops after what is on its way; [`Shipping::stop`] tells why it had stopped.
#[derive(Debug)]
pub struct Shipping {
    watch: ShippingWatch,
    thread: Option<JoinHandle<Result<(), ShippingError>>>,
}

impl Shipping {
    /// Begins to ship a journal of `from` into `to`, where an earlier run stopped; `now` reads the clock. First it asks `to` how far it reaches, again and
    /// again until that answers; this doesn't wait for it.
    ///
    /// # Errors
    /// [`ShippingError`].
    pub fn start<L: SharedLog>(
        from: Arc<EmbeddedLog>,
        which: Which,
        to: L,
        (disk, data_dir): (&SharedDisk, &Path),
        now: impl Fn() -> Now + Send + 'static,
    ) -> Result<Self, ShippingError> {
        let file = CheckpointFile::open(&**disk, &shipping_file(data_dir, which))?;
        let watch = ShippingWatch(Arc::new(Shared {
            kept: AtomicU64::new(file.checkpoint()),
            refused: AtomicU64::new(0),
            ended: Ending::default(),
            stop: AtomicBool::new(false),
            ends: Mutex::new((which == Which::Log).then(BTreeMap::new)),
        }));
        let (told, tells) = channel();
        let shared = Arc::clone(&watch.0);
        let shipper = Shipper::resume(SHIPPING, file.checkpoint(), now().monotonic);
        let thread = Thread { from, which, to, shipper, file, shared, told, tells, now };
        let thread = std::thread::Builder::new()
            .name(format!("ship-{}", which.name()))
            .spawn(move || {
                let _running = thread.shared.ended.guard();
                thread.run()
            })
            .map_err(ShippingError::Thread)?;
        Ok(Self { watch, thread: Some(thread) })
    }

    /// How far it is.
    #[must_use]
    pub fn watch(&self) -> ShippingWatch {
        self.watch.clone()
    }

    /// Waits until everything that is durable in the journal now is in the log and kept as such, for `patience` at most; whether it is.
    #[must_use]
    pub fn drain(&self, end: u64, patience: Duration, pause: impl Fn(Duration)) -> bool {
        let steps = patience.as_millis() / IDLE_WAIT.as_millis().max(1);
        for _ in 0..=steps {
            if self.watch.kept() >= end {
                return true;
            }
            if self.watch.has_ended() {
                return false;
            }
            pause(IDLE_WAIT);
        }
        self.watch.kept() >= end
    }

    /// Stops. What is not acknowledged by then is sent again by the next run.
    ///
    /// # Errors
    /// [`ShippingError`]: why it had stopped by itself.
    pub fn stop(mut self) -> Result<(), ShippingError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), ShippingError> {
        self.watch.0.stop.store(true, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(ShippingError::Panicked)))
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(error = &error as &dyn std::error::Error, "shipping stopped");
        }
    }
}

struct Thread<L, N> {
    from: Arc<EmbeddedLog>,
    which: Which,
    to: L,
    shipper: Shipper,
    file: CheckpointFile,
    shared: Arc<Shared>,
    told: Sender<(u64, bool)>,
    tells: Receiver<(u64, bool)>,
    now: N,
}

/// A shipment on its way: told of when its last record is.
struct OnItsWay {
    ticket: u64,
    left: AtomicUsize,
    /// Some record was not taken, and is to be sent again.
    failed: AtomicBool,
    told: Sender<(u64, bool)>,
}

impl OnItsWay {
    fn one_told(&self) {
        // The last of them sees what all the others have noted.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A thread that has ended no longer wants to know.
            let _ = self.told.send((self.ticket, !self.failed.load(Ordering::Acquire)));
        }
    }
}

impl<L: SharedLog, N: Fn() -> Now> Thread<L, N> {
    fn run(mut self) -> Result<(), ShippingError> {
        self.learn_ends();
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            if stopping {
                if let Some(checkpoint) = self.shipper.checkpoint((self.now)().monotonic) {
                    self.keep(checkpoint)?;
                }
                return Ok(());
            }
            let end = self.journal().durable_end();
            self.step(ShipperInput::Tail(end))?;
            self.take_told()?;
        }
    }

    /// Asks the log where earlier runs' records end, until it answers or this is to stop: what is shipped before that is known could not be marked.
    fn learn_ends(&self) {
        let goes_on = || !self.shared.stop.load(Ordering::Acquire);
        let is_known = || self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let mut reminder = Reminder::default();
        while goes_on() && !is_known() {
            match ends_of_events(&self.to, goes_on) {
                Ok(ends) => *self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends,
                Err(error) => {
                    if reminder.fails(&error.to_string(), (self.now)().monotonic) {
                        tracing::warn!(%error, "the journal waits: the shared log can't be asked how far it reaches");
                    }
                    std::thread::sleep(ENDS_RETRY);
                }
            }
        }
    }

    /// Takes what was told of shipments, or waits a little for it, or for new records.
    fn take_told(&mut self) -> Result<(), ShippingError> {
        if self.shipper.unacknowledged() == 0 {
            let end = self.shipper.shipped();
            let _ = self.journal().wait_for(end, IDLE_WAIT);
            return Ok(());
        }
        let mut next = self.tells.recv_timeout(ACKNOWLEDGEMENT_WAIT).ok();
        while let Some((ticket, taken)) = next {
            self.step(if taken { ShipperInput::Acknowledged(ticket) } else { ShipperInput::Failed(ticket) })?;
            next = self.tells.try_recv().ok();
        }
        Ok(())
    }

    fn step(&mut self, input: ShipperInput) -> Result<(), ShippingError> {
        let effects = self.shipper.step(input, (self.now)().monotonic);
        for shipment in effects.send {
            self.send(shipment)?;
        }
        effects.checkpoint.map_or(Ok(()), |checkpoint| self.keep(checkpoint))
    }

    fn keep(&mut self, checkpoint: u64) -> Result<(), ShippingError> {
        self.file.keep(checkpoint)?;
        self.shared.kept.store(checkpoint, Ordering::Release);
        Ok(())
    }

    fn send(&self, shipment: Shipment) -> Result<(), ShippingError> {
        let records = self.read(shipment)?;
        // One more than there are: the shipment is not told of before all of it is handed over.
        let on_its_way = Arc::new(OnItsWay {
            ticket: shipment.ticket,
            left: AtomicUsize::new(records.len() + 1),
            failed: AtomicBool::new(false),
            told: self.told.clone(),
        });
        for record in records {
            let (of, shared) = (Arc::clone(&on_its_way), Arc::clone(&self.shared));
            let is_event = record.topic == Topic::Events;
            let done = move |told: Result<Position, LogError>| {
                match told {
                    Ok(position) if is_event => shared.taken(position),
                    Ok(_) => {}
                    Err(error) if is_hopeless(&error) => {
                        tracing::error!(%error, "a record can't be shipped: it stays in this server's journal, and nobody else sees it");
                        shared.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a record was not taken; it is sent again");
                        of.failed.store(true, Ordering::Release);
                    }
                }
                of.one_told();
            };
            self.to.hand_over(record, Box::new(done));
        }
        on_its_way.one_told();
        Ok(())
    }

    /// The records of a shipment. What is damaged is passed over: it is named by health and audit, and what comes behind it counts.
    fn read(&self, shipment: Shipment) -> Result<Vec<NewRecord>, ShippingError> {
        let mut records = Vec::new();
        let mut from = shipment.from;
        while from < shipment.until {
            match self.from.read_journal(self.which, from, shipment.until, READ_BYTES_MAX) {
                Ok((more, next)) => {
                    records.extend(more);
                    from = next;
                }
                Err(ReadError::Journal(journal::ReadError::Damaged { damage, resume_at })) => {
                    tracing::error!(%damage, resume_at, "damaged records are not shipped");
                    from = resume_at;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(records)
    }

    fn journal(&self) -> &journal::Journal {
        match self.which {
            Which::Money => self.from.money_journal(),
            Which::Log => self.from.log_journal(),
        }
    }
}

impl Shared {
    fn taken(&self, position: Position) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ends.get_or_insert_default().entry(position.partition).or_default();
        *end = (*end).max(position.offset + 1);
    }
}

/// Whether the log will never take the record.
const fn is_hopeless(error: &LogError) -> bool {
    matches!(error, LogError::KeyTooLong { .. } | LogError::Kafka(kafka::Trouble::TooLarge { .. }))
}

/// Where the records end in each partition of `segue.events` that has any. Not the log's own end: behind the last record there may be what a commit
/// leaves, which no reader ever gets past before the next record comes. None when `goes_on`, asked again and again, says no.
fn ends_of_events<L: SharedLog>(log: &L, goes_on: impl Fn() -> bool) -> Result<Option<BTreeMap<u32, u64>>, LogError> {
    let partitions = 0..log.partition_counts().of(Topic::Events);
    let begin: Vec<_> = partitions.map(|partition| Position { partition, offset: 0 }).collect();
    let all = log.reader(Topic::Events, &begin)?;
    let mut unknown = BTreeMap::new();
    for Position { partition, .. } in begin {
        unknown.insert(partition, all.end(partition)?);
    }
    let (mut ends, mut back) = (BTreeMap::new(), LOOK_BACK);
    while !unknown.is_empty() {
        let Some(found) = ends_near(log, &unknown, back, &goes_on)? else { return Ok(None) };
        ends.extend(found);
        // One that was read from its beginning and has nothing has no record.
        unknown.retain(|partition, end| !ends.contains_key(partition) && *end > back);
        back = back.saturating_mul(LOOK_BACK);
    }
    Ok(Some(ends))
}

/// The offset after the last record of each partition that has one so many offsets before its known end. Other servers go on writing meanwhile: a
/// partition is done once it was read to its end of this moment, or past the one known.
fn ends_near<L: SharedLog>(
    log: &L,
    known: &BTreeMap<u32, u64>,
    back: u64,
    goes_on: impl Fn() -> bool,
) -> Result<Option<BTreeMap<u32, u64>>, LogError> {
    let from = |(&partition, end): (&u32, &u64)| Position { partition, offset: end.saturating_sub(back) };
    let mut reader = log.reader(Topic::Events, &known.iter().map(from).collect::<Vec<_>>())?;
    let (mut ends, mut open) = (BTreeMap::new(), known.clone());
    while goes_on() {
        let records = reader.read(READ_RECORDS_MAX, READ_WAIT)?;
        ends.extend(records.into_iter().map(|record| (record.partition, record.offset + 1)));
        open.retain(|partition, end| {
            !reader.is_at_end_of(*partition) && ends.get(partition).is_none_or(|read| read < end)
        });
        if open.is_empty() {
            return Ok(Some(ends));
        }
    }
    Ok(None)
}
