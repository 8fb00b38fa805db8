//! The reference items as a catalogue, and its listeners as requests.

use std::sync::Arc;

use super::Profile;
use super::items::{
    AGE, CITY, CONTEXT, COUNTRY, Clause, DEVICE, EXPLICIT, GENDER, HOUR, Item, LANGUAGE, Listener, PLATFORM, REGION,
    SEGMENT, Source,
};
use super::midday::{Standing, bids_by_narrowness, standing};
use crate::catalog::Entity;
use crate::model::{
    AdBreakRequest, Advertiser, AdvertiserId, App, AppKey, Approval, AudioFormat, Avoidance, BreakPosition, BreakSpec,
    Budget, Campaign, CampaignId, CapScope, CapWindow, ConsentScope, Creative, CreativeChoice, CreativeId, Facts,
    Flight, FrequencyCap, Goal, LineItem, LineItemId, ListenerKey, Micros, Network, NetworkId, PacingMode, Placement,
    PlacementKey, PriceModel, Pricing, Rendition, RenditionSource, RequestId, Status, Strictness, Subscription, Tier,
    WallMs, Zone,
};
use crate::targeting::{AgeRange, Attribute, DaypartZone, Expression, Predicate, WeekHours};
use crate::workload::Draws;
use crate::workload::draws::whole;

/// Monday 2026-01-05T00:00:00Z: hour 0 of the week in which every reference break lies.
pub const WEEK_START: WallMs = WallMs(1_767_571_200_000);
/// Flights last from a week before [`WEEK_START`] to three weeks after.
const WEEK_MS: i64 = 7 * 86_400_000;
/// Line items that share a campaign, in order.
const LINE_ITEMS_A_CAMPAIGN: usize = 5;
/// Campaigns that share an advertiser, in order.
const CAMPAIGNS_AN_ADVERTISER: usize = 4;
/// Ages that each of the eight age classes covers.
const AGE_CLASSES: [(u8, u8); 8] = [(13, 17), (18, 24), (25, 34), (35, 44), (45, 54), (55, 64), (65, 74), (75, 120)];
const GENDERS: [&str; 3] = ["female", "male", "other"];
const PLATFORMS: [&str; 8] = ["ios", "android", "web", "desktop", "tv", "speaker", "car", "console"];
/// Product categories; an advertiser has one.
const CATEGORIES: u32 = 40;
const APP: &str = "reference-app";
const PLACEMENT: &str = "reference-break";

/// Streams of one seed, so that more line items don't change the listeners.
const STREAM_ITEMS: u64 = 1;
const STREAM_LISTENERS: u64 = 2;
const STREAM_BUSINESS: u64 = 3;
const STREAM_STANDING: u64 = 4;

/// A catalogue of reference line items, with what stands around them.
#[derive(Clone, PartialEq, Debug)]
pub struct ReferenceCatalogue {
    /// The one network.
    pub network: Network,
    /// One for each 20 line items.
    pub advertisers: Vec<Advertiser>,
    /// One for each 5 line items.
    pub campaigns: Vec<Campaign>,
    /// One a campaign.
    pub creatives: Vec<Creative>,
    /// As many as were asked for.
    pub line_items: Vec<LineItem>,
    /// Throttle and lease of each line item, by position; unthrottled and leased except in [`Profile::Midday`].
    pub standings: Vec<Standing>,
}

impl ReferenceCatalogue {
    /// `count` line items of the profile, up to a million or what memory holds (about 3 KB each).
    #[must_use]
    pub fn generate(profile: Profile, count: usize, seed: u64) -> Self {
        let source = Source::new();
        let mut draws = Draws::new(seed, STREAM_ITEMS);
        let items: Vec<Item> = (0..count).map(|index| source.item(profile.kind_at(index), &mut draws)).collect();
        let mut business = Draws::new(seed, STREAM_BUSINESS);
        let bids = match profile {
            Profile::Midday => bids_by_narrowness(&items, &mut business),
            Profile::Broad | Profile::Selective | Profile::Rare => (0..count).map(|_| bid(business.unit())).collect(),
        };
        let mut standings = Draws::new(seed, STREAM_STANDING);
        let mut catalogue = Self {
            network: network(),
            advertisers: Vec::new(),
            campaigns: Vec::new(),
            creatives: Vec::new(),
            line_items: Vec::with_capacity(count),
            standings: (0..count).map(|_| standing(profile, &mut standings)).collect(),
        };
        for (index, (item, cpm)) in items.into_iter().zip(bids).enumerate() {
            if index.is_multiple_of(LINE_ITEMS_A_CAMPAIGN * CAMPAIGNS_AN_ADVERTISER) {
                catalogue.advertisers.push(advertiser(catalogue.network.id, index, &mut business));
            }
            let advertiser = catalogue.advertisers.last().expect("the first line item brings the first advertiser");
            if index.is_multiple_of(LINE_ITEMS_A_CAMPAIGN) {
                let campaign = campaign(advertiser, index, &mut business);
                catalogue.creatives.push(creative(advertiser, index, &mut business));
                catalogue.campaigns.push(campaign);
            }
            let campaign = catalogue.campaigns.last().expect("the first line item brings the first campaign");
            let creative = catalogue.creatives.last().expect("a campaign brings its creative");
            let line_item = line_item(index, &item, cpm, campaign, creative.id, &mut business);
            catalogue.line_items.push(line_item);
        }
        catalogue
    }

    /// All of it for the catalogue: each entity after those that it belongs to.
    #[must_use]
    pub fn into_entities(self) -> Vec<Entity> {
        std::iter::once(Entity::from(self.network))
            .chain(self.advertisers.into_iter().map(Entity::from))
            .chain(self.campaigns.into_iter().map(Entity::from))
            .chain(self.creatives.into_iter().map(Entity::from))
            .chain(self.line_items.into_iter().map(Entity::from))
            .collect()
    }

    /// `count` breaks of the profile's listeners, each at its moment.
    #[must_use]
    pub fn breaks(profile: Profile, count: usize, seed: u64) -> Vec<ReferenceBreak> {
        let source = Source::new();
        let mut draws = Draws::new(seed, STREAM_LISTENERS);
        (0..count).map(|index| reference_break(&source.listener(profile.listeners(), &mut draws), index)).collect()
    }
}

/// A request and the moment at which it is made; the moment gives the hour of the week.
#[derive(Clone, PartialEq, Debug)]
pub struct ReferenceBreak {
    /// The request, of a listener in UTC.
    pub request: Arc<AdBreakRequest>,
    /// The moment.
    pub at: WallMs,
}

/// The listener as a request for a break of up to three ads and 90 seconds; `index` names listener and request.
#[must_use]
pub fn reference_break(listener: &Listener, index: usize) -> ReferenceBreak {
    let value = |attribute: usize| listener.values[attribute][0];
    let (from, to) = AGE_CLASSES[value(AGE) as usize];
    let facts = Facts {
        country: Some(country(value(COUNTRY))),
        region: Some(region(value(REGION))),
        city: Some(city(value(CITY))),
        language: Some(language(value(LANGUAGE))),
        age: Some(u8::midpoint(from, to)),
        gender: Some(GENDERS[value(GENDER) as usize].to_owned()),
        platform: Some(PLATFORMS[value(PLATFORM) as usize].to_owned()),
        device_type: Some(device(value(DEVICE))),
        genres: listener.values[CONTEXT].iter().copied().map(context).collect(),
        segments: listener.values[SEGMENT].iter().copied().map(segment).collect(),
        explicit: Some(value(EXPLICIT) == 1),
        zone: Some(Zone::utc()),
        ..Facts::default()
    };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(index as u64).to_be_bytes());
    let request = AdBreakRequest {
        network_id: network_id(),
        request_id: RequestId::new(&format!("reference-{index}")).expect("plain ASCII"),
        listener_key: ListenerKey(key),
        app: AppKey::new(APP).expect("plain ASCII"),
        placement: PlacementKey::new(PLACEMENT).expect("plain ASCII"),
        spec: BreakSpec {
            max_duration_ms: 90_000,
            max_ads: 3,
            position: BreakPosition::MidRoll,
            formats: Vec::new(),
            companion_sizes: Vec::new(),
        },
        facts,
        consent: ConsentScope::Personal,
        child: false,
        subscription: Subscription::Free,
        since_last_break_ms: None,
        prefetch: false,
        preview: None,
    };
    ReferenceBreak {
        request: Arc::new(request),
        at: WEEK_START.plus_ms(i64::from(value(HOUR)) * 3_600_000 + 1_800_000),
    }
}

/// The reference CPM at a quantile from 0 to 1: log-uniform from 1 to 40 units, in whole thousands of micros.
pub(super) fn bid(quantile: f64) -> Micros {
    Micros(whole(1_000.0 * 40_f64.powf(quantile)) * 1_000)
}

fn country(value: u32) -> String {
    let letter = |offset: u32| char::from_u32(u32::from(b'a') + offset).expect("a letter");
    [letter(value / 26), letter(value % 26)].iter().collect()
}

fn region(value: u32) -> String {
    format!("{}-{}", country(value / 10), value % 10)
}

fn city(value: u32) -> String {
    format!("{}/city-{value}", country(value / 50))
}

fn language(value: u32) -> String {
    let letter = |offset: u32| char::from_u32(u32::from(b'a') + offset).expect("a letter");
    ['q', letter(value / 26), letter(value % 26)].iter().collect()
}

fn device(value: u32) -> String {
    format!("device-{value}")
}

fn context(value: u32) -> String {
    format!("genre-{value}")
}

fn segment(value: u32) -> String {
    format!("segment-{value}")
}

/// The clauses as an expression: what [`Item::matches`] says of a listener, the expression says of [`reference_break`].
fn expression(item: &Item) -> Expression {
    Expression::All(item.clauses.iter().map(clause).collect())
}

fn clause(clause: &Clause) -> Expression {
    let values = &clause.values;
    let has = |attribute, name: fn(u32) -> String| Predicate::Has {
        attribute,
        any_of: values.iter().copied().map(name).collect(),
    };
    let predicate = match clause.attribute {
        COUNTRY => has(Attribute::Country, country),
        REGION => has(Attribute::Region, region),
        CITY => has(Attribute::City, city),
        AGE => Predicate::Age { any_of: values.iter().map(|&class| age_range(class)).collect() },
        GENDER => has(Attribute::Gender, |value| GENDERS[value as usize].to_owned()),
        PLATFORM => has(Attribute::Platform, |value| PLATFORMS[value as usize].to_owned()),
        DEVICE => has(Attribute::DeviceType, device),
        CONTEXT => has(Attribute::Genre, context),
        SEGMENT => has(Attribute::Segment, segment),
        HOUR => {
            let hours: WeekHours = values.iter().filter_map(|&hour| u8::try_from(hour).ok()).collect();
            Predicate::Daypart { zone: DaypartZone::Listener, hours }
        }
        LANGUAGE => has(Attribute::Language, language),
        EXPLICIT => Predicate::Explicit(values[0] == 1),
        other => unreachable!("attribute {other} is one of the twelve"),
    };
    if clause.negated { Expression::Not(Box::new(Expression::Is(predicate))) } else { Expression::Is(predicate) }
}

fn age_range(class: u32) -> AgeRange {
    let (from, to) = AGE_CLASSES[class as usize];
    AgeRange { from, to }
}

fn network_id() -> NetworkId {
    NetworkId::at(WEEK_START, [1; 10])
}

fn network() -> Network {
    Network {
        id: network_id(),
        name: "Reference".to_owned(),
        currency: "EUR".to_owned(),
        floor_cpm: Micros(500_000),
        approve_creatives: false,
        apps: vec![App { key: AppKey::new(APP).expect("plain ASCII"), name: "Reference player".to_owned() }],
        placements: vec![Placement {
            key: PlacementKey::new(PLACEMENT).expect("plain ASCII"),
            name: "Between tracks".to_owned(),
            floor_cpm: Micros::ZERO,
            max_duration_ms: 120_000,
            max_ads: 4,
            cadence_ms: 0,
            token_life_ms: 3_600_000,
            impression_at_start: false,
        }],
    }
}

fn advertiser(network_id: NetworkId, index: usize, draws: &mut Draws) -> Advertiser {
    Advertiser {
        id: AdvertiserId::at(WEEK_START, draws.bytes()),
        network_id,
        name: format!("Advertiser {index}"),
        status: Status::Active,
        budget: Budget::default(),
        zone: Zone::utc(),
        caps: Vec::new(),
    }
}

fn campaign(advertiser: &Advertiser, index: usize, draws: &mut Draws) -> Campaign {
    Campaign {
        id: CampaignId::at(WEEK_START, draws.bytes()),
        advertiser_id: advertiser.id,
        network_id: advertiser.network_id,
        name: format!("Campaign {index}"),
        status: Status::Active,
        budget: Budget::default(),
        caps: Vec::new(),
    }
}

fn creative(advertiser: &Advertiser, index: usize, draws: &mut Draws) -> Creative {
    Creative {
        id: CreativeId::at(WEEK_START, draws.bytes()),
        advertiser_id: advertiser.id,
        network_id: advertiser.network_id,
        name: format!("Creative {index}"),
        status: Status::Active,
        approval: Approval::Approved,
        duration_ms: *draws.pick(&[10_000, 15_000, 20_000, 30_000, 30_000]),
        explicit: false,
        renditions: vec![Rendition {
            format: AudioFormat::Mp3,
            bitrate_kbps: 128,
            source: RenditionSource::Url(format!("https://media.example/{index}.mp3")),
        }],
        click_url: None,
    }
}

fn line_item(
    index: usize,
    item: &Item,
    cpm: Micros,
    campaign: &Campaign,
    creative_id: CreativeId,
    draws: &mut Draws,
) -> LineItem {
    // The rank is the tier, then the worth: the tier follows the bid, so that narrower line items stay higher at midday.
    let tier = match cpm.0 {
        ..1_040_000 => Tier::House,
        38_000_000.. => Tier::Guaranteed,
        _ => Tier::Auction,
    };
    let amount = if tier == Tier::House { Micros::ZERO } else { cpm };
    let category = campaign.advertiser_id.as_u128() % u128::from(CATEGORIES);
    LineItem {
        id: LineItemId::at(WEEK_START, draws.bytes()),
        campaign_id: campaign.id,
        advertiser_id: campaign.advertiser_id,
        network_id: campaign.network_id,
        name: format!("Line item {index}"),
        status: Status::Active,
        flight: Flight { start: WEEK_START.plus_ms(-WEEK_MS), end: WEEK_START.plus_ms(3 * WEEK_MS), zone: Zone::utc() },
        tier,
        pricing: Pricing { model: PriceModel::Cpm, amount },
        budget: Budget { lifetime: Some(Micros(1_000_000_000)), daily: None },
        goal: (tier == Tier::Guaranteed).then_some(Goal { impressions: 1_000_000, daily_impressions: None }),
        share_of_voice: None,
        pacing: PacingMode::Even,
        targeting: expression(item),
        caps: vec![FrequencyCap {
            scope: CapScope::LineItem,
            max: 3,
            window: CapWindow::Sliding(86_400_000),
            strictness: Strictness::Soft,
        }],
        category: Some(format!("category-{category}")),
        excluded_categories: Vec::new(),
        avoid: Avoidance::default(),
        creatives: vec![CreativeChoice { creative_id, weight: 1 }],
        trackers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_catalogue_and_listeners() {
        for profile in Profile::ALL {
            let first = ReferenceCatalogue::generate(profile, 200, 7);
            assert_eq!(first, ReferenceCatalogue::generate(profile, 200, 7), "{}", profile.name());
            assert_ne!(first, ReferenceCatalogue::generate(profile, 200, 8), "{}", profile.name());
            assert_eq!(ReferenceCatalogue::breaks(profile, 50, 7), ReferenceCatalogue::breaks(profile, 50, 7));
            assert_eq!((first.advertisers.len(), first.campaigns.len(), first.creatives.len()), (10, 40, 40));
            assert!(first.line_items.iter().all(|item| item.pricing.amount.0 % 1_000 == 0));
        }
    }

    #[test]
    fn a_listeners_hour_is_the_hour_of_its_break() {
        let source = Source::new();
        let mut draws = Draws::new(3, 0);
        for index in 0..500 {
            let listener = source.listener(super::super::ListenerKind::Common, &mut draws);
            let made = reference_break(&listener, index);
            assert_eq!(u32::from(Zone::utc().hour_of_week(made.at)), listener.values[HOUR][0]);
        }
    }
}
