//! A transactional producer whose id is a partition group's, and the group's consumed offsets.
//!
//! Claiming initialises the id's transactions: the broker raises its epoch, aborts what an older owner left open, and refuses what comes with an
//! older epoch. A commit is one transaction of the records and of the consumed offsets, so both are there or neither. All of it waits for brokers.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::connection::{Context, Watch};
use super::reader::{consumer, number};
use super::{KafkaLog, LogError, producer_config, send};
use crate::event_log::record::NewRecord;
use crate::event_log::shared::{PartitionGroup, Position};

/// How long the broker keeps an open transaction of an owner that has gone silent. Until then readers wait at its records; a new claim ends it at once.
const TRANSACTION_TIMEOUT_MS: u32 = 30_000;
/// How long one step of a transaction may take before it is tried again. Kafka answers within this unless a broker is gone.
const STEP_WAIT: Duration = Duration::from_secs(10);
/// How often a step is tried: three times [`STEP_WAIT`] is beyond the transaction's timeout.
const STEP_ATTEMPTS: u32 = 3;
/// Reports of the library that are taken at each commit.
const REPORTS_MAX: u32 = 16;

/// Commits for the owner of a partition group.
pub(super) struct Transactions {
    log: KafkaLog,
    group: PartitionGroup,
    watch: Arc<Watch>,
    producer: ThreadedProducer<Silent>,
    /// Knows the group's offsets; reads no records.
    offsets: BaseConsumer<Context>,
    /// Nothing can be committed any more, and why.
    ended: Option<Ended>,
}

/// Why nothing can be committed any more.
#[derive(Clone, Debug)]
enum Ended {
    Fenced,
    Unknown(String),
}

impl Transactions {
    /// Claims the group; with what it had consumed.
    pub(super) fn claim(log: &KafkaLog, group: &PartitionGroup) -> Result<(Self, Vec<Position>), LogError> {
        let config = &log.0.config;
        let watch = Arc::new(Watch::default());
        let mut client = producer_config(config)?;
        client
            .set("transactional.id", config.connection.group_name(&group.name))
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        let context = Silent(Context::new(&config.connection, &watch));
        let made = client.create_with_context(context);
        let producer: ThreadedProducer<Silent> = made.map_err(|error| watch.trouble("make a producer", &error))?;
        let offsets = consumer(&config.connection, &watch, &group.name)?;
        let claimed = Self { log: log.clone(), group: group.clone(), watch, producer, offsets, ended: None };
        claimed.step("claim a partition group", || claimed.producer.init_transactions(STEP_WAIT))?;
        // After the claim: what the owner before committed is in these, and it commits no more.
        let consumed = claimed.step("read a group's offsets", || claimed.committed())?;
        Ok((claimed, consumed))
    }

    fn committed(&self) -> Result<Vec<Position>, KafkaError> {
        let name = self.log.topic_name(self.group.topic);
        let mut asked = TopicPartitionList::with_capacity(self.group.partitions.len());
        for &partition in &self.group.partitions {
            asked.add_partition(&name, number(partition));
        }
        let known = self.offsets.committed_offsets(asked, STEP_WAIT)?;
        let offset_of = |partition| match known.find_partition(&name, number(partition)).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or(0),
            _ => 0,
        };
        let of = |&partition: &u32| Position { partition, offset: offset_of(partition) };
        Ok(self.group.partitions.iter().map(of).collect())
    }

    /// Does a step, again when the library says that it may be done again.
    fn step<T>(&self, doing: &'static str, step: impl Fn() -> Result<T, KafkaError>) -> Result<T, LogError> {
        let mut attempt = 1;
        loop {
            let error = match step() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let retriable = match &error {
                KafkaError::Transaction(error) => error.is_retriable(),
                other => other.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut),
            };
            if self.is_fenced(&error) {
                return Err(LogError::Fenced(self.group.name.clone()));
            }
            if let Some(refusal) = self.watch.refusal() {
                return Err(refusal.into());
            }
            if !retriable || attempt == STEP_ATTEMPTS {
                return Err(self.watch.trouble(doing, &error).into());
            }
            attempt += 1;
        }
    }

    /// Whether this says that a newer owner is there.
    fn is_fenced(&self, error: &KafkaError) -> bool {
        let fences = |code: RDKafkaErrorCode| {
            use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
            [Fenced, ProducerFenced, InvalidProducerEpoch].contains(&code)
        };
        error.rdkafka_error_code().is_some_and(fences)
            || self.producer.client().fatal_error().is_some_and(|(code, _)| fences(code))
    }

    fn offsets_of(&self, consumed: &[Position]) -> Result<TopicPartitionList, KafkaError> {
        let name = self.log.topic_name(self.group.topic);
        let mut offsets = TopicPartitionList::with_capacity(consumed.len());
        for position in consumed {
            let offset = Offset::Offset(i64::try_from(position.offset).unwrap_or(i64::MAX));
            offsets.add_partition_offset(&name, number(position.partition), offset)?;
        }
        Ok(offsets)
    }

    fn transact(&self, records: &[NewRecord], consumed: &[Position]) -> Result<(), KafkaError> {
        self.producer.begin_transaction()?;
        let at = (self.log.0.clock)();
        for record in records {
            send(&self.producer, (&self.log.0.config, at), record, Box::new(())).map_err(|(error, _)| error)?;
        }
        if !consumed.is_empty() {
            let offsets = self.offsets_of(consumed)?;
            let group = self.offsets.group_metadata().ok_or(KafkaError::Canceled)?;
            again(|| self.producer.send_offsets_to_transaction(&offsets, &group, STEP_WAIT))?;
        }
        again(|| self.producer.commit_transaction(STEP_WAIT))
    }

    /// Ends a transaction that can't be committed; says how it ended.
    fn give_up(&mut self, error: &KafkaError) -> LogError {
        if self.is_fenced(error) {
            self.ended = Some(Ended::Fenced);
            return LogError::Fenced(self.group.name.clone());
        }
        let reason = self.watch.trouble("commit", error).to_string();
        let must_abort = match error {
            KafkaError::Transaction(error) => error.txn_requires_abort(),
            // Refused by the library before anything was sent.
            _ => true,
        };
        if must_abort && self.producer.client().fatal_error().is_none() {
            match again(|| self.producer.abort_transaction(STEP_WAIT)) {
                Ok(()) => return LogError::Aborted(reason),
                Err(error) if self.is_fenced(&error) => {
                    self.ended = Some(Ended::Fenced);
                    return LogError::Fenced(self.group.name.clone());
                }
                Err(_) => {}
            }
        }
        self.ended = Some(Ended::Unknown(reason.clone()));
        LogError::Unknown(reason)
    }

    /// One commit.
    pub(super) fn commit(&mut self, records: &[NewRecord], consumed: &[Position]) -> Result<(), LogError> {
        match &self.ended {
            Some(Ended::Fenced) => return Err(LogError::Fenced(self.group.name.clone())),
            Some(Ended::Unknown(reason)) => return Err(LogError::Unknown(reason.clone())),
            None => {}
        }
        for _ in 0..REPORTS_MAX {
            // It reads nothing: all that can come are reports, which would pile up.
            let _ = self.offsets.poll(Duration::ZERO);
        }
        self.transact(records, consumed).map_err(|error| self.give_up(&error))
    }
}

/// Does a step of a transaction, again when it says that it may be done again.
fn again(step: impl Fn() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    for _ in 1..STEP_ATTEMPTS {
        match step() {
            Err(KafkaError::Transaction(error)) if is_retriable(&error) => {}
            other => return other,
        }
    }
    step()
}

fn is_retriable(error: &RDKafkaError) -> bool {
    error.is_retriable() && !error.txn_requires_abort() && !error.is_fatal()
}

/// Records of a transaction need no acknowledgement each: the commit is theirs.
struct Silent(Context);

impl ClientContext for Silent {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Silent {
    type DeliveryOpaque = Box<()>;

    fn delivery(&self, _: &DeliveryResult<'_>, _: Box<()>) {}
}
