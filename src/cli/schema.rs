//! `segue schema`: the tables in CQL.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::{ApplyOptions, Exit, Failure, print};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::cql::schema::{self, Fate, SchemaVersion};
use crate::store::cql::{CqlConnection, CqlTrouble};

/// Arguments of `segue schema`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Bring the keyspace to the schema that this program knows, and make it if it is missing.
    ///
    /// Each version only adds, so that servers of the version before go on. Safe to run twice, and by two at once: one waits for the other. Exit
    /// status: 0 the schema is as it should be, 1 with --dry-run: versions are missing, 2 the keyspace is of a newer program, or what was applied
    /// reads differently now, 3 CQL can't be reached or refuses.
    Apply(ApplyOptions),
}

/// Runs `segue schema`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Apply(args) => apply(args),
    }
}

fn apply(args: &ApplyOptions) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let connection = config.cql.ok_or_else(|| {
        Failure::Refused(anyhow!("cql.hosts is not set: say where CQL is, such as --set cql.hosts=localhost:9042"))
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("making a runtime")?;
    let fates = runtime.block_on(fates(&connection, args.dry_run)).map_err(failure)?;
    let report = Report::of(&connection, &fates, args.dry_run);
    print(&if args.json { report.json()? } else { report.lines() })?;
    let is_done = fates.iter().all(|(_, fate)| *fate != Fate::Missing);
    Ok(if is_done { Exit::Ok } else { Exit::Difference })
}

async fn fates(connection: &CqlConnection, dry_run: bool) -> Result<Vec<(SchemaVersion, Fate)>, CqlTrouble> {
    if dry_run {
        return schema::survey(connection).await;
    }
    // So that no other run takes this one's lock for its own.
    let holder = uuid::Uuid::from_bytes(Entropy::real().bytes()).to_string();
    schema::apply(connection, &holder, Clock::real().now().wall).await
}

fn failure(trouble: CqlTrouble) -> Failure {
    match trouble {
        CqlTrouble::Newer { .. } | CqlTrouble::Changed { .. } | CqlTrouble::File { .. } => {
            Failure::Refused(trouble.into())
        }
        other => Failure::Running(other.into()),
    }
}

/// What was found and done.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    keyspace: String,
    versions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    version: i32,
    name: &'static str,
    /// `applied`, `known` or `missing`.
    state: &'static str,
}

impl Report {
    fn of(connection: &CqlConnection, fates: &[(SchemaVersion, Fate)], dry_run: bool) -> Self {
        let row = |(version, fate): &(SchemaVersion, Fate)| {
            let state = match fate {
                Fate::Known => "known",
                Fate::Applied => "applied",
                Fate::Missing => "missing",
            };
            Row { version: version.version, name: version.name, state }
        };
        Self { dry_run, keyspace: connection.keyspace.clone(), versions: fates.iter().map(row).collect() }
    }

    fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for row in &self.versions {
            let said = match row.state {
                "known" => "was applied before",
                "applied" => "applied",
                _ => "missing: would be applied",
            };
            let _ = writeln!(text, "{} {}: {said}", self.keyspace, row.name);
        }
        text
    }
}
