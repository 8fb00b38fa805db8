//! One of many servers: the same roles as in one process, over an event log in Kafka and state in CQL.
//!
//! Start: data directory (who this server is) → journals, recovered → CQL: the schema, and the secrets that all servers share → Kafka: the topics → what an
//! earlier run had not shipped → the roles → the catalogue, from its feed → HTTP. Nobody is ready before the catalogue is there. End: not ready → leases
//! given back → HTTP drained → listeners flushed → the journal shipped, and this server's last word said → partitions handed on → the rest.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context as _;

use super::accounting::{faults, shell_settings};
use super::catalogue::publish_to;
use super::decision::{Observers, observe, player};
use super::system::{bind, spawn, until_unhealthy_or_told};
use super::{Base, Side};
use crate::accounting::SETTLE_MARGIN_MS;
use crate::caps::strict::Hearing;
use crate::clock::Clock;
use crate::config::{Config, SharedRoles};
use crate::entropy::Entropy;
use crate::event_log::kafka::{KafkaLog, KafkaLogConfig};
use crate::event_log::{EmbeddedLog, EventLog, Shipping, ShippingWatch, Topic, Which, partition};
use crate::http::admin::{Admin, Gauges};
use crate::http::campaigns::CampaignApi;
use crate::http::player::Player;
use crate::http::reports::ReportsApi;
use crate::http::server;
use crate::http::servers::ServersApi;
use crate::journal::{Faults, RealDisk, SharedDisk};
use crate::roles::accounting::{PartitionsHandle, spawn_partitions};
use crate::roles::api_keys::{KeyWatch, LiveKeys, shared_secret};
use crate::roles::campaign::{self, CampaignHandle, CampaignWriter};
use crate::roles::catalogue_feed::{CatalogueFeed, FeedChange};
use crate::roles::catalogue_outbox::{self, Publisher, PublisherSettings};
use crate::roles::fleet::{FleetLink, LinkSettings};
use crate::roles::health::{Health, Lights, Look};
use crate::store::cql::CqlSession;
use crate::store::{
    CatalogStore as _, CqlCatalog, CqlLedger, CqlLedgerPart, Identity, LedgerSettings, LedgerStore, ListenerBackend,
    Listeners, Secret, Store, TokenKey,
};
use crate::telemetry::{Metric, Metrics, RequestIds};

/// How long one read of the catalogue's feed waits.
const FEED_WAIT: Duration = Duration::from_millis(100);
/// Pause before the feed is tried again.
const FEED_RETRY: Duration = Duration::from_millis(500);
/// How long a stop waits for the journal to be shipped, and for the log to take this server's last word. What is not shipped by then is by the next run.
const SHIP_PATIENCE: Duration = Duration::from_secs(30);

/// A running server of some roles.
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    health: Health,
    server: ServerHandle,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    parts: Parts,
}

/// What ends after the HTTP server.
struct Parts {
    lights: Arc<Lights>,
    log: EventLog,
    journal: Arc<EmbeddedLog>,
    kafka: KafkaLog,
    shipping: [Shipping; 2],
    feed: Feed,
    keys: KeyWatch,
    decider: Option<Decider>,
    accounting: Option<PartitionsHandle>,
    seller: Option<Seller>,
}

/// The decision and beacon roles.
struct Decider {
    side: Side,
    listeners: Arc<Listeners>,
    link: Arc<FleetLink>,
    observers: Observers,
    rebuilding: JoinHandle<()>,
}

/// The campaign role.
struct Seller {
    writer: CampaignWriter,
    publisher: Publisher,
}

/// The thread that follows the catalogue.
struct Feed {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Takes each change of the catalogue.
type Taker = Box<dyn FnMut(&FeedChange) + Send>;

/// All that is made before HTTP begins.
struct Built {
    listener: TcpListener,
    address: SocketAddr,
    routes: server::Parts,
    health: Health,
    parts: Parts,
}

/// What has to be opened before: it lives on the runtime.
struct Opened {
    session: CqlSession,
    catalog: CqlCatalog,
    listeners: Option<ListenerBackend>,
}

/// Starts a server of these roles. Returns once it listens; it is not ready before it has the catalogue (`/readyz` says when).
///
/// # Errors
/// Whatever keeps it from starting, in a line that says what to do; nothing is left running then.
pub async fn start(config: &Config, roles: SharedRoles, clock: Clock, entropy: &Entropy) -> anyhow::Result<Member> {
    let session = CqlSession::open(config.cql.as_ref().context("cql.hosts is not set")?).await?;
    let catalog = CqlCatalog::open(session.clone(), entropy.clone()).await?;
    let listeners = if roles.decision { Some(ListenerBackend::cql(&session).await?) } else { None };
    let opened = Opened { session, catalog, listeners };
    let (given, entropy) = (config.clone(), entropy.clone());
    // It waits for the disk, for Kafka and for CQL: not on a thread of the runtime.
    let built = tokio::task::spawn_blocking(move || build(&given, roles, clock, &entropy, opened));
    let Built { listener, address, routes, health, parts } = built.await.context("starting")??;
    let serving = server::serve(listener, config, routes).context("starting the HTTP server")?;
    Ok(Member { address, health, server: serving.handle(), serving: tokio::spawn(serving), parts })
}

fn build(
    config: &Config,
    roles: SharedRoles,
    clock: Clock,
    entropy: &Entropy,
    opened: Opened,
) -> anyhow::Result<Built> {
    let Opened { session, catalog, listeners } = opened;
    let store = Store::open(&config.data_dir, clock.now().wall, entropy)?;
    let identity = shared_identity(store.identity(), &catalog)?;
    let faults = faults(config);
    let base = Base::open(config, identity, &faults, clock, entropy)?;
    let EventLog::Embedded(journal) = &base.log;
    let kafka = open_kafka(&base)?;
    let shipping = [ship(&base, journal, Which::Money, &kafka)?, ship(&base, journal, Which::Log, &kafka)?];

    let mut takers: Vec<Taker> = Vec::new();
    let (listener, address) = bind(config)?;
    let seller = roles.campaign.then(|| sell(&base, catalog.clone(), &kafka)).transpose()?;
    let keys = match &seller {
        Some((campaigns, _)) => campaigns.live_keys(),
        None => LiveKeys::open(&catalog, base.identity.api_key_secret)?,
    };
    let (campaigns, seller) = seller.unzip();
    if let Some(campaigns) = campaigns.clone() {
        takers.push(Box::new(move |change| campaigns.apply_feed(change.version, &change.revisions)));
    }
    let watch = KeyWatch::start(catalog, keys.clone());
    let decided =
        listeners.map(|listeners| decide(&base, (&kafka, &shipping[0]), listeners, (keys, address), &mut takers));
    let (decider, player) = decided.transpose()?.unzip();
    let accounting = roles.accounting.then(|| account(&base, &kafka, &session, faults, &mut takers)).transpose()?;

    let lights = Arc::new(Lights::default());
    let health = health(&base, &lights, &kafka, &shipping, (decider.as_ref(), accounting.as_ref()));
    let control = campaigns.map(|campaigns| control(&base, campaigns, session, accounting.as_ref()));
    let gauges = gauges(journal, &kafka, &shipping);
    let feed = follow(kafka.clone(), Arc::clone(&lights), base.metrics.clone(), takers)?;
    let routes = server::Parts {
        player,
        admin: Admin { health: health.clone(), metrics: base.metrics.clone(), gauges },
        control,
        request_ids: RequestIds::new(base.boot_id),
        clock: base.clock.clone(),
    };
    let (log, journal) = (base.log.clone(), Arc::clone(journal));
    let parts = Parts { lights, log, journal, kafka, shipping, feed, keys: watch, decider, accounting, seller };
    Ok(Built { listener, address, routes, health, parts })
}

/// This server's id, and the secrets of the first that came: a token that one sealed every other opens.
fn shared_identity(own: &Identity, catalog: &CqlCatalog) -> anyhow::Result<Identity> {
    let agreed = |name: &'static str, own: Secret| -> anyhow::Result<Secret> {
        let secret = catalog.agree(name, &own.0)?;
        let secret = secret.try_into().map_err(|_| anyhow::anyhow!("{name} in CQL has no 32 bytes"))?;
        Ok(Secret(secret))
    };
    Ok(Identity {
        api_key_secret: shared_secret(catalog, own.api_key_secret)?,
        listener_secret: agreed("listener_secret", own.listener_secret)?,
        token_key: TokenKey { id: 0, secret: agreed("token_key", own.token_key.secret)? },
        previous_token_key: None,
        ..own.clone()
    })
}

fn open_kafka(base: &Base<'_>) -> anyhow::Result<KafkaLog> {
    let connection = base.config.kafka.clone().context("kafka.brokers is not set")?;
    let (partitions, compression) = (base.config.kafka_partitions, base.config.kafka_compression);
    let clock = base.clock.clone();
    Ok(KafkaLog::open(KafkaLogConfig { connection, partitions, compression }, move || clock.now().wall)?)
}

fn ship(base: &Base<'_>, journal: &Arc<EmbeddedLog>, which: Which, kafka: &KafkaLog) -> anyhow::Result<Shipping> {
    let disk: SharedDisk = Arc::new(RealDisk);
    let (clock, to) = (base.clock.clone(), (&disk, base.config.data_dir.as_path()));
    Ok(Shipping::start(Arc::clone(journal), which, kafka.clone(), to, move || clock.now())?)
}

/// The campaign role: its writer, and the publisher of what it and others commit.
fn sell(base: &Base<'_>, catalog: CqlCatalog, kafka: &KafkaLog) -> anyhow::Result<(CampaignHandle, Seller)> {
    let secret = base.identity.api_key_secret;
    campaign::bootstrap(&base.config.data_dir, &catalog, secret, base.clock.now(), &base.entropy)?;
    let (server_id, boot_id) = base.ids();
    let (catalog, publisher) =
        catalogue_outbox::start(catalog, kafka.clone(), PublisherSettings::new(server_id, boot_id));
    let (campaigns, writer) = campaign::start(catalog, secret, Box::new(|_| {}))?;
    Ok((campaigns, Seller { writer, publisher }))
}

/// The decision and beacon roles.
fn decide(
    base: &Base<'_>,
    (kafka, money): (&KafkaLog, &Shipping),
    listeners: ListenerBackend,
    (keys, address): (LiveKeys, SocketAddr),
    takers: &mut Vec<Taker>,
) -> anyhow::Result<(Decider, Player)> {
    let side = Side::new(base);
    let (server_id, boot_id) = base.ids();
    let settle_margin_ms = SETTLE_MARGIN_MS.saturating_mul(i64::from(base.config.clock_acceleration));
    let (log, keeper) = (base.log.clone(), Arc::clone(&side.leases));
    let link = Arc::new(FleetLink::start(
        kafka.clone(),
        LinkSettings { server_id, boot_id, settle_margin_ms },
        (move || log.durable_end(Topic::Events), money.watch()),
        base.clock.clone(),
        move |partition, message| keeper.deliver(partition, message),
    )?);
    let (mut publish, rebuilding) = publish_to(base, &side, |_| {})?;
    takers.push(Box::new(move |change| publish(change.to_change())));
    let to_accounting = Arc::clone(&link);
    let (samples, observers) = observe(base, &side, move |report| to_accounting.report(report))?;
    let listeners =
        Arc::new(Listeners::open(listeners, base.config.decision.listener_cache_entries, base.entropy.clone()));
    let player = player(base, &side, (&listeners, samples), Hearing::Some, keys, address)?;
    Ok((Decider { side, listeners, link, observers, rebuilding }, player))
}

/// The accounting role.
fn account(
    base: &Base<'_>,
    kafka: &KafkaLog,
    session: &CqlSession,
    faults: Faults,
    takers: &mut Vec<Taker>,
) -> anyhow::Result<PartitionsHandle> {
    let (session, clock, entropy) = (session.clone(), base.clock.clone(), base.entropy.clone());
    let settings = LedgerSettings::default();
    let open = move |part| {
        let part = CqlLedgerPart::new(session.clone(), part, &settings, clock.clone(), entropy.clone());
        Ok(LedgerStore::from(part))
    };
    let shell = shell_settings(base.config, base.ids(), faults);
    let handle = spawn_partitions(kafka.clone(), Box::new(open), shell, base.clock.clone(), base.metrics.clone())?;
    let changes = handle.changes();
    takers.push(Box::new(move |change| {
        // An accounting that has ended is seen by the health check.
        let _ = changes.send(change.to_change().entities);
    }));
    Ok(handle)
}

/// What advertisers and operators ask for. Verdicts are not here: they search the log, which is not on this machine.
fn control(
    base: &Base<'_>,
    campaigns: CampaignHandle,
    session: CqlSession,
    accounting: Option<&PartitionsHandle>,
) -> server::Control {
    let (clock, metrics) = (base.clock.clone(), base.metrics.clone());
    let parts = base.config.kafka_partitions.of(Topic::Events);
    let ledger = CqlLedger::new(session, parts, partition, &LedgerSettings::default());
    let servers = accounting.map(|accounting| {
        let watch = accounting.watch();
        ServersApi {
            campaigns: campaigns.clone(),
            register: Arc::new(move || watch.servers()),
            metrics: metrics.clone(),
        }
    });
    let reports = ReportsApi {
        campaigns: campaigns.clone(),
        ledger: ledger.into(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    let campaigns = CampaignApi { campaigns, clock, entropy: base.entropy.clone(), metrics };
    server::Control { campaigns, reports, servers, verdicts: None }
}

fn health(
    base: &Base<'_>,
    lights: &Arc<Lights>,
    kafka: &KafkaLog,
    shipping: &[Shipping; 2],
    (decider, accounting): (Option<&Decider>, Option<&PartitionsHandle>),
) -> Health {
    let (log, watches) = (kafka.clone(), shipping.each_ref().map(Shipping::watch));
    let mut healthy: Vec<(&'static str, Look)> = vec![
        ("kafka", Box::new(move || log.failure().map_or(Ok(()), Err))),
        (
            "shipping",
            Box::new(move || {
                let ended = watches.iter().any(ShippingWatch::has_ended);
                if ended { Err("ended".to_owned()) } else { Ok(()) }
            }),
        ),
    ];
    if let Some(watch) = accounting.map(PartitionsHandle::watch) {
        healthy
            .push(("accounting", Box::new(move || if watch.has_ended() { Err("ended".to_owned()) } else { Ok(()) })));
    }
    let mut ready: Vec<(&'static str, Look)> = Vec::new();
    if let Some(decider) = decider {
        let keeper = Arc::clone(&decider.side.leases);
        ready.push(("leases", Box::new(move || keeper.refused().map_or(Ok(()), |refusal| Err(refusal.to_string())))));
    }
    Health::new(base.log.clone(), Arc::clone(lights), healthy, ready)
}

/// What is read when somebody asks for the metrics.
fn gauges(journal: &Arc<EmbeddedLog>, kafka: &KafkaLog, [money, log]: &[Shipping; 2]) -> Gauges {
    let (journal, kafka, money, log) = (Arc::clone(journal), kafka.clone(), money.watch(), log.watch());
    Box::new(move |metrics| {
        let ends = [journal.money_journal().durable_end(), journal.log_journal().durable_end()];
        for ((which, watch), end) in [(Which::Money, &money), (Which::Log, &log)].into_iter().zip(ends) {
            metrics.set_labelled(Metric::ShippingLag, &[which.name()], end.saturating_sub(watch.kept()));
            metrics.set_labelled(Metric::ShippingRefused, &[which.name()], watch.refused());
        }
        metrics.set(Metric::KafkaQueue, kafka.in_flight() as u64);
    })
}

/// Follows the catalogue: all of it first, then each change.
fn follow(kafka: KafkaLog, lights: Arc<Lights>, metrics: Metrics, mut takers: Vec<Taker>) -> anyhow::Result<Feed> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let thread = spawn("catalog-feed", move || {
        let goes_on = || !told.load(Ordering::Acquire);
        let mut take = |change: &FeedChange| {
            for taker in &mut takers {
                taker(change);
            }
            metrics.set(Metric::CatalogVersion, change.version);
            // A feed that holds nothing yet is of a network that nobody has made.
            lights.catalog.store(true, Ordering::Release);
        };
        let mut feed = loop {
            match CatalogueFeed::open(&kafka, goes_on) {
                Ok(Some((feed, whole))) => {
                    if whole.version > 0 {
                        take(&whole);
                    }
                    break feed;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the catalogue can't be read for now");
                    std::thread::sleep(FEED_RETRY);
                }
            }
        };
        while goes_on() {
            match feed.next(FEED_WAIT) {
                Ok(Some(change)) => take(&change),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "changes of the catalogue can't be read for now");
                    std::thread::sleep(FEED_RETRY);
                }
            }
        }
    })?;
    Ok(Feed { stop, thread })
}

impl Member {
    /// Waits until the process should stop: a signal, or a part that failed. Says which.
    pub async fn until_stopped(&self) -> String {
        until_unhealthy_or_told(&self.health).await
    }

    /// Drains and ends everything: what was acknowledged is in the log that servers share when this returns without an error.
    ///
    /// # Errors
    /// The first thing that failed; everything was ended all the same.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { health, server, serving, parts, .. } = self;
        parts.lights.draining.store(true, Ordering::Relaxed);
        // Paid draws stop first: from here on the HTTP server answers with the network's own ads.
        let parts = tokio::task::spawn_blocking(move || {
            parts.give_leases_back();
            parts
        });
        let mut parts = parts.await.context("giving the leases back")?;
        server.stop(true).await;
        let served = serving.await.context("the HTTP server's task")?.context("the HTTP server");
        drop(health);
        let listeners = parts.decider.as_ref().map(|decider| Arc::clone(&decider.listeners));
        let flushed = match listeners {
            Some(listeners) => listeners.flush().await.context("flushing the listeners"),
            None => Ok(()),
        };
        let seller = parts.seller.take();
        let ended = tokio::task::spawn_blocking(move || parts.end()).await.context("ending the parts")?;
        if let Some(Seller { writer, publisher }) = seller {
            tokio::task::spawn_blocking(move || writer.join()).await.context("ending the catalogue's writer")?;
            publisher.stop().await;
        }
        served.and(flushed).and(ended)
    }
}

impl Parts {
    /// No more leases, and those that there are go back.
    fn give_leases_back(&self) {
        let Some(decider) = &self.decider else { return };
        decider.link.drain();
        if let Err(error) = decider.side.leases.drain() {
            tracing::warn!(%error, "leases were not given back; their money returns when they are closed");
        }
    }

    /// Ends the parts, in the order in which they depend on each other.
    fn end(self) -> anyhow::Result<()> {
        let Self { log, journal, kafka, shipping, feed, keys, decider, accounting, .. } = self;
        let mut result = Ok(());
        feed.stop.store(true, Ordering::Release);
        result = result.and(joined(feed.thread));
        drop(keys);
        // Writes what is queued, and takes nothing any more: its end is the end of all that this run has received.
        log.close();
        let link = decider.map(|decider| {
            drop(decider.observers.stop_reporter);
            let threads = decider.observers.threads.into_iter().chain([decider.rebuilding]);
            threads.for_each(|thread| result = std::mem::replace(&mut result, Ok(())).and(joined(thread)));
            decider.link
        });
        let [money, of_log] = shipping;
        let end = journal.money_journal().durable_end();
        if !money.drain(end, SHIP_PATIENCE, std::thread::sleep) {
            let (kept, dir) = (money.watch().kept(), "data.dir");
            result = result.and(Err(anyhow::anyhow!(
                "records {kept} to {end} of the money journal are not in Kafka yet: start a server on this {dir} again once Kafka answers"
            )));
        } else if let Some(link) = link.and_then(Arc::into_inner)
            && !link.close(&kafka, money.watch().ends(), SHIP_PATIENCE)
        {
            tracing::warn!(
                "this server's last word is not in Kafka: accounting waits for it until it is back, or declared lost"
            );
        }
        let closed = accounting.map_or(Ok(()), |accounting| accounting.stop().context("ending accounting"));
        let stopped = money.stop().and(of_log.stop()).context("ending the shipping");
        let failure = match log.health().money.failure {
            Some(failure) => Err(anyhow::Error::new(failure).context("the money journal")),
            None => Ok(()),
        };
        result.and(closed).and(stopped).and(failure)
    }
}

fn joined(thread: JoinHandle<()>) -> anyhow::Result<()> {
    let name = thread.thread().name().unwrap_or("a thread").to_owned();
    thread.join().map_err(|_| anyhow::anyhow!("{name} ended in a panic"))
}
