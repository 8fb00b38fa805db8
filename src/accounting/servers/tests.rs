//! The register's rules one by one, and against a twin that remembers everything.

use proptest::prelude::*;

use super::*;

fn server(n: u128) -> ServerId {
    ServerId::from_u128(n)
}

fn boot(n: u128) -> BootId {
    BootId::from_u128(n)
}

fn mark(server_n: u128, boot_n: u128, until: i64, end: u64) -> ServerMark {
    ServerMark { server_id: server(server_n), boot_id: boot(boot_n), complete_until: WallMs(until), shipped_end: end }
}

fn watermark(register: &Register) -> i64 {
    register.watermark().complete_until().0
}

fn standing(register: &Register, server_n: u128, boot_n: u128) -> Result<(), Refusal> {
    register.standing(server(server_n), boot(boot_n), CLOCK_TOLERANCE_MS)
}

/// Two live servers, both complete until 100.
fn two() -> Register {
    let mut register = Register::default();
    for n in [1, 2] {
        register.register(server(n), boot(n), WallMs(50)).expect("there is room");
        register.mark(mark(n, n, 100, 0));
    }
    register.applied(0);
    assert_eq!(watermark(&register), 100);
    register
}

#[test]
fn a_mark_holds_once_the_log_is_applied_up_to_it_and_the_least_one_counts() {
    let mut register = two();
    register.mark(mark(1, 1, 200, 10));
    register.mark(mark(2, 2, 300, 20));
    register.applied(9);
    assert_eq!(watermark(&register), 100);
    register.applied(10);
    assert_eq!((register.get(server(1)).expect("known").complete_until, watermark(&register)), (WallMs(200), 100));
    register.applied(20);
    assert_eq!(watermark(&register), 200, "the least of both");
}

#[test]
fn a_server_that_is_silent_holds_the_watermark_back_until_it_is_declared_lost() {
    let mut register = two();
    for step in 1..50 {
        register.mark(mark(1, 1, 100 + i64::try_from(step).expect("small"), step));
        register.applied(step);
    }
    assert_eq!(watermark(&register), 100);
    assert!(register.declare_lost(server(2)));
    assert_eq!(watermark(&register), 149);
    assert_eq!(standing(&register, 2, 2), Err(Refusal::Lost));
    assert_eq!(register.register(server(2), boot(2), WallMs(60)), Err(Refusal::Lost), "the boot that was given up");
    assert!(!register.declare_lost(server(3)));
}

#[test]
fn a_server_closed_in_good_order_holds_nothing_back_once_all_of_it_is_applied() {
    let mut register = two();
    register.mark(mark(1, 1, 500, 5));
    register.drain(server(2), boot(2));
    assert_eq!(standing(&register, 2, 2), Err(Refusal::Draining));
    register.close(mark(2, 2, 150, 30));
    register.applied(29);
    assert_eq!(watermark(&register), 100, "its last records are not applied yet");
    register.applied(30);
    assert_eq!(register.get(server(2)).expect("known").state, ServerState::Closed);
    assert_eq!(watermark(&register), 500);
    assert_eq!(standing(&register, 2, 2), Err(Refusal::Closed));
}

#[test]
fn a_server_that_is_back_keeps_its_mark_until_its_journal_is_shipped() {
    let mut register = two();
    // What the first boot said and the log has not reached is said again by the second.
    register.mark(mark(2, 2, 400, 40));
    register.register(server(2), boot(3), WallMs(1_000)).expect("known");
    register.mark(mark(1, 1, 900, 40));
    register.applied(40);
    assert_eq!(watermark(&register), 100);
    register.mark(mark(2, 2, 800, 40));
    register.applied(41);
    assert_eq!(watermark(&register), 100, "a mark of the older boot");
    register.mark(mark(2, 3, 700, 45));
    register.applied(45);
    assert_eq!(watermark(&register), 700);
}

#[test]
fn an_older_boot_never_stands_again() {
    let mut register = two();
    register.register(server(2), boot(3), WallMs(1_000)).expect("known");
    assert_eq!(standing(&register, 2, 2), Err(Refusal::OlderBoot));
    assert_eq!(standing(&register, 2, 3), Ok(()));
    assert_eq!(standing(&register, 2, 9), Err(Refusal::Unknown), "a boot that has not registered");
    assert_eq!(register.register(server(2), boot(2), WallMs(1_001)), Err(Refusal::OlderBoot));
    for n in 10..100 {
        register.register(server(2), boot(n), WallMs(1_002)).expect("newer each time");
        let before = boot(if n == 10 { 3 } else { n - 1 });
        assert_eq!(register.register(server(2), before, WallMs(1_003)), Err(Refusal::OlderBoot));
    }
    assert!(register.get(server(2)).expect("known").past_boots.len() <= PAST_BOOTS_KEPT);
}

#[test]
fn a_new_server_starts_at_the_watermark() {
    let mut register = two();
    register.register(server(3), boot(3), WallMs(1_000)).expect("there is room");
    assert_eq!(register.get(server(3)).expect("known").complete_until, WallMs(100));
    assert_eq!(watermark(&register), 100);
}

#[test]
fn a_full_register_refuses_and_lets_the_longest_closed_give_way() {
    let mut register = Register::default();
    let last = u128::try_from(SERVERS_MAX).expect("small");
    for n in 1..=last {
        register.register(server(n), boot(n), WallMs(i64::try_from(n).expect("small"))).expect("there is room");
    }
    assert_eq!(register.register(server(last + 1), boot(1), WallMs(9)), Err(Refusal::Full));
    for n in [9, 5, 7] {
        register.close(mark(n, n, 0, 0));
    }
    register.applied(0);
    register.take_changes();
    register.register(server(last + 1), boot(1), WallMs(9)).expect("one gave way");
    assert_eq!((register.len(), register.get(server(5))), (SERVERS_MAX, None));
    let changes = register.take_changes();
    assert_eq!(changes.gone, [server(5)]);
    assert_eq!(changes.entries.iter().map(|entry| entry.server_id).collect::<Vec<_>>(), [server(last + 1)]);
}

#[test]
fn a_clock_is_wrong_when_no_transit_explains_it() {
    let ahead = |said, received, transit| clock_ahead_ms(WallMs(said), WallMs(received), transit);
    assert_eq!(ahead(1_000, 1_000, 0), 0);
    assert_eq!(ahead(1_000, 4_000, 3_000), 0, "it took three seconds");
    assert_eq!(ahead(1_000, 4_000, 500), -2_500);
    assert_eq!(ahead(4_000, 1_000, 60_000), 3_000, "no message comes before it was sent");
    let mut register = two();
    for (ahead_ms, holds) in [(1_000, true), (1_001, false), (-1_000, true), (-1_001, false), (0, true)] {
        register.heard(server(1), boot(1), WallMs(60), ahead_ms);
        assert_eq!(standing(&register, 1, 1).is_ok(), holds, "{ahead_ms}");
    }
}

#[test]
fn rows_are_taken_when_they_changed_and_make_the_same_register() {
    let mut register = two();
    assert!(register.is_urgent());
    let rows = register.take_changes().entries;
    assert_eq!(rows.len(), 2);
    assert_eq!(register.take_changes(), RegisterChanges::default());
    register.mark(mark(1, 1, 200, 0));
    register.applied(0);
    assert!(!register.is_urgent(), "a mark can wait for the next commit");
    assert_eq!(register.take_changes().entries.len(), 1);
    assert_eq!(watermark(&Register::load(rows)), 100);
}

/// The twin: every server's every mark for ever, and what holds counted anew each time. The register keeps the first and the last of the marks that
/// wait, so it may be behind the twin until the last one is reached; what a server is complete to when a boot ends is therefore taken from the
/// register ([`folded`]), once it is seen to lie between what held before and what the twin says.
#[derive(Default)]
struct Naive {
    servers: BTreeMap<u128, NaiveServer>,
    watermark: i64,
    cursor: u64,
}

struct NaiveServer {
    boots: Vec<u128>,
    state: ServerState,
    closing: Option<(i64, u64)>,
    floor: i64,
    marks: Vec<(i64, u64)>,
}

impl NaiveServer {
    fn complete_until(&self, cursor: u64) -> i64 {
        self.marks.iter().filter(|(_, end)| *end <= cursor).map(|(until, _)| *until).fold(self.floor, i64::max)
    }
}

impl Naive {
    fn settle(&mut self) {
        for server in self.servers.values_mut() {
            if server.closing.is_some_and(|(_, end)| end <= self.cursor) {
                server.marks.extend(server.closing.take());
                server.state = ServerState::Closed;
            }
        }
        let open = self.servers.values().filter(|server| server.state.is_open());
        if let Some(least) = open.map(|server| server.complete_until(self.cursor)).min() {
            self.watermark = self.watermark.max(least);
        }
    }
}

/// Where a server begins after a boot of it ended: the register's word, if it is one that the twin allows.
fn folded(register: &Register, server_n: u128, before: i64, most: i64) -> Result<i64, TestCaseError> {
    let now = register.get(server(server_n)).expect("known").complete_until.0;
    prop_assert!((before..=most).contains(&now), "INV-39: {} is not from {} to {}", now, before, most);
    Ok(now)
}

/// A server's marks grow in both: what it said once stays true.
fn grown(said: &mut BTreeMap<u128, (i64, u64)>, server: u128, until: i64, end: u64) -> (i64, u64) {
    let last = said.entry(server).or_default();
    *last = (last.0.max(until), last.1.max(end));
    *last
}

#[derive(Clone, Debug)]
enum Act {
    Register(u128, u128),
    Drain(u128, u128),
    Mark(u128, u128, i64, u64),
    Close(u128, u128, i64, u64),
    Lost(u128),
    Applied(u64),
    Reload,
}

fn act() -> impl Strategy<Value = Act> {
    let (server, boot) = (1_u128..4, 0_u128..6);
    prop_oneof![
        2 => (server.clone(), boot.clone()).prop_map(|(s, b)| Act::Register(s, b)),
        1 => (server.clone(), boot.clone()).prop_map(|(s, b)| Act::Drain(s, b)),
        6 => (server.clone(), boot.clone(), 0_i64..50, 0_u64..20).prop_map(|(s, b, t, o)| Act::Mark(s, b, t, o)),
        1 => (server.clone(), boot, 0_i64..50, 0_u64..20).prop_map(|(s, b, t, o)| Act::Close(s, b, t, o)),
        1 => server.prop_map(Act::Lost),
        6 => (0_u64..20).prop_map(Act::Applied),
        1 => Just(Act::Reload),
    ]
}

proptest! {
    /// INV-39 and INV-40, and equal to the twin whenever the log is applied up to all that was said.
    #[test]
    fn the_register_is_what_its_naive_twin_says(acts in prop::collection::vec(act(), 1..120)) {
        let (mut register, mut naive) = (Register::default(), Naive::default());
        let (mut time, mut before) = (0_i64, 0_i64);
        let mut said = BTreeMap::new();
        for act in acts {
            time += 1;
            match act {
                Act::Register(s, b) => {
                    let least = register.get(server(s)).map_or(0, |entry| entry.complete_until.0).max(watermark(&register));
                    let result = register.register(server(s), boot(b), WallMs(time));
                    let floor = naive.watermark;
                    let held = naive.servers.entry(s).or_insert_with(|| NaiveServer {
                        boots: Vec::new(), state: ServerState::Closed, closing: None, floor, marks: Vec::new(),
                    });
                    let is_new = !held.boots.contains(&b);
                    let is_current = held.boots.last() == Some(&b) && held.state.is_open();
                    prop_assert_eq!(result.is_ok(), is_new || is_current);
                    if is_new {
                        held.floor = folded(&register, s, least, held.complete_until(naive.cursor).max(floor))?;
                        held.marks.clear();
                        held.closing = None;
                        held.boots.push(b);
                        held.state = ServerState::Live;
                    }
                }
                Act::Drain(s, b) => {
                    register.drain(server(s), boot(b));
                    if let Some(held) = naive.servers.get_mut(&s)
                        && held.boots.last() == Some(&b) && held.state == ServerState::Live
                    {
                        held.state = ServerState::Draining;
                    }
                }
                Act::Mark(s, b, t, o) => {
                    let (t, end) = grown(&mut said, s, time * 50 + t, naive.cursor + o);
                    register.mark(mark(s, b, t, end));
                    if let Some(held) = naive.servers.get_mut(&s)
                        && held.boots.last() == Some(&b) && held.state.is_open() && held.closing.is_none()
                    {
                        held.marks.push((t, end));
                    }
                }
                Act::Close(s, b, t, o) => {
                    let (t, end) = grown(&mut said, s, time * 50 + t, naive.cursor + o);
                    register.close(mark(s, b, t, end));
                    if let Some(held) = naive.servers.get_mut(&s)
                        && held.boots.last() == Some(&b) && held.state.is_open()
                    {
                        held.state = ServerState::Draining;
                        held.closing = Some((t, end));
                    }
                }
                Act::Lost(s) => {
                    register.declare_lost(server(s));
                    if let Some(held) = naive.servers.get_mut(&s) {
                        held.floor = folded(&register, s, held.floor, held.complete_until(naive.cursor))?;
                        held.marks.clear();
                        held.closing = None;
                        held.state = ServerState::Lost;
                    }
                }
                Act::Applied(more) => naive.cursor += more,
                Act::Reload => {
                    // What waits is lost with the process, and said again by those who live.
                    register = Register::load(register.entries().cloned().collect::<Vec<_>>());
                    for (s, held) in &mut naive.servers {
                        held.floor = folded(&register, *s, held.floor, held.complete_until(naive.cursor))?;
                        held.marks.clear();
                        held.closing = None;
                    }
                    let open = naive.servers.values().filter(|held| held.state.is_open());
                    naive.watermark = open.map(|held| held.floor).min().unwrap_or(0);
                }
            }
            register.applied(naive.cursor);
            naive.settle();
            let now = watermark(&register);
            // At a restart with no server open the watermark is not known any more; nothing is closed by it then.
            let is_open = register.entries().any(|entry| entry.state.is_open());
            if is_open && now < before {
                prop_assert!(false, "INV-39: the watermark went back from {} to {}", before, now);
            }
            before = now;
            prop_assert!(now <= naive.watermark, "INV-39: {} is beyond {}", now, naive.watermark);
            for entry in register.entries() {
                let held = &naive.servers[&entry.server_id.as_u128()];
                prop_assert_eq!(entry.state, held.state);
                prop_assert!(entry.complete_until.0 <= held.complete_until(naive.cursor));
                if held.marks.iter().all(|(_, end)| *end <= naive.cursor) && held.closing.is_none() {
                    prop_assert_eq!(entry.complete_until.0, held.complete_until(naive.cursor));
                }
                for b in 0..6 {
                    let stands = held.boots.last() == Some(&b) && held.state == ServerState::Live;
                    let said = register.standing(entry.server_id, boot(b), CLOCK_TOLERANCE_MS);
                    prop_assert_eq!(said.is_ok(), stands, "INV-40");
                }
            }
        }
    }
}

#[test]
fn what_owners_have_of_a_server_is_merged_into_what_all_of_them_say() {
    let entry = |server_n: u128, boot_n: u128, state, times: [i64; 3]| ServerEntry {
        server_id: ServerId::from_u128(server_n),
        boot_id: BootId::from_u128(boot_n),
        past_boots: Vec::new(),
        state,
        registered_at: WallMs(times[0]),
        heard_at: WallMs(times[1]),
        clock_ahead_ms: times[1],
        complete_until: WallMs(times[2]),
    };
    let merged = ServerEntry::merged([
        entry(2, 1, ServerState::Live, [5, 6, 4]),
        entry(1, 8, ServerState::Closed, [10, 90, 80]),
        entry(1, 8, ServerState::Closed, [10, 95, 85]),
        // This one has not heard of the last run.
        entry(1, 7, ServerState::Draining, [1, 99, 70]),
    ]);
    let expected = [entry(1, 8, ServerState::Draining, [10, 95, 70]), entry(2, 1, ServerState::Live, [5, 6, 4])];
    assert_eq!(merged, expected);
}
