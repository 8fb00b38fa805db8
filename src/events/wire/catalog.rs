//! Entities and their revisions.

use super::codes::Code;
use super::read::{Read, app, asset_file, each, id, invalid, micros, narrow, placement, required, wall, zone};
use super::{line_item, proto};
use crate::catalog::{Action, Author, Entity, Revision};
use crate::events::{CatalogRecord, EventError};
use crate::model::{
    Advertiser, AdvertiserId, ApiKeyId, App, Approval, AudioFormat, Budget, Campaign, CampaignId, CapScope, CapWindow,
    Creative, CreativeId, FrequencyCap, Micros, Network, NetworkId, Placement, Rendition, RenditionSource, Status,
    Strictness, WallMs,
};

/// What the URL of a rendition begins with that is a file of Segue's own. No URL of a creative can: those are http or https.
const ASSET_SCHEME: &str = "asset:";

pub(in crate::events) fn record_to_wire(record: &CatalogRecord) -> proto::CatalogRecord {
    let revision = &record.revision;
    let (actor_key_id, role) = match &revision.author {
        Author::Segue => (None, ""),
        Author::Key { id, role } => (Some(id.to_bytes().into()), role.as_str()),
    };
    proto::CatalogRecord {
        version: record.version,
        revision: Some(proto::Revision {
            number: revision.number,
            at_ms: Some(revision.at.0),
            actor_key_id,
            action: revision.action.code(),
            created_at_ms: (revision.created_at != revision.at).then_some(revision.created_at.0),
            actor_role: (!role.is_empty()).then(|| role.to_owned()),
        }),
        entity: Some(entity_to_wire(&revision.entity)),
    }
}

pub(in crate::events) fn record_from_wire(wire: proto::CatalogRecord) -> Read<CatalogRecord> {
    let revision = required("catalog.revision", wire.revision)?;
    let actor = revision.actor_key_id.map(|bytes| id("revision.actor_key_id", &bytes)).transpose()?;
    let at = wall("revision.at_ms", revision.at_ms)?;
    let revision = Revision {
        number: revision.number,
        created_at: revision.created_at_ms.map_or(at, WallMs),
        at,
        author: actor.map_or(Author::Segue, |id| Author::Key {
            id: ApiKeyId::from_bytes(id),
            role: revision.actor_role.unwrap_or_default(),
        }),
        action: Action::of("revision.action", revision.action)?,
        entity: entity_from_wire(required("catalog.entity", wire.entity)?)?,
    };
    Ok(CatalogRecord { version: wire.version, revision })
}

pub(in crate::events) fn entity_to_wire(entity: &Entity) -> proto::Entity {
    use proto::entity::Kind;
    proto::Entity {
        kind: Some(match entity {
            Entity::Network(network) => Kind::Network(network_to_wire(network)),
            Entity::Advertiser(advertiser) => Kind::Advertiser(advertiser_to_wire(advertiser)),
            Entity::Campaign(campaign) => Kind::Campaign(campaign_to_wire(campaign)),
            Entity::LineItem(line_item) => Kind::LineItem(line_item::to_wire(line_item)),
            Entity::Creative(creative) => Kind::Creative(creative_to_wire(creative)),
        }),
    }
}

pub(in crate::events) fn entity_from_wire(wire: proto::Entity) -> Read<Entity> {
    use proto::entity::Kind;
    Ok(match wire.kind.ok_or(EventError::UnknownKind { field: "entity.kind" })? {
        Kind::Network(network) => Entity::from(network_from_wire(network)?),
        Kind::Advertiser(advertiser) => Entity::from(advertiser_from_wire(advertiser)?),
        Kind::Campaign(campaign) => Entity::from(campaign_from_wire(campaign)?),
        Kind::LineItem(line_item) => Entity::from(line_item::from_wire(line_item)?),
        Kind::Creative(creative) => Entity::from(creative_from_wire(creative)?),
    })
}

fn network_to_wire(network: &Network) -> proto::Network {
    proto::Network {
        network_id: network.id.to_bytes().into(),
        name: network.name.clone(),
        currency: network.currency.clone(),
        floor_cpm_micros: Some(network.floor_cpm.0),
        approve_creatives: network.approve_creatives,
        apps: network
            .apps
            .iter()
            .map(|app| proto::App { key: app.key.as_str().to_owned(), name: app.name.clone() })
            .collect(),
        placements: network
            .placements
            .iter()
            .map(|placement| proto::Placement {
                key: placement.key.as_str().to_owned(),
                name: placement.name.clone(),
                floor_cpm_micros: Some(placement.floor_cpm.0),
                max_duration_ms: placement.max_duration_ms,
                max_ads: u32::from(placement.max_ads),
                cadence_ms: placement.cadence_ms,
                token_life_ms: placement.token_life_ms,
                impression_at_start: placement.impression_at_start,
            })
            .collect(),
    }
}

fn network_from_wire(wire: proto::Network) -> Read<Network> {
    Ok(Network {
        id: NetworkId::from_bytes(id("network.network_id", &wire.network_id)?),
        name: wire.name,
        currency: wire.currency,
        floor_cpm: micros("network.floor_cpm_micros", wire.floor_cpm_micros)?,
        approve_creatives: wire.approve_creatives,
        apps: each(wire.apps, |wire| Ok(App { key: app("app.key", &wire.key)?, name: wire.name }))?,
        placements: each(wire.placements, |wire| {
            Ok(Placement {
                key: placement("placement.key", &wire.key)?,
                name: wire.name,
                floor_cpm: micros("placement.floor_cpm_micros", wire.floor_cpm_micros)?,
                max_duration_ms: wire.max_duration_ms,
                max_ads: narrow("placement.max_ads", wire.max_ads)?,
                cadence_ms: wire.cadence_ms,
                token_life_ms: wire.token_life_ms,
                impression_at_start: wire.impression_at_start,
            })
        })?,
    })
}

fn advertiser_to_wire(advertiser: &Advertiser) -> proto::Advertiser {
    proto::Advertiser {
        advertiser_id: advertiser.id.to_bytes().into(),
        network_id: advertiser.network_id.to_bytes().into(),
        name: advertiser.name.clone(),
        status: advertiser.status.code(),
        budget: Some(budget_to_wire(advertiser.budget)),
        zone: advertiser.zone.name().to_owned(),
        caps: caps_to_wire(&advertiser.caps),
    }
}

fn advertiser_from_wire(wire: proto::Advertiser) -> Read<Advertiser> {
    Ok(Advertiser {
        id: AdvertiserId::from_bytes(id("advertiser.advertiser_id", &wire.advertiser_id)?),
        network_id: NetworkId::from_bytes(id("advertiser.network_id", &wire.network_id)?),
        name: wire.name,
        status: Status::of("advertiser.status", wire.status)?,
        budget: budget_from_wire("advertiser.budget", wire.budget)?,
        zone: zone("advertiser.zone", &wire.zone)?,
        caps: caps_from_wire(wire.caps)?,
    })
}

fn campaign_to_wire(campaign: &Campaign) -> proto::Campaign {
    proto::Campaign {
        campaign_id: campaign.id.to_bytes().into(),
        advertiser_id: campaign.advertiser_id.to_bytes().into(),
        network_id: campaign.network_id.to_bytes().into(),
        name: campaign.name.clone(),
        status: campaign.status.code(),
        budget: Some(budget_to_wire(campaign.budget)),
        caps: caps_to_wire(&campaign.caps),
    }
}

fn campaign_from_wire(wire: proto::Campaign) -> Read<Campaign> {
    Ok(Campaign {
        id: CampaignId::from_bytes(id("campaign.campaign_id", &wire.campaign_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("campaign.advertiser_id", &wire.advertiser_id)?),
        network_id: NetworkId::from_bytes(id("campaign.network_id", &wire.network_id)?),
        name: wire.name,
        status: Status::of("campaign.status", wire.status)?,
        budget: budget_from_wire("campaign.budget", wire.budget)?,
        caps: caps_from_wire(wire.caps)?,
    })
}

fn creative_to_wire(creative: &Creative) -> proto::Creative {
    proto::Creative {
        creative_id: creative.id.to_bytes().into(),
        advertiser_id: creative.advertiser_id.to_bytes().into(),
        network_id: creative.network_id.to_bytes().into(),
        name: creative.name.clone(),
        status: creative.status.code(),
        approval: creative.approval.code(),
        duration_ms: creative.duration_ms,
        explicit: creative.explicit,
        renditions: creative
            .renditions
            .iter()
            .map(|rendition| proto::Rendition {
                format: rendition.format.code(),
                bitrate_kbps: u32::from(rendition.bitrate_kbps),
                url: match &rendition.source {
                    RenditionSource::Url(url) => url.clone(),
                    RenditionSource::Asset(file) => format!("{ASSET_SCHEME}{file}"),
                },
            })
            .collect(),
        click_url: creative.click_url.clone(),
    }
}

fn creative_from_wire(wire: proto::Creative) -> Read<Creative> {
    Ok(Creative {
        id: CreativeId::from_bytes(id("creative.creative_id", &wire.creative_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("creative.advertiser_id", &wire.advertiser_id)?),
        network_id: NetworkId::from_bytes(id("creative.network_id", &wire.network_id)?),
        name: wire.name,
        status: Status::of("creative.status", wire.status)?,
        approval: Approval::of("creative.approval", wire.approval)?,
        duration_ms: wire.duration_ms,
        explicit: wire.explicit,
        renditions: each(wire.renditions, |wire| {
            Ok(Rendition {
                format: AudioFormat::of("rendition.format", wire.format)?,
                bitrate_kbps: narrow("rendition.bitrate_kbps", wire.bitrate_kbps)?,
                source: match wire.url.strip_prefix(ASSET_SCHEME) {
                    Some(name) => RenditionSource::Asset(asset_file("rendition.url", name)?),
                    None => RenditionSource::Url(wire.url),
                },
            })
        })?,
        click_url: wire.click_url,
    })
}

pub(super) fn budget_to_wire(budget: Budget) -> proto::Budget {
    proto::Budget {
        lifetime_micros: budget.lifetime.map(|amount| amount.0),
        daily_micros: budget.daily.map(|amount| amount.0),
    }
}

/// A budget. The message must be there: read as absent, it would mean "no limit".
pub(super) fn budget_from_wire(field: &'static str, wire: Option<proto::Budget>) -> Read<Budget> {
    let wire = required(field, wire)?;
    Ok(Budget { lifetime: wire.lifetime_micros.map(Micros), daily: wire.daily_micros.map(Micros) })
}

pub(super) fn caps_to_wire(caps: &[FrequencyCap]) -> Vec<proto::FrequencyCap> {
    caps.iter()
        .map(|cap| proto::FrequencyCap {
            scope: cap.scope.code(),
            max: u32::from(cap.max),
            window_ms: match cap.window {
                CapWindow::Pod => None,
                CapWindow::Sliding(ms) => Some(ms),
            },
            strictness: cap.strictness.code(),
        })
        .collect()
}

pub(super) fn caps_from_wire(list: Vec<proto::FrequencyCap>) -> Read<Vec<FrequencyCap>> {
    each(list, |wire| {
        if wire.max == 0 {
            return Err(invalid("cap.max", "expected at least 1"));
        }
        Ok(FrequencyCap {
            scope: CapScope::of("cap.scope", wire.scope)?,
            max: narrow("cap.max", wire.max)?,
            window: wire.window_ms.map_or(CapWindow::Pod, CapWindow::Sliding),
            strictness: Strictness::of("cap.strictness", wire.strictness)?,
        })
    })
}
