//! What each topic should be like, and what it means where it is not.

use super::{Connection, Difference, PartitionCounts, Topic};
use crate::event_log::kafka::MESSAGE_BYTES_MAX;

/// Kafka's name of the least number of replicas in sync with which a record is taken.
pub(super) const MIN_IN_SYNC: &str = "min.insync.replicas";

const DAY_MS: i64 = 24 * 3_600_000;
/// No end.
const FOR_EVER: i64 = -1;
/// Room for what Kafka adds to a record of [`MESSAGE_BYTES_MAX`]; together they are Kafka's own default.
const BATCH_OVERHEAD_BYTES: usize = 48_588;

/// A topic as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicPlan {
    /// Which.
    pub topic: Topic,
    /// Its name in Kafka.
    pub name: String,
    /// Its partitions: fixed for ever.
    pub partitions: u32,
    /// Replicas of each.
    pub replication: u32,
    /// Kafka's settings.
    pub settings: Vec<(&'static str, String)>,
}

/// What happens to a topic's records in time.
enum Kept {
    /// Removed after so many milliseconds.
    For(i64),
    /// The last of each key is kept, others go.
    LastOfEachKey,
}

/// How long records are of use to whoever reads them.
const fn kept(topic: Topic) -> Kept {
    match topic {
        // Longer than the longest token lives and a month is invoiced: accounting and audit replay from here.
        Topic::Events | Topic::DeadLetter => Kept::For(40 * DAY_MS),
        // A lease's message is for one run of one server, and the lease is over within hours. What servers say of themselves is said again while they
        // live; their last word has to outlast an outage of accounting.
        Topic::Leases | Topic::Servers => Kept::For(DAY_MS),
        // The books.
        Topic::Ledger => Kept::For(FOR_EVER),
        Topic::Delivery | Topic::Catalog => Kept::LastOfEachKey,
        Topic::Engagement | Topic::Decisions | Topic::Listening => Kept::For(7 * DAY_MS),
    }
}

impl TopicPlan {
    /// Plans of all topics.
    #[must_use]
    pub fn all(connection: &Connection, counts: &PartitionCounts) -> Vec<Self> {
        Topic::ALL.map(|topic| Self::of(topic, connection, counts)).into()
    }

    fn of(topic: Topic, connection: &Connection, counts: &PartitionCounts) -> Self {
        let replication = connection.replication;
        let mut settings = match kept(topic) {
            Kept::For(ms) => vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", ms.to_string())],
            Kept::LastOfEachKey => vec![("cleanup.policy", "compact".to_owned())],
        };
        settings.extend([
            // The leader and one more, so that one broker may die without a record lost or a beacon waiting.
            (MIN_IN_SYNC, (replication / 2 + 1).to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
            ("max.message.bytes", (MESSAGE_BYTES_MAX + BATCH_OVERHEAD_BYTES).to_string()),
        ]);
        Self { topic, name: connection.topic_name(topic), partitions: counts.of(topic), replication, settings }
    }

    /// The difference in replicas, if there is one.
    pub(super) fn replication_difference(&self, found: u32) -> Option<Difference> {
        (found != self.replication).then(|| Difference {
            setting: "replication",
            found: found.to_string(),
            planned: self.replication.to_string(),
            meaning: "how many brokers may be lost with all of a partition's records; kafka-reassign-partitions.sh changes it, or set kafka.replication"
                .to_owned(),
        })
    }

    /// The differences in settings; `found` says how the topic has one.
    pub(super) fn differences(&self, found: impl Fn(&str) -> Option<String>) -> Vec<Difference> {
        let differing = self.settings.iter().filter_map(|(setting, planned)| {
            let found = found(setting).unwrap_or_else(|| "nothing".to_owned());
            (found != *planned).then(|| {
                let meaning = format!(
                    "{}; to change it: kafka-configs.sh --alter --topic {} --add-config {setting}={planned}",
                    meaning(setting, &found, planned),
                    self.name,
                );
                Difference { setting, found: in_words(setting, &found), planned: in_words(setting, planned), meaning }
            })
        });
        differing.collect()
    }
}

fn meaning(setting: &str, found: &str, planned: &str) -> &'static str {
    match setting {
        "cleanup.policy" if planned == "compact" => {
            "readers begin with the last record of each key, and records are removed by age here"
        }
        "cleanup.policy" => "records with the same key are removed here, and each of them counts",
        "retention.ms" if is_longer(planned, found) => {
            "records go sooner than whoever replays them expects: audit and replays end there"
        }
        "retention.ms" => "records are kept longer than needed: it takes disk, and erased listeners' pseudonyms stay",
        MIN_IN_SYNC if parse(Some(found)) < parse(Some(planned)) => {
            "a record is acknowledged with fewer copies: losing one broker may lose money"
        }
        MIN_IN_SYNC => "more brokers must be up to take a record: journals fill sooner when some are not",
        "unclean.leader.election.enable" => "a replica that lags may become leader: acknowledged records are lost then",
        "max.message.bytes" => "records of the largest size are refused, or larger ones taken",
        _ => "it is not as planned",
    }
}

fn is_longer(this: &str, other: &str) -> bool {
    let kept_ms = |text: &str| match text.parse::<i64>() {
        Ok(FOR_EVER) => i64::MAX,
        Ok(ms) => ms,
        Err(_) => 0,
    };
    kept_ms(this) > kept_ms(other)
}

/// The value as people say it.
fn in_words(setting: &str, value: &str) -> String {
    match (setting, value.parse::<i64>()) {
        ("retention.ms", Ok(FOR_EVER)) => "for ever".to_owned(),
        ("retention.ms", Ok(ms)) if ms % DAY_MS == 0 => format!("{} d", ms / DAY_MS),
        ("retention.ms", Ok(ms)) => format!("{ms} ms"),
        _ => value.to_owned(),
    }
}

/// A count as Kafka writes it.
pub(super) fn parse(value: Option<&str>) -> Option<u32> {
    value?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(topic: Topic) -> TopicPlan {
        let connection = Connection { topic_prefix: "test.".to_owned(), replication: 3, ..Connection::plain("x:1") };
        TopicPlan::of(topic, &connection, &PartitionCounts::default())
    }

    fn found_as(plan: &TopicPlan, changed: &str, value: &str) -> Vec<Difference> {
        plan.differences(|name| {
            let planned = plan.settings.iter().find(|(setting, _)| *setting == name).map(|(_, value)| value.clone());
            if name == changed { Some(value.to_owned()) } else { planned }
        })
    }

    #[test]
    fn two_of_three_replicas_take_a_record_and_the_only_one_of_one() {
        for (replication, needed) in [(1, "1"), (2, "2"), (3, "2"), (5, "3")] {
            let connection = Connection { replication, ..Connection::plain("x:1") };
            let plan = TopicPlan::of(Topic::Events, &connection, &PartitionCounts::default());
            assert!(plan.settings.contains(&(MIN_IN_SYNC, needed.to_owned())), "{replication}: {plan:?}");
        }
    }

    #[test]
    fn a_difference_says_what_it_means_and_how_to_mend_it() {
        let events = plan(Topic::Events);
        assert_eq!((events.name.as_str(), events.partitions), ("test.segue.events", 64));
        assert_eq!(found_as(&events, "", ""), []);
        let cases = [
            ("retention.ms", "604800000", "7 d", "40 d", "sooner"),
            ("retention.ms", "-1", "for ever", "40 d", "longer"),
            ("cleanup.policy", "compact", "compact", "delete", "each of them counts"),
            ("min.insync.replicas", "1", "1", "2", "may lose money"),
            ("min.insync.replicas", "3", "3", "2", "more brokers"),
        ];
        for (setting, value, found, planned, meaning) in cases {
            let differences = found_as(&events, setting, value);
            assert_eq!(differences.len(), 1, "{setting}: {differences:?}");
            assert_eq!((differences[0].found.as_str(), differences[0].planned.as_str()), (found, planned));
            assert!(differences[0].meaning.contains(meaning), "{differences:?}");
            assert!(differences[0].meaning.contains("--topic test.segue.events --add-config"), "{differences:?}");
        }
        assert!(found_as(&plan(Topic::Ledger), "retention.ms", "1")[0].meaning.contains("sooner"));
        assert!(found_as(&plan(Topic::Catalog), "cleanup.policy", "delete")[0].meaning.contains("last record"));
    }

    #[test]
    fn replicas_are_compared() {
        assert_eq!(plan(Topic::Events).replication_difference(3), None);
        assert!(plan(Topic::Events).replication_difference(1).is_some());
    }
}
