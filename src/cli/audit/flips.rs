//! A changed byte anywhere: the audit finds it and names its file, or it was harmless (INV-45).
//!
//! A small data directory with everything in it; then, again and again, one bit or byte of one file is changed, the directory audited, and the byte put
//! back. Each time the audit must name that file, or come to exactly the same report over exactly the same rows; and then a server that starts there has
//! exactly the same books and catalogue. Harmless may be only what nobody reads (manifests of keyspaces that are no more in force), and the place
//! in time of a batch in the store's journal, where all batches keep their order. Kinds of files get equally many changes, whatever their
//! size. `make flips FLIPS=10000` makes more than the tests do; `SEGUE_FLIPS_SEED` others.

mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::world::{Started, World, copy_dir, started};
use super::files::read_store;
use super::*;
use crate::accounting::audit::LedgerRows;
use crate::workload::Draws;

/// Flips in a usual run of the tests: some seconds where other things run.
const FLIPS: u32 = 200;
/// Failures that are printed.
const FAILURES_SHOWN: usize = 20;

/// What an audit comes to: the report, and the rows that it read.
type Seen = (AuditReport, Option<LedgerRows>);

fn look(dir: &Path) -> Seen {
    let report = audit_dir(dir).expect("audits");
    // Read again only where the audit says that all is well.
    let rows = report.is_balanced().then(|| read_store(dir, &mut AuditReport::default())).flatten();
    (report, rows)
}

/// Whether one of the differences is in that file.
fn names(report: &AuditReport, file: &Path) -> bool {
    report.differences.iter().any(|difference| difference.place.split([' ', ',']).any(|word| Path::new(word) == file))
}

/// A place in a file: half of them among the bytes up to the last that is not zero, as segments and journals have room behind it.
fn place(bytes: &[u8], draws: &mut Draws) -> usize {
    let any = draws.below(u32::try_from(bytes.len()).expect("a small file")) as usize;
    if draws.chance(0.5) {
        return any;
    }
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    any % written
}

/// Found, harmless.
type Counts = BTreeMap<&'static str, (u32, u32)>;

/// One thread's part: a copy of the directory, and what came of the changes in it.
struct Part<'w> {
    world: &'w World,
    right: &'w Seen,
    started: &'w Started,
    dir: tempfile::TempDir,
    seed: u64,
    counts: Counts,
    failures: Vec<String>,
}

impl<'w> Part<'w> {
    fn new(world: &'w World, right: &'w Seen, started: &'w Started, seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        copy_dir(world.dir.path(), dir.path());
        Self { world, right, started, dir, seed, counts: Counts::new(), failures: Vec::new() }
    }

    fn flip(&mut self, flip: u32) {
        // By the seed and its number alone: the same whichever thread makes it.
        let mut draws = Draws::new(self.seed, u64::from(flip) + 1);
        let kind = &self.world.kinds[draws.index(self.world.kinds.len())];
        let name: &PathBuf = draws.pick(&kind.files);
        let file = self.dir.path().join(name);
        let bytes = fs::read(&file).expect("reads");
        let place = place(&bytes, &mut draws);
        let with =
            if draws.chance(0.5) { 1 << draws.below(8) } else { u8::try_from(draws.between(1, 255)).expect("a byte") };
        let mut changed = bytes.clone();
        changed[place] ^= with;
        fs::write(&file, &changed).expect("writes");
        let (is_found, failure) = self.judge(&look(self.dir.path()), &file, kind.may_be_harmless);
        fs::write(&file, &bytes).expect("writes");
        let (found, harmless) = self.counts.entry(kind.name).or_default();
        *(if is_found { found } else { harmless }) += 1;
        if let Some(failure) = failure {
            let seed = self.seed;
            self.failures
                .push(format!("SEED={seed} flip {flip}: {} byte {place} ^ {with:#04x}: {failure}", name.display()));
        }
    }

    /// Whether the change was found; and what is wrong with that.
    fn judge(&self, seen: &Seen, file: &Path, may_be_harmless: bool) -> (bool, Option<String>) {
        if !seen.0.is_balanced() {
            let is_named = names(&seen.0, file);
            return (true, (!is_named).then(|| format!("found, and its file not named: {:#?}", seen.0.differences)));
        }
        let failure = if seen != self.right {
            Some(format!("another report or other rows, and no difference: {:?}", seen.0))
        } else if !may_be_harmless {
            Some("not found".to_owned())
        } else {
            let start = tempfile::tempdir().expect("a directory");
            copy_dir(self.dir.path(), start.path());
            (started(start.path()) != *self.started).then(|| "a server has other rows after its start".to_owned())
        };
        (false, failure)
    }
}

fn table(counts: &Counts) -> String {
    let mut text = String::new();
    let mut line = |name: &str, flips: &str, found: &str, harmless: &str| {
        // Writing to a String never fails.
        let _ = writeln!(text, "{name:<46} {flips:>7} {found:>7} {harmless:>9}");
    };
    line("kind of file", "flips", "found", "harmless");
    for (name, (found, harmless)) in counts {
        line(name, &(found + harmless).to_string(), &found.to_string(), &harmless.to_string());
    }
    text
}

#[test]
fn a_changed_byte_is_found_or_harmless() {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (flips, seed) = (number("SEGUE_FLIPS", FLIPS), u64::from(number("SEGUE_FLIPS_SEED", 1)));
    let world = World::make();
    let right = look(world.dir.path());
    assert!(right.0.is_balanced(), "{:#?}", right.0.differences);
    assert!(right.0.entries > 3 && right.0.checkpoints > 1 && right.0.invoices > 0, "{:?}", right.0);
    let start = tempfile::tempdir().expect("a directory");
    copy_dir(world.dir.path(), start.path());
    let started = started(start.path());
    let threads = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    let (mut counts, mut failures) = (Counts::new(), Vec::new());
    std::thread::scope(|scope| {
        let part = |thread: u32| {
            let mut part = Part::new(&world, &right, &started, seed);
            (thread..flips).step_by(threads as usize).for_each(|flip| part.flip(flip));
            assert_eq!(look(part.dir.path()), right, "the directory is as it was");
            (part.counts, part.failures)
        };
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        for part in parts {
            let (some, failed) = part.join().expect("no panic");
            for (name, (found, harmless)) in some {
                let sum = counts.entry(name).or_default();
                *sum = (sum.0 + found, sum.1 + harmless);
            }
            failures.extend(failed);
        }
    });
    let (found, harmless) = counts.values().fold((0, 0), |sum, (found, harmless)| (sum.0 + found, sum.1 + harmless));
    print!("{}", table(&counts));
    println!("{flips} flips, seed {seed}: {found} found, {harmless} harmless, {} failures", failures.len());
    failures.sort();
    let shown = failures.iter().take(FAILURES_SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} failures, the first {FAILURES_SHOWN}:\n{shown}", failures.len());
}
