//! The sentence that goes with each reason, with the values that led to it.

use super::decide::compete;
use super::eligibility::{self, Break};
use super::mismatch::{Circumstances, list, mismatch};
use super::reason::NoFillReason;
use super::spending::SpendView;
use super::suitability;
use super::{ChosenAd, Decision, price};
use crate::catalog::{LineEntry, Snapshot};
use crate::model::{AudioFormat, Micros, PriceModel, Pricing, Status};

/// What a sentence can speak of.
pub(super) struct Scene<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) of: Break<'a>,
    pub(super) decision: &'a Decision,
}

/// Why the line item is not in the pod. `view` is what was read of its money, where that was looked at.
pub(super) fn sentence(reason: NoFillReason, entry: &LineEntry, view: Option<&SpendView>, scene: &Scene<'_>) -> String {
    let (line_item, of) = (&*entry.line_item, &scene.of);
    let resolved = of.resolved;
    match reason {
        NoFillReason::NotMatched => {
            let circumstances =
                Circumstances { request: &resolved.request, line_item_zone: &line_item.flight.zone, at: of.now.wall };
            format!("not matched: {}", mismatch(&line_item.targeting, circumstances))
        }
        NoFillReason::AvoidsExplicit => "avoids explicit content, and what plays is explicit".to_owned(),
        NoFillReason::AvoidsContentCategory => {
            let shared =
                suitability::shared(&line_item.avoid.content_categories, &resolved.request.facts.content_categories);
            format!("avoids content category {}", shared.unwrap_or("of what plays"))
        }
        NoFillReason::AvoidsGenre => {
            let shared = suitability::shared(&line_item.avoid.genres, &resolved.request.facts.genres);
            format!("avoids genre {}", shared.unwrap_or("of what plays"))
        }
        NoFillReason::NotForChildren => {
            format!("the listener is a child, and {} is not advertised to children", category(entry))
        }
        NoFillReason::Paused => format!("paused: {}", paused_level(entry)),
        NoFillReason::FlightNotStarted => format!("its flight starts at {}", line_item.flight.start.to_rfc3339()),
        NoFillReason::FlightEnded => format!("its flight ended at {}", line_item.flight.end.to_rfc3339()),
        NoFillReason::NoServableCreative
        | NoFillReason::OnlyExplicitCreatives
        | NoFillReason::NoPlayableFormat
        | NoFillReason::TooLong
        | NoFillReason::HeardInLastBreak => about_creatives(reason, entry, of),
        NoFillReason::SponsorNotDrawn => sponsor_not_drawn(scene),
        NoFillReason::StrictCapInSession => {
            "has a strict cap, which can't be kept for a listener of whom nothing may be stored".to_owned()
        }
        NoFillReason::StrictCapUnsure => {
            "has a strict cap, and the listener's state could not be had or written in time".to_owned()
        }
        NoFillReason::Capped => match eligibility::choose_creative(entry, of) {
            Err(hit) => format!("capped: heard {hit}"),
            Ok(_) => "capped".to_owned(),
        },
        NoFillReason::BelowFloor => {
            let price = price_in_words(line_item.pricing);
            format!("{price} is below the floor of {}", cpm(of.floor_cpm))
        }
        NoFillReason::DrawFailed => "its lease ran out while this break was decided".to_owned(),
        NoFillReason::PausedJustNow => "paused a moment ago".to_owned(),
        NoFillReason::Throttled
        | NoFillReason::NoLease
        | NoFillReason::LeaseSpent
        | NoFillReason::LeaseOutOfOrdinals => about_money(reason, entry, view),
        NoFillReason::SameAdvertiser => {
            let other = scene.decision.ads.iter().find(|ad| ad.advertiser_id == entry.advertiser.id);
            format!("another ad of {} is in the pod: {}", entry.advertiser.name, named(other, scene))
        }
        NoFillReason::CategorySeparation => {
            let competes = |ad: &&ChosenAd| scene.snapshot.get(ad.slot).is_some_and(|other| compete(entry, other));
            let other = scene.decision.ads.iter().find(competes);
            format!("{} competes with {} in the pod", category(entry), named(other, scene))
        }
        NoFillReason::Outranked => outranked(entry, scene),
        NoFillReason::BeyondLimit => "more candidates than a decision may weigh were ahead of it".to_owned(),
        NoFillReason::PreviewNotFound => "no such line item or creative".to_owned(),
    }
}

fn category(entry: &LineEntry) -> &str {
    entry.line_item.category.as_deref().unwrap_or("what it advertises")
}

fn paused_level(entry: &LineEntry) -> &'static str {
    match (entry.line_item.status, entry.campaign.status) {
        (Status::Paused | Status::Archived, _) => "the line item",
        (Status::Active, Status::Paused | Status::Archived) => "its campaign",
        (Status::Active, Status::Active) => "its advertiser",
    }
}

fn about_creatives(reason: NoFillReason, entry: &LineEntry, of: &Break<'_>) -> String {
    let creatives = || entry.creatives.iter().map(|(creative, _)| creative);
    match reason {
        NoFillReason::OnlyExplicitCreatives => "the listener is a child, and its creatives are explicit".to_owned(),
        NoFillReason::NoPlayableFormat => {
            let wanted: Vec<&str> =
                of.resolved.request.spec.formats.iter().map(|&format| format_name(format)).collect();
            let mut there: Vec<&str> =
                creatives().flat_map(|creative| &creative.renditions).map(|one| format_name(one.format)).collect();
            there.sort_unstable();
            there.dedup();
            format!("the player wants {}, and its creatives are {}", list(&wanted), list(&there))
        }
        NoFillReason::TooLong => {
            let shortest = creatives().map(|creative| creative.duration_ms).min().unwrap_or(0);
            format!("its shortest creative lasts {} ms, the break {} ms", shortest, of.limits.max_duration_ms)
        }
        NoFillReason::HeardInLastBreak => "heard in the listener's break before".to_owned(),
        _ => format!("none of its {} creatives is active and approved", entry.line_item.creatives.len()),
    }
}

const fn format_name(format: AudioFormat) -> &'static str {
    match format {
        AudioFormat::Mp3 => "mp3",
        AudioFormat::OggVorbis => "ogg vorbis",
        AudioFormat::Aac => "aac",
        AudioFormat::Wav => "wav",
    }
}

fn sponsor_not_drawn(scene: &Scene<'_>) -> String {
    match scene.decision.ads.first().filter(|ad| ad.tier == crate::model::Tier::Sponsorship) {
        Some(_) => format!("the break was drawn for {}", named(scene.decision.ads.first(), scene)),
        None => "the break was drawn for another sponsor, or for none".to_owned(),
    }
}

fn about_money(reason: NoFillReason, entry: &LineEntry, view: Option<&SpendView>) -> String {
    let lease = view.and_then(|view| view.lease);
    match (reason, view, lease) {
        (NoFillReason::Throttled, Some(view), _) => {
            // Ten-thousandths of the whole range: exact enough to read, and no float.
            let share = u128::from(view.throttle) * 10_000 / u128::from(u64::MAX);
            format!("held back to spread its delivery: serves in {}.{:02} % of its breaks", share / 100, share % 100)
        }
        (NoFillReason::LeaseSpent, _, Some(lease)) => {
            let price = price::draw_price(&entry.line_item);
            format!("its lease has {} left, and an impression costs {price}", lease.left)
        }
        (NoFillReason::LeaseOutOfOrdinals, _, _) => "its lease has no impressions left".to_owned(),
        (NoFillReason::Throttled, None, _) => "held back to spread its delivery".to_owned(),
        _ => "this server holds no lease of its budget".to_owned(),
    }
}

fn outranked(entry: &LineEntry, scene: &Scene<'_>) -> String {
    let ads = &scene.decision.ads;
    let (line_item, limits) = (&entry.line_item, &scene.of.limits);
    let used_ms: u32 = ads.iter().map(|ad| ad.duration_ms).sum();
    let lowest = ads.iter().filter(|ad| ad.tier <= line_item.tier).min_by_key(|ad| ad.worth);
    let own = entry.rank.worth;
    match lowest {
        Some(last) if last.tier == line_item.tier && own < last.worth => format!(
            "outranked: {} is below the lowest of the pod, {}",
            cpm(entry.rank.expected_cpm()),
            cpm(Micros(last.worth.0.saturating_mul(1_000)))
        ),
        Some(_) | None => format!(
            "outranked: the pod is worth more without it ({} of {} ads, {used_ms} of {} ms)",
            ads.len(),
            limits.max_ads,
            limits.max_duration_ms
        ),
    }
}

fn named(ad: Option<&ChosenAd>, scene: &Scene<'_>) -> String {
    let entry = ad.and_then(|ad| scene.snapshot.get(ad.slot));
    entry.map_or_else(|| "another line item".to_owned(), |entry| entry.line_item.name.clone())
}

/// What a line item pays, in units and for what.
pub(super) fn price_in_words(pricing: Pricing) -> String {
    let model = match pricing.model {
        PriceModel::Cpm => "CPM",
        PriceModel::Cpcl => "CPCL",
        PriceModel::Cpc => "a click",
        PriceModel::Flat => "flat",
    };
    format!("{} {model}", units(pricing.amount))
}

/// A price for a thousand impressions, in units.
pub(super) fn cpm(amount: Micros) -> String {
    format!("{} CPM", units(amount))
}

/// Money in units: two decimals, more where they say more.
fn units(amount: Micros) -> String {
    let text = amount.to_string();
    let whole = text.len() - 6;
    let decimals = text[whole..].trim_end_matches('0').len().max(2);
    text[..whole + decimals].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_read_well() {
        assert_eq!(cpm(Micros(4_500_000)), "4.50 CPM");
        assert_eq!(cpm(Micros(4_501_000)), "4.501 CPM");
        assert_eq!(cpm(Micros(0)), "0.00 CPM");
        assert_eq!(cpm(Micros(12_000_000)), "12.00 CPM");
    }
}
