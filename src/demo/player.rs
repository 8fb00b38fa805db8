//! One device of one listener: plays tracks in virtual time, asks for breaks as a good player does, plays the pods and tells what happened.

use std::sync::Arc;

use tokio::sync::watch;

use super::body;
use super::checker::Rules;
use super::client::{Answered, Client};
use super::evidence::{Asked, BreakNumber, Recorder, Telling};
use super::pod::{self, Fate, Step};
use super::sounds::Sounds;
use super::tally::Tally;
use crate::http::player::wire::{AdBreakAnswer, AdBreakRequestBody};
use crate::model::{BeaconEvent, RequestId, WallMs};
use crate::workload::Draws;
use crate::workload::world::{CADENCE_MS, TOKEN_LIFE_MS, Track, WorldListener};

/// Most late beacons that a device holds back; further ones are lost.
const HELD_BACK_MAX: usize = 32;
/// Longest real time that the end of the demo waits for late beacons of one device, in milliseconds; later ones are lost.
const LATE_WAIT_MAX_MS: u64 = 8_000;
/// Virtual time by which a late beacon is later than the token's life.
const LATE_BY_MS: i64 = 15_000;
/// Streams of a seed from here on belong to devices.
const STREAM_DEVICES: u64 = 1_000;

/// What all devices share.
#[derive(Debug)]
pub(super) struct Stage {
    /// The server.
    pub(super) client: Client,
    /// What is seen.
    pub(super) recorder: Recorder,
    /// What is counted for the status line.
    pub(super) tally: Tally,
    /// What is fetched to be heard.
    pub(super) sounds: Sounds,
    /// What an answer is held against as it comes.
    pub(super) rules: Rules,
    /// The placement's key.
    pub(super) placement: String,
    /// When the demo began, on its own clock.
    pub(super) started: WallMs,
    /// Seed of everything that players do.
    pub(super) seed: u64,
}

/// A device of a listener.
#[derive(Debug)]
pub(super) struct Player {
    stage: Arc<Stage>,
    listener: Arc<WorldListener>,
    device: usize,
    draws: Draws,
    stop: watch::Receiver<bool>,
    sessions: u32,
    requests: u32,
    /// When the last break was answered, and what the server advised then.
    last_break: Option<(WallMs, u64)>,
    held_back: Vec<HeldBack>,
}

/// A beacon that waits until it is too late.
#[derive(Debug)]
struct HeldBack {
    due: WallMs,
    number: BreakNumber,
    slot: usize,
    event: BeaconEvent,
    tracking_url: String,
}

/// A break in the player's hand.
struct InHand {
    number: BreakNumber,
    answer: AdBreakAnswer,
}

impl Player {
    /// A device, not yet playing. `index` is the listener's position.
    pub(super) fn new(
        stage: Arc<Stage>,
        listener: Arc<WorldListener>,
        index: usize,
        device: usize,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let draws = Draws::new(stage.seed, STREAM_DEVICES + index as u64 * 4 + device as u64);
        let last_break = None;
        let (sessions, requests, held_back) = (0, 0, Vec::new());
        Self { stage, listener, device, draws, stop, sessions, requests, last_break, held_back }
    }

    /// Plays until it is stopped; then what was begun is ended, and late beacons are sent.
    pub(super) async fn run(mut self) {
        // Not all press play at once.
        let pause_ms = self.draws.below(150_000);
        self.wait(u64::from(pause_ms)).await;
        while !self.stopped() {
            self.session().await;
            let pause_ms = self.draws.between(10_000, 90_000);
            self.wait(u64::from(pause_ms)).await;
        }
        self.send_held_back_at_the_end().await;
    }

    /// Some tracks in a row.
    async fn session(&mut self) {
        self.sessions += 1;
        let tracks = self.draws.between(3, 12);
        for number in 0..tracks {
            let track = self.listener.next_track(&mut self.draws);
            let asks_ahead = self.listener.prefetches && self.will_ask();
            let ahead_ms = track.duration_ms / 10 * 7;
            let mut in_hand = None;
            if asks_ahead {
                self.wait(u64::from(ahead_ms)).await;
                in_hand = self.ask(&track, "mid_roll", true).await;
                self.wait(u64::from(track.duration_ms - ahead_ms)).await;
            } else {
                self.wait(u64::from(track.duration_ms)).await;
            }
            let leaves = self.stopped() || (number + 1 == tracks && self.draws.chance(0.3));
            if leaves {
                self.put_back(in_hand).await;
                return;
            }
            if in_hand.is_none() && !asks_ahead && self.will_ask() {
                let position = if number == 0 && self.draws.chance(0.1) { "pre_roll" } else { "mid_roll" };
                in_hand = self.ask(&track, position, false).await;
            }
            if let Some(in_hand) = in_hand {
                self.play(in_hand).await;
            }
            self.send_held_back(self.now()).await;
        }
    }

    /// Whether the player asks after this track: when the server's advice is over, and now and then all the same.
    fn will_ask(&mut self) -> bool {
        let over = self.last_break.is_none_or(|(at, advice_ms)| {
            u64::try_from(self.now().since(at)).unwrap_or(0) >= advice_ms.min(u64::from(CADENCE_MS) * 4)
        });
        over || self.draws.chance(0.08)
    }

    /// Asks for a break; nothing in hand when none is due or nothing came.
    async fn ask(&mut self, track: &Track, position: &str, prefetch: bool) -> Option<InHand> {
        self.requests += 1;
        let since_last_break_ms = self.last_break.and_then(|(at, _)| u64::try_from(self.now().since(at)).ok());
        let request_id = format!("{}-{}-{}", self.listener.id, self.device, self.requests);
        let session = format!("{}-{}-s{}", self.listener.id, self.device, self.sessions);
        let wanted = body::Wanted { request_id, session, position, prefetch, since_last_break_ms };
        let body = body::request(&self.listener, self.device, track, &self.stage.placement, wanted, &mut self.draws);
        let answered = match self.stage.client.ask(&body).await {
            Ok(answered) => answered,
            Err(error) => {
                self.stage.recorder.error(super::in_words(&error));
                return None;
            }
        };
        self.stage.tally.break_answered(&answered, &self.listener, track);
        let number = self.record(&body, &answered);
        if answered.answer.no_break.as_deref() != Some("premium") {
            self.last_break = Some(match answered.answer.no_break {
                // No break: the advice counts from now, the last break was earlier.
                Some(_) => (answered.came, answered.answer.next_break.after_ms),
                None => (answered.sent, answered.answer.next_break.after_ms),
            });
        }
        let in_hand = InHand { number: number?, answer: answered.answer };
        if !in_hand.answer.ads.is_empty() && self.draws.chance(0.03) {
            self.ask_again(&body, &in_hand.answer).await;
        }
        Some(in_hand)
    }

    fn record(&self, body: &AdBreakRequestBody, answered: &Answered) -> Option<BreakNumber> {
        let identity = body::identity(body);
        let broken = self.stage.rules.judge(body, answered);
        let asked = Asked {
            listener: &identity,
            sent: answered.sent,
            answered: answered.came,
            max_duration_ms: body.ad_break.max_duration_ms,
            max_ads: body.ad_break.max_ads,
            prefetch: body.prefetch == Some(true),
        };
        self.stage.recorder.answer(asked, &answered.answer, broken)
    }

    /// The same request again, as after a lost connection: the answer must be the same.
    async fn ask_again(&self, body: &AdBreakRequestBody, first: &AdBreakAnswer) {
        let Some(request_id) = RequestId::new(&body.request_id) else { return };
        match self.stage.client.ask(body).await {
            Ok(again) => self.stage.recorder.repeated(&request_id, again.answer == *first),
            Err(error) => self.stage.recorder.error(super::in_words(&error)),
        }
    }

    /// Plays the pod, or gives it up now and then.
    async fn play(&mut self, in_hand: InHand) {
        let durations: Vec<u32> = in_hand.answer.ads.iter().map(|ad| ad.duration_ms).collect();
        let (steps, lasts_ms) = if self.draws.chance(0.012) {
            (pod::give_up(durations.len(), BeaconEvent::Void, &mut self.draws), 0)
        } else {
            self.fetch_sounds(&in_hand).await;
            pod::play(&durations, &mut self.draws)
        };
        let start = self.now();
        for step in steps {
            let left_ms = i64::from(step.at_ms) - self.now().since(start);
            // Not interrupted by the end of the demo: what began to play is played to its end.
            self.stage.client.clock().sleep(u64::try_from(left_ms).unwrap_or(0)).await;
            self.tell(&in_hand, step).await;
        }
        let left_ms = i64::from(lasts_ms) - self.now().since(start);
        self.stage.client.clock().sleep(u64::try_from(left_ms).unwrap_or(0)).await;
    }

    /// Fetches what is about to play.
    async fn fetch_sounds(&self, in_hand: &InHand) {
        for ad in &in_hand.answer.ads {
            if let Err(error) = self.stage.sounds.fetch(&self.stage.client, ad).await {
                self.stage.recorder.error(super::in_words(&error));
            }
        }
    }

    /// A break that was asked for ahead of time and is not played: most players say so.
    async fn put_back(&mut self, in_hand: Option<InHand>) {
        let Some(in_hand) = in_hand else { return };
        if self.draws.chance(0.7) {
            for step in pod::give_up(in_hand.answer.ads.len(), BeaconEvent::NotUsed, &mut self.draws) {
                self.tell(&in_hand, step).await;
            }
        }
    }

    async fn tell(&mut self, in_hand: &InHand, step: Step) {
        let tracking_url = &in_hand.answer.ads[step.slot].tracking_url;
        match step.fate {
            Fate::Lost => self.stage.recorder.count(|evidence| evidence.beacons_lost += 1),
            Fate::Late => self.hold_back(in_hand, step),
            Fate::Sent(times) => {
                for _ in 0..times {
                    send(&self.stage, in_hand.number, step.slot, step.event, tracking_url).await;
                }
                let repeated = u64::from(times.saturating_sub(1));
                self.stage.recorder.count(|evidence| evidence.beacons_repeated += repeated);
            }
        }
    }

    fn hold_back(&mut self, in_hand: &InHand, step: Step) {
        if self.held_back.len() >= HELD_BACK_MAX {
            self.stage.recorder.count(|evidence| evidence.beacons_lost += 1);
            return;
        }
        let life_ms = i64::try_from(TOKEN_LIFE_MS).expect("minutes");
        self.held_back.push(HeldBack {
            due: self.now().plus_ms(life_ms + LATE_BY_MS),
            number: in_hand.number,
            slot: step.slot,
            event: step.event,
            tracking_url: in_hand.answer.ads[step.slot].tracking_url.clone(),
        });
    }

    /// Sends the held-back beacons whose time has passed.
    async fn send_held_back(&mut self, now: WallMs) {
        let (due, later): (Vec<_>, Vec<_>) = self.held_back.drain(..).partition(|one| one.due <= now);
        self.held_back = later;
        for one in due {
            self.stage.recorder.count(|evidence| evidence.beacons_late += 1);
            send(&self.stage, one.number, one.slot, one.event, &one.tracking_url).await;
        }
    }

    async fn send_held_back_at_the_end(&mut self) {
        let acceleration = u64::from(self.stage.client.clock().acceleration());
        let until = self.now().plus_ms(i64::try_from(LATE_WAIT_MAX_MS * acceleration).unwrap_or(i64::MAX));
        let (in_time, never): (Vec<_>, Vec<_>) = self.held_back.drain(..).partition(|one| one.due <= until);
        self.held_back = in_time;
        let lost = never.len() as u64;
        self.stage.recorder.count(|evidence| evidence.beacons_lost += lost);
        while let Some(next) = self.held_back.iter().map(|one| one.due).min() {
            let left_ms = u64::try_from(next.since(self.now())).unwrap_or(0);
            self.stage.client.clock().sleep(left_ms + 1).await;
            self.send_held_back(self.now()).await;
        }
    }

    fn now(&self) -> WallMs {
        self.stage.client.clock().now().wall
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits in virtual time, or until the demo ends.
    async fn wait(&mut self, virtual_ms: u64) {
        if self.stopped() {
            return;
        }
        tokio::select! {
            () = self.stage.client.clock().sleep(virtual_ms) => {}
            _ = self.stop.changed() => {}
        }
    }
}

/// Sends one beacon and keeps what came of it.
async fn send(stage: &Stage, number: BreakNumber, slot: usize, event: BeaconEvent, tracking_url: &str) {
    let before = stage.client.clock().now().wall;
    match stage.client.tell(tracking_url, event).await {
        Ok(told) => {
            // A retried sending may have been recorded each time.
            for _ in 0..told.retries {
                stage.recorder.told(number, slot, Telling { event, sent: before, acknowledged: None });
            }
            let retries = u64::from(told.retries);
            stage.recorder.count(|evidence| evidence.beacons_retried += retries);
            let telling = Telling { event, sent: told.sent, acknowledged: Some(told.at) };
            if let Some(line_item_id) = stage.recorder.told(number, slot, telling) {
                stage.tally.heard(line_item_id);
            }
            stage.tally.beacon_acknowledged(event);
        }
        Err(error) => {
            stage.recorder.told(number, slot, Telling { event, sent: before, acknowledged: None });
            stage.recorder.error(super::in_words(&error));
        }
    }
}
