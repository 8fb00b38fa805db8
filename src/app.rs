//! The only wiring: builds the adapters, joins them by bounded channels, and starts and ends them in order.
//!
//! Start: folder and store → journals (recovered) → catalogue in memory → accounting (replays) → HTTP. Nothing listens before the journals are
//! sound. End: not ready any more → leases given back, no more paid draws → HTTP drained → listeners flushed → accounting at the end of the
//! log, this server closed in the register → journals closed. Each part's thread is joined; none outlives [`Running::stop`].

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::accounting::{CLOCK_TOLERANCE_MS, SETTLE_MARGIN_MS};
use crate::catalog::{CatalogPublisher, CatalogWriter, Entity};
use crate::clock::Clock;
use crate::config::{self, Config, InvalidTrafficConfig};
use crate::decision::Spending;
use crate::entropy::Entropy;
use crate::event_log::{self, EmbeddedLog, EmbeddedLogConfig, EventLog};
use crate::http::admin::Admin;
use crate::http::campaigns::CampaignApi;
use crate::http::client::Senders;
use crate::http::player::Player;
use crate::http::reports::ReportsApi;
use crate::http::server;
use crate::http::servers::ServersApi;
use crate::http::verdicts::VerdictsApi;
use crate::impressions::ListenerSecret;
use crate::impressions::invalid::{ActivityRules, AddressRanges, ListError, RobotList, SenderRules};
use crate::journal::{FaultDisk, FaultPoint, Faults, Identity, RealDisk, SharedDisk};
use crate::model::{BootId, ServerId, Status};
use crate::roles::accounting::{self, AccountingHandle, Feed, MachineSettings, ShellSettings};
use crate::roles::beacon::{BeaconRole, BeaconShell};
use crate::roles::campaign::{self, CampaignHandle, CampaignWriter, CatalogChange, Publish};
use crate::roles::decision::{
    DecisionIds, DecisionRole, DecisionShell, LeaseKeeper, Reporter, Sample, Sampler, Supply, Surroundings,
};
use crate::roles::health::{Health, Lights};
use crate::roles::heard::HeardWatch;
use crate::roles::listeners::ListenerAccess;
use crate::roles::verdicts::Verdicts;
use crate::store::{self, Listeners, Store};
use crate::telemetry::{Metric, Metrics, RequestIds};
use crate::tokens::{TokenKey, TokenKeys};

/// Samples that may wait to be evaluated; beyond it they are dropped and counted.
const SAMPLES_WAITING: usize = 256;
/// Largest file of a list of invalid traffic, in bytes: a million networks take some 20 MB.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Virtual time between two reports to accounting.
const REPORT_EVERY_MS: u64 = 1_000;
/// Shortest real time between two reports, however fast the clock runs.
const REPORT_PAUSE_MIN: Duration = Duration::from_millis(50);
/// How often it is looked whether a part has failed.
const FAILURE_LOOK_EVERY: Duration = Duration::from_millis(200);

/// A running server.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The catalogue, to read and to change.
    pub campaigns: CampaignHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// Judges how the process is.
    pub health: Health,
    server: ServerHandle,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    parts: Parts,
}

/// What ends after the HTTP server.
struct Parts {
    lights: Arc<Lights>,
    listeners: Arc<Listeners>,
    leases: Arc<LeaseKeeper>,
    log: EventLog,
    accounting: AccountingHandle,
    campaign_writer: CampaignWriter,
    rebuilding: JoinHandle<()>,
    observers: Observers,
}

/// The threads that see what was drawn and what could have been.
struct Observers {
    /// Closing it ends the reporter.
    stop_reporter: SyncSender<()>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a server as configured. Returns once it listens; it may not be ready yet (`/readyz` says when).
///
/// # Errors
/// Whatever keeps it from starting; nothing is left running then.
pub fn start(config: &Config, clock: Clock, entropy: &Entropy) -> anyhow::Result<Running> {
    let metrics = Metrics::new();
    let mut store = Store::open(&config.data_dir, clock.now().wall, entropy)?;
    store.rotate_token_key(i64::from(config.tokens_rotate_hours) * 3_600_000, clock.now().wall, entropy)?;
    let identity = store.identity().clone();
    let (server_id, boot_id) = (identity.server_id, BootId::at(clock.now().wall, entropy.bytes()));
    let faults = faults(config);
    let log = open_log(config, Identity { server: server_id, boot: boot_id }, &faults, &clock)?;

    // Accounting: its leases and throttles go straight to the side array that decisions read.
    let catalog = Arc::new(CatalogPublisher::default());
    let spending = Arc::new(Spending::new());
    let (ids, side, around) = ((server_id, boot_id), (&catalog, &spending), (&log, &clock, &metrics));
    let (leases, accounting) = start_accounting(config, ids, &store, faults, side, around)?;

    // The catalogue: a change is in the snapshot, and with accounting, before its writer is answered.
    let catalog_store = store.catalog()?;
    campaign::bootstrap(&config.data_dir, &catalog_store, identity.api_key_secret, clock.now(), entropy)?;
    let (publish, rebuilding) = publish_to(CatalogFeed {
        writer: Mutex::new(CatalogWriter::new()),
        catalog: Arc::clone(&catalog),
        spending: Arc::clone(&spending),
        accounting: accounting.feed(),
        metrics: metrics.clone(),
        clock: clock.clone(),
    })?;
    let (campaigns, campaign_writer) = campaign::start(catalog_store, identity.api_key_secret, publish)?;
    let lights = Arc::new(Lights { catalog: AtomicBool::new(true), ..Lights::default() });

    let one_in = u64::from(config.decision.sample_one_in);
    let reporting = Reporting { server_id, boot_id, leases: Arc::clone(&leases), feed: accounting.feed() };
    let (samples, observers) = observe(one_in, &catalog, &spending, &clock, reporting)?;
    let in_memory = config.decision.listener_cache_entries;
    let listeners = Arc::new(Listeners::open(store.database(), in_memory, entropy.clone())?);
    let (listener, address) = bind(config)?;
    let surroundings = Surroundings {
        catalog,
        log: log.clone(),
        listeners: ListenerAccess::new(Arc::clone(&listeners)),
        heard: Arc::new(HeardWatch::new(config.decision.heard, metrics.clone())),
        clock: clock.clone(),
        metrics: metrics.clone(),
        decision_ids: DecisionIds::new(entropy.bytes()),
        sampler: Sampler::new(one_in, samples, metrics.clone()),
    };
    let player = player(config, &identity, boot_id, spending, surroundings, campaigns.clone(), address)?;
    let health = Health::new(log.clone(), accounting.watch(), Arc::clone(&leases), Arc::clone(&lights));
    let reversals = Verdicts::new(log.clone(), store.ledger()?, server_id, boot_id);
    let parts = server::Parts {
        player,
        admin: Admin { health: health.clone(), metrics: metrics.clone() },
        campaigns: CampaignApi {
            campaigns: campaigns.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            metrics: metrics.clone(),
        },
        reports: reports_api(&store, &campaigns, &clock, &metrics)?,
        servers: ServersApi { campaigns: campaigns.clone(), accounting: accounting.watch(), metrics: metrics.clone() },
        verdicts: verdicts(&campaigns, reversals, &clock, &metrics),
        request_ids: RequestIds::new(boot_id),
        clock,
    };
    let serving = server::serve(listener, config, parts).context("starting the HTTP server")?;
    Ok(Running {
        address,
        campaigns,
        metrics,
        health,
        server: serving.handle(),
        serving: tokio::spawn(serving),
        parts: Parts { lights, listeners, leases, log, accounting, campaign_writer, rebuilding, observers },
    })
}

/// What the reporter tells whom.
struct Reporting {
    server_id: ServerId,
    boot_id: BootId,
    leases: Arc<LeaseKeeper>,
    feed: SyncSender<Feed>,
}

/// Supply: a sample of breaks is evaluated again on a thread of its own, and reported to accounting with what was drawn.
fn observe(
    one_in: u64,
    catalog: &Arc<CatalogPublisher>,
    spending: &Arc<Spending>,
    clock: &Clock,
    Reporting { server_id, boot_id, leases, feed }: Reporting,
) -> anyhow::Result<(SyncSender<Sample>, Observers)> {
    let (samples, to_sample) = sync_channel(SAMPLES_WAITING);
    let supply = Arc::new(Supply::default());
    let sampling = spawn("supply", {
        let (supply, catalog, spending) = (Arc::clone(&supply), Arc::clone(catalog), Arc::clone(spending));
        move || supply.run(&to_sample, one_in, &catalog, &spending)
    })?;
    let (stop_reporter, stopped) = sync_channel(0);
    let reporting = spawn("report", {
        let mut reporter = Reporter::new(server_id, boot_id, supply, Arc::clone(spending));
        let (catalog, clock) = (Arc::clone(catalog), clock.clone());
        move || {
            report_until_stopped(&stopped, &clock, || {
                leases.sweep();
                let report = reporter.report(&catalog.load_full(), clock.now());
                // A full channel means that accounting is busy; the next report says it all.
                let came = report.at.monotonic;
                let _ = feed.try_send(Feed::Report { report, came });
            });
        }
    })?;
    Ok((samples, Observers { stop_reporter, threads: vec![sampling, reporting] }))
}

/// Verdicts on traffic.
fn verdicts(campaigns: &CampaignHandle, verdicts: Verdicts, clock: &Clock, metrics: &Metrics) -> VerdictsApi {
    VerdictsApi { campaigns: campaigns.clone(), verdicts, clock: clock.clone(), metrics: metrics.clone() }
}

/// The player's side.
fn player(
    config: &Config,
    identity: &store::Identity,
    boot_id: BootId,
    spending: Arc<Spending>,
    surroundings: Surroundings,
    campaigns: CampaignHandle,
    address: SocketAddr,
) -> anyhow::Result<Player> {
    let sender_rules = Arc::new(sender_rules(&config.invalid_traffic)?);
    let keys = token_keys(identity);
    let (log, listeners) = (surroundings.log.clone(), surroundings.listeners.clone());
    let heard = Arc::clone(&surroundings.heard);
    let (clock, metrics) = (surroundings.clock.clone(), surroundings.metrics.clone());
    let ack_timeout = Duration::from_millis(config.journal.ack_timeout_ms);
    let activity = ActivityRules::new(config.invalid_traffic.activity);
    let beacon_role = BeaconRole::new(keys.clone(), identity.server_id, boot_id, Arc::clone(&sender_rules), activity);
    let catalog = Arc::clone(&surroundings.catalog);
    let decision_role = DecisionRole::new(spending, keys, identity.server_id, boot_id);
    Ok(Player {
        senders: Senders::new(config.server.trusted_proxies.clone(), metrics.clone()),
        sender_rules,
        catalog,
        decisions: DecisionShell::new(decision_role, surroundings),
        beacons: BeaconShell::new(
            beacon_role,
            log,
            listeners.clone(),
            heard,
            clock.clone(),
            metrics.clone(),
            ack_timeout,
        ),
        listeners,
        listener_secret: ListenerSecret::new(&identity.listener_secret.0),
        campaigns,
        clock,
        metrics,
        public_url: config.server.public_url.clone().unwrap_or_else(|| format!("http://{address}")),
    })
}

/// The lists of invalid traffic, read from their files.
fn sender_rules(config: &InvalidTrafficConfig) -> anyhow::Result<SenderRules> {
    let robots = read_list("invalid_traffic.robots_file", config.robots_file.as_deref(), RobotList::parse)?;
    let data_centres =
        read_list("invalid_traffic.data_centres_file", config.data_centres_file.as_deref(), AddressRanges::parse)?;
    Ok(SenderRules { robots, data_centres })
}

/// A list from its file; the default where there is none.
fn read_list<T: Default>(
    setting: &str,
    path: Option<&Path>,
    parse: impl Fn(&str) -> Result<T, ListError>,
) -> anyhow::Result<T> {
    let Some(path) = path else { return Ok(T::default()) };
    let named = || format!("{} ({setting})", path.display());
    let size = std::fs::metadata(path).with_context(|| format!("reading {}", named()))?.len();
    anyhow::ensure!(size <= LIST_BYTES_MAX, "{}: {size} bytes, at most {LIST_BYTES_MAX} are read", named());
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", named()))?;
    parse(&text).with_context(named)
}

/// Accounting, and the keeper of this server's leases to whom its messages go.
fn start_accounting(
    config: &Config,
    (server_id, boot_id): (ServerId, BootId),
    store: &Store,
    faults: Faults,
    (catalog, spending): (&Arc<CatalogPublisher>, &Arc<Spending>),
    (log, clock, metrics): (&EventLog, &Clock, &Metrics),
) -> anyhow::Result<(Arc<LeaseKeeper>, AccountingHandle)> {
    let leases = Arc::new(LeaseKeeper::new(
        (server_id, boot_id),
        Arc::clone(spending),
        Arc::clone(catalog),
        log.clone(),
        clock.clone(),
        metrics.clone(),
    ));
    let settings = shell_settings(config, server_id, boot_id, faults);
    let keeper = Arc::clone(&leases);
    let deliver = move |message| keeper.deliver(message);
    let accounting =
        accounting::spawn(log.clone(), store.ledger()?, settings, clock.clone(), metrics.clone(), deliver)?;
    Ok((leases, accounting))
}

fn reports_api(
    store: &Store,
    campaigns: &CampaignHandle,
    clock: &Clock,
    metrics: &Metrics,
) -> anyhow::Result<ReportsApi> {
    let (campaigns, ledger) = (campaigns.clone(), store.ledger()?);
    Ok(ReportsApi { campaigns, ledger, clock: clock.clone(), metrics: metrics.clone() })
}

fn shell_settings(config: &Config, server_id: ServerId, boot_id: BootId, faults: Faults) -> ShellSettings {
    ShellSettings {
        machine: machine_settings(config, server_id, boot_id),
        // The margin covers the disk, whose time is real however fast the clock runs.
        settle_margin_ms: SETTLE_MARGIN_MS.saturating_mul(i64::from(config.clock_acceleration)),
        faults,
    }
}

fn machine_settings(config: &Config, server_id: ServerId, boot_id: BootId) -> MachineSettings {
    MachineSettings {
        server_id,
        boot_id,
        partition: 0,
        namer: boot_id.to_bytes(),
        lease_ms: config.accounting.lease_seconds.saturating_mul(1_000),
        // Each commit is a sync of the disk, whose time is real however fast the clock runs.
        commit_interval_ms: config.accounting.commit_interval_ms.saturating_mul(u64::from(config.clock_acceleration)),
        report_ms: report_ms(config.clock_acceleration),
        // Tolerance is for the machines' clocks, whose time is real too.
        clock_tolerance_ms: CLOCK_TOLERANCE_MS.saturating_mul(i64::from(config.clock_acceleration)),
    }
}

/// Virtual time between two reports: the real pause has a least length, in which fast time passes far.
fn report_ms(acceleration: u32) -> u64 {
    let pause_ms = u64::try_from(REPORT_PAUSE_MIN.as_millis()).unwrap_or(u64::MAX);
    REPORT_EVERY_MS.max(pause_ms.saturating_mul(u64::from(acceleration)))
}

fn token_keys(identity: &store::Identity) -> TokenKeys {
    let key = |key: &store::TokenKey| TokenKey::new(u32::from(key.id), &key.secret.0);
    TokenKeys::new(key(&identity.token_key), identity.previous_token_key.as_ref().map(key))
}

/// The death that the crash tests have ordered, if any.
fn faults(config: &Config) -> Faults {
    let Some(fault) = config.journal.fault else { return Faults::none() };
    let point = match fault.point {
        config::FaultPoint::Append => FaultPoint::Append,
        config::FaultPoint::BeforeSync => FaultPoint::BeforeSync,
        config::FaultPoint::Roll => FaultPoint::Roll,
        config::FaultPoint::AccountingCommit => FaultPoint::AccountingCommit,
    };
    Faults::kill_at(point, fault.passing)
}

fn open_log(config: &Config, identity: Identity, faults: &Faults, clock: &Clock) -> anyhow::Result<EventLog> {
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

/// The catalogue in memory: its writer, where readers find it, and who is told of changes.
struct CatalogFeed {
    writer: Mutex<CatalogWriter>,
    catalog: Arc<CatalogPublisher>,
    spending: Arc<Spending>,
    accounting: SyncSender<Feed>,
    metrics: Metrics,
    clock: Clock,
}

impl CatalogFeed {
    /// Puts a change into the snapshot and tells accounting. True when a new base should be built.
    fn take(&self, change: CatalogChange) -> bool {
        let watch = self.clock.stopwatch();
        let mut writer = self.writer();
        let snapshot = writer.apply(change.version, change.entities.clone());
        let wants_rebuild = writer.wants_rebuild();
        // What was paused a moment ago in the side array is as the snapshot says from here on.
        for entity in &change.entities {
            if let Entity::LineItem(line_item) = entity
                && let Some(slot) = snapshot.slot(line_item.id)
            {
                self.spending.set_paused(slot, line_item.status != Status::Active);
            }
        }
        self.metrics.set(Metric::CatalogVersion, change.version);
        let (base, delta) = writer.sizes();
        self.metrics.set(Metric::CatalogLineItems, u64::try_from(base + delta).unwrap_or(u64::MAX));
        drop(self.catalog.publish(snapshot));
        drop(writer);
        self.metrics.observe_seconds(Metric::CatalogSwapSeconds, watch.elapsed_seconds());
        // An accounting that has ended is seen by the health check; the change itself is durable.
        let _ = self.accounting.send(Feed::CatalogChanged(change.entities));
        wants_rebuild
    }

    /// Builds a new base beside the changes that go on, and puts it in place.
    fn rebuild(&self) {
        let job = self.writer().begin_rebuild();
        let base = job.run();
        let mut writer = self.writer();
        if let Some(snapshot) = writer.finish_rebuild(base) {
            drop(self.catalog.publish(snapshot));
        }
    }

    fn writer(&self) -> MutexGuard<'_, CatalogWriter> {
        // A panic in the writer leaves a catalogue that may be half changed: nothing may be served from it.
        self.writer.lock().expect("no panic while the catalogue was being changed")
    }
}

/// What is done with each change before its writer goes on, and the thread that builds new bases; it ends with the last change's sender.
fn publish_to(feed: CatalogFeed) -> anyhow::Result<(Publish, JoinHandle<()>)> {
    let feed = Arc::new(feed);
    let (wanted, rebuilds) = sync_channel(1);
    let thread = spawn("catalog-rebuild", {
        let feed = Arc::clone(&feed);
        move || rebuilds.iter().for_each(|()| feed.rebuild())
    })?;
    let publish = Box::new(move |change: CatalogChange| {
        if feed.take(change) {
            // Full: one is asked for already.
            let _ = wanted.try_send(());
        }
    });
    Ok((publish, thread))
}

/// Reports at once, and again and again until the channel is closed.
fn report_until_stopped(stopped: &Receiver<()>, clock: &Clock, mut report: impl FnMut()) {
    let pause = clock.real_duration(REPORT_EVERY_MS).max(REPORT_PAUSE_MIN);
    loop {
        report();
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).with_context(|| format!("starting the thread {name}"))
}

fn bind(config: &Config) -> anyhow::Result<(TcpListener, SocketAddr)> {
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

impl Running {
    /// Waits until the process should stop: a signal, or a part that failed. Says which.
    pub async fn until_stopped(&self) -> String {
        let mut failed = tokio::time::interval(FAILURE_LOOK_EVERY);
        let mut terminate = stream_of(SignalKind::terminate());
        let mut interrupt = stream_of(SignalKind::interrupt());
        loop {
            tokio::select! {
                () = received(&mut terminate) => return "SIGTERM".to_owned(),
                () = received(&mut interrupt) => return "SIGINT".to_owned(),
                _ = failed.tick() => {
                    // A journal that can't sync must not be trusted with another byte (DESIGN, section 9).
                    let checks = self.health.healthy();
                    if !checks.ok {
                        return format!("unhealthy: {:?}", checks.by_name);
                    }
                }
            }
        }
    }

    /// Drains and ends everything: what was acknowledged is in the books when this returns.
    ///
    /// # Errors
    /// The first thing that failed; everything was ended all the same.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { campaigns, health, server, serving, parts, .. } = self;
        parts.lights.draining.store(true, Ordering::Relaxed);
        // Paid draws stop first: from here on the HTTP server answers with the network's own ads.
        let parts = tokio::task::spawn_blocking(move || {
            parts.give_leases_back();
            parts
        });
        let parts = parts.await.context("giving the leases back")?;
        server.stop(true).await;
        let served = serving.await.context("the HTTP server's task")?.context("the HTTP server");
        drop((campaigns, health));
        let ended = tokio::task::spawn_blocking(move || parts.end()).await.context("ending the parts")?;
        served.and(ended)
    }
}

impl Parts {
    /// No more leases, and those that there are go back.
    fn give_leases_back(&self) {
        self.accounting.drain();
        if let Err(error) = self.leases.drain() {
            tracing::warn!(%error, "leases were not given back; their money returns when they are closed");
        }
    }

    /// Ends the parts, in the order in which they depend on each other.
    fn end(self) -> anyhow::Result<()> {
        drop(self.observers.stop_reporter);
        let mut result = Ok(());
        for thread in self.observers.threads {
            let name = thread.thread().name().unwrap_or("a thread").to_owned();
            if thread.join().is_err() {
                result = result.and(Err(anyhow::anyhow!("{name} ended in a panic")));
            }
        }
        let flushed = self.listeners.flush().context("flushing the listeners");
        let closed = self.accounting.stop().context("ending accounting");
        self.log.close();
        self.campaign_writer.join();
        if self.rebuilding.join().is_err() {
            result = result.and(Err(anyhow::anyhow!("the catalogue's rebuild ended in a panic")));
        }
        let failure = match self.log.health().money.failure {
            Some(failure) => Err(anyhow::Error::new(failure).context("the money journal")),
            None => Ok(()),
        };
        result.and(flushed).and(closed).and(failure)
    }
}
