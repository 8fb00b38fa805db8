//! What the database writes, and what is found when a byte of it is another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check_store;
use crate::catalog::{Action, Author, Entity, Revision};
use crate::entropy::Entropy;
use crate::model::WallMs;
use crate::roles::campaign::samples;
use crate::store::{EmbeddedCatalog, Store, StoreCopy};

/// Bytes of a batch before its place in time, and of that.
const BEFORE_TIME: usize = 5;
const TIME: usize = 8;
const TRAILER: &[u8] = b"FJL\x03";

fn revision(entity: &Entity, number: u64) -> Arc<Revision> {
    let (entity, at) = (entity.clone(), WallMs(i64::try_from(number).expect("small")));
    Arc::new(Revision { entity, number, created_at: WallMs(1), at, author: Author::Segue, action: Action::Changed })
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("store").join("0.jnl")
}

/// The bytes of the journal up to its last batch, and the places where batches begin.
fn batches(dir: &Path) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = fs::read(journal(dir)).expect("reads");
    let ends: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, four)| *four == TRAILER).map(|(at, _)| at + 4).collect();
    bytes.truncate(*ends.last().expect("a batch"));
    let mut begins = vec![0];
    begins.extend(&ends[..ends.len() - 1]);
    (bytes, begins)
}

/// A store with rows in tables and later ones in its journal, whose room behind the last batch is cut to a few bytes.
fn make(dir: &Path, first_in_tables: impl FnOnce(&EmbeddedCatalog)) {
    let store = Store::open(dir, WallMs(5), &Entropy::seeded(1)).expect("opens");
    let catalog = store.catalog().expect("opens");
    let entities = &samples::catalogue()[..3];
    catalog.commit(1, &entities.iter().map(|entity| revision(entity, 1)).collect::<Vec<_>>(), &[]).expect("commits");
    first_in_tables(&catalog);
    for number in 2..5 {
        catalog.commit(number, &[revision(&entities[0], number)], &[]).expect("commits");
    }
    drop((catalog, store));
    let (mut bytes, _) = batches(dir);
    bytes.extend([0; 64]);
    fs::write(journal(dir), bytes).expect("writes");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Whether a file is read by the check: not the lock, nor a manifest that is no more in force.
fn is_judged(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).expect("text");
    let current = || {
        let current = fs::read(file.with_file_name("current")).expect("reads");
        u64::from_le_bytes(*current.first_chunk().expect("a number")).to_string()
    };
    match name.strip_prefix('v') {
        Some(number) => name == "version" || number == current(),
        None => name != "lock",
    }
}

// INV-45.
#[test]
fn every_changed_byte_is_found_and_its_file_named() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), EmbeddedCatalog::write_tables);
    assert_eq!(check_store(dir.path()).flaws, []);
    let (_, begins) = batches(dir.path());
    let is_time =
        |at: usize| begins.iter().any(|begin| (begin + BEFORE_TIME..begin + BEFORE_TIME + TIME).contains(&at));
    let mut judged = 0;
    for file in files(&dir.path().join("store")).into_iter().filter(|file| is_judged(file)) {
        let bytes = fs::read(&file).expect("reads");
        let step = bytes.len() / 150 + 1;
        for at in (0..bytes.len()).step_by(step) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&file, &changed).expect("writes");
            let flaws = check_store(dir.path()).flaws;
            let named = flaws.iter().any(|flaw| flaw.place.split(' ').any(|word| Path::new(word) == file));
            assert!(named || (file == journal(dir.path()) && is_time(at)), "{} byte {at}: {flaws:?}", file.display());
            judged += 1;
        }
        fs::write(&file, &bytes).expect("writes");
    }
    assert!(judged > 1_000, "{judged}");
    assert_eq!(check_store(dir.path()).flaws, []);
}

#[test]
fn a_batch_set_back_before_another_is_found() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), |_| ());
    let (mut bytes, begins) = batches(dir.path());
    // The last but one as late as it can be: it would hold over the last.
    bytes[begins[begins.len() - 2] + BEFORE_TIME + 5] = 1;
    fs::write(journal(dir.path()), &bytes).expect("writes");
    let flaws = check_store(dir.path()).flaws;
    let last = format!("0.jnl offset {}", begins[begins.len() - 1]);
    assert!(flaws.len() == 1 && flaws[0].place.ends_with(&last), "{flaws:?}");
    assert!(flaws[0].found.contains("its place in time"), "{flaws:?}");
}

/// When the journals before are gone, nothing tells when its first batch was made; recovery drops one that is older than the tables.
#[test]
fn the_first_batch_set_back_behind_the_tables_shows_in_the_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), EmbeddedCatalog::write_tables);
    let (mut bytes, begins) = batches(dir.path());
    bytes.drain(..begins[begins.len() - 1]);
    fs::write(journal(dir.path()), &bytes).expect("writes");
    let look = || {
        let checked = check_store(dir.path());
        assert_eq!(checked.flaws, []);
        StoreCopy::of(dir.path(), &checked).expect("copies").not_last(&checked).expect("reads")
    };
    assert_eq!(look(), []);
    bytes[BEFORE_TIME..BEFORE_TIME + TIME].fill(0);
    fs::write(journal(dir.path()), &bytes).expect("writes");
    let flaws = look();
    let names = |keyspace: &str| flaws.iter().any(|flaw| flaw.place.contains("0.jnl") && flaw.place.contains(keyspace));
    assert!(names("catalog_current") && names("catalog_meta"), "{flaws:?}");
}

#[test]
fn a_torn_batch_and_what_lies_behind_the_last_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), |_| ());
    let (bytes, begins) = batches(dir.path());
    let flaw = |bytes: &[u8]| {
        fs::write(journal(dir.path()), bytes).expect("writes");
        let mut flaws = check_store(dir.path()).flaws;
        flaws.pop().map(|flaw| (flaw.place, flaw.found))
    };
    let last = format!("{} offset {}", journal(dir.path()).display(), begins[begins.len() - 1]);
    for cut in begins[begins.len() - 1] + 1..bytes.len() {
        let (place, found) = flaw(&bytes[..cut]).expect("a flaw");
        assert!(place == last && found.contains("a torn write"), "{cut}: {place} {found}");
    }
    assert_eq!(flaw(&[&bytes[..], &[0; 9]].concat()), None);
    let (place, found) = flaw(&[&bytes[..], &[0; 9], &[7]].concat()).expect("a flaw");
    assert!(place.ends_with(&format!("offset {}", bytes.len() + 9)) && found.contains("not zero"), "{place} {found}");
}
