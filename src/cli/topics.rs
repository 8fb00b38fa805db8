//! `segue topics`: the topics in Kafka.

use std::fmt::Write as _;

use anyhow::anyhow;
use serde::Serialize;

use super::{ApplyOptions, Exit, Failure, print};
use crate::event_log::kafka::Trouble;
use crate::event_log::kafka::topics::{Admin, Difference, Surveyed, TopicPlan, TopicState};

/// Arguments of `segue topics`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make the topics that are missing, and say where the others differ from what they should be and what that means.
    ///
    /// Topics that are there are never changed. Safe to run twice, and by two at once. Exit status: 0 all topics are as they should be, 1 some
    /// differ (with --dry-run also: some are missing), 2 a topic has another number of partitions, which can't be changed: nothing was made, 3 Kafka
    /// can't be reached or refuses.
    Apply(ApplyOptions),
}

/// Runs `segue topics`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Apply(args) => apply(args),
    }
}

fn apply(args: &ApplyOptions) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let connection = config.kafka.ok_or_else(|| {
        Failure::Refused(anyhow!(
            "kafka.brokers is not set: say where Kafka is, such as --set kafka.brokers=localhost:9092"
        ))
    })?;
    let admin = Admin::connect(&connection).map_err(failure)?;
    let surveyed = admin.survey(&config.kafka_partitions).map_err(failure)?;
    let missing: Vec<&TopicPlan> = missing(&surveyed).collect();
    if !args.dry_run && !missing.is_empty() {
        admin.make(&missing).map_err(failure)?;
    }
    let report = Report::of(&surveyed, args.dry_run);
    print(&if args.json { report.json()? } else { report.lines() })?;
    Ok(report.exit())
}

fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Partitions { .. } | Trouble::File { .. } => Failure::Refused(trouble.into()),
        other => Failure::Running(other.into()),
    }
}

fn missing(surveyed: &[Surveyed]) -> impl Iterator<Item = &TopicPlan> {
    surveyed.iter().filter(|one| one.state == TopicState::Missing).map(|one| &one.plan)
}

/// What was found and done.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    topics: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// `made`, `missing`, `as_planned` or `differs`.
    state: &'static str,
    partitions: u32,
    replication: u32,
    /// As planned.
    settings: std::collections::BTreeMap<&'static str, String>,
    differences: Vec<DifferenceRow>,
}

#[derive(Serialize)]
struct DifferenceRow {
    setting: &'static str,
    found: String,
    planned: String,
    meaning: String,
}

impl Report {
    fn of(surveyed: &[Surveyed], dry_run: bool) -> Self {
        let row = |Surveyed { plan, state }: &Surveyed| {
            let (state, differences): (_, &[Difference]) = match state {
                TopicState::Missing if dry_run => ("missing", &[]),
                TopicState::Missing => ("made", &[]),
                TopicState::There(differences) if differences.is_empty() => ("as_planned", &[]),
                TopicState::There(differences) => ("differs", differences),
            };
            Row {
                name: plan.name.clone(),
                state,
                partitions: plan.partitions,
                replication: plan.replication,
                settings: plan.settings.iter().cloned().collect(),
                differences: differences.iter().cloned().map(DifferenceRow::from).collect(),
            }
        };
        Self { dry_run, topics: surveyed.iter().map(row).collect() }
    }

    fn exit(&self) -> Exit {
        let is_done = self.topics.iter().all(|row| matches!(row.state, "made" | "as_planned"));
        if is_done { Exit::Ok } else { Exit::Difference }
    }

    fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for row in &self.topics {
            let said = match row.state {
                "made" => "made",
                "missing" => "missing: would be made",
                "as_planned" => "as it should be",
                _ => "differs",
            };
            let (name, partitions, replication) = (&row.name, row.partitions, row.replication);
            let _ = writeln!(text, "{name}: {said} (planned: {partitions} partitions, {replication} replicas)");
            for one in &row.differences {
                let _ = writeln!(text, "  {} is {}, not {}: {}", one.setting, one.found, one.planned, one.meaning);
            }
        }
        text
    }
}

impl From<Difference> for DifferenceRow {
    fn from(Difference { setting, found, planned, meaning }: Difference) -> Self {
        Self { setting, found, planned, meaning }
    }
}
