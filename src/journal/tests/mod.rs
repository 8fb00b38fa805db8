//! The journal over a disk that forgets, tears, lies, fails and fills up.

mod corruption;
mod crashes;
mod deaths;
mod faults;
mod formats;
mod sharing;

use std::path::Path;

use std::ops::ControlFlow;

use super::*;
use crate::model::{BootId, ServerId};

/// The directory of the journals in these tests.
const DIR: &str = "journal";

fn identity() -> Identity {
    Identity { server: ServerId::from_u128(0x005e_411e), boot: BootId::from_u128(0xb007) }
}

fn small(durability: Durability) -> JournalConfig {
    JournalConfig {
        segment_bytes: 4_096,
        durability,
        quota_bytes: 1 << 30,
        rest_after_batch: std::time::Duration::ZERO,
        verify_segments_max: 1_000,
    }
}

fn open(disk: &SimDisk, config: JournalConfig, drive: Drive) -> Result<Journal, OpenError> {
    Journal::open(disk.shared(), DIR, config, identity(), drive, Box::new(|| WallMs(1_000)))
}

fn open_inline(disk: &SimDisk) -> Journal {
    open(disk, small(Durability::Synced), Drive::Inline).expect("opens")
}

fn entry(payload: impl Into<Vec<u8>>) -> Entry {
    Entry { kind: 1, payload: payload.into() }
}

/// All durable records of an open journal.
fn read_all(journal: &Journal) -> Vec<JournalRecord> {
    let mut records = Vec::new();
    let next = journal
        .reader()
        .read(0, ReadLimit { scan_bytes: usize::MAX }, |view| {
            records.push(view.to_owned());
            ControlFlow::Continue(())
        })
        .expect("reads");
    assert_eq!(next, journal.durable_end());
    records
}

fn payloads(records: &[JournalRecord]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.payload.clone()).collect()
}

/// The segments on the disk, by name.
fn segment_paths(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

/// Ten small batches over some segments, closed.
fn some_journal(disk: &SimDisk) -> Vec<Vec<u8>> {
    let journal = open_inline(disk);
    let mut all = Vec::new();
    for batch in 0..10_u8 {
        let entries: Vec<_> = (0..3_u8).map(|one| entry(vec![batch * 3 + one; 300 + usize::from(batch)])).collect();
        all.extend(entries.iter().map(|entry| entry.payload.clone()));
        journal.append_blocking(entries).expect("appended");
    }
    all
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
