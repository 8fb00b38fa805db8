//! The decision log: enough of one decision to make it again.
//!
//! Values are those of the wire, never a snapshot's dense ids. Nobody's raw id is here: a listener is their pseudonym.

use crate::model::{
    AdBreakRequest, AdvertiserId, AppKey, BreakSpec, CampaignId, ConsentScope, CreativeId, DecisionId, Exposure, Facts,
    ImpressionId, LeaseId, LineItemId, ListenerKey, ListenerState, Micros, NetworkId, Now, PlacementKey, Preview,
    Pseudonym, RequestId, Subscription, Tier, WallMs,
};

/// One ad break: what was asked, all that was read, and what was answered.
#[derive(Clone, PartialEq, Debug)]
pub struct DecisionRecord {
    /// The answer's id.
    pub decision_id: DecisionId,
    /// What was asked.
    pub request: RequestRecord,
    /// What was known of the listener.
    pub listener: ListenerView,
    /// The catalogue's version.
    pub catalog_version: u64,
    /// When it was decided.
    pub now: Now,
    /// What its random choices came from.
    pub seed: u64,
    /// Line items left out because a draw from their lease had failed.
    pub excluded: Vec<LineItemId>,
    /// Throttles and leases as they were read.
    pub spend_reads: Vec<SpendReadRecord>,
    /// Line items that their throttles held back, of which nothing else was read.
    pub held_back: Vec<HeldBackRecord>,
    /// What was chosen, in pod order.
    pub ads: Vec<ChosenAdRecord>,
    /// Why there was no break at all, by stable name.
    pub no_break: Option<String>,
    /// How many candidates fell out for each reason, by stable name.
    pub reasons: Vec<(String, u32)>,
    /// Why line items with a strict cap were left out, by stable name.
    pub strict_caps_refused: Option<String>,
}

/// The request, without who sent it.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestRecord {
    /// The tenant.
    pub network_id: NetworkId,
    /// The player's id of the request.
    pub request_id: RequestId,
    /// Who listens.
    pub pseudonym: Pseudonym,
    /// The player application.
    pub app: AppKey,
    /// The kind of break.
    pub placement: PlacementKey,
    /// What was asked for.
    pub spec: BreakSpec,
    /// What targeting could look at.
    pub facts: Facts,
    /// What the listener allowed.
    pub consent: ConsentScope,
    /// Whether the listener is a child.
    pub child: bool,
    /// Whether the listener pays not to hear ads.
    pub subscription: Subscription,
    /// Milliseconds since the listener's last break as the player knew it.
    pub since_last_break_ms: Option<u64>,
    /// Whether it was asked ahead of time.
    pub prefetch: bool,
    /// What an operator wished to hear.
    pub preview: Option<Preview>,
}

/// What a decision looks at of a listener.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListenerView {
    /// Ads decided for or heard by them, oldest first.
    pub exposures: Vec<Exposure>,
    /// When their last break was decided.
    pub last_break_at: Option<WallMs>,
    /// Creatives of the break before.
    pub last_break_creatives: Vec<CreativeId>,
}

/// What one decision read of a line item's money.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpendReadRecord {
    /// The line item.
    pub line_item_id: LineItemId,
    /// Whether it was paused.
    pub paused: bool,
    /// Its throttle: it serves when a hash is below.
    pub throttle: u64,
    /// The lease that it could draw from.
    pub lease: Option<LeaseReadRecord>,
}

/// What one decision read of a line item that it held back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HeldBackRecord {
    /// The line item.
    pub line_item_id: LineItemId,
    /// Its throttle: no hash was below it.
    pub throttle: u64,
}

/// What one decision read of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseReadRecord {
    /// The lease.
    pub lease_id: LeaseId,
    /// Money left in it.
    pub left: Micros,
    /// Draws left in it.
    pub ordinals_left: u32,
    /// Last moment at which what is drawn from it may be billed.
    pub last_billable_until: WallMs,
}

impl RequestRecord {
    /// The request as it can be resolved and decided again. Who listened is not recorded, and no decision looks at it: any key does.
    #[must_use]
    pub fn to_request(&self, listener_key: ListenerKey) -> AdBreakRequest {
        AdBreakRequest {
            network_id: self.network_id,
            request_id: self.request_id.clone(),
            listener_key,
            app: self.app.clone(),
            placement: self.placement.clone(),
            spec: self.spec.clone(),
            facts: self.facts.clone(),
            consent: self.consent,
            child: self.child,
            subscription: self.subscription,
            since_last_break_ms: self.since_last_break_ms,
            prefetch: self.prefetch,
            preview: self.preview,
        }
    }
}

impl ListenerView {
    /// The listener's state as far as a decision looks at it.
    #[must_use]
    pub fn to_state(&self, pseudonym: Pseudonym) -> ListenerState {
        ListenerState {
            exposures: self.exposures.clone(),
            last_break_at: self.last_break_at,
            last_break_creatives: self.last_break_creatives.clone(),
            ..ListenerState::new(pseudonym)
        }
    }
}

/// One chosen ad.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChosenAdRecord {
    /// Its impression.
    pub impression_id: ImpressionId,
    /// Its advertiser.
    pub advertiser_id: AdvertiserId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// Its line item.
    pub line_item_id: LineItemId,
    /// Its creative.
    pub creative_id: CreativeId,
    /// Its tier.
    pub tier: Tier,
    /// Its price.
    pub price: Micros,
    /// Its length in milliseconds.
    pub duration_ms: u32,
}
