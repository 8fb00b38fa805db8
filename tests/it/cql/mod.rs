//! The store in CQL, against the Cassandra beside the tests.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;

use crate::harness::{engine, folder, segue};

/// A keyspace that no other test uses. None, and the test counted as skipped, where no Cassandra runs.
struct Keyspace {
    host: String,
    name: String,
}

impl Keyspace {
    fn new(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        engine("SEGUE_TEST_CQL", test).map(|host| Self { host, name: format!("t{process}_{number}") })
    }

    fn apply(&self, more: &[&str]) -> Output {
        let (hosts, keyspace) = (format!("cql.hosts={}", self.host), format!("cql.keyspace={}", self.name));
        let mut arguments = vec!["schema", "apply", "--json", "--set", &hosts, "--set", &keyspace];
        arguments.extend(["--set", "cql.replication=1"]);
        arguments.extend(more);
        segue(folder().path(), &arguments)
    }

    /// Runs statements as somebody else would.
    fn run(&self, statements: &[&str]) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let session: Session = SessionBuilder::new().known_node(&self.host).build().await.expect("connects");
            for statement in statements {
                session.query_unpaged(statement.replace("KEYSPACE", &self.name), ()).await.expect("runs");
            }
        });
    }
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
    assert_eq!(states(&dry), ["missing"]);
    let both = std::thread::scope(|scope| {
        let other = scope.spawn(|| keyspace.apply(&[]));
        [keyspace.apply(&[]), other.join().expect("runs")]
    });
    for output in &both {
        assert!(output.status.success(), "{}", stderr(output));
    }
    let mut made: Vec<String> = both.iter().flat_map(states).collect();
    made.sort();
    assert_eq!(made, ["applied", "known"], "one of them made it");
    for dry_run in [&["--dry-run"][..], &[]] {
        let again = keyspace.apply(dry_run);
        assert!(again.status.success(), "{}", stderr(&again));
        assert_eq!(states(&again), ["known"]);
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
    let Some(keyspace) = Keyspace::new("a_newer_or_changed_schema_is_refused_and_left_as_it_is") else { return };
    assert!(keyspace.apply(&[]).status.success());
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
