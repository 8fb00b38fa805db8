//! The roles of a server of many, each put together from its parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::super::accounting::shell_settings;
use super::super::assets::Files;
use super::super::catalogue::publish_to;
use super::super::decision::{Observers, observe, player};
use super::super::{Base, Side};
use super::following::Taker;
use crate::accounting::SETTLE_MARGIN_MS;
use crate::caps::strict::Hearing;
use crate::event_log::kafka::KafkaLog;
use crate::event_log::{Shipping, Topic, partition};
use crate::http::campaigns::CampaignApi;
use crate::http::diagnosis::DiagnosisApi;
use crate::http::live::LiveApi;
use crate::http::player::Player;
use crate::http::reports::ReportsApi;
use crate::http::server;
use crate::http::servers::ServersApi;
use crate::http::verdicts::VerdictsApi;
use crate::impressions::ListenerSecret;
use crate::journal::Faults;
use crate::roles::accounting::{PartitionsHandle, spawn_partitions};
use crate::roles::api_keys::LiveKeys;
use crate::roles::campaign::{self, CampaignHandle, CampaignWriter};
use crate::roles::catalogue_outbox::{self, Publisher, PublisherSettings};
use crate::roles::fleet::{FleetLink, LinkSettings};
use crate::roles::profile::{ProfileHandle, ProfileRole, spawn_profile};
use crate::roles::verdicts::{LogOfMany, Verdicts};
use crate::store::cql::CqlSession;
use crate::store::{
    CqlCatalog, CqlLedger, CqlLedgerPart, LedgerSettings, LedgerStore, ListenerBackend, Listeners, ReadsLedger as _,
};

/// The decision and beacon roles.
pub(super) struct Decider {
    pub(super) side: Side,
    pub(super) listeners: Arc<Listeners>,
    pub(super) link: Arc<FleetLink>,
    pub(super) observers: Observers,
    pub(super) rebuilding: JoinHandle<()>,
}

/// The campaign role.
pub(super) struct Seller {
    pub(super) writer: CampaignWriter,
    pub(super) publisher: Publisher,
}

/// The campaign role: its writer, and the publisher of what it and others commit.
pub(super) fn sell(base: &Base<'_>, catalog: CqlCatalog, kafka: &KafkaLog) -> anyhow::Result<(CampaignHandle, Seller)> {
    let secret = base.identity.api_key_secret;
    campaign::bootstrap(&base.config.data_dir, &catalog, secret, base.clock.now(), &base.entropy)?;
    let (server_id, boot_id) = base.ids();
    let settings = PublisherSettings::new(server_id, boot_id);
    let seen = (base.clock.clone(), base.metrics.clone());
    let (catalog, publisher) = catalogue_outbox::start(catalog, kafka.clone(), settings, seen);
    let (campaigns, writer) = campaign::start(catalog, secret, Box::new(|_| {}))?;
    Ok((campaigns, Seller { writer, publisher }))
}

/// The decision and beacon roles.
pub(super) fn decide(
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
    ));
    let (mut publish, rebuilding) = publish_to(base, &side, |_| {})?;
    takers.push(Box::new(move |change| publish(change.to_change())));
    let (asks, to_accounting) = (Arc::clone(&link), Arc::clone(&link));
    let (samples, observers) = observe(base, &side, move || asks.wanted(), move |report| to_accounting.report(report))?;
    let listeners =
        Arc::new(Listeners::open(listeners, base.config.decision.listener_cache_entries, base.entropy.clone()));
    let player = player(base, &side, (&listeners, samples), Hearing::Some, keys, address)?;
    Ok((Decider { side, listeners, link, observers, rebuilding }, player))
}

/// The accounting role.
pub(super) fn account(
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

/// The profile role.
pub(super) fn profile(
    base: &Base<'_>,
    kafka: &KafkaLog,
    store: ListenerBackend,
    session: &CqlSession,
) -> anyhow::Result<ProfileHandle> {
    let role = ProfileRole::new(ListenerSecret::new(&base.identity.listener_secret.0), base.identity.server_id);
    Ok(spawn_profile(kafka.clone(), store, role, session.runtime().clone(), base.clock.clone())?)
}

/// What advertisers and operators ask for, where something is sold. Of breaks they are told what this server has sampled, if it decides any.
pub(super) fn control(
    base: &Base<'_>,
    sold: Option<(CampaignHandle, CqlSession)>,
    (kafka, files): (&KafkaLog, Option<&Files>),
    decider: Option<&Decider>,
) -> Option<server::Control> {
    let (campaigns, session) = sold?;
    let (clock, metrics) = (base.clock.clone(), base.metrics.clone());
    let parts = base.config.kafka_partitions.of(Topic::Events);
    let ledger = CqlLedger::new(session, parts, partition, &LedgerSettings::default());
    let (register, judged_by, read_by) = (ledger.clone(), ledger.clone(), ledger.clone());
    let servers = ServersApi {
        campaigns: campaigns.clone(),
        register: Arc::new(move || register.servers()),
        metrics: metrics.clone(),
    };
    let seen = (clock.clone(), metrics.clone());
    let diagnosis =
        DiagnosisApi::new(campaigns.clone(), read_by.into(), decider.map(|decider| decider.side.sight()), seen);
    let reports = ReportsApi {
        campaigns: campaigns.clone(),
        ledger: ledger.into(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    let (server_id, boot_id) = base.ids();
    let verdicts = VerdictsApi {
        campaigns: campaigns.clone(),
        verdicts: Verdicts::new(LogOfMany(kafka.clone()), judged_by.into(), server_id, boot_id),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    let assets = files.map(|files| files.taking(base, &campaigns));
    let kept = files.map(|files| files.store.clone());
    let live = LiveApi::new(campaigns.clone(), metrics.clone(), clock.clone());
    let campaigns = CampaignApi { campaigns, clock, entropy: base.entropy.clone(), metrics, assets: kept };
    Some(server::Control { campaigns, reports, diagnosis, servers, verdicts, assets, live })
}
