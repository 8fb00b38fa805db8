//! Leases.

use super::codes::Code;
use super::proto;
use super::read::{Read, each, id, micros, wall};
use crate::events::{BudgetLevel, LeaseClosed, LeaseGranted, LevelLimit};
use crate::model::{AdvertiserId, BootId, CampaignId, LeaseId, LineItemId, Micros, NetworkId, ServerId};

pub(super) fn granted_to_wire(lease: &LeaseGranted) -> proto::LeaseGranted {
    proto::LeaseGranted {
        lease_id: lease.lease_id.to_bytes().into(),
        server_id: lease.server_id.to_bytes().into(),
        boot_id: lease.boot_id.to_bytes().into(),
        network_id: lease.network_id.to_bytes().into(),
        advertiser_id: lease.advertiser_id.to_bytes().into(),
        campaign_id: lease.campaign_id.to_bytes().into(),
        line_item_id: lease.line_item_id.to_bytes().into(),
        amount_micros: Some(lease.amount.0),
        max_ordinals: lease.max_ordinals,
        granted_at_ms: Some(lease.granted_at.0),
        draw_until_ms: Some(lease.draw_until.0),
        last_billable_until_ms: Some(lease.last_billable_until.0),
        limits: lease
            .limits
            .iter()
            .map(|limit| proto::LevelLimit {
                level: limit.level.code(),
                budget_micros: limit.budget.map(|budget| budget.0),
                goal_impressions: limit.goal,
            })
            .collect(),
    }
}

pub(super) fn granted_from_wire(wire: proto::LeaseGranted) -> Read<LeaseGranted> {
    Ok(LeaseGranted {
        lease_id: LeaseId::from_bytes(id("lease_granted.lease_id", &wire.lease_id)?),
        server_id: ServerId::from_bytes(id("lease_granted.server_id", &wire.server_id)?),
        boot_id: BootId::from_bytes(id("lease_granted.boot_id", &wire.boot_id)?),
        network_id: NetworkId::from_bytes(id("lease_granted.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("lease_granted.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("lease_granted.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("lease_granted.line_item_id", &wire.line_item_id)?),
        amount: micros("lease_granted.amount_micros", wire.amount_micros)?,
        max_ordinals: wire.max_ordinals,
        granted_at: wall("lease_granted.granted_at_ms", wire.granted_at_ms)?,
        draw_until: wall("lease_granted.draw_until_ms", wire.draw_until_ms)?,
        last_billable_until: wall("lease_granted.last_billable_until_ms", wire.last_billable_until_ms)?,
        limits: each(wire.limits, |limit| {
            Ok(LevelLimit {
                level: BudgetLevel::of("lease_granted.limits.level", limit.level)?,
                budget: limit.budget_micros.map(Micros),
                goal: limit.goal_impressions,
            })
        })?,
    })
}

pub(super) fn closed_to_wire(lease: &LeaseClosed) -> proto::LeaseClosed {
    proto::LeaseClosed {
        lease_id: lease.lease_id.to_bytes().into(),
        network_id: lease.network_id.to_bytes().into(),
        advertiser_id: lease.advertiser_id.to_bytes().into(),
        campaign_id: lease.campaign_id.to_bytes().into(),
        line_item_id: lease.line_item_id.to_bytes().into(),
        settled_micros: Some(lease.settled.0),
        settled_count: lease.settled_count,
        returned_micros: Some(lease.returned.0),
        closed_at_ms: Some(lease.closed_at.0),
    }
}

pub(super) fn closed_from_wire(wire: &proto::LeaseClosed) -> Read<LeaseClosed> {
    Ok(LeaseClosed {
        lease_id: LeaseId::from_bytes(id("lease_closed.lease_id", &wire.lease_id)?),
        network_id: NetworkId::from_bytes(id("lease_closed.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("lease_closed.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("lease_closed.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("lease_closed.line_item_id", &wire.line_item_id)?),
        settled: micros("lease_closed.settled_micros", wire.settled_micros)?,
        settled_count: wire.settled_count,
        returned: micros("lease_closed.returned_micros", wire.returned_micros)?,
        closed_at: wall("lease_closed.closed_at_ms", wire.closed_at_ms)?,
    })
}
