//! What is broken, and healed again. Each seed has kinds of its own, so that twenty seeds in a row have each kind several times.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataPartition;
use serde::Serialize;

use crate::cluster::{ACCOUNTANTS, Cluster, DECIDERS, EXTRA_ACCOUNTANT, PROFILERS, SELLERS};
use crate::engines::Engines;
use crate::proxy::Way;

/// In which a server sees that its journal has failed, and ends.
const ENDS_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// In which readiness is asked for at least once.
const SEEN_READY: Duration = Duration::from_millis(600);

/// How a thing breaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// SIGKILL of a decision and beacon server, which is started again.
    KillDecider,
    /// SIGKILL of an owner of money.
    KillAccounting,
    /// SIGKILL of an API server.
    KillCampaign,
    /// SIGKILL of a broker.
    KillBroker,
    /// SIGKILL of the broker that leads a partition of the money.
    KillLeader,
    /// SIGKILL of two of three brokers.
    KillTwoBrokers,
    /// SIGSTOP of Cassandra for longer than any timeout.
    FreezeCassandra,
    /// All that passes to and from the engines is late.
    SlowNet,
    /// All connections to the engines are cut, and none is made.
    CutNet,
    /// The disk of a decision server is full.
    DiskFull,
    /// A server's clock is minutes fast, then right again.
    ClockForward,
    /// A server's clock is minutes slow, then right again.
    ClockBack,
    /// One more owner comes and goes.
    Rebalance,
    /// A decision server is told to end while no broker answers.
    ScaleInWithoutKafka,
    /// Every server ends in good order and starts again, one after the other.
    RollingRestart,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 15] = [
        Self::KillDecider,
        Self::KillTwoBrokers,
        Self::FreezeCassandra,
        Self::ClockForward,
        Self::Rebalance,
        Self::KillAccounting,
        Self::CutNet,
        Self::DiskFull,
        Self::KillLeader,
        Self::ScaleInWithoutKafka,
        Self::KillCampaign,
        Self::KillBroker,
        Self::ClockBack,
        Self::SlowNet,
        Self::RollingRestart,
    ];

    /// Those of a seed, in the seed's own order: `count` in a row of the list, which goes on with the next seed.
    pub(crate) fn of(seed: u64, count: u32) -> Vec<Self> {
        let first = usize::try_from(seed.saturating_sub(1) * u64::from(count) % Self::ALL.len() as u64).unwrap_or(0);
        let mut kinds: Vec<Self> = Self::ALL.iter().copied().cycle().skip(first).take(count as usize).collect();
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        for index in (1..kinds.len()).rev() {
            kinds.swap(index, draws.next_u32() as usize % (index + 1));
        }
        kinds
    }

    /// Whether it takes the store away, which may take longer to recover from.
    pub(crate) const fn is_of_store(self) -> bool {
        matches!(self, Self::FreezeCassandra | Self::CutNet | Self::SlowNet)
    }
}

/// What a fault works on.
pub(crate) struct Ground<'g> {
    /// The engines.
    pub(crate) engines: &'g mut Engines,
    /// Segue.
    pub(crate) cluster: &'g mut Cluster,
    /// To ask who is ready.
    pub(crate) client: &'g reqwest::Client,
    /// Where and for how long.
    pub(crate) draws: &'g mut ChaCha8Rng,
}

impl Ground<'_> {
    fn one_of<'n>(&mut self, names: &[&'n str]) -> &'n str {
        names[self.draws.next_u32() as usize % names.len()]
    }

    async fn wait(&mut self, from_ms: u64, to_ms: u64) {
        let ms = from_ms + self.draws.next_u64() % (to_ms - from_ms + 1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Breaks it and heals it. False where it can't be done on this machine.
    pub(crate) async fn commit(&mut self, kind: Kind) -> anyhow::Result<bool> {
        match kind {
            Kind::KillDecider => self.kill(&DECIDERS).await?,
            Kind::KillAccounting => self.kill(&ACCOUNTANTS).await?,
            Kind::KillCampaign => self.kill(&SELLERS).await?,
            Kind::KillBroker => {
                let broker = self.draws.next_u32() as usize % self.engines.brokers();
                self.kill_brokers(&[broker]).await?;
            }
            Kind::KillLeader => {
                let broker = self.leader().await?;
                self.kill_brokers(&[broker]).await?;
            }
            Kind::KillTwoBrokers => {
                let spared = self.draws.next_u32() as usize % self.engines.brokers();
                let others: Vec<usize> = (0..self.engines.brokers()).filter(|index| *index != spared).collect();
                self.kill_brokers(&others).await?;
            }
            Kind::FreezeCassandra => {
                self.engines.freeze_cassandra(true)?;
                self.wait(5_000, 8_000).await;
                self.engines.freeze_cassandra(false)?;
            }
            Kind::SlowNet => self.net(Way::Slow(Duration::from_millis(150))).await,
            Kind::CutNet => self.net(Way::Cut).await,
            Kind::DiskFull => return self.fill_disk().await,
            Kind::ClockForward => self.set_clock(180_000).await?,
            Kind::ClockBack => self.set_clock(-180_000).await?,
            Kind::Rebalance => self.rebalance().await?,
            Kind::ScaleInWithoutKafka => self.scale_in().await?,
            Kind::RollingRestart => self.roll().await?,
        }
        Ok(true)
    }

    async fn kill(&mut self, names: &[&str]) -> anyhow::Result<()> {
        let name = self.one_of(names);
        self.cluster.kill(name)?;
        self.wait(2_000, 5_000).await;
        self.cluster.start(name)
    }

    async fn kill_brokers(&mut self, brokers: &[usize]) -> anyhow::Result<()> {
        for broker in brokers {
            self.engines.kill_broker(*broker)?;
        }
        self.wait(3_000, 6_000).await;
        self.engines.restart_brokers(brokers).await
    }

    async fn net(&mut self, way: Way) {
        self.engines.set_net(way);
        self.wait(4_000, 7_000).await;
        self.engines.set_net(Way::Open);
    }

    async fn fill_disk(&mut self) -> anyhow::Result<bool> {
        let name = self.one_of(&DECIDERS);
        let Some(filler) = self.cluster.fill_disk(name)? else { return Ok(false) };
        self.wait(4_000, 6_000).await;
        std::fs::remove_file(filler).context("making room on a disk")?;
        // It may have ended, or be about to: what can't be kept is not acknowledged.
        let until = Instant::now() + ENDS_WITHIN;
        while Instant::now() < until {
            if self.cluster.has_ended(name)? {
                self.cluster.start(name)?;
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    async fn set_clock(&mut self, by_ms: i64) -> anyhow::Result<()> {
        let name = self.one_of(&[DECIDERS[0], DECIDERS[1], ACCOUNTANTS[0], ACCOUNTANTS[1]]);
        self.cluster.set_clock(name, by_ms)?;
        self.wait(4_000, 7_000).await;
        self.cluster.set_clock(name, 0)
    }

    async fn rebalance(&mut self) -> anyhow::Result<()> {
        if self.cluster.names().iter().any(|name| name == EXTRA_ACCOUNTANT) {
            self.cluster.start(EXTRA_ACCOUNTANT)?;
        } else {
            self.cluster.add(EXTRA_ACCOUNTANT, "accounting")?;
        }
        self.cluster.ready(EXTRA_ACCOUNTANT, self.client).await?;
        self.wait(3_000, 5_000).await;
        self.cluster.tell_to_end(EXTRA_ACCOUNTANT)?;
        self.cluster.ended(EXTRA_ACCOUNTANT).await
    }

    async fn scale_in(&mut self) -> anyhow::Result<()> {
        let name = self.one_of(&DECIDERS);
        self.engines.freeze_kafka(true)?;
        self.wait(1_000, 2_000).await;
        self.cluster.tell_to_end(name)?;
        self.wait(3_000, 5_000).await;
        self.engines.freeze_kafka(false)?;
        self.cluster.ended(name).await?;
        self.cluster.start(name)
    }

    async fn roll(&mut self) -> anyhow::Result<()> {
        for name in SELLERS.iter().chain(&ACCOUNTANTS).chain(&PROFILERS).chain(&DECIDERS) {
            self.cluster.tell_to_end(name)?;
            self.cluster.ended(name).await?;
            self.cluster.start(name)?;
            self.cluster.ready(name, self.client).await?;
            // Whoever spreads load has to see it too, before the next one goes.
            tokio::time::sleep(SEEN_READY).await;
        }
        Ok(())
    }

    /// The broker that leads the first partition of the money.
    async fn leader(&self) -> anyhow::Result<usize> {
        let (brokers, topic) = (self.cluster.brokers.clone(), format!("{}.segue.events", self.cluster.name));
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
            let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10))?;
            let partition =
                metadata.topics().first().and_then(|topic| topic.partitions().first().map(MetadataPartition::leader));
            anyhow::Ok(partition)
        });
        let leader = asked.await.context("asking for a leader")??.context("the topic has no partition")?;
        usize::try_from(leader - 1).context("the partition has no leader")
    }
}
