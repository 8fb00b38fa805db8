//! Books that a newer version has written: a server does not start on them and the audit does not judge them; both say which row and which
//! version, and nothing is changed.

use std::path::Path;
use std::process::ExitStatus;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};

use crate::harness::{Server, folder, segue};

/// Version 99 as the last field of a row: a later field wins over an earlier one.
const VERSION_99: [u8; 2] = [0x08, 99];

const SAYS: &str = "written by a newer version: 99, this build reads up to";

#[test]
fn rows_of_a_newer_version_stop_start_and_audit_and_are_named() {
    let folder = folder();
    let demo = ["demo", "--json", "--seconds", "2", "--seed", "7", "--listeners", "40", "--data-dir", "data"];
    assert_eq!(segue(folder.path(), &demo).status.code(), Some(0));
    // The register of servers is no part of the books; the books' history is nothing that a start needs.
    for (keyspace, read_by) in [
        ("ledger_meta", [AUDIT, START].as_slice()),
        ("ledger_balances", &[AUDIT, START]),
        ("ledger_leases", &[AUDIT, START]),
        ("servers", &[START]),
        ("ledger_delivery", &[AUDIT]),
    ] {
        let before = make_newer(folder.path(), keyspace);
        for reader in read_by {
            let (status, said) = reader(folder.path());
            assert!(said.contains(SAYS) && said.contains(keyspace), "{keyspace}: {said}");
            assert!(!status.success(), "{keyspace}");
        }
        let Row { key, value } = before;
        put(folder.path(), keyspace, &key, &value);
    }
    let audit = segue(folder.path(), &["audit", "--json", "--data-dir", "data"]);
    assert_eq!(audit.status.code(), Some(0), "as it was: {}", String::from_utf8_lossy(&audit.stdout));
}

const AUDIT: fn(&Path) -> (ExitStatus, String) = |folder| {
    let audit = segue(folder, &["audit", "--json", "--data-dir", "data"]);
    let text = format!("{}{}", String::from_utf8_lossy(&audit.stdout), String::from_utf8_lossy(&audit.stderr));
    (audit.status, text)
};

const START: fn(&Path) -> (ExitStatus, String) = |folder| {
    let status = Server::start_to_its_end(folder, &[]);
    let log = std::fs::read_to_string(folder.join("stderr.log")).expect("a log");
    (status, log.lines().last().unwrap_or_default().to_owned())
};

struct Row {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Makes the first row of the keyspace one of version 99. Returns it as it was.
fn make_newer(folder: &Path, keyspace: &str) -> Row {
    let database = Database::builder(folder.join("data/store")).open().expect("nobody has it open");
    let rows = database.keyspace(keyspace, KeyspaceCreateOptions::default).expect("opens");
    let (key, value) = rows.iter().next().expect("a row").into_inner().expect("reads");
    let mut newer = value.to_vec();
    newer.extend(VERSION_99);
    rows.insert(key.clone(), newer).expect("writes");
    database.persist(PersistMode::SyncAll).expect("syncs");
    Row { key: key.to_vec(), value: value.to_vec() }
}

fn put(folder: &Path, keyspace: &str, key: &[u8], value: &[u8]) {
    let database = Database::builder(folder.join("data/store")).open().expect("nobody has it open");
    let rows = database.keyspace(keyspace, KeyspaceCreateOptions::default).expect("opens");
    rows.insert(key, value).expect("writes");
    database.persist(PersistMode::SyncAll).expect("syncs");
}
