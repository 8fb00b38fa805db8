//! Configuration: read once, checked whole, before a port is opened.
//!
//! Settings come from defaults, a file, the environment and flags, the later over the earlier. `raw` holds them as typed, [`Config`] as
//! valid values with their units. All that is wrong is told at once, each with its name, the reason and where it came from.

mod assets;
mod cql;
mod kafka;
mod raw;
mod roles;
mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::event_log::PartitionCounts;
use crate::event_log::kafka::{Compression, Connection};
use crate::impressions::HeardRule;
use crate::store::cql::CqlConnection;
pub use assets::AssetsConfig;
use raw::RawConfig;
pub use raw::{Problem, Sources};
pub use roles::{Roles, SharedRoles};
pub use settings::{Audience, Kind, SETTINGS, Setting, example};

use crate::impressions::invalid::{ActivityLimits, AddressRange, AddressRanges};

/// A valid configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What this process does.
    pub roles: Roles,
    /// The HTTP server.
    pub server: ServerConfig,
    /// Folder of all state.
    pub data_dir: PathBuf,
    /// The local journals.
    pub journal: JournalConfig,
    /// Ad decisions.
    pub decision: DecisionConfig,
    /// Creatives' files.
    pub assets: AssetsConfig,
    /// The money.
    pub accounting: AccountingConfig,
    /// Invalid traffic.
    pub invalid_traffic: InvalidTrafficConfig,
    /// How Kafka is reached, if there is one.
    pub kafka: Option<Connection>,
    /// Partitions of the topics in Kafka.
    pub kafka_partitions: PartitionCounts,
    /// How records are compressed in Kafka.
    pub kafka_compression: Compression,
    /// How CQL is reached, if it is there.
    pub cql: Option<CqlConnection>,
    /// Hours after which the key that seals tokens is replaced.
    pub tokens_rotate_hours: u32,
    /// Most time for requests in flight to end at shutdown.
    pub shutdown_drain_ms: u64,
    /// Logging.
    pub log: LogConfig,
    /// How many times faster than real time the server's clock runs; 1 but in demonstrations.
    pub clock_acceleration: u32,
}

/// The HTTP server's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Worker threads; 0 is one a core.
    pub workers: usize,
    /// Beginning of tracking URLs, without a slash at its end; absent: the address listened on.
    pub public_url: Option<String>,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: AddressRanges,
    /// Time for a client to send its request's head.
    pub request_timeout_ms: u64,
    /// How long a first start waits for Kafka and CQL.
    pub start_wait_seconds: u64,
}

/// The journals' part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalConfig {
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Most that the money journal may take on disk.
    pub quota_bytes: u64,
    /// Time after which an unsynced beacon is answered 503.
    pub ack_timeout_ms: u64,
    /// Where the process is to kill itself, for the crash tests.
    pub fault: Option<Fault>,
}

/// The decision role's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecisionConfig {
    /// One break in this many is evaluated exhaustively, off the request path.
    pub sample_one_in: u32,
    /// Listeners kept in memory.
    pub listener_cache_entries: usize,
    /// When an app or address gets house ads only.
    pub heard: HeardRule,
}

/// Accounting's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountingConfig {
    /// Time between two commits of balances, ledger and position.
    pub commit_interval_ms: u64,
    /// Need that a lease covers.
    pub lease_seconds: u64,
}

/// The rules of invalid traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidTrafficConfig {
    /// Known robots beside the built-in ones.
    pub robots_file: Option<PathBuf>,
    /// Networks in which nobody listens.
    pub data_centres_file: Option<PathBuf>,
    /// How much of one listener or address is too much.
    pub activity: ActivityLimits,
}

/// Logging.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// Filter directives, as `tracing` writes them.
    pub level: String,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A planned death of the process, for the crash tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where.
    pub point: FaultPoint,
    /// At which passing of that point, from 1 on.
    pub passing: u64,
}

/// Points at which a crash is worth testing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultPoint {
    /// In the middle of appending a record to the money journal.
    Append,
    /// After the write, before fdatasync.
    BeforeSync,
    /// In the change from one segment to the next.
    Roll,
    /// In accounting's commit.
    AccountingCommit,
}

/// A configuration that can't be used, with all that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong; nothing was started")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Config {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// [`ConfigError`] with every wrong setting.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut raw = RawConfig::merge(sources);
        let config = Self::read(&mut raw);
        config.check_together(&mut raw);
        let problems = raw.finish();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }

    fn read(raw: &mut RawConfig) -> Self {
        Self {
            roles: raw.parsed("server.roles", roles::read),
            server: ServerConfig {
                listen: raw.address("server.listen"),
                workers: raw.number_usize("server.workers"),
                public_url: raw.parsed("server.public_url", public_url),
                max_body_bytes: raw.number_usize("server.max_body_bytes"),
                trusted_proxies: raw.parsed("server.trusted_proxies", proxies),
                request_timeout_ms: raw.number("server.request_timeout_ms"),
                start_wait_seconds: raw.number("server.start_wait_seconds"),
            },
            data_dir: raw.path("data.dir"),
            journal: JournalConfig {
                segment_bytes: raw.number("journal.segment_bytes"),
                quota_bytes: raw.number("journal.quota_bytes"),
                ack_timeout_ms: raw.number("journal.ack_timeout_ms"),
                fault: raw.parsed("journal.fault", fault),
            },
            decision: DecisionConfig {
                sample_one_in: raw.number_u32("decision.sample_one_in"),
                listener_cache_entries: raw.number_usize("decision.listener_cache_entries"),
                heard: HeardRule {
                    min_percent: raw.number_u32("decision.heard_min_percent"),
                    min_draws: raw.number_u32("decision.heard_min_draws"),
                    window_ms: seconds_ms(raw.number_u32("decision.heard_window_seconds")),
                    grace_ms: seconds_ms(raw.number_u32("decision.heard_grace_seconds")),
                    probe_one_in: raw.number_u32("decision.heard_probe_one_in"),
                },
            },
            assets: assets::read(raw),
            accounting: AccountingConfig {
                commit_interval_ms: raw.number("accounting.commit_interval_ms"),
                lease_seconds: raw.number("accounting.lease_seconds"),
            },
            invalid_traffic: InvalidTrafficConfig {
                robots_file: raw.parsed("invalid_traffic.robots_file", optional_path),
                data_centres_file: raw.parsed("invalid_traffic.data_centres_file", optional_path),
                activity: ActivityLimits {
                    listener_hour: raw.number_usize("invalid_traffic.listener_hour_max"),
                    listener_burst: raw.number_usize("invalid_traffic.listener_burst_max"),
                    address_hour: raw.number_usize("invalid_traffic.address_hour_max"),
                    remembered: raw.number_usize("invalid_traffic.remembered_impressions"),
                },
            },
            kafka: kafka::read(raw),
            kafka_partitions: kafka::partitions(raw.number_u32("kafka.events_partitions")),
            kafka_compression: kafka::compression(raw.choice("kafka.compression")),
            cql: cql::read(raw),
            tokens_rotate_hours: raw.number_u32("tokens.rotate_hours"),
            shutdown_drain_ms: raw.number("shutdown.drain_ms"),
            log: LogConfig {
                level: raw.parsed("log.level", log_level),
                format: if raw.choice("log.format") == "json" { LogFormat::Json } else { LogFormat::Text },
            },
            clock_acceleration: raw.number_u32("clock.acceleration"),
        }
    }

    fn check_together(&self, raw: &mut RawConfig) {
        if self.assets.limits.duration_ms_min > self.assets.limits.duration_ms_max {
            let reason = format!("must be at most assets.max_duration_ms, {}", self.assets.limits.duration_ms_max);
            raw.refuse_together("assets.min_duration_ms", reason);
        }
        if self.roles != Roles::All {
            let missing = [("kafka.brokers", self.kafka.is_none()), ("cql.hosts", self.cql.is_none())];
            for (setting, _) in missing.into_iter().filter(|(_, missing)| *missing) {
                raw.refuse_together(setting, "must be set where server.roles is not all: servers share it".to_owned());
            }
        }
        if let Roles::Some(SharedRoles { assets: true, .. }) = self.roles
            && self.assets.dir.is_none()
        {
            let reason =
                "must be set where the role assets is one of many servers': campaign puts files there".to_owned();
            raw.refuse_together("assets.dir", reason);
        }
        // Fewer than four segments: the one being written, the next, and nothing to keep.
        if self.journal.quota_bytes / 4 < self.journal.segment_bytes {
            let reason = format!("must hold at least four segments of {} bytes", self.journal.segment_bytes);
            raw.refuse_together("journal.quota_bytes", reason);
        }
        let HeardRule { window_ms, grace_ms, .. } = self.decision.heard;
        if grace_ms > window_ms {
            let reason = format!("must be at most decision.heard_window_seconds, {}", window_ms / 1_000);
            raw.refuse_together("decision.heard_grace_seconds", reason);
        }
    }
}

fn seconds_ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

fn public_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', ' ', '@']) => {
            Ok(Some(text.trim_end_matches('/').to_owned()))
        }
        _ => Err("expected a URL such as https://ads.example.com, without path or query".to_owned()),
    }
}

fn proxies(text: &str) -> Result<AddressRanges, String> {
    let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty());
    let networks: Result<Vec<AddressRange>, _> = networks.map(str::parse).collect();
    networks.map(AddressRanges::of).map_err(|error| error.to_string())
}

#[allow(clippy::unnecessary_wraps, reason = "every text is a path; the other readers of settings can refuse")]
fn optional_path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

fn log_level(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("expected error, warn, info, debug, trace or a filter such as info,segue::journal=debug".to_owned()),
    }
}

fn fault(text: &str) -> Result<Option<Fault>, String> {
    if text == "none" {
        return Ok(None);
    }
    let parsed = text.split_once(':').and_then(|(point, passing)| {
        let point = match point {
            "append" => FaultPoint::Append,
            "before_sync" => FaultPoint::BeforeSync,
            "roll" => FaultPoint::Roll,
            "accounting_commit" => FaultPoint::AccountingCommit,
            _ => return None,
        };
        let passing = passing.parse().ok().filter(|passing| *passing > 0)?;
        Some(Fault { point, passing })
    });
    parsed.map(Some).ok_or_else(|| "expected none, or a point and a number such as append:17".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_flags(flags: &[(&str, &str)]) -> Sources {
        let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned(), "--set".to_owned()));
        Sources { flags: flags.collect(), ..Sources::default() }
    }

    fn from_file(text: &str) -> (tempfile::TempDir, Sources) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("segue.toml");
        std::fs::write(&path, text).expect("writes");
        (dir, Sources { file: Some(path), ..Sources::default() })
    }

    fn problems(sources: &Sources) -> Vec<(String, String)> {
        let error = Config::load(sources).expect_err("a wrong configuration");
        error.problems.into_iter().map(|problem| (problem.setting, problem.reason)).collect()
    }

    #[test]
    fn defaults_are_valid() {
        let config = Config::load(&Sources::default()).expect("valid");
        assert_eq!(config.server.listen, "127.0.0.1:8080".parse().expect("an address"));
        assert_eq!(config.data_dir, PathBuf::from("./segue-data"));
        assert_eq!(config.journal.fault, None);
    }

    #[test]
    fn the_example_file_is_complete_valid_and_says_the_defaults() {
        let (_dir, sources) = from_file(&example());
        assert_eq!(Config::load(&sources), Config::load(&Sources::default()));
        for setting in SETTINGS {
            let (section, key) = setting.name.split_once('.').expect("section.key");
            let shown = example()
                .split(&format!("[{section}]\n"))
                .nth(1)
                .is_some_and(|rest| rest.split("\n[").next().is_some_and(|body| body.contains(&format!("\n{key} = "))));
            assert_eq!(shown, setting.audience == Audience::Operator, "{} in the example", setting.name);
        }
    }

    #[test]
    fn the_bounds_of_every_number_are_accepted_and_beyond_them_refused() {
        for setting in SETTINGS {
            let Kind::Number { min, max, .. } = setting.kind else { continue };
            for (value, valid) in [(min, true), (max, true), (max + 1, false)] {
                let text = value.to_string();
                // A quota and a segment must fit each other, and a grace its window; here each is tested alone.
                let mut flags = vec![(setting.name, text.as_str())];
                match setting.name {
                    "journal.quota_bytes" => flags.push(("journal.segment_bytes", "65536")),
                    "journal.segment_bytes" => flags.push(("journal.quota_bytes", "1099511627776")),
                    "decision.heard_window_seconds" => flags.push(("decision.heard_grace_seconds", "1")),
                    "decision.heard_grace_seconds" => flags.push(("decision.heard_window_seconds", "604800")),
                    _ => {}
                }
                assert_eq!(Config::load(&from_flags(&flags)).is_ok(), valid, "{} = {value}", setting.name);
            }
        }
    }

    #[test]
    fn later_sources_win() {
        let (_dir, mut sources) =
            from_file("[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n[log]\nlevel = \"warn\"\n");
        sources.environment = vec![
            ("SEGUE_SERVER__LISTEN".into(), "127.0.0.1:2".into()),
            ("SEGUE_SERVER__WORKERS".into(), "4".into()),
            ("SEGUE_PORT_8080_TCP".into(), "injected by an orchestrator".into()),
            ("PATH".into(), "/bin".into()),
        ];
        sources.flags = vec![("server.listen".into(), "127.0.0.1:3".into(), "--listen".into())];
        let config = Config::load(&sources).expect("valid");
        assert_eq!(config.server.listen.port(), 3);
        assert_eq!(config.server.workers, 4);
        assert_eq!(config.log.level, "warn");
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_source_and_reason() {
        let (dir, mut sources) = from_file("[server]\nlisten = 8080\n[journal]\nquota_bytes = -1\nspeed = 3\n");
        sources.environment = vec![("SEGUE_LOG__FORMAT".into(), "xml".into())];
        sources.flags = vec![("server.workers".into(), "many".into(), "--set".into())];
        let error = Config::load(&sources).expect_err("wrong").to_string();
        let file = dir.path().join("segue.toml");
        let file = file.display();
        for expected in [
            format!("server.listen: expected a text in quotes, found 8080 (from file {file})"),
            format!(
                "journal.quota_bytes: expected a whole number from 1048576 to 1099511627776, found a number out of range (from file {file})"
            ),
            format!(
                "journal.speed: no setting has this name; `segue config example` prints all of them (from file {file})"
            ),
            "log.format: expected one of: text, json, found \"xml\" (from environment variable SEGUE_LOG__FORMAT)"
                .to_owned(),
            "server.workers: expected a whole number from 0 to 1024, found \"many\" (from flag --set)".to_owned(),
        ] {
            assert!(error.contains(&expected), "{expected}\nis not in\n{error}");
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        #[rustfmt::skip]
        let cases = [
            ("server.listen", "localhost"), ("server.listen", "127.0.0.1"), ("server.public_url", "ads.example.com"),
            ("server.trusted_proxies", "10.0.0.1/8"), ("server.trusted_proxies", "proxy.example"),
            ("server.public_url", "https://ads.example.com/path"), ("server.workers", "-1"), ("server.workers", "1.5"),
            ("journal.fault", "append"), ("journal.fault", "append:0"), ("journal.fault", "fsync:1"), ("data.dir", ""),
            ("log.level", "loud=very"), ("log.level", ""), ("clock.acceleration", "0"), ("server", "3"), ("serverlisten", "x"),
        ];
        for (name, value) in cases {
            let problems = problems(&from_flags(&[(name, value)]));
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert_eq!(problems[0].0, name);
        }
    }

    #[test]
    fn a_file_that_is_missing_or_not_toml_is_a_problem() {
        let missing = Sources { file: Some("does/not/exist.toml".into()), ..Sources::default() };
        assert_eq!(problems(&missing)[0].1, "there is no such file");
        let (_dir, sources) = from_file("[server\n");
        assert!(problems(&sources)[0].1.starts_with("not TOML"), "{:?}", problems(&sources));
    }

    #[test]
    fn a_variable_with_one_underscore_is_not_passed_over() {
        let environment = vec![("SEGUE_SERVER_LISTEN".into(), "127.0.0.1:1".into())];
        let problems = problems(&Sources { environment, ..Sources::default() });
        assert!(problems[0].1.contains("SEGUE_SERVER__LISTEN"), "{problems:?}");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let problems = problems(&from_flags(&[("journal.quota_bytes", "1048576")]));
        assert_eq!(problems[0].0, "journal.quota_bytes");
        let problems = self::problems(&from_flags(&[("decision.heard_window_seconds", "60")]));
        assert_eq!(problems[0].0, "decision.heard_grace_seconds");
    }

    #[test]
    fn faults_and_urls_are_understood() {
        assert_eq!(fault("roll:2"), Ok(Some(Fault { point: FaultPoint::Roll, passing: 2 })));
        assert_eq!(public_url("https://ads.example.com/"), Ok(Some("https://ads.example.com".into())));
    }
}
