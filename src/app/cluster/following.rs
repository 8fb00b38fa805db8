//! The catalogue of a server of many: a thread that follows its feed, and tells every role.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::system::{joined, spawn};
use crate::clock::Clock;
use crate::ending::Ending;
use crate::event_log::SharedLog;
use crate::patience::Reminder;
use crate::roles::catalogue_feed::{CatalogueFeed, FeedChange, FeedState};
use crate::roles::health::Lights;
use crate::telemetry::{Metric, Metrics};

/// How long one read of the catalogue's feed waits.
const FEED_WAIT: Duration = Duration::from_millis(100);
/// Pause before the feed is tried again.
const FEED_RETRY: Duration = Duration::from_millis(500);

/// The thread that follows the catalogue.
pub(super) struct Feed {
    stop: Arc<AtomicBool>,
    ending: Ending,
    thread: JoinHandle<()>,
}

/// Takes each change of the catalogue.
pub(super) type Taker = Box<dyn FnMut(&FeedChange) + Send>;

impl Feed {
    /// Whether it goes on: it ends by itself only in a panic.
    pub(super) fn ending(&self) -> Ending {
        self.ending.clone()
    }

    /// Ends it.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        joined(self.thread)
    }
}

/// Follows the catalogue: all of it first, then each change.
pub(super) fn follow<L: SharedLog>(
    log: L,
    lights: Arc<Lights>,
    (clock, metrics): (Clock, Metrics),
    mut takers: Vec<Taker>,
) -> anyhow::Result<Feed> {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, ending) = (Arc::clone(&stop), Ending::default());
    let running = ending.guard();
    let thread = spawn("catalog-feed", move || {
        let _running = running;
        let goes_on = || !told.load(Ordering::Acquire);
        let mut take = |change: &FeedChange| {
            for taker in &mut takers {
                taker(change);
            }
            metrics.set(Metric::CatalogVersion, change.version);
            // A feed that holds nothing yet is of a network that nobody has made.
            lights.catalog.store(true, Ordering::Release);
        };
        let mut reminder = Reminder::default();
        let counted = |state: &FeedState| {
            metrics.total(Metric::CatalogFeedRecords, state.taken());
            metrics.total(Metric::CatalogFeedUnreadable, state.unreadable());
        };
        let mut feed = loop {
            match CatalogueFeed::open(&log, goes_on) {
                Ok(Some((feed, whole))) => {
                    counted(feed.state());
                    if whole.version > 0 {
                        take(&whole);
                    }
                    break feed;
                }
                Ok(None) => return,
                Err(error) => {
                    metrics.add(Metric::CatalogFeedErrors, 1);
                    if reminder.fails(&error.to_string(), clock.now().monotonic) {
                        tracing::warn!(%error, "the catalogue can't be read for now");
                    }
                    std::thread::sleep(FEED_RETRY);
                }
            }
        };
        while goes_on() {
            let read = feed.next(FEED_WAIT);
            counted(feed.state());
            match read {
                Ok(Some(change)) => {
                    reminder.works();
                    take(&change);
                }
                Ok(None) => {}
                Err(error) => {
                    metrics.add(Metric::CatalogFeedErrors, 1);
                    if reminder.fails(&error.to_string(), clock.now().monotonic) {
                        tracing::warn!(%error, "changes of the catalogue can't be read for now");
                    }
                    std::thread::sleep(FEED_RETRY);
                }
            }
        }
    })?;
    Ok(Feed { stop, ending, thread })
}
