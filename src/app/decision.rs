//! The decision and beacon roles of this process, and the threads that see what was drawn and what could have been.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::assets::signer;
use super::system::{joined, spawn};
use super::{Base, Side};
use crate::background;
use crate::caps::strict::Hearing;
use crate::clock::Clock;
use crate::config::{Config, InvalidTrafficConfig};
use crate::http::client::Senders;
use crate::http::player::Player;
use crate::impressions::ListenerSecret;
use crate::impressions::invalid::{ActivityRules, AddressRanges, ListError, RobotList, SenderRules};
use crate::roles::accounting::{ServerReport, Wanted};
use crate::roles::api_keys::LiveKeys;
use crate::roles::beacon::{BeaconRole, BeaconShell};
use crate::roles::decision::{
    DecisionIds, DecisionRole, DecisionShell, Reporter, Sample, Sampler, Supply, Surroundings,
};
use crate::roles::heard::HeardWatch;
use crate::roles::listeners::ListenerAccess;
use crate::store::{self, Listeners};
use crate::tokens::{TokenKey, TokenKeys};

/// Samples that may wait to be evaluated; beyond it they are dropped and counted.
pub(super) const SAMPLES_WAITING: usize = 256;

/// Largest file of a list of invalid traffic, in bytes: a million networks take some 20 MB.
pub(super) const LIST_BYTES_MAX: u64 = 64 << 20;

/// Virtual time between two reports to accounting.
pub(super) const REPORT_EVERY_MS: u64 = 1_000;

/// Shortest real time between two reports, however fast the clock runs.
pub(super) const REPORT_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The threads that see what was drawn and what could have been.
pub(super) struct Observers {
    /// Closing it ends the reporter.
    stop_reporter: SyncSender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Observers {
    /// Ends them.
    pub(super) fn end(self) -> anyhow::Result<()> {
        drop(self.stop_reporter);
        self.threads.into_iter().map(joined).fold(Ok(()), anyhow::Result::and)
    }
}

/// Supply: a sample of breaks is evaluated again on a thread of its own, and `tell` takes reports of it to accounting, with what was drawn. `wanted` says
/// what there is room for, and whether something was lost.
pub(super) fn observe(
    base: &Base<'_>,
    side: &Side,
    wanted: impl Fn() -> Wanted + Send + 'static,
    tell: impl Fn(ServerReport) + Send + 'static,
) -> anyhow::Result<(SyncSender<Sample>, Observers)> {
    let one_in = u64::from(base.config.decision.sample_one_in);
    let (server_id, boot_id) = base.ids();
    let Side { catalog, spending, leases, recent } = side;
    let (samples, to_sample) = sync_channel(SAMPLES_WAITING);
    let supply = Arc::new(Supply::default());
    let sampling = spawn("supply", {
        let (supply, catalog, spending) = (Arc::clone(&supply), Arc::clone(catalog), Arc::clone(spending));
        let (recent, clock) = (Arc::clone(recent), base.clock.clone());
        move || {
            background::give_way();
            supply.run(&to_sample, one_in, (&catalog, &spending), &recent, &clock);
        }
    })?;
    let (stop_reporter, stopped) = sync_channel(0);
    let reporting = spawn("report", {
        let mut reporter = Reporter::new(server_id, boot_id, supply, Arc::clone(spending));
        let (catalog, clock, leases) = (Arc::clone(catalog), base.clock.clone(), Arc::clone(leases));
        move || {
            background::give_way();
            report_until_stopped(&stopped, &clock, || {
                leases.sweep();
                let wanted = match wanted() {
                    Wanted::Changes if leases.take_asked() => Wanted::All,
                    wanted => wanted,
                };
                if let Some(report) = reporter.report(wanted, &catalog.load_full(), clock.now()) {
                    tell(report);
                }
            });
        }
    })?;
    Ok((samples, Observers { stop_reporter, threads: vec![sampling, reporting] }))
}

/// The player's side. `hearing` says whether other servers hear beacons of the same listeners.
pub(super) fn player(
    base: &Base<'_>,
    side: &Side,
    (listeners, samples): (&Arc<Listeners>, SyncSender<Sample>),
    hearing: Hearing,
    api_keys: LiveKeys,
    address: SocketAddr,
) -> anyhow::Result<Player> {
    let Base { config, identity, log, clock, metrics, .. } = base;
    let (server_id, boot_id) = base.ids();
    let sender_rules = Arc::new(sender_rules(&config.invalid_traffic)?);
    let keys = token_keys(identity);
    let listeners = ListenerAccess::new(Arc::clone(listeners));
    let heard = Arc::new(HeardWatch::new(config.decision.heard, metrics.clone()));
    let ack_timeout = Duration::from_millis(config.journal.ack_timeout_ms);
    let activity = ActivityRules::new(config.invalid_traffic.activity);
    let beacon_role = BeaconRole::new(keys.clone(), server_id, boot_id, Arc::clone(&sender_rules), activity);
    let decision_role = DecisionRole::new(Arc::clone(&side.spending), keys, server_id, boot_id).hearing(hearing);
    let surroundings = Surroundings {
        catalog: Arc::clone(&side.catalog),
        log: log.clone(),
        listeners: listeners.clone(),
        heard: Arc::clone(&heard),
        clock: clock.clone(),
        metrics: metrics.clone(),
        decision_ids: DecisionIds::new(base.entropy.bytes()),
        sampler: Sampler::new(u64::from(config.decision.sample_one_in), samples, metrics.clone()),
    };
    Ok(Player {
        senders: Senders::new(config.server.trusted_proxies.clone(), metrics.clone()),
        sender_rules,
        catalog: Arc::clone(&side.catalog),
        decisions: DecisionShell::new(decision_role, surroundings),
        beacons: BeaconShell::new(
            beacon_role,
            log.clone(),
            listeners.clone(),
            heard,
            clock.clone(),
            metrics.clone(),
            ack_timeout,
        ),
        listeners,
        listener_secret: ListenerSecret::new(&identity.listener_secret.0),
        api_keys,
        clock: clock.clone(),
        metrics: metrics.clone(),
        signer: signer(base, address),
        public_url: public_url(config, address),
    })
}

/// What URLs begin with.
pub(super) fn public_url(config: &Config, address: SocketAddr) -> String {
    config.server.public_url.clone().unwrap_or_else(|| format!("http://{address}"))
}

/// The lists of invalid traffic, read from their files.
pub(super) fn sender_rules(config: &InvalidTrafficConfig) -> anyhow::Result<SenderRules> {
    let robots = read_list("invalid_traffic.robots_file", config.robots_file.as_deref(), RobotList::parse)?;
    let data_centres =
        read_list("invalid_traffic.data_centres_file", config.data_centres_file.as_deref(), AddressRanges::parse)?;
    Ok(SenderRules { robots, data_centres })
}

/// A list from its file; the default where there is none.
pub(super) fn read_list<T: Default>(
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

pub(super) fn token_keys(identity: &store::Identity) -> TokenKeys {
    let key = |key: &store::TokenKey| TokenKey::new(u32::from(key.id), &key.secret.0);
    TokenKeys::new(key(&identity.token_key), identity.previous_token_key.as_ref().map(key))
}

/// Reports at once, and again and again until the channel is closed.
pub(super) fn report_until_stopped(stopped: &Receiver<()>, clock: &Clock, mut report: impl FnMut()) {
    let pause = clock.real_duration(REPORT_EVERY_MS).max(REPORT_PAUSE_MIN);
    loop {
        report();
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Virtual time between two reports: the real pause has a least length, in which fast time passes far.
pub(super) fn report_ms(acceleration: u32) -> u64 {
    let pause_ms = u64::try_from(REPORT_PAUSE_MIN.as_millis()).unwrap_or(u64::MAX);
    REPORT_EVERY_MS.max(pause_ms.saturating_mul(u64::from(acceleration)))
}
