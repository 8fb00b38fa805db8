//! The catalogue in memory: each change into the snapshot, and a new base beside it when there are many.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::system::spawn;
use super::{Base, Side};
use crate::background;
use crate::catalog::{CatalogPublisher, CatalogWriter, Entity};
use crate::clock::Clock;
use crate::decision::Spending;
use crate::model::Status;
use crate::roles::campaign::{CatalogChange, Publish};
use crate::telemetry::{Metric, Metrics};

/// The catalogue in memory: its writer, where readers find it, and who is told of changes.
struct CatalogFeed {
    writer: Mutex<CatalogWriter>,
    catalog: Arc<CatalogPublisher>,
    spending: Arc<Spending>,
    /// Takes each change once it is in the snapshot; may wait.
    told: Box<dyn Fn(Vec<Entity>) + Send + Sync>,
    metrics: Metrics,
    clock: Clock,
}

impl CatalogFeed {
    /// Puts a change into the snapshot and tells accounting. True when a new base should be built.
    fn take(&self, change: CatalogChange) -> bool {
        let watch = self.clock.stopwatch();
        let mut writer = self.writer();
        let snapshot = writer.apply(change.version, change.entities.clone());
        let wants_rebuild = writer.wants_rebuild();
        // What was paused a moment ago in the side array is as the snapshot says from here on.
        for entity in &change.entities {
            if let Entity::LineItem(line_item) = entity
                && let Some(slot) = snapshot.slot(line_item.id)
            {
                self.spending.set_paused(slot, line_item.status != Status::Active);
            }
        }
        self.metrics.set(Metric::CatalogVersion, change.version);
        let (base, middle, delta) = writer.sizes();
        self.metrics.set(Metric::CatalogLineItems, u64::try_from(base + middle + delta).unwrap_or(u64::MAX));
        drop(self.catalog.publish(snapshot));
        drop(writer);
        self.metrics.observe_seconds(Metric::CatalogSwapSeconds, watch.elapsed_seconds());
        (self.told)(change.entities);
        wants_rebuild
    }

    /// Builds the part that is wanted beside the changes that go on, and puts it in place.
    fn rebuild(&self) {
        let job = self.writer().begin_rebuild();
        let rebuilt = job.run();
        let mut writer = self.writer();
        if let Some(snapshot) = writer.finish_rebuild(rebuilt) {
            drop(self.catalog.publish(snapshot));
        }
    }

    fn writer(&self) -> MutexGuard<'_, CatalogWriter> {
        // A panic in the writer leaves a catalogue that may be half changed: nothing may be served from it.
        self.writer.lock().expect("no panic while the catalogue was being changed")
    }
}

/// What is done with each change before its writer goes on: into the snapshot, then `told`, which may wait. And the thread that builds new bases; it ends with
/// the last change's sender.
pub(super) fn publish_to(
    base: &Base<'_>,
    side: &Side,
    told: impl Fn(Vec<Entity>) + Send + Sync + 'static,
) -> anyhow::Result<(Publish, JoinHandle<()>)> {
    let feed = Arc::new(CatalogFeed {
        writer: Mutex::new(CatalogWriter::keyed(u64::from_le_bytes(base.entropy.bytes()))),
        catalog: Arc::clone(&side.catalog),
        spending: Arc::clone(&side.spending),
        told: Box::new(told),
        metrics: base.metrics.clone(),
        clock: base.clock.clone(),
    });
    let (wanted, rebuilds) = sync_channel(1);
    let thread = spawn("catalog-rebuild", {
        let feed = Arc::clone(&feed);
        move || {
            background::give_way();
            for () in &rebuilds {
                feed.rebuild();
            }
        }
    })?;
    let publish = Box::new(move |change: CatalogChange| {
        if feed.take(change) {
            // Full: one is asked for already.
            let _ = wanted.try_send(());
        }
    });
    Ok((publish, thread))
}
