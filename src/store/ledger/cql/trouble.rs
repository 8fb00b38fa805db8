//! Why the ledger in CQL can't go on. Each is one line that says what to do.

/// Why a part of the ledger in CQL can't be owned, or read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LedgerTrouble {
    /// Another owner has begun: nothing more of this one is taken (INV-49).
    #[error(
        "part {part} of the ledger has another owner since commit {number}: this one was replaced and must end, nothing of its last commit was taken"
    )]
    Replaced {
        /// The part.
        part: u32,
        /// The other's first commit.
        number: u64,
    },
    /// Nobody loaded it, or a commit failed since.
    #[error("part {0} of the ledger is not owned here: load it first, and again after a commit that failed")]
    NotOwned(u32),
    /// Nothing was written.
    #[error(
        "a commit to part {part} of the ledger has {bytes} bytes, {max} at most, and was not begun: commit more often \
         (accounting.commit_interval_ms)"
    )]
    TooLarge {
        /// The part.
        part: u32,
        /// Its size.
        bytes: usize,
        /// The largest size.
        max: usize,
    },
    /// A lease whose day is not the one in its name, so that it would not be found. Nothing was written.
    #[error(
        "lease {lease} of part {part} of the ledger is of another day than its name says, and would not be found: it was made by a wrong clock or id"
    )]
    Misfiled {
        /// The part.
        part: u32,
        /// The lease.
        lease: String,
    },
    /// Nobody says whether the commit was taken: it is there as a whole or not at all.
    #[error(
        "nobody says whether commit {number} of part {part} of the ledger was taken: start accounting again, it goes on from what is there"
    )]
    Unknown {
        /// The part.
        part: u32,
        /// The commit.
        number: u64,
    },
    /// Owners come faster than one can begin.
    #[error(
        "part {0} of the ledger gets new owners faster than one can begin: see that one accounting at a time is given it"
    )]
    Contended(u32),
    /// Rows of a commit that was taken are not all written; they are written by whoever loads next.
    #[error(
        "the rows of commit {number} of part {part} of the ledger took longer than {minutes} minutes: start accounting again, it writes the rest"
    )]
    Overdue {
        /// The part.
        part: u32,
        /// The commit.
        number: u64,
        /// How long it may take.
        minutes: i64,
    },
    /// More than one answer may hold.
    #[error("more than {max} {what} of the ledger were asked for: ask for a shorter time, or for one line item")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The most.
        max: usize,
    },
    /// The end that a test has ordered.
    #[error("ended after {0} statements, as was asked for")]
    Ended(u64),
}
