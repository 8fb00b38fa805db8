//! The records that every ad break and every beacon make, written without a message in between, in which each id and
//! text would be a piece of memory of its own. `envelope.rs` says the same of all records, and is the oracle here.

use super::beacon::platform_code;
use super::codes::Code;
use super::writer::Writer;
use crate::events::{
    BeaconRecord, ChosenAdRecord, DecisionRecord, Envelope, Event, ListenerView, RequestRecord, SCHEMA_VERSION,
    SpendReadRecord,
};
use crate::model::{AppKey, BreakSpec, Exposure, ExposureState, Facts, ImpressionId, Subscription, Zone};

/// A beacon's record takes about 260 bytes.
const BEACON_BYTES: usize = 384;
/// A decision's record takes about so many bytes without its lists.
const DECISION_BYTES: usize = 1_024;
/// An exposure takes about 115 bytes, an ad or what was read of a line item less.
const ELEMENT_BYTES: usize = 120;
/// A line item that was held back takes so many bytes.
const HELD_BACK_BYTES: usize = 24;

/// The event as it is kept, if it is one of those; no other kind comes as often.
pub(in crate::events) fn encode(envelope: &Envelope) -> Option<Vec<u8>> {
    match &envelope.body {
        Event::Beacon(record) => Some(write(envelope, BEACON_BYTES, |writer| {
            writer.message(18, |writer| beacon(writer, record));
        })),
        Event::Decision(record) => {
            let elements = record.listener.exposures.len() + record.spend_reads.len() + record.ads.len();
            let bytes = DECISION_BYTES + ELEMENT_BYTES * elements + HELD_BACK_BYTES * record.held_back.len();
            Some(write(envelope, bytes, |writer| {
                writer.message(19, |writer| decision(writer, record));
            }))
        }
        Event::LeaseGranted(_)
        | Event::LeaseReturned(_)
        | Event::LeaseClosed(_)
        | Event::Reversal(_)
        | Event::Catalog(_)
        | Event::Ledger(_) => None,
    }
}

fn write(envelope: &Envelope, bytes: usize, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::with_capacity(bytes);
    writer.bytes(1, &envelope.event_id.0);
    writer.some_signed(2, envelope.occurred_at.0);
    writer.some_signed(3, envelope.received_at.0);
    writer.bytes(4, &envelope.server_id.to_bytes());
    writer.bytes(5, &envelope.boot_id.to_bytes());
    if let Some(trace) = envelope.trace_id {
        writer.some_bytes(6, &trace.0);
    }
    writer.number(7, SCHEMA_VERSION);
    body(&mut writer);
    writer.into_bytes()
}

fn beacon(writer: &mut Writer, beacon: &BeaconRecord) {
    writer.code(1, beacon.event.code());
    impression(writer, 2, beacon.impression_id);
    writer.bytes(3, &beacon.network_id.to_bytes());
    writer.bytes(4, &beacon.advertiser_id.to_bytes());
    writer.bytes(5, &beacon.campaign_id.to_bytes());
    writer.bytes(6, &beacon.line_item_id.to_bytes());
    writer.bytes(7, &beacon.creative_id.to_bytes());
    writer.bytes(8, &beacon.decision_id.to_bytes());
    writer.code(9, beacon.tier.code());
    writer.code(10, beacon.price_model.code());
    writer.some_signed(11, beacon.price.0);
    writer.bytes(12, &beacon.pseudonym.0);
    writer.bytes(13, beacon.placement.as_str().as_bytes());
    writer.text(14, beacon.app.as_ref().map(AppKey::as_str));
    if let Some(country) = beacon.country {
        writer.some_bytes(15, String::from_utf8_lossy(&country).as_bytes());
    }
    writer.code(16, platform_code(beacon.platform));
    writer.some_signed(17, beacon.decided_at.0);
    writer.some_signed(18, beacon.billable_until.0);
    writer.number(19, beacon.duration_ms);
    writer.flag(20, beacon.impression_at_start);
    writer.flag(21, beacon.preview);
    if let Some(played_ms) = beacon.played_ms {
        writer.some_number(22, u64::from(played_ms));
    }
    if let Some(address) = beacon.truncated_ip {
        writer.some_bytes(23, address.as_bytes());
    }
    writer.code(24, beacon.invalid.map_or(0, Code::code));
}

fn decision(writer: &mut Writer, decision: &DecisionRecord) {
    writer.bytes(1, &decision.decision_id.to_bytes());
    writer.message(2, |writer| request(writer, &decision.request));
    writer.message(3, |writer| listener(writer, &decision.listener));
    writer.some_number(4, decision.catalog_version);
    writer.some_signed(5, decision.now.wall.0);
    writer.some_number(6, decision.now.monotonic.0);
    writer.some_fixed(7, decision.seed);
    for id in &decision.excluded {
        writer.some_bytes(8, &id.to_bytes());
    }
    for read in &decision.spend_reads {
        writer.message(9, |writer| spend_read(writer, read));
    }
    for ad in &decision.ads {
        writer.message(10, |writer| chosen_ad(writer, ad));
    }
    writer.text(11, decision.no_break.as_deref());
    for (reason, count) in &decision.reasons {
        writer.message(12, |writer| {
            writer.bytes(1, reason.as_bytes());
            writer.number(2, *count);
        });
    }
    writer.text(13, decision.strict_caps_refused.as_deref());
    writer.pieces(14, decision.held_back.iter().map(|one| one.line_item_id.to_bytes()));
    writer.pieces(15, decision.held_back.iter().map(|one| one.throttle.to_le_bytes()));
}

fn request(writer: &mut Writer, request: &RequestRecord) {
    writer.bytes(1, &request.network_id.to_bytes());
    writer.bytes(2, request.request_id.as_str().as_bytes());
    writer.bytes(3, &request.pseudonym.0);
    writer.bytes(4, request.app.as_str().as_bytes());
    writer.bytes(5, request.placement.as_str().as_bytes());
    writer.message(6, |writer| spec(writer, &request.spec));
    writer.message(7, |writer| facts(writer, &request.facts));
    writer.code(8, request.consent.code());
    writer.flag(9, request.child);
    writer.flag(10, request.subscription == Subscription::Premium);
    if let Some(since_last_break_ms) = request.since_last_break_ms {
        writer.some_number(11, since_last_break_ms);
    }
    writer.flag(12, request.prefetch);
    if let Some(preview) = request.preview {
        writer.message(13, |writer| {
            writer.bytes(1, &preview.line_item_id.to_bytes());
            if let Some(id) = preview.creative_id {
                writer.some_bytes(2, &id.to_bytes());
            }
        });
    }
}

fn spec(writer: &mut Writer, spec: &BreakSpec) {
    writer.number(1, spec.max_duration_ms);
    writer.number(2, spec.max_ads);
    writer.code(3, spec.position.code());
    writer.codes(4, spec.formats.iter().map(|format| format.code()));
    for &(width, height) in &spec.companion_sizes {
        writer.message(5, |writer| {
            writer.number(1, width);
            writer.number(2, height);
        });
    }
}

fn facts(writer: &mut Writer, facts: &Facts) {
    writer.text(1, facts.country.as_deref());
    writer.text(2, facts.region.as_deref());
    writer.text(3, facts.city.as_deref());
    writer.text(4, facts.postal_code.as_deref());
    writer.text(5, facts.language.as_deref());
    if let Some(age) = facts.age {
        writer.some_number(6, u64::from(age));
    }
    writer.text(7, facts.gender.as_deref());
    writer.text(8, facts.platform.as_deref());
    writer.text(9, facts.device_type.as_deref());
    writer.text(10, facts.os.as_deref());
    writer.text(11, facts.os_version.as_deref());
    writer.text(12, facts.app_version.as_deref());
    writer.text(13, facts.connection.as_deref());
    writer.texts(14, &facts.genres);
    writer.texts(15, &facts.moods);
    writer.text(16, facts.playlist.as_deref());
    writer.texts(17, &facts.artists);
    if let Some(explicit) = facts.explicit {
        writer.some_flag(18, explicit);
    }
    writer.texts(19, &facts.content_categories);
    writer.texts(20, &facts.segments);
    for (key, value) in &facts.key_values {
        writer.message(21, |writer| {
            writer.bytes(1, key.as_bytes());
            writer.bytes(2, value.as_bytes());
        });
    }
    if let Some(point) = facts.coordinates {
        writer.message(22, |writer| {
            writer.double(1, point.latitude);
            writer.double(2, point.longitude);
        });
    }
    writer.text(23, facts.zone.as_ref().map(Zone::name));
    writer.texts(24, &facts.taste_genres);
    writer.texts(25, &facts.taste_moods);
}

fn listener(writer: &mut Writer, listener: &ListenerView) {
    for one in &listener.exposures {
        writer.message(1, |writer| exposure(writer, one));
    }
    if let Some(at) = listener.last_break_at {
        writer.some_signed(2, at.0);
    }
    for id in &listener.last_break_creatives {
        writer.some_bytes(3, &id.to_bytes());
    }
}

fn exposure(writer: &mut Writer, exposure: &Exposure) {
    impression(writer, 1, exposure.impression_id);
    writer.some_signed(2, exposure.at.0);
    writer.bytes(3, &exposure.advertiser_id.to_bytes());
    writer.bytes(4, &exposure.campaign_id.to_bytes());
    writer.bytes(5, &exposure.line_item_id.to_bytes());
    writer.bytes(6, &exposure.creative_id.to_bytes());
    if let ExposureState::Reserved { until } = exposure.state {
        writer.some_signed(7, until.0);
    }
}

fn spend_read(writer: &mut Writer, read: &SpendReadRecord) {
    writer.bytes(1, &read.line_item_id.to_bytes());
    writer.flag(2, read.paused);
    writer.fixed(3, read.throttle);
    if let Some(lease) = read.lease {
        writer.some_bytes(4, &lease.lease_id.to_bytes());
        writer.signed(5, lease.left.0);
        writer.number(6, lease.ordinals_left);
        writer.some_signed(7, lease.last_billable_until.0);
    }
}

fn chosen_ad(writer: &mut Writer, ad: &ChosenAdRecord) {
    impression(writer, 1, ad.impression_id);
    writer.bytes(2, &ad.advertiser_id.to_bytes());
    writer.bytes(3, &ad.campaign_id.to_bytes());
    writer.bytes(4, &ad.line_item_id.to_bytes());
    writer.bytes(5, &ad.creative_id.to_bytes());
    writer.code(6, ad.tier.code());
    writer.some_signed(7, ad.price.0);
    writer.number(8, ad.duration_ms);
}

fn impression(writer: &mut Writer, field: u32, impression_id: ImpressionId) {
    writer.message(field, |writer| match impression_id {
        ImpressionId::Leased { lease_id, ordinal } => {
            writer.some_bytes(1, &lease_id.to_bytes());
            writer.number(3, ordinal);
        }
        ImpressionId::Unleased { decision_id, slot } => {
            writer.some_bytes(2, &decision_id.to_bytes());
            writer.number(3, slot);
        }
    });
}
