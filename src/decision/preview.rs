//! What an operator asked to hear: that ad and no other, whatever its targeting, budget, caps and flight. INV-9: a preview is never billed.

use std::cmp::Reverse;

use super::answer::{Billing, ChosenAd};
use super::eligibility::{self, Break};
use crate::catalog::Snapshot;
use crate::model::{Creative, Micros, Preview};

/// The ad, if the network has that line item and it that creative. Creatives that wait for approval can be heard: that is what previews are for.
pub(super) fn choose(snapshot: &Snapshot, of: &Break<'_>, wish: Preview) -> Option<ChosenAd> {
    let entry = snapshot.line_item(wish.line_item_id)?;
    if entry.line_item.network_id != of.resolved.request.network_id {
        return None;
    }
    let own = entry.line_item.creatives.iter().map(|choice| choice.creative_id);
    let known = own.filter_map(|id| snapshot.creative(id)).filter(|one| one.advertiser_id == entry.advertiser.id);
    let servable = |one: &Creative| entry.creatives.iter().any(|(creative, _)| creative.id == one.id);
    let wanted = known.filter(|one| wish.creative_id.is_none_or(|id| one.id == id));
    let creative = wanted.max_by_key(|one| (servable(one), of.seed.creative(one.id), Reverse(one.id)))?;
    let free =
        ChosenAd { price: Micros::ZERO, drawn: Micros::ZERO, ..eligibility::chosen(entry, creative, Billing::None) };
    Some(free)
}
