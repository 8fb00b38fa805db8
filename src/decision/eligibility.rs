//! Who may play in a break: every test that a candidate passes before it is weighed, in order, each with its reason. `decide` and `explain`
//! share these, so an explanation can't differ from the decision.

use std::cmp::Reverse;

use super::answer::{Billing, ChosenAd};
use super::excluded::Excluded;
use super::price;
use super::reason::NoFillReason;
use super::seed::Seed;
use super::spending::{Gate, SpendView};
use super::suitability;
use crate::caps::{self, CapHit, CapSubject};
use crate::catalog::{LineEntry, ResolvedBreak};
use crate::model::{CapScope, Creative, LineItemId, ListenerState, Micros, Now, Status, Tier};
use crate::pod::{MAX_ADS, PodLimits};

/// What the tests look at; the same for all candidates of a break.
#[derive(Clone, Copy, Debug)]
pub(super) struct Break<'a> {
    pub(super) resolved: &'a ResolvedBreak,
    pub(super) listener: &'a ListenerState,
    pub(super) now: Now,
    pub(super) seed: Seed,
    pub(super) limits: PodLimits,
    pub(super) floor_cpm: Micros,
}

impl<'a> Break<'a> {
    /// None when the network has no placement of the request's key.
    pub(super) fn new(resolved: &'a ResolvedBreak, listener: &'a ListenerState, now: Now, seed: Seed) -> Option<Self> {
        let placement = resolved.placement()?;
        let network = resolved.network.as_deref()?;
        let limits = PodLimits {
            max_duration_ms: resolved.request.spec.max_duration_ms.min(placement.max_duration_ms),
            max_ads: resolved.request.spec.max_ads.min(placement.max_ads).min(MAX_ADS),
        };
        Some(Self { resolved, listener, now, seed, limits, floor_cpm: price::floor_cpm(network, placement) })
    }
}

/// Whether the line item runs in this break at all, whatever the listener's caps and its money: it suits, it is in flight, and one of its
/// creatives can play and was not heard in the break before. Share of voice is a share of the breaks where this holds.
pub(super) fn runs(entry: &LineEntry, of: &Break<'_>) -> Result<(), NoFillReason> {
    suitability::suits(entry, of.resolved)?;
    let is_active = |status| matches!(status, Status::Active);
    if ![entry.line_item.status, entry.campaign.status, entry.advertiser.status].into_iter().all(is_active) {
        return Err(NoFillReason::Paused);
    }
    let flight = &entry.line_item.flight;
    if of.now.wall < flight.start {
        return Err(NoFillReason::FlightNotStarted);
    }
    if of.now.wall >= flight.end {
        return Err(NoFillReason::FlightEnded);
    }
    let mut furthest = NoFillReason::NoServableCreative;
    for (creative, _) in &entry.creatives {
        match plays(creative, of) {
            Ok(()) => return Ok(()),
            Err(reason) => furthest = furthest.max(reason),
        }
    }
    Err(furthest)
}

/// Whether the creative can play in this break.
pub(super) fn plays(creative: &Creative, of: &Break<'_>) -> Result<(), NoFillReason> {
    if of.resolved.request.child && creative.explicit {
        return Err(NoFillReason::OnlyExplicitCreatives);
    }
    let formats = &of.resolved.request.spec.formats;
    if !formats.is_empty() && !creative.renditions.iter().any(|rendition| formats.contains(&rendition.format)) {
        return Err(NoFillReason::NoPlayableFormat);
    }
    if creative.duration_ms > of.limits.max_duration_ms {
        return Err(NoFillReason::TooLong);
    }
    if of.listener.last_break_creatives.contains(&creative.id) {
        return Err(NoFillReason::HeardInLastBreak);
    }
    Ok(())
}

/// Whether the line item's strict caps can be kept in this break, if it has any.
pub(super) fn strict_caps_kept(entry: &LineEntry, excluded: &Excluded) -> Result<(), NoFillReason> {
    match excluded.strict_caps().refusal() {
        Some(reason) if entry.strict_window_ms().is_some() => Err(reason),
        Some(_) | None => Ok(()),
    }
}

/// The creative that plays, if the listener's caps allow one: among those that can play and are not capped, the one with the greatest lot.
///
/// INV-12: caps are counted with an empty pod, because at most one ad of an advertiser is in a pod, and no cap counts across advertisers.
///
/// # Errors
/// The cap that is in the way.
pub(super) fn choose_creative<'a>(entry: &'a LineEntry, of: &Break<'_>) -> Result<&'a Creative, CapHit> {
    let mut playable = entry.creatives.iter().map(|(creative, _)| &**creative).filter(|one| plays(one, of).is_ok());
    let first = playable.next().expect("a line item that runs has a creative that plays");
    caps_allow(entry, first, of, |scope| scope != CapScope::Creative)?;
    let mut hit = None;
    let uncapped = std::iter::once(first).chain(playable).filter(|creative| {
        let allowed = caps_allow(entry, creative, of, |scope| scope == CapScope::Creative);
        allowed.map_err(|cap_hit| hit = Some(cap_hit)).is_ok()
    });
    let chosen = uncapped.max_by_key(|creative| (of.seed.creative(creative.id), Reverse(creative.id)));
    chosen.ok_or_else(|| hit.expect("a creative is either chosen or capped"))
}

fn caps_allow(
    entry: &LineEntry,
    creative: &Creative,
    of: &Break<'_>,
    counts: impl Fn(CapScope) -> bool,
) -> Result<(), CapHit> {
    let subject = CapSubject {
        advertiser_id: entry.advertiser.id,
        campaign_id: entry.campaign.id,
        line_item_id: entry.line_item.id,
        creative_id: creative.id,
    };
    let caps = entry.caps.iter().filter(|cap| counts(cap.scope));
    caps.copied().try_for_each(|cap| caps::check(&of.listener.exposures, &[], &subject, cap, of.now.wall))
}

/// The ad that the line item's creative makes in this break.
pub(super) fn chosen(entry: &LineEntry, creative: &Creative, billing: Billing) -> ChosenAd {
    let line_item = &*entry.line_item;
    ChosenAd {
        slot: entry.slot,
        line_item_id: line_item.id,
        campaign_id: entry.campaign.id,
        advertiser_id: entry.advertiser.id,
        creative_id: creative.id,
        duration_ms: creative.duration_ms,
        tier: line_item.tier,
        price: price::unit_price(line_item),
        drawn: price::draw_price(line_item),
        worth: entry.rank.worth,
        billing,
    }
}

/// Whether the line item is let into this break at all, by what was read of that.
pub(super) fn is_let_in(id: LineItemId, tier: Tier, gate: Gate, seed: Seed) -> Result<(), NoFillReason> {
    if gate.paused {
        return Err(NoFillReason::PausedJustNow);
    }
    if tier != Tier::House && !seed.passes(gate.throttle, id) {
        return Err(NoFillReason::Throttled);
    }
    Ok(())
}

/// Whether the line item may spend in this break, by what was read of its money; then where the money comes from.
pub(super) fn pays(entry: &LineEntry, view: &SpendView, seed: Seed) -> Result<Billing, NoFillReason> {
    is_let_in(entry.line_item.id, entry.line_item.tier, view.gate(), seed)?;
    if entry.line_item.tier == Tier::House {
        return Ok(Billing::None);
    }
    let lease = view.lease.ok_or(NoFillReason::NoLease)?;
    if lease.left < price::draw_price(&entry.line_item) {
        return Err(NoFillReason::LeaseSpent);
    }
    if lease.ordinals_left == 0 {
        return Err(NoFillReason::LeaseOutOfOrdinals);
    }
    Ok(Billing::Lease(lease.lease_id))
}
