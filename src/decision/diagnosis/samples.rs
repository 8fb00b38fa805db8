//! One line item of 5.00 CPM that plays in every break, and what is around it, for tests to spoil.

use std::sync::Arc;

use super::{LevelMoney, SampledBreak, Standing, Tally, Verdict, blockers, tally, verdict};
use crate::catalog::{CatalogWriter, Entity, Snapshot};
use crate::decision::{Excluded, LeaseTerms, Scratch, Seed, Spending, survey};
use crate::model::*;
use crate::targeting::Expression;

pub(crate) const NOW: Now = Now { wall: WallMs(1_767_614_400_000), monotonic: MonotonicMs(5_000) };
pub(crate) const NETWORK: NetworkId = NetworkId::from_u128(1);
pub(crate) const LINE_ITEM: LineItemId = LineItemId::from_u128(40);
pub(crate) const RIVAL: LineItemId = LineItemId::from_u128(41);

/// The money of a line item on the server that decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Money {
    pub(crate) paused: bool,
    pub(crate) throttle: u64,
    /// Money and impressions of its lease.
    pub(crate) lease: Option<(i64, u32)>,
}

/// A line item with everything it hangs on.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) advertiser: Advertiser,
    pub(crate) campaign: Campaign,
    pub(crate) creative: Creative,
    pub(crate) line_item: LineItem,
    pub(crate) money: Money,
}

/// A catalogue, and a break.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) network: Network,
    pub(crate) own: Side,
    pub(crate) rival: Option<Side>,
    pub(crate) request: AdBreakRequest,
    pub(crate) listener: ListenerState,
    /// What the books say.
    pub(crate) books: Vec<LevelMoney>,
    /// Breaks sampled, each with another id.
    pub(crate) breaks: u32,
}

impl Side {
    fn new(line_item_id: LineItemId, number: u128) -> Self {
        let (advertiser_id, campaign_id) = (AdvertiserId::from_u128(number), CampaignId::from_u128(number));
        let creative_id = CreativeId::from_u128(number);
        let creative = Creative {
            id: creative_id,
            advertiser_id,
            network_id: NETWORK,
            name: "S".into(),
            status: Status::Active,
            approval: Approval::Approved,
            duration_ms: 30_000,
            explicit: false,
            renditions: vec![Rendition {
                format: AudioFormat::Mp3,
                bitrate_kbps: 128,
                source: RenditionSource::Url("https://cdn.example/a".into()),
            }],
            click_url: None,
        };
        let advertiser = Advertiser {
            id: advertiser_id,
            network_id: NETWORK,
            name: "A".into(),
            status: Status::Active,
            budget: Budget::default(),
            zone: Zone::utc(),
            caps: vec![],
        };
        let campaign = Campaign {
            id: campaign_id,
            advertiser_id,
            network_id: NETWORK,
            name: "C".into(),
            status: Status::Active,
            budget: Budget::default(),
            caps: vec![],
        };
        let line_item = LineItem {
            id: line_item_id,
            campaign_id,
            advertiser_id,
            network_id: NETWORK,
            name: "L".into(),
            status: Status::Active,
            flight: Flight {
                start: NOW.wall.plus_ms(-86_400_000),
                end: NOW.wall.plus_ms(86_400_000),
                zone: Zone::utc(),
            },
            tier: Tier::Auction,
            pricing: Pricing { model: PriceModel::Cpm, amount: Micros(5_000_000) },
            budget: Budget::default(),
            goal: None,
            share_of_voice: None,
            pacing: PacingMode::Even,
            targeting: Expression::everybody(),
            caps: vec![],
            category: None,
            excluded_categories: vec![],
            avoid: Avoidance::default(),
            creatives: vec![CreativeChoice { creative_id, weight: 1 }],
            trackers: vec![],
        };
        let money = Money { paused: false, throttle: u64::MAX, lease: Some((1_000_000, 100)) };
        Self { advertiser, campaign, creative, line_item, money }
    }

    fn entities(&self) -> [Entity; 4] {
        [
            Entity::from(self.advertiser.clone()),
            Entity::from(self.campaign.clone()),
            Entity::from(self.creative.clone()),
            Entity::from(self.line_item.clone()),
        ]
    }

    pub(crate) fn fund(&self, spending: &Spending, snapshot: &Snapshot) {
        let Some(slot) = snapshot.slot(self.line_item.id) else { return };
        spending.set_paused(slot, self.money.paused);
        spending.set_throttle(slot, self.money.throttle);
        if let Some((amount, max_ordinals)) = self.money.lease {
            let terms = LeaseTerms {
                lease_id: LeaseId::from_u128(self.line_item.id.as_u128()),
                amount: Micros(amount),
                max_ordinals,
                draw_until: MonotonicMs(u64::MAX),
                last_billable_until: NOW.wall.plus_ms(3_600_000),
            };
            spending.install_lease(slot, terms);
        }
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let placement = Placement {
            key: PlacementKey::new("p").expect("a key"),
            name: "P".into(),
            floor_cpm: Micros(0),
            max_duration_ms: 60_000,
            max_ads: 1,
            cadence_ms: 0,
            token_life_ms: 3_600_000,
            impression_at_start: false,
        };
        let network = Network {
            id: NETWORK,
            name: "N".into(),
            currency: "EUR".into(),
            floor_cpm: Micros(1_000_000),
            approve_creatives: true,
            apps: vec![],
            placements: vec![placement],
        };
        let listener = ListenerState::new(Pseudonym([7; 16]));
        let (own, request) = (Side::new(LINE_ITEM, 10), request());
        Self { network, own, rival: None, request, listener, books: vec![], breaks: 20 }
    }

    /// A line item of somebody else that pays more.
    pub(crate) fn rival(&mut self) -> &mut Side {
        let mut rival = Side::new(RIVAL, 11);
        rival.line_item.pricing.amount = Micros(6_500_000);
        self.rival.insert(rival)
    }

    /// The listener has heard the line item, a minute ago.
    pub(crate) fn heard(&mut self, change: impl FnOnce(&mut Exposure)) {
        let mut exposure = Exposure {
            impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(99), ordinal: 0 },
            at: NOW.wall.plus_ms(-60_000),
            advertiser_id: self.own.advertiser.id,
            campaign_id: self.own.campaign.id,
            line_item_id: LINE_ITEM,
            creative_id: self.own.creative.id,
            state: ExposureState::Heard,
        };
        change(&mut exposure);
        self.listener.exposures.push(exposure);
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let mut entities = vec![Entity::from(self.network.clone())];
        entities.extend(self.own.entities());
        entities.extend(self.rival.iter().flat_map(Side::entities));
        CatalogWriter::new().apply(1, entities)
    }

    /// The breaks as they are remembered.
    pub(crate) fn sampled(&self, snapshot: &Snapshot) -> Vec<Arc<SampledBreak>> {
        let spending = Spending::new();
        self.own.fund(&spending, snapshot);
        if let Some(rival) = &self.rival {
            rival.fund(&spending, snapshot);
        }
        let (none, mut scratch) = (Excluded::none(), Scratch::new());
        let one = |number: u32| {
            let request_id = RequestId::new(&format!("r{number}")).expect("an id");
            let request = Arc::new(AdBreakRequest { request_id, ..self.request.clone() });
            let (resolved, seed) = (snapshot.resolve(&request, NOW), Seed::of(&request));
            let decision =
                survey(snapshot, &resolved, &self.listener, &spending, &none, NOW, seed, &mut scratch).clone();
            Arc::new(SampledBreak::new(&request, &self.listener, NOW, 100, (snapshot, &decision)))
        };
        (0..self.breaks).map(one).collect()
    }

    /// The verdict on these breaks, with the line item as it is in the snapshot.
    pub(crate) fn judged(&self, snapshot: &Snapshot, sampled: &[Arc<SampledBreak>]) -> (Verdict, Tally) {
        let tally = tally(snapshot, LINE_ITEM, sampled).unwrap_or_default();
        let creatives: Vec<Arc<Creative>> =
            if self.own.line_item.creatives.is_empty() { vec![] } else { vec![Arc::new(self.own.creative.clone())] };
        let facts = Standing {
            line_item: &self.own.line_item,
            campaign: &self.own.campaign,
            advertiser: &self.own.advertiser,
            network: &self.network,
            creatives: &creatives,
            money: &self.books,
            now: NOW.wall,
        };
        (verdict(&blockers(&facts), Ok(&tally)), tally)
    }

    pub(crate) fn diagnose(&self) -> (Verdict, Tally) {
        let snapshot = self.snapshot();
        let sampled = self.sampled(&snapshot);
        self.judged(&snapshot, &sampled)
    }
}

pub(crate) fn request() -> AdBreakRequest {
    AdBreakRequest {
        network_id: NETWORK,
        request_id: RequestId::new("r").expect("an id"),
        listener_key: ListenerKey::of_account([3; 16]),
        app: AppKey::new("app").expect("a key"),
        placement: PlacementKey::new("p").expect("a key"),
        spec: BreakSpec {
            max_duration_ms: 60_000,
            max_ads: 4,
            position: BreakPosition::MidRoll,
            formats: vec![],
            companion_sizes: vec![],
        },
        facts: Facts {
            country: Some("se".into()),
            city: Some("se/stockholm".into()),
            postal_code: Some("se/11122".into()),
            platform: Some("ios".into()),
            genres: vec!["pop".into()],
            segments: vec!["runners".into()],
            zone: Some(Zone::utc()),
            ..Facts::default()
        },
        consent: ConsentScope::Personal,
        child: false,
        subscription: Subscription::Free,
        since_last_break_ms: None,
        prefetch: false,
        preview: None,
    }
}
