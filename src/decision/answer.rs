//! What a decision is: the ads of one break, in order, and all that it read to choose them.

use super::reason::ReasonCounts;
use super::spending::SpendView;
use crate::catalog::LineSlot;
use crate::model::{AdvertiserId, CampaignId, CreativeId, LeaseId, LineItemId, Micros, Tier};

/// The answer to one ad break. A value: the same inputs make the same one, byte for byte ([`Decision::to_bytes`]).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// Version of the catalogue that it was made from.
    pub catalog_version: u64,
    /// The pod, in the order in which it plays.
    pub ads: Vec<ChosenAd>,
    /// Why there is no break at all; `ads` is empty then, and no candidate was looked at.
    pub no_break: Option<NoBreakReason>,
    /// How many candidates fell for which reason. Covers the candidates looked at before nothing unseen could improve the pod.
    pub reasons: ReasonCounts,
    /// Sum of the shares of voice of the sponsors that ran in this break, in basis points. Above 10,000 each got its part of the whole.
    pub share_of_voice: u32,
    /// Candidates looked at.
    pub considered: u32,
    /// Every value read beside the snapshot that the decision hung on, in order of line item id: with these it can be made again (`replay`). In a
    /// survey they are the line items that were eligible in this break before throttle and money.
    pub spend_reads: Vec<SpendRead>,
    /// Line items that their throttles held back before anything else was asked of them, in order of id; none in a survey.
    pub held_back: Vec<HeldBack>,
    /// When to ask for the next break.
    pub next_break: NextBreak,
    /// How far short of the full rules it fell.
    pub degradation: Degradation,
}

/// One ad of the pod.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChosenAd {
    /// The line item's slot in this process; not part of the decision's bytes.
    pub slot: LineSlot,
    /// The line item.
    pub line_item_id: LineItemId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// Its advertiser.
    pub advertiser_id: AdvertiserId,
    /// What plays.
    pub creative_id: CreativeId,
    /// How long it plays, in milliseconds.
    pub duration_ms: u32,
    /// Its tier.
    pub tier: Tier,
    /// What is charged for its impression, completed listen or click; 0 for flat, house and preview ads.
    pub price: Micros,
    /// What is drawn from the lease for it; not part of the decision's bytes, as it follows from the line item.
    pub drawn: Micros,
    /// What its impression is expected to be worth; likewise.
    pub worth: Micros,
    /// Where the money comes from.
    pub billing: Billing,
}

/// Where the money of an ad comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Billing {
    /// It must be drawn from this lease before the ad is answered.
    Lease(LeaseId),
    /// Never billed: house and preview ads.
    None,
}

/// One line item's money as the decision read it, once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpendRead {
    /// The line item's slot in this process; not part of the decision's bytes.
    pub slot: LineSlot,
    /// The line item.
    pub line_item_id: LineItemId,
    /// Its tier.
    pub tier: Tier,
    /// What was read.
    pub view: SpendView,
}

/// A line item that its throttle held back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HeldBack {
    /// The line item.
    pub line_item_id: LineItemId,
    /// The throttle, as it was read.
    pub throttle: u64,
}

impl HeldBack {
    /// All that was read of the line item's money.
    #[must_use]
    pub const fn view(&self) -> SpendView {
        SpendView { paused: false, throttle: self.throttle, lease: None }
    }
}

/// Why there is no break at all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoBreakReason {
    /// The listener pays not to hear ads.
    Premium,
    /// The break before was too short a time ago.
    Cadence {
        /// Milliseconds until the next is due.
        due_in_ms: u64,
    },
    /// The network has no placement of the request's key.
    UnknownPlacement,
}

impl NoBreakReason {
    /// Its name in answers, metrics and logs; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Premium => "premium",
            Self::Cadence { .. } => "cadence",
            Self::UnknownPlacement => "unknown_placement",
        }
    }
}

/// Advice on when to ask for the next break.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum NextBreak {
    /// None is due after this many milliseconds either; do not ask.
    #[default]
    Never,
    /// Not before this many milliseconds from the decision; 0 when there is no cadence.
    InMs(u64),
}

/// How far a decision fell short of the full rules; the greater, the shorter. The caller raises it where it had to go without something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Degradation {
    /// By the full rules.
    #[default]
    None,
    /// A limit of the search was met: every rule holds, but a better pod may exist.
    SearchLimited,
    /// The listener's state could not be written in time: line items with a strict cap were left out.
    StrictCapsUnsure,
    /// The listener's state could not be read: caps and separation know only this break, and line items with a strict cap
    /// were left out.
    ListenerUnknown,
}

impl Degradation {
    /// Its name in answers, metrics and logs; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SearchLimited => "search_limited",
            Self::StrictCapsUnsure => "strict_caps_unsure",
            Self::ListenerUnknown => "listener_unknown",
        }
    }
}

impl Decision {
    /// Whether there are no ads.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ads.is_empty()
    }

    /// Makes it an empty one, keeping its memory.
    pub(super) fn clear(&mut self, catalog_version: u64) {
        let Self { mut ads, mut spend_reads, mut held_back, .. } = std::mem::take(self);
        ads.clear();
        spend_reads.clear();
        held_back.clear();
        *self = Self { catalog_version, ads, spend_reads, held_back, ..Self::default() };
    }

    /// What was read of a line item's money; none if nothing was.
    pub(super) fn read_of(&self, id: LineItemId) -> Option<SpendView> {
        let read =
            self.spend_reads.binary_search_by_key(&id, |read| read.line_item_id).map(|at| self.spend_reads[at].view);
        let held_back =
            || self.held_back.binary_search_by_key(&id, |one| one.line_item_id).map(|at| self.held_back[at].view());
        read.or_else(|_| held_back()).ok()
    }

    /// The decision in bytes: equal for equal decisions, whatever process made them. Slots are left out, because they name line items in one
    /// process only. For comparing, not for keeping: the decision log has a format of its own.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| bytes.extend_from_slice(part);
        put(&self.catalog_version.to_be_bytes());
        put(&(self.ads.len() as u64).to_be_bytes());
        for ad in &self.ads {
            put(&ad.line_item_id.to_bytes());
            put(&ad.campaign_id.to_bytes());
            put(&ad.advertiser_id.to_bytes());
            put(&ad.creative_id.to_bytes());
            put(&ad.duration_ms.to_be_bytes());
            put(&[ad.tier as u8]);
            put(&ad.price.0.to_be_bytes());
            match ad.billing {
                Billing::Lease(lease_id) => put(&[&[1], &lease_id.to_bytes()[..]].concat()),
                Billing::None => put(&[0]),
            }
        }
        match self.no_break {
            None => put(&[0]),
            Some(NoBreakReason::Premium) => put(&[1]),
            Some(NoBreakReason::Cadence { due_in_ms }) => put(&[&[2], &due_in_ms.to_be_bytes()[..]].concat()),
            Some(NoBreakReason::UnknownPlacement) => put(&[3]),
        }
        for (reason, count) in self.reasons.iter() {
            put(&[reason as u8]);
            put(&count.to_be_bytes());
        }
        put(&[u8::MAX]);
        put(&self.share_of_voice.to_be_bytes());
        put(&self.considered.to_be_bytes());
        put(&(self.spend_reads.len() as u64).to_be_bytes());
        for read in &self.spend_reads {
            put(&read.line_item_id.to_bytes());
            put(&[read.tier as u8, u8::from(read.view.paused)]);
            put(&read.view.throttle.to_be_bytes());
            let Some(lease) = read.view.lease else {
                put(&[0]);
                continue;
            };
            put(&[1]);
            put(&lease.lease_id.to_bytes());
            put(&lease.left.0.to_be_bytes());
            put(&lease.ordinals_left.to_be_bytes());
            put(&lease.last_billable_until.0.to_be_bytes());
        }
        put(&(self.held_back.len() as u64).to_be_bytes());
        for one in &self.held_back {
            put(&one.line_item_id.to_bytes());
            put(&one.throttle.to_be_bytes());
        }
        match self.next_break {
            NextBreak::Never => put(&[0]),
            NextBreak::InMs(ms) => put(&[&[1], &ms.to_be_bytes()[..]].concat()),
        }
        put(&[self.degradation as u8]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_decisions_apart_but_not_their_slots() {
        let ad = ChosenAd {
            slot: LineSlot(1),
            line_item_id: LineItemId::from_u128(1),
            campaign_id: CampaignId::from_u128(2),
            advertiser_id: AdvertiserId::from_u128(3),
            creative_id: CreativeId::from_u128(4),
            duration_ms: 30_000,
            tier: Tier::Auction,
            price: Micros(4_500),
            drawn: Micros(4_500),
            worth: Micros(4_500),
            billing: Billing::Lease(LeaseId::from_u128(5)),
        };
        let decision = Decision { ads: vec![ad], ..Decision::default() };
        let elsewhere = Decision { ads: vec![ChosenAd { slot: LineSlot(2), ..ad }], ..Decision::default() };
        assert_eq!(decision.to_bytes(), elsewhere.to_bytes());
        for other in [
            Decision { ads: vec![ChosenAd { price: Micros(4_501), ..ad }], ..Decision::default() },
            Decision { ads: vec![ChosenAd { billing: Billing::None, ..ad }], ..Decision::default() },
            Decision { considered: 1, ..decision.clone() },
            Decision { degradation: Degradation::SearchLimited, ..decision.clone() },
            Decision { next_break: NextBreak::InMs(0), ..decision.clone() },
        ] {
            assert_ne!(decision.to_bytes(), other.to_bytes());
        }
    }
}
