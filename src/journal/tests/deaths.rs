//! A real process on a real disk that kills itself at a named point. The child is this test binary again, asked for one test.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use super::*;

const FAULT: &str = "SEGUE_TEST_JOURNAL_FAULT";
const CHILD_DIR: &str = "SEGUE_TEST_JOURNAL_DIR";
const SIGKILL: i32 = 9;

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(600, 1);
    payload
}

/// Does nothing unless it is the child: then appends until it dies, and says what was acknowledged.
#[test]
fn child() {
    let (Ok(fault), Ok(dir)) = (std::env::var(FAULT), std::env::var(CHILD_DIR)) else { return };
    let disk = FaultDisk::new(Arc::new(RealDisk), fault.parse().expect("a fault"), &dir);
    let (config, clock) = (small(Durability::Synced), Box::new(|| WallMs(1)));
    let journal = Journal::open(Arc::new(disk), dir, config, identity(), Drive::Thread, clock).expect("opens");
    for number in journal.durable_end()..journal.durable_end() + 100 {
        journal.append_blocking(vec![entry(payload(number))]).expect("appended");
        let mut out = std::io::stderr().lock();
        writeln!(out, "acknowledged {number}").expect("written");
    }
}

#[test]
fn a_process_dies_where_it_is_told_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = 0;
    // Over and over on the same journal: each start recovers what the death before left.
    for fault in ["append:1", "append:9", "before_sync:1", "before_sync:8", "roll:1", "roll:3", "append:2"] {
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "journal::tests::deaths::child", "--nocapture", "--test-threads", "1"])
            .env(FAULT, fault)
            .env(CHILD_DIR, dir.path())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&child.stderr).into_owned();
        assert_eq!(child.status.signal(), Some(SIGKILL), "{fault}: {said}");
        let last = said.lines().filter_map(|line| line.split_once("acknowledged ")?.1.parse::<u64>().ok()).max();
        let acknowledged = last.map_or(expected, |last| last + 1);

        let records: Vec<_> =
            read_dir(Arc::new(RealDisk), dir.path()).expect("lists").collect::<Result<_, _>>().expect("reads");
        let count = records.len() as u64;
        assert!(
            (acknowledged..=acknowledged + 1).contains(&count),
            "{fault}: {acknowledged} acknowledged, {count} read"
        );
        for (number, record) in (0..).zip(&records) {
            assert_eq!(record.payload, payload(number), "{fault}");
        }
        match fault.split_once(':') {
            Some(("append", _)) => assert_eq!(count, acknowledged, "half a record is none"),
            Some(("before_sync", _)) => assert_eq!(count, acknowledged + 1, "written, so it outlives the process"),
            _ => {}
        }
        expected = count;
    }
    assert!(expected > 20, "{expected} records in all");
}
