//! What is said of line items in `segue.delivery`: how each stands, where that has changed, and not too often.
//!
//! It is told of the books as they are in memory, with the offset that they are at; it moves nothing, and what is lost with an owner the next one says again.

use std::collections::BTreeMap;

use crate::events::{LineItemDelivery, WHOLE_PPM};
use crate::model::{LineItemId, MonotonicMs, Now, WallMs};

/// Shortest time between two statements of a line item, in milliseconds. That it stops or may go on is said at once.
const EVERY_MS: u64 = 10_000;
/// Statements of one look at all line items: a second's. The rest follows with the next ones.
const AT_ONCE_MAX: usize = 1_000;

/// What was said of each line item last.
#[derive(Default, Debug)]
pub(super) struct Statements {
    told: BTreeMap<LineItemId, (LineItemDelivery, MonotonicMs)>,
    /// Where the next look begins to have room: behind whoever was told last.
    from: Option<LineItemId>,
}

impl Statements {
    /// Of the line items as they stand now, by id, those that are to be told.
    pub(super) fn due(&mut self, now: Now, all: impl Iterator<Item = LineItemDelivery>) -> Vec<LineItemDelivery> {
        let mut due: Vec<LineItemDelivery> = all.filter(|delivery| self.is_due(delivery, now)).collect();
        if due.len() > AT_ONCE_MAX {
            let first = self.from.map_or(0, |from| due.partition_point(|delivery| delivery.line_item_id <= from));
            let first = first % due.len();
            due.rotate_left(first);
            due.truncate(AT_ONCE_MAX);
        }
        self.from = due.last().map(|delivery| delivery.line_item_id);
        for delivery in &due {
            self.told.insert(delivery.line_item_id, (*delivery, now.monotonic));
        }
        due
    }

    fn is_due(&self, delivery: &LineItemDelivery, now: Now) -> bool {
        let Some((told, at)) = self.told.get(&delivery.line_item_id) else { return is_something(delivery) };
        let is_turn = told.may_spend != delivery.may_spend || told.day != delivery.day;
        is_turn || (now.monotonic.since(*at) >= EVERY_MS && apart_from_time(told) != apart_from_time(delivery))
    }
}

/// Whether there is anything to say of a line item of which nothing was said.
fn is_something(delivery: &LineItemDelivery) -> bool {
    delivery.may_spend || delivery.life != <_>::default()
}

/// What is said, less when and after which record.
const fn apart_from_time(delivery: &LineItemDelivery) -> LineItemDelivery {
    LineItemDelivery { at: WallMs(0), events_until: 0, ..*delivery }
}

/// A throttle, which is a threshold of a 64-bit hash, as a share in millionths. Less than the whole where it is not the whole.
pub(super) fn ppm(throttle: u64) -> u32 {
    if throttle == u64::MAX {
        return WHOLE_PPM;
    }
    let share = (u128::from(throttle) * u128::from(WHOLE_PPM)) >> 64;
    u32::try_from(share).unwrap_or(WHOLE_PPM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Spend;
    use crate::model::{AdvertiserId, CampaignId, Day, Micros, NetworkId};

    fn delivery(n: u128, micros: i64) -> LineItemDelivery {
        LineItemDelivery {
            line_item_id: LineItemId::from_u128(n),
            network_id: NetworkId::from_u128(1),
            advertiser_id: AdvertiserId::from_u128(2),
            campaign_id: CampaignId::from_u128(3),
            at: WallMs(5),
            partition: 0,
            events_until: 7,
            may_spend: true,
            throttle_ppm: WHOLE_PPM,
            life: Spend { settled: Micros(micros), ..Spend::default() },
            today: Spend::default(),
            day: Day(9),
        }
    }

    fn at(second: u64) -> Now {
        Now { wall: WallMs(5), monotonic: MonotonicMs(second * 1_000) }
    }

    fn told(statements: &mut Statements, second: u64, now: LineItemDelivery) -> bool {
        !statements.due(at(second), std::iter::once(now)).is_empty()
    }

    #[test]
    fn a_change_is_told_within_ten_seconds_and_a_stop_at_once() {
        let mut statements = Statements::default();
        let stopped = LineItemDelivery { may_spend: false, ..delivery(1, 9) };
        let nothing = LineItemDelivery { may_spend: false, ..delivery(2, 0) };
        assert!(!told(&mut statements, 0, nothing), "of what never was anything nothing is said");
        assert!(told(&mut statements, 0, delivery(1, 1)));
        assert!(!told(&mut statements, 9, delivery(1, 2)));
        assert!(told(&mut statements, 10, delivery(1, 2)));
        assert!(!told(&mut statements, 99, LineItemDelivery { at: WallMs(6), events_until: 8, ..delivery(1, 2) }));
        assert!(told(&mut statements, 100, delivery(1, 9)));
        assert!(told(&mut statements, 101, stopped));
        assert!(told(&mut statements, 102, LineItemDelivery { day: Day(10), ..stopped }));
    }

    #[test]
    fn many_are_told_by_and_by_and_none_is_left_out() {
        let mut statements = Statements::default();
        let count = u128::try_from(AT_ONCE_MAX).expect("small") * 2 + 500;
        let sizes: Vec<usize> =
            (0..4).map(|second| statements.due(at(second), (0..count).map(|n| delivery(n, 1))).len()).collect();
        assert_eq!(sizes, [AT_ONCE_MAX, AT_ONCE_MAX, 500, 0]);
        // While all change all the time, they take turns.
        let mut seen = std::collections::BTreeSet::new();
        for second in 0..3 {
            let all = (0..count).map(|n| delivery(n, 2 + i64::try_from(second).expect("small")));
            seen.extend(statements.due(at(20 + second * 10), all).iter().map(|delivery| delivery.line_item_id));
        }
        assert_eq!(seen.len() as u128, count);
    }

    #[test]
    fn a_throttle_is_a_share_in_millionths() {
        assert_eq!([0, u64::MAX, u64::MAX / 4, u64::MAX - 1].map(ppm), [0, WHOLE_PPM, 249_999, WHOLE_PPM - 1]);
    }
}
