//! The only wiring: builds the adapters, joins them by bounded channels, and starts and ends them in order.
//!
//! Start: folder and store → journals (recovered) → catalogue in memory → accounting (replays) → HTTP. Nothing listens before the journals are
//! sound. End: not ready any more → leases given back, no more paid draws → HTTP drained → listeners flushed → accounting at the end of the
//! log, this server closed in the register → journals closed. Each part's thread is joined; none outlives [`Running::stop`].

mod accounting;
mod assets;
mod catalogue;
pub mod cluster;
mod decision;
mod looks;
mod system;
mod weeks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use anyhow::Context as _;

use self::accounting::{faults, start_accounting};
use self::assets::Files;
use self::catalogue::publish_to;
use self::decision::{Observers, observe, player};
use self::looks::{gets_leases, goes_on, show_counts};
use self::system::{bind, joined, journal_is_whole, open_log, until_unhealthy_or_told};
use self::weeks::OldWeeks;
use crate::caps::strict::Hearing;
use crate::catalog::CatalogPublisher;
use crate::clock::Clock;
use crate::config::Config;
use crate::decision::Spending;
use crate::entropy::Entropy;
use crate::event_log::EventLog;
use crate::http::admin::Admin;
use crate::http::campaigns::CampaignApi;
use crate::http::diagnosis::DiagnosisApi;
use crate::http::live::LiveApi;
use crate::http::reports::ReportsApi;
use crate::http::server;
use crate::http::servers::ServersApi;
use crate::http::verdicts::VerdictsApi;
use crate::journal::{self, Faults};
use crate::model::{BootId, ServerId};
use crate::roles::accounting::{AccountingHandle, Feed, Wanted};
use crate::roles::campaign::{self, CampaignHandle, CampaignWriter};
use crate::roles::decision::{LeaseKeeper, RecentBreaks, Sight};
use crate::roles::health::{Health, Lights, Look};
use crate::roles::verdicts::{OwnLog, Verdicts};
use crate::store::{Identity, ListenerBackend, Listeners, Store};
use crate::telemetry::{Metrics, RequestIds};

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
    old_weeks: OldWeeks,
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

/// What all parts of the process have in common.
struct Base<'a> {
    config: &'a Config,
    identity: Identity,
    boot_id: BootId,
    log: EventLog,
    clock: Clock,
    entropy: Entropy,
    metrics: Metrics,
}

impl<'a> Base<'a> {
    /// A new run of a server, with its journals recovered.
    fn open(
        config: &'a Config,
        identity: Identity,
        faults: &Faults,
        clock: Clock,
        entropy: &Entropy,
    ) -> anyhow::Result<Self> {
        let boot_id = BootId::at(clock.now().wall, entropy.bytes());
        let of = journal::Identity { server: identity.server_id, boot: boot_id };
        let log = open_log(config, of, faults, &clock)?;
        Ok(Self { config, identity, boot_id, log, clock, entropy: entropy.clone(), metrics: Metrics::new() })
    }

    const fn ids(&self) -> (ServerId, BootId) {
        (self.identity.server_id, self.boot_id)
    }
}

/// What decisions read beside the listener: the snapshot, and throttles and leases beside it.
struct Side {
    catalog: Arc<CatalogPublisher>,
    spending: Arc<Spending>,
    leases: Arc<LeaseKeeper>,
    /// Breaks sampled lately, for those who ask why a line item does not deliver.
    recent: Arc<RecentBreaks>,
}

impl Side {
    fn new(base: &Base<'_>) -> Self {
        let (catalog, spending) = (Arc::new(CatalogPublisher::default()), Arc::new(Spending::new()));
        let leases = Arc::new(LeaseKeeper::new(
            base.ids(),
            Arc::clone(&spending),
            Arc::clone(&catalog),
            base.log.clone(),
            base.clock.clone(),
            base.metrics.clone(),
        ));
        Self { catalog, spending, leases, recent: Arc::default() }
    }

    /// What a diagnosis reads of it.
    fn sight(&self) -> Sight {
        let Self { catalog, spending, recent, .. } = self;
        Sight { recent: Arc::clone(recent), catalog: Arc::clone(catalog), spending: Arc::clone(spending) }
    }
}

/// Starts a server as configured. Returns once it listens; it may not be ready yet (`/readyz` says when).
///
/// # Errors
/// Whatever keeps it from starting; nothing is left running then.
pub fn start(config: &Config, clock: Clock, entropy: &Entropy) -> anyhow::Result<Running> {
    let mut store = Store::open(&config.data_dir, clock.now().wall, entropy)?;
    store.rotate_token_key(i64::from(config.tokens_rotate_hours) * 3_600_000, clock.now().wall, entropy)?;
    let faults = faults(config);
    let base = Base::open(config, store.identity().clone(), &faults, clock, entropy)?;
    let Base { identity, boot_id, log, clock, metrics, .. } = &base;
    let boot_id = *boot_id;

    // Accounting: its leases and throttles go straight to the side array that decisions read.
    let side = Side::new(&base);
    let accounting = start_accounting(&base, store.ledger()?.into(), faults, &side.leases)?;

    // The catalogue: a change is in the snapshot, and with accounting, before its writer is answered.
    let catalog_store = store.catalog()?;
    campaign::bootstrap(&config.data_dir, &catalog_store, identity.api_key_secret, clock.now(), entropy)?;
    let feed = accounting.feed();
    let (publish, rebuilding) = publish_to(&base, &side, move |entities| {
        // An accounting that has ended is seen by the health check; the change itself is durable.
        let _ = feed.send(Feed::CatalogChanged(entities));
    })?;
    let (campaigns, campaign_writer) = campaign::start(catalog_store, identity.api_key_secret, publish)?;
    let lights = Arc::new(Lights { catalog: AtomicBool::new(true), ..Lights::default() });

    let feed = accounting.feed();
    let is_lost = Arc::new(AtomicBool::new(false));
    let was_lost = Arc::clone(&is_lost);
    let wanted = move || if was_lost.swap(false, Ordering::Relaxed) { Wanted::All } else { Wanted::Changes };
    let (samples, observers) = observe(&base, &side, wanted, move |report| {
        let came = report.at.monotonic;
        // A full channel means that accounting is busy; the next report says it all.
        if feed.try_send(Feed::Report { report, came }).is_err() {
            is_lost.store(true, Ordering::Relaxed);
        }
    })?;
    let in_memory = config.decision.listener_cache_entries;
    let rows = ListenerBackend::embedded(store.database())?;
    let listeners = Arc::new(Listeners::open(rows, in_memory, entropy.clone()));
    let (listener, address) = bind(config)?;
    let player = player(&base, &side, (&listeners, samples), Hearing::Everything, campaigns.live_keys(), address)?;
    let files = Files::open(&base, address)?;
    let (counted, looked_up) = (log.clone(), Arc::clone(&listeners));
    let gauges = Box::new(move |metrics: &Metrics| show_counts(metrics, &counted, Some(&looked_up)));
    let health = health(log, &accounting, &side.leases, &lights);
    let parts = server::Parts {
        player: Some(player),
        admin: Admin { health: health.clone(), metrics: metrics.clone(), gauges },
        control: Some(control(&base, &campaigns, (&store, &accounting, &files), side.sight())?),
        files: Some(files.serving(&base)),
        request_ids: RequestIds::new(boot_id),
        clock: clock.clone(),
    };
    let serving = server::serve(listener, config, parts).context("starting the HTTP server")?;
    let (log, leases) = (log.clone(), side.leases);
    Ok(Running {
        address,
        campaigns,
        metrics: metrics.clone(),
        health,
        server: serving.handle(),
        serving: tokio::spawn(serving),
        old_weeks: OldWeeks::drop_from(Arc::clone(&listeners), clock.clone()),
        parts: Parts { lights, listeners, leases, log, accounting, campaign_writer, rebuilding, observers },
    })
}

/// What advertisers and operators ask for.
fn control(
    base: &Base<'_>,
    campaigns: &CampaignHandle,
    (store, accounting, files): (&Store, &AccountingHandle, &Files),
    sight: Sight,
) -> anyhow::Result<server::Control> {
    let (campaigns, clock, metrics) = (campaigns.clone(), base.clock.clone(), base.metrics.clone());
    let register = accounting.watch();
    Ok(server::Control {
        reports: ReportsApi {
            campaigns: campaigns.clone(),
            ledger: store.ledger()?.into(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        },
        diagnosis: DiagnosisApi::new(
            campaigns.clone(),
            store.ledger()?.into(),
            Some(sight),
            (clock.clone(), metrics.clone()),
        ),
        servers: ServersApi {
            campaigns: campaigns.clone(),
            register: Arc::new(move || Ok(register.servers())),
            metrics: metrics.clone(),
        },
        verdicts: VerdictsApi {
            campaigns: campaigns.clone(),
            verdicts: Verdicts::new(
                OwnLog(base.log.clone()),
                store.ledger()?.into(),
                base.identity.server_id,
                base.boot_id,
            ),
            clock: clock.clone(),
            metrics: metrics.clone(),
        },
        live: LiveApi::new(campaigns.clone(), metrics.clone(), clock.clone()),
        assets: Some(files.taking(base, &campaigns)),
        campaigns: CampaignApi {
            campaigns,
            clock,
            entropy: base.entropy.clone(),
            metrics,
            assets: Some(files.store.clone()),
        },
    })
}

/// Accounting must run and have read the log, and give this server leases.
fn health(log: &EventLog, accounting: &AccountingHandle, leases: &Arc<LeaseKeeper>, lights: &Arc<Lights>) -> Health {
    let (running, replayed) = (accounting.watch(), accounting.watch());
    let has_read: Look = Box::new(move || {
        let is_reading = !replayed.is_replayed() && !replayed.has_ended();
        if is_reading { Err("reading the log".to_owned()) } else { Ok(()) }
    });
    let healthy = vec![("accounting", goes_on(move || running.has_ended()))];
    let ready = vec![("accounting", has_read), ("leases", gets_leases(leases))];
    Health::new(log.clone(), Arc::clone(lights), healthy, ready)
}

impl Running {
    /// Waits until the process should stop: a signal, or a part that failed. Says which.
    pub async fn until_stopped(&self) -> String {
        until_unhealthy_or_told(&self.health, &self.metrics).await
    }

    /// Drains and ends everything: what was acknowledged is in the books when this returns.
    ///
    /// # Errors
    /// The first thing that failed; everything was ended all the same.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { campaigns, health, server, serving, old_weeks, parts, .. } = self;
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
        old_weeks.stop().await;
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
        let observed = self.observers.end();
        // On a thread that may wait.
        let flush = self.listeners.flush();
        let flushed = tokio::runtime::Handle::current().block_on(flush).context("flushing the listeners");
        let closed = self.accounting.stop().context("ending accounting");
        self.log.close();
        self.campaign_writer.join();
        let rebuilt = joined(self.rebuilding);
        observed.and(rebuilt).and(flushed).and(closed).and(journal_is_whole(&self.log))
    }
}
