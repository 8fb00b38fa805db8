//! A server under load is killed again and again (SIGKILL), and nothing that it acknowledged is lost or charged twice.
//!
//! The truth is the players' own list ([`board::Board`]): a token is written to it before its beacon is sent, and marked at the 2xx. Deaths come
//! at random moments, and at each named point of `journal.fault`, where the process kills itself: in an append, between a write and its
//! sync, in a roll, before and after accounting's commit; and in starts, one after the other. In the end the books are opened and judged
//! against the list, by counting of the test's own ([`books::Books`]).
//!
//! Held here against real processes and files: INV-1 (acknowledged is durable), INV-3 (charged at most once), INV-4 (no budget is passed), INV-5
//! (a grant is durable before it is used, and never drawn from by a later boot). What a lost page cache would do is the journal's own
//! tests' matter: a kill leaves it whole.

mod board;
mod books;
mod campaigns;
mod canaries;
mod player;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use segue::clock::Clock;

use crate::harness::{Server, folder, segue, wait_until};
use board::Board;
use books::{Books, Journal};
use player::Player;

/// Seed of the moments of death and of what players do; `SEGUE_KILL_SEED` takes another.
const SEED: u64 = 20_150_312;
/// Players at once: enough that a group commit has company.
const PLAYERS: u64 = 8;
/// Random kills.
const RANDOM_KILLS: usize = 24;
/// Marked impressions between a start and a random kill: at least so many, and up to as many more.
const MARKED_BEFORE_KILL: u64 = 80;
/// Least marked impressions in the end.
const MARKED_MIN: usize = 2_000;
/// Longest wait for the players to get on, real time. Only a hang gets there.
const PATIENCE: Duration = Duration::from_mins(1);
/// SIGKILL.
const SIGKILL: i32 = 9;

/// Small segments roll within a few hundred beacons; a slow machine shall not time out what is only slow.
/// The players hear far more than people can.
const SETTINGS: [&str; 6] = [
    "journal.segment_bytes=65536",
    "journal.ack_timeout_ms=10000",
    "accounting.commit_interval_ms=50",
    "invalid_traffic.listener_hour_max=0",
    "invalid_traffic.listener_burst_max=0",
    "log.level=warn",
];

/// How a server dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Death {
    /// Killed from outside, once so many more impressions are marked.
    Kill { after_marked: u64 },
    /// By its own hand, at a pass of a point.
    Fault { point: &'static str, pass: u64 },
    /// By its own hand before it serves, at the first pass of a point: while it recovers and grants anew.
    AtStart { point: &'static str },
}

impl Death {
    const fn kind(self) -> &'static str {
        match self {
            Self::Kill { .. } => "random",
            Self::Fault { point, .. } => point,
            Self::AtStart { .. } => "at_start",
        }
    }
}

/// What the deaths came to.
#[derive(Default)]
struct Deaths {
    by_kind: BTreeMap<&'static str, u64>,
    /// Deaths that cut off a write of the journal.
    torn: u64,
    /// Impressions marked in the second before each, by the server that died.
    marked_in_last_second: Vec<usize>,
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost_or_charged_twice() {
    let seed = std::env::var("SEGUE_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    eprintln!("SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let clock = Clock::real();
    let folder = folder();
    let data = folder.path().join("data");

    let mut deaths = Deaths::default();
    // The very first segment is made by a process that dies of it.
    deaths.at_start(folder.path(), "roll");
    let server = Server::start(folder.path(), &SETTINGS);
    let sold = campaigns::set_up(&server, &data, clock.now().wall);
    let board = Arc::new(Board::default());
    let players = start_players(&board, &clock, &data, seed);
    // The first death is a kill, for which the server that sold everything will do.
    let mut running = Some(server);
    for death in plan(&mut rng) {
        if let Death::AtStart { point } = death {
            deaths.at_start(folder.path(), point);
        } else {
            let server = running.take().unwrap_or_else(|| start(folder.path(), death));
            live_and_die(&server, death, &board, &clock, &mut deaths);
        }
        deaths.look(death, &Journal::read(&data), board.marked());
    }
    let last = Server::start(folder.path(), &SETTINGS);
    board.opened(last.address(), clock.now().monotonic);
    board.wait_marked(board.marked().max(MARKED_MIN) + 1, PATIENCE);
    // However little the servers before it lived to sell: the last one lives until nearly all that is sold was heard.
    wait_until("nearly every line item is billed", || {
        campaigns::billed(&last, &data, &sold) * 10 >= sold.paid.len() * 9
    });
    board.stop();
    for player in players {
        player.join().expect("a player ends well");
    }
    assert!(last.terminate().success(), "the last server drains and ends well");

    let audit = segue(folder.path(), &["audit", "--json", "--data-dir", "data"]);
    let text = String::from_utf8_lossy(&audit.stdout);
    assert!(audit.status.success(), "SEED={seed}: the audit finds differences: {text}\n{audit:?}");
    let (books, list) = (Books::open(&data, clock.now().wall), board.entries());
    let verdict = books.judge(&list, &sold).unwrap_or_else(|why| panic!("SEED={seed}: {why}"));
    canaries::sing(&books, &list, &sold);
    deaths.judge();
    let (most, median) = deaths.most_and_median();
    eprintln!(
        "SEED={seed} {verdict} deaths={:?} torn_tails={} marked_in_the_second_before: most={most} median={median} {}",
        deaths.by_kind,
        deaths.torn,
        board.summary()
    );
    assert!(verdict.marked >= MARKED_MIN, "SEED={seed}: {verdict}");
    assert!(most >= 50, "SEED={seed}: a kill under load: {:?}", deaths.marked_in_last_second);
    assert_eq!(board.refused(), BTreeMap::new(), "SEED={seed}: no player was refused anything");
}

/// Random kills, with the ordered deaths strewn in between: each point twice, accounting's commit once before and once after it is durable.
fn plan(rng: &mut ChaCha8Rng) -> Vec<Death> {
    let mut deaths: Vec<Death> = (0..RANDOM_KILLS)
        .map(|_| Death::Kill { after_marked: MARKED_BEFORE_KILL + rng.next_u64() % MARKED_BEFORE_KILL })
        .collect();
    // Passes that come after the start: a start appends and commits a few times before anybody listens.
    let mut pass = |from: u64, width: u64| from + rng.next_u64() % width;
    let ordered = [
        ("append", pass(20, 20)),
        ("before_sync", pass(20, 20)),
        ("roll", 1),
        ("accounting_commit", 2 * pass(6, 3) + 1),
        ("append", pass(40, 40)),
        ("before_sync", pass(40, 40)),
        ("roll", 2),
        ("accounting_commit", 2 * pass(6, 3)),
    ];
    for (index, (point, pass)) in ordered.into_iter().enumerate() {
        deaths.insert(3 * index + 2, Death::Fault { point, pass });
    }
    // One start after the other fails, in the middle of it all.
    for point in ["append", "before_sync", "accounting_commit"] {
        deaths.insert(deaths.len() / 2, Death::AtStart { point });
    }
    deaths
}

fn settings(more: &str) -> Vec<&str> {
    SETTINGS.into_iter().chain([more]).collect()
}

fn start(folder: &Path, death: Death) -> Server {
    match death {
        Death::Kill { .. } | Death::AtStart { .. } => Server::start(folder, &SETTINGS),
        Death::Fault { point, pass } => Server::start(folder, &settings(&format!("journal.fault={point}:{pass}"))),
    }
}

fn start_players(board: &Arc<Board>, clock: &Clock, data: &Path, seed: u64) -> Vec<JoinHandle<()>> {
    let app_key = std::fs::read_to_string(data.join("app.key")).expect("the first start wrote it").trim().to_owned();
    (0..PLAYERS)
        .map(|number| {
            let player = Player::new(Arc::clone(board), clock.clone(), app_key.clone(), seed, number);
            std::thread::spawn(move || player.run())
        })
        .collect()
}

/// Lets the players at the server until it is dead.
fn live_and_die(server: &Server, death: Death, board: &Board, clock: &Clock, deaths: &mut Deaths) {
    let before = board.marked();
    board.opened(server.address(), clock.now().monotonic);
    let status = match death {
        Death::Kill { after_marked } => {
            let wanted = usize::try_from(after_marked).expect("a small number");
            assert!(board.wait_marked(before + wanted, PATIENCE), "{death:?}: the players get on\n{}", server.log());
            assert!(!server.has_ended(), "{death:?}: it was still alive\n{}", server.log());
            server.kill()
        }
        Death::Fault { .. } | Death::AtStart { .. } => {
            wait_until("the server dies of its fault", || server.has_ended());
            server.wait()
        }
    };
    // Players had the address until it was dead: their requests were under way.
    let in_last_second = board.marked_since(clock.now().monotonic, 1_000);
    board.closed();
    deaths.note(death.kind(), status);
    deaths.marked_in_last_second.push(in_last_second);
}

impl Deaths {
    /// A server dies before it serves anybody.
    fn at_start(&mut self, folder: &Path, point: &str) {
        let status = Server::start_to_its_end(folder, &settings(&format!("journal.fault={point}:1")));
        self.note("at_start", status);
    }

    fn note(&mut self, kind: &'static str, status: ExitStatus) {
        assert_eq!(status.signal(), Some(SIGKILL), "{kind}: {status:?}");
        *self.by_kind.entry(kind).or_default() += 1;
    }

    /// What the dead server left, before anybody repairs it: whole records, all that was acknowledged among them.
    fn look(&mut self, death: Death, journal: &Journal, marked: usize) {
        self.torn += u64::from(journal.is_torn);
        let heard = journal.heard.len();
        assert!(heard >= marked, "INV-1: {death:?}: {marked} impressions were acknowledged, {heard} are in the log");
        if death.kind() == "roll" {
            assert!(journal.begins_segment, "{death:?}: it died when the new segment had its name and no record");
        }
    }

    /// Every kind of death was died.
    fn judge(&self) {
        for (kind, least) in
            [("random", 20), ("append", 2), ("before_sync", 2), ("roll", 2), ("accounting_commit", 2), ("at_start", 4)]
        {
            let died = self.by_kind.get(kind).copied().unwrap_or_default();
            assert!(died >= least, "{kind}: {died} of {least} deaths");
        }
    }

    fn most_and_median(&self) -> (usize, usize) {
        let mut marked = self.marked_in_last_second.clone();
        marked.sort_unstable();
        (marked.last().copied().unwrap_or_default(), marked[marked.len() / 2])
    }
}
