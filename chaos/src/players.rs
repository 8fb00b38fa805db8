//! Players: ask for breaks at a steady rate, whatever becomes of the answers, play them on the real clock, and send every beacon until it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::history::{Ad, AdName, History};

/// Longest that a player waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// For how long a beacon is sent again; an ad's token lives longer.
const TRY_FOR: Duration = Duration::from_mins(15);
/// Pauses between two tries double from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// When the impression is told, from the ad's start. The server believes it from 2 s after the decision on.
const HEARD_AFTER: Duration = Duration::from_millis(2_200);
/// Of ads, those whose beacons are sent ten times more.
const REPLAYED_IN: u32 = 50;
const REPLAYS: u32 = 10;
const PLATFORMS: [&str; 3] = ["ios", "web", "speaker"];
const IMPRESSION: &str = "impression";
/// Tasks that play at once; more are not begun, and counted as failed.
const PLAYING_MAX: usize = 50_000;

/// Decision servers: where each listens, and whether it is in rotation.
pub(crate) type Servers = Vec<(String, Arc<AtomicBool>)>;

/// What all players share.
#[derive(Debug)]
pub(crate) struct Players {
    /// The servers.
    pub(crate) servers: Servers,
    /// With open connections to them.
    pub(crate) client: reqwest::Client,
    /// The operator's key, who sees prices.
    pub(crate) key: String,
    /// What is seen.
    pub(crate) history: History,
    /// Breaks a second.
    pub(crate) rate: u32,
    /// How many people listen.
    pub(crate) listeners: u32,
    /// Decides who asks when, and where.
    pub(crate) seed: u64,
}

impl Players {
    /// Asks until it is told to stop; returns when all that was begun is played and told.
    pub(crate) async fn play(self: &Arc<Self>, stop: Arc<AtomicBool>) {
        let mut draws = ChaCha8Rng::seed_from_u64(self.seed);
        let mut playing = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.rate);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut number = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            while playing.try_join_next().is_some() {}
            number += 1;
            self.history.count(|counts| counts.asked += 1);
            if playing.len() >= PLAYING_MAX {
                self.history.count(|counts| counts.failed += 1);
                continue;
            }
            let (players, seed) = (Arc::clone(self), draws.next_u64());
            let listener = draws.next_u32() % self.listeners;
            playing.spawn(async move { players.one(number, listener, ChaCha8Rng::seed_from_u64(seed)).await });
        }
        while playing.join_next().await.is_some() {}
    }

    /// One break of one listener.
    async fn one(self: &Arc<Self>, number: u64, listener: u32, mut draws: ChaCha8Rng) {
        let platform = PLATFORMS[draws.next_u32() as usize % PLATFORMS.len()];
        let body = json!({
            "request_id": format!("{}-{number}", self.seed),
            "listener": {"id": format!("listener-{listener}"), "session_id": format!("session-{listener}-{number}")},
            "privacy": {"consent": "granted"},
            "device": {"platform": platform},
            "break": {"placement": "music", "max_duration_ms": 30_000, "max_ads": 1 + draws.next_u32() % 2},
        });
        let Some(answer) = self.ask(&body, listener, &mut draws).await else {
            self.history.count(|counts| counts.failed += 1);
            return;
        };
        let Some(decision) = answer["decision_id"].as_str().and_then(|id| id.parse().ok()) else { return };
        for ad in answer["ads"].as_array().into_iter().flatten() {
            let Some(line_item) = ad["line_item_id"].as_str().and_then(|id| id.parse().ok()) else { return };
            let Some(url) = ad["tracking_url"].as_str() else { return };
            let Some(path) = url.splitn(4, '/').nth(3) else { return };
            self.hear(AdName { decision, line_item }, path, ad["duration_ms"].as_u64().unwrap_or(0), &mut draws).await;
        }
    }

    /// A server, one in rotation if there is one; never the one that was just tried, if there is another.
    fn server(&self, draws: &mut ChaCha8Rng, but: Option<usize>) -> usize {
        let able = |index: &usize| self.servers[*index].1.load(Ordering::Relaxed) && Some(*index) != but;
        let mut choice: Vec<usize> = (0..self.servers.len()).filter(able).collect();
        if choice.is_empty() {
            choice = (0..self.servers.len()).filter(|index| Some(*index) != but).collect();
        }
        choice[draws.next_u32() as usize % choice.len()]
    }

    /// An answer of one of two servers.
    async fn ask(&self, body: &Value, listener: u32, draws: &mut ChaCha8Rng) -> Option<Value> {
        let mut tried = None;
        for _ in 0..2 {
            let server = self.server(draws, tried);
            tried = Some(server);
            let from = Instant::now();
            let request = self.client.post(format!("{}/v1/ad-breaks", self.servers[server].0)).bearer_auth(&self.key);
            let answer = match request.timeout(ANSWER_MAX).json(body).send().await {
                Ok(answer) if answer.status().is_success() => answer.json::<Value>().await.ok(),
                Ok(answer) => {
                    self.history.trouble(format!("ad break: {}", answer.status()));
                    None
                }
                Err(error) => {
                    self.history.trouble(format!("ad break: {}", kind(&error)));
                    None
                }
            };
            if let Some(answer) = answer {
                let ads = answer["ads"].as_array().into_iter().flatten();
                let ads: Vec<_> = ads.filter_map(|ad| named(&answer, ad, listener)).collect();
                if !ads.iter().any(|(_, ad)| ad.is_paid) {
                    let reasons: Vec<&str> = answer["no_fill_reasons"]
                        .as_object()
                        .into_iter()
                        .flat_map(|all| all.keys().map(String::as_str))
                        .collect();
                    self.history.trouble(format!("no paid ad at server {server}: {}", reasons.join(", ")));
                }
                let took_us = u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.history.answered(server, listener, ads, took_us);
                return Some(answer);
            }
        }
        None
    }

    /// Plays an ad from its start to its end. A beacon that nobody takes at once holds nothing up: the player goes on and tries it again.
    async fn hear(self: &Arc<Self>, name: AdName, path: &str, duration_ms: u64, draws: &mut ChaCha8Rng) {
        let from = Instant::now();
        let at = |quarter: u64| Duration::from_millis(duration_ms * quarter / 4);
        let mut steps = [
            ("start", at(0)),
            ("q1", at(1)),
            ("mid", at(2)),
            ("q3", at(3)),
            ("complete", at(4)),
            (IMPRESSION, HEARD_AFTER),
        ];
        steps.sort_by_key(|(_, at)| *at);
        let is_replayed = draws.next_u32().is_multiple_of(REPLAYED_IN);
        let mut telling = JoinSet::new();
        for (event, at) in steps {
            tokio::time::sleep(at.saturating_sub(from.elapsed())).await;
            let (players, target) = (Arc::clone(self), path.replacen("{event}", event, 1));
            let mut draws = ChaCha8Rng::seed_from_u64(draws.next_u64());
            let impression = (event == IMPRESSION).then_some(name);
            telling.spawn(async move {
                players.tell(impression, &target, &mut draws).await;
                if is_replayed {
                    players.replay(&target, &mut draws).await;
                }
            });
        }
        while telling.join_next().await.is_some() {}
    }

    /// Sends a beacon until a server acknowledges it.
    async fn tell(&self, impression: Option<AdName>, target: &str, draws: &mut ChaCha8Rng) {
        let (from, mut pause, mut tried) = (Instant::now(), PAUSES[0], None);
        if let Some(name) = impression {
            self.history.sends(name);
        }
        loop {
            let server = self.server(draws, tried);
            tried = Some(server);
            if self.send(server, target).await {
                self.history.count(|counts| counts.acknowledged += 1);
                if let Some(name) = impression {
                    self.history.acknowledged(name);
                }
                return;
            }
            if from.elapsed() > TRY_FOR {
                self.history.count(|counts| counts.given_up += 1);
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Sends a beacon that was acknowledged ten times more, to servers at random.
    async fn replay(&self, target: &str, draws: &mut ChaCha8Rng) {
        for _ in 0..REPLAYS {
            let server = self.server(draws, None);
            self.send(server, target).await;
        }
        self.history.count(|counts| counts.replayed += 1);
    }

    async fn send(&self, server: usize, target: &str) -> bool {
        self.history.count(|counts| counts.sent += 1);
        let request = self.client.get(format!("{}/{target}", self.servers[server].0)).timeout(ANSWER_MAX);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return true,
            Ok(answer) => {
                let status = answer.status();
                self.history.count(|counts| counts.refused += u64::from(status.is_client_error()));
                self.history.trouble(format!("beacon: {status}"));
            }
            Err(error) => self.history.trouble(format!("beacon: {}", kind(&error))),
        }
        false
    }
}

/// What is kept of an ad of an answer.
fn named(answer: &Value, ad: &Value, listener: u32) -> Option<(AdName, Ad)> {
    let decision = answer["decision_id"].as_str()?.parse().ok()?;
    let line_item = ad["line_item_id"].as_str()?.parse().ok()?;
    let is_paid = ad["tier"].as_str()? != "house";
    let price_micros = ad["price_micros"].as_i64().unwrap_or(0);
    let ad = Ad { is_paid, price_micros, listener, sent: None, acknowledged: None };
    Some((AdName { decision, line_item }, ad))
}

/// What went wrong, without the address.
fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "late"
    } else if error.is_connect() {
        "no connection"
    } else {
        "connection cut"
    }
}
