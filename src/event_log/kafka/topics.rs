//! The topics as they should be: made where they are missing, and compared where they are there.
//!
//! Nothing that exists is changed: a difference is named with what it means and how to mend it, because only its operator knows whether it is meant.
//! A partition count can't be mended at all.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::connection::{Connection, Context, Watch};
use super::{PartitionCounts, Topic, Trouble};
pub use plan::TopicPlan;
use plan::{MIN_IN_SYNC, parse};

/// How long the first look for the brokers lasts, in milliseconds, and each further one twice as long. Between two it is seen whether they refuse.
const LOOK_MS: u64 = 500;
/// Reports of the library that are taken between two looks; what is beyond waits for the next.
const REPORTS_MAX: u32 = 64;
/// How long the brokers may take to make topics.
const MAKE_WAIT: Duration = Duration::from_mins(1);
/// Pause between two looks for the leaders of new topics.
const LEADER_PAUSE: Duration = Duration::from_millis(200);
/// Most such looks.
const LEADER_LOOKS_MAX: u32 = 150;

/// A setting of a topic that is not as planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which: Kafka's name, or `replication`.
    pub setting: &'static str,
    /// As it is.
    pub found: String,
    /// As it should be.
    pub planned: String,
    /// What that means, and what to do.
    pub meaning: String,
}

/// How a topic is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicState {
    /// Not there.
    Missing,
    /// There, with these differences; none: as planned.
    There(Vec<Difference>),
}

/// A topic: planned, and as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Surveyed {
    /// As it should be.
    pub plan: TopicPlan,
    /// As it is.
    pub state: TopicState,
}

/// Looks at topics and makes them.
pub struct Admin {
    connection: Connection,
    client: AdminClient<Context>,
    /// Asks for metadata. Only of a consumer can the reports be taken that say what is wrong.
    probe: BaseConsumer<Context>,
    watch: Arc<Watch>,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    /// Finds the brokers.
    ///
    /// # Errors
    /// [`Trouble`]: refused logins and certificates at once, silence after the connection's timeout.
    pub fn connect(connection: &Connection) -> Result<Self, Trouble> {
        let watch = Arc::new(Watch::default());
        let config = connection.client_config()?;
        let failed = |error| watch.trouble("make a client", &error);
        let client = config.create_with_context(Context::new(connection, &watch)).map_err(failed)?;
        let probe = config.create_with_context(Context::new(connection, &watch)).map_err(failed)?;
        // The library's answers come on a thread of its own; this only waits for them.
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| Trouble::Other {
            doing: "make a runtime to wait for its answers",
            reason: error.to_string(),
        })?;
        let admin = Self { connection: connection.clone(), client, probe, watch, runtime };
        admin.metadata()?;
        Ok(admin)
    }

    /// What the brokers know of all topics.
    fn metadata(&self) -> Result<Metadata, Trouble> {
        let (mut left_ms, mut look_ms) = (self.connection.connect_timeout_ms, LOOK_MS);
        loop {
            let this_ms = look_ms.min(left_ms);
            let error = match self.probe.fetch_metadata(None, Duration::from_millis(this_ms)) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            for _ in 0..REPORTS_MAX {
                // It reads nothing: all that can come are reports, which go to the watch.
                let _ = self.probe.poll(Duration::ZERO);
            }
            if let Some(refusal) = self.watch.refusal() {
                return Err(refusal);
            }
            left_ms -= this_ms;
            if left_ms == 0 {
                return Err(self.watch.trouble("name its brokers", &error));
            }
            look_ms *= 2;
        }
    }

    /// Checks what a server needs of its topics, at its start.
    ///
    /// # Errors
    /// [`Trouble`]: topics missing, another number of partitions, too few replicas in sync.
    pub(super) fn check(&self, connection: &Connection, counts: &PartitionCounts) -> Result<(), Trouble> {
        let plans = TopicPlan::all(connection, counts);
        let metadata = self.metadata()?;
        let missing = plans.iter().filter(|plan| found(&metadata, plan).is_none()).map(|plan| plan.name.clone());
        let missing: Vec<String> = missing.collect();
        if !missing.is_empty() {
            return Err(Trouble::TopicsMissing { brokers: connection.brokers.clone(), topics: missing });
        }
        refuse_other_counts(&plans, &metadata)?;
        let settings = self.settings(&plans.iter().collect::<Vec<_>>())?;
        for (plan, settings) in plans.iter().zip(&settings) {
            let needed = settings.get(MIN_IN_SYNC).and_then(|entry| parse(entry.value.as_deref())).unwrap_or(1);
            let partitions = found(&metadata, plan).map_or(&[][..], MetadataTopic::partitions);
            let short = partitions.iter().find(|partition| count(partition.isr().len()) < needed);
            if let Some(partition) = short {
                return Err(Trouble::TooFewReplicas {
                    topic: plan.name.clone(),
                    partition: u32::try_from(partition.id()).unwrap_or(0),
                    in_sync: count(partition.isr().len()),
                    needed,
                });
            }
        }
        Ok(())
    }

    /// How the topics are, compared with the plans.
    ///
    /// # Errors
    /// [`Trouble`]; [`Trouble::Partitions`] when one was made with another number of partitions.
    pub fn survey(&self, counts: &PartitionCounts) -> Result<Vec<Surveyed>, Trouble> {
        let plans = TopicPlan::all(&self.connection, counts);
        let metadata = self.metadata()?;
        refuse_other_counts(&plans, &metadata)?;
        let there: Vec<&TopicPlan> = plans.iter().filter(|plan| found(&metadata, plan).is_some()).collect();
        let mut settings = self.settings(&there)?.into_iter();
        let mut surveyed = Vec::with_capacity(plans.len());
        for plan in &plans {
            let state = match found(&metadata, plan) {
                None => TopicState::Missing,
                Some(topic) => {
                    let mut differences = Vec::from_iter(plan.replication_difference(replicas(topic)));
                    let entries = settings.next().expect("one answer for each topic that is there");
                    differences.extend(plan.differences(|name| entries.get(name)?.value.clone()));
                    TopicState::There(differences)
                }
            };
            surveyed.push(Surveyed { plan: plan.clone(), state });
        }
        Ok(surveyed)
    }

    /// Makes the topics and waits until each partition has a leader. One that somebody else makes at the same time is left as it is.
    ///
    /// # Errors
    /// [`Trouble`]; some may have been made.
    pub fn make(&self, plans: &[&TopicPlan]) -> Result<(), Trouble> {
        let brokers = count(self.metadata()?.brokers().len());
        if let Some(plan) = plans.iter().find(|plan| plan.replication > brokers) {
            let (planned, at) = (plan.replication, self.connection.brokers.clone());
            return Err(Trouble::TooFewBrokers { brokers: at, planned, found: brokers });
        }
        let new = plans.iter().map(|plan| {
            let replication = TopicReplication::Fixed(i32::try_from(plan.replication).expect("the setting is bounded"));
            let partitions = i32::try_from(plan.partitions).expect("PartitionCounts are bounded");
            let topic = NewTopic::new(&plan.name, partitions, replication);
            plan.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let options = AdminOptions::new().request_timeout(Some(MAKE_WAIT)).operation_timeout(Some(MAKE_WAIT));
        let made = self.runtime.block_on(self.client.create_topics(&new, &options));
        for result in made.map_err(|error| self.watch.trouble("make topics", &error))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let trouble = self.watch.trouble("make topics", &KafkaError::AdminOp(code));
                    return Err(match trouble {
                        Trouble::Other { doing, reason } => {
                            Trouble::Other { doing, reason: format!("{topic}: {reason}") }
                        }
                        other => other,
                    });
                }
            }
        }
        self.await_leaders(plans)
    }

    fn await_leaders(&self, plans: &[&TopicPlan]) -> Result<(), Trouble> {
        for _ in 0..LEADER_LOOKS_MAX {
            let metadata = self.metadata()?;
            let led = |plan: &&TopicPlan| {
                found(&metadata, plan).is_some_and(|topic| {
                    count(topic.partitions().len()) == plan.partitions
                        && topic.partitions().iter().all(|partition| partition.leader() >= 0)
                })
            };
            if plans.iter().all(led) {
                return Ok(());
            }
            std::thread::sleep(LEADER_PAUSE);
        }
        Err(Trouble::Other { doing: "find leaders for new topics", reason: "the brokers took too long".to_owned() })
    }

    /// The settings of topics that are there, in the order asked for.
    fn settings(&self, plans: &[&TopicPlan]) -> Result<Vec<ConfigResource>, Trouble> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<ResourceSpecifier<'_>> = plans.iter().map(|plan| ResourceSpecifier::Topic(&plan.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(MAKE_WAIT));
        let told = self.runtime.block_on(self.client.describe_configs(&asked, &options));
        let told = told.map_err(|error| self.watch.trouble("read the settings of topics", &error))?;
        let told: Result<Vec<ConfigResource>, RDKafkaErrorCode> = told.into_iter().collect();
        told.map_err(|code| self.watch.trouble("read the settings of topics", &KafkaError::AdminOp(code)))
    }
}

fn refuse_other_counts(plans: &[TopicPlan], metadata: &Metadata) -> Result<(), Trouble> {
    for plan in plans {
        let Some(topic) = found(metadata, plan) else { continue };
        let found = count(topic.partitions().len());
        if found != plan.partitions {
            return Err(Trouble::Partitions { topic: plan.name.clone(), found, planned: plan.partitions });
        }
    }
    Ok(())
}

/// A planned topic among those that are there.
fn found<'m>(metadata: &'m Metadata, plan: &TopicPlan) -> Option<&'m MetadataTopic> {
    metadata.topics().iter().find(|topic| topic.name() == plan.name)
}

/// Replicas of the partition that has fewest.
fn replicas(topic: &MetadataTopic) -> u32 {
    topic.partitions().iter().map(|partition| count(partition.replicas().len())).min().unwrap_or(0)
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
