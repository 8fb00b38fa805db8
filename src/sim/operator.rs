//! The operator: at some times it says of impressions or of a listener that they were invalid, and says it again when it was not answered, or
//! for no reason. What `roles/verdicts` does with the log and the store is done here by hand, in the same order.

use std::collections::BTreeSet;

use super::clock_model::true_wall;
use super::faults::FaultKind;
use super::log_model::Parcel;
use super::sabotage::Sabotage;
use super::world::{Event, World};
use crate::accounting::verdict::{Claim, Search, Standing, VerdictRefusal, judge};
use crate::catalog::Entity;
use crate::events::{BeaconRecord, Envelope, Event as Happening, Reversal};
use crate::model::{AdvertiserId, BootId, Day, ImpressionId, InvalidTraffic, LeaseId, ServerId, WallMs};

/// Stream of draws for what the operator does.
pub(super) const STREAM_OPERATOR: u64 = 9;
/// Time between two verdicts, in milliseconds.
const VERDICTS_MS: (u32, u32) = (15_000, 60_000);
/// How often one verdict is said.
const SAID_MAX: u32 = 6;
/// Longest time around an ad in which its listener's impressions are meant too, in milliseconds.
const AROUND_MS_MAX: u32 = 120_000;

/// What the operator says.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    claim: Claim,
    /// How often it was said.
    said: u32,
}

impl World {
    pub(super) fn operator_waits(&mut self) {
        let wait = self.operator.between(VERDICTS_MS.0, VERDICTS_MS.1);
        if self.at + u64::from(wait) < self.shape.asking_until_ms() {
            self.after(wait.into(), Event::OperatorSpeaks);
        }
    }

    pub(super) fn operator_speaks(&mut self) {
        self.operator_waits();
        let claim = if self.operator.chance(0.7) { self.some_impressions() } else { self.some_listener() };
        let Some(claim) = claim else { return };
        self.verdicts.push(Verdict { claim, said: 0 });
        self.verdict_said(self.verdicts.len() - 1);
    }

    /// A few ads, whatever became of them, and now and then one that never was.
    fn some_impressions(&mut self) -> Option<Claim> {
        let mut ids = BTreeSet::new();
        for _ in 0..self.operator.between(1, 6) {
            ids.insert(self.some_ad()?);
        }
        if self.operator.chance(0.2) {
            let lease_id = LeaseId::from_u128(u128::from(self.operator.bits()));
            ids.insert(ImpressionId::Leased { lease_id, ordinal: 0 });
        }
        Some(Claim::Impressions(ids))
    }

    /// All that the listener of some ad heard around it.
    fn some_listener(&mut self) -> Option<Claim> {
        let id = self.some_ad()?;
        let around = i64::from(self.operator.between(1, AROUND_MS_MAX));
        let claims = &self.board.ads.get(&id)?.claims;
        let (from, to) = (claims.decided_at.plus_ms(-around), claims.decided_at.plus_ms(around));
        Some(Claim::Listener { pseudonym: claims.pseudonym, from, to })
    }

    fn some_ad(&mut self) -> Option<ImpressionId> {
        let count = self.board.ads.len();
        (count > 0).then(|| self.operator.index(count)).and_then(|place| self.board.ads.keys().nth(place).copied())
    }

    /// Looks for what the verdict is about, judges it by the books as of the last commit, and sends what is to be taken back.
    pub(super) fn verdict_said(&mut self, verdict: usize) {
        self.verdicts[verdict].said += 1;
        let Verdict { claim, said } = self.verdicts[verdict].clone();
        if said < SAID_MAX && self.operator.chance(0.4) {
            let again = self.operator.between(500, 90_000);
            self.after(again.into(), Event::VerdictSaid { verdict });
        }
        let mut search = Search::new(claim);
        for kept in self.log.kept() {
            if search.is_complete() {
                break;
            }
            search.see(&kept.envelope);
        }
        let now = true_wall(self.at);
        let (found, missing) = search.finish();
        let judged: Vec<_> = found.values().map(|beacon| (beacon.impression_id, self.judged(beacon, now))).collect();
        let refused = judged.iter().filter(|(_, judged)| judged.is_err()).count() + missing.len();
        let reversals: Vec<Reversal> = judged.into_iter().filter_map(|(_, judged)| judged.ok()).collect();
        let count = reversals.len();
        self.note(None, format_args!("verdict {verdict}, said {said} times: {count} taken back, {refused} refused"));
        if reversals.is_empty() {
            return;
        }
        let parcels = reversals.into_iter().map(|reversal| Parcel::of(&envelope(reversal, now))).collect();
        let delay = self.net_ms();
        self.after(delay, Event::ReversalsArrive { verdict, parcels });
    }

    fn judged(&self, beacon: &BeaconRecord, now: WallMs) -> Result<Reversal, VerdictRefusal> {
        let lease = match beacon.impression_id {
            ImpressionId::Leased { lease_id, .. } => self.ledger.lease(beacon.advertiser_id, lease_id),
            ImpressionId::Unleased { .. } => None,
        };
        let forgets = self.sabotage == Sabotage::ReversalTwice;
        let is_reversed = !forgets && self.ledger.is_reversed(beacon.impression_id);
        let standing = Standing { lease, is_reversed, today: self.today(beacon.advertiser_id, now) };
        judge(beacon, standing, InvalidTraffic::Reported, now)
    }

    fn today(&self, advertiser_id: AdvertiserId, now: WallMs) -> Day {
        let zone = self.catalogue.entities.iter().find_map(|entity| match entity {
            Entity::Advertiser(advertiser) if advertiser.id == advertiser_id => Some(&advertiser.zone),
            _ => None,
        });
        zone.map_or_else(|| Day::utc_of(now), |zone| zone.day(now))
    }

    /// Reversals come to the log: all, or where that fails in the middle, some. Whoever does not know says it again.
    pub(super) fn reversals_arrive(&mut self, verdict: usize, parcels: Vec<Parcel>) {
        let stalled = parcels.iter().map(|parcel| self.stalled_until[parcel.partition as usize]).max().unwrap_or(0);
        if stalled > self.at {
            self.schedule(stalled, Event::ReversalsArrive { verdict, parcels });
            return;
        }
        let refused = self.faults.strikes(FaultKind::LogRefuses);
        let kept = if refused { &parcels[..parcels.len() / 2] } else { &parcels[..] };
        let before = usize::try_from(self.log.end()).expect("a run's log fits in memory");
        self.log.append(kept);
        if self.faults.strikes(FaultKind::LogDoubled) {
            self.log.append(kept);
        }
        self.trace.hash(&self.log.end().to_be_bytes());
        for kept in &self.log.kept()[before..] {
            if let Happening::Reversal(reversal) = &kept.envelope.body {
                *self.board.reversed.entry(reversal.impression_id).or_default() += 1;
            }
        }
        let is_unsure = refused || self.faults.strikes(FaultKind::LogAnswerLost);
        if is_unsure && self.verdicts[verdict].said < SAID_MAX {
            self.after(3_000, Event::VerdictSaid { verdict });
        }
    }
}

fn envelope(reversal: Reversal, now: WallMs) -> Envelope {
    let body = Happening::Reversal(Box::new(reversal));
    let (server_id, boot_id) = (ServerId::from_u128(0x7800), BootId::from_u128(0x9800_0000));
    Envelope { event_id: body.id(), occurred_at: now, received_at: now, server_id, boot_id, trace_id: None, body }
}
