//! How Kafka is reached, from the settings of its section.

use super::optional_path;
use super::raw::RawConfig;
use crate::event_log::kafka::{Compression, Connection, Login, Mechanism, Password, Security};
use crate::event_log::{PartitionCounts, Topic};

/// Longest prefix of topics' names: Kafka's names have 249 characters at most.
const PREFIX_CHARS_MAX: usize = 64;

/// Reads the section. Without brokers there is no Kafka, whatever else stands there.
pub(super) fn read(raw: &mut RawConfig) -> Option<Connection> {
    let brokers = raw.parsed("kafka.brokers", brokers);
    let topic_prefix = raw.parsed("kafka.topic_prefix", topic_prefix);
    let security = raw.choice("kafka.security");
    let ca_file = raw.parsed("kafka.ca_file", optional_path);
    let mechanism = raw.choice("kafka.sasl_mechanism");
    let mechanism = Mechanism::ALL.into_iter().find(|known| known.name() == mechanism);
    let user = raw.parsed("kafka.user", |text| Ok(text.to_owned()));
    let password_file = raw.parsed("kafka.password_file", optional_path);
    let replication = raw.number_u32("kafka.replication");
    let connect_timeout_ms = raw.number("kafka.connect_timeout_ms");
    if brokers.is_empty() {
        return None;
    }
    let (tls, sasl) = (security.ends_with("tls"), security.starts_with("sasl"));
    let mut login = None;
    match (sasl, password_file) {
        (false, None) if user.is_empty() => {}
        (false, _) => {
            let reason = "is for kafka.security sasl_plaintext or sasl_tls; without sasl nobody logs in".to_owned();
            raw.refuse_together("kafka.user or kafka.password_file", reason);
        }
        (true, Some(path)) if !user.is_empty() => {
            let mechanism = mechanism.expect("the table has the mechanisms' names: a test reads each");
            login = Some(Login { mechanism, user, password: Password::File(path) });
        }
        (true, _) => {
            let reason = format!("must both be given with kafka.security {security}");
            raw.refuse_together("kafka.user and kafka.password_file", reason);
        }
    }
    if ca_file.is_some() && !tls {
        raw.refuse_together("kafka.ca_file", "is for kafka.security tls or sasl_tls".to_owned());
    }
    let security = Security { tls, ca_file, login };
    Some(Connection { brokers, topic_prefix, security, connect_timeout_ms, replication })
}

/// The topics' partitions, of which some can be configured.
pub(super) fn partitions(events: u32) -> PartitionCounts {
    let of_events = [Topic::Events, Topic::Engagement, Topic::Decisions, Topic::Ledger];
    of_events.into_iter().fold(PartitionCounts::default(), |counts, topic| {
        // A count out of range was refused by name; nothing is made of what stands here then.
        counts.with(topic, events).unwrap_or(counts)
    })
}

/// The compression of that name.
pub(super) fn compression(name: &str) -> Compression {
    if name == Compression::Lz4.name() { Compression::Lz4 } else { Compression::Zstd }
}

pub(super) fn brokers(text: &str) -> Result<String, String> {
    let is_broker = |broker: &str| {
        let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) && !broker.contains(['/', ' '])
    };
    let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
    if text.is_empty() || brokers.iter().all(|broker| is_broker(broker)) {
        return Ok(if text.is_empty() { String::new() } else { brokers.join(",") });
    }
    Err("expected host:port with commas between them, such as kafka-1:9092,kafka-2:9092".to_owned())
}

fn topic_prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.len() <= PREFIX_CHARS_MAX && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("expected up to {PREFIX_CHARS_MAX} of letters, digits, dot, hyphen and underscore"))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn load(settings: &[(&str, &str)]) -> Result<Option<Connection>, Vec<String>> {
        let flags =
            settings.iter().map(|(name, value)| (format!("kafka.{name}"), (*value).to_owned(), "--set".to_owned()));
        let loaded = Config::load(&Sources { flags: flags.collect(), ..Sources::default() });
        loaded.map(|config| config.kafka).map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_brokers_there_is_no_kafka() {
        assert_eq!(load(&[("user", "someone")]), Ok(None));
    }

    #[test]
    fn every_mechanism_and_security_is_understood() {
        for mechanism in Mechanism::ALL {
            for (security, tls) in [("sasl_tls", true), ("sasl_plaintext", false)] {
                let settings = [
                    ("brokers", "a:1, b:2"),
                    ("security", security),
                    ("sasl_mechanism", mechanism.name()),
                    ("user", "segue"),
                    ("password_file", "secret"),
                ];
                let connection = load(&settings).expect("valid").expect("there");
                assert_eq!((connection.brokers.as_str(), connection.security.tls), ("a:1,b:2", tls));
                assert_eq!(connection.security.login.map(|login| login.mechanism), Some(mechanism));
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("brokers", "kafka")], "expected host:port"),
            (&[("brokers", "kafka:0")], "expected host:port"),
            (&[("brokers", "a:1,")], "expected host:port"),
            (&[("brokers", "a:1"), ("topic_prefix", "a b")], "letters, digits"),
            (&[("brokers", "a:1"), ("user", "segue")], "nobody logs in"),
            (&[("brokers", "a:1"), ("security", "sasl_tls"), ("user", "segue")], "must both be given"),
            (&[("brokers", "a:1"), ("ca_file", "ca.pem")], "is for kafka.security tls"),
        ];
        for (settings, reason) in cases {
            let problems = load(settings).expect_err("refused");
            assert!(problems.len() == 1 && problems[0].contains(reason), "{settings:?}: {problems:?}");
        }
    }
}
