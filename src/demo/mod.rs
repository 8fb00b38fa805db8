//! The demo: a made-up network with listeners, on a real server, over real HTTP, checked to the last micro.
//!
//! The server runs in this process on a free port of the loopback interface, on an accelerated clock, so that tracks of minutes pass in a
//! second or two. Players know nothing of its inside. When the time is over players stop, beacons land, accounting reaches the end of the log,
//! the server drains, and the [`checker`] judges what happened by answers and event log alone.

mod advertiser;
mod body;
pub mod checker;
pub mod client;
pub mod evidence;
mod forgery;
mod player;
mod pod;
mod reports;
mod server;
mod sound;
mod sounds;
mod status;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::model::{AppKey, Network};
use crate::workload::world::{World, listeners};
use advertiser::Advertiser;
use checker::{LogSummary, Reported, Rules, Verdict};
use client::Client;
use evidence::{Evidence, Recorder};
pub use forgery::Forgery;
use player::{Player, Stage};
use sounds::{SoundCounts, Sounds};
use status::Screen;
use tally::{Counts, Tally};

/// Most listeners: each is a task or two, and the machine is shared with the server.
pub const LISTENERS_MAX: usize = 20_000;

/// What is asked of the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many real seconds players play; until Ctrl-C when absent.
    pub seconds: Option<u64>,
    /// Seed of the world and of all that its people do.
    pub seed: u64,
    /// Where the server keeps its data; a fresh folder that is removed at the end when absent.
    pub data_dir: Option<PathBuf>,
    /// Whether the last line of standard output is one JSON object.
    pub json: bool,
    /// How many people listen.
    pub listeners: usize,
    /// Virtual seconds in a real one.
    pub speed: u32,
    /// For tests: how the log is forged before it is checked.
    pub forge: Option<Forgery>,
}

/// The demo in numbers; in JSON the last line of standard output.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Breaks that were due and answered.
    pub breaks: u64,
    /// Of those, breaks with at least one ad.
    pub filled_breaks: u64,
    /// Of those, breaks with at least one paid ad.
    pub paid_breaks: u64,
    /// Requests that were answered with "no break is due".
    pub not_due: u64,
    /// Impressions that had to be billed, by what the players saw.
    pub billable_impressions: u64,
    /// Impressions that the reports bill.
    pub billed_impressions: u64,
    /// Paid impressions heard that the reports do not bill.
    pub unbilled_impressions: u64,
    /// Candidates refused because of a frequency cap.
    pub refused_by_cap: u64,
    /// Candidates refused because of a competitor in the pod or the break before.
    pub refused_by_separation: u64,
    /// Candidates held back to spread delivery.
    pub throttled: u64,
    /// Beacons acknowledged.
    pub beacons_acknowledged: u64,
    /// Beacons never sent.
    pub beacons_lost: u64,
    /// Further sendings of the same beacon.
    pub beacons_repeated: u64,
    /// Beacons sent after the token's life.
    pub beacons_late: u64,
    /// Requests sent twice.
    pub requests_repeated: u64,
    /// Frequency caps passed.
    pub cap_violations: u64,
    /// Competitors, or creatives of the break before, where they may not be.
    pub separation_violations: u64,
    /// Whatever else the checker found.
    pub other_violations: u64,
    /// The first findings in words.
    pub violations: Vec<String>,
    /// Requests that failed.
    pub errors: u64,
    /// The first of them in words.
    pub error_examples: Vec<String>,
    /// Tunes that were composed and sent to the server.
    pub tunes: u64,
    /// Fetches of sound that brought what they should.
    pub sounds_fetched: u64,
    /// Bytes that they brought.
    pub sound_bytes: u64,
    /// Fetches of sound that did not.
    pub sounds_failed: u64,
    /// Whether every line item is billed what was billable, to the micro.
    pub balanced: bool,
    /// Impressions heard, by tier.
    pub heard_by_tier: BTreeMap<&'static str, u64>,
    /// Money billed, in micros.
    pub spent_micros: i64,
    /// Refusals on the way to the answers, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The seed.
    pub seed: u64,
    /// Real seconds that players played.
    pub seconds: u64,
    /// Breaks due a real second.
    pub breaks_per_second: u64,
    /// Half of the answers came within this, in real microseconds.
    pub p50_us: u64,
    /// 99 % did.
    pub p99_us: u64,
    /// 99.9 % did.
    pub p999_us: u64,
}

impl Summary {
    /// Whether nothing is wrong: nothing violated, no errors, and the books balance.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.cap_violations == 0
            && self.separation_violations == 0
            && self.other_violations == 0
            && self.errors == 0
            && self.balanced
            && self.billed_impressions == self.billable_impressions
    }
}

/// Runs the demo from an empty folder to the checked summary.
///
/// # Errors
/// When the server can't be started or stopped, or its log can't be read. What the checker finds is no error but in the summary.
pub async fn run(options: &Options) -> anyhow::Result<Summary> {
    let screen = Screen::new(options.json);
    let folder = server::Folder::prepare(options.data_dir.clone(), options.seed)?;
    screen.say(&format!("seed {}; starting a server with its data in {}", options.seed, folder.path().display()));
    let performance = perform(options, &screen, folder.path()).await?;
    if let Some(forgery) = options.forge {
        screen.say(&forgery.commit(folder.path())?.in_words(forgery));
    }
    let verdict = performance.judge(folder.path())?;
    let summary = status::summary(options, &performance, &verdict);
    screen.say(summary.in_words().trim_end());
    folder.finish();
    Ok(summary)
}

/// What was played, and what was seen of it from outside.
#[derive(Debug)]
struct Performance {
    rules: Rules,
    evidence: Evidence,
    reported: Reported,
    counts: Counts,
    /// Real time that players played.
    played: Duration,
    /// How many tunes there are.
    tunes: usize,
    /// What players fetched of them.
    sounds: SoundCounts,
}

impl Performance {
    /// What the checker says, given the log in that data folder.
    fn judge(&self, data_dir: &Path) -> anyhow::Result<Verdict> {
        let log = LogSummary::read(data_dir).context("reading the event log")?;
        Ok(checker::check(&self.rules, &self.evidence, &log, &self.reported))
    }
}

/// Starts a server, lets players play on it, waits for the books and stops it.
async fn perform(options: &Options, screen: &Screen, data_dir: &Path) -> anyhow::Result<Performance> {
    let server = server::Server::start(data_dir, options.speed).await?;
    let started = server.clock().now().wall;
    let mut world = World::generate(server.network()?, started, options.seed);
    let client = Arc::new(server.client()?);
    // The server takes files of advertisers that it knows.
    let nobody = World { campaigns: Vec::new(), creatives: Vec::new(), line_items: Vec::new(), ..world.clone() };
    server.import(nobody).await?;
    let tunes = sounds::send_tunes(&client, &mut world, options.seed).await.context("sending the tunes")?;
    screen.say(&format!("{tunes} tunes were composed and sent to the server"));
    let rules = Rules::new(&world, server.app()?);
    let tally = Tally::new(&world.line_items);
    let placement = world.network.placements.first().context("the network has no placement")?.key.as_str().to_owned();
    let advertiser = Advertiser::new(&world, options.seed);
    server.import(world).await?;
    let client = Arc::into_inner(client).context("a tune is still being sent")?;
    welcome(screen, &server, &client);
    let recorder = Recorder::default();
    let sounds = Sounds::default();
    let stage = Arc::new(Stage { client, recorder, tally, sounds, rules, placement, started, seed: options.seed });
    let played = play(options, screen, &stage, advertiser).await;
    screen.say("players have stopped; waiting for the books, then stopping the server");
    let reported = reports::settled(&stage).await.unwrap_or_else(|failure| {
        stage.recorder.error(format!("{failure:#}"));
        Reported::default()
    });
    // With the client go its connections, so that the server need not wait for them.
    let Stage { client, recorder, tally, sounds, rules, .. } =
        Arc::into_inner(stage).context("a player is still playing")?;
    drop(client);
    server.stop().await?;
    Ok(Performance {
        rules,
        evidence: recorder.take(),
        reported,
        counts: tally.counts(),
        played,
        tunes,
        sounds: sounds.counts(),
    })
}

/// Where to look while it runs.
fn welcome(screen: &Screen, server: &server::Server, client: &Client) {
    let (base, key) = (client.base(), server.operator_key_file());
    let key = key.display();
    screen.say(&format!(
        "console   {base}/console/   with the key in {key}\n\
         look at   {base}/metrics   {base}/healthz   {base}/v1/openapi.json\n\
         reports   curl -H \"authorization: Bearer $(cat {key})\" {base}/v1/reports\n\
         Ctrl-C ends it and checks the books.",
    ));
}

/// Players play until the time is over, somebody presses Ctrl-C, or as much was seen as can be remembered. Returns how long, in real time.
async fn play(options: &Options, screen: &Screen, stage: &Arc<Stage>, mut advertiser: Advertiser) -> Duration {
    let (stop, stopped) = watch::channel(false);
    let mut players = JoinSet::new();
    for (index, listener) in listeners(options.listeners.min(LISTENERS_MAX), options.seed).into_iter().enumerate() {
        let listener = Arc::new(listener);
        for device in 0..listener.devices.len() {
            let player = Player::new(Arc::clone(stage), Arc::clone(&listener), index, device, stopped.clone());
            players.spawn(player.run());
        }
    }
    let stopwatch = stage.client.clock().stopwatch();
    let elapsed = || Duration::from_micros(stopwatch.elapsed_us());
    let mut before = stage.tally.counts();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        let over =
            options.seconds.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds).saturating_sub(elapsed()));
        tokio::select! {
            _ = second.tick() => {}
            () = tokio::time::sleep(over) => break,
            _ = tokio::signal::ctrl_c() => break,
        }
        let now = stage.tally.counts();
        screen.status(&status::line(elapsed(), &before, &now, stage.sounds.counts()));
        before = now;
        advertiser.act(stage).await;
        if stage.recorder.is_full() {
            break;
        }
    }
    let played = elapsed();
    screen.end_status();
    advertiser.finish(stage).await;
    // Nobody else listens to it: an error would mean that every player has ended already.
    let _ = stop.send(true);
    while let Some(ended) = players.join_next().await {
        if let Err(error) = ended {
            stage.recorder.error(format!("a player ended badly: {error}"));
        }
    }
    played
}

/// An error with its causes, in one line.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The app whose key players use, in the network as the first start makes it.
fn first_app(network: &Network) -> anyhow::Result<AppKey> {
    Ok(network.apps.first().context("the network has no app")?.key.clone())
}
