//! The store in CQL, against the Cassandra beside the tests.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use segue::store::cql::schema::{LATEST, VERSIONS};
use segue::store::cql::{CqlConnection, CqlSession, CqlTrouble};
use serde_json::Value;

use crate::harness::{engine, folder, segue};

mod locked;

/// A keyspace that no other test uses. None, and the test counted as skipped, where no Cassandra runs.
pub(crate) struct Keyspace {
    host: String,
    name: String,
}

impl Keyspace {
    pub(crate) fn new(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        engine("SEGUE_TEST_CQL", test).map(|host| Self { host, name: format!("t{process}_{number}") })
    }

    /// One with all tables.
    pub(crate) fn with_tables(test: &str) -> Option<Self> {
        let keyspace = Self::new(test)?;
        let applied = keyspace.apply(&[]);
        assert!(applied.status.success(), "{}", stderr(&applied));
        Some(keyspace)
    }

    /// How to reach it, with deadlines that a busy machine keeps.
    pub(crate) fn connection(&self) -> CqlConnection {
        CqlConnection {
            hosts: vec![self.host.clone()],
            keyspace: self.name.clone(),
            datacenter: "datacenter1".to_owned(),
            replication: 1,
            login: None,
            tls: None,
            connect_timeout_ms: 30_000,
            read_timeout_ms: 30_000,
            speculative_after_ms: 1_000,
            write_timeout_ms: 30_000,
            conditional_timeout_ms: 30_000,
            listener_max_age_ms: 30_000,
        }
    }

    fn apply(&self, more: &[&str]) -> Output {
        let (hosts, keyspace) = (format!("cql.hosts={}", self.host), format!("cql.keyspace={}", self.name));
        let mut arguments = vec!["schema", "apply", "--json", "--set", &hosts, "--set", &keyspace];
        arguments.extend(["--set", "cql.replication=1"]);
        arguments.extend(more);
        segue(folder().path(), &arguments)
    }

    /// Runs statements as somebody else would.
    pub(crate) fn run(&self, statements: &[&str]) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let session: Session = SessionBuilder::new().known_node(&self.host).build().await.expect("connects");
            for statement in statements {
                session.query_unpaged(statement.replace("KEYSPACE", &self.name), ()).await.expect("runs");
            }
        });
    }
}

/// One node that is kept small holds the tables of a few tests, not of all of them.
impl Drop for Keyspace {
    fn drop(&mut self) {
        drop_keyspace(&self.host, &self.name);
    }
}

/// Removes a keyspace, if it is there. What can't be removed ends with the node.
pub(crate) fn drop_keyspace(host: &str, name: &str) {
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return };
    runtime.block_on(async {
        if let Ok(session) = SessionBuilder::new().known_node(host).build().await {
            let _ = session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await;
        }
    });
}

fn states(output: &Output) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let versions = report["versions"].as_array().expect("versions");
    versions.iter().map(|row| row["state"].as_str().expect("a text").to_owned()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_schema_is_applied_once_by_two_at_once() {
    let Some(keyspace) = Keyspace::new("the_schema_is_applied_once_by_two_at_once") else { return };
    let dry = keyspace.apply(&["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}", stderr(&dry));
    assert_eq!(states(&dry), vec!["missing"; VERSIONS.len()]);
    let both = std::thread::scope(|scope| {
        let other = scope.spawn(|| keyspace.apply(&[]));
        [keyspace.apply(&[]), other.join().expect("runs")]
    });
    for output in &both {
        assert!(output.status.success(), "{}", stderr(output));
    }
    let mut made: Vec<String> = both.iter().flat_map(states).collect();
    made.sort();
    let once = [vec!["applied"; VERSIONS.len()], vec!["known"; VERSIONS.len()]].concat();
    assert_eq!(made, once, "one of them made each");
    for dry_run in [&["--dry-run"][..], &[]] {
        let again = keyspace.apply(dry_run);
        assert!(again.status.success(), "{}", stderr(&again));
        assert_eq!(states(&again), vec!["known"; VERSIONS.len()]);
    }
    // Its tables are there, and take a row each way.
    keyspace.run(&[
        "INSERT INTO KEYSPACE.listeners (listener, head) VALUES (0x01, 0x02)",
        "INSERT INTO KEYSPACE.exposures (listener, week, at, impression, exposure) VALUES (0x01, 2900, 0, 0x02, 0x03)",
        "INSERT INTO KEYSPACE.strict_caps (listener, version, counted) VALUES (0x01, 1, 0x02) IF NOT EXISTS",
        "UPDATE KEYSPACE.strict_caps SET version = 2, counted = 0x03 WHERE listener = 0x01 IF version = 1",
    ]);
}

#[test]
fn a_newer_or_changed_schema_is_refused_and_left_as_it_is() {
    let test = "a_newer_or_changed_schema_is_refused_and_left_as_it_is";
    let Some(keyspace) = Keyspace::with_tables(test) else { return };
    keyspace.run(&["UPDATE KEYSPACE.schema_versions SET digest = 'another' WHERE part = 'segue' AND version = 1"]);
    let changed = keyspace.apply(&[]);
    assert_eq!(changed.status.code(), Some(2));
    let told = stderr(&changed);
    assert!(told.contains("0001-listeners.cql") && told.lines().count() == 1, "{told}");
    keyspace.run(&["INSERT INTO KEYSPACE.schema_versions (part, version) VALUES ('segue', 999)"]);
    keyspace.run(&["UPDATE KEYSPACE.schema_versions SET digest = '' WHERE part = 'segue' AND version = 999"]);
    keyspace.run(&["DELETE FROM KEYSPACE.schema_versions WHERE part = 'segue' AND version = 1"]);
    let newer = keyspace.apply(&[]);
    assert_eq!(newer.status.code(), Some(2));
    let told = stderr(&newer);
    assert!(told.contains("has schema version 999") && told.contains("run the newer one"), "{told}");
}

fn opened(connection: &CqlConnection) -> Result<Option<i32>, CqlTrouble> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(CqlSession::open(connection)).map(|session| session.newer_schema())
}

#[test]
fn a_session_says_what_it_misses() {
    let Some(keyspace) = Keyspace::new("a_session_says_what_it_misses") else { return };
    let connection = keyspace.connection();
    let missing = CqlTrouble::NoSchema(keyspace.name.clone());
    assert_eq!(opened(&connection), Err(missing.clone()), "no keyspace");
    assert!(missing.to_string().contains("run `segue schema apply`"));
    keyspace.run(&["CREATE keyspace KEYSPACE WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"]);
    assert_eq!(opened(&connection), Err(missing.clone()), "no tables");
    assert!(keyspace.apply(&[]).status.success());
    assert_eq!(opened(&connection), Ok(None));

    let elsewhere = CqlConnection { datacenter: "mars".to_owned(), ..connection.clone() };
    let told = opened(&elsewhere).expect_err("no such data centre").to_string();
    assert!(told.contains("data centre mars, they are in datacenter1: set cql.datacenter"), "{told}");
    let nowhere =
        CqlConnection { hosts: vec!["127.0.0.1:1".to_owned()], connect_timeout_ms: 1_000, ..connection.clone() };
    let told = opened(&nowhere).expect_err("nobody there").to_string();
    assert!(told.contains("no CQL server can be used at 127.0.0.1:1") && told.contains("check cql.hosts"), "{told}");

    // A later program's versions only add: this one goes on. Without its own it does not.
    keyspace.run(&["INSERT INTO KEYSPACE.schema_versions (part, version, digest) VALUES ('segue', 999, '')"]);
    assert_eq!(opened(&connection), Ok(Some(999)));
    keyspace.run(&[&format!("DELETE FROM KEYSPACE.schema_versions WHERE part = 'segue' AND version = {LATEST}")]);
    let older = CqlTrouble::Older { keyspace: keyspace.name.clone(), found: LATEST - 1, needed: LATEST };
    assert!(older.to_string().ends_with("run `segue schema apply`"));
    assert_eq!(opened(&connection), Err(if LATEST == 1 { missing } else { older }));
    keyspace.run(&["INSERT INTO KEYSPACE.schema_versions (part, version, digest) VALUES ('segue', 1, 'another')"]);
    let told = opened(&connection).expect_err("another text").to_string();
    assert!(told.contains("0001-listeners.cql has now"), "{told}");
}

#[test]
fn too_few_replicas_are_told() {
    let Some(keyspace) = Keyspace::new("too_few_replicas_are_told") else { return };
    let output = keyspace.apply(&["--set", "cql.replication=3"]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains("needs 2 replicas to answer, and 1 do: start the servers"), "{told}");
}

#[test]
fn nobody_there_and_no_address_are_told() {
    let output = segue(folder().path(), &["schema", "apply"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cql.hosts is not set"), "{}", stderr(&output));
    let arguments = ["schema", "apply", "--set", "cql.hosts=127.0.0.1:1", "--set", "cql.connect_timeout_ms=1000"];
    let output = segue(folder().path(), &arguments);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains("no CQL server can be used at 127.0.0.1:1") && told.lines().count() == 1, "{told}");
}
