//! Who sells what, for how much, and how often one listener may hear it.

use super::audience::{self, Audience};
use super::words::{GENRES, SECTORS, Sector};
use super::{CADENCE_MS, POD_MAX_ADS, POD_MAX_MS, TOKEN_LIFE_MS, World};
use crate::model::{
    Advertiser, AdvertiserId, Approval, AudioFormat, Avoidance, Budget, Campaign, CampaignId, CapScope, CapWindow,
    Creative, CreativeChoice, CreativeId, Flight, FrequencyCap, Goal, LineItem, LineItemId, Micros, Network,
    PacingMode, PriceModel, Pricing, Rendition, RenditionSource, ShareOfVoice, Status, Strictness, Tier, WallMs, Zone,
};
use crate::workload::Draws;
use crate::workload::draws::whole;

const CAMPAIGNS_A_BRAND: usize = 6;
const LINE_ITEMS_A_CAMPAIGN: usize = 6;
/// House ads: the network's own, of several lengths, for whatever room is left.
const HOUSE_DURATIONS_MS: [u32; 8] = [10_000, 15_000, 20_000, 30_000, 10_000, 15_000, 20_000, 30_000];
/// Countries that sponsors buy a genre in. Few sponsors a pair, so that no overlap of theirs passes the whole voice.
const SPONSORED_COUNTRIES: [&str; 8] = ["se", "gb", "de", "us", "fr", "br", "es", "jp"];
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// Share of line items that are contracts with a goal.
const GUARANTEED_SHARE: f64 = 0.10;
/// Share of the other line items that spend as fast as they can, and how much more they have to spend.
const HASTY_SHARE: f64 = 0.03;
const HASTY_TIMES: u64 = 10;
/// Every so many line items the cap of its own is a strict one, if it has one.
const STRICT_EVERY: usize = 12;
/// Every so many campaigns the same.
const STRICT_CAMPAIGN_EVERY: usize = 25;
/// Longest description of an audience in a line item's name, in characters.
const LABEL_CHARS_MAX: usize = 120;
/// How many places of the genre list sponsors buy.
const SPONSORED_GENRES: usize = 4;

/// The whole catalogue.
pub(super) fn world(network: Network, start: WallMs, draws: &mut Draws) -> World {
    let mut world = World {
        network: dressed(network),
        advertisers: Vec::new(),
        campaigns: Vec::new(),
        creatives: Vec::new(),
        line_items: Vec::new(),
    };
    let mut maker = Maker { world: &mut world, start, draws };
    maker.house();
    for sector in &SECTORS {
        for brand in sector.brands {
            maker.brand(sector, brand);
        }
    }
    maker.sponsors();
    world
}

/// The network under the world's rules.
fn dressed(mut network: Network) -> Network {
    "Aurora Music".clone_into(&mut network.name);
    network.floor_cpm = Micros(1_000_000);
    let placement = network.placements.first_mut().expect("a network to play on has a placement");
    placement.max_duration_ms = POD_MAX_MS;
    placement.max_ads = POD_MAX_ADS;
    placement.cadence_ms = CADENCE_MS;
    placement.token_life_ms = TOKEN_LIFE_MS;
    placement.impression_at_start = false;
    network
}

struct Maker<'w> {
    world: &'w mut World,
    start: WallMs,
    draws: &'w mut Draws,
}

/// What a line item of a campaign is made from.
struct Sold {
    tier: Tier,
    audience: Audience,
    cpm: Micros,
    goal: Option<Goal>,
    budget: Budget,
    share_of_voice: Option<ShareOfVoice>,
    pacing: PacingMode,
}

impl Maker<'_> {
    /// The network's own advertiser: no price, no cap, so that a break is never empty for want of an ad.
    fn house(&mut self) {
        let advertiser = self.advertiser("Aurora Music", Budget::default(), Vec::new());
        let campaign = self.campaign(advertiser, "Try Premium", Vec::new());
        for (index, duration_ms) in HOUSE_DURATIONS_MS.into_iter().enumerate() {
            // One advertiser fills one slot of a pod; the second half belongs to a sister label, so that two house ads can follow.
            let (advertiser, campaign) =
                if index < HOUSE_DURATIONS_MS.len() / 2 { (advertiser, campaign) } else { self.sister_label(index) };
            let creative = self.creative(advertiser, "Aurora Music", "Premium", duration_ms);
            let sold = Sold {
                tier: Tier::House,
                audience: audience::everybody(),
                cpm: Micros::ZERO,
                goal: None,
                budget: Budget::default(),
                share_of_voice: None,
                pacing: PacingMode::AsFastAsPossible,
            };
            let mut item = self.line_item(campaign, &format!("House {}", index + 1), sold, &[creative]);
            item.caps.clear();
            item.category = None;
            self.world.line_items.push(item);
        }
    }

    fn sister_label(&mut self, index: usize) -> (AdvertiserId, usize) {
        let advertiser = self.advertiser(&format!("Aurora Live {}", index + 1), Budget::default(), Vec::new());
        (advertiser, self.campaign(advertiser, "Concerts near you", Vec::new()))
    }

    fn brand(&mut self, sector: &Sector, brand: &str) {
        let budget = if self.draws.chance(0.2) { money(self.draws.between(2_000, 20_000)) } else { Budget::default() };
        let caps =
            if self.draws.chance(0.4) { vec![self.cap(CapScope::Advertiser, &[2, 3, 4], &[30, 60])] } else { vec![] };
        let advertiser = self.advertiser(brand, budget, caps);
        for number in 0..CAMPAIGNS_A_BRAND {
            let theme = sector.themes[number % sector.themes.len()];
            let name = if number < sector.themes.len() { theme.to_owned() } else { format!("{theme} II") };
            let caps = if self.draws.chance(0.5) {
                vec![self.cap(CapScope::Campaign, &[1, 2, 3], &[15, 30, 60])]
            } else {
                vec![]
            };
            let campaign = self.campaign(advertiser, &name, caps);
            if campaign.is_multiple_of(STRICT_CAMPAIGN_EVERY) {
                for cap in &mut self.world.campaigns[campaign].caps {
                    cap.strictness = Strictness::Strict;
                }
            }
            let creatives = self.creatives(advertiser, brand, theme);
            for _ in 0..LINE_ITEMS_A_CAMPAIGN {
                let sold = self.sold();
                let label = sold.audience.label.clone();
                let mut item = self.line_item(campaign, &label, sold, &creatives);
                item.category = Some(sector.category.to_owned());
                if self.draws.chance(0.6) {
                    item.excluded_categories.extend(sector.excludes.map(str::to_owned));
                }
                item.avoid = self.avoidance(sector);
                self.world.line_items.push(item);
            }
        }
    }

    /// One or two sponsors for each pair of a few countries and genres.
    fn sponsors(&mut self) {
        let first_brand = HOUSE_DURATIONS_MS.len() / 2 + 1;
        for country in SPONSORED_COUNTRIES {
            for genre in &GENRES[..SPONSORED_GENRES] {
                for _ in 0..self.draws.between(1, 2) {
                    let brands = &self.world.campaigns[first_brand..];
                    let campaign = first_brand + self.draws.index(brands.len());
                    let advertiser = self.world.campaigns[campaign].advertiser_id;
                    let category = self.category_of(campaign);
                    let creative = self.creative(advertiser, "Sponsor", genre, 15_000);
                    let basis_points = u16::try_from(self.draws.between(5, 20) * 100).expect("at most 2,000");
                    let sold = Sold {
                        tier: Tier::Sponsorship,
                        audience: audience::genre_in_country(country, genre),
                        cpm: self.cpm(18.0, 30.0),
                        goal: None,
                        budget: money(self.draws.between(500, 5_000)),
                        share_of_voice: Some(ShareOfVoice { basis_points }),
                        pacing: PacingMode::AsFastAsPossible,
                    };
                    let label = format!("Sponsor of {}", sold.audience.label);
                    let mut item = self.line_item(campaign, &label, sold, &[creative]);
                    item.category = category;
                    self.world.line_items.push(item);
                }
            }
        }
    }

    fn category_of(&self, campaign: usize) -> Option<String> {
        let id = self.world.campaigns[campaign].id;
        self.world.line_items.iter().find(|item| item.campaign_id == id).and_then(|item| item.category.clone())
    }

    /// Tier, audience, price, how much of it and how fast.
    fn sold(&mut self) -> Sold {
        let audience = audience::drawn(self.draws);
        let even = PacingMode::Even;
        if self.draws.chance(GUARANTEED_SHARE) {
            let goal = Goal { impressions: self.quantity(), daily_impressions: None };
            let cpm = self.cpm(6.0, 20.0);
            // A contract's budget is its goal at its price: the goal is what binds.
            let budget = Budget { lifetime: cost(cpm, goal.impressions), daily: None };
            let goal = Some(goal);
            return Sold { tier: Tier::Guaranteed, audience, cpm, goal, budget, share_of_voice: None, pacing: even };
        }
        let cpm = self.cpm(1.5, 16.0);
        let (quantity, pacing) = if self.draws.chance(HASTY_SHARE) {
            (self.quantity() * HASTY_TIMES, PacingMode::AsFastAsPossible)
        } else {
            (self.quantity(), even)
        };
        let budget = Budget { lifetime: cost(cpm, quantity), daily: None };
        Sold { tier: Tier::Auction, audience, cpm, goal: None, budget, share_of_voice: None, pacing }
    }

    /// Impressions over a flight of two weeks, log-uniform: from one in five hours to one in three minutes. Together somewhat less than the
    /// slots that a few hundred listeners have, so that the house has its share.
    fn quantity(&mut self) -> u64 {
        u64::try_from(whole(self.draws.log_uniform(60.0, 6_000.0))).expect("positive")
    }

    /// A CPM in cents, log-uniform.
    fn cpm(&mut self, low: f64, high: f64) -> Micros {
        Micros(whole(self.draws.log_uniform(low, high) * 100.0) * 10_000)
    }

    fn cap(&mut self, scope: CapScope, most: &[u16], minutes: &[u64]) -> FrequencyCap {
        let window = CapWindow::Sliding(*self.draws.pick(minutes) * 60_000);
        FrequencyCap { scope, max: *self.draws.pick(most), window, strictness: Strictness::Soft }
    }

    fn avoidance(&mut self, sector: &Sector) -> Avoidance {
        Avoidance {
            explicit: self.draws.chance(if sector.family { 0.35 } else { 0.05 }),
            content_categories: if self.draws.chance(0.08) { vec!["iab23".to_owned()] } else { Vec::new() },
            genres: if self.draws.chance(0.10) { vec!["metal".to_owned(), "punk".to_owned()] } else { Vec::new() },
        }
    }

    fn advertiser(&mut self, name: &str, budget: Budget, caps: Vec<FrequencyCap>) -> AdvertiserId {
        let id = AdvertiserId::at(self.start, self.draws.bytes());
        let zone = zone(audience::some_city(self.draws).zone);
        let network_id = self.world.network.id;
        let name = name.to_owned();
        self.world.advertisers.push(Advertiser { id, network_id, name, status: Status::Active, budget, zone, caps });
        id
    }

    /// The position of the new campaign.
    fn campaign(&mut self, advertiser_id: AdvertiserId, name: &str, caps: Vec<FrequencyCap>) -> usize {
        self.world.campaigns.push(Campaign {
            id: CampaignId::at(self.start, self.draws.bytes()),
            advertiser_id,
            network_id: self.world.network.id,
            name: name.to_owned(),
            status: Status::Active,
            budget: Budget::default(),
            caps,
        });
        self.world.campaigns.len() - 1
    }

    fn creatives(&mut self, advertiser: AdvertiserId, brand: &str, theme: &str) -> Vec<CreativeId> {
        let count = self.draws.between(1, 3) as usize;
        let mut durations = [15_000, 20_000, 25_000, 30_000];
        self.draws.shuffle(&mut durations);
        durations[..count].iter().map(|&duration_ms| self.creative(advertiser, brand, theme, duration_ms)).collect()
    }

    fn creative(&mut self, advertiser_id: AdvertiserId, brand: &str, theme: &str, duration_ms: u32) -> CreativeId {
        let id = CreativeId::at(self.start, self.draws.bytes());
        let seconds = duration_ms / 1_000;
        let rendition = |format, bitrate_kbps, ending: &str| Rendition {
            format,
            bitrate_kbps,
            source: RenditionSource::Url(format!(
                "https://media.example/{}-{}-{seconds}s.{ending}",
                slug(brand),
                slug(theme)
            )),
        };
        self.world.creatives.push(Creative {
            id,
            advertiser_id,
            network_id: self.world.network.id,
            name: format!("{theme} {seconds} s"),
            status: Status::Active,
            approval: Approval::Approved,
            duration_ms,
            explicit: false,
            renditions: vec![
                rendition(AudioFormat::Mp3, 128, "mp3"),
                rendition(AudioFormat::OggVorbis, 96, "ogg"),
                rendition(AudioFormat::Aac, 128, "m4a"),
            ],
            click_url: Some(format!("https://{}.example/", slug(brand))),
        });
        id
    }

    /// A line item of the campaign at that position, with caps of its own and nothing that goes with a sector.
    fn line_item(&mut self, campaign: usize, label: &str, sold: Sold, creatives: &[CreativeId]) -> LineItem {
        let Campaign { id: campaign_id, advertiser_id, network_id, .. } = self.world.campaigns[campaign];
        let label: String = label.chars().take(LABEL_CHARS_MAX).collect();
        let name = format!("{}: {label}", self.world.campaigns[campaign].name);
        let mut caps = Vec::new();
        if self.draws.chance(0.7) {
            caps.push(self.cap(CapScope::LineItem, &[1, 2, 3], &[10, 30, 60]));
        }
        if self.draws.chance(0.2) {
            caps.push(self.cap(CapScope::Creative, &[1, 2], &[10, 20]));
        }
        if self.world.line_items.len().is_multiple_of(STRICT_EVERY) {
            for cap in caps.iter_mut().filter(|cap| cap.scope == CapScope::LineItem) {
                cap.strictness = Strictness::Strict;
            }
        }
        let creatives = creatives.iter().map(|&creative_id| CreativeChoice { creative_id, weight: 1 }).collect();
        LineItem {
            id: LineItemId::at(self.start, self.draws.bytes()),
            campaign_id,
            advertiser_id,
            network_id,
            name,
            status: Status::Active,
            flight: self.flight(sold.tier),
            tier: sold.tier,
            pricing: Pricing { model: PriceModel::Cpm, amount: sold.cpm },
            budget: sold.budget,
            goal: sold.goal,
            share_of_voice: sold.share_of_voice,
            pacing: sold.pacing,
            targeting: sold.audience.expression,
            caps,
            category: None,
            excluded_categories: Vec::new(),
            avoid: Avoidance::default(),
            creatives,
            trackers: Vec::new(),
        }
    }

    /// Two weeks from the start for most; some have been running, end during the demo, or have not begun.
    fn flight(&mut self, tier: Tier) -> Flight {
        let (from, to) = if matches!(tier, Tier::House | Tier::Sponsorship) {
            (-DAY_MS, 30 * DAY_MS)
        } else {
            match self.draws.weighted(&[0.86, 0.05, 0.05, 0.04]) {
                0 => (0, 14 * DAY_MS),
                1 => (-2 * DAY_MS, 12 * DAY_MS),
                2 => (0, i64::from(self.draws.between(10, 40)) * MINUTE_MS),
                _ => (i64::from(self.draws.between(5, 60)) * MINUTE_MS, 14 * DAY_MS),
            }
        };
        let zone = zone(audience::some_city(self.draws).zone);
        Flight { start: self.start.plus_ms(from), end: self.start.plus_ms(to), zone }
    }
}

/// A lifetime budget in units of currency.
fn money(units: u32) -> Budget {
    Budget { lifetime: Some(Micros(i64::from(units) * 1_000_000)), daily: None }
}

/// What that many impressions cost.
fn cost(cpm: Micros, impressions: u64) -> Option<Micros> {
    Micros(cpm.0 / 1_000).times(u32::try_from(impressions).ok()?).ok()
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("the zones of the table exist: a test tries each")
}

/// Lower-case ASCII letters and digits with hyphens between words, for URLs.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_matches('-').to_owned()
}
