//! A server's link to accounting, where that is another process: a thread that listens to what is for this run of this server, and speaks for it.
//!
//! It says every second that it is there and how far it has shipped. A mark is made of a moment and of the journal's end just after it; it is said once the
//! *kept* checkpoint of the shipper has passed that end (INV-39): what lies behind the checkpoint may be sent again after a crash, much later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Echo, FromServer, Mark, REPORT_LINES_MAX, Word, decode_from_accounting, encode_from_server};
use crate::clock::Clock;
use crate::event_log::{LogError, LogReader, NewRecord, Position, SharedLog, ShippingWatch, Topic};
use crate::model::{BootId, MonotonicMs, Now, ServerId, WallMs};
use crate::patience::Reminder;
use crate::roles::accounting::{Extent, Message, Piece, ServerReport, Wanted};

/// Time between two words that say nothing new, in milliseconds.
const SPEAK_EVERY_MS: u64 = 1_000;
/// How long a read waits for messages.
const READ_WAIT: Duration = Duration::from_millis(20);
/// Messages of one read.
const READ_MAX: usize = 1_000;
/// Processes of accounting that are remembered, for their clocks.
const ECHOES_MAX: usize = 64;
/// A process of accounting that was not heard of for so long is gone, in milliseconds.
const ECHO_KEPT_MS: u64 = 60_000;
/// Words that may wait for the log: some seconds of them. Beyond it nothing is said, for what is said later says it all.
const WORDS_WAITING_MAX: usize = 64;
/// With so many waiting no report is made: what it would tell is told once there is room. The rest is for the pieces of one whole report, and for other words.
const REPORT_WAITING_MAX: usize = 32;
/// Pause before what can't be read now is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What the thread needs to know of the server.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The server.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// Longest time from a record's stamp to its place in the journal, in milliseconds.
    pub settle_margin_ms: i64,
}

/// The link. Dropping it ends it without a last word.
pub struct FleetLink {
    shared: Arc<Shared>,
    say: Box<dyn Fn(Word) + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    settings: LinkSettings,
    clock: Clock,
    stop: AtomicBool,
    is_draining: AtomicBool,
    /// Words handed over and not told of yet.
    waiting: AtomicUsize,
    echoes: Mutex<BTreeMap<BootId, (MonotonicMs, MonotonicMs)>>,
    /// A word was lost, or somebody listens who has heard nothing yet.
    is_behind: AtomicBool,
}

impl std::fmt::Debug for FleetLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetLink").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl FleetLink {
    /// Begins to listen and to speak. `journal_end` says how far the money journal is durable, `shipping` how far that is in the log; `deliver` takes what
    /// accounting says, with the partition for which it speaks, and must not block for long. Until the log answers it neither hears nor speaks.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    pub fn start<L: SharedLog>(
        log: L,
        settings: LinkSettings,
        (journal_end, shipping): (impl Fn() -> u64 + Send + 'static, ShippingWatch),
        clock: Clock,
        deliver: impl Fn(u32, Message) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            settings,
            clock,
            stop: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            echoes: Mutex::default(),
            is_behind: AtomicBool::new(false),
        });
        let say = {
            let (shared, log) = (Arc::clone(&shared), log.clone());
            move |word| shared.say(&log, word)
        };
        let thread = Thread {
            shared: Arc::clone(&shared),
            say: say.clone(),
            deliver,
            journal_end,
            shipping,
            next_mark: None,
            spoke_at: None,
        };
        let thread = std::thread::Builder::new()
            .name("fleet".to_owned())
            .spawn(move || thread.run(&log))
            .expect("the operating system gives a thread at the start");
        Self { shared, say: Box::new(say), thread: Some(thread) }
    }

    /// What is to be reported next.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        if self.shared.waiting.load(Ordering::Relaxed) >= REPORT_WAITING_MAX {
            return Wanted::Nothing;
        }
        if self.shared.is_behind.swap(false, Ordering::Relaxed) { Wanted::All } else { Wanted::Changes }
    }

    /// Tells accounting what this server did. Doesn't block.
    pub fn report(&self, report: ServerReport) {
        words(report).for_each(&self.say);
    }

    /// This server is on its way out.
    pub fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::Release);
        (self.say)(Word::Draining);
    }

    /// The last word of this run: all that it received is in the log before these ends. Said once the shipper has kept all of the journal; the caller sees
    /// to that. Waits until the log has it, `patience` at most; whether it has.
    pub fn close<L: SharedLog>(self, log: &L, ends: Vec<(u32, u64)>, patience: Duration) -> bool {
        let until = self.shared.clock.now().wall;
        let (told, tells) = channel();
        let record = self.shared.record(Word::Closed(Mark { until, ends }));
        log.hand_over(
            record,
            Box::new(move |result| {
                // Whoever waited may have given up.
                let _ = told.send(result.is_ok());
            }),
        );
        tells.recv_timeout(patience).unwrap_or(false)
    }
}

impl Drop for FleetLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the link to accounting ended in a panic");
        }
    }
}

/// A report as it travels: in pieces of which each is a message.
pub fn words(report: ServerReport) -> impl Iterator<Item = Word> {
    let ServerReport { extent, lines, .. } = report;
    // A report of nothing says all the same that this server is there, and what its clocks read.
    let pieces = lines.len().div_ceil(REPORT_LINES_MAX).max(1);
    (0..pieces).map(move |index| {
        let from = index * REPORT_LINES_MAX;
        let lines = lines[from..lines.len().min(from + REPORT_LINES_MAX)].to_vec();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let extent = match extent {
            Extent::Changes => Extent::Changes,
            Extent::Whole(Piece { number: of, .. }) => {
                Extent::Whole(Piece { number: of, index: number(index), pieces: number(pieces) })
            }
        };
        Word::Report { extent, lines }
    })
}

impl Shared {
    fn say<L: SharedLog>(self: &Arc<Self>, log: &L, word: Word) {
        if self.waiting.load(Ordering::Relaxed) >= WORDS_WAITING_MAX {
            self.is_behind.store(true, Ordering::Relaxed);
            return;
        }
        let shared = Arc::clone(self);
        // A count that bounds, and orders nothing.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        log.hand_over(
            self.record(word),
            Box::new(move |told| {
                shared.waiting.fetch_sub(1, Ordering::Relaxed);
                if let Err(error) = told {
                    shared.is_behind.store(true, Ordering::Relaxed);
                    tracing::debug!(%error, "a word to accounting was lost; it is said again");
                }
            }),
        );
    }

    fn record(&self, word: Word) -> NewRecord {
        let at = self.clock.now();
        let LinkSettings { server_id, boot_id, .. } = self.settings;
        let said = FromServer { server_id, boot_id, at, echoes: self.echoes(at), word };
        NewRecord { topic: Topic::Servers, key: server_id.to_bytes().to_vec(), payload: encode_from_server(&said) }
    }

    fn echoes(&self, at: Now) -> Vec<Echo> {
        let mut echoes = self.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        echoes.retain(|_, (_, heard)| at.monotonic.since(*heard) < ECHO_KEPT_MS);
        let echo = |(&accounting_id, &(stamp, heard)): (&BootId, &(MonotonicMs, MonotonicMs))| Echo {
            accounting_id,
            stamp,
            held_ms: at.monotonic.since(heard),
        };
        echoes.iter().take(ECHOES_MAX).map(echo).collect()
    }

    fn heard(&self, accounting_id: BootId, stamp: MonotonicMs) {
        let now = self.clock.now().monotonic;
        let mut echoes = self.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        if echoes.len() >= ECHOES_MAX && !echoes.contains_key(&accounting_id) {
            let oldest = echoes.iter().min_by_key(|(_, (_, heard))| *heard).map(|(id, _)| *id);
            oldest.map(|oldest| echoes.remove(&oldest));
        }
        if echoes.insert(accounting_id, (stamp, now)).is_none() {
            // Until now its owners could make nothing of reports, for want of an echo.
            self.is_behind.store(true, Ordering::Relaxed);
        }
    }
}

struct Thread<S, D, E> {
    shared: Arc<Shared>,
    say: S,
    deliver: D,
    journal_end: E,
    shipping: ShippingWatch,
    /// A moment, and the journal's end just after it.
    next_mark: Option<(WallMs, u64)>,
    spoke_at: Option<MonotonicMs>,
}

impl<S, D, E> Thread<S, D, E>
where
    S: Fn(Word),
    D: Fn(u32, Message),
    E: Fn() -> u64,
{
    fn run<L: SharedLog>(mut self, log: &L) {
        let mut reminder = Reminder::default();
        let mut reader = None;
        while !self.shared.stop.load(Ordering::Acquire) {
            let heard = match &mut reader {
                None => self.begin_to_hear(log).map(|begun| {
                    reader = Some(begun);
                    Vec::new()
                }),
                Some(reader) => {
                    self.speak();
                    reader.read(READ_MAX, READ_WAIT)
                }
            };
            match heard {
                Ok(records) => {
                    for record in &records {
                        self.listen(&record.payload, record.offset);
                    }
                    if !records.is_empty() {
                        reminder.works();
                    }
                }
                Err(error) => {
                    if reminder.fails(&error.to_string(), self.shared.clock.now().monotonic) {
                        tracing::warn!(%error, "this server can't hear accounting for now");
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    /// A reader of what is said from now on: what was said before is for earlier runs. Nothing is said to this one before it has spoken.
    fn begin_to_hear<L: SharedLog>(&self, log: &L) -> Result<L::Reader, LogError> {
        let partition = log.partition_counts().partition(Topic::Leases, &self.shared.settings.server_id.to_bytes());
        let end = log.reader(Topic::Leases, &[Position { partition, offset: 0 }])?.end(partition)?;
        log.reader(Topic::Leases, &[Position { partition, offset: end }])
    }

    fn listen(&self, payload: &[u8], offset: u64) {
        let said = match decode_from_accounting(payload) {
            Ok(said) => said,
            // A lease that is lost so goes back when it is closed.
            Err(error) => return tracing::warn!(%error, offset, "a message of accounting can't be understood"),
        };
        let LinkSettings { server_id, boot_id, .. } = self.shared.settings;
        // Others share the partition; and what is for an earlier run is not for this one (INV-5).
        if (said.server_id, said.boot_id) != (server_id, boot_id) {
            return;
        }
        self.shared.heard(said.accounting_id, said.stamp);
        for body in said.notices {
            (self.deliver)(said.partition, Message { server_id, boot_id, body });
        }
    }

    fn speak(&mut self) {
        let Now { wall, monotonic } = self.shared.clock.now();
        if let Some((until, end)) = self.next_mark
            && self.shipping.kept() >= end
            && let Some(ends) = self.shipping.ends()
        {
            self.next_mark = None;
            (self.say)(Word::Complete(Mark { until, ends }));
        }
        if self.spoke_at.is_some_and(|at| monotonic.since(at) < SPEAK_EVERY_MS) {
            return;
        }
        self.spoke_at = Some(monotonic);
        (self.say)(Word::Registered);
        if self.shared.is_draining.load(Ordering::Acquire) {
            (self.say)(Word::Draining);
        }
        if self.next_mark.is_none() {
            // The clock before the end: what was received until then, less the margin, lies before the end.
            self.next_mark = Some((wall.plus_ms(-self.shared.settings.settle_margin_ms), (self.journal_end)()));
        }
    }
}
