//! The owner of a partition group: [`Transactions`] on a thread of their own.
//!
//! The client library's steps have deadlines, and one of them does not always keep its own: when the coordinator of a group goes away in the middle of it,
//! `send_offsets_to_transaction` can wait for ever. So the owner waits for the thread, and not for long: then it says that it does not know, and is done.
//! Whoever claims the group after that shuts out what the thread may still do, and reads how far it came. The thread ends when the library lets it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::transactions::Transactions;
use super::{KafkaLog, LogError, Trouble};
use crate::event_log::record::NewRecord;
use crate::event_log::shared::{LogOwner, PartitionGroup, Position, check_commit};

/// How long a commit may take. Brokers that are there take milliseconds, and a new coordinator some seconds.
const COMMIT_WAIT: Duration = Duration::from_secs(20);
/// How long a claim may take: three attempts, each of ten seconds, of two steps.
const CLAIM_WAIT: Duration = Duration::from_secs(70);

/// A commit to be made.
type Job = (Vec<NewRecord>, Vec<Position>);

/// Owns a partition group; see [`super::SharedLog::claim`].
pub struct KafkaOwner {
    group: PartitionGroup,
    jobs: SyncSender<Job>,
    done: Receiver<Result<(), LogError>>,
    consumed: Vec<Position>,
    /// The thread did not answer: nothing can be asked of it any more.
    is_lost: bool,
}

impl KafkaOwner {
    pub(super) fn claim(log: &KafkaLog, group: &PartitionGroup) -> Result<Self, LogError> {
        let (jobs, to_do) = sync_channel::<Job>(1);
        let (tell, done) = sync_channel(1);
        let (tell_claim, claimed) = sync_channel(1);
        let (log, of) = (log.clone(), group.clone());
        let thread = std::thread::Builder::new().name("kafka-commits".to_owned()).spawn(move || {
            let mut transactions = match Transactions::claim(&log, &of) {
                Ok((transactions, consumed)) => {
                    // Whoever claimed may have lost patience: then its end of the jobs is gone.
                    let _ = tell_claim.send(Ok(consumed));
                    transactions
                }
                Err(error) => {
                    let _ = tell_claim.send(Err(error));
                    return;
                }
            };
            while let Ok((records, consumed)) = to_do.recv() {
                if tell.send(transactions.commit(&records, &consumed)).is_err() {
                    return;
                }
            }
        });
        thread.map_err(|error| Trouble::Other { doing: "claim a partition group", reason: error.to_string() })?;
        let consumed = claimed.recv_timeout(CLAIM_WAIT).unwrap_or_else(|error| Err(unanswered("a claim", error)))?;
        Ok(Self { group: group.clone(), jobs, done, consumed, is_lost: false })
    }
}

fn unanswered(what: &str, error: RecvTimeoutError) -> LogError {
    LogError::Unknown(match error {
        RecvTimeoutError::Timeout => format!("the client library does not come back from {what}"),
        RecvTimeoutError::Disconnected => format!("the thread of {what} has ended"),
    })
}

impl LogOwner for KafkaOwner {
    fn consumed(&self) -> &[Position] {
        &self.consumed
    }

    fn commit(&mut self, records: Vec<NewRecord>, consumed: &[Position]) -> Result<(), LogError> {
        check_commit(&self.group, &records, consumed)?;
        // A job is sent only after the one before it was answered: there is room.
        if self.is_lost || self.jobs.try_send((records, consumed.to_vec())).is_err() {
            return Err(unanswered("an earlier commit", RecvTimeoutError::Timeout));
        }
        self.done.recv_timeout(COMMIT_WAIT).unwrap_or_else(|error| {
            self.is_lost = true;
            Err(unanswered("a commit", error))
        })?;
        for position in consumed {
            let known = self.consumed.iter_mut().find(|known| known.partition == position.partition);
            known.expect("check_commit: it is a partition of the group").offset = position.offset;
        }
        Ok(())
    }
}

impl std::fmt::Debug for KafkaOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaOwner").field("group", &self.group).field("is_lost", &self.is_lost).finish_non_exhaustive()
    }
}
