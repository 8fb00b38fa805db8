//! A world that reads like a real one: a music service in 25 countries, 60 brands with some 2,200 line items of every tier, and the
//! people who listen.
//!
//! Cities, regions, coordinates and time zones are real; brands, artists and playlists are invented. Budgets and goals are small against
//! the supply of a demo, so that even pacing has to hold line items back, caps are reached and competitors meet in one break.

mod audience;
mod business;
mod listeners;
mod places;
mod words;

use crate::catalog::Entity;
use crate::model::{Advertiser, Campaign, Creative, LineItem, Network, WallMs};
use crate::workload::Draws;

pub use listeners::{ConsentAnswer, Device, Track, WorldListener, listeners};
pub use places::{CITIES, City, city_key};

/// How long a token of the world's placement lives, in milliseconds: short, so that a demo sees late beacons.
pub const TOKEN_LIFE_MS: u64 = 600_000;
/// Least time between two breaks of a listener, in milliseconds.
pub const CADENCE_MS: u32 = 240_000;
/// Longest pod in milliseconds.
pub const POD_MAX_MS: u32 = 90_000;
/// Most ads in a pod.
pub const POD_MAX_ADS: u8 = 3;

/// Streams of one seed.
const STREAM_BUSINESS: u64 = 11;
const STREAM_LISTENERS: u64 = 12;

/// The catalogue of the world.
#[derive(Clone, PartialEq, Debug)]
pub struct World {
    /// The given network with the world's name, floor and placement rules.
    pub network: Network,
    /// The brands, and first the network's own advertiser, who pays nothing.
    pub advertisers: Vec<Advertiser>,
    /// Their campaigns.
    pub campaigns: Vec<Campaign>,
    /// Their creatives.
    pub creatives: Vec<Creative>,
    /// Their line items.
    pub line_items: Vec<LineItem>,
}

impl World {
    /// The world of that seed on `network`, whose id, apps and first placement's key are kept; its flights lie around `start`.
    ///
    /// # Panics
    /// When the network has no placement: there would be nowhere to play.
    #[must_use]
    pub fn generate(network: Network, start: WallMs, seed: u64) -> Self {
        business::world(network, start, &mut Draws::new(seed, STREAM_BUSINESS))
    }

    /// All of it for the catalogue: each entity after those that it belongs to.
    #[must_use]
    pub fn into_entities(self) -> Vec<Entity> {
        std::iter::once(Entity::from(self.network))
            .chain(self.advertisers.into_iter().map(Entity::from))
            .chain(self.campaigns.into_iter().map(Entity::from))
            .chain(self.creatives.into_iter().map(Entity::from))
            .chain(self.line_items.into_iter().map(Entity::from))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::{App, AppKey, Micros, NetworkId, Placement, PlacementKey, Tier};

    const START: WallMs = WallMs(1_790_000_000_000);

    fn network() -> Network {
        Network {
            id: NetworkId::from_u128(1),
            name: "default".to_owned(),
            currency: "EUR".to_owned(),
            floor_cpm: Micros::ZERO,
            approve_creatives: true,
            apps: vec![App { key: AppKey::new("app").unwrap(), name: "App".to_owned() }],
            placements: vec![Placement {
                key: PlacementKey::new("between").unwrap(),
                name: "Between".to_owned(),
                floor_cpm: Micros::ZERO,
                max_duration_ms: 1,
                max_ads: 1,
                cadence_ms: 0,
                token_life_ms: 1,
                impression_at_start: true,
            }],
        }
    }

    #[test]
    fn the_world_has_what_it_promises() {
        for seed in [1, 7] {
            let world = World::generate(network(), START, seed);
            assert!(world.advertisers.len() >= 50, "{}", world.advertisers.len());
            assert!(world.line_items.len() >= 2_000, "{}", world.line_items.len());
            let mut tiers = BTreeMap::<Tier, u32>::new();
            for item in &world.line_items {
                *tiers.entry(item.tier).or_default() += 1;
                assert_eq!(item.goal.is_some(), item.tier == Tier::Guaranteed, "{}", item.name);
                assert_eq!(item.share_of_voice.is_some(), item.tier == Tier::Sponsorship, "{}", item.name);
                assert!(item.flight.start < item.flight.end);
                assert_eq!(item.pricing.amount.0 % 1_000, 0);
                assert_eq!(item.pricing.amount > Micros::ZERO, item.tier != Tier::House);
                assert!(!item.creatives.is_empty());
            }
            assert!(tiers.len() == 4 && tiers.values().all(|&count| count >= 8), "{tiers:?}");
            let ids: BTreeSet<_> = world.line_items.iter().map(|item| item.id).collect();
            assert_eq!(ids.len(), world.line_items.len());
            assert_eq!(world, World::generate(network(), START, seed));
        }
        assert_ne!(World::generate(network(), START, 1), World::generate(network(), START, 2));
    }

    #[test]
    fn parts_belong_together() {
        let world = World::generate(network(), START, 3);
        let campaigns: BTreeMap<_, _> = world.campaigns.iter().map(|one| (one.id, one.advertiser_id)).collect();
        let creatives: BTreeMap<_, _> = world.creatives.iter().map(|one| (one.id, one.advertiser_id)).collect();
        let advertisers: BTreeSet<_> = world.advertisers.iter().map(|one| one.id).collect();
        for item in &world.line_items {
            assert_eq!(campaigns.get(&item.campaign_id), Some(&item.advertiser_id), "{}", item.name);
            assert!(item.creatives.iter().all(|one| creatives.get(&one.creative_id) == Some(&item.advertiser_id)));
            assert!(advertisers.contains(&item.advertiser_id));
        }
    }

    #[test]
    fn listeners_are_many_kinds_of_people() {
        let people = listeners(2_000, 7);
        assert_eq!(people, listeners(2_000, 7));
        assert_eq!(people[..10], listeners(10, 7)[..]);
        let countries: BTreeSet<&str> = people.iter().map(|one| one.home.country).collect();
        assert!(countries.len() >= 20, "{}", countries.len());
        let share = |of: fn(&WorldListener) -> bool| people.iter().filter(|one| of(one)).count();
        assert!((50..180).contains(&share(|one| one.premium)));
        assert!((25..110).contains(&share(|one| one.child)));
        assert!((80..260).contains(&share(|one| one.devices.len() == 2)));
        assert!((450..750).contains(&share(|one| one.prefetches)));
    }
}
