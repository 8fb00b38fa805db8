//! The checker finds what it is there to find: a right scene has no findings, and each canary has one with its name.

use super::*;
use crate::demo::evidence::{AdSeen, BreakSeen};
use crate::events::{BeaconRecord, Event, LeaseClosed, LeaseGranted};
use crate::model::{
    App, AppKey, BeaconEvent, BootId, Day, DecisionId, FrequencyCap, ImpressionId, LeaseId, LineItem, LineItemId,
    Micros, Network, NetworkId, Placement, PlacementKey, Platform, PriceModel, Pseudonym, ServerId, Tier, WallMs,
};
use crate::model::{CapScope, CapWindow, Strictness};
use crate::workload::world::World;

const START: WallMs = WallMs(1_790_000_000_000);
const LIFE_MS: i64 = 300_000;

/// Everything that a check looks at, right until a test changes it.
struct Scene {
    world: World,
    evidence: Evidence,
    records: Vec<(WallMs, Event)>,
    reported: Reported,
}

impl Scene {
    /// Two breaks of one listener an hour apart, each with a house ad and a paid ad; all was heard.
    fn right() -> Self {
        let mut world = World::generate(network(), START, 3);
        for item in &mut world.line_items {
            item.caps.clear();
        }
        world.campaigns.iter_mut().for_each(|campaign| campaign.caps.clear());
        world.advertisers.iter_mut().for_each(|advertiser| advertiser.caps.clear());
        let mut scene =
            Self { world, evidence: Evidence::default(), records: Vec::new(), reported: Reported::default() };
        scene.evidence.listeners.push("account:someone".to_owned());
        let items = scene.items();
        for (number, pair) in items.chunks(2).enumerate() {
            scene.play(number, pair);
        }
        scene
    }

    /// Two paid line items of different advertisers and categories, each after a house ad.
    fn items(&self) -> Vec<LineItem> {
        let mut house = self.world.line_items.iter().filter(|item| item.tier == Tier::House);
        let mut paid = self.world.line_items.iter().filter(|item| item.tier == Tier::Auction);
        let first = paid.next().expect("the world has auctions").clone();
        let second = paid.find(|item| item.category != first.category).expect("many categories").clone();
        let mut next_house = || house.next().expect("the world has house ads").clone();
        vec![next_house(), first, next_house(), second]
    }

    fn play(&mut self, number: usize, items: &[LineItem]) {
        let number = i64::try_from(number).expect("few");
        let at = START.plus_ms(number * 3_600_000);
        let decision_id = DecisionId::from_u128(100 + u128::try_from(number).expect("few"));
        let mut ads = Vec::new();
        for (slot, item) in (0_u8..).zip(items) {
            let is_house = item.tier == Tier::House;
            let lease_id = LeaseId::from_u128(item.id.as_u128());
            let impression_id = if is_house {
                ImpressionId::Unleased { decision_id, slot }
            } else {
                ImpressionId::Leased { lease_id, ordinal: 4 }
            };
            let price = Micros(item.pricing.amount.0 / 1_000);
            if !is_house {
                self.records.push((at, granted(item, lease_id, price)));
                let billed = Billed { impressions: 1, billed: 1, unbilled: 0, micros: price.0 };
                self.reported.insert(item.id, billed);
            }
            let mut ad = AdSeen {
                advertiser_id: item.advertiser_id,
                line_item_id: item.id,
                creative_id: item.creatives[0].creative_id,
                tier: item.tier,
                duration_ms: self.duration_of(item),
                expires_at: at.plus_ms(LIFE_MS),
                sent: [0; BeaconEvent::ALL.len()],
                acknowledged: [0; BeaconEvent::ALL.len()],
                heard: None,
            };
            // Start and impression come first in the list of all events.
            for (place, event) in [BeaconEvent::Start, BeaconEvent::Impression].into_iter().enumerate() {
                (ad.sent[place], ad.acknowledged[place]) = (1, 1);
                let record = beacon(event, impression_id, decision_id, at, item, &ad);
                self.records.push((at.plus_ms(3_000), Event::Beacon(Box::new(record))));
            }
            ad.heard = Some((at.plus_ms(2_900), at.plus_ms(3_100)));
            ads.push(ad);
        }
        self.evidence.breaks.push(BreakSeen {
            decision_id,
            listener: 0,
            sent: at.plus_ms(-50),
            answered: at.plus_ms(50),
            max_duration_ms: 90_000,
            max_ads: 3,
            prefetch: false,
            ads,
        });
    }

    fn duration_of(&self, item: &LineItem) -> u32 {
        let id = item.creatives[0].creative_id;
        self.world.creatives.iter().find(|creative| creative.id == id).expect("it is in the world").duration_ms
    }

    fn verdict(&self) -> Verdict {
        let rules = Rules::new(&self.world, AppKey::new("app").unwrap());
        let mut log = LogSummary::default();
        for (received_at, body) in &self.records {
            log.add(*received_at, body);
        }
        check(&rules, &self.evidence, &log, &self.reported)
    }

    /// Position of the paid impression's record of the first break.
    fn paid_impression(&mut self) -> usize {
        let found = self.records.iter().position(|(_, body)| match body {
            Event::Beacon(beacon) => beacon.event == BeaconEvent::Impression && beacon.tier != Tier::House,
            _ => false,
        });
        found.expect("the scene has one")
    }

    fn change_beacon(&mut self, place: usize, change: impl FnOnce(&mut BeaconRecord)) {
        let Event::Beacon(beacon) = &mut self.records[place].1 else { panic!("not a beacon") };
        change(beacon);
    }
}

fn network() -> Network {
    Network {
        id: NetworkId::from_u128(1),
        name: "n".to_owned(),
        currency: "EUR".to_owned(),
        floor_cpm: Micros::ZERO,
        approve_creatives: true,
        apps: vec![App { key: AppKey::new("app").unwrap(), name: "App".to_owned() }],
        placements: vec![Placement {
            key: PlacementKey::new("music").unwrap(),
            name: "Music".to_owned(),
            floor_cpm: Micros::ZERO,
            max_duration_ms: 1,
            max_ads: 1,
            cadence_ms: 0,
            token_life_ms: 1,
            impression_at_start: false,
        }],
    }
}

fn granted(item: &LineItem, lease_id: LeaseId, price: Micros) -> Event {
    Event::LeaseGranted(LeaseGranted {
        lease_id,
        server_id: ServerId::from_u128(1),
        boot_id: BootId::from_u128(1),
        network_id: item.network_id,
        advertiser_id: item.advertiser_id,
        campaign_id: item.campaign_id,
        line_item_id: item.id,
        amount: price.times(10).unwrap(),
        max_ordinals: 10,
        granted_at: START,
        draw_until: START.plus_ms(900_000),
        last_billable_until: START.plus_ms(10_000_000),
        limits: Vec::new(),
        price_model: PriceModel::Cpm,
        advertiser_day: Day::utc_of(START),
        line_item_day: Day::utc_of(START),
    })
}

fn closed(item: &LineItem, lease_id: LeaseId, settled: Micros, settled_count: u32) -> Event {
    Event::LeaseClosed(LeaseClosed {
        lease_id,
        network_id: item.network_id,
        advertiser_id: item.advertiser_id,
        campaign_id: item.campaign_id,
        line_item_id: item.id,
        settled,
        settled_count,
        returned: Micros::ZERO,
        closed_at: START.plus_ms(20_000_000),
    })
}

fn beacon(
    event: BeaconEvent,
    impression_id: ImpressionId,
    decision_id: DecisionId,
    at: WallMs,
    item: &LineItem,
    ad: &AdSeen,
) -> BeaconRecord {
    BeaconRecord {
        event,
        impression_id,
        network_id: item.network_id,
        advertiser_id: item.advertiser_id,
        campaign_id: item.campaign_id,
        line_item_id: item.id,
        creative_id: ad.creative_id,
        decision_id,
        tier: item.tier,
        price_model: PriceModel::Cpm,
        price: Micros(item.pricing.amount.0 / 1_000),
        pseudonym: Pseudonym([1; 16]),
        placement: PlacementKey::new("music").unwrap(),
        app: None,
        country: None,
        platform: Platform::Unknown,
        decided_at: at,
        billable_until: ad.expires_at,
        duration_ms: ad.duration_ms,
        impression_at_start: false,
        preview: false,
        played_ms: None,
        truncated_ip: None,
        invalid: None,
    }
}

/// Changes a right scene and expects exactly these rules to be found broken, in order and without repeats.
#[track_caller]
fn check_finds(description: &str, expected: &[&str], change: impl FnOnce(&mut Scene)) {
    let mut scene = Scene::right();
    change(&mut scene);
    let mut found: Vec<&str> = scene.verdict().findings.kept.iter().map(|violation| violation.rule).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, expected, "{description}");
}

#[test]
fn a_right_scene_has_no_findings_and_balances() {
    let verdict = Scene::right().verdict();
    assert_eq!(verdict.findings.kept, []);
    assert!(verdict.balanced);
    assert_eq!((verdict.billable_impressions, verdict.billed_impressions, verdict.unbilled_impressions), (2, 2, 0));
    assert_eq!(verdict.billable_micros, verdict.billed_micros);
    assert_eq!(verdict.heard_by_tier, [0, 0, 2, 2]);
}

#[test]
fn canaries_in_the_log_are_named() {
    check_finds("a record deleted", &["missing_record"], |scene| {
        let place = scene.paid_impression();
        scene.records.remove(place);
    });
    check_finds("a record doubled", &["doubled_record"], |scene| {
        let place = scene.paid_impression();
        let copy = scene.records[place].clone();
        scene.records.insert(place, copy);
    });
    check_finds("a price changed in one record", &["changed_record"], |scene| {
        let place = scene.paid_impression();
        scene.change_beacon(place, |beacon| beacon.price = Micros(beacon.price.0 + 1));
    });
    check_finds("a price changed in every record", &["billed", "price"], |scene| {
        let ad = scene.evidence.breaks[0].ads[1].clone();
        for (_, body) in &mut scene.records {
            if let Event::Beacon(beacon) = body
                && beacon.line_item_id == ad.line_item_id
            {
                beacon.price = Micros(beacon.price.0 + 1);
            }
        }
    });
    check_finds("a lease nobody granted", &["lease"], |scene| {
        scene.records.retain(|(_, body)| !matches!(body, Event::LeaseGranted(_)));
    });
    check_finds("an impression nobody was answered", &["unknown_record"], |scene| {
        let place = scene.paid_impression();
        scene.change_beacon(place, |beacon| {
            beacon.decision_id = DecisionId::from_u128(7);
            beacon.impression_id = ImpressionId::Unleased { decision_id: beacon.decision_id, slot: 0 };
        });
        // What was acknowledged is then missing too, and not billed by HTTP: put both right.
        let ad = &mut scene.evidence.breaks[0].ads[1];
        (ad.sent, ad.acknowledged, ad.heard) = ([0; 13], [0; 13], None);
        scene.records.retain(|(_, body)| match body {
            Event::Beacon(beacon) => {
                !(beacon.event == BeaconEvent::Start && beacon.decision_id == DecisionId::from_u128(100))
                    || beacon.tier == Tier::House
            }
            _ => true,
        });
        let id = scene.evidence.breaks[0].ads[1].line_item_id;
        scene.reported.remove(&id);
    });
}

/// What an operator heard of the first paid line item, from another break, and the report with it.
fn heard_by_operator(scene: &mut Scene) -> usize {
    let place = scene.paid_impression();
    scene.records.push(scene.records[place].clone());
    let place = scene.records.len() - 1;
    let mut heard = None;
    scene.change_beacon(place, |beacon| {
        beacon.app = AppKey::new("operator");
        beacon.decision_id = DecisionId::from_u128(777);
        let ImpressionId::Leased { ordinal, .. } = &mut beacon.impression_id else { panic!("a paid ad is leased") };
        *ordinal += 1;
        heard = Some((beacon.line_item_id, beacon.price));
    });
    let (line_item_id, price) = heard.expect("changed");
    let reported = scene.reported.entry(line_item_id).or_default();
    reported.impressions += 1;
    reported.billed += 1;
    reported.micros += price.0;
    place
}

#[test]
fn operators_may_listen_too_and_are_billed_for() {
    check_finds("an operator listens", &[], |scene| {
        heard_by_operator(scene);
    });
    check_finds("and is not in the report", &["billed"], |scene| {
        heard_by_operator(scene);
        scene.reported = Scene::right().reported;
    });
    check_finds("as a robot, and is billed", &["billed"], |scene| {
        let place = heard_by_operator(scene);
        scene.change_beacon(place, |beacon| beacon.invalid = Some(crate::model::InvalidTraffic::Robot));
    });
    check_finds("as an app that nobody is", &["billed", "unknown_record"], |scene| {
        let place = heard_by_operator(scene);
        scene.change_beacon(place, |beacon| beacon.app = AppKey::new("other"));
    });
}

#[test]
fn a_lease_closes_with_what_was_heard_of_it() {
    let close_with = |scene: &mut Scene, extra: i64, count: u32| {
        let item = scene.items()[1].clone();
        let settled = Micros(item.pricing.amount.0 / 1_000 + extra);
        scene.records.push((START, closed(&item, LeaseId::from_u128(item.id.as_u128()), settled, count)));
    };
    check_finds("closed rightly", &[], |scene| close_with(scene, 0, 1));
    check_finds("closed with a micro more", &["lease"], |scene| close_with(scene, 1, 1));
    check_finds("closed with one more", &["lease"], |scene| close_with(scene, 0, 2));
}

#[test]
fn reports_must_say_what_was_billable() {
    check_finds("billed once too often", &["billed"], |scene| {
        scene.reported.values_mut().next().expect("billed").billed += 1;
    });
    check_finds("a micro too much", &["billed"], |scene| {
        scene.reported.values_mut().next().expect("billed").micros += 1;
    });
    check_finds("something billed that nobody heard", &["billed"], |scene| {
        scene.reported.insert(LineItemId::from_u128(5), Billed { impressions: 1, billed: 1, unbilled: 0, micros: 1 });
    });
    check_finds("a late impression is unbilled", &[], |scene| {
        let place = scene.paid_impression();
        let late = START.plus_ms(LIFE_MS + 10);
        scene.records[place].0 = late;
        let ad = &mut scene.evidence.breaks[0].ads[1];
        ad.heard = Some((late, late.plus_ms(1)));
        let reported = scene.reported.get_mut(&ad.line_item_id).expect("billed");
        *reported = Billed { impressions: 1, billed: 0, unbilled: 1, micros: 0 };
    });
}

#[test]
fn pods_and_histories_are_judged() {
    check_finds("two of one advertiser", &["separation"], |scene| {
        let advertiser_id = scene.evidence.breaks[0].ads[0].advertiser_id;
        let line_item_id = scene.evidence.breaks[0].ads[1].line_item_id;
        scene.evidence.breaks[0].ads[1].advertiser_id = advertiser_id;
        for (_, body) in &mut scene.records {
            if let Event::Beacon(beacon) = body
                && beacon.line_item_id == line_item_id
            {
                beacon.advertiser_id = advertiser_id;
            }
        }
    });
    check_finds("two of one category", &["separation"], |scene| {
        let ids: Vec<LineItemId> = scene.evidence.breaks[0].ads.iter().map(|ad| ad.line_item_id).collect();
        for item in scene.world.line_items.iter_mut().filter(|item| ids.contains(&item.id)) {
            item.category = Some("same".to_owned());
        }
    });
    check_finds("one excludes the other", &["separation"], |scene| {
        let ids: Vec<LineItemId> = scene.evidence.breaks[0].ads.iter().map(|ad| ad.line_item_id).collect();
        for item in scene.world.line_items.iter_mut().filter(|item| ids.contains(&item.id)) {
            item.category = Some(format!("category {}", item.id));
            item.excluded_categories = vec![format!("category {}", ids[0])];
        }
    });
    check_finds("too long", &["duration"], |scene| scene.evidence.breaks[1].max_duration_ms = 20_000);
    check_finds("too many", &["too_many_ads"], |scene| scene.evidence.breaks[1].max_ads = 1);
    check_finds("decided before it was asked", &["time"], |scene| {
        let seen = &mut scene.evidence.breaks[0];
        (seen.sent, seen.answered) = (seen.sent.plus_ms(200), seen.answered.plus_ms(200));
    });
}

/// The same paid line item in both breaks, an hour apart, under one cap.
fn twice(scene: &mut Scene, window_ms: u64, max: u16, strictness: Strictness) {
    let paid = scene.items()[1].clone();
    let (decision_id, first) = (scene.evidence.breaks[1].decision_id, scene.evidence.breaks[1].clone());
    scene.evidence.breaks.truncate(1);
    scene.records.retain(|(_, body)| match body {
        Event::Beacon(beacon) => beacon.decision_id != decision_id,
        Event::LeaseGranted(grant) => grant.line_item_id == paid.id,
        _ => true,
    });
    scene.reported.retain(|id, _| *id == paid.id);
    let mut again = scene.evidence.breaks[0].clone();
    (again.decision_id, again.sent, again.answered) = (first.decision_id, first.sent, first.answered);
    again.ads.remove(0);
    // Not heard: what counts is that it was answered.
    let ad = &mut again.ads[0];
    (ad.sent, ad.acknowledged, ad.heard) = ([0; 13], [0; 13], None);
    ad.creative_id = crate::model::CreativeId::from_u128(1);
    scene.evidence.breaks.push(again);
    let item = scene.world.line_items.iter_mut().find(|item| item.id == paid.id).expect("it is there");
    item.caps =
        vec![FrequencyCap { scope: CapScope::LineItem, max, window: CapWindow::Sliding(window_ms), strictness }];
}

#[test]
fn caps_count_what_was_surely_heard() {
    let soft = Strictness::Soft;
    check_finds("one an hour and a bit", &["cap"], |scene| twice(scene, 3_700_000, 1, soft));
    check_finds("two an hour and a bit", &[], |scene| twice(scene, 3_700_000, 2, soft));
    check_finds("one in less than an hour", &[], |scene| twice(scene, 3_500_000, 1, soft));
}

// INV-31.
#[test]
fn strict_caps_count_what_was_heard_at_any_time_on_any_device() {
    // The second break is asked for by another device before the first one's ad was told of, and gives it up.
    let at_once = |scene: &mut Scene, strictness| {
        twice(scene, 3_700_000, 1, strictness);
        let item = scene.items()[1].clone();
        let ad = &mut scene.evidence.breaks[0].ads[1];
        ad.heard = Some((START.plus_ms(3_000), START.plus_ms(3_100)));
        let (decision_id, ad) = (scene.evidence.breaks[0].decision_id, scene.evidence.breaks[0].ads[1].clone());
        let impression_id = ImpressionId::Leased { lease_id: LeaseId::from_u128(item.id.as_u128()), ordinal: 4 };
        let void = beacon(BeaconEvent::Void, impression_id, decision_id, START, &item, &ad);
        scene.records.push((START.plus_ms(1_000), Event::Beacon(Box::new(void))));
    };
    check_finds("given up and heard all the same", &["cap"], |scene| at_once(scene, Strictness::Strict));
    check_finds("a soft cap forgives that", &[], |scene| at_once(scene, Strictness::Soft));
}
