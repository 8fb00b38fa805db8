//! The reference catalogue in a server's own network, and its listeners as players' requests: what a server under load keeps and is asked.
//!
//! In memory the reference week lies in January 2026, its breaks each at their hour. A server has only the present: flights lie around it, and
//! each listener is in a time zone in which it is their hour now, more or less: all hours of a day are heard at once. Budgets and goals are far
//! beyond what a run can spend, so that line items neither run out nor are held back.

use super::{ReferenceBreak, ReferenceCatalogue};
use crate::http::player::wire::{
    AdBreakRequestBody, BreakBody, ContextBody, DeviceBody, GeoBody, ListenerBody, PrivacyBody,
};
use crate::model::{Budget, Flight, Goal, Micros, Network, Tier, WallMs, Zone};

/// Flights begin this long before the present.
const BEFORE_MS: i64 = 7 * 86_400_000;
/// And end this long after it: a stored catalogue is of use for a year.
const AFTER_MS: i64 = 365 * 86_400_000;
/// What a line item may spend: a million units of currency. A thousandth of it, which a lease may cover, lasts for minutes at any load.
const BUDGET: Micros = Micros(1_000_000_000_000);
/// What a guaranteed one promises: far more than it can be heard, so that it is never ahead of its plan.
const GOAL: u64 = 1_000_000_000;
/// Hours of a day.
const DAY_HOURS: i64 = 24;

impl ReferenceCatalogue {
    /// The catalogue as that network's: its id, apps and the first placement's key stay, all else is the reference's.
    ///
    /// # Panics
    /// When the network has no placement: there would be nowhere to play.
    #[must_use]
    pub fn adopted_by(mut self, network: Network, now: WallMs) -> Self {
        let key = network.placements.first().expect("a network has a placement").key.clone();
        let placements = self.network.placements.drain(..).take(1);
        let placements =
            placements.map(|placement| crate::model::Placement { key: key.clone(), ..placement }).collect();
        self.network = Network { id: network.id, apps: network.apps, placements, ..self.network };
        let network_id = self.network.id;
        for advertiser in &mut self.advertisers {
            advertiser.network_id = network_id;
        }
        for campaign in &mut self.campaigns {
            campaign.network_id = network_id;
        }
        for creative in &mut self.creatives {
            creative.network_id = network_id;
        }
        for line_item in &mut self.line_items {
            line_item.network_id = network_id;
            line_item.flight = Flight { start: now.plus_ms(-BEFORE_MS), end: now.plus_ms(AFTER_MS), zone: Zone::utc() };
            line_item.budget = match line_item.tier {
                Tier::House => Budget::default(),
                Tier::Sponsorship | Tier::Guaranteed | Tier::Auction => Budget { lifetime: Some(BUDGET), daily: None },
            };
            line_item.goal = line_item.goal.as_ref().map(|_| Goal { impressions: GOAL, daily_impressions: None });
        }
        self
    }
}

impl ReferenceBreak {
    /// The break as a player asks for it, in that placement. What the reference says of the listener, the server understands of the body.
    #[must_use]
    pub fn body(&self, index: usize, placement: &str) -> AdBreakRequestBody {
        let facts = &self.request.facts;
        let city = facts.city.as_deref().and_then(|city| city.split_once('/')).map(|(_, name)| name.to_owned());
        AdBreakRequestBody {
            request_id: self.request.request_id.as_str().to_owned(),
            listener: ListenerBody {
                id: Some(format!("listener-{index}")),
                session_id: Some(format!("session-{index}")),
                age: facts.age,
                gender: facts.gender.clone(),
                language: facts.language.clone(),
                premium: Some(false),
            },
            ad_break: BreakBody {
                placement: placement.to_owned(),
                max_duration_ms: self.request.spec.max_duration_ms,
                max_ads: self.request.spec.max_ads,
                position: Some("mid_roll".to_owned()),
                formats: Some(vec!["mp3".to_owned(), "ogg_vorbis".to_owned()]),
                companion_sizes: None,
            },
            device: Some(DeviceBody {
                platform: facts.platform.clone(),
                device_type: facts.device_type.clone(),
                os: Some("some os".to_owned()),
                os_version: Some("17.4".to_owned()),
                app_version: Some("8.9.1".to_owned()),
                connection: Some("wifi".to_owned()),
            }),
            geo: Some(GeoBody {
                country: facts.country.clone(),
                region: facts.region.clone(),
                city,
                time_zone: Some(zone_name(self.at)),
                ..GeoBody::default()
            }),
            context: Some(ContextBody {
                genres: Some(facts.genres.clone()),
                explicit: facts.explicit,
                ..ContextBody::default()
            }),
            privacy: Some(PrivacyBody { consent: Some("granted".to_owned()), ..PrivacyBody::default() }),
            since_last_break_ms: None,
            prefetch: None,
            segments: Some(facts.segments.clone()),
            key_values: None,
            explain: None,
            preview: None,
        }
    }
}

/// A zone for the hour of the break: its hours are spread over the day as the zones are over the world. The names have the sign the other way round.
fn zone_name(at: WallMs) -> String {
    let hour = at.0.div_euclid(3_600_000).rem_euclid(DAY_HOURS);
    match hour - 11 {
        0 => "Etc/GMT".to_owned(),
        east @ 1.. => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", -west),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::player::convert::{Asker, to_request};
    use crate::model::{ListenerKey, NetworkId};
    use crate::workload::reference::Profile;

    #[test]
    fn what_the_reference_says_of_a_listener_the_server_understands() {
        let mut zones = BTreeSet::new();
        for (index, one) in ReferenceCatalogue::breaks(Profile::Selective, 300, 5).iter().enumerate() {
            let asker = Asker { network_id: one.request.network_id, app: one.request.app.clone() };
            let mut warnings = Vec::new();
            let key = |_: NetworkId, _: crate::impressions::ListenerSubject<'_>| ListenerKey([0; 16]);
            let body = one.body(index, "music");
            let understood = to_request(body, asker, key, &mut warnings).expect("understood");
            assert_eq!(warnings, []);
            let mut expected = one.request.facts.clone();
            let mut facts = understood.facts;
            zones.insert(facts.zone.take().expect("a zone").name().to_owned());
            expected.zone = None;
            (facts.os, facts.os_version, facts.app_version, facts.connection) = (None, None, None, None);
            for list in [&mut expected.genres, &mut expected.segments] {
                list.sort_unstable();
                list.dedup();
            }
            assert_eq!(facts, expected, "listener {index}");
        }
        assert_eq!(zones.len(), 24, "all hours are heard");
    }

    #[test]
    fn an_adopted_catalogue_is_its_networks() {
        let first = ReferenceCatalogue::generate(Profile::Broad, 400, 1);
        let mut network = first.network.clone();
        network.id = NetworkId::from_u128(77);
        let adopted = first.adopted_by(network, WallMs(1_800_000_000_000));
        let entities = adopted.into_entities();
        assert!(entities.iter().all(|entity| entity.network_id() == NetworkId::from_u128(77)));
    }
}
