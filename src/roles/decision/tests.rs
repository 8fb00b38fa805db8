//! What the role writes down is enough to make its decisions again, and what it seals it seals once.

use std::sync::Arc;

use super::*;
use crate::catalog::{CatalogWriter, Entity};
use crate::decision::{LeaseTerms, LeaseView, SpendView, replay};
use crate::events;
use crate::model::{LeaseId, ListenerKey, Micros, MonotonicMs, RequestId, Subscription};
use crate::tokens::{SealLog, TokenKey};
use crate::workload::reference::{Profile, ReferenceCatalogue};

const LINE_ITEMS: usize = 1_000;
const BREAKS: usize = 150;
/// How many listeners share the breaks, so that caps and the break before bind.
const LISTENERS: usize = 10;
const VERSION: u64 = 2;

fn role(catalogue: &ReferenceCatalogue, snapshot: &Snapshot) -> DecisionRole {
    let spending = Spending::new();
    for (index, (line_item, standing)) in catalogue.line_items.iter().zip(&catalogue.standings).enumerate() {
        let slot = snapshot.slot(line_item.id).expect("it was applied");
        spending.set_throttle(slot, standing.throttle);
        if standing.leased {
            let terms = LeaseTerms {
                lease_id: LeaseId::from_u128(u128::try_from(index).expect("small")),
                amount: Micros(200_000),
                max_ordinals: 8,
                draw_until: MonotonicMs(u64::MAX),
                last_billable_until: WallMs(i64::MAX),
            };
            spending.install_lease(slot, terms);
        }
    }
    let keys = TokenKeys::new(TokenKey::new(1, &[1; 32]), None);
    DecisionRole::new(Arc::new(spending), keys, ServerId::from_u128(1), BootId::from_u128(2))
}

/// The decision that a record tells of, made again on another snapshot of the same catalogue.
fn made_again(record: &DecisionRecord, snapshot: &Snapshot) -> Decision {
    let request = record.request.to_request(ListenerKey([0xEE; 16]));
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
    let mut excluded = Excluded::none();
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
            role.step(&asked.request, state, moment, &mut scratch, |_| b"answer".to_vec())
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
        let mut step = |request: &AdBreakRequest, state: &mut ListenerState| {
            role.step(request, state, moment, &mut scratch, |answered| format!("{:?}", answered.decision).into_bytes())
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
            ..asked.request.clone()
        };
        let Effects::Answered(none) = step(&premium, &mut state) else { panic!("it is new") };
        assert_eq!((none.answered.no_break, none.answered.limited), (Some("premium"), None));
    }
    assert!(refused > 100, "only {refused} were refused for the limit");
    let drawn = snapshot.lines().map(|entry| role.spending.totals(entry.slot).count).sum::<u64>();
    assert_eq!(drawn, 0, "nothing was drawn");
}
