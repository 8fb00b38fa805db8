//! What happened in a run: a hash over all of it, and the last of it for whoever has to find out why.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::model::AdvertiserId;

/// Events kept of each advertiser, and of all that concerns none.
const KEPT: usize = 30;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    steps: u64,
    common: VecDeque<String>,
    of_advertisers: BTreeMap<AdvertiserId, VecDeque<String>>,
    line: String,
    /// Told of every line, for whoever wants to read along.
    pub echo: Option<fn(&str)>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            steps: 0,
            common: VecDeque::new(),
            of_advertisers: BTreeMap::new(),
            line: String::new(),
            echo: None,
        }
    }
}

impl Trace {
    /// Notes one event: `at` milliseconds after the start.
    pub fn note(&mut self, at: u64, advertiser_id: Option<AdvertiserId>, what: fmt::Arguments<'_>) {
        use fmt::Write as _;
        self.line.clear();
        // Writing to a String never fails.
        let _ = write!(self.line, "{:>7}.{:03} {what}", at / 1_000, at % 1_000);
        self.hasher.update(self.line.as_bytes());
        self.hasher.update(b"\n");
        self.steps += 1;
        if let Some(echo) = self.echo {
            echo(&self.line);
        }
        let kept = match advertiser_id {
            Some(id) => self.of_advertisers.entry(id).or_default(),
            None => &mut self.common,
        };
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(self.line.clone());
    }

    /// Notes something that is only hashed: what comes too often to be read.
    pub fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.steps += 1;
    }

    /// How many events were noted.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash over all that was noted.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// The last events of the advertiser, and those that concern none, in order of time.
    #[must_use]
    pub fn last_of(&self, advertiser_id: Option<AdvertiserId>) -> Vec<String> {
        let own = advertiser_id.and_then(|id| self.of_advertisers.get(&id)).into_iter().flatten();
        let mut lines: Vec<String> = self.common.iter().chain(own).cloned().collect();
        // Each begins with its time, right-aligned.
        lines.sort();
        lines
    }
}
