//! One piece from start to verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use segue_figures::Check;
use tempfile::TempDir;

use crate::Arguments;
use crate::cluster::{ACCOUNTANTS, Cluster, DECIDERS, PROFILERS, SELLERS};
use crate::engines::Engines;
use crate::history::History;
use crate::judge::{self, Place};
use crate::piece::{Piece, Plan, checks};
use crate::players::Players;
use crate::report::{Report, Row, Twin};
use crate::show::Show;
use crate::world::Operator;

/// Longest that players are waited for once they have been told to stop.
const PLAYED_MAX: Duration = Duration::from_mins(2);

/// The engines, on which one piece is played after the other.
pub(crate) struct Stage {
    engines: Engines,
    program: PathBuf,
    dir: PathBuf,
    client: reqwest::Client,
    // The folder goes with it, after the engines.
    _folder: Option<TempDir>,
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
            if piece.is_twin() {
                twin = Some(Twin { paid_share: row.paid_share, decide_cpu_p99: row.decide_cpu_p99 });
            }
            report.take(row, checks, json)?;
        }
        Ok(report.conclude())
    }

    /// Ends the engines.
    pub(crate) fn close(mut self) {
        self.engines.end();
    }

    /// Two servers of each role, ready; the first of the campaign role makes the network.
    async fn start_servers(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        for name in SELLERS {
            cluster.add(name, "campaign")?;
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
        Ok(())
    }

    async fn piece(&mut self, piece: &Piece, index: usize, twin: Option<Twin>) -> anyhow::Result<(Row, Vec<Check>)> {
        let name = format!("chaos{}p{index}s{}", std::process::id(), piece.seed);
        // What is heard in ten minutes without Kafka needs room.
        let has_small_disks = matches!(piece.plan, Plan::Faults { .. });
        let mut cluster =
            Cluster::prepare(&self.program, &self.dir.join(&name), &self.engines, &name, has_small_disks)?;
        self.start_servers(&mut cluster).await?;
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
        let mut show = Show {
            engines: &mut self.engines,
            client: &self.client,
            cluster: &mut cluster,
            players: &players,
            operator: &operator,
            piece,
        };
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
            decide_cpu_p99: course.decide_cpu_p99,
            twin,
            recovery_s: course.recovery_s,
            latency_us: players.history.latency_us(),
            verdict,
            troubles: players.history.troubles(),
        };
        let checks = checks(piece, &course, &row);
        Ok((row, checks))
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
