//! What the role writes down is enough to make its decisions again, and what it seals it seals once.

use std::sync::Arc;

use super::*;
use crate::catalog::{CatalogWriter, Entity};
use crate::decision::{LeaseTerms, LeaseView, NoFillReason, SpendView, replay};
use crate::events::{self, DecisionRecord, Event};
use crate::model::{
    CapScope, CapWindow, FrequencyCap, LeaseId, ListenerKey, Micros, MonotonicMs, Pseudonym, RequestId, StrictRow,
    Strictness, Subscription, Tier,
};
use crate::tokens::{SealLog, TokenKey};
use crate::workload::reference::{Profile, ReferenceCatalogue, endless_lease, spending_of};

const LINE_ITEMS: usize = 1_000;
const BREAKS: usize = 150;
/// How many listeners share the breaks, so that caps and the break before bind.
const LISTENERS: usize = 10;
const VERSION: u64 = 2;

fn role(catalogue: &ReferenceCatalogue, snapshot: &Snapshot) -> DecisionRole {
    let lease = |number| LeaseTerms { amount: Micros(200_000), max_ordinals: 8, ..endless_lease(number) };
    let spending = spending_of(snapshot, catalogue.standing_of_each(), lease);
    let keys = TokenKeys::new(TokenKey::new(1, &[1; 32]), None);
    DecisionRole::new(Arc::new(spending), keys, ServerId::from_u128(1), BootId::from_u128(2))
}

/// The decision that a record tells of, made again on another snapshot of the same catalogue.
fn made_again(record: &DecisionRecord, snapshot: &Snapshot) -> Decision {
    let request = Arc::new(record.request.to_request(ListenerKey([0xEE; 16])));
    let resolved = snapshot.resolve(&request, record.now);
    let reads = record.spend_reads.iter().map(|read| {
        let lease = read.lease.map(|lease| LeaseView {
            lease_id: lease.lease_id,
            left: lease.left,
            ordinals_left: lease.ordinals_left,
            last_billable_until: lease.last_billable_until,
        });
        (read.line_item_id, SpendView { paused: read.paused, throttle: read.throttle, lease })
    });
    let held_back = record
        .held_back
        .iter()
        .map(|one| (one.line_item_id, SpendView { paused: false, throttle: one.throttle, lease: None }));
    let reads = reads.chain(held_back);
    let mut excluded = Excluded::by_strict_caps(StrictCaps::of_refusal(record.strict_caps_refused.as_deref()));
    for &line_item_id in &record.excluded {
        assert!(excluded.insert(line_item_id));
    }
    let state = record.listener.to_state(record.request.pseudonym);
    let (seed, mut scratch) = (Seed(record.seed), Scratch::new());
    replay(snapshot, &resolved, &state, reads, &excluded, record.now, seed, &mut scratch).clone()
}

/// The moment of a break, a second after the one before.
fn moment(snapshot: &Snapshot, at: WallMs, index: usize) -> Moment<'_> {
    let number = u64::try_from(index).expect("small");
    Moment {
        snapshot,
        now: Now { wall: at.plus_ms(1_000 * i64::try_from(index).expect("small")), monotonic: MonotonicMs(number) },
        decision_id: DecisionId::from_u128(u128::from(number) + 1_000),
        trace_id: None,
        explain: Explain::No,
        degradation: Degradation::default(),
        paid: true,
        limited: None,
        asked_from: None,
    }
}

#[test]
fn a_recorded_decision_is_made_again_and_every_ad_sealed_once() {
    let catalogue = ReferenceCatalogue::generate(Profile::Midday, LINE_ITEMS, 11);
    let entities: Vec<Entity> = catalogue.clone().into_entities();
    let snapshot = CatalogWriter::new().apply(VERSION, entities.clone());
    // The same catalogue in another layout: what is replayed months later was built in another order.
    let mut writer = CatalogWriter::new();
    let (first, rest) = entities.split_at(entities.len() / 2);
    writer.apply(VERSION - 1, first.to_vec());
    let elsewhere = writer.apply(VERSION, rest.to_vec());

    let role = role(&catalogue, &snapshot);
    let mut listeners: Vec<ListenerState> =
        (0..LISTENERS).map(|index| ListenerState::new(Pseudonym([u8::try_from(index).expect("small"); 16]))).collect();
    let (mut scratch, mut sealed) = (Scratch::new(), SealLog::default());
    let mut ads = 0;
    for (index, asked) in ReferenceCatalogue::breaks(Profile::Midday, BREAKS, 12).into_iter().enumerate() {
        let moment = moment(&snapshot, asked.at, index);
        let state = &mut listeners[index % LISTENERS];
        let Effects::Answered(answered) =
            role.step(&asked.request, state, moment, &mut scratch, &|_| b"answer".to_vec())
        else {
            panic!("every request is new");
        };
        assert_eq!(answered.draws_refused, 0, "nobody else draws");
        for ad in &answered.answered.ads {
            // INV-10.
            sealed.note(&role.keys.open(&ad.token).expect("just sealed"));
            ads += 1;
        }
        let kept = events::decode(&events::encode(&answered.record)).expect("just encoded");
        assert_eq!(kept, answered.record);
        let Event::Decision(record) = kept.body else { panic!("a decision's record") };
        let again = made_again(&record, &elsewhere);
        assert_eq!(again.to_bytes(), answered.answered.decision.to_bytes(), "break {index}");
    }
    assert!(ads >= BREAKS / 2, "only {ads} ads in {BREAKS} breaks");
}

#[test]
fn a_limited_break_draws_nothing_says_why_and_is_made_again() {
    let catalogue = ReferenceCatalogue::generate(Profile::Midday, LINE_ITEMS, 11);
    let snapshot = CatalogWriter::new().apply(VERSION, catalogue.clone().into_entities());
    let role = role(&catalogue, &snapshot);
    let limited = RarelyHeard::Address;
    let (mut scratch, mut refused) = (Scratch::new(), 0);
    for (index, asked) in ReferenceCatalogue::breaks(Profile::Midday, BREAKS, 12).into_iter().enumerate() {
        let mut state = ListenerState::new(Pseudonym([0; 16]));
        let moment = Moment { limited: Some(limited), ..moment(&snapshot, asked.at, index) };
        let mut step = |request: &Arc<AdBreakRequest>, state: &mut ListenerState| {
            role.step(request, state, moment, &mut scratch, &|answered| format!("{:?}", answered.decision).into_bytes())
        };
        let Effects::Answered(answered) = step(&asked.request, &mut state) else { panic!("it is new") };
        assert_eq!(answered.answered.limited, Some(limited));
        assert!(answered.answered.ads.iter().all(|ad| ad.chosen.billing == Billing::None), "break {index}");
        let reasons: Vec<_> = answered.answered.reasons().collect();
        assert!(reasons.iter().all(|(name, _)| *name != NoFillReason::NoLease.name()), "{reasons:?}");
        refused += reasons.iter().filter(|(name, _)| *name == limited.name()).map(|(_, count)| count).sum::<u32>();
        // INV-6, INV-16.
        let Event::Decision(record) = &answered.record.body else { panic!("a decision's record") };
        assert_eq!(made_again(record, &snapshot).to_bytes(), answered.answered.decision.to_bytes(), "break {index}");
        let Effects::Repeated(answer) = step(&asked.request, &mut state) else { panic!("it is a repeat") };
        assert_eq!(answer, answered.answer);
        // Who hears no ads at all is not told of a limit.
        let premium = AdBreakRequest {
            request_id: RequestId::new("premium").expect("a key"),
            subscription: Subscription::Premium,
            ..AdBreakRequest::clone(&asked.request)
        };
        let Effects::Answered(none) = step(&Arc::new(premium), &mut state) else { panic!("it is new") };
        assert_eq!((none.answered.no_break, none.answered.limited), (Some("premium"), None));
    }
    assert!(refused > 100, "only {refused} were refused for the limit");
    let drawn = snapshot.lines().map(|entry| role.spending.totals(entry.slot).count).sum::<u64>();
    assert_eq!(drawn, 0, "nothing was drawn");
}

/// A role over a catalogue whose paid line items all have a strict cap of one an hour, and one listener.
struct StrictScene {
    role: DecisionRole,
    snapshot: Arc<Snapshot>,
    asked: crate::workload::reference::ReferenceBreak,
    state: ListenerState,
    scratch: Scratch,
    sealed: SealLog,
}

impl StrictScene {
    fn new() -> Self {
        let mut catalogue = ReferenceCatalogue::generate(Profile::Midday, LINE_ITEMS, 11);
        for item in catalogue.line_items.iter_mut().filter(|item| item.tier != Tier::House) {
            let window = CapWindow::Sliding(3_600_000);
            let (scope, strictness) = (CapScope::LineItem, Strictness::Strict);
            item.caps = vec![FrequencyCap { scope, max: 1, window, strictness }];
        }
        let snapshot = CatalogWriter::new().apply(VERSION, catalogue.clone().into_entities());
        let role = role(&catalogue, &snapshot);
        let state = ListenerState::new(Pseudonym([7; 16]));
        let mut scene = Self {
            role,
            snapshot,
            asked: ReferenceCatalogue::breaks(Profile::Midday, 1, 12).remove(0),
            state,
            scratch: Scratch::new(),
            sealed: SealLog::default(),
        };
        // One whose pod has paid ads.
        for asked in ReferenceCatalogue::breaks(Profile::Midday, BREAKS, 12) {
            scene.asked = asked;
            if matches!(scene.clone_step(), Effects::Reserve(_)) {
                return scene;
            }
        }
        panic!("some break has a paid ad");
    }

    fn moment(&self) -> Moment<'_> {
        Moment {
            snapshot: &self.snapshot,
            now: Now { wall: self.asked.at, monotonic: MonotonicMs(1) },
            decision_id: DecisionId::from_u128(77),
            trace_id: None,
            explain: Explain::Yes,
            degradation: Degradation::None,
            paid: true,
            limited: None,
            asked_from: None,
        }
    }

    /// A step that leaves the scene as it was, but for what it drew.
    fn clone_step(&self) -> Effects {
        let mut state = self.state.clone();
        self.role.step(&self.asked.request, &mut state, self.moment(), &mut Scratch::new(), &|_| Vec::new())
    }

    /// Decides; `outcome` says what becomes of each reservation. The answer, and how many reservations there were.
    fn answer(&mut self, mut outcome: impl FnMut(usize, &Reservation) -> Outcome) -> (Answered, usize) {
        let mut state = std::mem::replace(&mut self.state, ListenerState::new(Pseudonym([0; 16])));
        let mut scratch = std::mem::take(&mut self.scratch);
        let (request, moment) = (&self.asked.request, self.moment());
        let mut effects = self.role.step(request, &mut state, moment, &mut scratch, &|_| b"answer".to_vec());
        let mut reservations = 0;
        let answered = loop {
            match effects {
                Effects::Reserve(pending) => {
                    assert!(state.open_breaks.is_empty(), "nothing is opened before it is reserved");
                    let outcome = outcome(reservations, &pending.reservation);
                    reservations += 1;
                    effects =
                        self.role.resume(request, &mut state, moment, *pending, outcome, &mut scratch, &|_| Vec::new());
                }
                Effects::Answered(answered) => break *answered,
                Effects::Repeated(_) => panic!("the request is new"),
            }
        };
        let given_up = answered.voids.iter().map(|void| match &void.body {
            Event::Beacon(beacon) => beacon.impression_id,
            other => panic!("{other:?}"),
        });
        let given_up: Vec<_> = given_up.collect();
        for ad in &answered.answered.ads {
            assert!(!given_up.contains(&ad.impression_id), "what is served is not given up");
            self.sealed.note(&self.role.keys.open(&ad.token).expect("just sealed"));
        }
        let Event::Decision(record) = &answered.record.body else { panic!("a decision's record") };
        let again = made_again(record, &self.snapshot);
        assert_eq!(again.to_bytes(), with_own_tier(&answered.answered.decision, &again).to_bytes(), "it is made again");
        (self.state, self.scratch) = (state, scratch);
        (answered, reservations)
    }
}

/// The decision with the tier of one made again: the caller's part of it, such as a write that was late, is not of the pure decision.
fn with_own_tier(decision: &Decision, again: &Decision) -> Decision {
    Decision { degradation: again.degradation, ..decision.clone() }
}

fn is_paid(ad: &AnsweredAd) -> bool {
    ad.chosen.tier != Tier::House
}

// INV-31.
#[test]
fn what_is_answered_under_a_strict_cap_was_reserved() {
    let mut scene = StrictScene::new();
    let mut reserved = Vec::new();
    let (answered, reservations) = scene.answer(|_, reservation| {
        reserved.extend(reservation.added.iter().map(|one| one.exposure.impression_id));
        Outcome::Accepted
    });
    assert_eq!(reservations, 1);
    let paid: Vec<_> = answered.answered.ads.iter().filter(|ad| is_paid(ad)).map(|ad| ad.impression_id).collect();
    assert!(!paid.is_empty());
    assert_eq!(paid, reserved);
    assert_eq!(scene.state.strict.exposures.len(), paid.len());
    assert!(scene.state.exposures.iter().all(|one| !paid.contains(&one.impression_id)), "each in one list");
    assert_eq!(answered.answered.decision.degradation, Degradation::None);
    assert_eq!(answered.voids, []);
}

#[test]
fn after_a_conflict_the_break_is_decided_by_the_row_as_it_is() {
    let mut scene = StrictScene::new();
    let mut first = Vec::new();
    let (answered, reservations) = scene.answer(|number, reservation| {
        if number > 0 {
            return Outcome::Accepted;
        }
        // Another device was served just the same.
        first.extend(reservation.added.iter().map(|one| one.exposure.line_item_id));
        let mut stored = StrictRow { version: Some(StrictVersion(1)), ..StrictRow::default() };
        for (ordinal, one) in (1_000..).zip(&reservation.added) {
            let mut elsewhere = *one;
            elsewhere.exposure.impression_id = ImpressionId::Leased { lease_id: LeaseId::from_u128(9_999), ordinal };
            stored.exposures.push(elsewhere);
        }
        Outcome::Conflict(stored)
    });
    assert!(reservations <= 2);
    let ads = &answered.answered.ads;
    assert!(ads.iter().all(|ad| !first.contains(&ad.chosen.line_item_id)), "they are capped now");
    assert_eq!(answered.voids.len(), first.len(), "and their draws given up");
    assert_eq!(answered.answered.decision.degradation, Degradation::None);
    let explanation = answered.answered.explanation.expect("it was asked for");
    assert!(explanation.counts.get(NoFillReason::Capped) >= u32::try_from(first.len()).expect("few"));
}

#[test]
fn conflict_after_conflict_ends_without_strict_caps() {
    let mut scene = StrictScene::new();
    let (answered, reservations) = scene.answer(|number, _| {
        let version = Some(StrictVersion(u64::try_from(number).expect("few")));
        Outcome::Conflict(StrictRow { version, ..StrictRow::default() })
    });
    assert_eq!(reservations, usize::from(MAX_CONFLICTS) + 1);
    assert!(!answered.answered.ads.iter().any(is_paid));
    assert_eq!(answered.answered.decision.degradation, Degradation::StrictCapsUnsure);
    assert!(answered.answered.decision.reasons.get(NoFillReason::StrictCapUnsure) > 0);
    assert!(!answered.voids.is_empty(), "draws are given up");
}

// INV-32.
#[test]
fn where_nobody_knows_of_the_write_its_ads_are_not_served() {
    let mut scene = StrictScene::new();
    let mut chosen = 0;
    let (answered, reservations) = scene.answer(|_, reservation| {
        chosen = reservation.added.len();
        Outcome::Unsure
    });
    assert_eq!(reservations, 1, "not tried again");
    assert!(!answered.answered.ads.iter().any(is_paid));
    assert_eq!(answered.voids.len(), chosen);
    assert_eq!(answered.answered.decision.degradation, Degradation::StrictCapsUnsure);
    let explanation = answered.answered.explanation.expect("it was asked for");
    assert!(explanation.counts.get(NoFillReason::StrictCapUnsure) > 0);
    assert!(explanation.fates.iter().any(|fate| fate.words.contains("could not be had or written in time")));
    assert_eq!(scene.state.strict, StrictRow::default());
}

#[test]
fn sessions_and_the_unknown_get_no_ad_under_a_strict_cap() {
    let mut scene = StrictScene::new();
    Arc::make_mut(&mut scene.asked.request).listener_key = ListenerKey::of_session([1; 16]);
    let (answered, reservations) = scene.answer(|_, _| panic!("nothing of a session is written"));
    assert_eq!(reservations, 0);
    assert!(!answered.answered.ads.iter().any(is_paid));
    assert!(answered.answered.decision.reasons.get(NoFillReason::StrictCapInSession) > 0);
    assert_eq!(answered.answered.decision.degradation, Degradation::None, "by the rules");

    let scene = StrictScene::new();
    let moment = Moment { degradation: Degradation::ListenerUnknown, ..scene.moment() };
    let mut nobody = ListenerState::new(Pseudonym([0; 16]));
    let effects = scene.role.step(&scene.asked.request, &mut nobody, moment, &mut Scratch::new(), &|_| Vec::new());
    let Effects::Answered(answered) = effects else { panic!("there is nothing to write") };
    assert!(!answered.answered.ads.iter().any(is_paid));
    assert!(answered.answered.decision.reasons.get(NoFillReason::StrictCapUnsure) > 0);
    assert_eq!(answered.answered.decision.degradation, Degradation::ListenerUnknown);
}

#[test]
fn a_full_row_stops_ads_under_a_strict_cap() {
    let mut scene = StrictScene::new();
    let at = scene.asked.at;
    let (_, _) = scene.answer(|_, _| Outcome::Accepted);
    let one = scene.state.strict.exposures[0];
    scene.state = ListenerState::new(Pseudonym([7; 16]));
    scene.state.strict.exposures = (0..StrictRow::MAX_EXPOSURES)
        .map(|number| {
            let mut other = one;
            let ordinal = u32::try_from(number).expect("small");
            other.exposure.impression_id = ImpressionId::Leased { lease_id: LeaseId::from_u128(9_999), ordinal };
            other.exposure.line_item_id = LineItemId::from_u128(1);
            other.counted_until = at.plus_ms(1_000_000);
            other
        })
        .collect();
    Arc::make_mut(&mut scene.asked.request).request_id = RequestId::new("another").expect("a key");
    let (answered, reservations) = scene.answer(|_, _| panic!("there is no room"));
    assert_eq!(reservations, 0);
    assert!(!answered.answered.ads.iter().any(is_paid));
    assert_eq!(answered.answered.decision.degradation, Degradation::StrictCapsUnsure);
    assert!(!answered.voids.is_empty());
}
