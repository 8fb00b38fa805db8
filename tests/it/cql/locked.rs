//! Logins, rights and encryption, against the Cassandra beside the tests that talks TLS alone, to those who log in.

use std::path::{Path, PathBuf};
use std::process::Output;

use segue::store::cql::{CqlConnection, CqlSession, CqlTls, CqlTrouble};
use tempfile::TempDir;

use super::stderr;
use crate::harness::{ClosedDoor, Server, engine, folder, segue, wait_until};

/// How the node is reached, and files for it.
struct Locked {
    host: String,
    ca: PathBuf,
    dir: TempDir,
    keyspace: String,
}

impl Locked {
    /// None, and the test counted as skipped, where no such node runs.
    fn new(test: &str, keyspace: &str) -> Option<Self> {
        let (host, ca) = (engine("SEGUE_TEST_CQL_LOCKED", test)?, engine("SEGUE_TEST_CQL_CA", test)?);
        let keyspace = format!("{keyspace}{}", std::process::id());
        Some(Self { host, ca: ca.into(), dir: folder(), keyspace })
    }

    fn password_file(&self, password: &str) -> PathBuf {
        let path = self.dir.path().join(password);
        std::fs::write(&path, format!("{password}\n")).expect("writes");
        path
    }

    fn connection(&self, user: &str, password: &str) -> CqlConnection {
        CqlConnection {
            hosts: vec![self.host.clone()],
            keyspace: self.keyspace.clone(),
            datacenter: "datacenter1".to_owned(),
            replication: 1,
            login: Some((user.to_owned(), self.password_file(password))),
            tls: Some(CqlTls { ca_file: Some(self.ca.clone()) }),
            connect_timeout_ms: 30_000,
            read_timeout_ms: 30_000,
            speculative_after_ms: 1_000,
            write_timeout_ms: 30_000,
            conditional_timeout_ms: 30_000,
            listener_max_age_ms: 30_000,
        }
    }

    /// The same for a process.
    fn settings(&self, user: &str, password: &str) -> Vec<String> {
        vec![
            format!("cql.hosts={}", self.host),
            format!("cql.keyspace={}", self.keyspace),
            "cql.replication=1".to_owned(),
            format!("cql.user={user}"),
            format!("cql.password_file={}", self.password_file(password).display()),
            "cql.tls=on".to_owned(),
            format!("cql.ca_file={}", self.ca.display()),
            "cql.connect_timeout_ms=30000".to_owned(),
        ]
    }

    /// `segue schema apply` as that user.
    fn apply(&self, user: &str, password: &str) -> Output {
        self.run("schema", &self.settings(user, password))
    }

    /// `segue WHAT apply`.
    fn run(&self, what: &str, settings: &[String]) -> Output {
        let mut arguments = vec![what, "apply"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        segue(self.dir.path(), &arguments)
    }

    /// With its first user and all tables. A new node makes that user a moment after it has begun to answer.
    fn await_tables(&self) {
        wait_until("it knows its first user", || self.apply("cassandra", "cassandra").status.success());
    }
}

fn opened(connection: &CqlConnection) -> Result<CqlSession, CqlTrouble> {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(CqlSession::open(connection))
}

/// The one line that is told instead.
fn refused(connection: &CqlConnection) -> (CqlTrouble, String) {
    let trouble = opened(connection).expect_err("refused");
    let told = trouble.to_string();
    assert!(!told.contains('\n') && !trouble.may_pass(), "{told}");
    (trouble, told)
}

#[test]
fn a_store_is_used_over_tls_with_a_login_and_what_is_wrong_with_either_is_told() {
    const NAME: &str = "a_store_is_used_over_tls_with_a_login_and_what_is_wrong_with_either_is_told";
    let Some(locked) = Locked::new(NAME, "tls") else { return };
    locked.await_tables();
    let right = locked.connection("cassandra", "cassandra");
    assert!(opened(&right).is_ok());

    let (trouble, told) = refused(&locked.connection("cassandra", "wrong"));
    assert!(matches!(trouble, CqlTrouble::Refused { .. }), "{told}");
    assert!(
        told.contains("refuses the user \"cassandra\"") && told.contains("check cql.user and cql.password_file"),
        "{told}"
    );
    let (_, told) = refused(&CqlConnection { login: None, ..right.clone() });
    assert!(told.contains("it asks for a login") && told.contains("check cql.user"), "{told}");

    // Signed by nobody whom the system trusts; and files that are none.
    let (trouble, told) = refused(&CqlConnection { tls: Some(CqlTls { ca_file: None }), ..right.clone() });
    assert!(matches!(trouble, CqlTrouble::Tls { .. }), "{told}");
    assert!(told.contains("certificate verify failed") && told.contains("cql.ca_file"), "{told}");
    for (path, reason) in
        [(Path::new("no/such/file"), "No such file"), (&locked.password_file("cassandra"), "no certificate")]
    {
        let (_, told) = refused(&CqlConnection { tls: Some(CqlTls { ca_file: Some(path.into()) }), ..right.clone() });
        assert!(told.contains("(cql.ca_file) can't be read") && told.contains(reason), "{told}");
    }

    // Without TLS it says nothing that could be understood; that is told as an address where nobody answers.
    let plain = CqlConnection { tls: None, connect_timeout_ms: 3_000, ..right.clone() };
    let told = opened(&plain).expect_err("it talks TLS alone").to_string();
    assert!(told.contains("check cql.hosts and cql.tls"), "{told}");
    // Who hangs up in the middle of it is away, as one that restarts behind an address that others hold.
    let door = ClosedDoor::new();
    door.open(ClosedDoor::new().address().to_string());
    let trouble =
        opened(&CqlConnection { hosts: vec![door.address().to_string()], ..right.clone() }).expect_err("away");
    assert!(matches!(trouble, CqlTrouble::Unreachable { .. }) && trouble.may_pass(), "{trouble}");
    // And TLS to a node that doesn't talk it.
    let Some(open) = engine("SEGUE_TEST_CQL", NAME) else { return };
    let (_, told) = refused(&CqlConnection { hosts: vec![open], ..locked.connection("cassandra", "cassandra") });
    assert!(told.contains("TLS with CQL at") && told.contains("check cql.tls"), "{told}");
}

#[test]
fn a_user_without_rights_is_told_what_to_do() {
    const NAME: &str = "a_user_without_rights_is_told_what_to_do";
    let Some(locked) = Locked::new(NAME, "rights") else { return };
    locked.await_tables();
    let user = format!("nobody{}", std::process::id());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let first = opened_on(&runtime, &locked.connection("cassandra", "cassandra"));
    let run = |statement: String| {
        runtime.block_on(first.driver().query_unpaged(statement, ())).expect("runs");
    };
    run(format!("CREATE ROLE {user} WITH PASSWORD = 'known' AND LOGIN = true"));

    // It may not read the keyspace that is there, nor make another.
    let (trouble, told) = refused(&locked.connection(&user, "known"));
    assert!(matches!(trouble, CqlTrouble::Denied { .. }), "{told}");
    assert!(told.contains("grant it the right") && told.contains(&locked.keyspace), "{told}");
    let elsewhere =
        Locked { keyspace: format!("{}x", locked.keyspace), ..Locked::new(NAME, "rights").expect("as before") };
    let output = elsewhere.apply(&user, "known");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("the CQL user may not make the keyspace") && told.lines().count() == 1, "{told}");

    // What it needs to serve, it may be given.
    run(format!("GRANT SELECT ON KEYSPACE {} TO {user}", locked.keyspace));
    assert!(opened(&locked.connection(&user, "known")).is_ok());
}

#[test]
fn a_refused_login_ends_every_start_of_a_server_at_once_with_one_line() {
    const NAME: &str = "a_refused_login_ends_every_start_of_a_server_at_once_with_one_line";
    let Some(locked) = Locked::new(NAME, "start") else { return };
    let Some(brokers) = engine("SEGUE_TEST_KAFKA", NAME) else { return };
    locked.await_tables();
    let kafka = [
        format!("kafka.brokers={brokers}"),
        format!("kafka.topic_prefix={}.", locked.keyspace),
        "kafka.replication=1".to_owned(),
        "kafka.events_partitions=1".to_owned(),
    ];
    let applied = locked.run("topics", &kafka);
    assert!(applied.status.success(), "{}", stderr(&applied));

    for roles in ["decision,beacon", "accounting"] {
        let with = |password: &str| {
            let mut settings = locked.settings("cassandra", password);
            settings.extend(kafka.clone());
            settings.push(format!("server.roles={roles}"));
            settings
        };
        let (right, wrong) = (with("cassandra"), with("wrong"));
        let dir = folder();
        // The first start, which would wait for a CQL that is away, and one of a server that would go on without it, or wait for ever.
        for is_first in [true, false] {
            if !is_first {
                Server::start_unready(dir.path(), &texts(&right)).kill();
            }
            let status = Server::start_to_its_end(dir.path(), &texts(&wrong));
            let log = std::fs::read_to_string(dir.path().join("stderr.log")).expect("a log");
            assert_eq!(status.code(), Some(3), "{log}");
            let last = log.lines().last().unwrap_or_default();
            assert!(
                last.contains("segue could not start") && last.contains("check cql.user and cql.password_file"),
                "{log}"
            );
            assert!(!log.contains("waits for CQL") && !log.contains("starts without CQL"), "{log}");
        }
    }
}

fn opened_on(runtime: &tokio::runtime::Runtime, connection: &CqlConnection) -> CqlSession {
    runtime.block_on(CqlSession::open(connection)).expect("opens")
}

fn texts(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}
