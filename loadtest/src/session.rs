//! A run of players against one server, and what was seen of it second by second: the ground of [`crate::run`], [`crate::memory`] and [`crate::spotify`].

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::engine::{Engine, Nap};
use crate::players::{Advertisers, Go, Look, Phase, Players, Told};
use crate::process;
use crate::server::Server;
use crate::simple;
use crate::stage::Stage;

/// Line items that advertisers change in turn.
const CHANGED: usize = 100;
/// Shortest sleep of the generator: it shares its cores with the server, and waking up costs more than a fifth of a millisecond is worth.
const NAP: Duration = Duration::from_micros(200);

/// How players and advertisers come.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Crowd {
    /// Connections, all kept open.
    #[arg(long, default_value_t = 512)]
    pub(crate) connections: usize,
    /// Players collect their reports for so many milliseconds and send them as one batch; 0: each by itself.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) gather_ms: u64,
    /// Changes of line items a second.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) writes: f64,
}

/// A second of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second {
    /// Seconds since it began.
    pub(crate) at: f64,
    /// The phase.
    pub(crate) phase: usize,
    /// The processor's time of the server since it began.
    pub(crate) server_cpu: Duration,
    /// That of the generator.
    pub(crate) generator_cpu: Duration,
    /// Resident memory of the server in bytes.
    pub(crate) resident: u64,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Session {
    /// By phase.
    pub(crate) told: Vec<Told>,
    /// Second by second.
    pub(crate) seconds: Vec<Second>,
}

/// Lets the crowd come through the phases. `judge` hears of each second, and says whether to go on.
pub(crate) fn play(
    stage: &Stage,
    server: &Server,
    crowd: &Crowd,
    phases: Vec<Phase>,
    seed: u64,
    mut judge: impl FnMut(&Look<'_>) -> Go + 'static,
    drain: bool,
) -> anyhow::Result<Session> {
    // Before the engine, with which the run's time begins.
    let advertisers = advertisers(stage, server, crowd.writes)?;
    let mut engine = Engine::connect(server.address, crowd.connections, Nap::AtLeast(NAP))?;
    let seconds = Rc::new(RefCell::new(Vec::new()));
    let (kept, pid) = (Rc::clone(&seconds), server.pid());
    let say = move |look: &Look<'_>| {
        // A server that has ended is seen by the next request.
        if let Ok(second) = second(look, pid) {
            say_second(look, kept.borrow().last(), &second);
            kept.borrow_mut().push(second);
        }
        judge(look)
    };
    let gather = (crowd.gather_ms > 0).then(|| Duration::from_millis(crowd.gather_ms));
    let players = Players::new(&stage.breaks, phases, seed, say).gathering(gather).with(advertisers);
    let mut players = if drain { players } else { players.without_drain() };
    engine.run(&mut players)?;
    let told = std::mem::take(&mut players.told);
    drop(players);
    let seconds = seconds.borrow().clone();
    Ok(Session { told, seconds })
}

fn second(look: &Look<'_>, pid: u32) -> anyhow::Result<Second> {
    Ok(Second {
        at: look.at_seconds,
        phase: look.phase,
        server_cpu: process::cpu(pid)?,
        generator_cpu: process::cpu(std::process::id())?,
        resident: process::resident(pid)?,
    })
}

/// A line of progress.
fn say_second(look: &Look<'_>, before: Option<&Second>, now: &Second) {
    let share = |of: fn(&Second) -> Duration| {
        before.map_or(0.0, |before| (of(now).saturating_sub(of(before))).as_secs_f64() / look.seconds * 100.0)
    };
    let rate = |count: u64| crate::traffic::as_float(count) / look.seconds;
    eprintln!(
        "{:6.0} s  {:6.0} breaks/s p99 {:7.2} ms  {:7.0} beacons/s p99 {:7.2} ms  errors {}  in flight {}  playing {}  \
         cpu {:.0} % + generator {:.0} %  {} MB",
        look.at_seconds,
        rate(look.breaks.answered),
        look.breaks.latency_us(0.99) / 1_000.0,
        rate(look.beacons.answered),
        look.beacons.latency_us(0.99) / 1_000.0,
        look.breaks.errors + look.beacons.errors,
        look.in_flight,
        look.playing,
        share(|second| second.server_cpu),
        share(|second| second.generator_cpu),
        now.resident >> 20,
    );
}

/// Advertisers who change the first line items of the catalogue.
fn advertisers(stage: &Stage, server: &Server, per_second: f64) -> anyhow::Result<Advertisers> {
    if per_second <= 0.0 {
        return Ok(Advertisers::default());
    }
    let key = stage.stored.operator_key.clone();
    let (status, body) = simple::get(server.address, &format!("/v1/line-items?limit={CHANGED}"), Some(&key))?;
    anyhow::ensure!(status == 200, "the list of line items was answered {status}");
    let list: Value = serde_json::from_slice(&body).context("understanding a list of line items")?;
    let items = list["items"].as_array().context("a list has items")?;
    let known = |item: &Value| Some((item["id"].as_str()?.to_owned(), item["revision"].as_u64().unwrap_or(1)));
    Ok(Advertisers { key, line_items: items.iter().filter_map(known).collect(), per_second })
}

/// The processor's time of server and generator in a phase, and how long it was looked at, in seconds.
pub(crate) fn cpu_of(seconds: &[Second], phase: usize) -> (f64, f64, f64) {
    let mut of_phase = seconds.iter().filter(|second| second.phase == phase);
    let Some(first) = of_phase.next() else { return (0.0, 0.0, 0.0) };
    let last = of_phase.next_back().unwrap_or(first);
    let between = |of: fn(&Second) -> Duration| of(last).saturating_sub(of(first)).as_secs_f64();
    (between(|second| second.server_cpu), between(|second| second.generator_cpu), last.at - first.at)
}
