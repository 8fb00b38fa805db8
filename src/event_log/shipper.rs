//! The shipper: moves a server's money journal into the event log. A state machine without I/O: it is told how far the journal is
//! durable and which shipments were acknowledged, and says what to send and what to remember.
//!
//! ```text
//! journal:   | removed |  acknowledged  |    in flight    |  not sent yet  |
//!                      ^ kept checkpoint ≤ ^ shipped       ^ next           ^ durable end
//! ```
//!
//! INV-36: the checkpoint never passes what the log has acknowledged, so every durable record reaches the log at least once, whatever
//! crashes. Behind the checkpoint nothing is sent again; between it and the crash everything is, so records may come twice, and
//! consumers dedupe by id. Shipments in flight together may arrive in any order: no record's meaning depends on another's place, except
//! through accounting, which is indifferent to order (INV-14).
//!
//! So whoever says that all which came before a moment is in the log says it of what is behind the kept checkpoint: what lies between may come
//! again much later, after consumers forgot by that word what they had seen.
//!
//! Left to others: reading the range of a shipment and producing it (whoever drives this), where the checkpoint is kept
//! ([`CheckpointFile`]), removing segments before the *kept* checkpoint.

mod checkpoint;

use std::collections::VecDeque;

pub use checkpoint::{CheckpointError, CheckpointFile};

use crate::model::MonotonicMs;

/// Settings of a shipper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShipperSettings {
    /// Most records of one shipment. Money records are some hundred bytes, so 1,000 of them are a produce request of the usual size.
    pub records_max: u64,
    /// Most shipments in flight: what is sent again after a crash is at most this many.
    pub in_flight_max: usize,
    /// A shipment not acknowledged after this many milliseconds counts as failed; whether it is in the log is then unknown.
    pub timeout_ms: u64,
    /// How long a failed shipment waits before it is sent again, in milliseconds; doubled at each failure in a row.
    pub retry_ms: u64,
    /// Longest such wait, in milliseconds.
    pub retry_max_ms: u64,
    /// Time between two checkpoints, in milliseconds: what a crash makes be sent again.
    pub checkpoint_ms: u64,
}

impl Default for ShipperSettings {
    fn default() -> Self {
        Self {
            records_max: 1_000,
            in_flight_max: 4,
            timeout_ms: 10_000,
            retry_ms: 100,
            retry_max_ms: 5_000,
            checkpoint_ms: 200,
        }
    }
}

/// What a shipper is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShipperInput {
    /// Time passes, and the journal is durable up to this sequence number, excluded.
    Tail(u64),
    /// The log has the shipment. Also when an earlier attempt of it was given up.
    Acknowledged(u64),
    /// The log refused the shipment, or nobody knows.
    Failed(u64),
}

/// Records to send: those from `from` to `until`, excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shipment {
    /// Its name in acknowledgements; the same at each attempt.
    pub ticket: u64,
    /// First sequence number.
    pub from: u64,
    /// Sequence number after the last.
    pub until: u64,
    /// How often it was sent before.
    pub attempt: u32,
}

/// What a shipper wants done.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ShipperEffects {
    /// Shipments to send, in this order.
    pub send: Vec<Shipment>,
    /// Checkpoint to keep durably: a restart resumes here.
    pub checkpoint: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Sent at that moment, nothing heard since.
    Sent(MonotonicMs),
    /// To be sent again from that moment on.
    Waits(MonotonicMs),
    /// In the log. It waits for those before it.
    Acknowledged,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct InFlight {
    shipment: Shipment,
    fate: Fate,
}

/// The shipper of one journal, for one run of its server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shipper {
    settings: ShipperSettings,
    /// All before it is in the log.
    shipped: u64,
    /// The checkpoint that was last handed out.
    kept: u64,
    kept_at: MonotonicMs,
    /// First record not in a shipment yet.
    next: u64,
    next_ticket: u64,
    in_flight: VecDeque<InFlight>,
}

impl Shipper {
    /// A shipper that goes on from a kept checkpoint, or from the journal's first record when that is later.
    #[must_use]
    pub const fn resume(settings: ShipperSettings, checkpoint: u64, now: MonotonicMs) -> Self {
        Self {
            settings,
            shipped: checkpoint,
            kept: checkpoint,
            kept_at: now,
            next: checkpoint,
            next_ticket: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// Every record before this sequence number is in the log.
    #[must_use]
    pub const fn shipped(&self) -> u64 {
        self.shipped
    }

    /// Shipments sent, and not known to be in the log.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.in_flight.iter().filter(|one| one.fate != Fate::Acknowledged).count()
    }

    /// Takes one input and says what is to be done.
    pub fn step(&mut self, input: ShipperInput, now: MonotonicMs) -> ShipperEffects {
        let mut effects = ShipperEffects::default();
        match input {
            ShipperInput::Tail(durable_end) => self.send(durable_end, now, &mut effects),
            ShipperInput::Acknowledged(ticket) => self.acknowledged(ticket),
            ShipperInput::Failed(ticket) => self.failed(ticket, now),
        }
        let due = now.since(self.kept_at) >= self.settings.checkpoint_ms;
        if self.kept < self.shipped && due {
            effects.checkpoint = self.checkpoint(now);
        }
        effects
    }

    /// The checkpoint to keep at a stop in good order; none when the one kept says it already.
    pub fn checkpoint(&mut self, now: MonotonicMs) -> Option<u64> {
        assert!(self.kept <= self.shipped, "INV-36: a checkpoint is within what was acknowledged");
        let is_new = self.kept < self.shipped;
        self.kept = self.shipped;
        self.kept_at = now;
        is_new.then_some(self.shipped)
    }

    fn send(&mut self, durable_end: u64, now: MonotonicMs, effects: &mut ShipperEffects) {
        for index in 0..self.in_flight.len() {
            let one = self.in_flight[index];
            match one.fate {
                Fate::Sent(at) if now.since(at) >= self.settings.timeout_ms => {
                    self.in_flight[index].fate = Fate::Waits(now.plus_ms(self.wait_ms(one.shipment.attempt)));
                }
                Fate::Waits(until) if until <= now => {
                    let again = &mut self.in_flight[index];
                    again.shipment.attempt = again.shipment.attempt.saturating_add(1);
                    again.fate = Fate::Sent(now);
                    effects.send.push(again.shipment);
                }
                Fate::Sent(_) | Fate::Waits(_) | Fate::Acknowledged => {}
            }
        }
        while self.next < durable_end && self.in_flight.len() < self.settings.in_flight_max {
            let until = durable_end.min(self.next.saturating_add(self.settings.records_max));
            let shipment = Shipment { ticket: self.next_ticket, from: self.next, until, attempt: 0 };
            self.next_ticket += 1;
            self.next = until;
            self.in_flight.push_back(InFlight { shipment, fate: Fate::Sent(now) });
            effects.send.push(shipment);
        }
    }

    fn acknowledged(&mut self, ticket: u64) {
        if let Some(one) = self.in_flight.iter_mut().find(|one| one.shipment.ticket == ticket) {
            one.fate = Fate::Acknowledged;
        }
        // Only what is acknowledged without a gap moves the mark.
        while let Some(first) = self.in_flight.front().filter(|one| one.fate == Fate::Acknowledged) {
            self.shipped = first.shipment.until;
            self.in_flight.pop_front();
        }
    }

    fn failed(&mut self, ticket: u64, now: MonotonicMs) {
        let Some(index) = self.in_flight.iter().position(|one| one.shipment.ticket == ticket) else { return };
        // A late failure of an attempt says nothing about one that was acknowledged since.
        if self.in_flight[index].fate != Fate::Acknowledged {
            let wait_ms = self.wait_ms(self.in_flight[index].shipment.attempt);
            self.in_flight[index].fate = Fate::Waits(now.plus_ms(wait_ms));
        }
    }

    fn wait_ms(&self, attempt: u32) -> u64 {
        // Ten doublings are beyond every bound that makes sense.
        self.settings.retry_ms.saturating_mul(1 << attempt.min(10)).min(self.settings.retry_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: ShipperSettings = ShipperSettings {
        records_max: 10,
        in_flight_max: 3,
        timeout_ms: 1_000,
        retry_ms: 100,
        retry_max_ms: 400,
        checkpoint_ms: 200,
    };

    fn at(ms: u64) -> MonotonicMs {
        MonotonicMs(ms)
    }

    #[test]
    fn shipments_are_bounded_in_size_and_number() {
        let mut shipper = Shipper::resume(SETTINGS, 5, at(0));
        let sent = shipper.step(ShipperInput::Tail(100), at(0)).send;
        assert_eq!(sent.iter().map(|one| (one.from, one.until)).collect::<Vec<_>>(), [(5, 15), (15, 25), (25, 35)]);
        assert!(shipper.step(ShipperInput::Tail(100), at(1)).send.is_empty());
    }

    // INV-36.
    #[test]
    fn the_checkpoint_waits_for_the_first_gap() {
        let mut shipper = Shipper::resume(SETTINGS, 0, at(0));
        let sent = shipper.step(ShipperInput::Tail(25), at(0)).send;
        assert_eq!(shipper.step(ShipperInput::Acknowledged(sent[1].ticket), at(500)).checkpoint, None);
        assert_eq!(shipper.shipped(), 0);
        assert_eq!(shipper.step(ShipperInput::Acknowledged(sent[0].ticket), at(500)).checkpoint, Some(20));
        assert_eq!(shipper.step(ShipperInput::Acknowledged(sent[2].ticket), at(600)).checkpoint, None, "too soon");
        assert_eq!(shipper.checkpoint(at(600)), Some(25));
        assert_eq!(shipper.checkpoint(at(600)), None);
    }

    #[test]
    fn what_failed_or_was_not_heard_of_is_sent_again_and_later_each_time() {
        let mut shipper = Shipper::resume(SETTINGS, 0, at(0));
        let ticket = shipper.step(ShipperInput::Tail(3), at(0)).send[0].ticket;
        shipper.step(ShipperInput::Failed(ticket), at(10));
        assert!(shipper.step(ShipperInput::Tail(3), at(109)).send.is_empty());
        assert_eq!(shipper.step(ShipperInput::Tail(3), at(110)).send[0].attempt, 1);
        assert!(shipper.step(ShipperInput::Tail(3), at(1_109)).send.is_empty());
        assert!(shipper.step(ShipperInput::Tail(3), at(1_110)).send.is_empty(), "timed out, waits");
        assert_eq!(shipper.step(ShipperInput::Tail(3), at(1_310)).send[0].attempt, 2);
        // The first attempt was in the log all along.
        shipper.step(ShipperInput::Acknowledged(ticket), at(1_311));
        assert_eq!((shipper.shipped(), shipper.unacknowledged()), (3, 0));
        shipper.step(ShipperInput::Failed(ticket), at(1_312));
        assert!(shipper.step(ShipperInput::Tail(3), at(9_000)).send.is_empty());
    }

    proptest! {
        /// Whatever is acknowledged, lost or failed, and however often it dies: every record is sent until it is acknowledged, and a life
        /// begins at most one checkpoint behind what the log has.
        #[test]
        fn every_record_reaches_the_log(steps in prop::collection::vec((0_u8..10, 1_u64..40), 1..300)) {
            let mut in_log = std::collections::BTreeSet::new();
            let (mut end, mut kept, mut now) = (0_u64, 0_u64, 0_u64);
            let mut sent: Vec<Shipment> = Vec::new();
            let mut shipper = Shipper::resume(SETTINGS, 0, at(0));
            for (step, number) in steps {
                now += number * 10;
                let input = match step {
                    0..=3 => { end += number; ShipperInput::Tail(end) }
                    4 | 5 if !sent.is_empty() => {
                        let one = sent.swap_remove(usize::try_from(number).unwrap() % sent.len());
                        in_log.extend(one.from..one.until);
                        ShipperInput::Acknowledged(one.ticket)
                    }
                    6 if !sent.is_empty() => {
                        // Perhaps it is in the log, and the answer lost.
                        let one = sent.swap_remove(0);
                        if number % 2 == 0 { in_log.extend(one.from..one.until); }
                        ShipperInput::Failed(one.ticket)
                    }
                    7 if number < 10 => {
                        sent.clear();
                        shipper = Shipper::resume(SETTINGS, kept, at(now));
                        ShipperInput::Tail(end)
                    }
                    _ => ShipperInput::Tail(end),
                };
                let effects = shipper.step(input, at(now));
                sent.extend(effects.send);
                if let Some(checkpoint) = effects.checkpoint {
                    prop_assert!(checkpoint >= kept);
                    kept = checkpoint;
                }
                prop_assert!((0..kept).all(|seq| in_log.contains(&seq)), "INV-36");
            }
            // And in the end, when nothing fails any more, all of it.
            for _ in 0..10_000 {
                if shipper.shipped() == end { break; }
                now += 100;
                sent.extend(shipper.step(ShipperInput::Tail(end), at(now)).send);
                for one in std::mem::take(&mut sent) {
                    in_log.extend(one.from..one.until);
                    shipper.step(ShipperInput::Acknowledged(one.ticket), at(now));
                }
            }
            prop_assert_eq!(shipper.shipped(), end);
            prop_assert!((0..end).all(|seq| in_log.contains(&seq)));
        }
    }
}
