//! Crashes at any operation. The model is a list: what was acknowledged, in order; behind it, after a crash, perhaps the beginning of what was
//! under way. Nothing else may ever be read.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

/// What a run met, so that a test can see that it tested something.
#[derive(Default, Debug)]
struct Met {
    acknowledged: usize,
    crashes: usize,
    crashes_in_recovery: usize,
    torn: usize,
    kept_of_unacknowledged: usize,
    rolls: usize,
}

/// One life after another of the same journal, each ended at a random operation by a loss of power or of the process.
struct Run {
    disk: SimDisk,
    random: ChaCha8Rng,
    /// What must be read: acknowledged, or read before by somebody who may have built on it.
    expected: Vec<Vec<u8>>,
    /// Appended when the machine died, and not acknowledged: some first of them may be there.
    under_way: Vec<Vec<u8>>,
    next_payload: u64,
    met: Met,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            expected: Vec::new(),
            under_way: Vec::new(),
            next_payload: 0,
            met: Met::default(),
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    fn life(&mut self, durability: Durability, die_after: u64) -> Result<(), String> {
        self.disk.die_after(die_after);
        match open(&self.disk, small(durability), Drive::Inline) {
            Ok(journal) => {
                self.judge(&journal)?;
                self.append_until_death(&journal);
            }
            Err(OpenError::Io { .. } | OpenError::Begin(_)) => self.met.crashes_in_recovery += 1,
            Err(error) => return Err(format!("{error}: {:?}", std::error::Error::source(&error))),
        }
        self.met.crashes += 1;
        Ok(())
    }

    fn judge(&mut self, journal: &Journal) -> Result<(), String> {
        let recovery = journal.recovery();
        if !recovery.damage.is_empty() {
            return Err(format!("damage after a crash: {}", recovery.damage[0]));
        }
        self.met.torn += usize::from(recovery.torn.is_some());
        let records = read_all(journal);
        for (place, record) in records.iter().enumerate() {
            if record.seq != place as u64 {
                return Err(format!("record {} at place {place}", record.seq));
            }
            if place > 0 && record.at < records[place - 1].at {
                return Err(format!("record {place} goes back in time"));
            }
        }
        let read = payloads(&records);
        let kept = read.strip_prefix(self.expected.as_slice()).ok_or_else(|| {
            format!("{} acknowledged, {} read: lost, doubled or reordered", self.expected.len(), read.len())
        })?;
        if !self.under_way.starts_with(kept) {
            return Err(format!("{} records that nobody wrote", kept.len()));
        }
        self.met.kept_of_unacknowledged += kept.len();
        self.under_way.clear();
        self.expected = read;
        Ok(())
    }

    fn append_until_death(&mut self, journal: &Journal) {
        loop {
            let count = 1 + self.below(4);
            let batch: Vec<_> = (0..count)
                .map(|_| {
                    self.next_payload += 1;
                    let mut payload = self.next_payload.to_le_bytes().to_vec();
                    payload.resize(
                        8 + usize::try_from(self.below(900)).expect("small"),
                        u8::try_from(self.next_payload % 251).expect("small"),
                    );
                    payload
                })
                .collect();
            match journal.append_blocking(batch.iter().map(|payload| entry(payload.clone())).collect()) {
                Ok(appended) => {
                    assert_eq!(appended.first_seq, self.expected.len() as u64);
                    self.met.acknowledged += batch.len();
                    self.expected.extend(batch);
                }
                Err(AppendError::Failed(_)) => {
                    self.under_way = batch;
                    assert!(journal.health().failure.is_some());
                    assert!(matches!(journal.append_blocking(vec![entry("")]), Err(AppendError::Failed(_))));
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Lives and crashes of one seed.
fn run(seed: u64, sync_lies: bool) -> Result<Met, String> {
    let mut run = Run::new(seed);
    run.disk.lie_about_sync(sync_lies);
    for _ in 0..12 {
        let die_after = 1 + run.below(40);
        run.life(Durability::Synced, die_after)?;
        let (kind, crash_seed) = (run.below(4), run.random.next_u64());
        if kind == 0 { run.disk.kill() } else { run.disk.crash(crash_seed) }
    }
    let journal = open(&run.disk, small(Durability::Synced), Drive::Inline).map_err(|error| error.to_string())?;
    run.judge(&journal)?;
    run.met.rolls = segment_paths(&run.disk).len() - 1;
    Ok(run.met)
}

const SEEDS: u64 = 400;

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_crashes() {
    // INV-1, INV-22.
    let mut total = Met::default();
    for seed in 0..SEEDS {
        let met = run(seed, false).unwrap_or_else(|what| panic!("SEED={seed}: {what}"));
        total.acknowledged += met.acknowledged;
        total.crashes += met.crashes;
        total.crashes_in_recovery += met.crashes_in_recovery;
        total.torn += met.torn;
        total.kept_of_unacknowledged += met.kept_of_unacknowledged;
        total.rolls += met.rolls;
    }
    // The run must have been as rough as it claims.
    println!("{total:?}");
    assert!(total.acknowledged > 20_000 && total.crashes > 4_000, "{total:?}");
    assert!(total.crashes_in_recovery > 200 && total.torn > 200 && total.rolls > 1_000, "{total:?}");
    assert!(total.kept_of_unacknowledged > 200, "{total:?}");
}

#[test]
fn without_the_sync_the_same_test_fails() {
    let failed = (0..SEEDS).filter(|&seed| run(seed, true).is_err()).count() as u64;
    assert!(failed > SEEDS * 9 / 10, "only {failed} of {SEEDS} runs noticed that nothing was synced");
}

#[test]
fn a_crash_at_each_single_operation_loses_nothing() {
    // The random runs choose their moments; this one takes them all: the first segment, batches, rolls.
    let mut uninterrupted = Run::new(1);
    uninterrupted.life(Durability::Synced, 120).expect("a life");
    let operations = uninterrupted.disk.operations();
    assert!(segment_paths(&uninterrupted.disk).len() > 8, "rolls are among the operations");
    for die_after in 1..=operations {
        for crash_seed in 0..12 {
            let mut run = Run::new(1);
            let tried = run.life(Durability::Synced, die_after).and_then(|()| {
                if crash_seed == 0 {
                    run.disk.kill();
                } else {
                    run.disk.crash(crash_seed);
                }
                let journal = open_inline(&run.disk);
                run.judge(&journal)
            });
            tried.unwrap_or_else(|what| panic!("operation {die_after}, SEED={crash_seed}: {what}"));
        }
    }
}

#[test]
fn an_unsynced_journal_loses_its_end_at_most() {
    for seed in 0..100 {
        let mut run = Run::new(seed);
        run.life(Durability::Written, 60).expect("a life");
        run.disk.crash(seed);
        let journal = open(&run.disk, small(Durability::Written), Drive::Inline).expect("opens");
        assert_eq!(journal.recovery().damage, [], "SEED={seed}");
        let read = payloads(&read_all(&journal));
        run.expected.append(&mut run.under_way);
        assert!(run.expected.starts_with(&read), "SEED={seed}: not a beginning of what was written");
        journal.append_blocking(vec![entry("goes on")]).expect("appended");
    }
}

#[test]
fn an_unsynced_journal_survives_the_death_of_its_process() {
    let disk = SimDisk::new();
    let journal = open(&disk, small(Durability::Written), Drive::Inline).expect("opens");
    for _ in 0..20 {
        journal.append_blocking(vec![entry(vec![7; 500])]).expect("appended");
    }
    disk.kill();
    drop(journal);
    let journal = open(&disk, small(Durability::Written), Drive::Inline).expect("opens");
    assert_eq!(read_all(&journal).len(), 20);
}
