//! Drops the weeks of exposures that no window sees any more, where the store doesn't do it by itself: at the start, and each day.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::store::Listeners;

/// Time between two looks, in milliseconds: a week that is over may stay a day longer.
const LOOK_EVERY_MS: u64 = 86_400_000;

/// The task that drops them.
#[derive(Debug)]
pub(super) struct OldWeeks {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl OldWeeks {
    /// Starts it on this runtime.
    pub(super) fn drop_from(listeners: Arc<Listeners>, clock: Clock) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                match listeners.drop_old_weeks(clock.now().wall).await {
                    Ok(0) => {}
                    Ok(weeks) => tracing::info!(weeks, "exposures that no cap can see any more were dropped"),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "old exposures could not be dropped; it is tried again in a day");
                    }
                }
                tokio::select! {
                    () = clock.sleep(LOOK_EVERY_MS) => {}
                    _ = &mut stopped => return,
                }
            }
        });
        Self { stop, task }
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        // Nobody hears it: it has ended in a panic, which is told below.
        let _ = self.stop.send(());
        if self.task.await.is_err() {
            tracing::error!("the task that drops old exposures ended in a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use fjall::Database;

    use super::*;
    use crate::entropy::Entropy;
    use crate::events::samples;
    use crate::model::{
        CreativeId, Exposure, ExposureState, ImpressionId, LeaseId, ListenerKey, MonotonicMs, Now, WallMs,
    };
    use crate::store::ListenerBackend;

    const DAY_MS: i64 = 86_400_000;
    const FIRST_DAY: i64 = 20_000;

    fn heard(day: u32) -> Exposure {
        let line_item = samples::line_item();
        Exposure {
            impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: day },
            at: WallMs((FIRST_DAY + i64::from(day)) * DAY_MS),
            advertiser_id: line_item.advertiser_id,
            campaign_id: line_item.campaign_id,
            line_item_id: line_item.id,
            creative_id: CreativeId::from_u128(4),
            state: ExposureState::Heard,
        }
    }

    fn weeks(database: &Database) -> usize {
        database.list_keyspace_names().iter().filter(|name| name.starts_with("exposures-")).count()
    }

    #[tokio::test]
    async fn old_weeks_go_at_the_start_and_each_day() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = Database::builder(dir.path()).open().expect("opens");
        let rows = ListenerBackend::embedded(&database).expect("opens");
        let listeners = Arc::new(Listeners::open(rows, 1_000, Entropy::seeded(1)));
        let at = |day: i64| WallMs((FIRST_DAY + day) * DAY_MS);
        let listener = listeners.load(ListenerKey([1; 16]), at(0)).await.expect("loads");
        for day in [0, 30, 60] {
            listeners.with(&listener, |state| state.exposures.push(heard(day)));
        }
        listeners.flush().await.expect("flushes");
        assert_eq!(weeks(&database), 3);
        let (clock, hands) = Clock::manual(Now { wall: at(60), monotonic: MonotonicMs(1) });
        let old = OldWeeks::drop_from(Arc::clone(&listeners), clock);
        while weeks(&database) > 2 {
            tokio::task::yield_now().await;
        }
        // Day after day, until six weeks lie behind the second one.
        while weeks(&database) > 1 {
            hands.advance(LOOK_EVERY_MS);
            tokio::task::yield_now().await;
        }
        old.stop().await;
    }
}
