//! Players: they ask for breaks, hear the ads, and say what happened ([`super::reports`]). Some are no listeners ([`super::traffic`]).

use std::sync::Arc;

use super::board::Ad;
use super::break_steps::Asked;
use super::catalogue::{NETWORK, TOKEN_LIFE_MS, app_key, placement_key};
use super::faults::FaultKind;
use super::reports::PlayerBeacon;
use super::traffic::Who;
use super::world::{Event, World};
use crate::model::{
    AdBreakRequest, BeaconEvent, BreakPosition, BreakSpec, ConsentScope, Facts, ImpressionId, ListenerKey, PriceModel,
    RequestId, Subscription, Tier,
};
use crate::tokens::Claims;
use crate::workload::Draws;

/// How long a player waits for the answer of a break before it asks again, in milliseconds.
const ANSWER_WITHIN_MS: u64 = 1_500;
/// How often it asks for one break.
const ATTEMPTS: u32 = 4;
/// How much of an ad must be heard to be billed, in milliseconds.
const AUDIBLE_MS: u64 = 2_100;
/// Time between two breaks of a listener, in milliseconds.
const LISTENS_MS: (u32, u32) = (22_000, 45_000);
/// The same of whoever bursts: about as fast as breaks come due.
const BURSTS_MS: (u32, u32) = (5_500, 8_000);
/// First stream of draws for what players do.
const STREAM_PLAYERS: u64 = 1 << 32;
/// Share of players that are another device of the listener of the player before.
const DEVICE_SHARE: f64 = 0.2;
/// How far apart two devices that ask by the same clock are at most, in milliseconds.
const BEHIND_MS_MAX: u32 = 120;

/// A player.
#[derive(Clone, Debug)]
pub struct Player {
    /// What it is.
    pub who: Who,
    key: ListenerKey,
    /// Whether it is the other device of the listener before.
    is_second: bool,
    seed: u64,
    index: usize,
    /// The player whose times it keeps: its own, or those of another device of its listener.
    times_of: usize,
    /// How long after that one's times it asks, in milliseconds.
    behind_ms: u64,
    /// The server that it talks to.
    pub(super) home: usize,
    /// Number of its latest request.
    asked: u32,
    is_answered: bool,
}

impl Player {
    /// A player of a seed.
    #[must_use]
    pub fn new(seed: u64, index: usize, servers: usize, who: &[Who]) -> Self {
        let mut draws = Draws::new(seed, STREAM_PLAYERS - 1 - index as u64);
        let key = ListenerKey::of_account(draws.bytes());
        let home = draws.index(servers);
        let is_alone = Self {
            key,
            is_second: false,
            who: who[index],
            seed,
            index,
            times_of: index,
            behind_ms: 0,
            home,
            asked: 0,
            is_answered: true,
        };
        if index == 0 || !draws.chance(DEVICE_SHARE) {
            return is_alone;
        }
        // Another device of the listener before: half of them ask by the same clock, so that breaks of one listener meet.
        let other = Self::new(seed, index - 1, servers, who);
        if [who[index], who[index - 1]] != [Who::Listener; 2] || other.is_second {
            return is_alone;
        }
        let (times_of, behind_ms) = if draws.chance(0.5) {
            (other.times_of, other.behind_ms + u64::from(draws.between(0, BEHIND_MS_MAX)))
        } else {
            (index, 0)
        };
        Self { key: other.key, is_second: true, times_of, behind_ms, ..is_alone }
    }

    /// Its listener.
    #[must_use]
    pub const fn key(&self) -> ListenerKey {
        self.key
    }

    /// Number of its latest request.
    #[must_use]
    pub const fn asked(&self) -> u32 {
        self.asked
    }

    /// What it does around its break of that number: the same whatever else happens in the run, so that a run without faults has the same
    /// demand.
    fn draws(&self, number: u32) -> Draws {
        Draws::new(self.seed, STREAM_PLAYERS + (self.index as u64) * (1 << 20) + u64::from(number))
    }

    /// When it asks first, in milliseconds.
    #[must_use]
    pub fn first_ask_ms(&self) -> u64 {
        self.times(0, 100, 25_000) + self.behind_ms
    }

    /// A span of the times that it keeps, in milliseconds.
    fn times(&self, number: u32, low: u32, high: u32) -> u64 {
        u64::from(Self { index: self.times_of, ..self.clone() }.draws(number).between(low, high))
    }

    /// Its request of that number: the same however often it is sent.
    pub(super) fn request(&self, number: u32) -> AdBreakRequest {
        let mut draws = self.draws(number);
        AdBreakRequest {
            network_id: NETWORK,
            request_id: RequestId::new(&format!("p{}-{number}", self.index)).expect("visible ASCII"),
            listener_key: self.key,
            app: app_key(),
            placement: placement_key(),
            spec: BreakSpec {
                max_duration_ms: 20_000,
                max_ads: 3,
                position: BreakPosition::MidRoll,
                formats: Vec::new(),
                companion_sizes: Vec::new(),
            },
            facts: Facts {
                country: Some("se".to_owned()),
                genres: vec![(*draws.pick(&["pop", "jazz"])).to_owned()],
                ..Facts::default()
            },
            consent: ConsentScope::Personal,
            child: false,
            subscription: Subscription::Free,
            since_last_break_ms: None,
            prefetch: false,
            preview: None,
        }
    }
}

impl World {
    pub(super) fn player_asks(&mut self, player: usize) {
        if self.at >= self.shape.asking_until_ms() {
            return;
        }
        if self.servers.len() > 1 && self.faults.strikes(FaultKind::HandOver) {
            self.moves(player);
        }
        let one = &mut self.players[player];
        one.asked += 1;
        one.is_answered = false;
        let number = one.asked;
        let (low, high) = if one.who == Who::Burst { BURSTS_MS } else { LISTENS_MS };
        let next = one.times(number, low, high);
        self.after(next, Event::PlayerAsks { player });
        self.ask(player, number, 0);
    }

    /// The player turns to another server.
    fn moves(&mut self, player: usize) {
        let others = self.servers.len() - 1;
        let by = 1 + self.faults.draws(FaultKind::HandOver).index(others.max(1));
        let one = &mut self.players[player];
        one.home = (one.home + by) % self.servers.len();
        self.board.excuse(player, self.at);
    }

    fn ask(&mut self, player: usize, number: u32, attempt: u32) {
        if attempt + 1 < ATTEMPTS {
            self.after(ANSWER_WITHIN_MS, Event::AskAgain { player, number, attempt: attempt + 1 });
        }
        if self.faults.strikes(FaultKind::RequestLost) {
            return;
        }
        let (delay, server) = (self.net_ms(), self.players[player].home);
        self.after(delay, Event::RequestArrives { player, number, server });
    }

    pub(super) fn ask_again(&mut self, player: usize, number: u32, attempt: u32) {
        let one = &self.players[player];
        if one.is_answered || one.asked != number {
            return;
        }
        // Twice without an answer: another server may be up.
        if attempt >= 2 && self.servers.len() > 1 {
            self.moves(player);
        }
        self.ask(player, number, attempt);
    }

    pub(super) fn request_arrives(&mut self, player: usize, number: u32, server: usize) {
        if self.servers[server].paused_until > self.at {
            let until = self.servers[server].paused_until;
            self.schedule(until, Event::RequestArrives { player, number, server });
            return;
        }
        let is_out = self.servers[server].process.as_ref().is_none_or(super::server_node::Process::is_draining);
        if is_out || !self.servers[server].clock.is_ready(self.at) {
            return;
        }
        self.break_arrives(player, number, server);
    }

    pub(super) fn answer_arrives(&mut self, player: usize, number: u32, bytes: &[u8]) {
        let one = &mut self.players[player];
        if one.is_answered || one.asked != number {
            return;
        }
        one.is_answered = true;
        let mut draws = one.draws(number);
        let _genre = draws.bits();
        let away = self.faults.strikes(FaultKind::PlayerAway);
        let away_ms = if away { self.away_ms() } else { 0 };
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (mut offset, mut said) = (0, Vec::new());
        for token in text.lines() {
            let claims = self.keys.open(token).expect("sealed in this run");
            offset += self.plays(player, number, (token, &claims), &mut draws, offset, &mut said);
        }
        if away && self.faults.draws(FaultKind::PlayerAway).chance(0.7) {
            self.gathers(player, &said, offset + away_ms);
        } else {
            for (beacon, after) in said {
                self.will_report(player, vec![Some(beacon)], after + away_ms);
            }
        }
    }

    /// How long a player is away: often until just before its tokens end, when every mistake about time shows.
    fn away_ms(&mut self) -> u64 {
        let draws = self.faults.draws(FaultKind::PlayerAway);
        let life = u32::try_from(TOKEN_LIFE_MS / 1_000).expect("minutes");
        let seconds = if draws.chance(0.5) { draws.between(life - 25, life + 2) } else { draws.between(20, 240) };
        1_000 * u64::from(seconds)
    }

    /// One ad of a pod: what will be said of it, and how long after now. Returns how long it takes.
    fn plays(
        &mut self,
        player: usize,
        number: u32,
        (token, claims): (&str, &Claims),
        draws: &mut Draws,
        offset: u64,
        said: &mut Vec<(usize, u64)>,
    ) -> u64 {
        let duration = u64::from(claims.duration_ms);
        let token: Arc<str> = Arc::from(token);
        let hears = draws.chance(0.92);
        // Where clicks are paid for there are more, so that they come to something within a run; some come before two seconds are heard.
        let click_rate = if claims.price_model == PriceModel::Cpc { 0.3 } else { 0.03 };
        let (completes, clicks, says_void) = (draws.chance(0.9), draws.chance(click_rate), draws.chance(0.8));
        let (clicks_early, says_began) = (draws.chance(0.2), draws.chance(0.96));
        let mut say = |world: &mut Self, event, after: u64| {
            let impression_id = claims.impression_id;
            let token = Arc::clone(&token);
            world.beacons.push(PlayerBeacon { player, token, impression_id, event, number });
            said.push((world.beacons.len() - 1, offset + after));
        };
        if !hears {
            if says_void {
                say(self, BeaconEvent::Void, 100);
            }
            return 500;
        }
        let click_after = if clicks_early { 700 } else { AUDIBLE_MS + 500 };
        if says_began {
            say(self, BeaconEvent::Start, 0);
            say(self, BeaconEvent::Impression, AUDIBLE_MS);
        }
        if completes {
            say(self, BeaconEvent::Complete, duration);
        }
        if clicks {
            say(self, BeaconEvent::Click, click_after);
        }
        let begins_at = self.at + offset;
        if let Some(ad) = self.board.ads.get_mut(&claims.impression_id) {
            ad.heard_at = Some(begins_at + AUDIBLE_MS);
            ad.completed_at = completes.then_some(begins_at + duration);
            ad.clicked_at = clicks.then_some(begins_at + click_after);
            ad.says_began = says_began;
        }
        duration
    }

    /// Notes the ads of a new answer: no id twice, each from a lease of this very boot whose grant is durable.
    pub(super) fn answered(&mut self, asked: &Asked, server: usize, claims: &[Claims]) {
        let player = asked.player;
        let boot_id = self.servers[server].process.as_ref().map(|process| process.boot_id);
        for _ in 0..self.board.unreported(player, self.at) {
            self.board.excuse(player, asked.at);
        }
        self.excuse_devices(asked, server);
        for one in claims {
            let advertiser = Some(one.advertiser_id);
            let ad = Ad {
                claims: one.clone(),
                player,
                who: self.players[player].who,
                decided_at: asked.at,
                decided_by_right_clock: asked.by_right_clock,
                maybe_ended: false,
                heard_at: None,
                completed_at: None,
                clicked_at: None,
                says_began: false,
                reported: std::collections::BTreeMap::new(),
                acknowledged: std::collections::BTreeMap::new(),
            };
            self.board.recent.entry(player).or_default().push(one.impression_id);
            if self.board.ads.insert(one.impression_id, ad).is_some() {
                self.violated("INV-10", advertiser, format!("impression {} was sealed twice", one.impression_id));
            }
            if let ImpressionId::Leased { lease_id, .. } = one.impression_id {
                match self.board.granted.get(&lease_id) {
                    None => {
                        self.violated("INV-5", advertiser, format!("lease {lease_id} is drawn from and not durable"));
                    }
                    Some(owner) if Some(*owner) != boot_id => {
                        let what = format!("lease {lease_id} of {owner:?} is drawn from by {boot_id:?}");
                        self.violated("INV-5", advertiser, what);
                    }
                    Some(_) => {}
                }
            }
            if one.tier != Tier::House {
                self.board.last_paid_at = self.at;
            }
            self.note(advertiser, format_args!("player {player} gets {} from server {server}", one.impression_id));
        }
        self.check_strict_caps(player, claims);
    }
}
