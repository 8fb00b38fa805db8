//! Letters in lines and in JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::Exit;
use crate::event_log::Position;
use crate::event_log::dead_letter::{Letters, Standing};
use crate::model::WallMs;

/// What `segue dead-letter list` prints.
#[derive(Serialize)]
pub(super) struct List {
    /// The last of those asked for, in the order of their last records.
    letters: Vec<Row>,
    /// How many of those asked for wait.
    waiting: usize,
    /// Asked for and not shown, for `--limit`.
    not_shown: usize,
    /// Records that are no letters.
    not_understood: u64,
    /// Where the first of them lie.
    not_understood_at: Vec<String>,
    /// Records of letters beyond those that can be looked at together.
    left_out: u64,
}

#[derive(Serialize)]
struct Row {
    position: String,
    letter_id: String,
    topic: String,
    partition: u32,
    offset: u64,
    key: String,
    bytes: u64,
    /// Whether the letter holds the record, or only names its place.
    whole: bool,
    reason: &'static str,
    detail: String,
    found_at: String,
    found: u64,
    server_id: String,
    replays: u32,
    replayed_at: Option<String>,
    waits: bool,
}

impl List {
    /// Letters found or replayed since then, at most the last `limit`.
    pub(super) fn of(letters: &Letters, since: Option<WallMs>, limit: usize) -> Self {
        let mut asked = letters.standings();
        asked.retain(|standing| {
            let last = standing.replayed_at.map_or(standing.letter.found_at, |at| at.max(standing.letter.found_at));
            since.is_none_or(|since| last >= since)
        });
        let not_shown = asked.len().saturating_sub(limit);
        let (not_understood, places) = letters.not_understood();
        Self {
            waiting: asked.iter().filter(|standing| standing.waits).count(),
            letters: asked.into_iter().skip(not_shown).map(Row::of).collect(),
            not_shown,
            not_understood,
            not_understood_at: places.iter().copied().map(in_words).collect(),
            left_out: letters.left_out(),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        if self.waiting == 0 { Exit::Ok } else { Exit::Difference }
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for row in &self.letters {
            let state = match (&row.replayed_at, row.waits) {
                (None, _) => "waits".to_owned(),
                (Some(at), true) => format!("waits again: replayed {} times, last at {at}", row.replays),
                (Some(at), false) => format!("replayed {} times, last at {at}", row.replays),
            };
            let place = format!("{} {}/{}", row.topic, row.partition, row.offset);
            let _ = writeln!(text, "{}  {place}  {}: {}", row.position, row.reason, row.detail);
            let whole = if row.whole { "" } else { ", only its place is kept" };
            let _ = writeln!(
                text,
                "    key {}, {} bytes{whole}; found {} times, last at {} by {}; {state}",
                if row.key.is_empty() { "none" } else { &row.key },
                row.bytes,
                row.found,
                row.found_at,
                row.server_id,
            );
        }
        let _ = writeln!(text, "{} letters wait; {} shown, {} not", self.waiting, self.letters.len(), self.not_shown);
        if self.not_understood > 0 {
            let (count, places) = (self.not_understood, self.not_understood_at.join(", "));
            let _ = writeln!(
                text,
                "{count} records of segue.dead-letter are no letters of this version, first at {places}"
            );
        }
        if self.left_out > 0 {
            let _ = writeln!(text, "{} records belong to more letters than can be looked at together", self.left_out);
        }
        text
    }
}

impl Row {
    fn of(standing: &Standing) -> Self {
        let letter = &standing.letter;
        Self {
            position: in_words(standing.place),
            letter_id: letter.id().to_string(),
            topic: letter.topic.clone(),
            partition: letter.partition,
            offset: letter.offset,
            key: letter.key.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            bytes: letter.payload_bytes,
            whole: standing.whole,
            reason: letter.reason.name(),
            detail: letter.detail.clone(),
            found_at: letter.found_at.to_rfc3339(),
            found: standing.found,
            server_id: letter.server_id.to_string(),
            replays: standing.replays,
            replayed_at: standing.replayed_at.map(WallMs::to_rfc3339),
            waits: standing.waits,
        }
    }
}

/// A position as `--position` takes it.
pub(super) fn in_words(Position { partition, offset }: Position) -> String {
    format!("{partition}/{offset}")
}
