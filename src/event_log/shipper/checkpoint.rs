//! Where a shipper's checkpoint is kept: a file of two slots, written in turn, so that a torn write spoils one and the other still holds.
//!
//! ```text
//! at 0 and at 4096:  generation u64, sequence number u64, crc32c u32 over the two; little-endian
//! ```

use std::io;
use std::path::Path;

use crate::journal::{Disk, DiskFile};

/// Distance of the slots, in bytes: more than any disk writes as one.
const SLOT: usize = 4_096;
const SLOT_BYTES: u64 = SLOT as u64;
/// Bytes used of a slot.
const USED_BYTES: usize = 20;

/// Why a checkpoint can't be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk said no.
    #[error("could not {step} the shipper's checkpoint")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the disk said.
        source: io::Error,
    },
}

/// The file of a checkpoint.
pub struct CheckpointFile {
    file: Box<dyn DiskFile>,
    generation: u64,
    checkpoint: u64,
}

impl CheckpointFile {
    /// Opens the file, or makes one with checkpoint 0. When neither slot holds, the checkpoint is 0 too: everything is sent again, which
    /// costs time and nothing else (INV-36).
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, CheckpointError> {
        let failed = |step| move |source| CheckpointError::Io { step, source };
        let file = match disk.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(path).map_err(failed("create"))?;
                file.set_len(2 * SLOT_BYTES).map_err(failed("extend"))?;
                file.sync_data().map_err(failed("sync"))?;
                if let Some(dir) = path.parent() {
                    disk.sync_dir(dir).map_err(failed("sync the directory of"))?;
                }
                file
            }
            Err(source) => return Err(CheckpointError::Io { step: "open", source }),
        };
        let mut newest = (0, 0);
        for slot in 0..2 {
            let mut bytes = [0; USED_BYTES];
            let read = file.read_at(&mut bytes, slot * SLOT_BYTES).map_err(failed("read"))?;
            if read == USED_BYTES
                && let Some(held) = decode(&bytes)
            {
                newest = newest.max(held);
            }
        }
        Ok(Self { file, generation: newest.0, checkpoint: newest.1 })
    }

    /// What is wrong with a file that nobody has open, byte for byte; none when all is right. A slot that was torn by a crash is wrong too: nobody
    /// can tell it from a changed one, and the checkpoint is then one that was kept before.
    ///
    /// # Errors
    /// What the disk says.
    pub fn flaw(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
        let file = disk.open_read(path)?;
        if file.len()? > 2 * SLOT_BYTES {
            return Ok(Some("a longer file".to_owned()));
        }
        let mut generations = [0; 2];
        for (slot, generation) in (0..).zip(&mut generations) {
            // A file that a crash left without its full length goes on in zeros.
            let mut bytes = [0; SLOT];
            file.read_at(&mut bytes, slot * SLOT_BYTES)?;
            let used = bytes.first_chunk().expect("a slot is longer than what is used of it");
            match decode(used) {
                Some((found, _)) => *generation = found,
                None if *used == [0; USED_BYTES] => {}
                None => return Ok(Some(format!("slot {slot} is torn, or changed"))),
            }
            if bytes[USED_BYTES..].iter().any(|byte| *byte != 0) {
                return Ok(Some(format!("bytes behind slot {slot} that are not zero")));
            }
        }
        // The first one kept goes into slot 1.
        let [even, odd] = generations;
        let follow = even % 2 == 0 && (odd % 2 == 1 || odd + even == 0) && even.abs_diff(odd) <= 1;
        Ok((!follow).then(|| format!("generations {even} and {odd}")))
    }

    /// The checkpoint kept.
    #[must_use]
    pub const fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// Keeps a checkpoint, durably.
    ///
    /// # Errors
    /// [`CheckpointError`]; what is kept is then the one before or this one.
    pub fn keep(&mut self, checkpoint: u64) -> Result<(), CheckpointError> {
        let failed = |step| move |source| CheckpointError::Io { step, source };
        let generation = self.generation + 1;
        let slot = generation % 2 * SLOT_BYTES;
        self.file.write_at(&encode(generation, checkpoint), slot).map_err(failed("write"))?;
        self.file.sync_data().map_err(failed("sync"))?;
        (self.generation, self.checkpoint) = (generation, checkpoint);
        Ok(())
    }
}

fn encode(generation: u64, checkpoint: u64) -> [u8; USED_BYTES] {
    let mut bytes = [0; USED_BYTES];
    bytes[..8].copy_from_slice(&generation.to_le_bytes());
    bytes[8..16].copy_from_slice(&checkpoint.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; USED_BYTES]) -> Option<(u64, u64)> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let generation = word(0);
    // A slot never written is all zeros, whose checksum is zero too: generations begin at 1.
    (generation > 0 && encode(generation, word(8)) == *bytes).then(|| (generation, word(8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SimDisk;

    const PATH: &str = "/data/shipped";

    #[test]
    fn a_checkpoint_outlives_any_crash_and_goes_back_by_one_at_most() {
        let path = Path::new(PATH);
        let mut met = 0;
        for die_after in 1..40 {
            let disk = SimDisk::new();
            disk.die_after(die_after);
            let mut kept = 0;
            if let Ok(mut file) = CheckpointFile::open(&disk, path) {
                while file.keep(kept + 10).is_ok() {
                    kept += 10;
                }
            }
            disk.crash(die_after);
            let found = CheckpointFile::open(&disk, path).expect("opens").checkpoint();
            assert!(found == kept || found == kept + 10, "{found} after {kept} was kept");
            met += u64::from(kept > 0);
        }
        assert!(met > 20);
    }

    fn kept(checkpoints: u64) -> SimDisk {
        let disk = SimDisk::new();
        let mut file = CheckpointFile::open(&disk, Path::new(PATH)).expect("opens");
        (1..=checkpoints).for_each(|n| file.keep(n * 1_000).expect("keeps"));
        disk
    }

    // INV-45.
    #[test]
    fn every_changed_byte_is_found() {
        let flaw = |disk: &SimDisk| CheckpointFile::flaw(disk, Path::new(PATH)).expect("reads");
        for checkpoints in 0..4 {
            let disk = kept(checkpoints);
            assert_eq!(flaw(&disk), None, "{checkpoints}");
            for offset in (0..40).chain(4_090..4_140).chain([8_191]) {
                disk.flip_bit(Path::new(PATH), offset, 3).expect("flips");
                assert!(flaw(&disk).is_some(), "{checkpoints}: byte {offset}");
                disk.flip_bit(Path::new(PATH), offset, 3).expect("flips back");
            }
        }
        let disk = kept(3);
        disk.replace_file(Path::new(PATH), &[0; 4_096]).expect("writes");
        assert_eq!(flaw(&disk), None, "a crash before the file had its length");
    }

    // INV-21: the bytes on disk, rewritten only with `UPDATE_GOLDEN=1`.
    #[test]
    fn the_bytes_stay_readable() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/golden/v1/shipped_checkpoint.bin");
        let bytes = kept(2).read_file(Path::new(PATH)).expect("reads");
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::write(path, &bytes).expect("written");
        }
        let golden = std::fs::read(path).expect("the golden file; UPDATE_GOLDEN=1 writes it");
        assert_eq!(bytes, golden);
        let disk = kept(0);
        disk.replace_file(Path::new(PATH), &golden).expect("writes");
        assert_eq!(CheckpointFile::open(&disk, Path::new(PATH)).expect("opens").checkpoint(), 2_000);
    }
}
