//! A chain of digests over the records applied: what the log said when the books were made.
//!
//! A log that was changed afterwards with care (numbers and checksums made right again) may still add up. The chain doesn't: it is kept with
//! the books, a link every [`SEAL_EVERY`] records, so that audit finds a record taken out, doubled or rewritten and names the stretch.

/// Records from one kept link to the next.
pub const SEAL_EVERY: u64 = 256;

/// First 16 bytes of BLAKE3 over a record's payload.
pub type RecordDigest = [u8; 16];

/// The digest of a record.
#[must_use]
pub fn record_digest(payload: &[u8]) -> RecordDigest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(payload).as_bytes()[..16]);
    digest
}

/// The chain so far: how many records, and the digest of the digest before and the last record's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Chain {
    /// Records in it.
    pub records: u64,
    /// BLAKE3 of the link before and the record's digest; zeros before the first record.
    pub digest: [u8; 32],
}

/// A link that is kept. It names no offset: what matters is what the records say and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// Records up to it.
    pub records: u64,
    /// The chain's digest there.
    pub digest: [u8; 32],
}

impl Chain {
    /// Puts a record at the end.
    pub fn append(&mut self, record: RecordDigest) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest);
        hasher.update(&record);
        self.digest = *hasher.finalize().as_bytes();
        self.records += 1;
    }

    /// The link to keep, when it is time for one.
    #[must_use]
    pub fn seal(&self) -> Option<Seal> {
        let due = self.records > 0 && self.records.is_multiple_of(SEAL_EVERY);
        due.then_some(Seal { records: self.records, digest: self.digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_number_and_content_change_the_chain() {
        let chain = |payloads: &[&[u8]]| {
            let mut chain = Chain::default();
            for payload in payloads {
                chain.append(record_digest(payload));
            }
            chain
        };
        let right = chain(&[b"a", b"b"]);
        assert_eq!(right, chain(&[b"a", b"b"]));
        for wrong in [&[b"b", b"a"][..], &[b"a"], &[b"a", b"b", b"b"], &[b"a", b"c"]] {
            let wrong: Vec<&[u8]> = wrong.iter().map(|payload| &payload[..]).collect();
            assert_ne!(right, chain(&wrong));
        }
    }

    #[test]
    fn links_are_kept_every_so_many_records() {
        let mut chain = Chain::default();
        let kept = (0..SEAL_EVERY * 2).filter(|_| {
            chain.append([0; 16]);
            chain.seal().is_some()
        });
        assert_eq!(kept.count(), 2);
    }
}
