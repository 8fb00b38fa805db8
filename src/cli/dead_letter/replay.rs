//! Replays letters' records.

use std::fmt::Write as _;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::show::in_words;
use super::{READ_WAIT, each, failure, letters};
use crate::cli::{Exit, Failure};
use crate::event_log::dead_letter::{Letters, Original, original, replayed, same};
use crate::event_log::kafka::Trouble;
use crate::event_log::{LogError, LogReader, NewRecord, Position, Record, SharedLog, Topic};
use crate::events::dead_letter::Replay;
use crate::events::{self, DeadLetter};
use crate::model::WallMs;

/// How long the log may take to acknowledge a record.
const APPEND_WAIT: Duration = Duration::from_mins(1);
/// Waits for the record at a place, each of [`READ_WAIT`], before it counts as gone.
const PLACE_WAITS_MAX: u32 = 150;

/// Which letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// The one at this position, whether it waits or not.
    At(Position),
    /// Those that wait.
    Waiting,
}

/// What was done.
#[derive(Serialize)]
pub(super) struct Done {
    dry_run: bool,
    replayed: usize,
    not_replayed: usize,
    letters: Vec<Row>,
    /// Why it ended early.
    #[serde(skip)]
    failure: Option<Failure>,
}

#[derive(Serialize)]
struct Row {
    position: String,
    topic: String,
    /// Where the record is now, as partition/offset; none with `--dry-run` and where it was not replayed.
    now_at: Option<String>,
    /// Why it was not replayed.
    not_replayed: Option<String>,
}

/// Replays them, one after the other, and notes each.
pub(super) fn run(log: &impl SharedLog, which: Which, dry_run: bool, now: WallMs) -> Result<Done, Failure> {
    let letters = letters(log)?;
    let mut done = Done { dry_run, replayed: 0, not_replayed: 0, letters: Vec::new(), failure: None };
    let ended = match which {
        Which::At(position) => {
            let letter = letter_at(log, position)?;
            done.replay(log, &letters, (position, &letter), now)
        }
        // Those letters' last records, read once more: their payloads were not kept.
        Which::Waiting => each(log, |record| {
            let Ok(letter) = events::decode_dead_letter(&record.payload) else { return Ok(()) };
            let position = Position { partition: record.partition, offset: record.offset };
            match letters.get(letter.id()) {
                Some(standing) if standing.waits && standing.place == position => {
                    done.replay(log, &letters, (position, &letter), now)
                }
                _ => Ok(()),
            }
        }),
    };
    done.failure = ended.err();
    Ok(done)
}

fn letter_at(log: &impl SharedLog, position: Position) -> Result<DeadLetter, Failure> {
    let nothing = || Failure::Refused(anyhow!("{} holds no letter at {}", Topic::DeadLetter, in_words(position)));
    let record = record_at(log, Topic::DeadLetter, position)?.ok_or_else(nothing)?;
    events::decode_dead_letter(&record.payload).map_err(|_| nothing())
}

/// The record at a place, if there is one.
fn record_at(log: &impl SharedLog, topic: Topic, position: Position) -> Result<Option<Record>, Failure> {
    let mut reader = match log.reader(topic, &[position]) {
        Ok(reader) => reader,
        Err(LogError::NoPartition { .. }) => return Ok(None),
        Err(error) => return Err(failure(error)),
    };
    for _ in 0..PLACE_WAITS_MAX {
        match reader.read(1, READ_WAIT) {
            Ok(mut records) => match records.pop() {
                Some(record) => return Ok(Some(record).filter(|record| record.offset == position.offset)),
                None if reader.is_at_end() => return Ok(None),
                None => {}
            },
            Err(LogError::Kafka(Trouble::NoOffset { .. })) => return Ok(None),
            Err(error) => return Err(failure(error)),
        }
    }
    Err(Failure::Running(anyhow!("nothing comes from {topic} at {}; try again", in_words(position))))
}

fn append(log: &impl SharedLog, record: NewRecord) -> Result<Position, LogError> {
    let (sender, told) = sync_channel(1);
    // Whoever waits may have gone: then nobody is to be told.
    log.hand_over(record, Box::new(move |result| drop(sender.send(result))));
    told.recv_timeout(APPEND_WAIT).unwrap_or_else(|_| {
        Err(LogError::Unknown("it was not acknowledged within a minute; list again before you replay again".to_owned()))
    })
}

impl Done {
    /// Replays one letter, or says why not. Fails only where the next would fail too.
    fn replay(
        &mut self,
        log: &impl SharedLog,
        letters: &Letters,
        (position, letter): (Position, &DeadLetter),
        now: WallMs,
    ) -> Result<(), Failure> {
        let record = match original(letter) {
            Ok(Original::Here(record)) => Ok(record),
            Ok(Original::At(topic, place)) => same(letter, topic, record_at(log, topic, place)?),
            Err(refused) => Err(refused),
        };
        let result = match record {
            Ok(_) if self.dry_run => Ok(None),
            Ok(record) => append(log, record).map(Some),
            Err(refused) => {
                self.not_replayed(position, letter, &refused.to_string());
                return Ok(());
            }
        };
        match result {
            Ok(now_at) => {
                self.replayed += 1;
                let now_at = now_at.map(in_words);
                self.letters.push(Row {
                    position: in_words(position),
                    topic: letter.topic.clone(),
                    now_at,
                    not_replayed: None,
                });
            }
            // What somebody else wrote may be larger than what this log takes.
            Err(error @ (LogError::Kafka(Trouble::TooLarge { .. }) | LogError::KeyTooLong { .. })) => {
                self.not_replayed(position, letter, &error.to_string());
                return Ok(());
            }
            Err(error) => return Err(failure(error)),
        }
        if self.dry_run {
            return Ok(());
        }
        let number = letters.get(letter.id()).map_or(0, |standing| standing.replays).saturating_add(1);
        // The record first: a crash in between leaves the letter waiting, and a second replay harms nobody.
        append(log, replayed(letter, Replay { number, at: now })).map(drop).map_err(failure)
    }

    fn not_replayed(&mut self, position: Position, letter: &DeadLetter, reason: &str) {
        self.not_replayed += 1;
        self.letters.push(Row {
            position: in_words(position),
            topic: letter.topic.clone(),
            now_at: None,
            not_replayed: Some(reason.to_owned()),
        });
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for row in &self.letters {
            let _ = match (&row.not_replayed, &row.now_at) {
                (Some(reason), _) => writeln!(text, "{}: not replayed: {reason}", row.position),
                (None, Some(place)) => writeln!(text, "{}: replayed, now at {} {place}", row.position, row.topic),
                (None, None) => writeln!(text, "{}: would be replayed to {}", row.position, row.topic),
            };
        }
        let verb = if self.dry_run { "would be replayed" } else { "replayed" };
        let _ = writeln!(text, "{} {verb}, {} not", self.replayed, self.not_replayed);
        text
    }

    pub(super) fn exit(self) -> Result<Exit, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None if self.not_replayed > 0 => Ok(Exit::Difference),
            None => Ok(Exit::Ok),
        }
    }
}
