//! Reports of changes: lost, late, asked for by a new owner. What is known of a server in the end is what an owner knows that gets all of it each time.

use proptest::prelude::*;

use super::*;
use crate::accounting::LedgerState;
use crate::catalog::LineSlot;
use crate::model::{LeaseId, LineItemId};
use crate::roles::decision::{Standing, Telling};

const SERVER: ServerId = ServerId::from_u128(7);
const BOOT: BootId = BootId::from_u128(8);
const LINE_ITEMS: usize = 6;
/// Reports after which everything was said again, and asked for before.
const HEALED: usize = 64;

/// A server that does things, and tells of them.
struct Server {
    lines: Vec<LineReport>,
    telling: Telling,
    leases: u128,
    is_asked: bool,
}

impl Server {
    fn new() -> Self {
        let line = |n: usize| LineReport {
            line_item_id: LineItemId::from_u128(n as u128),
            drawn: Micros(0),
            drawn_count: 0,
            eligible: 0,
            lease: None,
        };
        Self { lines: (0..LINE_ITEMS).map(line).collect(), telling: Telling::default(), leases: 0, is_asked: false }
    }

    fn report(&mut self, now: Now) -> ServerReport {
        let wanted = if std::mem::take(&mut self.is_asked) { Wanted::All } else { Wanted::Changes };
        let standing = |(slot, line): (u32, &LineReport)| Standing {
            slot: LineSlot(slot),
            drawn_count: line.drawn_count,
            eligible: line.eligible,
        };
        let all = (0..).zip(&self.lines).map(standing);
        let told = self.telling.tell(wanted, all, |standing| self.lines[standing.slot.index()]);
        let (extent, lines) = told.expect("something is wanted");
        report(now, extent, lines)
    }
}

fn report(at: Now, extent: Extent, lines: Vec<LineReport>) -> ServerReport {
    ServerReport { server_id: SERVER, boot_id: BOOT, at, transit_ms: 0, extent, lines }
}

/// An owner that knows nothing yet. It reads no log, so that the leases that servers tell of stay as they told it.
fn owner(now: Now) -> AccountingMachine {
    let settings = MachineSettings {
        server_id: ServerId::from_u128(1),
        boot_id: BootId::from_u128(1),
        partition: 0,
        namer: [0; 16],
        lease_ms: 900_000,
        commit_interval_ms: 1_000,
        report_ms: 1_000,
        clock_tolerance_ms: 1_000,
        states_delivery: false,
    };
    let mut machine = AccountingMachine::new(settings, LedgerState::default(), now);
    let says = ServerSays { server_id: SERVER, boot_id: BOOT, news: ServerNews::Registered };
    assert_eq!(machine.step(Input::Server(says), now).refused, []);
    machine
}

fn asks(effects: &RoleEffects) -> bool {
    effects.messages.iter().any(|message| message.body == MessageBody::TellAll)
}

#[derive(Clone, Debug)]
enum Step {
    Draw(usize, u64),
    Chance(usize, u64),
    Lease(usize),
    LeaseEnds(usize),
    Report(Fate),
    OwnerChanges,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Arrives,
    Lost,
    /// The next one overtakes it.
    Overtaken,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let line = 0..LINE_ITEMS;
    let fate = prop_oneof![4 => Just(Fate::Arrives), 2 => Just(Fate::Lost), 1 => Just(Fate::Overtaken)];
    let step = prop_oneof![
        4 => (line.clone(), 1..5_u64).prop_map(|(n, count)| Step::Draw(n, count)),
        3 => (line.clone(), 1..600_u64).prop_map(|(n, count)| Step::Chance(n, count)),
        1 => line.clone().prop_map(Step::Lease),
        1 => line.prop_map(Step::LeaseEnds),
        6 => fate.prop_map(Step::Report),
        1 => Just(Step::OwnerChanges),
    ];
    proptest::collection::vec(step, 1..150)
}

/// The world: a server, the owner that gets its reports as they travel, and the twin that gets all each time.
struct World {
    now: Now,
    server: Server,
    owner: AccountingMachine,
    twin: AccountingMachine,
    overtaken: Option<ServerReport>,
    /// Draws until the owner began.
    before: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let now = Now { wall: WallMs(1_700_000_000_000), monotonic: MonotonicMs(1) };
        let before = vec![0; LINE_ITEMS];
        Self { now, server: Server::new(), owner: owner(now), twin: owner(now), overtaken: None, before }
    }

    fn report(&mut self, fate: Fate) {
        self.now = Now { wall: self.now.wall.plus_ms(1_000), monotonic: self.now.monotonic.plus_ms(1_000) };
        let report = self.server.report(self.now);
        let all = self::report(self.now, Extent::whole(1), self.server.lines.clone());
        self.twin.step(Input::ServerReport(all), self.now);
        match fate {
            Fate::Arrives => {
                self.deliver(report);
                if let Some(overtaken) = self.overtaken.take() {
                    self.deliver(overtaken);
                }
            }
            Fate::Lost => {}
            Fate::Overtaken => self.overtaken = Some(report),
        }
    }

    fn deliver(&mut self, report: ServerReport) {
        let effects = self.owner.step(Input::ServerReport(report), self.now);
        self.server.is_asked |= asks(&effects);
    }

    fn step(&mut self, step: &Step) {
        let lines = &mut self.server.lines;
        match *step {
            Step::Draw(n, count) => {
                lines[n].drawn_count += count;
                if let Some(left) = &mut lines[n].lease {
                    left.ordinals_left = left.ordinals_left.saturating_sub(1);
                }
            }
            Step::Chance(n, count) => lines[n].eligible += count,
            Step::Lease(n) => {
                self.server.leases += 1;
                let lease_id = LeaseId::from_u128(self.server.leases);
                lines[n].lease = Some(LeaseLeft { lease_id, left: Micros(1_000), ordinals_left: 100 });
            }
            Step::LeaseEnds(n) => lines[n].lease = None,
            Step::Report(fate) => self.report(fate),
            Step::OwnerChanges => {
                self.owner = owner(self.now);
                self.before = lines.iter().map(|line| line.drawn_count).collect();
            }
        }
    }
}

/// Plays the steps, then reports until all is told: what is known is what whole reports say.
fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    let has_changed = steps.iter().any(|step| matches!(step, Step::OwnerChanges));
    let first = steps.iter().find_map(|step| if let Step::Report(fate) = step { Some(*fate) } else { None });
    // What was done until the first report came is no part of a rate.
    let from_start = !has_changed && first == Some(Fate::Arrives);
    for step in steps {
        world.step(step);
    }
    for _ in 0..HEALED {
        world.report(Fate::Arrives);
    }
    let known: BTreeMap<_, _> = world.owner.known_of(SERVER);
    // What has never been anything is not told of.
    let is_something = |id: &LineItemId| known.contains_key(id);
    for (id, known) in world.twin.known_of(SERVER) {
        prop_assert!(is_something(&id) || known == (0, 0, None), "{id} is not known: {known:?}");
    }
    let whole = world.twin.known_of(SERVER);
    for (id, known) in &known {
        prop_assert_eq!(Some(known), whole.get(id), "{}", id);
    }
    for (line, before) in world.server.lines.iter().zip(&world.before) {
        let (paced, twin) = (world.owner.paced(line.line_item_id), world.twin.paced(line.line_item_id));
        // An owner that begins in the middle takes nothing that happened before it for a sudden rush.
        prop_assert!(paced.0 <= line.drawn_count - before, "{paced:?} of {line:?} after {before}");
        prop_assert!(!from_start || paced == twin, "{paced:?}, the twin {twin:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reports_of_changes_say_in_the_end_what_whole_ones_say(steps in steps()) {
        play(&steps)?;
    }
}

#[test]
fn what_was_overtaken_by_a_new_owner_is_not_where_it_begins() {
    let report = Step::Report;
    let steps = [
        report(Fate::Lost),
        report(Fate::Arrives),
        report(Fate::Overtaken),
        Step::Draw(0, 1),
        report(Fate::Lost),
        Step::OwnerChanges,
    ];
    play(&steps).expect("as if all reports were whole");
}

/// The pieces of a whole report of two line items.
fn pieces(number: u64, at: Now) -> Vec<Input> {
    let piece = |index: u32| {
        let line_item_id = LineItemId::from_u128(index.into());
        let line = LineReport { line_item_id, drawn: Micros(5), drawn_count: 500, eligible: 0, lease: None };
        report(at, Extent::Whole(Piece { number, index, pieces: 2 }), vec![line])
    };
    (0..2).map(piece).map(Input::ServerReport).collect()
}

#[test]
fn a_run_is_asked_for_all_until_all_pieces_have_come_in_order() {
    let start = Now { wall: WallMs(1_700_000_000_000), monotonic: MonotonicMs(1) };
    let (mut machine, mut now) = (owner(start), start);
    let mut step = |input: Input, seconds: u64| {
        now.monotonic = now.monotonic.plus_ms(seconds * 1_000);
        now.wall = now.wall.plus_ms((seconds * 1_000).cast_signed());
        let input = match input {
            Input::ServerReport(report) => Input::ServerReport(ServerReport { at: now, ..report }),
            other => other,
        };
        asks(&machine.step(input, now))
    };
    let changes = || Input::ServerReport(report(start, Extent::Changes, Vec::new()));
    let [first, second] = <[Input; 2]>::try_from(pieces(1, start)).expect("two");
    assert!(step(changes(), 1), "nobody knows the run");
    assert!(!step(changes(), 1), "it was asked a moment ago");
    assert!(!step(first.clone(), 0), "it is telling");
    assert!(!step(changes(), 1));
    assert!(step(changes(), 3), "the second piece is lost");
    let [_, of_another] = <[Input; 2]>::try_from(pieces(2, start)).expect("two");
    assert!(!step(first.clone(), 0));
    assert!(!step(of_another, 0), "this is no end of that");
    assert!(step(changes(), 3));
    assert!(!step(first, 0));
    assert!(!step(second, 0));
    assert!(!step(changes(), 60), "all is told");
    let paced: Vec<_> = (0..2).map(|n| machine.paced(LineItemId::from_u128(n))).collect();
    assert_eq!(paced, [(0, 0), (0, 0)], "what was drawn before anybody listened is no rush");
}

/// A lease is not granted to a run of which nobody knows what it holds; and one that never says is not waited for for ever.
#[test]
fn leases_wait_until_a_run_has_said_what_it_holds() {
    for says_all in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sim = Sim::new(dir.path(), 5);
        let caught_up = || Input::Records(Batch { records: Vec::new(), next: 0, end: 0 });
        let (server_id, boot_id) = (sim.servers[0].server_id, sim.servers[0].boot_id);
        let mut granted_at = None;
        for second in 0..400 {
            sim.now.monotonic = sim.now.monotonic.plus_ms(1_000);
            sim.now.wall = sim.now.wall.plus_ms(1_000);
            let extent = if says_all && second == 3 { Extent::whole(1) } else { Extent::Changes };
            let report = ServerReport { server_id, boot_id, at: sim.now, transit_ms: 0, extent, lines: Vec::new() };
            let mut effects = sim.machine.step(Input::ServerReport(report), sim.now);
            effects.append.extend(sim.machine.step(caught_up(), sim.now).append);
            if !effects.append.is_empty() {
                granted_at = Some(second);
                break;
            }
        }
        // The world's reports are 20 seconds apart, and ten of them are waited for.
        assert_eq!(granted_at, Some(if says_all { 3 } else { 200 }), "says all: {says_all}");
    }
}
