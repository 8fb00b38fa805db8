//! Any order and any repetition gives the same books.

use proptest::prelude::*;

use super::*;
use crate::model::{DecisionId, ImpressionId, InvalidTraffic, PriceModel, Tier};

/// The price model of each lease, by its number.
const MODELS: [PriceModel; 4] = [PriceModel::Cpm, PriceModel::Cpcl, PriceModel::Cpc, PriceModel::Flat];

/// A beacon of one of four leases: mostly as it should be, sometimes late, out of range, of another line item or of no lease.
fn any_beacon() -> impl Strategy<Value = Envelope> {
    let event = prop_oneof![
        6 => Just(IMPRESSION),
        2 => Just(BeaconEvent::Start),
        3 => Just(BeaconEvent::Complete),
        3 => Just(BeaconEvent::Click),
        2 => Just(BeaconEvent::Void),
        1 => Just(BeaconEvent::NotUsed),
        1 => Just(BeaconEvent::Midpoint),
    ];
    let received = prop_oneof![4 => Just(60_000), 1 => 0_i64..3_600_000, 1 => 3_600_001_i64..8_000_000];
    (1_u128..=5, 0_u32..9, event, received, any::<bool>()).prop_map(|(lease_n, ordinal, event, received, house)| {
        let line_item = lease_n.min(4);
        // One impression, one token (INV-10): what is odd about it is the same in all its beacons.
        let record = match ordinal {
            3 => with(beacon(lease_n, ordinal, line_item, event), |record| record.preview = true),
            4 => with(beacon(lease_n, ordinal, line_item + 1, event), |record| record.price = Micros(7)),
            5 => with(beacon(lease_n, ordinal, line_item, event), |record| record.impression_at_start = true),
            // Another server may have another opinion of a copy.
            6 if house => with(beacon(lease_n, ordinal, line_item, event), |record| {
                record.invalid = Some(InvalidTraffic::Robot);
            }),
            7 if house => with(beacon(lease_n, ordinal, line_item, event), |record| record.played_ms = Some(1)),
            _ if house => with(beacon(lease_n, ordinal, line_item, event), |record| {
                record.tier = Tier::House;
                record.impression_id = ImpressionId::Unleased { decision_id: DecisionId::from_u128(lease_n), slot: 1 };
            }),
            _ => beacon(lease_n, ordinal, line_item, event),
        };
        let model = MODELS[usize::try_from(lease_n - 1).expect("small") % MODELS.len()];
        at(with(record, |record| record.price_model = model), T0.plus_ms(received))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// INV-14: any order and any repetition of beacons between grants and closes gives the same books.
    #[test]
    fn any_permutation_and_duplication_gives_the_same_books(
        beacons in prop::collection::vec(any_beacon(), 1..40),
        copies in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        keys in prop::collection::vec(any::<u32>(), 60),
    ) {
        let sold = |n: u128, amount| {
            let model = MODELS[usize::try_from(n - 1).expect("small")];
            granting(granted(n, n, amount, 8), |grant| grant.price_model = model)
        };
        let grants = [sold(1, 80), sold(2, 80), sold(3, 0), sold(4, 500)];
        let in_order = World::of(&[&grants[..], &beacons].concat());
        let mut mixed = beacons.clone();
        mixed.extend(copies.iter().map(|index| index.get(&beacons).clone()));
        let mut order: Vec<_> = keys.iter().zip(mixed).collect();
        order.sort_by_key(|(key, _)| **key);
        let mixed: Vec<_> = order.into_iter().map(|(_, record)| record).collect();
        let mut shuffled = World::of(&[&grants[..], &mixed].concat());
        in_order.check();
        shuffled.check();
        shuffled.delivery.retain(|_, totals| !totals.is_zero());
        let mut expected = in_order;
        expected.delivery.retain(|_, totals| !totals.is_zero());
        prop_assert_eq!(&expected, &shuffled);
        // And again after the closes.
        for (n, amount) in [(1, 80), (2, 80), (3, 0), (4, 500)] {
            let record = closed(n, n, 0, 0, amount);
            expected.apply(&record);
            shuffled.apply(&record);
        }
        expected.check();
        prop_assert_eq!(expected, shuffled);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// INV-14: a return may come before, between or after the beacons of what was drawn.
    #[test]
    fn a_return_may_come_anywhere(
        beacons in prop::collection::vec(any_beacon(), 1..40),
        place in any::<prop::sample::Index>(),
    ) {
        let drawn: Vec<_> = beacons.into_iter().filter(|record| match &record.body {
            crate::events::Event::Beacon(beacon) => match beacon.impression_id {
                ImpressionId::Leased { ordinal, .. } => ordinal < 7,
                ImpressionId::Unleased { .. } => true,
            },
            _ => false,
        }).collect();
        let grant = granted(1, 1, 80, 8);
        let last = World::of(&[std::slice::from_ref(&grant), &drawn, &[returned(1, 1, 70, 7)]].concat());
        let at = place.index(drawn.len() + 1);
        let between = World::of(&[std::slice::from_ref(&grant), &drawn[..at], &[returned(1, 1, 70, 7)], &drawn[at..]].concat());
        last.check();
        prop_assert_eq!(last, between);
    }
}
