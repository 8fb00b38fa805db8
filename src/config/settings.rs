//! The table of settings: name, kind, default, bounds and meaning of each. The example file is printed from it, and reading checks against it.
//!
//! To add a setting: a line here, a field in [`super::Config`] and the line in `Config::read` that joins them; then
//! `UPDATE_GOLDEN=1 cargo test --lib config` writes the example file anew.

/// One thing that can be configured.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Section and key: `server.listen`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it does, for the person who runs the server. Sentences; wrapped where it is printed.
    pub doc: &'static str,
    /// Settings for tests and demonstrations are accepted but not in the example.
    pub audience: Audience,
}

/// Whom a setting is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Whoever runs a server.
    Operator,
    /// Tests and the demo: not in the example file.
    Test,
}

/// The values that a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number from `min` to `max`, both included.
    Number {
        /// Value where nothing is set.
        default: u64,
        /// Least value accepted.
        min: u64,
        /// Greatest value accepted.
        max: u64,
        /// What is counted: `bytes`, `ms`.
        unit: &'static str,
    },
    /// An IP address with a port.
    Address {
        /// Value where nothing is set.
        default: &'static str,
    },
    /// A path of the file system, relative to the working folder.
    Path {
        /// Value where nothing is set.
        default: &'static str,
    },
    /// A text with a form of its own, judged where it is read.
    Text {
        /// Value where nothing is set.
        default: &'static str,
        /// The form, in words.
        form: &'static str,
    },
    /// One of a few words.
    Choice {
        /// Value where nothing is set.
        default: &'static str,
        /// All of them.
        words: &'static [&'static str],
    },
}

const fn number(
    name: &'static str,
    default: u64,
    bounds: (u64, u64),
    unit: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        name,
        kind: Kind::Number { default, min: bounds.0, max: bounds.1, unit },
        doc,
        audience: Audience::Operator,
    }
}

const fn setting(name: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { name, kind, doc, audience: Audience::Operator }
}

const fn for_tests(setting: Setting) -> Setting {
    Setting { audience: Audience::Test, ..setting }
}

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const GIB: u64 = 1_024 * MIB;

/// All settings, grouped by section, in the order of the example file.
#[rustfmt::skip] // a table: one setting a paragraph
pub const SETTINGS: &[Setting] = &[
    setting("server.listen", Kind::Address { default: "127.0.0.1:8080" },
        "Address and port that players, beacons and the API reach. Port 0 takes any free port; the first line printed tells which."),
    setting("server.roles", Kind::Text { default: "all", form: "all, or some of decision, beacon, campaign, accounting, profile and assets, with commas between them" },
        "What this process does. all: everything, with its state in data.dir and no other service. Some of them: as one of many servers, which share their \
        event log in Kafka and their state in CQL. decision and beacon go together. assets serves creatives' files; campaign takes them in."),
    number("server.workers", 0, (0, 1_024), "threads",
        "HTTP worker threads. 0 takes one for each core."),
    setting("server.public_url", Kind::Text { default: "", form: "an http or https URL without a path, or nothing" },
        "What players see: the beginning of tracking and click URLs. Empty: http:// and the address listened on."),
    number("server.max_body_bytes", 256 * KIB, (4 * KIB, 16 * MIB), "bytes",
        "Largest request body. A larger one is answered 413 before it is read. A line item with 50,000 audience ids takes about 1.5 MB."),
    setting("server.trusted_proxies", Kind::Text { default: "", form: "addresses and networks with commas between them, such as 10.0.0.0/8, 2001:db8::/32, or nothing" },
        "Proxies whose X-Forwarded-For header is believed: the sender of a request is the rightmost entry that is none of them. \
        Empty: the header is not looked at, and behind a proxy every request seems to come from it."),
    number("server.request_timeout_ms", 5_000, (100, 60_000), "ms",
        "Time in which a client must have sent its request's head; slower ones are dropped."),
    number("server.start_wait_seconds", 60, (0, 86_400), "s",
        "How long one of many servers waits at its first start in a data.dir for a Kafka or CQL that does not answer; then it says so and ends. Once it \
        has reached both, later starts wait without end: decision and beacon keep beacons meanwhile and are not ready, the others wait."),

    setting("data.dir", Kind::Path { default: "./segue-data" },
        "Folder of all state: journals, stores, keys. Created when missing. One process at a time."),

    number("journal.segment_bytes", 64 * MIB, (64 * KIB, GIB), "bytes",
        "Size of one journal file, allocated ahead. Whole files are deleted when they are no longer needed."),
    number("journal.quota_bytes", 8 * GIB, (MIB, 1_024 * GIB), "bytes",
        "Most that the money journal may take. When it is full, paid ads stop; no billable record is dropped."),
    number("journal.ack_timeout_ms", 250, (10, 10_000), "ms",
        "A beacon that is not on disk after this time is answered 503, and the player sends it again."),
    for_tests(setting("journal.fault", Kind::Text { default: "none", form: "none, or POINT:N with POINT one of append, before_sync, roll, accounting_commit" },
        "The process kills itself at the N-th passing of this point.")),

    number("decision.sample_one_in", 256, (1, 1_000_000), "breaks",
        "One ad break in this many is evaluated again off the request path, without early stop, for supply and the reasons of non-delivery."),
    number("decision.listener_cache_entries", 200_000, (1_000, 100_000_000), "listeners",
        "Listeners whose state is kept in memory. About 1 kB each."),
    number("decision.heard_min_percent", 10, (0, 100), "% of draws",
        "An app, or a network of addresses (IPv4 /24, IPv6 /48), that reports fewer of its paid ads as heard gets house ads only. 0 limits nobody."),
    number("decision.heard_min_draws", 200, (1, 1_000_000), "ads",
        "Paid ads that an app or address must have been answered within the window, and have had the time to play, before it is judged."),
    number("decision.heard_window_seconds", 10_800, (60, 604_800), "s",
        "How far back an app or address is judged. When it is limited it is let go after this time at the latest, if it has begun to play."),
    number("decision.heard_grace_seconds", 3_600, (1, 604_800), "s",
        "Time to play an ad before it counts as not heard; less where its token lives shorter. At most the window. Longer where players fetch far ahead or play offline."),
    number("decision.heard_probe_one_in", 20, (2, 1_000_000), "breaks",
        "One in this many breaks of a limited app or address gets paid ads all the same, to see whether it plays them now."),

    setting("assets.dir", Kind::Text { default: "", form: "a path, or nothing" },
        "Folder of creatives' files. Empty: assets in data.dir. Servers that take or serve the same files need the same folder, on a file system that they share."),
    setting("assets.public_url", Kind::Text { default: "", form: "an http or https URL without a path, or nothing" },
        "Beginning of the signed URLs of files: where a CDN stands in front of /a/. Empty: as server.public_url."),
    number("assets.max_bytes", 32 * MIB, (KIB, GIB), "bytes",
        "Largest file that is taken."),
    number("assets.min_duration_ms", 1_000, (1, 60_000), "ms",
        "Shortest sound that is taken."),
    number("assets.max_duration_ms", 180_000, (1_000, 600_000), "ms",
        "Longest sound that is taken; decoding stops there."),
    setting("assets.formats", Kind::Text { default: "mp3,ogg,wav,aac,m4a", form: "some of mp3, ogg, wav, flac, aac and m4a, with commas between them" },
        "Kinds of sound that are taken. No player names FLAC: creatives can't use it."),
    setting("assets.loudness_lufs", Kind::Text { default: "-24..-12", form: "two whole numbers of LUFS from -70 to 0, with .. between them" },
        "Integrated loudness (EBU R 128) that sound should have."),
    setting("assets.true_peak_dbtp", Kind::Text { default: "0", form: "a whole number of dBTP from -20 to 20" },
        "Highest true peak that sound should have."),
    setting("assets.loudness_rule", Kind::Choice { default: "warn", words: &["warn", "refuse"] },
        "What is done about sound outside of these two: warn takes it and says so in the answer, refuse does not take it."),

    number("accounting.commit_interval_ms", 200, (1, 10_000), "ms",
        "How often balances, ledger and position are committed. Longer: fewer writes, later reports."),
    number("accounting.lease_seconds", 900, (5, 3_600), "s",
        "How much need a lease of budget covers. Longer bridges a longer outage of accounting; shorter spreads the end of a budget better."),

    setting("invalid_traffic.robots_file", Kind::Text { default: "", form: "a path, or nothing" },
        "File of known robots, added to the short built-in list: a word of the user agent a line, in any case; ! before it makes it an exception; \
        # begins a comment. Read when the server starts. What a robot reports is kept and not billed; it is given no paid ads."),
    setting("invalid_traffic.data_centres_file", Kind::Text { default: "", form: "a path, or nothing" },
        "File of networks in which nobody listens: one a line, such as 192.0.2.0/24 or 2001:db8::/32; # begins a comment. Read when the server \
        starts. What is sent from there is kept and not billed, and given no paid ads. Servers that ask for players do not belong in it."),
    number("invalid_traffic.listener_hour_max", 60, (0, 10_000), "impressions",
        "Most impressions of one listener decided within an hour; those beyond are kept and not billed (impossible_activity). 0 for no limit."),
    number("invalid_traffic.listener_burst_max", 30, (0, 10_000), "impressions",
        "Most impressions of one listener decided within ten minutes; those beyond are kept and not billed (listener_rate). 0 for no limit."),
    number("invalid_traffic.address_hour_max", 3_000, (0, 100_000), "impressions",
        "Most impressions decided within an hour that one IPv4 address, or one /64 of IPv6, reports; those beyond are kept and not billed \
        (address_rate). Private addresses are not limited. 0 for no limit."),
    number("invalid_traffic.remembered_impressions", 500_000, (10_000, 50_000_000), "impressions",
        "Impressions that each of these three limits remembers, about 50 bytes each. Beyond it the listeners and addresses that were not heard of \
        for longest are forgotten, and start anew."),

    number("tokens.rotate_hours", 24, (1, 720), "h",
        "Age at which the key that seals tokens is replaced; looked at when the server starts. The one before stays valid for opening."),

    number("shutdown.drain_ms", 10_000, (0, 300_000), "ms",
        "Time for requests in flight to end after SIGTERM."),

    setting("kafka.brokers", Kind::Text { default: "", form: "host:port with commas between them, or nothing" },
        "Some brokers of the Kafka that servers share; the others are learnt from these. Empty: there is none. A server of all roles keeps its event log in \
        data.dir, whatever stands here."),
    setting("kafka.topic_prefix", Kind::Text { default: "", form: "up to 64 of letters, digits, dot, hyphen and underscore, or nothing" },
        "What stands before the names of topics, consumer groups and transactions, so that several networks can share a cluster."),
    setting("kafka.security", Kind::Choice { default: "plaintext", words: &["plaintext", "tls", "sasl_plaintext", "sasl_tls"] },
        "tls encrypts, sasl logs in with user and password."),
    setting("kafka.ca_file", Kind::Text { default: "", form: "a path, or nothing" },
        "Certificates, as PEM, of those who may sign the brokers' certificates. Empty: those that the system trusts."),
    setting("kafka.sasl_mechanism", Kind::Choice { default: "SCRAM-SHA-512", words: &["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] },
        "How the password is shown to be known. PLAIN sends it as it is: only over tls."),
    setting("kafka.user", Kind::Text { default: "", form: "a name, or nothing" },
        "Who logs in, with sasl."),
    setting("kafka.password_file", Kind::Text { default: "", form: "a path, or nothing" },
        "File that holds the password; white space at its end does not count."),
    number("kafka.events_partitions", 64, (1, 4_096), "partitions",
        "Partitions of the topics of events, engagement, decisions and ledger: as many as processes of accounting can share the work. Fixed once the topics \
        are made, for an advertiser stays in its partition for ever."),
    setting("kafka.compression", Kind::Choice { default: "zstd", words: &["zstd", "lz4"] },
        "How records are compressed on their way and at rest: zstd is smaller, lz4 quicker."),
    number("kafka.replication", 3, (1, 9), "copies",
        "Replicas of each topic that `segue topics apply` makes. More than half of them must be in sync to take a record."),
    number("kafka.connect_timeout_ms", 10_000, (100, 120_000), "ms",
        "Time for the first answer of a broker."),

    setting("cql.hosts", Kind::Text { default: "", form: "host:port with commas between them, or nothing" },
        "Some servers of the Cassandra or ScyllaDB that servers share; the others are learnt from these. Empty: there is none. A server of all roles keeps its \
        state in data.dir, whatever stands here."),
    setting("cql.keyspace", Kind::Text { default: "segue", form: "a letter, then a-z, 0-9 and underscore" },
        "Keyspace of all tables. `segue schema apply` makes it when it is missing; one that is there keeps its replication."),
    setting("cql.datacenter", Kind::Text { default: "datacenter1", form: "a name" },
        "Data centre that holds the replicas of a keyspace that is made, and whose servers are asked. All servers of Segue that serve a listener use the same: \
        strict caps are exact within one data centre."),
    number("cql.replication", 3, (1, 9), "copies",
        "Replicas of each row in a keyspace that is made."),
    setting("cql.user", Kind::Text { default: "", form: "a name, or nothing" },
        "Who logs in. Empty: nobody."),
    setting("cql.password_file", Kind::Text { default: "", form: "a path, or nothing" },
        "File that holds the password; white space at its end does not count."),
    setting("cql.tls", Kind::Choice { default: "off", words: &["off", "on"] },
        "on encrypts all connections. Each server's certificate has to name the IP address at which it is reached."),
    setting("cql.ca_file", Kind::Text { default: "", form: "a path, or nothing" },
        "Certificates, as PEM, of those who may sign the servers' certificates. Empty: those that the system trusts."),
    number("cql.connect_timeout_ms", 10_000, (100, 120_000), "ms",
        "Time for the first answer of a server."),
    number("cql.read_timeout_ms", 200, (1, 60_000), "ms",
        "Time for a read. A break waits 250 ms for its listener at most; one that is known from before is used as it was when the read is late."),
    number("cql.speculative_after_ms", 20, (1, 60_000), "ms",
        "When a read that a break waits for is asked of a second server too: a little more than 99 in 100 take. Listeners' reads alone are asked so."),
    number("cql.write_timeout_ms", 2_000, (10, 120_000), "ms",
        "Time for a write that no break waits for."),
    number("cql.conditional_timeout_ms", 1_000, (10, 120_000), "ms",
        "Time for a write on a condition, such as an ad with a strict cap. A break waits 250 ms for it at most."),
    number("cql.listener_max_age_ms", 30_000, (0, 3_600_000), "ms",
        "How old what is known of a listener may be before it is read again. Where listeners come to several servers, each may miss what the others decided \
        within that time: soft caps may be exceeded by it."),

    setting("log.level", Kind::Text { default: "warn,segue=info", form: "error, warn, info, debug or trace, or a filter such as info,segue::journal=debug" },
        "What is logged, to standard error."),
    setting("log.format", Kind::Choice { default: "text", words: &["text", "json"] },
        "text for people, json for machines: one object a line."),

    for_tests(number("clock.acceleration", 1, (1, 10_000), "virtual ms a real ms",
        "Virtual time runs this many times faster.")),
];

/// The setting of that name.
#[must_use]
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The example file: every operator's setting with its meaning, unit, bounds and default.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# All settings of Segue, each with its default. Copy to segue.toml and keep what you change.\n\
         # Every setting can also be given as an environment variable, SEGUE_SERVER__LISTEN for server.listen, or as a flag,\n\
         # --set server.listen=0.0.0.0:8080. Flags win over the environment, the environment over the file.\n\
         # `segue config check` tells whether a configuration is valid; `segue config print` prints the one in force.\n",
    );
    let mut section = "";
    for setting in SETTINGS.iter().filter(|setting| setting.audience == Audience::Operator) {
        let (its_section, key) = setting.name.split_once('.').expect("a name is section.key: a test asserts it");
        text.push('\n');
        if its_section != section {
            section = its_section;
            text.extend(["[", section, "]\n"]);
        }
        for line in wrapped(setting.doc) {
            text.extend(["# ", &line, "\n"]);
        }
        text.extend(["# ", &setting.kind.form(), "\n", key, " = ", &setting.kind.default_toml(), "\n"]);
    }
    text
}

impl Kind {
    /// The values accepted, in words.
    #[must_use]
    pub fn form(&self) -> String {
        match self {
            Self::Number { min, max, unit, .. } => format!("Unit: {unit}. From {min} to {max}."),
            Self::Address { .. } => "An IP address and a port, such as 127.0.0.1:8080.".to_owned(),
            Self::Path { .. } => "A path.".to_owned(),
            Self::Text { form, .. } => format!("Form: {form}."),
            Self::Choice { words, .. } => format!("One of: {}.", words.join(", ")),
        }
    }

    /// The default as TOML writes it.
    #[must_use]
    pub fn default_toml(&self) -> String {
        match self {
            Self::Number { default, .. } => default.to_string(),
            Self::Address { default }
            | Self::Path { default }
            | Self::Text { default, .. }
            | Self::Choice { default, .. } => format!("{default:?}"),
        }
    }
}

/// Columns of a comment in the example file.
const WIDTH: usize = 100;

fn wrapped(doc: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in doc.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sections_stand_together() {
        let mut seen_sections: Vec<&str> = Vec::new();
        for (index, setting) in SETTINGS.iter().enumerate() {
            let (section, key) = setting.name.split_once('.').expect("section.key");
            assert!(!key.contains('.'), "{}: one dot", setting.name);
            assert!(SETTINGS[..index].iter().all(|other| other.name != setting.name), "{} twice", setting.name);
            if seen_sections.last() != Some(&section) {
                assert!(!seen_sections.contains(&section), "section {section} is in two places");
                seen_sections.push(section);
            }
            assert!(setting.doc.ends_with('.'), "{}: the doc is made of sentences", setting.name);
        }
    }

    #[test]
    fn the_example_file_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/segue.example.toml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, example()).expect("writes the example file");
        }
        let on_disk = std::fs::read_to_string(path).unwrap_or_default();
        assert!(on_disk == example(), "segue.example.toml differs from the table; UPDATE_GOLDEN=1 writes it anew");
    }
}
