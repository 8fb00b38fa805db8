//! The truth of a run, as only somebody outside can know it: what was answered, heard and acknowledged, in true time.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::TOKEN_LIFE_MS;
use super::traffic::{Told, Who};
use crate::model::{BeaconEvent, BootId, ImpressionId, LeaseId, LineItemId, ListenerKey, PriceModel, WallMs};
use crate::tokens::Claims;

/// So many of a player's last ads are looked at for unreported ones: some minutes of listening.
const UNREPORTED_LOOKED_AT: usize = 40;

/// What became of conditional writes for strict caps, as servers know it, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StrictCounts {
    /// Writes that were accepted.
    pub accepted: u64,
    /// Writes that were refused, because another was made since the read.
    pub conflicts: u64,
    /// Writes of which nobody knows.
    pub unsure: u64,
    /// Ads under strict caps that were heard.
    pub heard: u64,
}

impl StrictCounts {
    /// Adds those of another run.
    pub const fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.conflicts += other.conflicts;
        self.unsure += other.unsure;
        self.heard += other.heard;
    }
}

/// An answer of a listener who has several devices: when it was decided, at which server, for which player.
pub type SharedAnswer = (u64, usize, usize);

/// Player, number of its request, server and boot.
pub type Asked = (usize, u32, usize, BootId);

/// One ad that a player was told of.
#[derive(Clone, PartialEq, Debug)]
pub struct Ad {
    /// What its token says.
    pub claims: Claims,
    /// Whose.
    pub player: usize,
    /// What the player is.
    pub who: Who,
    /// When it was decided, in milliseconds after the start.
    pub decided_at: u64,
    /// Whether the clock of the server that decided was right.
    pub decided_by_right_clock: bool,
    /// A server whose clock was wrong may have taken it for over.
    pub maybe_ended: bool,
    /// When it was heard, if it was.
    pub heard_at: Option<u64>,
    /// When it was over, if it was heard to its end.
    pub completed_at: Option<u64>,
    /// When it was clicked, if it was.
    pub clicked_at: Option<u64>,
    /// Whether its player says that it began: some say only what came of it.
    pub says_began: bool,
    /// When its player first said what happened, to whoever listened.
    pub reported: BTreeMap<BeaconEvent, u64>,
    /// Its beacons that were acknowledged.
    pub acknowledged: BTreeMap<BeaconEvent, Acknowledged>,
}

/// A beacon that a server acknowledged, at least once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Acknowledged {
    /// Its records: at least one.
    pub records: Vec<Record>,
}

/// A record that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The server.
    pub server: usize,
    /// Its place in the server's journal.
    pub seq: u64,
    /// When it was acknowledged, in milliseconds after the start.
    pub at: u64,
    /// The time of receipt that it bears, where the server's clock was right.
    pub received_at: Option<WallMs>,
    /// Whether no rule of invalid traffic speaks against it.
    pub is_valid: bool,
}

impl Acknowledged {
    /// Whether a server with a right clock had a valid copy of it.
    #[must_use]
    pub fn is_known_in_time(&self) -> bool {
        self.records.iter().any(|record| record.is_valid && record.received_at.is_some())
    }
}

impl Ad {
    /// The event that is paid for; a flat fee is owed with what is heard.
    #[must_use]
    pub const fn billed_by(&self) -> BeaconEvent {
        match self.claims.price_model {
            PriceModel::Cpm | PriceModel::Flat => BeaconEvent::Impression,
            PriceModel::Cpcl => BeaconEvent::Complete,
            PriceModel::Cpc => BeaconEvent::Click,
        }
    }

    /// When that event happened, if it did.
    #[must_use]
    pub fn billable_at(&self) -> Option<u64> {
        match self.claims.price_model {
            PriceModel::Cpm | PriceModel::Flat => self.heard_at,
            PriceModel::Cpcl => self.completed_at,
            PriceModel::Cpc => self.clicked_at,
        }
    }

    /// Whether that event is nothing without a word that the ad began.
    #[must_use]
    pub const fn needs_start(&self) -> bool {
        matches!(self.claims.price_model, PriceModel::Cpcl | PriceModel::Cpc)
    }
}

/// All that the world knows of its own.
#[derive(Default, Debug)]
pub struct Board {
    /// Ads, by impression.
    pub ads: BTreeMap<ImpressionId, Ad>,
    /// Leases whose grants are in the log, and the boots that they are for.
    pub granted: BTreeMap<LeaseId, BootId>,
    /// Moments at which what was known of a player's caps may have been lost, in milliseconds after the start.
    pub excuses: BTreeMap<usize, Vec<u64>>,
    /// Answers by player, request, server and boot, with their moments: a repeat must be equal.
    pub answers: BTreeMap<Asked, (u64, Vec<u8>)>,
    /// When a paid ad was last answered.
    pub last_paid_at: u64,
    /// Impressions of each player, in order of their decisions.
    pub recent: BTreeMap<usize, Vec<ImpressionId>>,
    /// What each run of a server was told.
    pub told: BTreeMap<BootId, Told>,
    /// Events that some server was told of and that no rule of invalid traffic speaks against there.
    pub valid: BTreeSet<(ImpressionId, BeaconEvent)>,
    /// Impressions of which the log says that their charge is taken back, and how often it says so.
    pub reversed: BTreeMap<ImpressionId, u32>,
    /// Answers of listeners who have several devices.
    pub shared: BTreeMap<ListenerKey, Vec<SharedAnswer>>,
    /// Moments at which a break of one device may have given up an ad that another still plays, by listener and the ad's line item.
    pub given_up: BTreeMap<(ListenerKey, LineItemId), Vec<u64>>,
    /// What became of conditional writes.
    pub strict: StrictCounts,
}

impl Board {
    /// Notes that one exposure more than the cap may be heard from here on.
    pub fn excuse(&mut self, player: usize, at: u64) {
        self.excuses.entry(player).or_default().push(at);
    }

    /// How many of the player's last ads were heard and are not reported to any server: the next break gives them up.
    #[must_use]
    pub fn unreported(&self, player: usize, at: u64) -> usize {
        let recent = self.recent.get(&player).map_or(&[][..], Vec::as_slice);
        let unreported = |ad: &&Ad| {
            ad.heard_at.is_some_and(|heard_at| heard_at <= at)
                && !ad.acknowledged.contains_key(&BeaconEvent::Impression)
        };
        recent.iter().rev().take(UNREPORTED_LOOKED_AT).filter_map(|id| self.ads.get(id)).filter(unreported).count()
    }

    /// Whether another device of the listener was answered since that moment.
    #[must_use]
    pub fn is_shared_since(&self, key: ListenerKey, player: usize, since: u64) -> bool {
        self.shared.get(&key).is_some_and(|all| all.iter().any(|(at, _, other)| *other != player && *at >= since))
    }

    /// Whether what was known of the player may have been lost since that moment.
    #[must_use]
    pub fn is_excused_since(&self, player: usize, since: u64) -> bool {
        self.excuses.get(&player).is_some_and(|excuses| excuses.iter().any(|at| *at >= since))
    }

    /// Notes an acknowledged beacon.
    pub fn acknowledge(&mut self, id: ImpressionId, event: BeaconEvent, record: Record) {
        if let Some(ad) = self.ads.get_mut(&id) {
            ad.acknowledged.entry(event).or_default().records.push(record);
        }
    }

    /// Ads of each line item whose price was drawn and that came to what is paid for, and what they cost. Without those that were first reported
    /// when half of their token's life was over: what a player that was away or an outage of that length makes late is lost by contract, whatever
    /// the servers do. Without those that only a server with a wrong clock knows of, which it notices within seconds. And without those whose money
    /// is there again by right: of invalid traffic, and what a verdict took back.
    #[must_use]
    pub fn heard_micros(&self) -> BTreeMap<LineItemId, (u64, i64)> {
        let mut heard: BTreeMap<LineItemId, (u64, i64)> = BTreeMap::new();
        // A click is drawn by nobody, and a fee only once.
        let is_drawn = |ad: &Ad| matches!(ad.claims.price_model, PriceModel::Cpm | PriceModel::Cpcl);
        let in_time = |ad: &Ad| {
            let event = ad.billed_by();
            ad.decided_by_right_clock
                && ad.acknowledged.get(&event).is_none_or(Acknowledged::is_known_in_time)
                && ad.reported.get(&event).is_some_and(|at| *at <= ad.decided_at + TOKEN_LIFE_MS / 2)
        };
        for (id, ad) in &self.ads {
            let came = ad.billable_at().is_some() && (ad.says_began || !ad.needs_start());
            let is_owed = ad.who == Who::Listener && !self.reversed.contains_key(id);
            if is_drawn(ad) && came && is_owed && in_time(ad) {
                let sum = heard.entry(ad.claims.line_item_id).or_default();
                sum.0 += 1;
                sum.1 += ad.claims.price.0;
            }
        }
        heard
    }
}
