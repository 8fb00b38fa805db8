//! The index alone: which line items a listener's request meets, best first.

use segue::catalog::{CatalogWriter, ScanScratch, Snapshot};
use segue::model::Now;
use segue::workload::reference::{Profile, ReferenceBreak, ReferenceCatalogue, Shares};
use segue_figures::{Check, Report, Times, number, timed};

use crate::{Common, size_name};

/// How many candidates are taken: what a pod needs, what a crowded hour needs, all.
const TAKEN: [(&str, usize); 3] = [("top-16", 16), ("top-100", 100), ("all", usize::MAX)];
/// Most microseconds that any listener's whole answer may take, at a million line items.
const EXHAUSTIVE_US: f64 = 2_000.0;
const BYTES_MAX: f64 = 100.0;

/// The bound of a p99 in microseconds at a million line items.
fn bound(profile: Profile, taken: &str) -> Option<f64> {
    match (profile, taken) {
        (Profile::Broad | Profile::Rare, "top-16") | (Profile::Rare, "top-100") => Some(12.0),
        (Profile::Selective, "top-16") => Some(30.0),
        (Profile::Broad, "top-100") => Some(18.0),
        (Profile::Selective, "top-100") => Some(40.0),
        (Profile::Selective, "all") => Some(400.0),
        _ => None,
    }
}

pub(crate) fn measure(common: &Common, report: &mut Report) {
    println!("{:34} {:>9} {:>9} {:>9}  microseconds", "index", "p50", "p99", "longest");
    for &line_items in &common.line_items {
        for profile in Profile::ALL {
            let catalogue = ReferenceCatalogue::generate(profile, line_items, common.seed);
            let mut writer = CatalogWriter::new();
            let (snapshot, built) = timed(|| writer.apply(1, catalogue.clone().into_entities()));
            drop(writer);
            let breaks = ReferenceCatalogue::breaks(profile, common.listeners, common.seed + 1);
            let name = format!("{}/{}", profile.name(), size_name(line_items));
            eprintln!("index {name}: applied and built in {built:.1?}");
            one(&name, profile, line_items, &catalogue, &snapshot, &breaks, report);
        }
    }
}

fn one(
    name: &str,
    profile: Profile,
    line_items: usize,
    catalogue: &ReferenceCatalogue,
    snapshot: &Snapshot,
    breaks: &[ReferenceBreak],
    report: &mut Report,
) {
    let at_a_million = line_items == 1_000_000;
    let mut scratch = ScanScratch::new();
    let resolve = |one: &ReferenceBreak| snapshot.resolve(&one.request, Now { wall: one.at, ..Now::default() });
    row(&format!("{name} resolve"), &Times::least(breaks, |_, one| timed(|| resolve(one)).1), "");
    for (taken, most) in TAKEN {
        let mut found = vec![0; breaks.len()];
        let times = Times::least(breaks, |place, one| {
            let resolved = resolve(one);
            let (count, took) = timed(|| {
                let mut scan = snapshot.scan(&resolved, &mut scratch);
                (0..most).take_while(|_| scan.next().map(std::hint::black_box).is_some()).count()
            });
            found[place] = count;
            took
        });
        let found: usize = found.iter().sum();
        row(&format!("{name} {taken}"), &times, &format!("{:.1} found", number(found) / number(breaks.len())));
        let checks = bound(profile, taken)
            .filter(|_| at_a_million)
            .map(|bound| Check::at_most(format!("index {name} {taken} p99"), times.us(0.99), bound, "us"));
        report.take(checks);
        if taken == "all" {
            println!("  {}", Shares::of(profile, catalogue, found, breaks.len()).in_words());
            if at_a_million {
                let name = format!("index {name} exhaustive, any listener");
                report.take([Check::at_most(name, times.longest_us(), EXHAUSTIVE_US, "us")]);
            }
        }
    }
    let bytes = number(snapshot.index_bytes()) / number(line_items);
    println!("  {bytes:.1} bytes a line item");
    if at_a_million {
        report.take([Check::at_most(format!("index {name} bytes a line item"), bytes, BYTES_MAX, "bytes")]);
    }
}

/// A line of the table.
pub(crate) fn row(name: &str, times: &Times, note: &str) {
    println!("{name:34} {:9.1} {:9.1} {:9.1}  {note}", times.us(0.5), times.us(0.99), times.longest_us());
}
