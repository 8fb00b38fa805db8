//! How a piece is played: warm-up, what breaks, recovery.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use crate::cluster::{ACCOUNTANTS, Cluster, DECIDERS};
use crate::distribution::Distribution;
use crate::engines::Engines;
use crate::faults::{Ground, Kind};
use crate::history::Counts;
use crate::piece::{Outage, Piece, Plan, WARM_UP};
use crate::players::Players;
use crate::run::told_to_stop;
use crate::world::Operator;

/// Between a healing and the next fault.
const BETWEEN: Duration = Duration::from_secs(3);
/// Longest that is waited for recovery: what takes longer has failed.
const RECOVERY_MAX: Duration = Duration::from_mins(3);
/// How long it plays on after the warm-up before an engine stops: leases are then those of a server that has run for a while.
const BEFORE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How a piece went while something was broken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// What was broken.
    pub(crate) faults: Vec<Kind>,
    /// What could not be, on this machine.
    pub(crate) not_here: Vec<Kind>,
    /// Of breaks asked for while things broke, those with a paid ad.
    pub(crate) paid_share: f64,
    /// Seconds from the last healing until all is as it was.
    pub(crate) recovery_s: f64,
    /// Impressions a second that reached the books while they caught up, as a multiple of those that came.
    pub(crate) drain_ratio: Option<f64>,
    /// The processor's time within which 99 of 100 decisions were made meanwhile, in seconds.
    pub(crate) decide_cpu_p99: Option<f64>,
}

/// A piece while it is played.
pub(crate) struct Show<'s> {
    /// The engines.
    pub(crate) engines: &'s mut Engines,
    /// To ask who is ready.
    pub(crate) client: &'s reqwest::Client,
    /// Segue's servers.
    pub(crate) cluster: &'s mut Cluster,
    /// Who plays on them.
    pub(crate) players: &'s Players,
    /// Who reads reports.
    pub(crate) operator: &'s Operator,
    /// What is played.
    pub(crate) piece: &'s Piece,
}

impl Show<'_> {
    /// From the warm-up to recovery.
    pub(crate) async fn perform(&mut self) -> anyhow::Result<Course> {
        match self.piece.plan {
            Plan::Nothing { seconds } => {
                tokio::time::sleep(WARM_UP).await;
                let before = self.players.history.counts();
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                let paid_share = self.paid_since(before);
                let recovery_s = self.recover(Instant::now()).await?;
                Ok(Course { paid_share, recovery_s, ..Course::default() })
            }
            Plan::Faults { count, .. } => self.faults(count).await,
            Plan::Outage { of, seconds } => self.outage(of, seconds).await,
            Plan::Demo { seconds } => self.demo(seconds).await,
        }
    }

    fn paid_since(&self, before: Counts) -> f64 {
        let now = self.players.history.counts();
        share(now.paid - before.paid, now.asked - before.asked)
    }

    async fn faults(&mut self, count: u32) -> anyhow::Result<Course> {
        tokio::time::sleep(WARM_UP).await;
        let mut draws = ChaCha8Rng::seed_from_u64(self.piece.seed);
        let (mut course, before) = (Course::default(), self.players.history.counts());
        for kind in Kind::of(self.piece.seed, count) {
            let from = self.players.history.counts();
            let mut ground =
                Ground { engines: self.engines, cluster: self.cluster, client: self.client, draws: &mut draws };
            let was_possible = ground.commit(kind).await.with_context(|| format!("{kind:?}"))?;
            if was_possible {
                course.faults.push(kind);
            } else {
                course.not_here.push(kind);
            }
            tokio::time::sleep(BETWEEN).await;
            eprintln!("  {kind:?}: {:.1} % paid", self.paid_since(from) * 100.0);
        }
        let healed = Instant::now().checked_sub(BETWEEN).unwrap_or_else(Instant::now);
        course.paid_share = self.paid_since(before);
        course.recovery_s = self.recover(healed).await?;
        Ok(course)
    }

    /// Waits until every server is ready, each decision server has answered with a paid ad, and the books have what was heard before that moment.
    /// Returns how long that took, in seconds.
    async fn recover(&mut self, since: Instant) -> anyhow::Result<f64> {
        let heard = self.players.history.counts().heard;
        for name in self.cluster.names() {
            if !self.cluster.has_ended(&name)? {
                self.cluster.ready(&name, self.client).await?;
            }
        }
        loop {
            let history = &self.players.history;
            let serve = (0..DECIDERS.len()).all(|server| history.last_paid(server).is_some_and(|at| at > since));
            if since.elapsed() > RECOVERY_MAX || (serve && self.impressions().await >= heard) {
                return Ok(since.elapsed().as_secs_f64());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Impressions that reports have; 0 while nobody answers.
    async fn impressions(&self) -> u64 {
        self.operator.impressions().await.unwrap_or(0)
    }

    /// An engine stops; of its twin nothing does.
    async fn outage(&mut self, of: Option<Outage>, seconds: u64) -> anyhow::Result<Course> {
        tokio::time::sleep(WARM_UP).await;
        tokio::time::sleep(BEFORE).await;
        let decided = self.decisions().await?;
        let (before, all): (Counts, Vec<usize>) =
            (self.players.history.counts(), (0..self.engines.brokers()).collect());
        let duration = Duration::from_secs(seconds);
        match of {
            Some(Outage::Kafka) => {
                for broker in &all {
                    self.engines.kill_broker(*broker)?;
                }
                self.wait_through(duration).await;
            }
            Some(Outage::Cassandra) => {
                self.engines.freeze_cassandra(true)?;
                self.wait_through(duration).await;
            }
            Some(Outage::Accounting) => {
                for name in ACCOUNTANTS {
                    self.cluster.tell_to_end(name)?;
                    self.cluster.ended(name).await?;
                    self.cluster.start(name)?;
                    self.cluster.ready(name, self.client).await?;
                    self.wait_through(duration / 2).await;
                }
            }
            None => self.wait_through(duration).await,
        }
        let paid_share = self.paid_since(before);
        let decide_cpu_p99 = self.decisions().await?.since(&decided).p99();
        match of {
            Some(Outage::Kafka) => self.engines.restart_brokers(&all).await?,
            Some(Outage::Cassandra) => self.engines.freeze_cassandra(false)?,
            Some(Outage::Accounting) | None => {}
        }
        let (healed, backlog_from, heard_from) =
            (Instant::now(), self.impressions().await, self.players.history.counts().heard);
        let recovery_s = self.recover(healed).await?;
        let (took, drained) = (healed.elapsed().as_secs_f64(), self.impressions().await.saturating_sub(backlog_from));
        let came = self.players.history.counts().heard.saturating_sub(heard_from);
        let drain_ratio = (of == Some(Outage::Kafka) && took > 0.0).then(|| share(drained, came.max(1)));
        Ok(Course { paid_share, recovery_s, drain_ratio, decide_cpu_p99, ..Course::default() })
    }

    /// What the decision servers' decisions took of the processor, until now.
    async fn decisions(&self) -> anyhow::Result<Distribution> {
        let mut all = Distribution::default();
        for server in DECIDERS {
            let url = format!("{}/metrics", self.cluster.base(server)?);
            all.add(&self.client.get(url).send().await?.text().await?, "segue_decision_cpu_seconds");
        }
        Ok(all)
    }

    /// Waits, and says each ten seconds how it goes.
    async fn wait_through(&self, duration: Duration) {
        let from = Instant::now();
        let mut before = self.players.history.counts();
        while from.elapsed() < duration {
            tokio::time::sleep(Duration::from_secs(10).min(duration.saturating_sub(from.elapsed()))).await;
            let now = self.players.history.counts();
            let (asked, paid) = (now.asked - before.asked, now.paid - before.paid);
            eprintln!("  {:4} s  {asked} breaks, {:.1} % paid", from.elapsed().as_secs(), share(paid, asked) * 100.0);
            before = now;
        }
    }

    async fn demo(&mut self, seconds: Option<u64>) -> anyhow::Result<Course> {
        self.welcome()?;
        let from = Instant::now();
        let (mut before, first) = (self.players.history.counts(), self.players.history.counts());
        let until = seconds.map_or(Duration::MAX, Duration::from_secs);
        let told = told_to_stop();
        tokio::pin!(told);
        while from.elapsed() < until {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = &mut told => break,
            }
            let now = self.players.history.counts();
            let (p50, p99) = self.players.history.latency_us();
            eprintln!(
                "{:5} s  {:4} breaks/s, {:3.0} % paid, {:5} beacons/s, p50 {:.1} ms, p99 {:.1} ms; heard {}, billed {}",
                from.elapsed().as_secs(),
                now.answered - before.answered,
                share(now.paid - before.paid, now.asked - before.asked) * 100.0,
                now.acknowledged - before.acknowledged,
                f64::from(p50) / 1_000.0,
                f64::from(p99) / 1_000.0,
                now.heard_paid,
                self.operator.billed().await.unwrap_or(0),
            );
            before = now;
        }
        eprintln!("players stop; the books are checked");
        let paid_share = self.paid_since(first);
        let recovery_s = self.recover(Instant::now()).await?;
        Ok(Course { paid_share, recovery_s, ..Course::default() })
    }

    /// Where to look.
    fn welcome(&self) -> anyhow::Result<()> {
        eprintln!("\nTo look at it from another shell of this folder:\n");
        for name in self.cluster.names() {
            eprintln!("export {}={}", name.to_uppercase().replace('-', "_"), self.cluster.base(&name)?);
        }
        eprintln!(
            "export KEY={key} BROKERS={brokers} TOPICS={name}.\n\n\
             impressions    $(examples/python/environment.sh) examples/consume.py --brokers $BROKERS --topic ${{TOPICS}}segue.events\n\
             reports        curl -H \"authorization: Bearer $KEY\" $CAMPAIGN_1/v1/reports\n\
             metrics        curl $DECIDER_1/metrics\n\
             a change       README.md, \"By hand\"\n\
             Ctrl-C ends it and checks the books.\n",
            key = self.cluster.operator_key()?,
            brokers = self.engines.bootstrap(),
            name = self.cluster.name,
        );
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
