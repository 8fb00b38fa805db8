//! A busy advertiser: changes a bid, pauses a line item and lets it run again, through the campaign API, while players play.

use serde_json::{Value, json};

use super::client::ClientError;
use super::player::Stage;
use crate::model::{LineItemId, Micros, Tier};
use crate::workload::Draws;
use crate::workload::world::World;

/// Seconds between two acts.
const EVERY_SECONDS: u32 = 2;
/// Real milliseconds after which a change must be served everywhere.
const SERVED_WITHIN_MS: u64 = 100;
/// Stream of the seed for what it does.
const STREAM_ADVERTISER: u64 = 13;
/// Most line items that it plays with.
const ITEMS_MAX: usize = 200;

/// The scripted advertiser.
#[derive(Debug)]
pub(super) struct Advertiser {
    items: Vec<(LineItemId, Micros)>,
    draws: Draws,
    seconds: u32,
    paused: Option<LineItemId>,
}

impl Advertiser {
    /// An advertiser of that world's auction line items.
    #[must_use]
    pub(super) fn new(world: &World, seed: u64) -> Self {
        let mut draws = Draws::new(seed, STREAM_ADVERTISER);
        let auction = world.line_items.iter().filter(|item| item.tier == Tier::Auction);
        let mut items: Vec<(LineItemId, Micros)> = auction.map(|item| (item.id, item.pricing.amount)).collect();
        draws.shuffle(&mut items);
        items.truncate(ITEMS_MAX);
        Self { items, draws, seconds: 0, paused: None }
    }

    /// Called every second; acts every now and then. What fails is an error of the demo.
    pub(super) async fn act(&mut self, stage: &Stage) {
        self.seconds += 1;
        if !self.seconds.is_multiple_of(EVERY_SECONDS) || self.items.is_empty() {
            return;
        }
        let done = match self.paused.take() {
            Some(id) => resume(stage, id).await,
            None if self.draws.chance(0.5) => self.pause(stage).await,
            None => self.raise(stage).await,
        };
        if let Err(error) = done {
            stage.recorder.error(super::in_words(&error));
        }
    }

    /// Leaves nothing paused.
    pub(super) async fn finish(&mut self, stage: &Stage) {
        if let Some(id) = self.paused.take()
            && let Err(error) = resume(stage, id).await
        {
            stage.recorder.error(super::in_words(&error));
        }
    }

    async fn pause(&mut self, stage: &Stage) -> Result<(), ClientError> {
        let (id, _) = *self.draws.pick(&self.items);
        change(stage, id, &json!({ "status": "paused" })).await?;
        let clock = stage.client.clock();
        let grace_ms = i64::from(clock.acceleration()) * i64::try_from(SERVED_WITHIN_MS).unwrap_or(i64::MAX);
        stage.rules.paused(id, clock.now().wall.plus_ms(grace_ms));
        self.paused = Some(id);
        Ok(())
    }

    /// Bids a tenth more.
    async fn raise(&mut self, stage: &Stage) -> Result<(), ClientError> {
        let place = self.draws.index(self.items.len());
        let (id, cpm) = &mut self.items[place];
        *cpm = Micros(cpm.0 / 10_000 * 11_000);
        // Known before it can be charged.
        stage.rules.price_added(*id, Micros(cpm.0 / 1_000));
        change(stage, *id, &json!({ "pricing": { "model": "cpm", "amount_micros": cpm.0 } })).await
    }
}

async fn resume(stage: &Stage, id: LineItemId) -> Result<(), ClientError> {
    stage.rules.resumed(id, stage.client.clock().now().wall);
    change(stage, id, &json!({ "status": "active" })).await
}

/// Reads the line item and writes it back with these fields, if nobody else wrote in between.
async fn change(stage: &Stage, id: LineItemId, fields: &Value) -> Result<(), ClientError> {
    let path = format!("/v1/line-items/{id}");
    let (_, tag) = stage.client.get_tagged(&path).await?;
    stage.client.change(reqwest::Method::PATCH, &path, &tag, fields).await
}
