//! A file read from its beginning to its end, and bytes taken apart.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// A file, read in order. Knows how much is left, so that a length that was changed asks for no more than there is.
pub(super) struct Source {
    reader: BufReader<File>,
    offset: u64,
    left: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Ok(Self { reader: BufReader::with_capacity(CHUNK_BYTES, file), offset: 0, left })
    }

    /// Where the next byte lies.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes, or none where the file has fewer.
    pub(super) fn take(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        if self.left < count as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(Some(bytes))
    }

    /// Shows all that is left, piece by piece.
    pub(super) fn rest(mut self, mut look: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let mut piece = vec![0; CHUNK_BYTES];
        loop {
            let read = self.reader.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            look(self.offset, &piece[..read]);
            self.offset += read as u64;
        }
    }
}

/// Bytes, taken from the front.
pub(super) struct Cut<'b>(pub(super) &'b [u8]);

impl<'b> Cut<'b> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}
