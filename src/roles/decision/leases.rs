//! The leases of this server: accounting's messages in, what is given back out.
//!
//! Three threads come here: accounting's, which delivers; the reporter's, which sweeps; and whoever drains. They share the desk under a lock that
//! is never held for I/O; decisions read and draw without it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accounting::Refusal;
use crate::catalog::CatalogPublisher;
use crate::clock::Clock;
use crate::decision::{LeaseDesk, Spending};
use crate::event_log::{AppendError, EventLog};
use crate::events::{Envelope, Event};
use crate::model::{BootId, Now, ServerId};
use crate::roles::accounting::{Message, MessageBody};
use crate::roles::records;
use crate::telemetry::{Metric, Metrics};

/// Returns in one append: some hundred kilobytes, far below what an append may have.
const RETURNS_AT_ONCE: usize = 1_000;

/// Keeps this server's leases.
#[derive(Debug)]
pub struct LeaseKeeper {
    server_id: ServerId,
    boot_id: BootId,
    desk: Mutex<LeaseDesk>,
    /// What the owner of each partition said last; where one log holds all of them there is only 0.
    standings: Mutex<BTreeMap<u32, Result<(), Refusal>>>,
    /// Somebody wants to be told all.
    is_asked: AtomicBool,
    spending: Arc<Spending>,
    catalog: Arc<CatalogPublisher>,
    log: EventLog,
    clock: Clock,
    metrics: Metrics,
}

impl LeaseKeeper {
    /// A keeper for that run of a server. Decisions draw from `spending`; what is given back goes to `log`.
    #[must_use]
    pub const fn new(
        (server_id, boot_id): (ServerId, BootId),
        spending: Arc<Spending>,
        catalog: Arc<CatalogPublisher>,
        log: EventLog,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self {
            server_id,
            boot_id,
            desk: Mutex::new(LeaseDesk::new(server_id, boot_id)),
            standings: Mutex::new(BTreeMap::new()),
            is_asked: AtomicBool::new(false),
            spending,
            catalog,
            log,
            clock,
            metrics,
        }
    }

    /// Takes a message of the owner of a partition; one for another server or another run changes nothing (INV-5). Doesn't block.
    pub fn deliver(&self, partition: u32, message: Message) {
        if (message.server_id, message.boot_id) != (self.server_id, self.boot_id) {
            return;
        }
        match message.body {
            MessageBody::Lease(offered) => {
                let now = self.clock.now();
                let slot = self.catalog.load().slot(offered.owner.line_item_id);
                let returned = self.desk().install(&self.spending, slot, offered, now);
                self.submit(returned, now);
            }
            MessageBody::Throttle { line_item_id, throttle } => {
                if let Some(slot) = self.catalog.load().slot(line_item_id) {
                    self.spending.set_throttle(slot, throttle);
                }
            }
            MessageBody::Standing(standing) => {
                if let Err(refusal) = standing
                    && refusal != Refusal::Draining
                {
                    tracing::warn!(%refusal, "accounting gives this server no leases");
                }
                self.standings().insert(partition, standing);
            }
            // A flag that publishes nothing.
            MessageBody::TellAll => self.is_asked.store(true, Ordering::Relaxed),
        }
    }

    /// Why accounting gives this server no leases, be it of some partition; none while it does, and before it has said anything.
    #[must_use]
    pub fn refused(&self) -> Option<Refusal> {
        self.standings().values().find_map(|standing| standing.err())
    }

    /// Whether the owners of so many partitions have said something of this run: before that none gives it leases.
    #[must_use]
    pub fn is_met_by(&self, partitions: u32) -> bool {
        u32::try_from(self.standings().len()).is_ok_and(|met| met >= partitions)
    }

    /// Whether an owner of a partition asked for all that there is to report, since this was last asked.
    pub fn take_asked(&self) -> bool {
        self.is_asked.swap(false, Ordering::Relaxed)
    }

    /// Gives back the leases that are over or idle. Doesn't block.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let snapshot = self.catalog.load();
        let returned = self.desk().sweep(&self.spending, now, |slot| snapshot.get(slot).is_some());
        self.submit(returned, now);
    }

    /// Gives all leases back, takes no more, and returns when that is durable. Nothing paid is drawn after this. Blocks the thread.
    ///
    /// # Errors
    /// The log refused. The leases are sealed all the same; their money returns when they are closed.
    pub fn drain(&self) -> Result<(), AppendError> {
        let now = self.clock.now();
        let returned = self.desk().close(&self.spending, now);
        let records: Vec<_> = returned.into_iter().map(|body| records::encode(&self.envelope(body, now))).collect();
        self.metrics.add(Metric::LeasesReturned, records.len() as u64);
        // In pieces, as one append has a greatest size.
        for piece in records.chunks(RETURNS_AT_ONCE) {
            self.log.append_blocking(piece.to_vec())?;
        }
        Ok(())
    }

    fn standings(&self) -> MutexGuard<'_, BTreeMap<u32, Result<(), Refusal>>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, LeaseDesk> {
        // A panic in the desk may have sealed leases and told nobody: they stay counted as spent, which is safe.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, returned: impl IntoIterator<Item = Event>, now: Now) {
        let records: Vec<_> = returned.into_iter().map(|body| records::encode(&self.envelope(body, now))).collect();
        if records.is_empty() {
            return;
        }
        self.metrics.add(Metric::LeasesReturned, records.len() as u64);
        for piece in records.chunks(RETURNS_AT_ONCE) {
            self.log.submit(piece, |result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "a lease's return was not recorded; its money returns when it is closed");
                }
            });
        }
    }

    fn envelope(&self, body: Event, now: Now) -> Envelope {
        Envelope {
            event_id: body.id(),
            occurred_at: now.wall,
            received_at: now.wall,
            server_id: self.server_id,
            boot_id: self.boot_id,
            trace_id: None,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{LeaseOwner, LeaseTerms, OfferedLease};
    use crate::event_log::{EmbeddedLog, EmbeddedLogConfig, Topic};
    use crate::events;
    use crate::journal::{Drive, Identity, SimDisk};
    use crate::model::{AdvertiserId, CampaignId, LeaseId, LineItemId, Micros, MonotonicMs, NetworkId, WallMs};

    const SERVER: ServerId = ServerId::from_u128(7);
    const BOOT: BootId = BootId::from_u128(8);

    fn keeper() -> LeaseKeeper {
        let identity = Identity { server: SERVER, boot: BOOT };
        let config = EmbeddedLogConfig { drive: Drive::Inline, ..EmbeddedLogConfig::new("/data", identity) };
        let log = EmbeddedLog::open(&config, &SimDisk::new().shared(), || WallMs(5)).expect("opens");
        let (clock, _) = Clock::manual(Now { wall: WallMs(5), monotonic: MonotonicMs(5) });
        LeaseKeeper::new(
            (SERVER, BOOT),
            Arc::new(Spending::new()),
            Arc::new(CatalogPublisher::default()),
            EventLog::Embedded(Arc::new(log)),
            clock,
            Metrics::new(),
        )
    }

    fn message(boot_id: BootId, body: MessageBody) -> Message {
        Message { server_id: SERVER, boot_id, body }
    }

    fn lease(n: u128) -> MessageBody {
        MessageBody::Lease(OfferedLease {
            owner: LeaseOwner {
                network_id: NetworkId::from_u128(1),
                advertiser_id: AdvertiserId::from_u128(2),
                campaign_id: CampaignId::from_u128(3),
                line_item_id: LineItemId::from_u128(4),
            },
            terms: LeaseTerms {
                lease_id: LeaseId::from_u128(n),
                amount: Micros(100),
                max_ordinals: 10,
                draw_until: MonotonicMs(1_000),
                last_billable_until: WallMs(9),
            },
        })
    }

    fn returned(keeper: &LeaseKeeper) -> Vec<(u128, i64)> {
        let batch = keeper.log.read(Topic::Events, None, 0, 100, 1 << 20).expect("reads");
        let one = |payload: &[u8]| match events::decode(payload).expect("understood").body {
            Event::LeaseReturned(returned) => (returned.lease_id.as_u128(), returned.drawn.0),
            other => panic!("no return: {other:?}"),
        };
        batch.records.iter().map(|record| one(&record.payload)).collect()
    }

    #[test]
    fn only_messages_for_this_run_count_and_what_can_not_be_used_goes_back() {
        let keeper = keeper();
        keeper.deliver(0, message(BootId::from_u128(9), lease(1)));
        keeper.deliver(0, message(BootId::from_u128(9), MessageBody::Standing(Err(Refusal::OlderBoot))));
        assert_eq!((returned(&keeper), keeper.refused()), (vec![], None));
        // The catalogue is empty: the line item stands nowhere.
        keeper.deliver(0, message(BOOT, lease(2)));
        assert_eq!(returned(&keeper), [(2, 0)]);
        keeper.drain().expect("there is nothing to give back");
        keeper.deliver(0, message(BOOT, lease(3)));
        assert_eq!(returned(&keeper), [(2, 0), (3, 0)]);
    }

    #[test]
    fn what_accounting_thinks_of_this_server_is_known_here() {
        let keeper = keeper();
        let refusal = Refusal::Clock { ahead_ms: -2_000 };
        keeper.deliver(0, message(BOOT, MessageBody::Standing(Err(refusal))));
        assert_eq!(keeper.refused(), Some(refusal));
        assert!(refusal.to_string().contains("2000 ms behind accounting's"), "{refusal}");
        keeper.deliver(0, message(BOOT, MessageBody::Standing(Ok(()))));
        assert_eq!(keeper.refused(), None);
    }
}
