//! Strict caps against a naive count, over a model of a store that conflicts, answers late or never, applies what it said it did not, and reads stale.

use proptest::prelude::*;

use super::*;
use crate::caps::{self, CapSubject};
use crate::impressions::listener;
use crate::model::{
    AdvertiserId, CampaignId, CapScope, CreativeId, DecisionId, LeaseId, LineItemId, ListenerState, OpenBreak,
    Pseudonym, RequestId,
};

/// How long a token is billable.
const LIFE_MS: i64 = 20_000;
const DAY_MS: i64 = 86_400_000;

fn impression(number: u32) -> ImpressionId {
    ImpressionId::Leased { lease_id: LeaseId::from_u128(1), ordinal: number }
}

fn exposure(number: u32, line: u8, at: i64) -> Exposure {
    Exposure {
        impression_id: impression(number),
        at: WallMs(at),
        advertiser_id: AdvertiserId::from_u128(1),
        campaign_id: CampaignId::from_u128(u128::from(line / 2)),
        line_item_id: LineItemId::from_u128(u128::from(line)),
        creative_id: CreativeId::from_u128(u128::from(line)),
        state: ExposureState::Heard,
    }
}

const fn cap(scope: CapScope, max: u16, window_ms: u64, strictness: Strictness) -> FrequencyCap {
    FrequencyCap { scope, max, window: CapWindow::Sliding(window_ms), strictness }
}

/// Line items 0 and 1 share a campaign with a strict cap, 0 has one of its own; 2 has a strict cap and a soft one; 3 has a soft one only.
fn caps_of(line: u8) -> Vec<FrequencyCap> {
    let campaign = cap(CapScope::Campaign, 2, 60_000, Strictness::Strict);
    match line {
        0 => vec![cap(CapScope::LineItem, 1, 45_000, Strictness::Strict), campaign],
        1 => vec![campaign],
        2 => vec![
            cap(CapScope::LineItem, 2, 100_000, Strictness::Strict),
            cap(CapScope::LineItem, 3, 200_000, Strictness::Soft),
        ],
        _ => vec![cap(CapScope::LineItem, 2, 80_000, Strictness::Soft)],
    }
}

fn strict_ad(number: u32, line: u8, at: i64, hearing: Hearing) -> StrictExposure {
    let window_ms = longest_window_ms(&caps_of(line)).expect("a strict line item");
    reserved(exposure(number, line, at), WallMs(at + LIFE_MS), window_ms, hearing)
}

/// An ad that a device was told of.
#[derive(Clone, Copy, Debug)]
struct Ad {
    exposure: Exposure,
    line: u8,
    billable_until: WallMs,
    heard: bool,
    voided: bool,
    given_up: bool,
}

/// A decision whose write is on its way.
struct Deciding {
    reservation: Reservation,
    ad: Ad,
    conflicts: u8,
}

struct Server {
    state: ListenerState,
    /// Soft rows as they are on disk: one break behind.
    flushed: Vec<Exposure>,
    deciding: Option<Deciding>,
    skew_ms: i64,
}

/// Servers of one listener, over one row.
struct World {
    stored: StrictRow,
    /// What the row was before: for stale reads.
    stale: StrictRow,
    /// Writes that nobody waits for any more, and that may be applied yet.
    delayed: Vec<Reservation>,
    servers: Vec<Server>,
    ads: Vec<Ad>,
    now: i64,
    next: u32,
    restarts: usize,
}

impl World {
    fn new(servers: usize) -> Self {
        let server = |index: usize| Server {
            state: ListenerState::new(Pseudonym([0; 16])),
            flushed: Vec::new(),
            deciding: None,
            // Clocks are at most a second off.
            skew_ms: [0, -1_000, 1_000][index],
        };
        Self {
            stored: StrictRow::default(),
            stale: StrictRow::default(),
            delayed: Vec::new(),
            servers: (0..servers).map(server).collect(),
            ads: Vec::new(),
            now: 1_000_000,
            next: 0,
            restarts: 0,
        }
    }

    fn hearing(&self) -> Hearing {
        if self.servers.len() == 1 { Hearing::Everything } else { Hearing::Some }
    }

    /// A device asks; the server decides for the line item, if its caps allow.
    fn ask(&mut self, server: usize, line: u8) {
        if self.servers[server].deciding.is_none() {
            self.decide(server, line, 0);
        }
    }

    fn decide(&mut self, server: usize, line: u8, conflicts: u8) {
        let hearing = self.hearing();
        self.next += 1;
        let at = self.now + self.servers[server].skew_ms;
        let state = &mut self.servers[server].state;
        listener::expire(state, WallMs(at));
        let known = counted(&state.exposures, &state.strict);
        let subject = CapSubject::of(&exposure(self.next, line, at));
        if caps::allows(&known, &[], &subject, &caps_of(line), WallMs(at)).is_err() {
            return;
        }
        let until = WallMs(at + LIFE_MS);
        let state_then = ExposureState::Reserved { until };
        let exposure = Exposure { state: state_then, ..exposure(self.next, line, at) };
        let ad = Ad { exposure, line, billable_until: until, heard: false, voided: false, given_up: false };
        match longest_window_ms(&caps_of(line)) {
            None => self.answer(server, ad),
            Some(window_ms) => {
                let added = vec![reserved(ad.exposure, until, window_ms, hearing)];
                let version = StrictVersion(u64::from(self.next));
                let reservation = reserve(&state.strict, added, version, WallMs(at)).expect("there is room");
                self.servers[server].deciding = Some(Deciding { reservation, ad, conflicts });
            }
        }
    }

    /// The store gets a write: the condition is checked and the row written in one step.
    fn write(&mut self, reservation: &Reservation) -> Verdict {
        let verdict = judge(self.stored.version, reservation);
        if verdict == Verdict::Accept {
            self.stale = std::mem::replace(&mut self.stored, reservation.row.clone());
        }
        verdict
    }

    /// What becomes of a write on its way: it comes through, or is late and was applied, will be, or never is.
    fn settle(&mut self, server: usize, fate: u8) {
        let Some(Deciding { reservation, ad, conflicts }) = self.servers[server].deciding.take() else { return };
        match fate {
            0..=4 => match self.write(&reservation) {
                Verdict::Accept | Verdict::Repeated => {
                    accepted(&mut self.servers[server].state.strict, &reservation);
                    self.answer(server, ad);
                }
                Verdict::Conflict => {
                    let read = if fate == 4 { &self.stale } else { &self.stored };
                    adopt(&mut self.servers[server].state.strict, read.clone());
                    if conflicts < 3 {
                        self.decide(server, ad.line, conflicts + 1);
                    }
                }
            },
            // Nobody knows: the ad is not served, whatever becomes of the write.
            5 => {
                self.write(&reservation);
            }
            6 => self.delayed.push(reservation),
            _ => {}
        }
    }

    fn answer(&mut self, server: usize, ad: Ad) {
        let Server { state, flushed, .. } = &mut self.servers[server];
        flushed.clone_from(&state.exposures);
        let open = OpenBreak {
            request_id: RequestId::new(&format!("r{}", self.next)).expect("a key"),
            decision_id: DecisionId::from_u128(u128::from(self.next)),
            ads: vec![crate::model::OpenAd { impression_id: ad.exposure.impression_id, token: String::new() }],
            decided_at: ad.exposure.at,
            expires_at: ad.billable_until,
            prefetch: false,
            answer: Vec::new(),
        };
        for given_up in listener::open(state, open, vec![ad.exposure]) {
            let ad = self.ads.iter_mut().find(|ad| ad.exposure.impression_id == given_up.impression_id);
            ad.expect("it was answered").given_up = true;
        }
        self.ads.push(ad);
    }

    /// A device plays an ad that it was told of, given up or not, and says so to a server, or to one that can't count it just then.
    fn hear(&mut self, ad: usize, server: usize) {
        let Some(ad) = pick(&mut self.ads, ad) else { return };
        let Some(server) = self.servers.get_mut(server) else { return };
        if !ad.voided && self.now + server.skew_ms <= ad.billable_until.0 {
            ad.heard = true;
            listener::confirm(&mut server.state, ad.exposure);
        }
    }

    /// A device says that it will not play an ad.
    fn void(&mut self, ad: usize, server: usize) {
        let Some(ad) = pick(&mut self.ads, ad) else { return };
        let Some(server) = self.servers.get_mut(server) else { return };
        if !ad.heard {
            ad.voided = true;
            listener::release(&mut server.state, ad.exposure.impression_id);
        }
    }

    /// A server dies, and what it had in memory with it; or it evicts the listener. The next read may be stale.
    fn restart(&mut self, server: usize, stale: bool) {
        let read = if stale { self.stale.clone() } else { self.stored.clone() };
        let Server { state, flushed, deciding, .. } = &mut self.servers[server];
        *state = ListenerState::new(Pseudonym([0; 16]));
        state.exposures.clone_from(flushed);
        adopt(&mut state.strict, read);
        self.delayed.extend(deciding.take().map(|deciding| deciding.reservation));
        self.restarts += 1;
    }

    fn step(&mut self, (step, one, two, ms): (u8, u8, u8, i64)) {
        let server = usize::from(two) % self.servers.len();
        match step {
            0..=3 => self.ask(server, one % 4),
            4..=8 => self.settle(server, one % 8),
            9 => self.now += ms,
            10 => self.hear(one.into(), server),
            11 => self.void(one.into(), server),
            12 => self.restart(server, one % 2 == 0),
            _ => {
                if let Some(reservation) = self.delayed.pop() {
                    self.write(&reservation);
                }
            }
        }
    }

    /// The naive count: every window that ends with an ad holds no more than the cap, of ads that were heard or can be.
    fn check(&self) -> Result<(), TestCaseError> {
        let behind = self.servers.iter().map(|server| server.skew_ms).min().unwrap_or(0);
        let counts = |ad: &Ad| !ad.voided && (ad.heard || self.now + behind <= ad.billable_until.0);
        let counting: Vec<&Ad> = self.ads.iter().filter(|ad| counts(ad)).collect();
        for last in &counting {
            for cap in caps_of(last.line).into_iter().filter(|cap| cap.strictness == Strictness::Strict) {
                let CapWindow::Sliding(window_ms) = cap.window else { unreachable!("all slide") };
                let age = |ad: &Ad| last.exposure.at.since(ad.exposure.at);
                let same = |ad: &Ad| CapSubject::of(&ad.exposure).same(&CapSubject::of(&last.exposure), cap.scope);
                let within = |ad: &Ad| age(ad) >= 0 && u64::try_from(age(ad)).is_ok_and(|age| age < window_ms);
                let count = counting.iter().filter(|ad| same(ad) && within(ad)).count();
                prop_assert!(count <= usize::from(cap.max), "INV-31: {count} ads under {cap:?}");
            }
        }
        Ok(())
    }
}

fn pick(ads: &mut [Ad], number: usize) -> Option<&mut Ad> {
    // The last ones are those with a story still before them.
    let count = ads.len();
    ads.get_mut(count.checked_sub(1 + number % 6)?)
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8, u8, i64)>> {
    prop::collection::vec((0_u8..14, any::<u8>(), any::<u8>(), 0_i64..30_000), 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    // INV-31.
    #[test]
    fn strict_caps_are_never_exceeded_by_many_servers(servers in 2_usize..4, steps in steps()) {
        let mut world = World::new(servers);
        for step in steps {
            world.step(step);
            world.check()?;
        }
    }

    // INV-31.
    #[test]
    fn strict_caps_are_never_exceeded_by_one_that_hears_everything(steps in steps()) {
        let mut world = World::new(1);
        for step in steps {
            world.step(step);
            world.check()?;
        }
    }

    #[test]
    fn soft_caps_are_exceeded_by_one_a_hand_over(steps in steps()) {
        let mut world = World::new(1);
        for step in steps {
            world.step(step);
            let of_line = world.ads.iter().filter(|ad| ad.line == 3 && !ad.voided && !ad.given_up);
            let alive = of_line.filter(|ad| ad.heard || world.now <= ad.billable_until.0);
            let within = alive.filter(|ad| world.now - ad.exposure.at.0 < 80_000).count();
            prop_assert!(within <= 2 + world.restarts, "{within} after {} hand-overs", world.restarts);
        }
    }
}

#[test]
fn the_model_serves_strict_line_items() {
    // The properties would hold as well of a world that serves nothing.
    let mut world = World::new(2);
    for _ in 0..50 {
        world.ask(0, 0);
        world.settle(0, 0);
        world.hear(0, 0);
        world.now += 50_000;
    }
    assert_eq!(world.ads.len(), 50, "one in 45 seconds, and 50 seconds went by");
    world.ask(0, 2);
    world.ask(1, 2);
    world.settle(0, 0);
    world.settle(1, 0);
    assert_eq!(world.ads.len(), 51, "the second was made from a version that is not the store's");
    assert!(world.servers[1].deciding.is_some(), "and decided again");
    world.settle(1, 0);
    assert_eq!(world.ads.len(), 52, "two may be in this window");
}

#[test]
fn of_two_writes_from_one_version_one_is_accepted_and_twice_is_once() {
    let known = StrictRow::default();
    let ad = |number| vec![strict_ad(number, 0, 0, Hearing::Everything)];
    let one = reserve(&known, ad(1), StrictVersion(1), WallMs(0)).expect("room");
    let other = reserve(&known, ad(2), StrictVersion(2), WallMs(0)).expect("room");
    assert_eq!(judge(None, &one), Verdict::Accept);
    assert_eq!(judge(one.row.version, &other), Verdict::Conflict);
    assert_eq!(judge(one.row.version, &one), Verdict::Repeated);
    let after_forgetting = judge(None, &reserve(&one.row, ad(3), StrictVersion(3), WallMs(0)).expect("room"));
    assert_eq!(after_forgetting, Verdict::Conflict, "a row that was deleted is not the one that was read");
}

// INV-32.
#[test]
fn a_reservation_that_nobody_followed_has_no_end() {
    let here = StrictRow { version: None, exposures: vec![strict_ad(1, 0, 0, Hearing::Everything)] };
    let stored = StrictRow {
        version: Some(StrictVersion(7)),
        exposures: vec![strict_ad(1, 0, 0, Hearing::Everything), strict_ad(2, 0, 0, Hearing::Everything)],
    };
    let check = |mut known: StrictRow, at: i64, expected: &[u32]| {
        adopt(&mut known, stored.clone());
        expire(&mut known, WallMs(at));
        let left: Vec<_> = known.exposures.iter().map(|one| one.exposure.impression_id).collect();
        assert_eq!(left, expected.iter().map(|&number| impression(number)).collect::<Vec<_>>(), "at {at}");
    };
    let over = LIFE_MS + CLOCK_TOLERANCE_MS + 1;
    check(here.clone(), over - 1, &[1, 2]);
    check(here, over, &[2]);
    check(StrictRow::default(), over, &[1, 2]);
    check(StrictRow::default(), 40 * DAY_MS, &[]);
}

#[test]
fn what_happened_while_the_row_was_written_stays_so() {
    let mut known = StrictRow::default();
    for (number, version) in [(1, 1), (2, 2)] {
        let added = vec![strict_ad(number, 2, 0, Hearing::Everything)];
        let reservation = reserve(&known, added, StrictVersion(version), WallMs(0)).expect("room");
        if number == 2 {
            assert!(hear(&mut known, &exposure(1, 2, 0)).is_some());
        }
        accepted(&mut known, &reservation);
    }
    assert!(is_heard(&known, impression(1)) && contains(&known, &exposure(2, 2, 0)));
    assert!(!release(&mut known, impression(1)), "heard");
    assert!(release(&mut known, impression(2)));
    assert!(!release(&mut known, impression(2)), "once");
    assert_eq!(known.version, Some(StrictVersion(2)));
}

#[test]
fn a_full_row_refuses_rather_than_forget() {
    let most = u32::try_from(StrictRow::MAX_EXPOSURES).expect("small");
    let ads = |count: u32| (0..count).map(|number| strict_ad(number, 2, i64::from(number), Hearing::Some)).collect();
    let mut full = StrictRow { version: Some(StrictVersion(1)), exposures: ads(most) };
    let one_more = || vec![strict_ad(most, 2, 90_000, Hearing::Some)];
    assert_eq!(reserve(&full, one_more(), StrictVersion(2), WallMs(90_000)), Err(Full), "all are in the window");
    // The window of the first is over, also for a server whose clock is behind.
    let over = WallMs(100_000 + CLOCK_TOLERANCE_MS);
    let reservation = reserve(&full, one_more(), StrictVersion(2), over).expect("the first makes room");
    accepted(&mut full, &reservation);
    assert_eq!(full.exposures.len(), StrictRow::MAX_EXPOSURES);
    let has = |number| contains(&full, &exposure(number, 2, 0));
    assert!(!has(0) && has(1) && has(most));
}

#[test]
fn strict_and_soft_are_counted_together_and_each_ad_once() {
    let strict = StrictRow { version: None, exposures: vec![strict_ad(2, 2, 20, Hearing::Some)] };
    let soft = [exposure(1, 2, 10), exposure(2, 2, 20), exposure(3, 2, 30)];
    let all = counted(&soft, &strict);
    assert_eq!(all.iter().map(|one| one.impression_id).collect::<Vec<_>>(), [1, 2, 3].map(impression));
    assert_eq!(all[1].state, ExposureState::Reserved { until: NO_END }, "as the strict row has it");
}

#[test]
fn only_a_strict_cap_with_a_window_needs_a_reservation() {
    let pod = FrequencyCap { window: CapWindow::Pod, ..cap(CapScope::Creative, 1, 0, Strictness::Strict) };
    assert_eq!(longest_window_ms(&[pod, cap(CapScope::LineItem, 1, 9_000, Strictness::Soft)]), None);
    assert_eq!(longest_window_ms(&caps_of(0)), Some(60_000));
}
