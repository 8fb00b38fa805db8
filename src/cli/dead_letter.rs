//! `segue dead-letter`: records that could not be understood or applied, in the Kafka of the configuration.

mod replay;
mod show;

use std::time::Duration;

use anyhow::anyhow;

use super::{ConfigOptions, Exit, Failure, print};
use crate::clock::Clock;
use crate::event_log::dead_letter::Letters;
use crate::event_log::kafka::{Compression, KafkaLog, KafkaLogConfig, Trouble};
use crate::event_log::{LogError, LogReader, PartitionCounts, Position, Record, SharedLog, Topic};
use crate::model::WallMs;
use replay::Which;

/// Letters that `list` shows unless told otherwise.
const SHOWN: usize = 100;
/// Records of one read. A letter may have a megabyte.
const READ_RECORDS: usize = 16;
/// One wait for records.
const READ_WAIT: Duration = Duration::from_millis(200);
/// Waits in vain after which the topic's end is given up: a minute.
const WAITS_MAX: u32 = 300;

/// Arguments of `segue dead-letter`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List records that could not be understood or applied: where they lie, why, since when, and how often they were replayed.
    ///
    /// The same bytes found several times are one letter. A letter waits until it is replayed, and again when that was in vain. Each is named by its
    /// position in segue.dead-letter, as partition/offset: `replay --position` takes it. Exit status: 0 no letter waits, 1 some do, 2 wrong usage or
    /// configuration, 3 Kafka can't be reached or refuses.
    List(ListArgs),
    /// Append records to their topics again, with the keys that they had, and note that it was done.
    ///
    /// For when what could not read them has been mended, mostly by an upgrade: otherwise they come back as letters. Soon, for money: a beacon whose lease was
    /// closed meanwhile is kept unbilled. A record that is replayed twice harms nobody: whoever reads drops the second by its event id. What is kept by the last record of each key (segue.catalog, segue.delivery) is not
    /// replayed, because an old record would take the place of a newer one.
    ///
    /// Exit status: 0 all that was asked for is replayed (with --dry-run: could be), 1 some could not be, each with the reason, 2 wrong usage or
    /// configuration, or no letter at that position, 3 Kafka can't be reached or refuses; what was replayed before is noted.
    Replay(ReplayArgs),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Only letters found or replayed since then: an age such as 90m, 24h or 7d, or a moment such as 2026-11-26T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The last so many.
    #[arg(long, default_value_t = SHOWN)]
    limit: usize,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

#[derive(clap::Args, Debug)]
struct ReplayArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Only say what would be replayed.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// The letter at this position of segue.dead-letter, whether it waits or not.
    #[arg(long, value_name = "PARTITION/OFFSET", value_parser = position)]
    position: Option<Position>,
    /// Every letter that waits.
    #[arg(long)]
    all: bool,
}

/// Runs `segue dead-letter`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let now = Clock::real().now().wall;
    match &args.command {
        Command::List(args) => {
            let since = args.since.as_deref().map(|text| moment(text, now)).transpose().map_err(Failure::Refused)?;
            let log = connect(&args.config, now)?;
            let letters = letters(&log)?;
            let list = show::List::of(&letters, since, args.limit);
            print(&if args.json { list.json()? } else { list.lines() })?;
            Ok(list.exit())
        }
        Command::Replay(args) => {
            let log = connect(&args.config, now)?;
            let which = args.which.position.map_or(Which::Waiting, Which::At);
            let done = replay::run(&log, which, args.dry_run, now)?;
            print(&if args.json { done.json()? } else { done.lines() })?;
            done.exit()
        }
    }
}

fn connect(options: &ConfigOptions, now: WallMs) -> Result<KafkaLog, Failure> {
    let connection = options.load()?.kafka.ok_or_else(|| {
        Failure::Refused(anyhow!(
            "kafka.brokers is not set: say where Kafka is, such as --set kafka.brokers=localhost:9092"
        ))
    })?;
    let (partitions, compression) = (PartitionCounts::default(), Compression::default());
    KafkaLog::open(KafkaLogConfig { connection, partitions, compression }, move || now).map_err(|trouble| match trouble
    {
        Trouble::Partitions { .. } | Trouble::File { .. } => Failure::Refused(trouble.into()),
        other => Failure::Running(other.into()),
    })
}

fn failure(error: LogError) -> Failure {
    Failure::Running(error.into())
}

/// All letters.
fn letters(log: &impl SharedLog) -> Result<Letters, Failure> {
    let mut letters = Letters::default();
    each(log, |record| {
        letters.see(&record);
        Ok(())
    })?;
    Ok(letters)
}

/// Every record of the dead-letter topic, partition by partition in order, to an end that it has at some moment. What is appended meanwhile, by this command
/// too, may be seen.
fn each(log: &impl SharedLog, mut see: impl FnMut(Record) -> Result<(), Failure>) -> Result<(), Failure> {
    for partition in 0..log.partition_counts().of(Topic::DeadLetter) {
        let mut reader = log.reader(Topic::DeadLetter, &[Position { partition, offset: 0 }]).map_err(failure)?;
        let mut waits = 0;
        while !reader.is_at_end() {
            let records = reader.read(READ_RECORDS, READ_WAIT).map_err(failure)?;
            waits = if records.is_empty() { waits + 1 } else { 0 };
            records.into_iter().try_for_each(&mut see)?;
            if waits == WAITS_MAX {
                let next = reader.positions().first().map_or(0, |position| position.offset);
                return Err(Failure::Running(anyhow!(
                    "{} can't be read to its end: nothing comes from {partition}/{next} on; try again",
                    Topic::DeadLetter
                )));
            }
        }
    }
    Ok(())
}

fn position(text: &str) -> Result<Position, String> {
    let parsed = text.split_once('/').and_then(|(partition, offset)| {
        Some(Position { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    });
    parsed.ok_or_else(|| "expected partition/offset as `segue dead-letter list` prints it, such as 0/17".to_owned())
}

/// A moment, said as such or as an age.
fn moment(text: &str, now: WallMs) -> anyhow::Result<WallMs> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(WallMs(at.as_millisecond()));
    }
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => 0,
    };
    let count = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse::<u32>().ok());
    match count {
        Some(count) if unit_ms > 0 => Ok(now.plus_ms(-(i64::from(count) * unit_ms))),
        _ => Err(anyhow!(
            "--since {text}: expected an age such as 90m, 24h or 7d, or a moment such as 2026-11-26T08:00:00Z"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_printed() {
        assert_eq!(position("0/17"), Ok(Position { partition: 0, offset: 17 }));
        for wrong in ["17", "0/", "/17", "0/-1", "a/b", ""] {
            assert!(position(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_an_age_or_a_time() {
        let now = WallMs(10 * 86_400_000);
        let cases =
            [("90m", 10 * 86_400_000 - 5_400_000), ("7d", 3 * 86_400_000), ("1970-01-02T00:00:00Z", 86_400_000)];
        for (text, expected) in cases {
            assert_eq!(moment(text, now).ok(), Some(WallMs(expected)), "{text}");
        }
        for wrong in ["", "d", "7", "7w", "-1d", "tomorrow", "é"] {
            assert!(moment(wrong, now).is_err(), "{wrong}");
        }
    }
}
