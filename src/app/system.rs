//! What the process has of the system: its journals, its port, its threads, its signals.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::config::Config;
use crate::event_log::{self, EmbeddedLog, EmbeddedLogConfig, EventLog};
use crate::journal::{FaultDisk, Faults, Identity, RealDisk, SharedDisk};
use crate::roles::health::Health;
use crate::telemetry::Metrics;

/// How often it is looked whether a part has failed.
const FAILURE_LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often observed times are sorted into their buckets: until then each takes memory.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

pub(super) fn open_log(
    config: &Config,
    identity: Identity,
    faults: &Faults,
    clock: &Clock,
) -> anyhow::Result<EventLog> {
    let disk: SharedDisk = Arc::new(RealDisk);
    let disk: SharedDisk = if faults.is_none() {
        disk
    } else {
        Arc::new(FaultDisk::new(disk, faults.clone(), event_log::money_dir(&config.data_dir)))
    };
    let segment_bytes = u32::try_from(config.journal.segment_bytes).context("journal.segment_bytes")?;
    let mut log = EmbeddedLogConfig::new(&config.data_dir, identity);
    log.money.segment_bytes = segment_bytes;
    log.money.quota_bytes = config.journal.quota_bytes;
    log.log.segment_bytes = segment_bytes;
    log.log.quota_bytes = config.journal.quota_bytes;
    let clock = clock.clone();
    let log = EmbeddedLog::open(&log, &disk, move || clock.now().wall).context("opening the journals")?;
    Ok(EventLog::Embedded(Arc::new(log)))
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).with_context(|| format!("starting the thread {name}"))
}

pub(super) fn bind(config: &Config) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen} (server.listen)"))?;
    let address = listener.local_addr().context("reading the address listened on")?;
    Ok((listener, address))
}

/// A signal's stream; none where the system has no such signal, which then never comes.
fn stream_of(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal can't be listened for")).ok()
}

async fn received(stream: &mut Option<Signal>) {
    match stream {
        Some(stream) => drop(stream.recv().await),
        None => std::future::pending().await,
    }
}

/// Waits until the process should stop: a signal, or a part that failed. Says which. Keeps the metrics small meanwhile.
pub(super) async fn until_unhealthy_or_told(health: &Health, metrics: &Metrics) -> String {
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    let mut failed = tokio::time::interval(FAILURE_LOOK_EVERY);
    let mut terminate = stream_of(SignalKind::terminate());
    let mut interrupt = stream_of(SignalKind::interrupt());
    loop {
        tokio::select! {
            () = received(&mut terminate) => return "SIGTERM".to_owned(),
            () = received(&mut interrupt) => return "SIGINT".to_owned(),
            _ = upkeep.tick() => metrics.upkeep(),
            _ = failed.tick() => {
                // A journal that can't sync must not be trusted with another byte (DESIGN, section 9).
                let checks = health.healthy();
                if !checks.ok {
                    return format!("unhealthy: {:?}", checks.by_name);
                }
            }
        }
    }
}

/// Waits for a thread's end.
pub(super) fn joined(thread: JoinHandle<()>) -> anyhow::Result<()> {
    let name = thread.thread().name().unwrap_or("a thread").to_owned();
    thread.join().map_err(|_| anyhow::anyhow!("{name} ended in a panic"))
}

/// What made the money journal stop for good, if something did.
pub(super) fn journal_is_whole(log: &EventLog) -> anyhow::Result<()> {
    let failure = log.health().money.failure;
    failure.map_or(Ok(()), |failure| Err(anyhow::Error::new(failure).context("the money journal")))
}
