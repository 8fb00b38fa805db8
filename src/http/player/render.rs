//! An answered break as the player's JSON.

use super::convert::format_name;
use super::wire::{
    AdBody, AdBreakAnswer, ExplanationBody, FateBody, NextBreakBody, RenditionBody, TrackerBody, WarningBody,
};
use crate::assets::UrlSigner;
use crate::decision::{Explanation, Fate, NextBreak, Outcome};
use crate::model::{AudioFormat, Creative, RenditionSource, RequestId, Tier, WallMs};
use crate::roles::decision::{AnsweredAd, AnsweredBreak};

/// Advice where no next break is due at all: a day, in milliseconds. A player that asks sooner does no harm.
const NEVER_MS: u64 = 86_400_000;

/// Who is answered, as far as the answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The request's id.
    pub request_id: &'a RequestId,
    /// Encodings that the player can play; empty means any.
    pub formats: &'a [AudioFormat],
    /// The beginning of tracking URLs, without a slash at its end.
    pub public_url: &'a str,
    /// Whether prices are told.
    pub sees_prices: bool,
    /// Signs URLs of files that Segue keeps.
    pub signer: &'a UrlSigner,
    /// The moment of the request.
    pub now: WallMs,
}

/// The answer's JSON value.
#[must_use]
pub fn answer(answered: &AnsweredBreak, audience: Audience<'_>, warnings: Vec<WarningBody>) -> AdBreakAnswer {
    let decision = &answered.decision;
    let reasons = answered.reasons().map(|(reason, count)| (reason.to_owned(), count)).collect();
    let after_ms = match decision.next_break {
        NextBreak::Never => NEVER_MS,
        NextBreak::InMs(ms) => ms,
    };
    AdBreakAnswer {
        decision_id: answered.decision_id.as_uuid(),
        request_id: audience.request_id.as_str().to_owned(),
        ads: (1..).zip(&answered.ads).map(|(slot, ad)| ad_body(slot, ad, audience)).collect(),
        no_break: answered.no_break.map(str::to_owned),
        limited: answered.limited.map(|limited| limited.name().to_owned()),
        no_fill_reasons: reasons,
        next_break: NextBreakBody { after_ms },
        degradation_tier: decision.degradation as u8,
        warnings,
        explanation: answered.explanation.as_ref().map(explanation),
    }
}

fn explanation(explained: &Explanation) -> ExplanationBody {
    let fate = |fate: &Fate| {
        let (slot, reason) = match fate.outcome {
            Outcome::Chosen { slot } => (Some(slot.saturating_add(1)), None),
            Outcome::Refused(reason) => (None, Some(reason.name().to_owned())),
        };
        FateBody {
            line_item_id: fate.line_item_id.as_uuid(),
            name: fate.name.clone(),
            tier: tier_name(fate.tier).to_owned(),
            slot,
            reason,
            words: fate.words.clone(),
        }
    };
    ExplanationBody {
        summary: explained.summary.clone(),
        line_items: explained.line_items,
        counts: explained.counts.iter().map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
        fates: explained.fates.iter().map(fate).collect(),
    }
}

fn ad_body(slot: u8, ad: &AnsweredAd, audience: Audience<'_>) -> AdBody {
    AdBody {
        slot,
        advertiser_id: ad.chosen.advertiser_id.as_uuid(),
        advertiser_name: ad.advertiser.name.clone(),
        campaign_id: ad.chosen.campaign_id.as_uuid(),
        line_item_id: ad.chosen.line_item_id.as_uuid(),
        creative_id: ad.chosen.creative_id.as_uuid(),
        tier: tier_name(ad.chosen.tier).to_owned(),
        duration_ms: ad.chosen.duration_ms,
        renditions: renditions(&ad.creative, audience, ad.billable_until),
        click_url: ad.creative.click_url.is_some().then(|| format!("{}/v1/c/{}", audience.public_url, ad.token)),
        tracking_url: format!("{}/v1/t/{{event}}/{}", audience.public_url, ad.token),
        trackers: ad
            .line_item
            .trackers
            .iter()
            .map(|tracker| TrackerBody { event: tracker.event.name().to_owned(), url: tracker.url.clone() })
            .collect(),
        expires_at: ad.billable_until.to_rfc3339(),
        price_micros: audience.sees_prices.then_some(ad.chosen.price.0),
    }
}

/// The encodings that the player can play.
fn renditions(creative: &Creative, audience: Audience<'_>, until: WallMs) -> Vec<RenditionBody> {
    let Audience { formats, signer, now, .. } = audience;
    let playable = creative.renditions.iter().filter(|one| formats.is_empty() || formats.contains(&one.format));
    playable
        .map(|one| RenditionBody {
            format: format_name(one.format).to_owned(),
            bitrate_kbps: one.bitrate_kbps,
            url: match &one.source {
                RenditionSource::Url(url) => url.clone(),
                RenditionSource::Asset(file) => signer.url(*file, now, until),
            },
        })
        .collect()
}

/// A tier's name on the wire.
#[must_use]
pub const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Sponsorship => "sponsorship",
        Tier::Guaranteed => "guaranteed",
        Tier::Auction => "auction",
        Tier::House => "house",
    }
}
