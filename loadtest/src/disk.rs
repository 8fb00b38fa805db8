//! How long the disk itself takes to make bytes durable, for what a beacon is compared with.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Bytes of the file that is written again and again: blocks that are there already, as in a journal's segment.
const FILE_BYTES: usize = 16 << 20;

/// The p99 of `fdatasync` after writing so many bytes, one write behind the other for that long, in microseconds.
pub(crate) fn sync_p99_us(folder: &Path, bytes: usize, length: Duration) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(folder).context("a file to sync")?;
    file.write_all(&vec![0; FILE_BYTES]).and_then(|()| file.sync_all()).context("a file to sync")?;
    let batch = vec![1_u8; bytes.clamp(1, FILE_BYTES)];
    let (start, mut at, mut times) = (Instant::now(), 0, Vec::new());
    while start.elapsed() < length {
        if at + batch.len() > FILE_BYTES {
            at = 0;
        }
        file.seek(SeekFrom::Start(at as u64)).context("a file to sync")?;
        let began = Instant::now();
        file.write_all(&batch).and_then(|()| file.sync_data()).context("a file to sync")?;
        times.push(began.elapsed());
        at += batch.len();
    }
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).or(times.last()).copied().unwrap_or_default();
    Ok(p99.as_secs_f64() * 1e6)
}
