//! Planted causes are found, each by its name; and ends are those of an exhaustive explanation.

use super::samples::{LINE_ITEM, NOW, Stage};
use super::*;
use crate::decision::{Excluded, Explanation, Outcome, Scratch, Seed, Spending, StrictCaps, explain, survey};
use crate::model::*;
use crate::targeting::{Attribute, DaypartZone, Expression, Predicate, WeekHours};

type Change = fn(&mut Stage);

fn has(attribute: Attribute, value: &str) -> Expression {
    Expression::Is(Predicate::Has { attribute, any_of: vec![value.to_owned()] })
}

fn hours(hour: u8, zone: DaypartZone) -> Expression {
    let mut hours = WeekHours::none();
    hours.insert(hour);
    Expression::Is(Predicate::Daypart { zone, hours })
}

fn cap(scope: CapScope, strictness: Strictness) -> FrequencyCap {
    FrequencyCap { scope, max: 1, window: CapWindow::Sliding(3_600_000), strictness }
}

fn spent(level: Level, day: Option<Day>, settled: i64, open: i64) -> LevelMoney {
    LevelMoney {
        level,
        day,
        budget: Some(Micros(1_000_000)),
        goal: None,
        settled: Micros(settled),
        settled_count: 0,
        open: Micros(open),
        open_count: 0,
    }
}

/// Each cause planted in a stage where the line item would play, and the verdict's reason and predicate.
#[rustfmt::skip]
const TARGETING: &[(&str, Change, &str, Option<&str>)] = &[
    ("wrong country", |stage| stage.own.line_item.targeting = has(Attribute::Country, "no"), "not_matched", Some("country")),
    ("wrong city", |stage| stage.own.line_item.targeting = has(Attribute::City, "se/malmo"), "not_matched", Some("city")),
    ("wrong platform", |stage| stage.own.line_item.targeting = has(Attribute::Platform, "android"), "not_matched", Some("platform")),
    ("wrong genre", |stage| stage.own.line_item.targeting = has(Attribute::Genre, "jazz"), "not_matched", Some("genre")),
    ("wrong placement", |stage| stage.own.line_item.targeting = has(Attribute::Placement, "q"), "not_matched", Some("placement")),
    // The sample is of a Monday at noon.
    ("wrong hour", |stage| stage.own.line_item.targeting = hours(13, DaypartZone::LineItem), "not_matched", Some("daypart")),
    ("listener's hour", |stage| stage.own.line_item.targeting = hours(13, DaypartZone::Listener), "not_matched", Some("daypart")),
    ("missing segment", |stage| stage.own.line_item.targeting = has(Attribute::Segment, "cooks"), "not_matched", Some("segment")),
    ("wrong age", |stage| {
        let any_of = vec![crate::targeting::AgeRange { from: 18, to: 24 }];
        stage.own.line_item.targeting = Expression::Is(Predicate::Age { any_of });
        stage.request.facts.age = Some(30);
    }, "not_matched", Some("age")),
    ("not explicit", |stage| stage.own.line_item.targeting = Expression::Is(Predicate::Explicit(false)), "not_matched", Some("explicit")),
    ("key value", |stage| {
        stage.own.line_item.targeting = Expression::Is(Predicate::KeyValue { key: "mood".into(), any_of: vec!["calm".into()] });
    }, "not_matched", Some("key_value")),
    ("NOT clause", |stage| {
        stage.own.line_item.targeting = Expression::Not(Box::new(has(Attribute::Genre, "pop")));
    }, "not_matched", Some("not genre")),
    ("second of all", |stage| {
        stage.own.line_item.targeting = Expression::All(vec![has(Attribute::Country, "se"), has(Attribute::Os, "ios")]);
    }, "not_matched", Some("os")),
    ("no alternative", |stage| {
        stage.own.line_item.targeting = Expression::Any(vec![has(Attribute::Segment, "cooks"), has(Attribute::City, "se/malmo")]);
    }, "not_matched", Some("city or segment")),
    ("nobody", |stage| stage.own.line_item.targeting = Expression::Any(vec![]), "not_matched", None),
];

#[rustfmt::skip]
const BREAKS: &[(&str, Change, &str, Option<&str>)] = &[
    ("sliding cap", |stage| {
        stage.own.line_item.caps = vec![cap(CapScope::LineItem, Strictness::Soft)];
        stage.heard(|_| {});
    }, "capped", Some("line_item")),
    ("campaign's cap", |stage| {
        stage.own.campaign.caps = vec![cap(CapScope::Campaign, Strictness::Soft)];
        stage.heard(|heard| heard.line_item_id = LineItemId::from_u128(77));
    }, "capped", Some("campaign")),
    ("advertiser's cap", |stage| {
        stage.own.advertiser.caps = vec![cap(CapScope::Advertiser, Strictness::Soft)];
        stage.heard(|heard| {
            heard.line_item_id = LineItemId::from_u128(77);
            heard.campaign_id = CampaignId::from_u128(77);
        });
    }, "capped", Some("advertiser")),
    ("creative's cap", |stage| {
        stage.own.line_item.caps = vec![cap(CapScope::Creative, Strictness::Soft)];
        stage.heard(|heard| heard.line_item_id = LineItemId::from_u128(77));
    }, "capped", Some("creative")),
    ("strict cap in a session", |stage| {
        stage.own.line_item.caps = vec![cap(CapScope::LineItem, Strictness::Strict)];
        stage.request.listener_key = ListenerKey::of_session([3; 16]);
    }, "strict_cap_in_session", None),
    ("heard just before", |stage| stage.listener.last_break_creatives = vec![stage.own.creative.id], "heard_in_last_break", None),
    ("outranked", |stage| _ = stage.rival(), "outranked", None),
    ("outranked by tier", |stage| {
        let rival = &mut stage.rival().line_item;
        (rival.tier, rival.pricing.amount) = (Tier::Guaranteed, Micros(2_000_000));
        rival.goal = Some(Goal { impressions: 1_000, daily_impressions: None });
    }, "outranked", None),
    ("throttled", |stage| stage.own.money.throttle = 0, "throttled", None),
    ("no lease", |stage| stage.own.money.lease = None, "no_lease", None),
    ("lease spent", |stage| stage.own.money.lease = Some((4_999, 100)), "lease_spent", None),
    ("lease of no impressions", |stage| stage.own.money.lease = Some((1_000_000, 0)), "lease_out_of_ordinals", None),
    ("paused just now", |stage| stage.own.money.paused = true, "paused_just_now", None),
    ("category clash", |stage| {
        stage.network.placements[0].max_ads = 4;
        stage.own.line_item.category = Some("cars".into());
        stage.rival().line_item.category = Some("cars".into());
    }, "category_separation", None),
    ("excluded category", |stage| {
        stage.network.placements[0].max_ads = 4;
        stage.own.line_item.excluded_categories = vec!["beer".into()];
        stage.rival().line_item.category = Some("beer".into());
    }, "category_separation", None),
    ("same advertiser", |stage| {
        stage.network.placements[0].max_ads = 4;
        let own = stage.own.clone();
        let rival = stage.rival();
        (rival.advertiser, rival.campaign, rival.creative) = (own.advertiser, own.campaign, own.creative);
        rival.line_item = LineItem { id: rival.line_item.id, pricing: rival.line_item.pricing, ..own.line_item };
    }, "same_advertiser", None),
    ("too long for the break", |stage| stage.request.spec.max_duration_ms = 20_000, "too_long", None),
    ("avoids explicit", |stage| {
        stage.own.line_item.avoid.explicit = true;
        stage.request.facts.explicit = Some(true);
    }, "avoids_explicit", None),
    ("avoids genre", |stage| stage.own.line_item.avoid.genres = vec!["pop".into()], "avoids_genre", None),
    ("avoids content", |stage| {
        stage.own.line_item.avoid.content_categories = vec!["news".into()];
        stage.request.facts.content_categories = vec!["news".into()];
    }, "avoids_content_category", None),
    ("not for children", |stage| {
        stage.own.line_item.category = Some("alcohol".into());
        stage.request.child = true;
    }, "not_for_children", None),
    ("explicit ad, child", |stage| {
        stage.own.creative.explicit = true;
        stage.request.child = true;
    }, "only_explicit_creatives", None),
    ("encoding absent", |stage| stage.request.spec.formats = vec![AudioFormat::OggVorbis], "no_playable_format", None),
    ("sponsor not drawn", |stage| {
        stage.own.line_item.tier = Tier::Sponsorship;
        // One basis point: twenty breaks are another's or nobody's.
        stage.own.line_item.share_of_voice = Some(ShareOfVoice { basis_points: 1 });
    }, "sponsor_not_drawn", None),
    ("nothing", |_| {}, "delivering", None),
    ("nobody listens", |stage| stage.breaks = 0, "no_traffic", None),
    ("only premium listeners", |stage| stage.request.subscription = Subscription::Premium, "no_break_due", None),
];

#[rustfmt::skip]
const STANDING: &[(&str, Change, &str, Option<&str>)] = &[
    ("paused", |stage| stage.own.line_item.status = Status::Paused, "line_item_paused", None),
    ("campaign paused", |stage| stage.own.campaign.status = Status::Paused, "campaign_paused", None),
    ("advertiser paused", |stage| stage.own.advertiser.status = Status::Paused, "advertiser_paused", None),
    ("archived", |stage| stage.own.line_item.status = Status::Archived, "line_item_archived", None),
    ("campaign archived", |stage| stage.own.campaign.status = Status::Archived, "campaign_archived", None),
    ("flight over", |stage| stage.own.line_item.flight.end = NOW.wall, "flight_ended", None),
    ("flight not begun", |stage| stage.own.line_item.flight.start = NOW.wall.plus_ms(1), "flight_not_started", None),
    ("creative not approved", |stage| stage.own.creative.approval = Approval::Pending, "creative_not_approved", None),
    ("creative rejected", |stage| stage.own.creative.approval = Approval::Rejected, "creative_rejected", None),
    ("creative paused", |stage| stage.own.creative.status = Status::Paused, "creative_paused", None),
    ("no creative", |stage| stage.own.line_item.creatives.clear(), "no_creative", None),
    ("lifetime budget spent", |stage| stage.books = vec![spent(Level::LineItem, None, 996_000, 0)], "budget_spent", None),
    ("campaign's budget spent", |stage| stage.books = vec![spent(Level::Campaign, None, 1_000_000, 0)], "budget_spent", None),
    ("campaign's day spent", |stage| stage.books = vec![spent(Level::Campaign, Some(Day(20_458)), 1_000_000, 0)], "daily_budget_spent", None),
    ("advertiser's day spent", |stage| stage.books = vec![spent(Level::Advertiser, Some(Day(20_458)), 1_200_000, 0)], "daily_budget_spent", None),
    ("goal reached", |stage| {
        stage.books = vec![LevelMoney { budget: None, goal: Some(10), settled_count: 10, ..spent(Level::LineItem, None, 0, 0) }];
    }, "goal_reached", None),
    ("day's goal reached", |stage| {
        let day = spent(Level::LineItem, Some(Day(20_458)), 0, 0);
        stage.books = vec![LevelMoney { budget: None, goal: Some(10), settled_count: 11, ..day }];
    }, "daily_goal_reached", None),
    ("below floor", |stage| stage.network.placements[0].floor_cpm = Micros(5_001_000), "below_floor", None),
    ("longer than any break", |stage| stage.own.creative.duration_ms = 60_001, "too_long", None),
];

fn check(cases: &[(&str, Change, &str, Option<&str>)], breaks: Option<u32>) {
    for (name, change, reason, predicate) in cases {
        let mut stage = Stage::new();
        change(&mut stage);
        stage.breaks = breaks.unwrap_or(stage.breaks);
        let (verdict, tally) = stage.diagnose();
        assert_eq!(
            (verdict.reason, verdict.predicate.as_deref()),
            (*reason, *predicate),
            "{name}: {verdict:?} {tally:?}"
        );
        assert!(verdict.words.len() > 20 && verdict.words.ends_with('.'), "{name}: {}", verdict.words);
        let counted: u64 = tally.causes.iter().map(|cause| cause.breaks).sum();
        assert_eq!(counted, tally.breaks, "{name}: every break has one end");
        assert!(tally.causes.iter().all(|cause| !cause.words.is_empty()), "{name}");
    }
}

#[test]
fn what_targeting_misses_is_named() {
    check(TARGETING, None);
}

#[test]
fn what_breaks_end_by_is_named() {
    check(BREAKS, None);
}

#[test]
fn facts_win_with_a_sample_and_without() {
    check(STANDING, None);
    check(STANDING, Some(0));
}

#[test]
fn money_that_leases_hold_is_not_spent() {
    let mut stage = Stage::new();
    stage.books = vec![spent(Level::LineItem, None, 0, 1_000_000)];
    assert_eq!(stage.books[0].available(), Some(Micros(0)));
    assert_eq!(stage.diagnose().0.reason, "delivering");
}

#[test]
fn the_difference_to_the_lowest_of_the_pod_is_told() {
    let mut stage = Stage::new();
    stage.rival();
    let by = |stage: &Stage| stage.diagnose().1.causes[0].outranked_by.expect("it was outranked");
    let gap = Some(Micros(1_500_000));
    assert_eq!(by(&stage), OutrankedBy { median_micros_cpm: gap, samples_by_price: 20, samples_by_tier: 0 });
    stage.rival().line_item.tier = Tier::Guaranteed;
    stage.rival.as_mut().expect("there is one").line_item.goal =
        Some(Goal { impressions: 1_000, daily_impressions: None });
    assert_eq!(by(&stage), OutrankedBy { median_micros_cpm: None, samples_by_price: 0, samples_by_tier: 20 });
}

#[test]
fn a_segment_that_nobody_allowed_to_be_known_is_said_to_be_that() {
    let mut stage = Stage::new();
    stage.own.line_item.targeting = has(Attribute::Segment, "cooks");
    stage.request.consent = ConsentScope::ContextOnly;
    stage.request.facts.segments.clear();
    let (verdict, tally) = stage.diagnose();
    assert_eq!((verdict.reason, verdict.predicate.as_deref()), ("not_matched", Some("segment")));
    assert_eq!(tally.causes[0].breaks_without_consent, Some(2_000));
    assert!(verdict.words.contains("no consent"), "{}", verdict.words);
}

#[test]
fn a_condition_that_is_alone_in_the_way_is_told_from_one_of_several() {
    let mut stage = Stage::new();
    let wrong = vec![has(Attribute::City, "se/malmo"), has(Attribute::Platform, "android")];
    stage.own.line_item.targeting = Expression::All(wrong);
    assert_eq!(stage.diagnose().1.causes[0].breaks_sole, Some(0));
    stage.request.facts.platform = Some("android".into());
    assert_eq!(stage.diagnose().1.causes[0].breaks_sole, Some(2_000));
}

#[test]
fn words_tell_what_many_share_and_nothing_of_a_listener_or_a_rival() {
    let mut stage = Stage::new();
    stage.own.line_item.targeting = has(Attribute::Platform, "android");
    assert!(stage.diagnose().0.words.contains("there was ios"));
    for attribute in [Attribute::City, Attribute::PostalCode, Attribute::Segment] {
        stage.own.line_item.targeting = has(attribute, "elsewhere");
        let (verdict, tally) = stage.diagnose();
        let told = format!("{} {}", verdict.words, tally.causes[0].words);
        for secret in ["stockholm", "11122", "runners"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    let mut stage = Stage::new();
    let rival = stage.rival();
    (rival.line_item.name, rival.advertiser.name) = ("Secret".into(), "Secret".into());
    let (verdict, tally) = stage.diagnose();
    assert!(!format!("{verdict:?}{tally:?}").contains("Secret"));
    assert!(verdict.words.contains("1.50 CPM") && !verdict.words.contains("6.50"), "{}", verdict.words);
}

#[test]
fn a_rare_match_is_judged_by_its_own_breaks() {
    let mut stage = Stage::new();
    stage.own.line_item.targeting = has(Attribute::City, "se/stockholm");
    stage.own.money.throttle = 0;
    let snapshot = stage.snapshot();
    let mut sampled = stage.sampled(&snapshot);
    stage.request.facts.city = Some("se/malmo".into());
    for _ in 0..49 {
        sampled.extend(stage.sampled(&snapshot));
    }
    let (verdict, tally) = stage.judged(&snapshot, &sampled);
    assert_eq!((verdict.reason, tally.samples, tally.samples_matched), ("throttled", 1_000, 20));
    assert_eq!(tally.causes[0].reason, "not_matched", "causes are by share all the same");
    assert_eq!((tally.causes[0].share, tally.causes[1].share), (9_800, 200));
    assert!(
        verdict.words.starts_with("Its targeting matches 2 % of breaks, and in 100 % of these"),
        "{}",
        verdict.words
    );
}

#[test]
fn few_breaks_that_are_won_are_few_for_their_targeting() {
    let mut stage = Stage::new();
    stage.own.line_item.targeting = has(Attribute::City, "se/stockholm");
    let snapshot = stage.snapshot();
    let mut sampled = stage.sampled(&snapshot);
    stage.request.facts.city = Some("se/malmo".into());
    for _ in 0..9 {
        sampled.extend(stage.sampled(&snapshot));
    }
    let (verdict, _) = stage.judged(&snapshot, &sampled);
    assert_eq!((verdict.reason, verdict.predicate.as_deref()), ("not_matched", Some("city")));
    assert!(verdict.words.contains("in the pod in 100 %"), "{}", verdict.words);
}

#[test]
fn a_line_item_changed_since_is_not_judged_by_what_was_before() {
    let mut stage = Stage::new();
    stage.own.line_item.targeting = has(Attribute::City, "se/malmo");
    let sampled = stage.sampled(&stage.snapshot());
    stage.own.line_item.targeting = Expression::everybody();
    let (verdict, _) = stage.judged(&stage.snapshot(), &sampled);
    assert_eq!(verdict.reason, "changed_since");
    // Nor is one that the snapshot does not have.
    assert_eq!(tally(&stage.snapshot(), LineItemId::from_u128(999), &sampled), None);
    assert_eq!(super::verdict(&[], Err(Unseen::NotInCatalogue)).reason, "not_in_catalogue");
    assert_eq!(super::verdict(&[], Err(Unseen::NoBreaks)).reason, "no_sample");
}

#[test]
fn who_would_match_is_told_coarsely() {
    let mut stage = Stage::new();
    stage.own.line_item.targeting = has(Attribute::City, "se/stockholm");
    let snapshot = stage.snapshot();
    let mut sampled = stage.sampled(&snapshot);
    stage.request.facts.city = None;
    sampled.extend(stage.sampled(&snapshot));
    let found = matches(&snapshot, LINE_ITEM, &sampled, 3).expect("it is there");
    assert_eq!((found.samples, found.samples_matched, found.examples.len()), (40, 20, 3));
    assert_eq!((found.breaks, found.breaks_matched), (4_000, 2_000));
    let example = Example {
        country: Some("se".into()),
        platform: Some("ios".into()),
        hour: 12,
        genres: vec!["pop".into()],
        placement: "p".into(),
    };
    assert_eq!(found.examples[0], example);
    assert_eq!(matches(&snapshot, LineItemId::from_u128(999), &sampled, 3), None);
}

/// What an exhaustive explanation says of the same break.
fn explained(stage: &Stage, snapshot: &Snapshot) -> Explanation {
    let spending = Spending::new();
    stage.own.fund(&spending, snapshot);
    if let Some(rival) = &stage.rival {
        rival.fund(&spending, snapshot);
    }
    let request =
        Arc::new(AdBreakRequest { request_id: RequestId::new("r0").expect("an id"), ..stage.request.clone() });
    let (resolved, seed) = (snapshot.resolve(&request, NOW), Seed::of(&request));
    let is_session = request.listener_key.is_session();
    let strict_caps = if is_session { StrictCaps::NotInSession } else { StrictCaps::Kept };
    let (without, mut scratch) = (Excluded::by_strict_caps(strict_caps), Scratch::new());
    let decision = survey(snapshot, &resolved, &stage.listener, &spending, &without, NOW, seed, &mut scratch).clone();
    explain(snapshot, &resolved, &stage.listener, &spending, &without, NOW, seed, &decision)
}

// INV-8, for diagnoses.
#[test]
fn every_end_is_the_fate_that_an_explanation_tells() {
    let mut compared = 0;
    for (name, change, ..) in TARGETING.iter().chain(BREAKS).chain(STANDING) {
        let mut stage = Stage::new();
        change(&mut stage);
        stage.breaks = stage.breaks.min(1);
        let snapshot = stage.snapshot();
        let (_, tally) = stage.judged(&snapshot, &stage.sampled(&snapshot));
        let explanation = explained(&stage, &snapshot);
        let fate = explanation.fates.iter().find(|fate| fate.line_item_id == LINE_ITEM);
        let (Some(fate), Some(cause)) = (fate, tally.causes.first()) else { continue };
        let expected = match fate.outcome {
            Outcome::Chosen { .. } => "chosen",
            Outcome::Refused(reason) => reason.name(),
        };
        assert_eq!(cause.reason, expected, "{name}");
        compared += 1;
    }
    assert!(compared >= 50, "{compared}");
}
