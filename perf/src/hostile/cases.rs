//! The bad things.
//!
//! Bad line items bid the most, so that every break looks at them first. Bad catalogues are another network's, on the same
//! servers: its own breaks are the bad ones, and the ordinary network's must not notice. Listeners are worse than a player may say: its limits
//! (`http/player/convert.rs`) cut them to a fifth.

use std::sync::Arc;

use segue::catalog::Entity;
use segue::model::{
    Advertiser, AdvertiserId, Campaign, CampaignId, CapScope, CapWindow, Creative, CreativeId, DecisionId, Exposure,
    ExposureState, FrequencyCap, ImpressionId, LineItem, LineItemId, Micros, Network, NetworkId, Pricing, Strictness,
    Tier,
};
use segue::targeting::dnf::normal_form;
use segue::targeting::{Attribute, Expression, Predicate};
use segue::workload::reference::ReferenceCatalogue;

use super::stage::{Break, Stage};

/// Breaks of a bad listener or network.
const BREAKS: usize = 100;
/// The greatest bid of the reference is 40.
const BID: Micros = Micros(90_000_000);
const SEGMENTS_OF_A_LINE_ITEM: usize = 50_000;
const SEGMENTS_OF_A_LISTENER: usize = 5_000;
const KEY_VALUES_OF_A_LISTENER: usize = 500;
const THEIR_NETWORK: NetworkId = NetworkId::from_u128(77);

/// One bad thing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    WorstExpression,
    ManySegments,
    NoSegmentsOfMany,
    ValuesOfNobody,
    LargeListener,
    AllMatch,
    NoneMatches,
    OnlyCapsDiffer,
    OnlyCapsDifferAndAllAreReached,
}

impl Case {
    pub(crate) const ALL: [Self; 9] = [
        Self::WorstExpression,
        Self::ManySegments,
        Self::NoSegmentsOfMany,
        Self::ValuesOfNobody,
        Self::LargeListener,
        Self::AllMatch,
        Self::NoneMatches,
        Self::OnlyCapsDiffer,
        Self::OnlyCapsDifferAndAllAreReached,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WorstExpression => "the worst expression",
            Self::ManySegments => "50,000 segments",
            Self::NoSegmentsOfMany => "none of 50,000 segments",
            Self::ValuesOfNobody => "values nobody has",
            Self::LargeListener => "a listener of 5,000 segments, 500 key-values",
            Self::AllMatch => "a catalogue where every line item matches",
            Self::NoneMatches => "a catalogue where none does",
            Self::OnlyCapsDiffer => "line items that differ only in a cap",
            Self::OnlyCapsDifferAndAllAreReached => "the same, and every cap is reached",
        }
    }

    /// The catalogue with it, and its own breaks.
    pub(crate) fn put_into(self, before: &Stage, bad: u128, bad_line_items: usize) -> (Stage, Vec<Break>) {
        match self {
            Self::WorstExpression => (before.with(asking(&before.catalogue, bad, worst_expression)), Vec::new()),
            Self::ManySegments => (before.with(asking(&before.catalogue, bad, many_segments)), Vec::new()),
            Self::NoSegmentsOfMany => {
                let none = |number| Expression::Not(Box::new(many_segments(number)));
                (before.with(asking(&before.catalogue, bad, none)), Vec::new())
            }
            Self::ValuesOfNobody => (before.with(asking(&before.catalogue, bad, values_of_nobody)), Vec::new()),
            Self::LargeListener => (before.with(Vec::new()), before.ordinary.iter().take(BREAKS).map(large).collect()),
            Self::AllMatch => theirs(before, bad_line_items, |line_item, number| {
                line_item.targeting = Expression::everybody();
                line_item.pricing.amount = Micros(i64::try_from(1_000 + number % 39_000).expect("a bid") * 1_000);
            }),
            Self::NoneMatches => theirs(before, bad_line_items, |line_item, number| {
                line_item.pricing.amount = Micros(i64::try_from(1_000 + number % 39_000).expect("a bid") * 1_000);
                // Each asks for much that listeners have, and for one thing that none has.
                let nobodys = has(Attribute::City, vec![format!("nowhere/{}", number % 1_000)]);
                line_item.targeting = Expression::All(vec![line_item.targeting.clone(), nobodys]);
            }),
            Self::OnlyCapsDiffer => theirs(before, bad_line_items, only_a_cap),
            Self::OnlyCapsDifferAndAllAreReached => {
                let (stage, mut breaks) = theirs(before, bad_line_items, only_a_cap);
                for one in &mut breaks {
                    one.listener.exposures = (0..).take(256).map(|number| heard(number, one)).collect();
                }
                (stage, breaks)
            }
        }
    }
}

/// The first cap is the line item's own, another for each; the second is the campaign's, and what a listener has heard reaches it.
fn only_a_cap(line_item: &mut LineItem, number: u128) {
    line_item.targeting = Expression::everybody();
    let cap = |scope, max, window_ms| FrequencyCap {
        scope,
        max,
        window: CapWindow::Sliding(window_ms),
        strictness: Strictness::Soft,
    };
    let window_ms = 60_000 * (1 + u64::try_from(number).expect("far fewer") % 40_000);
    line_item.caps = vec![cap(CapScope::LineItem, 3, window_ms), cap(CapScope::Campaign, 200, 86_400_000)];
}

fn heard(number: u32, one: &Break) -> Exposure {
    Exposure {
        impression_id: ImpressionId::Unleased { decision_id: DecisionId::from_u128(u128::from(number)), slot: 0 },
        at: one.at.plus_ms(-3_600_000 + i64::from(number)),
        advertiser_id: AdvertiserId::from_u128(77),
        campaign_id: CampaignId::from_u128(77),
        line_item_id: LineItemId::from_u128(u128::from(number) << 64),
        creative_id: CreativeId::from_u128(77),
        state: ExposureState::Heard,
    }
}

fn has(attribute: Attribute, any_of: Vec<String>) -> Expression {
    Expression::Is(Predicate::Has { attribute, any_of })
}

/// As many conjunctions as are allowed, nearly as many conditions in each as are, of segments that many listeners have.
fn worst_expression(number: u128) -> Expression {
    let segments =
        |from: u128| has(Attribute::Segment, (0..150).map(|of| format!("segment-{}", from + 7 * of)).collect());
    let choice = |from: u128| Expression::All((0..5).map(|of| segments(number % 7 + from + of)).collect());
    let levels = (0..6).map(|level| Expression::Any(vec![choice(level * 11), choice(level * 13 + 500)]));
    let expression = Expression::All(levels.collect());
    let form = normal_form(&expression).expect("it is allowed");
    assert!(form.len() > 32, "{} conjunctions", form.len());
    expression
}

fn many_segments(number: u128) -> Expression {
    let from = usize::try_from(number).expect("a hundred") * 7;
    has(Attribute::Segment, (from..from + SEGMENTS_OF_A_LINE_ITEM).map(|of| format!("segment-{of}")).collect())
}

fn values_of_nobody(number: u128) -> Expression {
    let nobodys = |attribute| has(attribute, (0..5_000).map(|of| format!("nobody-{number}-{of}")).collect());
    Expression::Any([Attribute::City, Attribute::Segment, Attribute::Genre, Attribute::DeviceType].map(nobodys).into())
}

/// Bad line items like the first of the catalogue, for it.
fn asking(catalogue: &ReferenceCatalogue, count: u128, targeting: impl Fn(u128) -> Expression) -> Vec<Entity> {
    let like = &catalogue.line_items[0];
    let one = |number| LineItem {
        id: LineItemId::from_u128(number + 1),
        tier: Tier::Auction,
        goal: None,
        pricing: Pricing { amount: BID, ..like.pricing },
        targeting: targeting(number),
        ..like.clone()
    };
    (0..count).map(|number| Entity::from(one(number))).collect()
}

/// A listener with far more than players may say.
fn large(one: &Break) -> Break {
    let mut bad = one.clone();
    let facts = &mut Arc::make_mut(&mut bad.request).facts;
    facts.segments = (0..SEGMENTS_OF_A_LISTENER).map(|of| format!("segment-{}", of * 3)).collect();
    facts.key_values = (0..KEY_VALUES_OF_A_LISTENER).map(|of| (format!("key-{}", of % 50), format!("v{of}"))).collect();
    bad
}

/// Another network with so many line items, made bad one by one, and breaks of its listeners.
fn theirs(before: &Stage, count: usize, make_bad: impl Fn(&mut LineItem, u128)) -> (Stage, Vec<Break>) {
    let catalogue = &before.catalogue;
    let network = Network { id: THEIR_NETWORK, ..catalogue.network.clone() };
    let (advertiser_id, campaign_id, creative_id) =
        (AdvertiserId::from_u128(77), CampaignId::from_u128(77), CreativeId::from_u128(77));
    let network_id = THEIR_NETWORK;
    let advertiser = Advertiser { id: advertiser_id, network_id, ..catalogue.advertisers[0].clone() };
    let campaign = Campaign { id: campaign_id, advertiser_id, network_id, ..catalogue.campaigns[0].clone() };
    let creative = Creative { id: creative_id, advertiser_id, network_id, ..catalogue.creatives[0].clone() };
    let mut more =
        vec![Entity::from(network), Entity::from(advertiser), Entity::from(campaign), Entity::from(creative)];
    let like = catalogue.line_items.iter().cycle().take(count);
    more.extend((0..).zip(like).map(|(number, like)| {
        let mut line_item = LineItem {
            id: LineItemId::from_u128((number + 1) << 64),
            network_id,
            advertiser_id,
            campaign_id,
            tier: Tier::Auction,
            goal: None,
            ..like.clone()
        };
        line_item.creatives[0].creative_id = creative_id;
        line_item.pricing.amount = Micros(5_000_000);
        make_bad(&mut line_item, number);
        Entity::from(line_item)
    }));
    let bad = before.ordinary.iter().take(BREAKS).cloned().map(|mut one| {
        Arc::make_mut(&mut one.request).network_id = network_id;
        one
    });
    (before.with(more), bad.collect())
}
