//! The leases that this server holds, and giving back what was not drawn of them.
//!
//! A lease counts as spent until it is closed, an hour or more after its last draw. So whatever ends drawing early is told at once: the lease is
//! *sealed* ([`Spending`]), which says how much was drawn at most, and a `LeaseReturned` record says so to accounting. It is returned when another
//! takes its place, when its time to draw is over, when its line item may not serve any more, and all of them when the server drains.
//!
//! INV-41: a return never says less than was drawn, and nothing is drawn from a returned lease: it is sealed before the record is made. A
//! draw under way at that moment may make it say more, which is the safe error (see `Spending`'s `seal`).
//!
//! Pure; who calls it appends the records. A record that is lost costs nothing but time: its lease stays counted as spent until it is closed.

use std::collections::{BTreeMap, VecDeque};

use super::spending::{LeaseRest, LeaseTerms, Spending};
use crate::catalog::LineSlot;
use crate::events::{Event, LeaseReturned};
use crate::model::{AdvertiserId, BootId, CampaignId, LeaseId, LineItemId, NetworkId, Now, ServerId};

/// Leases of a line item that are remembered as seen, whatever became of them: as many as may be open of it, so that a message which comes twice
/// finds its lease known or over.
const SEEN_MAX: usize = 64;

/// Whose money a lease is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseOwner {
    /// The tenant.
    pub network_id: NetworkId,
    /// Who pays.
    pub advertiser_id: AdvertiserId,
    /// For which campaign.
    pub campaign_id: CampaignId,
    /// For which line item.
    pub line_item_id: LineItemId,
}

/// A lease that accounting hands to this server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OfferedLease {
    /// Whose money it is.
    pub owner: LeaseOwner,
    /// What it allows.
    pub terms: LeaseTerms,
}

/// The leases that one run of a server holds: at most one a line item, so never more than there are line items.
#[derive(Clone, Debug)]
pub struct LeaseDesk {
    server_id: ServerId,
    boot_id: BootId,
    held: BTreeMap<LineItemId, Box<(LineSlot, OfferedLease)>>,
    /// The last leases of each line item, newest last.
    seen: BTreeMap<LineItemId, VecDeque<LeaseId>>,
    is_closed: bool,
}

impl LeaseDesk {
    /// A desk of that run of a server; it holds nothing.
    #[must_use]
    pub const fn new(server_id: ServerId, boot_id: BootId) -> Self {
        Self { server_id, boot_id, held: BTreeMap::new(), seen: BTreeMap::new(), is_closed: false }
    }

    /// Draws from this lease from now on. `slot` is where its line item stands; none when it stands nowhere. Returns what is given back: the lease
    /// before it, or this very one, when it can't be drawn from.
    pub fn install(
        &mut self,
        spending: &Spending,
        slot: Option<LineSlot>,
        offered: OfferedLease,
        now: Now,
    ) -> Option<Event> {
        if !self.is_new(&offered) {
            // A message that came twice, perhaps behind the next lease's: to install the lease again would let its ordinals be drawn
            // again (INV-24).
            return None;
        }
        let slot = slot.filter(|_| !self.is_closed && now.monotonic < offered.terms.draw_until);
        let Some(slot) = slot else { return Some(self.returned(&offered, untouched(offered.terms), now)) };
        let rest = spending.install_lease(slot, offered.terms);
        let before = self.held.insert(offered.owner.line_item_id, Box::new((slot, offered)));
        self.given_back(before.map(|held| *held), rest, now)
    }

    /// Whether the lease is offered for the first time; it is known from then on.
    fn is_new(&mut self, offered: &OfferedLease) -> bool {
        // Of most line items one lease is known.
        let seen = self.seen.entry(offered.owner.line_item_id).or_insert_with(|| VecDeque::with_capacity(1));
        if seen.contains(&offered.terms.lease_id) {
            return false;
        }
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(offered.terms.lease_id);
        true
    }

    /// Gives back the leases whose time to draw is over, and those of line items that may not serve any more.
    pub fn sweep(&mut self, spending: &Spending, now: Now, may_serve: impl Fn(LineSlot) -> bool) -> Vec<Event> {
        let is_over =
            |(slot, held): &(LineSlot, OfferedLease)| now.monotonic >= held.terms.draw_until || !may_serve(*slot);
        let over: Vec<_> = self.held.extract_if(.., |_, held| is_over(held)).map(|(_, held)| *held).collect();
        over.into_iter().filter_map(|held| self.take_back(spending, held, now)).collect()
    }

    /// Gives all leases back and takes no more: nothing paid is drawn after this.
    pub fn close(&mut self, spending: &Spending, now: Now) -> Vec<Event> {
        self.is_closed = true;
        let all = std::mem::take(&mut self.held);
        all.into_values().filter_map(|held| self.take_back(spending, *held, now)).collect()
    }

    /// How many leases are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn take_back(&self, spending: &Spending, held: (LineSlot, OfferedLease), now: Now) -> Option<Event> {
        let rest = spending.drop_lease(held.0);
        self.given_back(Some(held), rest, now)
    }

    fn given_back(&self, before: Option<(LineSlot, OfferedLease)>, rest: Option<LeaseRest>, now: Now) -> Option<Event> {
        let (_, before) = before?;
        // A lease that somebody else put in place is not ours to give back.
        let rest = rest.filter(|rest| rest.lease_id == before.terms.lease_id)?;
        Some(self.returned(&before, rest, now))
    }

    fn returned(&self, lease: &OfferedLease, rest: LeaseRest, now: Now) -> Event {
        let LeaseOwner { network_id, advertiser_id, campaign_id, line_item_id } = lease.owner;
        Event::LeaseReturned(LeaseReturned {
            lease_id: lease.terms.lease_id,
            server_id: self.server_id,
            boot_id: self.boot_id,
            network_id,
            advertiser_id,
            campaign_id,
            line_item_id,
            drawn: lease.terms.amount.minus(rest.left).expect("INV-24: no more is left than was granted"),
            drawn_count: rest.drawn_ordinals,
            returned_at: now.wall,
        })
    }
}

/// The rest of a lease that was never drawn from.
const fn untouched(terms: LeaseTerms) -> LeaseRest {
    LeaseRest { lease_id: terms.lease_id, left: terms.amount, drawn_ordinals: 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::model::{LeaseId, Micros, MonotonicMs, WallMs};

    fn at(ms: u64) -> Now {
        Now { wall: WallMs(ms.cast_signed()), monotonic: MonotonicMs(ms) }
    }

    fn desk() -> LeaseDesk {
        LeaseDesk::new(ServerId::from_u128(7), BootId::from_u128(8))
    }

    fn offer(lease: u128, line: u128, amount: i64, draw_until: u64) -> OfferedLease {
        OfferedLease {
            owner: LeaseOwner {
                network_id: NetworkId::from_u128(1),
                advertiser_id: AdvertiserId::from_u128(2),
                campaign_id: CampaignId::from_u128(3),
                line_item_id: LineItemId::from_u128(line),
            },
            terms: LeaseTerms {
                lease_id: LeaseId::from_u128(lease),
                amount: Micros(amount),
                max_ordinals: 1_000_000,
                draw_until: MonotonicMs(draw_until),
                last_billable_until: WallMs(1),
            },
        }
    }

    /// Lease, money and draws of each return.
    fn told(events: impl IntoIterator<Item = Event>) -> Vec<(u128, i64, u32)> {
        let one = |event| match event {
            Event::LeaseReturned(returned) => (returned.lease_id.as_u128(), returned.drawn.0, returned.drawn_count),
            other => panic!("no return: {other:?}"),
        };
        events.into_iter().map(one).collect()
    }

    #[test]
    fn a_replaced_lease_an_old_one_and_an_idle_one_are_given_back_once() {
        let (spending, mut desk) = (Spending::new(), desk());
        let slot = LineSlot(3);
        assert_eq!(desk.install(&spending, Some(slot), offer(1, 9, 100, 50), at(0)), None);
        assert_eq!(desk.install(&spending, Some(slot), offer(1, 9, 100, 50), at(0)), None, "the message came twice");
        spending.draw(slot, LeaseId::from_u128(1), Micros(30), at(1)).expect("there is money");
        assert_eq!(told(desk.install(&spending, Some(slot), offer(2, 9, 100, 60), at(2))), [(1, 30, 1)]);
        assert_eq!(desk.install(&spending, Some(slot), offer(1, 9, 100, 50), at(3)), None, "behind the next lease's");
        assert_eq!(spending.read(slot, at(3)).lease.map(|lease| lease.lease_id), Some(LeaseId::from_u128(2)));
        assert!(desk.sweep(&spending, at(59), |_| true).is_empty());
        assert_eq!(told(desk.sweep(&spending, at(60), |_| true)), [(2, 0, 0)]);
        assert_eq!(desk.install(&spending, Some(slot), offer(3, 9, 100, 90), at(70)), None);
        assert_eq!(told(desk.sweep(&spending, at(71), |_| false)), [(3, 0, 0)]);
        assert!(desk.is_empty());
    }

    #[test]
    fn a_lease_that_can_not_be_drawn_from_goes_back_whole() {
        let (spending, mut desk) = (Spending::new(), desk());
        assert_eq!(told(desk.install(&spending, None, offer(1, 9, 100, 50), at(0))), [(1, 0, 0)], "no such line item");
        let slot = LineSlot(3);
        assert_eq!(told(desk.install(&spending, Some(slot), offer(2, 9, 100, 50), at(50))), [(2, 0, 0)], "too late");
        assert_eq!(desk.install(&spending, Some(slot), offer(3, 9, 100, 50), at(0)), None);
        assert_eq!(told(desk.close(&spending, at(1))), [(3, 0, 0)]);
        assert_eq!(told(desk.install(&spending, Some(slot), offer(4, 9, 100, 50), at(2))), [(4, 0, 0)], "it drains");
        assert_eq!(spending.read(slot, at(2)).lease, None);
        assert_eq!(told(desk.close(&spending, at(3))), []);
    }

    // INV-41, under threads that draw while leases are replaced and swept.
    #[test]
    fn a_return_never_says_less_than_was_drawn() {
        const DRAWERS: usize = 4;
        const LEASES: u128 = 400;
        let (spending, slot) = (Spending::new(), LineSlot(0));
        let drawn: Vec<(AtomicI64, AtomicU32)> = (0..=LEASES).map(|_| Default::default()).collect();
        let desk = Mutex::new(desk());
        let lock = || desk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut returns = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..DRAWERS {
                scope.spawn(|| {
                    let mut idle = 0;
                    while idle < 2_000_000 {
                        idle += 1;
                        let Some(lease) = spending.read(slot, at(0)).lease else { continue };
                        if lease.lease_id.as_u128() == LEASES {
                            return;
                        }
                        if let Ok(draw) = spending.draw(slot, lease.lease_id, Micros(3), at(0)) {
                            idle = 0;
                            let of = &drawn[usize::try_from(draw.lease_id.as_u128()).expect("small")];
                            of.0.fetch_add(draw.price.0, Ordering::Relaxed);
                            of.1.fetch_max(draw.ordinal + 1, Ordering::Relaxed);
                        }
                    }
                });
            }
            for lease in 1..=LEASES {
                returns.extend(lock().install(&spending, Some(slot), offer(lease, 9, 50_000, 10), at(0)));
                if lease % 7 == 0 && lease != LEASES {
                    returns.extend(lock().sweep(&spending, at(0), |_| false));
                }
                std::thread::yield_now();
            }
        });
        returns.extend(lock().close(&spending, at(0)));
        let told = told(returns);
        assert_eq!(told.len(), usize::try_from(LEASES).expect("small"), "each lease once");
        for (lease, micros, count) in told {
            let (really, ordinals) = &drawn[usize::try_from(lease).expect("small")];
            assert!(micros >= really.load(Ordering::Relaxed), "INV-41: lease {lease}: {micros}");
            assert!(count >= ordinals.load(Ordering::Relaxed), "INV-41: lease {lease}: {count} draws");
        }
    }
}
