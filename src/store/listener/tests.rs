//! What only the embedded store does: it drops weeks whole. What both do is in `tests/it/listeners/`.

use fjall::Database;

use super::*;
use crate::model::{AdvertiserId, CampaignId, CreativeId, Exposure, ExposureState, ImpressionId, LeaseId, LineItemId};

const DAY_MS: i64 = 86_400_000;

fn heard(day: u32) -> Exposure {
    Exposure {
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: day },
        at: WallMs(i64::from(day) * DAY_MS),
        advertiser_id: AdvertiserId::from_u128(1),
        campaign_id: CampaignId::from_u128(2),
        line_item_id: LineItemId::from_u128(3),
        creative_id: CreativeId::from_u128(4),
        state: ExposureState::Heard,
    }
}

#[tokio::test]
async fn weeks_that_no_window_sees_are_dropped_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = Database::builder(dir.path()).open().expect("opens");
    let store = ListenerBackend::embedded(&database).expect("opens");
    let listeners = Listeners::open(store, 1_000, Entropy::seeded(1));
    let listener = listeners.load(ListenerKey([1; 16]), WallMs(0)).await.expect("loads");
    for day in [0, 8, 70] {
        listeners.with(&listener, |state| state.exposures.push(heard(day)));
    }
    listeners.flush().await.expect("flushes");
    assert_eq!(listeners.drop_old_weeks(WallMs(30 * DAY_MS)).await.expect("drops"), 0);
    assert_eq!(listeners.drop_old_weeks(WallMs(70 * DAY_MS)).await.expect("drops"), 2);
    assert_eq!(listeners.drop_old_weeks(WallMs(70 * DAY_MS)).await.expect("drops"), 0);
}
