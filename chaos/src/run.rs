//! One piece from start to verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tempfile::TempDir;

use crate::Arguments;
use crate::cluster::{ACCOUNTANTS, Cluster, DECIDERS, PROFILERS, SELLERS};
use crate::engines::Engines;
use crate::faults::{Ground, Kind};
use crate::history::{Counts, History};
use crate::judge::{self, Place, Verdict};
use crate::players::Players;
use crate::report::{Check, Report, Row};
use crate::world::Operator;

/// Before anything is broken or counted: leases are granted, caches fill.
const WARM_UP: Duration = Duration::from_secs(12);
/// Between a healing and the next fault.
const BETWEEN: Duration = Duration::from_secs(3);
/// What a fault takes, for the length of a twin.
const FAULT_SECONDS: u64 = 10;
/// Longest that is waited for recovery: what takes longer has failed.
const RECOVERY_MAX: Duration = Duration::from_mins(3);
/// Bounds of recovery: all is as it was, so many seconds after the last healing.
const RECOVERY_S: f64 = 30.0;
const RECOVERY_OF_STORE_S: f64 = 60.0;
/// Longest that players are waited for once they have been told to stop.
const PLAYED_MAX: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// People for each break a second and second of play: each is asked for some twenty.
const BREAKS_A_LISTENER: u64 = 20;
const LISTENERS_MIN: u64 = 200;

/// What stops for minutes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Outage {
    /// Every broker.
    Kafka,
    /// Cassandra.
    Cassandra,
    /// The owners of money, one after the other.
    Accounting,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    Nothing { seconds: u64 },
    Faults { count: u32, is_timed: bool },
    Outage { of: Outage, seconds: u64 },
    Demo { seconds: Option<u64> },
}

/// What is played.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    name: String,
    seed: u64,
    rate: u32,
    plan: Plan,
}

impl Piece {
    /// Nothing breaks.
    pub(crate) fn twin(rate: u32, faults: u32) -> Self {
        let plan = Plan::Nothing { seconds: FAULT_SECONDS * u64::from(faults.max(1)) };
        Self { name: "twin".to_owned(), seed: 1, rate, plan }
    }

    /// Faults by a seed.
    pub(crate) fn faults(seed: u64, rate: u32, count: u32, is_timed: bool) -> Self {
        Self { name: format!("seed {seed}"), seed, rate, plan: Plan::Faults { count, is_timed } }
    }

    /// Minutes without an engine.
    pub(crate) fn outage(of: Outage, seconds: u64, rate: u32) -> Self {
        Self { name: format!("outage of {of:?}"), seed: 1, rate, plan: Plan::Outage { of, seconds } }
    }

    /// To look at.
    pub(crate) fn demo(seconds: Option<u64>, rate: u32) -> Self {
        Self { name: "demo".to_owned(), seed: 1, rate, plan: Plan::Demo { seconds } }
    }

    /// How long it lasts, about.
    fn seconds(&self) -> u64 {
        match self.plan {
            Plan::Nothing { seconds } | Plan::Demo { seconds: Some(seconds) } => seconds,
            Plan::Faults { count, .. } => FAULT_SECONDS * u64::from(count),
            Plan::Outage { seconds, .. } => seconds + 120,
            Plan::Demo { seconds: None } => 600,
        }
    }

    fn listeners(&self) -> u32 {
        let breaks = u64::from(self.rate) * (self.seconds() + WARM_UP.as_secs());
        u32::try_from((breaks / BREAKS_A_LISTENER).max(LISTENERS_MIN)).unwrap_or(u32::MAX)
    }
}

/// The engines, on which one piece is played after the other.
pub(crate) struct Stage {
    engines: Engines,
    program: PathBuf,
    dir: PathBuf,
    client: reqwest::Client,
    // The folder goes with it, after the engines.
    _folder: Option<TempDir>,
}

/// How a piece went while something was broken.
#[derive(Clone, Debug, Default)]
struct Course {
    faults: Vec<Kind>,
    not_here: Vec<Kind>,
    /// Of breaks asked for while things broke, those with a paid ad.
    paid_share: f64,
    /// The same before, in this piece.
    before_share: Option<f64>,
    recovery_s: f64,
    /// Impressions a second that reached the books while they caught up, as a multiple of those that came.
    drain_ratio: Option<f64>,
}

impl Stage {
    /// Starts the engines.
    pub(crate) async fn open(arguments: &Arguments, brokers: usize) -> anyhow::Result<Self> {
        let program = match &arguments.segue {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("where this program is")?.with_file_name("segue"),
        };
        let program = program.canonicalize().with_context(|| format!("no program at {}", program.display()))?;
        let kafka = arguments.kafka_lib.as_deref().context("--kafka-lib is missing: `make chaos` gives it")?;
        let cassandra =
            arguments.cassandra_lib.as_deref().context("--cassandra-lib is missing: `make chaos` gives it")?;
        let folder = if arguments.keep.is_none() { Some(TempDir::new().context("a folder")?) } else { None };
        let dir = match (&arguments.keep, &folder) {
            (Some(keep), _) => {
                std::fs::create_dir_all(keep).context("the folder to keep")?;
                keep.canonicalize().context("the folder to keep")?
            }
            (None, Some(folder)) => folder.path().to_owned(),
            (None, None) => unreachable!("one of the two is there"),
        };
        eprintln!("starting {brokers} brokers and Cassandra in {}", dir.display());
        let project = arguments.project.canonicalize().context("the project's folder")?;
        let engines = Engines::start(&project, [kafka, cassandra], &dir, brokers).await?;
        Ok(Self { engines, program, dir, client: reqwest::Client::new(), _folder: folder })
    }

    /// Plays all of them; whether everything holds.
    pub(crate) async fn play(&mut self, pieces: Vec<Piece>, json: &Path) -> anyhow::Result<bool> {
        let mut report = Report::new();
        let (mut twin, total) = (None, pieces.len());
        for (index, piece) in pieces.into_iter().enumerate() {
            eprintln!("{} ({} of {total})", piece.name, index + 1);
            let (row, checks) = self.piece(&piece, index, twin).await.with_context(|| piece.name.clone())?;
            if matches!(piece.plan, Plan::Nothing { .. }) {
                twin = Some(row.paid_share);
            }
            report.take(row, checks, json)?;
        }
        Ok(report.conclude())
    }

    /// Ends the engines.
    pub(crate) fn close(mut self) {
        self.engines.end();
    }

    async fn piece(&mut self, piece: &Piece, index: usize, twin: Option<f64>) -> anyhow::Result<(Row, Vec<Check>)> {
        let name = format!("chaos{}p{index}s{}", std::process::id(), piece.seed);
        let mut cluster = Cluster::prepare(&self.program, &self.dir.join(&name), &self.engines, &name)?;
        for (name, roles) in [(SELLERS[0], "campaign"), (SELLERS[1], "campaign")] {
            cluster.add(name, roles)?;
            cluster.ready(name, &self.client).await?;
        }
        for name in ACCOUNTANTS {
            cluster.add(name, "accounting")?;
        }
        for name in PROFILERS {
            cluster.add(name, "profile")?;
        }
        for name in DECIDERS {
            cluster.add(name, "decision,beacon")?;
        }
        for name in cluster.names() {
            cluster.ready(&name, &self.client).await?;
        }
        let operator = Operator::new(self.client.clone(), cluster.base(SELLERS[0])?, cluster.operator_key()?);
        let world = operator.make_world().await?;
        let players = Arc::new(Players {
            servers: cluster.deciders()?,
            client: self.client.clone(),
            key: cluster.operator_key()?,
            history: History::default(),
            rate: piece.rate,
            listeners: piece.listeners(),
            seed: piece.seed,
        });
        let rotation = cluster.watch_rotation(&self.client)?;
        let stop = Arc::new(AtomicBool::new(false));
        let playing = tokio::spawn({
            let (players, stop) = (Arc::clone(&players), Arc::clone(&stop));
            async move { players.play(stop).await }
        });
        let mut show = Show { stage: self, cluster: &mut cluster, players: &players, operator: &operator, piece };
        let course = show.perform().await;
        stop.store(true, Ordering::Relaxed);
        let played = tokio::time::timeout(PLAYED_MAX, playing).await;
        played.context("players do not end: beacons that nobody takes")?.context("players")?;
        rotation.abort();
        let course = course?;
        let place = Place {
            brokers: self.engines.bootstrap(),
            name: name.clone(),
            cql: self.engines.cql_directly().to_string(),
        };
        let verdict = judge::judge(&place, &world, &players.history).await?;
        cluster.end();
        let row = Row {
            name: piece.name.clone(),
            seed: piece.seed,
            faults: course.faults.clone(),
            not_here: course.not_here.clone(),
            counts: players.history.counts().into(),
            paid_share: course.paid_share,
            twin_share: course.before_share.or(twin),
            recovery_s: course.recovery_s,
            latency_us: players.history.latency_us(),
            verdict,
            troubles: players.history.troubles(),
        };
        let checks = checks(piece, &course, &row);
        Ok((row, checks))
    }
}

/// A piece while it is played.
struct Show<'s> {
    stage: &'s mut Stage,
    cluster: &'s mut Cluster,
    players: &'s Players,
    operator: &'s Operator,
    piece: &'s Piece,
}

impl Show<'_> {
    async fn perform(&mut self) -> anyhow::Result<Course> {
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
            let mut ground = Ground {
                engines: &mut self.stage.engines,
                cluster: self.cluster,
                client: &self.stage.client,
                draws: &mut draws,
            };
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
        let heard = self.heard();
        for name in self.cluster.names() {
            if !self.cluster.has_ended(&name)? {
                self.cluster.ready(&name, &self.stage.client).await?;
            }
        }
        loop {
            let history = &self.players.history;
            let serve = (0..DECIDERS.len()).all(|server| history.last_seen(server).paid.is_some_and(|at| at > since));
            if since.elapsed() > RECOVERY_MAX || (serve && self.impressions().await >= heard) {
                return Ok(since.elapsed().as_secs_f64());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Impressions acknowledged so far.
    fn heard(&self) -> u64 {
        self.players.history.ads().values().filter(|ad| ad.acknowledged.is_some()).count() as u64
    }

    /// Impressions that reports have; 0 while nobody answers.
    async fn impressions(&self) -> u64 {
        self.operator.impressions().await.unwrap_or(0)
    }

    async fn outage(&mut self, of: Outage, seconds: u64) -> anyhow::Result<Course> {
        tokio::time::sleep(WARM_UP).await;
        let before = self.players.history.counts();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let before_share = self.paid_since(before);
        let (before, all): (Counts, Vec<usize>) =
            (self.players.history.counts(), (0..self.stage.engines.brokers()).collect());
        let duration = Duration::from_secs(seconds);
        match of {
            Outage::Kafka => {
                for broker in &all {
                    self.stage.engines.kill_broker(*broker)?;
                }
                self.wait_through(duration).await;
            }
            Outage::Cassandra => {
                self.stage.engines.freeze_cassandra(true)?;
                self.wait_through(duration).await;
            }
            Outage::Accounting => {
                for name in ACCOUNTANTS {
                    self.cluster.tell_to_end(name)?;
                    self.cluster.ended(name).await?;
                    self.cluster.start(name)?;
                    self.cluster.ready(name, &self.stage.client).await?;
                    self.wait_through(duration / 2).await;
                }
            }
        }
        let paid_share = self.paid_since(before);
        match of {
            Outage::Kafka => self.stage.engines.restart_brokers(&all).await?,
            Outage::Cassandra => self.stage.engines.freeze_cassandra(false)?,
            Outage::Accounting => {}
        }
        let (healed, backlog_from, heard_from) = (Instant::now(), self.impressions().await, self.heard());
        let recovery_s = self.recover(healed).await?;
        let (took, drained) = (healed.elapsed().as_secs_f64(), self.impressions().await.saturating_sub(backlog_from));
        let came = self.heard().saturating_sub(heard_from);
        let drain_ratio = (of == Outage::Kafka && took > 0.0).then(|| share(drained, came.max(1)));
        Ok(Course { paid_share, before_share: Some(before_share), recovery_s, drain_ratio, ..Course::default() })
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
        for name in self.cluster.names() {
            eprintln!("{name:14} {}", self.cluster.base(&name)?);
        }
        eprintln!(
            "impressions    $(examples/python/environment.sh) examples/consume.py --brokers {brokers} --topic {name}.segue.events\n\
             reports        curl -H \"authorization: Bearer {key}\" {seller}/v1/reports\n\
             metrics        curl {decider}/metrics\n\
             Ctrl-C ends it and checks the books.",
            brokers = self.stage.engines.bootstrap(),
            name = self.cluster.name,
            key = self.cluster.operator_key()?,
            seller = self.cluster.base(SELLERS[0])?,
            decider = self.cluster.base(DECIDERS[0])?,
        );
        Ok(())
    }
}

/// Resolves at Ctrl-C or SIGTERM.
pub(crate) async fn told_to_stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What must hold of a piece.
#[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
fn checks(piece: &Piece, course: &Course, row: &Row) -> Vec<Check> {
    let name = |what: &str| format!("{}: {what}", piece.name);
    let Verdict { lost, double, overspend_micros, beyond_budget, beyond_budget_allowed, .. } = row.verdict;
    let zero = |what: &str, value: u64, unit| Check::at_most(name(what), value as f64, 0.0, unit);
    let mut checks = vec![
        zero("lost", lost, "impressions"),
        zero("double", double, "impressions"),
        zero("overspend", overspend_micros.unsigned_abs(), "micros"),
        Check::at_most(name("heard beyond budget"), beyond_budget as f64, beyond_budget_allowed as f64, "impressions"),
        zero("strict caps violated", row.verdict.strict_violations, "listeners"),
        zero("soft caps violated", row.verdict.soft_violations, "listeners"),
        zero("wrong leases", row.verdict.wrong_leases, "leases"),
        zero("wrong entries", row.verdict.wrong_entries, "entries"),
        zero("dead letters", row.verdict.dead_letters, "letters"),
    ];
    let is_of_store = course.faults.iter().any(|kind| kind.is_of_store());
    match piece.plan {
        Plan::Faults { is_timed, .. } => {
            let bound = if is_of_store { RECOVERY_OF_STORE_S } else { RECOVERY_S };
            if is_timed {
                checks.push(Check::at_most(name("recovery"), course.recovery_s, bound, "s"));
            }
            if let Some(twin) = row.twin_share {
                checks.push(Check::at_least(name("paid against the twin"), course.paid_share / twin, 0.9, "share"));
            }
        }
        Plan::Outage { of, .. } => {
            let bound = match of {
                Outage::Kafka | Outage::Cassandra => 0.95,
                Outage::Accounting => 0.99,
            };
            let before = course.before_share.unwrap_or(1.0);
            checks.push(Check::at_least(name("paid against before"), course.paid_share / before, bound, "share"));
            if let Some(ratio) = course.drain_ratio {
                checks.push(Check::at_least(name("drain against what comes"), ratio, 3.0, "times"));
            }
        }
        Plan::Nothing { .. } | Plan::Demo { .. } => {}
    }
    checks
}
