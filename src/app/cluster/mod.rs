//! One of many servers: the same roles as in one process, over an event log in Kafka and state in CQL.
//!
//! Start: data directory (who this server is) → CQL: the schema, and the secrets that all servers share → journals, recovered → Kafka: the topics → what an
//! earlier run had not shipped → the roles → the catalogue, from its feed → HTTP. Nobody is ready before the catalogue is there; what may be away meanwhile
//! says `reaching`. End: not ready → leases
//! given back → HTTP drained → listeners flushed → the journal shipped, and this server's last word said → partitions handed on → the rest.

mod following;
mod reaching;
mod roles;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context as _;

use self::following::{Feed, Taker, follow};
use self::reaching::{KafkaPresence, LateCql, Reached, may_pass, reach_cql, reach_kafka};
use self::roles::{Decider, Seller, account, control, decide, profile, sell};
use super::Base;
use super::accounting::faults;
use super::assets::Files;
use super::looks::{gets_leases, goes_on, has_first_leases, show_counts, show_plays};
use super::system::{bind, joined, journal_is_whole, until_unhealthy_or_told};
use crate::clock::Clock;
use crate::config::{Config, SharedRoles};
use crate::entropy::Entropy;
use crate::event_log::kafka::{KafkaLog, KafkaLogConfig};
use crate::event_log::{EmbeddedLog, EventLog, Shipping, ShippingWatch, Topic, Which};
use crate::http::admin::{Admin, Gauges};
use crate::http::server;
use crate::journal::{Faults, RealDisk, SharedDisk};
use crate::roles::accounting::PartitionsHandle;
use crate::roles::api_keys::{KeyWatch, LiveKeys};
use crate::roles::campaign::CampaignHandle;
use crate::roles::health::{Health, Lights, Look};
use crate::roles::profile::{ProfileHandle, ProfileWatch};
use crate::store::cql::CqlSession;
use crate::store::{Identity, KeyRing, LateListeners, ListenerBackend, Listeners, Store, StoreError};
use crate::telemetry::{Metric, Metrics, RequestIds};

/// How long a stop waits for the journal to be shipped, and for the log to take this server's last word. What is not shipped by then is by the next run.
const SHIP_PATIENCE: Duration = Duration::from_secs(30);

/// A running server of some roles.
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    metrics: Metrics,
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
    presence: KafkaPresence,
    shipping: [Shipping; 2],
    feed: Feed,
    keys: Keys,
    decider: Option<Decider>,
    accounting: Option<PartitionsHandle>,
    profile: Option<ProfileHandle>,
    seller: Option<Seller>,
}

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
    store: Store,
    cql: Cql,
    listeners: Option<ListenerBackend>,
    /// The profile role's own: what it waits for is not what decisions have handed over.
    profiles: Option<ListenerBackend>,
    /// How long Kafka is waited for, in milliseconds, and whether the start goes on without it then.
    kafka_wait: (u64, bool),
}

/// CQL, reached or not yet.
enum Cql {
    Reached(Reached),
    /// Decision and beacon alone: with the identity of before.
    Away {
        why: StoreError,
        identity: Identity,
        listeners: LateListeners,
        runtime: tokio::runtime::Handle,
    },
}

impl Cql {
    fn into_session(self) -> Option<CqlSession> {
        match self {
            Self::Reached(reached) => Some(reached.session),
            Self::Away { .. } => None,
        }
    }
}

/// Starts a server of these roles. Returns once it listens; it is not ready before it has the catalogue (`/readyz` says when).
///
/// # Errors
/// Whatever keeps it from starting, in a line that says what to do; nothing is left running then.
pub async fn start(config: &Config, roles: SharedRoles, clock: Clock, entropy: &Entropy) -> anyhow::Result<Member> {
    let connection = config.cql.as_ref().context("cql.hosts is not set")?;
    let store = Store::open(&config.data_dir, clock.now().wall, entropy)?;
    let kept = store.shared_identity()?;
    let is_decider = roles.decision && !roles.campaign && !roles.accounting && !roles.profile;
    let first_wait_ms = config.server.start_wait_seconds.saturating_mul(1_000);
    let (cql_wait_ms, kafka_wait) = match (&kept, is_decider) {
        (None, _) => (first_wait_ms, (first_wait_ms, false)),
        (Some(_), true) => (0, (0, true)),
        (Some(_), false) => (u64::MAX, (0, true)),
    };
    let reached = reach_cql(connection, store.identity(), cql_wait_ms, (&clock, entropy)).await;
    let (cql, listeners, profiles) = match (reached, kept) {
        (Ok(reached), _) => {
            let listeners = if roles.decision { Some(ListenerBackend::cql(&reached.session).await?) } else { None };
            let profiles = if roles.profile { Some(ListenerBackend::cql(&reached.session).await?) } else { None };
            (Cql::Reached(reached), listeners, profiles)
        }
        (Err(why), Some(identity)) if may_pass(&why) && is_decider => {
            let listeners = LateListeners::new(connection);
            let runtime = tokio::runtime::Handle::current();
            let backend = ListenerBackend::Late(listeners.clone());
            (Cql::Away { why, identity, listeners, runtime }, Some(backend), None)
        }
        (Err(error), _) => return Err(error.into()),
    };
    let opened = Opened { store, cql, listeners, profiles, kafka_wait };
    let (given, entropy) = (config.clone(), entropy.clone());
    // It waits for the disk, for Kafka and for CQL: not on a thread of the runtime.
    let built = tokio::task::spawn_blocking(move || build(&given, roles, clock, &entropy, opened));
    let Built { listener, address, routes, health, parts } = built.await.context("starting")??;
    let metrics = routes.admin.metrics.clone();
    let serving = server::serve(listener, config, routes).context("starting the HTTP server")?;
    Ok(Member { address, metrics, health, server: serving.handle(), serving: tokio::spawn(serving), parts })
}

fn build(
    config: &Config,
    roles: SharedRoles,
    clock: Clock,
    entropy: &Entropy,
    opened: Opened,
) -> anyhow::Result<Built> {
    let Opened { store, cql, listeners, profiles, kafka_wait: (kafka_wait_ms, goes_on_without) } = opened;
    let identity = match &cql {
        Cql::Reached(reached) => reached.identity.clone(),
        Cql::Away { identity, .. } => identity.clone(),
    };
    let faults = faults(config);
    let base = Base::open(config, identity, &faults, clock, entropy)?;
    let EventLog::Embedded(journal) = &base.log;
    let kafka = open_kafka(&base)?;
    let away = reach_kafka(&kafka, kafka_wait_ms, &base.clock)?;
    match &away {
        Some(trouble) if !goes_on_without => return Err(trouble.clone().into()),
        // Both were there: this server is of this network from now on, and starts again without them.
        None if matches!(cql, Cql::Reached(_)) => store.keep_shared_identity(&base.identity)?,
        _ => {}
    }
    let presence = KafkaPresence::start(kafka.clone(), away.as_ref(), (base.clock.clone(), base.metrics.clone()))?;
    let shipping = [ship(&base, journal, Which::Money, &kafka)?, ship(&base, journal, Which::Log, &kafka)?];

    let mut takers: Vec<Taker> = Vec::new();
    let (listener, address) = bind(config)?;
    let files = Files::of_roles(&base, roles, address)?;
    let seller = match &cql {
        Cql::Reached(reached) if roles.campaign => Some(sell(&base, reached.catalog.clone(), &kafka)?),
        _ => None,
    };
    let (campaigns, seller) = seller.unzip();
    let (keys, keeping) = keep_keys(&base, &store, &cql, campaigns.as_ref())?;
    if let Some(campaigns) = campaigns.clone() {
        takers.push(Box::new(move |change| campaigns.apply_feed(change.version, &change.revisions)));
    }
    let decided =
        listeners.map(|listeners| decide(&base, (&kafka, &shipping[0]), listeners, (keys, address), &mut takers));
    let (decider, player) = decided.transpose()?.unzip();
    let session = cql.into_session();
    let owners = own((&base, &kafka, session.as_ref()), roles, profiles, faults, &mut takers)?;
    let (accounting, profile) = (owners.0.as_ref(), owners.1.as_ref());

    let lights = Arc::new(Lights::default());
    let control = control(&base, campaigns.zip(session), (&kafka, files.as_ref()), decider.as_ref());
    let listeners_in_use = decider.as_ref().map(|decider| Arc::clone(&decider.listeners));
    let gauges = gauges(&base, &kafka, &shipping, (listeners_in_use, profile.map(ProfileHandle::watch)));
    let feed = follow(kafka.clone(), Arc::clone(&lights), (base.clock.clone(), base.metrics.clone()), takers)?;
    let mut ready = vec![("kafka", presence.look())];
    if let Keys::Late(late) = &keeping {
        ready.push(("cql", late.look()));
    }
    let health = health(&base, (&lights, ready), (&kafka, &shipping, &feed), (decider.as_ref(), (accounting, profile)));
    let routes = server::Parts {
        player,
        admin: Admin { health: health.clone(), metrics: base.metrics.clone(), gauges },
        files: files.as_ref().and_then(|files| files.served(&base, roles)),
        control,
        request_ids: RequestIds::new(base.boot_id),
        clock: base.clock.clone(),
    };
    let (log, journal, (accounting, profile)) = (base.log.clone(), Arc::clone(journal), owners);
    let parts = Parts {
        lights,
        log,
        journal,
        kafka,
        presence,
        shipping,
        feed,
        keys: keeping,
        decider,
        accounting,
        profile,
        seller,
    };
    Ok(Built { listener, address, routes, health, parts })
}

/// The roles that own partitions; none of them is started without CQL.
fn own(
    (base, kafka, session): (&Base<'_>, &KafkaLog, Option<&CqlSession>),
    roles: SharedRoles,
    profiles: Option<ListenerBackend>,
    faults: Faults,
    takers: &mut Vec<Taker>,
) -> anyhow::Result<(Option<PartitionsHandle>, Option<ProfileHandle>)> {
    let Some(session) = session else { return Ok((None, None)) };
    let accounting = roles.accounting.then(|| account(base, kafka, session, faults, takers)).transpose()?;
    let profile = profiles.map(|store| profile(base, kafka, store, session)).transpose()?;
    Ok((accounting, profile))
}

/// Who keeps the API keys as they are in the store.
enum Keys {
    Watched(KeyWatch),
    Late(LateCql),
}

/// The API keys, and who keeps them as they are in CQL; those of a server that started without it come once it is reached.
fn keep_keys(
    base: &Base<'_>,
    store: &Store,
    cql: &Cql,
    campaigns: Option<&CampaignHandle>,
) -> anyhow::Result<(LiveKeys, Keys)> {
    let secret = base.identity.api_key_secret;
    match cql {
        Cql::Reached(Reached { catalog, .. }) => {
            let keys = match campaigns {
                Some(campaigns) => campaigns.live_keys(),
                None => LiveKeys::open(catalog, secret)?,
            };
            Ok((keys.clone(), Keys::Watched(KeyWatch::start(catalog.clone(), keys))))
        }
        Cql::Away { why, identity, listeners, runtime } => {
            let connection = base.config.cql.clone().context("cql.hosts is not set")?;
            let keys = LiveKeys::new(KeyRing::new(secret));
            let _runtime = runtime.enter();
            let late = LateCql::start(
                connection,
                why,
                (store.identity().clone(), identity.clone()),
                (keys.clone(), listeners.clone()),
                (base.clock.clone(), base.entropy.clone()),
            );
            Ok((keys, Keys::Late(late)))
        }
    }
}

fn open_kafka(base: &Base<'_>) -> anyhow::Result<KafkaLog> {
    let connection = base.config.kafka.clone().context("kafka.brokers is not set")?;
    let (partitions, compression) = (base.config.kafka_partitions, base.config.kafka_compression);
    let clock = base.clock.clone();
    Ok(KafkaLog::begin(KafkaLogConfig { connection, partitions, compression }, move || clock.now().wall)?)
}

fn ship(base: &Base<'_>, journal: &Arc<EmbeddedLog>, which: Which, kafka: &KafkaLog) -> anyhow::Result<Shipping> {
    let disk: SharedDisk = Arc::new(RealDisk);
    let (clock, to) = (base.clock.clone(), (&disk, base.config.data_dir.as_path()));
    Ok(Shipping::start(Arc::clone(journal), which, kafka.clone(), to, move || clock.now())?)
}

fn health(
    base: &Base<'_>,
    (lights, mut ready): (&Arc<Lights>, Vec<(&'static str, Look)>),
    (kafka, shipping, feed): (&KafkaLog, &[Shipping; 2], &Feed),
    (decider, (accounting, profile)): (Option<&Decider>, (Option<&PartitionsHandle>, Option<&ProfileHandle>)),
) -> Health {
    let (log, watches, following) = (kafka.clone(), shipping.each_ref().map(Shipping::watch), feed.ending());
    let mut healthy: Vec<(&'static str, Look)> = vec![
        ("kafka", Box::new(move || log.failure().map_or(Ok(()), Err))),
        ("shipping", goes_on(move || watches.iter().any(ShippingWatch::has_ended))),
        ("catalog", goes_on(move || following.has_ended())),
    ];
    if let Some(watch) = accounting.map(PartitionsHandle::watch) {
        healthy.push(("accounting", goes_on(move || watch.has_ended())));
    }
    if let Some(watch) = profile.map(ProfileHandle::watch) {
        healthy.push(("profile", goes_on(move || watch.has_ended())));
    }
    if let Some(decider) = decider {
        let (leases, partitions) = (&decider.side.leases, base.config.kafka_partitions.of(Topic::Events));
        ready.push(("leases", gets_leases(leases)));
        ready.push(("first_leases", has_first_leases(leases, partitions, lights, base.clock.clone())));
    }
    Health::new(base.log.clone(), Arc::clone(lights), healthy, ready)
}

/// What is read when somebody asks for the metrics.
fn gauges(
    base: &Base<'_>,
    kafka: &KafkaLog,
    [money, log]: &[Shipping; 2],
    (listeners, profile): (Option<Arc<Listeners>>, Option<ProfileWatch>),
) -> Gauges {
    let EventLog::Embedded(journal) = &base.log;
    let (all, clock, journal) = (base.log.clone(), base.clock.clone(), Arc::clone(journal));
    let (kafka, money, log) = (kafka.clone(), money.watch(), log.watch());
    Box::new(move |metrics| {
        show_counts(metrics, &all, listeners.as_deref());
        if let Some(profile) = &profile {
            show_plays(metrics, profile);
        }
        let ends = [journal.money_journal().durable_end(), journal.log_journal().durable_end()];
        for ((which, watch), end) in [(Which::Money, &money), (Which::Log, &log)].into_iter().zip(ends) {
            let (name, kept) = ([which.name()], watch.kept());
            let oldest = if kept < end { journal.stamp(which, kept) } else { None };
            let waits_ms = oldest.map_or(0, |oldest| clock.now().wall.since(oldest));
            metrics.set_labelled(Metric::ShippingLag, &name, end.saturating_sub(kept));
            metrics.set_labelled(Metric::ShippingOldest, &name, u64::try_from(waits_ms).unwrap_or(0));
            metrics.total_labelled(Metric::ShippedRecords, &name, kept);
            metrics.set_labelled(Metric::ShippingRefused, &name, watch.refused());
        }
        metrics.set(Metric::KafkaQueue, kafka.in_flight() as u64);
        metrics.set(Metric::KafkaQueueBytes, kafka.queue_bytes());
        metrics.total(Metric::KafkaRetries, kafka.retries());
    })
}

impl Member {
    /// Waits until the process should stop: a signal, or a part that failed. Says which.
    pub async fn until_stopped(&self) -> String {
        until_unhealthy_or_told(&self.health, &self.metrics).await
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
        if let Some(listeners) = listeners
            && let Err(error) = listeners.flush().await
        {
            // Of this run, and counted as it happened: no reason to call its end a failure.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "listeners were not all written; soft caps may have forgotten some ads");
        }
        let seller = parts.seller.take();
        let ended = tokio::task::spawn_blocking(move || parts.end()).await.context("ending the parts")?;
        if let Some(Seller { writer, publisher }) = seller {
            tokio::task::spawn_blocking(move || writer.join()).await.context("ending the catalogue's writer")?;
            publisher.stop().await;
        }
        served.and(ended)
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
        let Self { log, journal, kafka, presence, shipping, feed, keys, decider, accounting, profile, .. } = self;
        presence.ending();
        let followed = feed.end();
        match keys {
            Keys::Watched(watch) => drop(watch),
            Keys::Late(late) => tokio::runtime::Handle::current().block_on(late.stop()),
        }
        // Writes what is queued, and takes nothing any more: its end is the end of all that this run has received.
        log.close();
        let (mut decided, mut link) = (Ok(()), None);
        if let Some(decider) = decider {
            decided = decider.observers.end().and(joined(decider.rebuilding));
            link = Arc::into_inner(decider.link);
        }
        let [money, of_log] = shipping;
        let end = journal.money_journal().durable_end();
        let mut shipped = Ok(());
        if !money.drain(end, SHIP_PATIENCE, std::thread::sleep) {
            let kept = money.watch().kept();
            shipped = Err(anyhow::anyhow!(
                "records {kept} to {end} of the money journal are not in Kafka yet: start a server on this data.dir again once Kafka answers"
            ));
        } else if let Some(link) = link
            && !money.watch().ends().is_some_and(|ends| link.close(&kafka, ends, SHIP_PATIENCE))
        {
            tracing::warn!(
                "this server's last word is not in Kafka: accounting waits for it until it is back, or declared lost"
            );
        }
        let closed = accounting.map_or(Ok(()), |accounting| accounting.stop().context("ending accounting"));
        let profiled = profile.map_or(Ok(()), |profile| profile.stop().context("ending the profile role"));
        let stopped = money.stop().and(of_log.stop()).context("ending the shipping");
        followed
            .and(presence.end())
            .and(decided)
            .and(shipped)
            .and(closed)
            .and(profiled)
            .and(stopped)
            .and(journal_is_whole(&log))
    }
}
