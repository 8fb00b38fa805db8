//! How CQL is reached, from the settings of its section.

use super::optional_path;
use super::raw::RawConfig;
use crate::store::cql::{CqlConnection, CqlTls};

/// Longest name of a keyspace that CQL takes.
const NAME_CHARS_MAX: usize = 48;

/// Reads the section. Without hosts there is no CQL, whatever else stands there.
pub(super) fn read(raw: &mut RawConfig) -> Option<CqlConnection> {
    let hosts = raw.parsed("cql.hosts", super::kafka::brokers);
    let keyspace = raw.parsed("cql.keyspace", keyspace);
    let datacenter = raw.parsed("cql.datacenter", datacenter);
    let replication = raw.number_u32("cql.replication");
    let user = raw.parsed("cql.user", |text| Ok(text.to_owned()));
    let password_file = raw.parsed("cql.password_file", optional_path);
    let tls = raw.choice("cql.tls") == "on";
    let ca_file = raw.parsed("cql.ca_file", optional_path);
    let connect_timeout_ms = raw.number("cql.connect_timeout_ms");
    let read_timeout_ms = raw.number("cql.read_timeout_ms");
    let speculative_after_ms = raw.number("cql.speculative_after_ms");
    let write_timeout_ms = raw.number("cql.write_timeout_ms");
    let conditional_timeout_ms = raw.number("cql.conditional_timeout_ms");
    let listener_max_age_ms = raw.number("cql.listener_max_age_ms");
    if hosts.is_empty() {
        return None;
    }
    let login = match password_file {
        Some(path) if !user.is_empty() => Some((user, path)),
        None if user.is_empty() => None,
        _ => {
            raw.refuse_together("cql.user and cql.password_file", "must both be given, or neither".to_owned());
            None
        }
    };
    if ca_file.is_some() && !tls {
        raw.refuse_together("cql.ca_file", "is for cql.tls on".to_owned());
    }
    let tls = tls.then_some(CqlTls { ca_file });
    let hosts = hosts.split(',').map(str::to_owned).collect();
    Some(CqlConnection {
        hosts,
        keyspace,
        datacenter,
        replication,
        login,
        tls,
        connect_timeout_ms,
        read_timeout_ms,
        speculative_after_ms,
        write_timeout_ms,
        conditional_timeout_ms,
        listener_max_age_ms,
    })
}

fn keyspace(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.len() <= NAME_CHARS_MAX && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("expected a letter, then up to {} of a-z, 0-9 and underscore", NAME_CHARS_MAX - 1))
}

fn datacenter(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("expected the name of a data centre: letters, digits, hyphen, underscore and dot".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn load(settings: &[(&str, &str)]) -> Result<Option<CqlConnection>, Vec<String>> {
        let flags =
            settings.iter().map(|(name, value)| (format!("cql.{name}"), (*value).to_owned(), "--set".to_owned()));
        let loaded = Config::load(&Sources { flags: flags.collect(), ..Sources::default() });
        loaded.map(|config| config.cql).map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_hosts_there_is_no_cql() {
        assert_eq!(load(&[("keyspace", "ads")]), Ok(None));
        let connection = load(&[("hosts", "a:1, b:2")]).expect("valid").expect("there");
        assert_eq!(
            (connection.hosts, connection.keyspace),
            (vec!["a:1".to_owned(), "b:2".to_owned()], "segue".to_owned())
        );
    }

    #[test]
    fn tls_is_off_unless_it_is_asked_for() {
        let tls = |settings: &[(&str, &str)]| load(settings).expect("valid").expect("there").tls;
        assert_eq!(tls(&[("hosts", "a:1")]), None);
        assert_eq!(tls(&[("hosts", "a:1"), ("tls", "on")]), Some(CqlTls { ca_file: None }));
        let ours = tls(&[("hosts", "a:1"), ("tls", "on"), ("ca_file", "ca.pem")]);
        assert_eq!(ours, Some(CqlTls { ca_file: Some("ca.pem".into()) }));
    }

    #[test]
    fn what_could_be_no_name_is_refused() {
        for (name, value) in [
            ("hosts", "a"),
            ("keyspace", ""),
            ("keyspace", "1a"),
            ("keyspace", "a; DROP TABLE b"),
            ("datacenter", ""),
            ("datacenter", "a'"),
            ("user", "somebody"),
            ("tls", "yes"),
            ("ca_file", "ca.pem"),
        ] {
            let problems = load(&[("hosts", "a:1"), (name, value)]).expect_err("refused");
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
        }
    }
}
