//! `segue journal ship`: brings the money journal of a dead server into the log of a stopped one.
//!
//! Both directories are locked while it works. The register knows the orphan's server before the first record is shipped and as closed after the
//! last, so at no moment does the watermark pass over what is still on its way.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::stopped::{self, Stopped};
use super::{ConfigOptions, Exit, Failure, print};
use crate::accounting::{ServerEntry, ServerState};
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::Entropy;
use crate::event_log::{
    CheckpointFile, EmbeddedLog, EmbeddedLogConfig, EventLog, Orphan, OrphanSurvey, Shipped, money_dir, shipped_file,
};
use crate::journal::{Identity, RealDisk, SharedDisk};
use crate::model::{BootId, WallMs};

/// Arguments of `segue journal`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Ship the money journal of a dead server into the log of the configured, stopped one.
    ///
    /// For a server that will not come back: copy its data directory to this machine, or mount its disk, and name it with --dir. Its records
    /// keep what they say; accounting drops by id what it has already seen, so shipping twice costs nothing. How far it got is kept in the
    /// configured data directory: a second run ships nothing, and one after a crash goes on. Afterwards the server is closed in the
    /// register, and its leases close in time. The orphan's directory is not changed.
    ///
    /// Exit status: 0 shipped, 1 shipped and the journal is damaged (what is whole was shipped), 2 wrong usage or configuration, 3 failed.
    Ship(ShipArgs),
}

#[derive(clap::Args, Debug)]
struct ShipArgs {
    /// The dead server's data directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Runs `segue journal`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Ship(args) => ship(args),
    }
}

fn ship(args: &ShipArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    if is_same(&args.dir, &config.data_dir) {
        return Err(Failure::Refused(anyhow!("{} is the configured data directory itself", args.dir.display())));
    }
    let _orphan_lock = stopped::lock(&args.dir)?;
    // The target's journal is locked by opening it; looked at here for the better message.
    drop(stopped::lock(&config.data_dir)?);
    let stopped = Stopped::open(&config.data_dir)?;
    let disk: SharedDisk = Arc::new(RealDisk);
    let orphan = Orphan::new(Arc::clone(&disk), money_dir(&args.dir));
    let survey = orphan.survey().context("reading the orphan's journal")?;
    let server_id = survey.identity.server;
    if server_id == stopped.server_id {
        return Err(Failure::Refused(anyhow!(
            "the journal in {} is of server {server_id}, whose data directory {} is: start that server instead",
            args.dir.display(),
            config.data_dir.display()
        )));
    }
    let before = register(&stopped, &survey)?;
    let file = shipped_file(&config.data_dir, server_id);
    let folder = file.parent().expect("it lies in a folder of its own");
    disk.create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut checkpoint =
        CheckpointFile::open(&RealDisk, &file).with_context(|| format!("opening {}", file.display()))?;
    let segment_bytes = u32::try_from(config.journal.segment_bytes).context("journal.segment_bytes")?;
    let log = open_log(&config, segment_bytes, &stopped, &disk)?;
    let shipped = orphan.ship(survey.end, (&log, segment_bytes), &mut checkpoint).context("shipping the journal")?;
    log.close();
    let entry = ServerEntry { state: ServerState::Closed, ..before.clone() };
    stopped.ledger.put_server(&entry).context("closing the server in the register")?;
    print(&if args.json { json(&survey, shipped, &before)? } else { told(&survey, shipped, &before) })?;
    Ok(if survey.damage.is_empty() { Exit::Ok } else { Exit::Difference })
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The orphan's server in the register. One that is not there is entered as draining: the watermark waits for it until it is closed.
fn register(stopped: &Stopped, survey: &OrphanSurvey) -> anyhow::Result<ServerEntry> {
    let Identity { server, boot } = survey.identity;
    let known = stopped.ledger.servers().context("reading the register of servers")?;
    if let Some(entry) = known.into_iter().find(|entry| entry.server_id == server) {
        return Ok(entry);
    }
    let entry = ServerEntry {
        server_id: server,
        boot_id: boot,
        past_boots: Vec::new(),
        state: ServerState::Draining,
        registered_at: stopped.now,
        heard_at: stopped.now,
        clock_ahead_ms: 0,
        complete_until: WallMs(0),
    };
    stopped.ledger.put_server(&entry).context("entering the server in the register")?;
    Ok(entry)
}

fn open_log(config: &Config, segment_bytes: u32, stopped: &Stopped, disk: &SharedDisk) -> anyhow::Result<EventLog> {
    let boot = BootId::at(stopped.now, Entropy::real().bytes());
    let identity = Identity { server: stopped.server_id, boot };
    let mut settings = EmbeddedLogConfig::new(&config.data_dir, identity);
    settings.money.segment_bytes = segment_bytes;
    settings.money.quota_bytes = config.journal.quota_bytes;
    settings.log.segment_bytes = segment_bytes;
    settings.log.quota_bytes = config.journal.quota_bytes;
    let clock = Clock::real();
    let log = EmbeddedLog::open(&settings, disk, move || clock.now().wall).context("opening the journals")?;
    Ok(EventLog::Embedded(Arc::new(log)))
}

fn told(survey: &OrphanSurvey, shipped: Shipped, before: &ServerEntry) -> String {
    let mut text = format!(
        "server {}: {} records in its money journal, {} shipped now (from {} to {})\n",
        survey.identity.server, survey.records, shipped.records, shipped.from, shipped.until
    );
    for damage in &survey.damage {
        // Writing to a String never fails.
        let _ = writeln!(text, "DAMAGED {damage}");
    }
    if before.state == ServerState::Lost {
        text.push_str("it had been declared lost: what it heard for leases closed since stays unbilled\n");
    }
    text.push_str(
        "it is closed in the register; start the server that does accounting, which applies what was shipped\n",
    );
    text
}

/// What was done, as scripts read it.
#[derive(Serialize)]
struct ShippedJson<'a> {
    server_id: String,
    journal_records: u64,
    shipped_records: u64,
    from: u64,
    until: u64,
    state_before: &'a str,
    damage: &'a [String],
}

fn json(survey: &OrphanSurvey, shipped: Shipped, before: &ServerEntry) -> anyhow::Result<String> {
    let text = serde_json::to_string(&ShippedJson {
        server_id: survey.identity.server.to_string(),
        journal_records: survey.records,
        shipped_records: shipped.records,
        from: shipped.from,
        until: shipped.until,
        state_before: before.state.name(),
        damage: &survey.damage,
    })?;
    Ok(format!("{text}\n"))
}
