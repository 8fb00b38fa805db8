//! Documents ↔ entities: parts that several kinds share, and the small kinds.

use super::document::{Context, Document};
use super::rendition;
use super::wire::{
    AdvertiserDocument, AppBody, BudgetBody, CampaignDocument, CapBody, CreativeDocument, NetworkDocument,
    PlacementBody, WindowBody, WindowWord,
};
use crate::catalog::{Entity, EntityId, EntityKind, Revision};
use crate::model::{
    Advertiser, AdvertiserId, App, AppKey, Approval, AssetId, Budget, Campaign, CampaignId, CapWindow, Creative,
    CreativeId, FrequencyCap, Micros, Network, Placement, PlacementKey, WallMs, Zone,
};
use crate::roles::campaign::Faults;

/// The read-only fields that every document has, in the order id, revision, created, updated.
pub(super) struct Stamp {
    pub(super) id: Option<String>,
    pub(super) revision: Option<u64>,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
}

impl Stamp {
    pub(super) fn of(revision: &Revision) -> Self {
        Self {
            id: Some(revision.entity.id().to_string()),
            revision: Some(revision.number),
            created_at: Some(revision.created_at.to_rfc3339()),
            updated_at: Some(revision.at.to_rfc3339()),
        }
    }
}

/// The read-only fields of a document by name; each document names its own further ones.
macro_rules! read_only {
    ($document:expr $(, $field:ident)*) => {
        vec![
            ("id", $document.id.clone()),
            ("revision", $document.revision.map(|revision| revision.to_string())),
            ("created_at", $document.created_at.clone()),
            ("updated_at", $document.updated_at.clone()),
            $((stringify!($field), $document.$field.clone()),)*
        ]
    };
}
pub(super) use read_only;

impl Document for NetworkDocument {
    const KIND: EntityKind = EntityKind::Network;
    const PATH: &'static str = "/v1/networks";
    const PARENTS: &'static [(&'static str, EntityKind)] = &[];

    fn of(revision: &Revision) -> Option<Self> {
        let Entity::Network(network) = &revision.entity else { return None };
        let Stamp { id, revision, created_at, updated_at } = Stamp::of(revision);
        Some(Self {
            id,
            revision,
            created_at,
            updated_at,
            name: network.name.clone(),
            currency: network.currency.clone(),
            floor_cpm_micros: network.floor_cpm.0,
            approve_creatives: network.approve_creatives,
            apps: network
                .apps
                .iter()
                .map(|app| AppBody { key: app.key.as_str().to_owned(), name: app.name.clone() })
                .collect(),
            placements: network.placements.iter().map(PlacementBody::from).collect(),
        })
    }

    fn read_only(&self) -> Vec<(&'static str, Option<String>)> {
        read_only!(self)
    }

    fn entity(&self, context: &Context<'_>, faults: &mut Faults) -> Entity {
        const KEY: &str = "a key is 1 to 128 visible ASCII characters";
        let apps = self.apps.iter().enumerate().map(|(index, app)| {
            let key = AppKey::new(&app.key).unwrap_or_else(|| {
                faults.add(format!("apps[{index}].key"), "malformed", KEY);
                AppKey::new(&format!("?{index}")).expect("visible ASCII characters")
            });
            App { key, name: app.name.clone() }
        });
        let apps = apps.collect();
        let placements = self.placements.iter().enumerate().map(|(index, body)| {
            let key = PlacementKey::new(&body.key).unwrap_or_else(|| {
                faults.add(format!("placements[{index}].key"), "malformed", KEY);
                PlacementKey::new(&format!("?{index}")).expect("visible ASCII characters")
            });
            body.placement(key)
        });
        Entity::from(Network {
            id: context.network_id(),
            name: self.name.clone(),
            currency: self.currency.clone(),
            floor_cpm: Micros(self.floor_cpm_micros),
            approve_creatives: self.approve_creatives,
            apps,
            placements: placements.collect(),
        })
    }
}

impl From<&Placement> for PlacementBody {
    fn from(placement: &Placement) -> Self {
        Self {
            key: placement.key.as_str().to_owned(),
            name: placement.name.clone(),
            floor_cpm_micros: placement.floor_cpm.0,
            max_duration_ms: placement.max_duration_ms,
            max_ads: placement.max_ads,
            cadence_ms: placement.cadence_ms,
            token_life_ms: placement.token_life_ms,
            impression_at_start: placement.impression_at_start,
        }
    }
}

impl PlacementBody {
    fn placement(&self, key: PlacementKey) -> Placement {
        Placement {
            key,
            name: self.name.clone(),
            floor_cpm: Micros(self.floor_cpm_micros),
            max_duration_ms: self.max_duration_ms,
            max_ads: self.max_ads,
            cadence_ms: self.cadence_ms,
            token_life_ms: self.token_life_ms,
            impression_at_start: self.impression_at_start,
        }
    }
}

impl Document for AdvertiserDocument {
    const KIND: EntityKind = EntityKind::Advertiser;
    const PATH: &'static str = "/v1/advertisers";
    const PARENTS: &'static [(&'static str, EntityKind)] = &[];

    fn of(revision: &Revision) -> Option<Self> {
        let Entity::Advertiser(advertiser) = &revision.entity else { return None };
        let Stamp { id, revision, created_at, updated_at } = Stamp::of(revision);
        Some(Self {
            id,
            revision,
            created_at,
            updated_at,
            network_id: Some(advertiser.network_id.to_string()),
            name: advertiser.name.clone(),
            status: advertiser.status.into(),
            budget: advertiser.budget.into(),
            zone: advertiser.zone.name().to_owned(),
            caps: caps_of(&advertiser.caps),
        })
    }

    fn read_only(&self) -> Vec<(&'static str, Option<String>)> {
        read_only!(self, network_id)
    }

    fn entity(&self, context: &Context<'_>, faults: &mut Faults) -> Entity {
        let id = match context.id {
            EntityId::Advertiser(id) => id,
            _ => AdvertiserId::from_u128(0),
        };
        Entity::from(Advertiser {
            id,
            network_id: context.network_id(),
            name: self.name.clone(),
            status: self.status.into(),
            budget: self.budget.into(),
            zone: read_zone("zone", &self.zone, faults),
            caps: read_caps(&self.caps, faults),
        })
    }
}

impl Document for CampaignDocument {
    const KIND: EntityKind = EntityKind::Campaign;
    const PATH: &'static str = "/v1/campaigns";
    const PARENTS: &'static [(&'static str, EntityKind)] = &[("advertiser_id", EntityKind::Advertiser)];

    fn of(revision: &Revision) -> Option<Self> {
        let Entity::Campaign(campaign) = &revision.entity else { return None };
        let Stamp { id, revision, created_at, updated_at } = Stamp::of(revision);
        Some(Self {
            id,
            revision,
            created_at,
            updated_at,
            network_id: Some(campaign.network_id.to_string()),
            advertiser_id: Some(campaign.advertiser_id.to_string()),
            name: campaign.name.clone(),
            status: campaign.status.into(),
            budget: campaign.budget.into(),
            caps: caps_of(&campaign.caps),
        })
    }

    fn read_only(&self) -> Vec<(&'static str, Option<String>)> {
        read_only!(self, network_id)
    }

    fn names(&self) -> Vec<EntityId> {
        let advertiser = self.advertiser_id.as_deref().and_then(|text| text.parse().ok());
        advertiser.map(EntityId::Advertiser).into_iter().collect()
    }

    fn entity(&self, context: &Context<'_>, faults: &mut Faults) -> Entity {
        let id = match context.id {
            EntityId::Campaign(id) => id,
            _ => CampaignId::from_u128(0),
        };
        Entity::from(Campaign {
            id,
            advertiser_id: context.advertiser_id(self.advertiser_id.as_deref(), faults),
            network_id: context.network_id(),
            name: self.name.clone(),
            status: self.status.into(),
            budget: self.budget.into(),
            caps: read_caps(&self.caps, faults),
        })
    }
}

impl Document for CreativeDocument {
    const KIND: EntityKind = EntityKind::Creative;
    const PATH: &'static str = "/v1/creatives";
    const PARENTS: &'static [(&'static str, EntityKind)] = &[("advertiser_id", EntityKind::Advertiser)];

    fn of(revision: &Revision) -> Option<Self> {
        let Entity::Creative(creative) = &revision.entity else { return None };
        let Stamp { id, revision, created_at, updated_at } = Stamp::of(revision);
        Some(Self {
            id,
            revision,
            created_at,
            updated_at,
            network_id: Some(creative.network_id.to_string()),
            advertiser_id: Some(creative.advertiser_id.to_string()),
            name: creative.name.clone(),
            status: creative.status.into(),
            approval: Some(creative.approval.into()),
            duration_ms: Some(creative.duration_ms),
            explicit: creative.explicit,
            renditions: creative.renditions.iter().map(rendition::body).collect(),
            click_url: creative.click_url.clone(),
            companions: Vec::new(),
        })
    }

    fn read_only(&self) -> Vec<(&'static str, Option<String>)> {
        let mut fields = read_only!(self, network_id);
        fields.push(("approval", self.approval.map(|approval| format!("{approval:?}"))));
        fields
    }

    fn names(&self) -> Vec<EntityId> {
        let advertiser = self.advertiser_id.as_deref().and_then(|text| text.parse().ok());
        advertiser.map(EntityId::Advertiser).into_iter().collect()
    }

    fn assets(&self) -> Vec<AssetId> {
        rendition::asset_ids(&self.renditions)
    }

    fn advertiser(&self) -> Option<AdvertiserId> {
        self.advertiser_id.as_deref().and_then(|text| text.parse().ok())
    }

    fn entity(&self, context: &Context<'_>, faults: &mut Faults) -> Entity {
        let id = match context.id {
            EntityId::Creative(id) => id,
            _ => CreativeId::from_u128(0),
        };
        no_companions(&self.companions, faults);
        let (renditions, duration_ms) = rendition::read(&self.renditions, self.duration_ms, context.assets, faults);
        Entity::from(Creative {
            id,
            advertiser_id: context.advertiser_id(self.advertiser_id.as_deref(), faults),
            network_id: context.network_id(),
            name: self.name.clone(),
            status: self.status.into(),
            // The campaign role decides it from who asks; see there.
            approval: self.approval.map_or(Approval::Pending, Approval::from),
            duration_ms,
            explicit: self.explicit,
            renditions,
            click_url: self.click_url.clone(),
        })
    }
}

pub(super) fn no_companions(companions: &[serde_json::Value], faults: &mut Faults) {
    if !companions.is_empty() {
        faults.add("companions", "not_supported_yet", "companions are not acted on yet");
    }
}

impl From<Budget> for BudgetBody {
    fn from(budget: Budget) -> Self {
        Self {
            lifetime_micros: budget.lifetime.map(|amount| amount.0),
            daily_micros: budget.daily.map(|amount| amount.0),
        }
    }
}

impl From<BudgetBody> for Budget {
    fn from(body: BudgetBody) -> Self {
        Self { lifetime: body.lifetime_micros.map(Micros), daily: body.daily_micros.map(Micros) }
    }
}

pub(super) fn caps_of(caps: &[FrequencyCap]) -> Vec<CapBody> {
    let body = |cap: &FrequencyCap| CapBody {
        scope: cap.scope.into(),
        max: cap.max,
        window: match cap.window {
            CapWindow::Pod => WindowBody { kind: WindowWord::Pod, duration_ms: None },
            CapWindow::Sliding(ms) => WindowBody { kind: WindowWord::Sliding, duration_ms: Some(ms) },
        },
        strictness: cap.strictness.into(),
    };
    caps.iter().map(body).collect()
}

pub(super) fn read_caps(bodies: &[CapBody], faults: &mut Faults) -> Vec<FrequencyCap> {
    let cap = |(index, body): (usize, &CapBody)| {
        let path = format!("caps[{index}].window.duration_ms");
        let window = match (body.window.kind, body.window.duration_ms) {
            (WindowWord::Pod, None) => CapWindow::Pod,
            (WindowWord::Pod, Some(_)) => {
                faults.add(path, "not_with_pod", "a window of the pod has no duration");
                CapWindow::Pod
            }
            (WindowWord::Sliding, Some(ms)) => CapWindow::Sliding(ms),
            (WindowWord::Sliding, None) => {
                faults.add(path, "required", "a sliding window has a duration");
                CapWindow::Pod
            }
        };
        FrequencyCap { scope: body.scope.into(), max: body.max, window, strictness: body.strictness.into() }
    };
    bodies.iter().enumerate().map(cap).collect()
}

pub(super) fn read_zone(path: &str, name: &str, faults: &mut Faults) -> Zone {
    Zone::named(name).unwrap_or_else(|error| {
        faults.add(path, "unknown_zone", error.to_string());
        Zone::utc()
    })
}

/// A time of this or the next century, in milliseconds; finer ones are refused, not rounded.
pub(super) fn read_time(path: &str, text: &str, faults: &mut Faults) -> WallMs {
    let years = WallMs(946_684_800_000)..WallMs(4_102_444_800_000);
    let Ok(at) = text.parse::<jiff::Timestamp>() else {
        faults.add(path, "malformed", "a time in RFC 3339, e.g. 2026-03-01T00:00:00Z");
        return years.start;
    };
    let ms = WallMs(at.as_millisecond());
    if at.subsec_nanosecond() % 1_000_000 != 0 {
        faults.add(path, "too_fine", "a time has at most milliseconds");
    } else if !years.contains(&ms) {
        faults.add(path, "out_of_range", "a time from the year 2000 on, before 2100");
    }
    ms
}
