//! What must hold of caps: soft ones within the cap and one for each hand-over, strict ones always.

use std::collections::BTreeMap;

use super::board::{Ad, Board, Record};
use super::break_steps::Asked;
use super::catalogue::Catalogue;
use super::clock_model::{RIGHT_WITHIN_MS, true_wall};
use super::server_node::LISTENER_CACHED_MS;
use super::traffic::Who;
use super::world::World;
use crate::caps::strict::Hearing;
use crate::catalog::Entity;
use crate::model::{
    AdvertiserId, BeaconEvent, CampaignId, CapWindow, FrequencyCap, ImpressionId, LineItemId, ListenerKey, Strictness,
};
use crate::tokens::Claims;

/// So many of another device's last ads are looked at for ones that its listener's break may have given up.
const GIVEN_UP_LOOKED_AT: usize = 20;

/// A strict cap of the catalogue.
struct StrictCap {
    advertiser_id: AdvertiserId,
    name: String,
    counts: Counts,
    max: usize,
    window_ms: u64,
}

/// What a cap counts.
#[derive(Clone, Copy)]
enum Counts {
    Campaign(CampaignId),
    LineItem(LineItemId),
}

impl StrictCap {
    fn counts(&self, claims: &Claims) -> bool {
        match self.counts {
            Counts::Campaign(id) => claims.campaign_id == id,
            Counts::LineItem(id) => claims.line_item_id == id,
        }
    }
}

/// The strict caps of the catalogue: in a run each counts what it stands on.
fn strict_caps(catalogue: &Catalogue) -> Vec<StrictCap> {
    let mut all = Vec::new();
    for entity in &catalogue.entities {
        let (advertiser_id, name, counts, caps) = match entity {
            Entity::Campaign(one) => (one.advertiser_id, &one.name, Counts::Campaign(one.id), &one.caps),
            Entity::LineItem(one) => (one.advertiser_id, &one.name, Counts::LineItem(one.id), &one.caps),
            Entity::Network(_) | Entity::Advertiser(_) | Entity::Creative(_) => continue,
        };
        for cap in caps {
            let FrequencyCap { max, window: CapWindow::Sliding(window_ms), strictness: Strictness::Strict, .. } = *cap
            else {
                continue;
            };
            all.push(StrictCap { advertiser_id, name: name.clone(), counts, max: usize::from(max), window_ms });
        }
    }
    all
}

impl Board {
    /// Where the only server hears every beacon, it ends reservations by its clock: what one with a wrong clock takes for over may be heard yet, and
    /// is not counted then. Noted for every ad that is not known to be heard.
    pub(super) fn may_end(&mut self, asked: &Asked, hearing: Hearing) {
        if asked.by_right_clock || hearing == Hearing::Some {
            return;
        }
        for ad in self.ads.values_mut().filter(|ad| ad.claims.listener_key == asked.request.listener_key) {
            ad.maybe_ended |= !ad.acknowledged.contains_key(&BeaconEvent::Impression);
        }
    }
}

impl Ad {
    /// Whether a right clock's server was told in the token's life that it was heard, by whomever: caps count what a robot says it heard, too.
    fn was_told_in_time(&self) -> bool {
        let in_time = |record: &Record| record.received_at.is_some_and(|at| at <= self.claims.billable_until);
        let told = self.acknowledged.get(&BeaconEvent::Impression);
        self.decided_by_right_clock && told.is_some_and(|told| told.records.iter().any(in_time))
    }

    /// Whether every server must still count the ad against strict caps, `at` milliseconds after the start. Not what its player said was not
    /// played; and where one server hears every beacon, not what it did not hear in its time.
    fn counts_strictly(&self, hearing: Hearing, at: u64) -> bool {
        if self.acknowledged.contains_key(&BeaconEvent::Void) {
            return false;
        }
        match hearing {
            Hearing::Some => true,
            Hearing::Everything => {
                let is_open = self.decided_by_right_clock && true_wall(at) <= self.claims.billable_until;
                (is_open || self.was_told_in_time()) && !self.maybe_ended
            }
        }
    }
}

impl World {
    /// What servers hear of the ads that they reserve.
    fn hearing(&self) -> Hearing {
        if self.servers.len() == 1 { Hearing::Everything } else { Hearing::Some }
    }

    /// INV-31 as it happens, when a player's break was answered: in the servers' own times, which tokens tell, no strict cap is passed by what was
    /// answered, with no tolerance, by whatever clock.
    pub(super) fn check_strict_caps(&mut self, player: usize, claims: &[Claims]) {
        let (at, hearing, key) = (self.at, self.hearing(), self.players[player].key());
        let caps = strict_caps(&self.catalogue);
        for cap in caps.iter().filter(|cap| claims.iter().any(|one| cap.counts(one))) {
            let devices = self.players.iter().enumerate().filter(|(_, one)| one.key() == key);
            let recent = devices.filter_map(|(device, _)| self.board.recent.get(&device)).flatten();
            let ads = recent.filter_map(|id| self.board.ads.get(id));
            let counted = ads.filter(|ad| cap.counts(&ad.claims) && ad.counts_strictly(hearing, at));
            let mut times: Vec<u64> = counted.map(|ad| millis(&ad.claims)).collect();
            if let Some((until, count)) = passes_strictly(&mut times, cap.window_ms, cap.max) {
                let what = format!(
                    "{count} ads of {} are answered for the listener of player {player} within {} ms until {until}, of {}",
                    cap.name, cap.window_ms, cap.max
                );
                self.violated("INV-31", Some(cap.advertiser_id), what);
            }
        }
    }

    /// INV-31 in the end: in true time, no strict cap is passed by what listeners heard. What a server with a wrong clock decided is left to the
    /// check of the servers' own times; right clocks may be apart by twice what they may be off.
    pub(super) fn check_strict_caps_at_rest(&mut self) {
        let (at, hearing) = (self.at, self.hearing());
        let apart_ms = 2 * RIGHT_WITHIN_MS.unsigned_abs();
        let mut found = Vec::new();
        let mut heard_at_all: u64 = 0;
        let caps = strict_caps(&self.catalogue);
        for ad in self.board.ads.values().filter(|ad| ad.heard_at.is_some()) {
            heard_at_all += u64::from(caps.iter().any(|cap| cap.counts(&ad.claims)));
        }
        self.board.strict.heard = heard_at_all;
        for cap in &caps {
            let (mut heard, mut answered) = (BTreeMap::new(), BTreeMap::new());
            for ad in self.board.ads.values() {
                if !cap.counts(&ad.claims) || !ad.counts_strictly(hearing, at) {
                    continue;
                }
                let key = ad.claims.listener_key;
                answered.entry(key).or_insert_with(Vec::new).push(millis(&ad.claims));
                if ad.heard_at.is_some() && ad.decided_by_right_clock {
                    heard.entry(key).or_insert_with(Vec::new).push(ad.decided_at);
                }
            }
            let window_ms = cap.window_ms.saturating_sub(apart_ms);
            for (word, window_ms, times) in
                [("heard", window_ms, &mut heard), ("answered", cap.window_ms, &mut answered)]
            {
                for times in times.values_mut() {
                    if let Some((until, count)) = passes_strictly(times, window_ms, cap.max) {
                        let what = format!(
                            "{count} ads of {} were {word} within {window_ms} ms until {until}, of {}",
                            cap.name, cap.max
                        );
                        found.push((cap.advertiser_id, what));
                    }
                }
            }
        }
        for (advertiser_id, what) in found {
            self.violated("INV-31", Some(advertiser_id), what);
        }
    }

    /// Soft caps: no more is heard in a window than the cap and one for each time that what was known may have been lost.
    pub(super) fn check_soft_caps(&mut self) {
        let mut heard: BTreeMap<(ListenerKey, LineItemId), Vec<u64>> = BTreeMap::new();
        // Whoever bursts gives up, with each break, what it says later that it heard.
        let counts = |ad: &&Ad| ad.heard_at.is_some() && ad.decided_by_right_clock && ad.who != Who::Burst;
        for ad in self.board.ads.values().filter(counts) {
            heard.entry((ad.claims.listener_key, ad.claims.line_item_id)).or_default().push(ad.decided_at);
        }
        let mut excuses: BTreeMap<ListenerKey, Vec<u64>> = BTreeMap::new();
        for (player, one) in self.players.iter().enumerate() {
            excuses.entry(one.key()).or_default().extend(self.board.excuses.get(&player).into_iter().flatten());
        }
        let mut found = Vec::new();
        for line_item in self.catalogue.line_items() {
            for cap in line_item.caps.iter().filter(|cap| cap.strictness == Strictness::Soft) {
                let CapWindow::Sliding(window_ms) = cap.window else { continue };
                // Clocks of servers may be a second apart at each end.
                let window_ms = window_ms.saturating_sub(2_500);
                for ((key, line_item_id), times) in heard.iter_mut().filter(|((_, id), _)| *id == line_item.id) {
                    times.sort_unstable();
                    let given_up = self.board.given_up.get(&(*key, *line_item_id)).into_iter().flatten();
                    let excuses: Vec<u64> = excuses.get(key).into_iter().flatten().chain(given_up).copied().collect();
                    if let Some((at, count, excused)) = passes(times, &excuses, window_ms, usize::from(cap.max)) {
                        let players: Vec<_> =
                            (0..self.players.len()).filter(|one| self.players[*one].key() == *key).collect();
                        let what = format!(
                            "players {players:?} heard {} {count} times within {window_ms} ms until {at}, of {} and {excused} excused",
                            line_item.name, cap.max
                        );
                        found.push((line_item.advertiser_id, what));
                    }
                }
            }
        }
        for (advertiser_id, what) in found {
            self.violated("INV-12", Some(advertiser_id), what);
        }
    }

    /// What an answer may cost the soft caps of a listener who has several devices: one where another server answered another of them and this one
    /// has not read since, and one of each ad that it gives up and a device still plays.
    pub(super) fn excuse_devices(&mut self, asked: &Asked, server: usize) {
        let (player, at, key) = (asked.player, asked.at, asked.request.listener_key);
        let others: Vec<usize> =
            (0..self.players.len()).filter(|one| *one != player && self.players[*one].key() == key).collect();
        if others.is_empty() {
            return;
        }
        let answers = self.board.shared.entry(key).or_default();
        let is_behind = answers.iter().any(|(before, other, _)| *other != server && before + LISTENER_CACHED_MS >= at);
        answers.push((at, server, player));
        if is_behind {
            self.board.excuse(player, at);
        }
        for other in others {
            let recent: &[ImpressionId] = self.board.recent.get(&other).map_or(&[], Vec::as_slice);
            for id in recent.iter().rev().take(GIVEN_UP_LOOKED_AT) {
                let Some(ad) = self.board.ads.get(id) else { continue };
                // What another server heard of it is not known here at once.
                let heard = ad.acknowledged.get(&BeaconEvent::Impression);
                if heard.is_none_or(|heard| heard.records.iter().all(|record| record.at + LISTENER_CACHED_MS >= at)) {
                    self.board.given_up.entry((key, ad.claims.line_item_id)).or_default().push(at);
                }
            }
        }
    }
}

/// When the ad was decided by its server's clock, in milliseconds.
fn millis(claims: &Claims) -> u64 {
    claims.decided_at.0.unsigned_abs()
}

/// The first moment at which more than `max` lie in a window that ends with it, and how many. `times` are sorted.
fn passes_strictly(times: &mut [u64], window_ms: u64, max: usize) -> Option<(u64, usize)> {
    times.sort_unstable();
    passes(times, &[], window_ms, max).map(|(at, count, _)| (at, count))
}

/// The first moment at which a cap is passed by more than is excused.
fn passes(times: &[u64], excuses: &[u64], window_ms: u64, max: usize) -> Option<(u64, usize, usize)> {
    times.iter().enumerate().find_map(|(place, &at)| {
        let from = at.saturating_sub(window_ms);
        let count = times[..=place].iter().filter(|&&time| time > from).count();
        let excused = excuses.iter().filter(|&&time| time >= from && time <= at).count();
        (count > max + excused).then_some((at, count, excused))
    })
}
