//! Leases: money that accounting gives to one boot of one server to draw from.

use crate::model::{
    AdvertiserId, BootId, CampaignId, Day, LeaseId, LineItemId, Micros, NetworkId, PriceModel, ServerId, WallMs,
};

/// A lease was granted. It counts as spent at every level from here until it is closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseGranted {
    /// The lease.
    pub lease_id: LeaseId,
    /// The server that may draw from it.
    pub server_id: ServerId,
    /// The run of that server; a later run never draws from it.
    pub boot_id: BootId,
    /// The tenant.
    pub network_id: NetworkId,
    /// Whose money it is.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item that it is for.
    pub line_item_id: LineItemId,
    /// Most money that may be drawn; 0 for line items that pay by click or flat.
    pub amount: Micros,
    /// Most draws; their ordinals are below it.
    pub max_ordinals: u32,
    /// When it was granted.
    pub granted_at: WallMs,
    /// Until when the server may draw.
    pub draw_until: WallMs,
    /// Until when anything drawn from it may be billed.
    pub last_billable_until: WallMs,
    /// The limits in force when it was granted, so that a recount can check them.
    pub limits: Vec<LevelLimit>,
    /// What is paid for.
    pub price_model: PriceModel,
    /// The day in the advertiser's zone to which its charges belong: that of the grant. Nothing is drawn after that day.
    pub advertiser_day: Day,
    /// The same in the line item's zone.
    pub line_item_day: Day,
}

/// A limit that a grant stayed within.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LevelLimit {
    /// Of what.
    pub level: BudgetLevel,
    /// Over which time.
    pub window: LimitWindow,
    /// Most money in that time; none for no limit.
    pub budget: Option<Micros>,
    /// Most impressions in that time; none for no limit.
    pub goal: Option<u64>,
}

/// The time over which a limit holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LimitWindow {
    /// The whole life.
    Life,
    /// The lease's day at that level: the advertiser's for advertiser and campaign, the line item's for the line item.
    Day,
}

/// A level at which money is limited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BudgetLevel {
    /// The lease's advertiser.
    Advertiser,
    /// The lease's campaign.
    Campaign,
    /// The lease's line item.
    LineItem,
}

/// A server gave back what it had not drawn of a lease, and draws no more from it. What was drawn counts as spent until it settles or the
/// lease is closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseReturned {
    /// The lease.
    pub lease_id: LeaseId,
    /// The server that held it.
    pub server_id: ServerId,
    /// The run of that server.
    pub boot_id: BootId,
    /// The tenant.
    pub network_id: NetworkId,
    /// Whose money it is.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item that it is for.
    pub line_item_id: LineItemId,
    /// Money that was drawn and may yet be charged; never less than it was.
    pub drawn: Micros,
    /// Draws that were made; their ordinals are below it.
    pub drawn_count: u32,
    /// When it was given back.
    pub returned_at: WallMs,
}

/// A lease is over. What was not settled went back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseClosed {
    /// The lease.
    pub lease_id: LeaseId,
    /// The tenant.
    pub network_id: NetworkId,
    /// Whose money it was.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item that it was for.
    pub line_item_id: LineItemId,
    /// Money charged from it.
    pub settled: Micros,
    /// How many draws were charged.
    pub settled_count: u32,
    /// Money that went back.
    pub returned: Micros,
    /// When it was closed.
    pub closed_at: WallMs,
}
