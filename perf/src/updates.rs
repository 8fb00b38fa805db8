//! Decisions while the catalogue changes under them: a writer that takes changes by the clock, a thread that builds new parts, and this one, which decides.
//!
//! What a decision costs is its thread's processor time, quiet and changing alike: that leaves out who else wants the core, and keeps in what
//! changes do to a reader: more parts to read, and caches that others fill.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use segue::catalog::{CatalogPublisher, CatalogWriter, Entity, ScanScratch, Snapshot};
use segue::clock::Clock;
use segue::decision::{Excluded, Scratch, Spending, decide};
use segue::model::{LineItem, Micros};
use segue::workload::Draws;
use segue::workload::reference::{Profile, ReferenceCatalogue};
use segue_figures::{Check, Report, Times, number, timed};

use crate::index::row;
use crate::stage::{Asked, Stage};

/// How often the writer looks for changes that are due: what came meanwhile is one batch.
const BATCH: Duration = Duration::from_millis(40);
/// Different targetings that line items are changed to.
const TARGETINGS: usize = 10_000;
const LISTENERS: usize = 1_000;
/// Pauses of which it is measured when another thread sees them.
const PAUSES: usize = 1_000;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Line items.
    #[arg(long, default_value_t = 1_000_000)]
    line_items: usize,
    /// Line items that change a second.
    #[arg(long, default_value_t = 1_000)]
    changes: u32,
    /// Seconds that they change.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Seed of the catalogue; listeners and changes have those after it.
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Where to write the checks.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

pub(crate) fn measure(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("updates: building {} line items", args.line_items);
    let stage = Stage::new(Profile::Midday, args.line_items, LISTENERS, args.seed);
    rebuild(args, stage, report)
}

/// A full rebuild alone, then the changes.
fn rebuild(args: &Args, stage: Stage, report: &mut Report) -> anyhow::Result<()> {
    let Stage { mut writer, snapshot, spending, breaks } = stage;
    drop(snapshot);
    let before = memory("VmRSS:")?;
    // From here on the peak is counted anew.
    std::fs::write("/proc/self/clear_refs", "5").context("counting the peak of memory anew")?;
    let watch = Clock::real().cpu_stopwatch();
    let catalog = CatalogPublisher::new(writer.rebuild());
    let (cpu, peak) = (watch.elapsed_seconds(), memory("VmHWM:")?);
    println!("a full rebuild: {cpu:.2} CPU-s, {before:.0} MB before, {peak:.0} MB at most");
    report.take([
        Check::at_most("updates full rebuild", cpu, 3.0, "CPU-s"),
        Check::at_most("updates memory of a full rebuild, times steady", peak / before, 2.2, "times"),
    ]);
    pauses(&catalog.load_full(), &spending, report);
    println!("{:34} {:>9} {:>9} {:>9}  microseconds", "updates", "p50", "p99", "longest");
    let world = World { catalog, spending, is_over: AtomicBool::new(false) };
    let quiet = world.decide_for(&breaks, Duration::from_secs(args.seconds.div_ceil(10)));
    row("decide, quiet", &quiet, "");
    let writer = Mutex::new(writer);
    let (kept, changing) = thread::scope(|scope| {
        let keeping = scope.spawn(|| world.change(args, &writer));
        let changing = world.decide_for(&breaks, Duration::from_secs(args.seconds));
        // Relaxed: the thread looks again in a moment.
        world.is_over.store(true, Ordering::Relaxed);
        (keeping.join().expect("the writer did not panic"), changing)
    });
    row("decide, changing", &changing, &format!("{} changes", kept.changes));
    row("changes, until visible", &kept.visible, "");
    let upkeep = kept.cpu_seconds / number(usize::try_from(args.seconds)?);
    println!("upkeep: {upkeep:.3} of a core; {} folded, {} new bases", kept.folded, kept.bases);
    report.take([
        Check::at_most("updates visible p99", kept.visible.us(0.99) / 1_000.0, 100.0, "ms"),
        Check::at_most("updates decide p99, times quiet", changing.us(0.99) / quiet.us(0.99), 1.1, "times"),
        Check::at_most("updates upkeep", upkeep, 0.25, "cores"),
    ]);
    let mut writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
    overhead(&breaks, &kept.worst, &writer.rebuild(), report);
    Ok(())
}

/// What readers and the writer share.
struct World {
    catalog: CatalogPublisher,
    spending: Spending,
    is_over: AtomicBool,
}

/// What keeping the catalogue came to.
struct Kept {
    changes: usize,
    visible: Times,
    cpu_seconds: f64,
    folded: usize,
    bases: usize,
    /// The snapshot with most line items outside the base.
    worst: Arc<Snapshot>,
}

impl World {
    /// Decides for one listener after the other, until the time is over.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn decide_for(&self, breaks: &[Asked], time: Duration) -> Times {
        let (mut scratch, clock, start) = (Scratch::new(), Clock::real(), Instant::now());
        let mut took = Vec::new();
        while start.elapsed() < time {
            for asked in breaks {
                let watch = clock.cpu_stopwatch();
                let snapshot = self.catalog.load();
                let resolved = snapshot.resolve(&asked.reference.request, asked.now);
                let none = Excluded::none();
                decide(
                    &snapshot,
                    &resolved,
                    &asked.listener,
                    &self.spending,
                    &none,
                    asked.now,
                    asked.seed,
                    &mut scratch,
                );
                took.push(Duration::from_secs_f64(watch.elapsed_seconds()));
            }
        }
        Times::of(took)
    }

    /// Takes changes by the clock until it is over.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn change(&self, args: &Args, writer: &Mutex<CatalogWriter>) -> Kept {
        let lock = || writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<Arc<LineItem>> = self.catalog.load().lines().map(|one| Arc::clone(&one.line_item)).collect();
        let targetings = ReferenceCatalogue::generate(Profile::Midday, TARGETINGS, args.seed + 2).line_items;
        let mut draws = Draws::new(args.seed + 3, 0);
        let (watch, start) = (Clock::real().cpu_stopwatch(), Instant::now());
        let (mut visible, mut changes, mut most) = (Vec::new(), 0_u32, 0);
        let (mut worst, mut building) = (self.catalog.load_full(), (0.0, 0, 0));
        thread::scope(|scope| {
            let (wanted, rebuilds) = sync_channel::<()>(1);
            let builder = scope.spawn(move || {
                let (watch, mut folded, mut bases) = (Clock::real().cpu_stopwatch(), 0, 0);
                for () in rebuilds {
                    let job = lock().begin_rebuild();
                    let rebuilt = job.run();
                    let mut writer = lock();
                    let before = writer.sizes().0;
                    if let Some(snapshot) = writer.finish_rebuild(rebuilt) {
                        drop(self.catalog.publish(snapshot));
                    }
                    if writer.sizes().0 == before && writer.sizes().1 > 0 { folded += 1 } else { bases += 1 }
                }
                (watch.elapsed_seconds(), folded, bases)
            });
            while !self.is_over.load(Ordering::Relaxed) {
                thread::sleep(BATCH);
                let due = |number: u32| Duration::from_secs_f64(f64::from(number) / f64::from(args.changes));
                let mut batch = Vec::new();
                let first = changes;
                while due(changes) <= start.elapsed() {
                    let place = draws.index(lines.len());
                    let changed = Arc::make_mut(&mut lines[place]);
                    changed.targeting = draws.pick(&targetings).targeting.clone();
                    changed.pricing.amount = Micros(changed.pricing.amount.0 + 1_000);
                    batch.push(Entity::from(changed.clone()));
                    changes += 1;
                }
                let mut writer = lock();
                let snapshot = writer.apply(u64::from(changes) + 2, batch);
                let ((_, middle, delta), wants) = (writer.sizes(), writer.wants_rebuild());
                if middle + delta > most {
                    (most, worst) = (middle + delta, Arc::clone(&snapshot));
                }
                drop(self.catalog.publish(snapshot));
                drop(writer);
                visible.extend((first..changes).map(|number| start.elapsed().saturating_sub(due(number))));
                if wants {
                    let _ = wanted.try_send(());
                }
            }
            drop(wanted);
            building = builder.join().expect("the builder did not panic");
        });
        let (built, folded, bases) = building;
        let (cpu_seconds, changes) = (watch.elapsed_seconds() + built, changes as usize);
        Kept { changes, visible: Times::of(visible), cpu_seconds, folded, bases, worst }
    }
}

/// How long it takes until another thread sees that a line item is paused.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn pauses(snapshot: &Snapshot, spending: &Spending, report: &mut Report) {
    let now = segue::model::Now::default();
    let slots: Vec<_> = snapshot.lines().take(PAUSES).map(|entry| entry.slot).collect();
    let took = thread::scope(|scope| {
        let (send, paused) = sync_channel(0);
        let seeing = scope.spawn(|| {
            let mut took = Vec::new();
            for (slot, at) in paused {
                while !spending.read(slot, now).paused {
                    std::hint::spin_loop();
                }
                let at: Instant = at;
                took.push(at.elapsed());
            }
            took
        });
        for &slot in &slots {
            let at = Instant::now();
            spending.set_paused(slot, true);
            send.send((slot, at)).expect("the other thread listens");
        }
        drop(send);
        seeing.join().expect("it did not panic")
    });
    for slot in &slots {
        spending.set_paused(*slot, false);
    }
    let times = Times::of(took);
    report.take([Check::at_most("updates pause seen by another thread p99", times.us(0.99) / 1_000.0, 1.0, "ms")]);
}

/// What a query costs more where most is outside the base.
fn overhead(breaks: &[Asked], worst: &Snapshot, clean: &Snapshot, report: &mut Report) {
    let mut scratch = ScanScratch::new();
    let mut ask = |snapshot: &Snapshot| {
        Times::least(breaks, |_, asked| {
            let resolved = snapshot.resolve(&asked.reference.request, asked.now);
            let take = || {
                let mut scan = snapshot.scan(&resolved, &mut scratch);
                (0..16).take_while(|_| scan.next().is_some()).count()
            };
            timed(take).1
        })
    };
    let (clean, worst) = (ask(clean), ask(worst));
    row("top-16, one part", &clean, "");
    row("top-16, most outside the base", &worst, "");
    report.take([
        Check::at_most("updates query overhead p50", worst.us(0.5) - clean.us(0.5), 5.0, "us"),
        Check::at_most("updates query overhead p99", worst.us(0.99) - clean.us(0.99), 5.0, "us"),
    ]);
}

/// Megabytes by the name of a line of the process's status.
fn memory(line: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading the memory")?;
    let kilobytes =
        status.lines().find_map(|one| one.strip_prefix(line)).and_then(|rest| rest.split_whitespace().next());
    let kilobytes: f64 = kilobytes.context("the status tells the memory")?.parse()?;
    Ok(kilobytes / 1_024.0)
}
