//! Segue and the bare handler in turn, A B A B: what a request costs above the bare one, and how many come through.
//!
//! The servers share one core, the generator has the other; only one of them is asked at a time. A round is a flood over many connections: the server's core
//! is full, and the processor's time of its whole process, from the round's first request until it rests again, is divided by the requests, less what it takes at
//! rest while it is waited for. So what journals, accounting and pacing do for them later counts, and so does what the process does of itself meanwhile.
//!
//! Between rounds every ad that was answered is reported as heard, unmeasured: a listener who asks has heard what they were given before, as nearly all do. A break
//! for which three unheard ads are given up costs more; that is measured apart, by rounds of listeners who hear nothing.

use std::time::Duration;

use crate::disk;
use crate::engine::{Engine, Nap};
use crate::process;
use crate::server::{self, Server};
use crate::simple::metric;
use crate::stage::{Stage, Workload};
use crate::traffic::{Ad, Flood, Of, as_float};
use segue_figures::{Check, Report, Spread};

/// Bytes of a record in the money journal where they can't be told from the journal's size.
const RECORD_BYTES: f64 = 400.0;
/// How long a server may work on after a round.
const REST_WITHIN: Duration = Duration::from_secs(20);
/// Most ads whose tokens are kept for beacons.
const ADS_MAX: usize = 1_500_000;

/// Arguments of `compare`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    workload: Workload,
    /// Rounds of each.
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Seconds of a round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections for breaks.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Connections for beacons.
    #[arg(long, default_value_t = 512)]
    beacon_connections: usize,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the generator.
    #[arg(long, default_value_t = 1)]
    generator_core: usize,
    /// No beacons.
    #[arg(long)]
    breaks_only: bool,
}

/// What becomes of the ads of a round's answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// All are reported as heard before the next round.
    Heard,
    /// Nothing: the listener's next break gives them up. Beacons have none.
    Nothing,
}

/// One round with one server.
#[derive(Clone, Copy, Debug)]
struct Round {
    requests_per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
    /// How much of its core the generator took.
    generator: f64,
}

/// The two servers.
struct Both<'s> {
    segue: &'s Server,
    bare: &'s Server,
    /// What Segue takes of a core while nobody asks.
    idle: f64,
}

/// The rounds of one server.
#[derive(Debug, Default)]
struct Rounds(Vec<Round>);

impl Rounds {
    fn spread(&self, of: fn(&Round) -> f64) -> Spread {
        Spread::of(self.0.iter().map(of))
    }
}

/// Compares, and takes the figures into the report.
pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let stage = args.workload.stage()?;
    let core = Some(args.server_core);
    let segue = Server::segue(&stage.segue, &stage.data_dir(), &args.workload.settings, core)?;
    eprintln!("segue is ready after {:.2} s, pid {}", segue.started_in.as_secs_f64(), segue.pid());
    process::stay_on(args.generator_core)?;
    let mut next = warm_up(args, &stage, &segue)?;
    let (answer_bytes, bare) = bare_twin(args, &stage, &segue, &mut next)?;
    let idle = idle_share(&segue)?;
    println!("at rest segue takes {:.2} % of a core", idle * 100.0);
    let both = Both { segue: &segue, bare: &bare, idle };
    report.take(compare_breaks(args, &stage, &both, answer_bytes, &mut next)?);
    if !args.breaks_only {
        report.take(compare_beacons(args, &stage, &both, &mut next)?);
    }
    bare.stop()?;
    server::ended(segue.stop(), report);
    Ok(())
}

/// Every listener asks twice and hears what they get: then their state is in memory, and nothing of theirs is open.
fn warm_up(args: &Args, stage: &Stage, segue: &Server) -> anyhow::Result<u64> {
    let mut next = 0;
    for _ in 0..2 {
        let mut engine = Engine::connect(segue.address, args.connections, Nap::Never)?;
        let mut flood = Flood::counting(Of::Breaks(&stage.breaks), next, stage.breaks.len() as u64).keeping(ADS_MAX);
        engine.run(&mut flood)?;
        let seen = &flood.seen;
        eprintln!("warm: {} breaks answered, {} errors, {} bytes each", seen.answered, seen.errors, seen.mean_body());
        hear(args, segue, &flood.ads)?;
        next = flood.next();
    }
    Ok(next)
}

/// Reports each of the ads as heard, once.
fn hear(args: &Args, segue: &Server, ads: &[Ad]) -> anyhow::Result<()> {
    let mut engine = Engine::connect(segue.address, args.beacon_connections, Nap::Never)?;
    let mut flood = Flood::counting(Of::Beacons(ads), 0, ads.len() as u64);
    engine.run(&mut flood)?;
    anyhow::ensure!(
        flood.seen.errors == 0,
        "{} of {} ads could not be reported as heard",
        flood.seen.errors,
        ads.len()
    );
    Ok(())
}

/// The bare handler with answers of the size of Segue's; how many ads those have is said.
fn bare_twin(args: &Args, stage: &Stage, segue: &Server, next: &mut u64) -> anyhow::Result<(usize, Server)> {
    let mut engine = Engine::connect(segue.address, args.connections, Nap::Never)?;
    let count = stage.breaks.len() as u64;
    let mut flood = Flood::counting(Of::Breaks(&stage.breaks), *next, count).keeping(ADS_MAX);
    engine.run(&mut flood)?;
    *next = flood.next();
    hear(args, segue, &flood.ads)?;
    std::thread::sleep(REST_WITHIN / 4);
    let bytes = flood.seen.mean_body();
    println!("an answer has {bytes} bytes and {:.2} ads", as_float(flood.ads.len() as u64) / as_float(count));
    Ok((bytes, Server::bare(bytes, Some(args.server_core))?))
}

fn compare_breaks(
    args: &Args,
    stage: &Stage,
    both: &Both<'_>,
    answer_bytes: usize,
    next: &mut u64,
) -> anyhow::Result<Vec<Check>> {
    let of = Of::Breaks(&stage.breaks);
    let many = in_turn("breaks", args, args.connections, (of, After::Heard), both, next)?;
    let one = in_turn("one connection", args, 1, (of, After::Heard), both, next)?;
    let mut engine = Engine::connect(both.segue.address, args.connections, Nap::Never)?;
    let mut everybody = Flood::counting(of, *next, stage.breaks.len() as u64);
    engine.run(&mut everybody)?;
    *next = everybody.next();
    both.segue.settle(both.idle, REST_WITHIN)?;
    let unheard = in_turn("breaks of who heard nothing", args, args.connections, (of, After::Nothing), both, next)?;
    let (ours, bares) = (many.0.spread(|round| round.cpu_us), many.1.spread(|round| round.cpu_us));
    let added = |(ours, bares): &(Rounds, Rounds)| {
        Spread::of(ours.0.iter().zip(&bares.0).map(|(our, bare)| our.cpu_us - bare.cpu_us))
    };
    let (added, added_unheard) = (added(&many), added(&unheard));
    let ratio = ratio_of(&many, |round| round.requests_per_second);
    let p99 = ratio_of(&one, |round| round.p99_us);
    println!("breaks: CPU-us a request {ours}, bare with {answer_bytes} bytes {bares}, added {added}");
    println!(
        "breaks of listeners who heard nothing of the one before, so that its ads are given up: added {added_unheard}"
    );
    println!("breaks: requests/s as a share of bare {ratio}; one connection's p99 as a multiple of bare's {p99}");
    let bound = if args.workload.line_items > 100_000 { 35.0 } else { 25.0 };
    let size = args.workload.line_items;
    Ok(vec![
        Check::at_most(format!("CPU of a break above bare, {size} line items"), added.median, bound, "us"),
        Check::at_least(format!("breaks/s over bare, {size} line items"), ratio.median, 0.5, "ratio"),
        Check::at_most("p99 of one connection over bare", p99.median, 2.0, "ratio"),
        Check::at_most("errors of breaks", as_float(errors(&many) + errors(&one) + errors(&unheard)), 0.0, "errors"),
    ])
}

fn compare_beacons(args: &Args, stage: &Stage, both: &Both<'_>, next: &mut u64) -> anyhow::Result<Vec<Check>> {
    let ads = collect_ads(args, stage, both, next)?;
    let segue = both.segue;
    let before = segue.metrics()?;
    let mut number = 0;
    let rounds =
        in_turn("beacons", args, args.beacon_connections, (Of::Beacons(&ads), After::Nothing), both, &mut number)?;
    let after = segue.metrics()?;
    let more = |name| metric(&after, name, "\"money\"") - metric(&before, name, "\"money\"");
    let (records, batches) = (more("segue_journalled_records_total"), more("segue_journal_batches_total").max(1.0));
    let used = more("segue_journal_used_bytes");
    // A journal grows by whole segments: of few nothing can be told.
    let record_bytes = if used > 4.0 * f64::from(64 << 20) { used / records } else { RECORD_BYTES };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands of bytes")]
    let bytes_per_sync = (records / batches * record_bytes).max(1.0) as usize;
    let disk_us = disk::sync_p99_us(&stage.data_dir(), bytes_per_sync, Duration::from_secs(args.seconds))?;
    let ratio = ratio_of(&rounds, |round| round.requests_per_second);
    let p99 = rounds.0.spread(|round| round.p99_us);
    println!("beacons: requests/s as a share of bare {ratio}; p99 {p99} us");
    println!(
        "beacons: {records:.0} records in {batches:.0} syncs, {bytes_per_sync} bytes each; the disk's own p99 with as many {disk_us:.0} us"
    );
    Ok(vec![
        Check::at_least("durable beacons/s over bare", ratio.median, 0.60, "ratio"),
        Check::at_most("p99 of a beacon over the disk's", p99.median / disk_us.max(1.0), 3.0, "ratio"),
        Check::at_most("errors of beacons", as_float(errors(&rounds)), 0.0, "errors"),
    ])
}

/// Asks for breaks until there are as many tokens as beacons will be sent with, two each.
fn collect_ads(args: &Args, stage: &Stage, both: &Both<'_>, next: &mut u64) -> anyhow::Result<Vec<Ad>> {
    const BEACONS_A_SECOND: u64 = 60_000;
    let wanted = usize::try_from(u64::from(args.rounds) * args.seconds * BEACONS_A_SECOND / 2)?.min(ADS_MAX);
    let mut engine = Engine::connect(both.segue.address, args.connections, Nap::Never)?;
    let mut ads = Vec::with_capacity(wanted);
    while ads.len() < wanted {
        let count = stage.breaks.len() as u64;
        let mut flood = Flood::counting(Of::Breaks(&stage.breaks), *next, count).keeping(wanted - ads.len());
        engine.run(&mut flood)?;
        *next = flood.next();
        anyhow::ensure!(!flood.ads.is_empty(), "no ads are answered: there are no tokens to send beacons with");
        ads.append(&mut flood.ads);
        eprintln!("{} of {wanted} tokens", ads.len());
    }
    both.segue.settle(both.idle, REST_WITHIN)?;
    Ok(ads)
}

/// Rounds of both, A B A B.
fn in_turn(
    what: &str,
    args: &Args,
    connections: usize,
    (of, after): (Of<'_>, After),
    servers: &Both<'_>,
    next: &mut u64,
) -> anyhow::Result<(Rounds, Rounds)> {
    let mut both = (Rounds::default(), Rounds::default());
    for number in 1..=args.rounds {
        let ours = (servers.segue, servers.idle, if after == After::Heard { ADS_MAX } else { 0 });
        let bares = (servers.bare, 0.0, 0);
        for (name, server, rounds) in [("segue", ours, &mut both.0), ("bare", bares, &mut both.1)] {
            let (round, ads) = round(server, connections, of, Duration::from_secs(args.seconds), next)?;
            if !ads.is_empty() {
                hear(args, server.0, &ads)?;
                server.0.settle(server.1, REST_WITHIN)?;
            }
            eprintln!(
                "{what}, round {number}, {name}: {:.0} a second, {:.2} CPU-us, p50 {:.0} us, p99 {:.0} us, {} errors; generator at {:.0} %",
                round.requests_per_second,
                round.cpu_us,
                round.p50_us,
                round.p99_us,
                round.errors,
                round.generator * 100.0
            );
            rounds.0.push(round);
        }
    }
    Ok(both)
}

/// A round with a server that takes `idle` of a core at rest, and up to `keep` of the ads that it answered.
fn round(
    (server, idle, keep): (&Server, f64, usize),
    connections: usize,
    of: Of<'_>,
    length: Duration,
    next: &mut u64,
) -> anyhow::Result<(Round, Vec<Ad>)> {
    let mut engine = Engine::connect(server.address, connections, Nap::Never)?;
    let before = server.cpu()?;
    let start = engine.now();
    let mut flood = Flood::lasting(of, *next, start, length).keeping(keep);
    engine.run(&mut flood)?;
    let took = Duration::from_nanos(engine.now() - start).as_secs_f64();
    let generator = engine.busy().as_secs_f64() / took;
    drop(engine);
    let rested = server.settle(idle, REST_WITHIN)?;
    *next = flood.next();
    let seen = flood.seen;
    let requests = as_float((seen.answered + seen.errors).max(1));
    let cpu = server.cpu()?.saturating_sub(before).as_secs_f64() - idle * rested;
    let round = Round {
        requests_per_second: requests / took,
        cpu_us: cpu * 1e6 / requests,
        p50_us: seen.latency_us(0.5),
        p99_us: seen.latency_us(0.99),
        errors: seen.errors,
        generator,
    };
    Ok((round, flood.ads))
}

/// How much of a core the server takes while nobody asks.
fn idle_share(server: &Server) -> anyhow::Result<f64> {
    const LOOK: Duration = Duration::from_secs(3);
    let before = server.cpu()?;
    std::thread::sleep(LOOK);
    Ok(server.cpu()?.saturating_sub(before).as_secs_f64() / LOOK.as_secs_f64())
}

/// Ours over bare's, round by round.
fn ratio_of((ours, bares): &(Rounds, Rounds), of: fn(&Round) -> f64) -> Spread {
    Spread::of(ours.0.iter().zip(&bares.0).map(|(our, bare)| of(our) / of(bare).max(f64::MIN_POSITIVE)))
}

fn errors((ours, bares): &(Rounds, Rounds)) -> u64 {
    ours.0.iter().chain(&bares.0).map(|round| round.errors).sum()
}
