//! Many seeds: each run with its faults and again without, what was found, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::board::StrictCounts;
use super::faults::{FAULT_KINDS, FaultKind, Mix};
use super::invariants::Violation;
use super::sabotage::Sabotage;
use super::shrink::{Smaller, shrink};
use super::world::{Shape, World};
use crate::accounting::LevelId;
use crate::model::LineItemId;

/// Most that may be heard beyond a budget, in basis points of it; or one impression.
const BEYOND_BASIS_POINTS_MAX: u64 = 10;
/// Least paid delivery against the runs without faults, in basis points.
const DELIVERY_BASIS_POINTS_MIN: u64 = 9_000;
/// Least share of seeds in which each kind of fault comes, in basis points.
const COVERAGE_BASIS_POINTS_MIN: u64 = 100;
/// Of fewer seeds it can't be asked that everything comes.
const SEEDS_MIN: u64 = 100;
/// Most failures that are shrunk: each costs some dozens of runs.
const SHRUNK_MAX: usize = 3;

/// What one run came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Hash over all that happened.
    pub digest: [u8; 32],
    /// How often each kind of fault came.
    pub faults: [u64; FAULT_KINDS],
    /// Impressions charged.
    pub paid: u64,
    /// Line items whose heard ads cost more than their budget.
    pub beyond: Vec<Beyond>,
    /// What became of conditional writes for strict caps.
    pub strict: StrictCounts,
}

/// What was heard of one line item beyond its budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beyond {
    /// The line item.
    pub line_item_id: LineItemId,
    /// Impressions, rounded up.
    pub impressions: u64,
    /// Ten-thousandths of the budget.
    pub basis_points: u64,
}

impl Beyond {
    /// Within one impression or a thousandth of the budget.
    #[must_use]
    pub const fn is_within_bounds(self) -> bool {
        self.impressions <= 1 || self.basis_points <= BEYOND_BASIS_POINTS_MAX
    }
}

/// Runs one seed. A panic is a violation too: an assert of the code that is tested.
#[must_use]
pub fn run(seed: u64, mix: Mix, shape: Shape, sabotage: Sabotage) -> Run {
    run_aloud(seed, mix, shape, sabotage, None)
}

fn run_aloud(seed: u64, mix: Mix, shape: Shape, sabotage: Sabotage, echo: Option<fn(&str)>) -> Run {
    let mut world = World::new(seed, mix, shape, sabotage);
    world.trace.echo = echo;
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).err().map(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    });
    if let Some(what) = panicked {
        world.violated(invariant_in(&what), None, what);
    }
    Run {
        digest: world.trace.digest(),
        faults: *world.faults.counts(),
        paid: world
            .ledger
            .balances()
            .filter(|(_, level, _)| matches!(level, LevelId::Advertiser(_)))
            .map(|(_, _, balance)| balance.settled_count)
            .sum(),
        beyond: beyond(&world),
        strict: world.board.strict,
        violation: world.violation,
    }
}

/// The invariant that an assert's text begins with.
fn invariant_in(what: &str) -> &'static str {
    const NAMED: [&str; 7] = ["INV-4", "INV-24", "INV-25", "INV-27", "INV-36", "INV-10", "INV-5"];
    NAMED.into_iter().find(|name| what.starts_with(&format!("{name}:"))).unwrap_or("no panic")
}

fn beyond(world: &World) -> Vec<Beyond> {
    let heard = world.board.heard_micros();
    let of = |line_item: &crate::model::LineItem| {
        let budget = world.ceilings.budget(LevelId::LineItem(line_item.id))?.0;
        let (count, micros) = heard.get(&line_item.id).copied()?;
        let over = u64::try_from(micros - budget).ok().filter(|over| *over > 0)?;
        let price = u64::try_from(micros).ok()? / count.max(1);
        Some(Beyond {
            line_item_id: line_item.id,
            impressions: over.div_ceil(price.max(1)),
            basis_points: over.saturating_mul(10_000) / u64::try_from(budget).ok()?.max(1),
        })
    };
    // A budget that changed in the run binds from then on only.
    let changed = world.faults.counts()[FaultKind::BudgetChanged as usize] > 0;
    if changed { Vec::new() } else { world.catalogue.line_items().filter_map(of).collect() }
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// First seed.
    pub first_seed: u64,
    /// How many.
    pub seeds: u64,
    /// A deliberate bug.
    pub sabotage: Sabotage,
    /// Shape of each run.
    pub shape: Shape,
    /// Told of every event of each run with faults.
    pub echo: Option<fn(&str)>,
}

/// A seed that failed.
#[derive(Clone, PartialEq, Debug)]
pub struct FailedSeed {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Violation,
    /// The same failure with less, if one was found.
    pub smaller: Option<Smaller>,
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Name, in `snake_case`.
    pub name: String,
    /// What was measured.
    pub value: u64,
    /// What it may be.
    pub bound: u64,
    /// Unit of both.
    pub unit: &'static str,
    /// Whether it is within its bound.
    pub pass: bool,
}

/// What a suite found.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Seeds that failed.
    pub failed: Vec<FailedSeed>,
    /// Seeds run.
    pub seeds: u64,
    /// Seeds in which each kind of fault came.
    pub covered: [u64; FAULT_KINDS],
    /// Impressions charged, with faults and without.
    pub paid: (u64, u64),
    /// What was heard beyond a budget out of bounds, and in which seed.
    pub beyond: Vec<(u64, Beyond)>,
    /// What became of conditional writes for strict caps, in runs with faults.
    pub strict: StrictCounts,
}

/// The invariants that the suite checks, and what they say.
pub const CHECKED: [(&str, &str); 15] = [
    ("INV-1", "each acknowledged beacon has an outcome"),
    ("INV-3", "an impression is charged at most once, and only for what happened; a fee once"),
    ("INV-4", "settled and open within the budget at every level and step"),
    ("INV-5", "no lease drawn before its grant is durable, nor by a later boot"),
    ("INV-9", "the house's ads are never billed"),
    ("INV-10", "no id sealed twice, no ordinal drawn twice"),
    ("INV-12", "caps: soft within cap and one a hand-over"),
    ("INV-14", "audit equal: log, balances, leases, totals"),
    ("INV-16", "a repeated request gets the same answer"),
    ("INV-31", "strict caps never exceeded"),
    ("INV-33", "invalid traffic is what counting says, and never a listener"),
    ("INV-37", "recovered a minute after the last fault; in the end nothing open"),
    ("INV-38", "acknowledged in time means charged"),
    ("INV-42", "each charge taken back once; every entry sums to zero"),
    ("no panic", "no assert of the code under test fails"),
];

impl Default for Report {
    fn default() -> Self {
        let (paid, beyond, strict) = ((0, 0), Vec::new(), StrictCounts::default());
        Self { failed: Vec::new(), seeds: 0, covered: [0; FAULT_KINDS], paid, beyond, strict }
    }
}

impl Report {
    /// Runs the seeds. `progress` is told after each.
    pub fn of(options: &Options, mut progress: impl FnMut(u64, &Self)) -> Self {
        let mut report = Self::default();
        for seed in options.first_seed..options.first_seed.saturating_add(options.seeds) {
            report.seed(seed, options);
            progress(seed, &report);
        }
        report
    }

    fn seed(&mut self, seed: u64, options: &Options) {
        let mix = Mix::of_seed(seed);
        let run_ = run_aloud(seed, mix.clone(), options.shape, options.sabotage, options.echo);
        self.seeds += 1;
        for (covered, count) in self.covered.iter_mut().zip(run_.faults) {
            *covered += u64::from(count > 0);
        }
        if let Some(violation) = run_.violation {
            let smaller = (self.failed.len() < SHRUNK_MAX)
                .then(|| shrink(seed, &mix, options.shape, options.sabotage, violation.invariant))
                .flatten();
            self.failed.push(FailedSeed { seed, violation, smaller });
            return;
        }
        let twin = run(seed, mix.twin(), options.shape, Sabotage::None);
        self.paid.0 += run_.paid;
        self.paid.1 += twin.paid;
        let out_of_bounds = run_.beyond.into_iter().filter(|beyond| !beyond.is_within_bounds());
        self.beyond.extend(out_of_bounds.map(|beyond| (seed, beyond)));
        self.strict.add(run_.strict);
    }

    /// The table's lines.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let mut failures: BTreeMap<&str, u64> = CHECKED.iter().map(|(name, _)| (*name, 0)).collect();
        for failed in &self.failed {
            *failures.entry(failed.violation.invariant).or_default() += 1;
        }
        let mut checks: Vec<Check> = failures
            .into_iter()
            .map(|(name, value)| {
                let says = CHECKED.iter().find(|(known, _)| *known == name).map_or("", |(_, says)| says);
                Check { name: format!("{name}: {says}"), value, bound: 0, unit: "failed seeds", pass: value == 0 }
            })
            .collect();
        checks.push(Check {
            name: "heard beyond budget, more than one impression and 0.1 %".to_owned(),
            value: self.beyond.len() as u64,
            bound: 0,
            unit: "line items",
            pass: self.beyond.is_empty(),
        });
        let delivery = self.paid.0 * 10_000 / self.paid.1.max(1);
        checks.push(Check {
            name: "paid delivery against runs without faults".to_owned(),
            value: delivery,
            bound: DELIVERY_BASIS_POINTS_MIN,
            unit: "basis points, at least",
            pass: self.paid.1 == 0 || delivery >= DELIVERY_BASIS_POINTS_MIN,
        });
        for (name, value) in [
            ("conditional writes for strict caps that were accepted", self.strict.accepted),
            ("conditional writes for strict caps that conflicted", self.strict.conflicts),
            ("conditional writes for strict caps of which nobody knows", self.strict.unsure),
            ("ads under strict caps that were heard", self.strict.heard),
        ] {
            // Of few seeds nothing can be asked.
            let pass = self.seeds < SEEDS_MIN || value > 0;
            checks.push(Check { name: name.to_owned(), value, bound: 1, unit: "at least", pass });
        }
        for (kind, covered) in FaultKind::ALL.into_iter().zip(self.covered) {
            let share = covered * 10_000 / self.seeds.max(1);
            checks.push(Check {
                name: format!("seeds with fault {}", kind.name()),
                value: share,
                bound: COVERAGE_BASIS_POINTS_MIN,
                unit: "basis points, at least",
                pass: self.seeds < SEEDS_MIN || share >= COVERAGE_BASIS_POINTS_MIN,
            });
        }
        checks
    }

    /// Whether every check passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.checks().iter().all(|check| check.pass)
    }

    /// The failures and the table, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String never fails.
        for failed in &self.failed {
            let _ = writeln!(text, "{failed}");
        }
        for (seed, Beyond { line_item_id, impressions, basis_points }) in &self.beyond {
            let _ = writeln!(
                text,
                "SEED={seed}: {impressions} impressions of {line_item_id} were heard beyond its budget, {basis_points} basis points of it\n"
            );
        }
        for check in self.checks() {
            let word = if check.pass { "ok    " } else { "FAILED" };
            let _ = writeln!(text, "{word} {:<72} {:>8} of {:>6} {}", check.name, check.value, check.bound, check.unit);
        }
        let _ = writeln!(text, "{} seeds, {} failed", self.seeds, self.failed.len());
        text
    }
}

impl std::fmt::Display for FailedSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Violation { invariant, what, at_ms, step, last_events } = &self.violation;
        writeln!(f, "SEED={} STEP={step} AT={at_ms} ms {invariant}: {what}", self.seed)?;
        for event in last_events {
            writeln!(f, "    {event}")?;
        }
        match &self.smaller {
            Some(smaller) => writeln!(f, "  smaller: {smaller}"),
            None => Ok(()),
        }
    }
}
