//! Leases.

use super::codes::Code;
use super::proto;
use super::read::{Read, each, id, micros, wall};
use crate::events::{BudgetLevel, EventError, LeaseClosed, LeaseGranted, LeaseReturned, LevelLimit, LimitWindow};
use crate::model::{
    AdvertiserId, BootId, CampaignId, Day, LeaseId, LineItemId, Micros, NetworkId, PriceModel, ServerId,
};

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
                window: window_code(limit.window),
            })
            .collect(),
        price_model: lease.price_model.code(),
        advertiser_day: Some(lease.advertiser_day.0),
        line_item_day: Some(lease.line_item_day.0),
    }
}

pub(super) fn granted_from_wire(wire: proto::LeaseGranted) -> Read<LeaseGranted> {
    let granted_at = wall("lease_granted.granted_at_ms", wire.granted_at_ms)?;
    // The oldest records have no days; theirs is the UTC day of the grant.
    let day = |day: Option<i32>| day.map_or_else(|| Day::utc_of(granted_at), Day);
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
        granted_at,
        draw_until: wall("lease_granted.draw_until_ms", wire.draw_until_ms)?,
        last_billable_until: wall("lease_granted.last_billable_until_ms", wire.last_billable_until_ms)?,
        limits: each(wire.limits, |limit| {
            Ok(LevelLimit {
                level: BudgetLevel::of("lease_granted.limits.level", limit.level)?,
                budget: limit.budget_micros.map(Micros),
                goal: limit.goal_impressions,
                window: window(limit.window)?,
            })
        })?,
        price_model: match wire.price_model {
            0 => PriceModel::Cpm,
            code => PriceModel::of("lease_granted.price_model", code)?,
        },
        advertiser_day: day(wire.advertiser_day),
        line_item_day: day(wire.line_item_day),
    })
}

/// The one enum beside `Platform` whose 0 is written: the whole life, which the oldest records mean without saying it.
fn window_code(window: LimitWindow) -> i32 {
    match window {
        LimitWindow::Life => proto::LimitWindow::Unspecified as i32,
        LimitWindow::Day => proto::LimitWindow::Day as i32,
    }
}

fn window(code: i32) -> Read<LimitWindow> {
    match proto::LimitWindow::try_from(code) {
        Ok(proto::LimitWindow::Unspecified) => Ok(LimitWindow::Life),
        Ok(proto::LimitWindow::Day) => Ok(LimitWindow::Day),
        Err(_) => Err(EventError::UnknownKind { field: "lease_granted.limits.window" }),
    }
}

pub(super) fn returned_to_wire(lease: &LeaseReturned) -> proto::LeaseReturned {
    proto::LeaseReturned {
        lease_id: lease.lease_id.to_bytes().into(),
        server_id: lease.server_id.to_bytes().into(),
        boot_id: lease.boot_id.to_bytes().into(),
        network_id: lease.network_id.to_bytes().into(),
        advertiser_id: lease.advertiser_id.to_bytes().into(),
        campaign_id: lease.campaign_id.to_bytes().into(),
        line_item_id: lease.line_item_id.to_bytes().into(),
        drawn_micros: Some(lease.drawn.0),
        drawn_count: lease.drawn_count,
        returned_at_ms: Some(lease.returned_at.0),
    }
}

pub(super) fn returned_from_wire(wire: &proto::LeaseReturned) -> Read<LeaseReturned> {
    Ok(LeaseReturned {
        lease_id: LeaseId::from_bytes(id("lease_returned.lease_id", &wire.lease_id)?),
        server_id: ServerId::from_bytes(id("lease_returned.server_id", &wire.server_id)?),
        boot_id: BootId::from_bytes(id("lease_returned.boot_id", &wire.boot_id)?),
        network_id: NetworkId::from_bytes(id("lease_returned.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("lease_returned.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("lease_returned.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("lease_returned.line_item_id", &wire.line_item_id)?),
        drawn: micros("lease_returned.drawn_micros", wire.drawn_micros)?,
        drawn_count: wire.drawn_count,
        returned_at: wall("lease_returned.returned_at_ms", wire.returned_at_ms)?,
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
