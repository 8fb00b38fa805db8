//! How a pod is played: which beacons, when, and what becomes of each. Pure: a stream of draws in, a list out.

use crate::model::BeaconEvent;
use crate::workload::Draws;

/// Virtual milliseconds of an ad after which it counts as heard, and a little more.
const AUDIBLE_MS: u32 = 2_050;

/// What becomes of a beacon on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Sent so many times, once as a rule.
    Sent(u8),
    /// Never sent: the network was gone.
    Lost,
    /// Sent only after the token's life: the player was offline.
    Late,
}

/// One beacon of a pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Milliseconds after the start of the pod.
    pub(super) at_ms: u32,
    /// Which ad, from 0.
    pub(super) slot: usize,
    /// What is told.
    pub(super) event: BeaconEvent,
    /// What becomes of it.
    pub(super) fate: Fate,
}

/// How often things happen, as shares.
const SKIPS: f64 = 0.05;
const MUTES: f64 = 0.04;
const CLICKS: f64 = 0.015;
const FAILS: f64 = 0.005;
const LOST: f64 = 0.015;
const REPEATED: f64 = 0.03;
const LATE: f64 = 0.008;

/// The beacons of a pod of ads of these lengths, in the order in which they are sent, and how long it takes.
pub(super) fn play(durations_ms: &[u32], draws: &mut Draws) -> (Vec<Step>, u32) {
    let mut steps = Vec::with_capacity(durations_ms.len() * 7);
    let mut start_ms = 0;
    for (slot, &duration_ms) in durations_ms.iter().enumerate() {
        let (events, lasted_ms) = play_ad(duration_ms, draws);
        for (at_ms, event) in events {
            steps.push(Step { at_ms: start_ms + at_ms, slot, event, fate: fate(draws) });
        }
        start_ms += lasted_ms;
    }
    (steps, start_ms)
}

/// The beacons of a pod that is given up unplayed.
pub(super) fn give_up(ads: usize, event: BeaconEvent, draws: &mut Draws) -> Vec<Step> {
    (0..ads).map(|slot| Step { at_ms: 0, slot, event, fate: fate(draws) }).collect()
}

fn fate(draws: &mut Draws) -> Fate {
    match draws.weighted(&[LOST, LATE, REPEATED, 1.0 - LOST - LATE - REPEATED]) {
        0 => Fate::Lost,
        1 => Fate::Late,
        2 => Fate::Sent(if draws.chance(0.7) { 2 } else { 3 }),
        _ => Fate::Sent(1),
    }
}

/// Events of one ad by milliseconds from its start, and how long it played.
fn play_ad(duration_ms: u32, draws: &mut Draws) -> (Vec<(u32, BeaconEvent)>, u32) {
    if draws.chance(FAILS) {
        return (vec![(0, BeaconEvent::Error)], 0);
    }
    let mut events = vec![
        (0, BeaconEvent::Start),
        (AUDIBLE_MS, BeaconEvent::Impression),
        (duration_ms / 4, BeaconEvent::FirstQuartile),
        (duration_ms / 2, BeaconEvent::Midpoint),
        (duration_ms / 4 * 3, BeaconEvent::ThirdQuartile),
        (duration_ms, BeaconEvent::Complete),
    ];
    let share = |draws: &mut Draws, percent: u32| duration_ms / 100 * draws.between(percent, 95);
    if draws.chance(MUTES) {
        let muted_ms = share(draws, 30);
        events.push((muted_ms, BeaconEvent::Mute));
        events.push((muted_ms + (duration_ms - muted_ms) / 2, BeaconEvent::Unmute));
    }
    if draws.chance(CLICKS) {
        events.push((share(draws, 20), BeaconEvent::Click));
    }
    let mut lasted_ms = duration_ms;
    if draws.chance(SKIPS) {
        lasted_ms = share(draws, 5);
        events.retain(|&(at_ms, _)| at_ms < lasted_ms);
        events.push((lasted_ms, BeaconEvent::Skip));
    }
    events.sort_by_key(|&(at_ms, event)| (at_ms, event));
    (events, lasted_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_played_in_order_and_everything_happens_sometimes() {
        let mut draws = Draws::new(1, 0);
        let mut seen = std::collections::BTreeSet::new();
        let (mut lost, mut late, mut repeated) = (0, 0, 0);
        for _ in 0..2_000 {
            let (steps, lasted_ms) = play(&[20_000, 30_000, 10_000], &mut draws);
            assert!(steps.is_sorted_by_key(|step| (step.slot, step.at_ms)));
            assert!(lasted_ms <= 60_000 && steps.iter().all(|step| step.at_ms <= lasted_ms));
            for slot in 0..3 {
                let events: Vec<BeaconEvent> =
                    steps.iter().filter(|step| step.slot == slot).map(|step| step.event).collect();
                let has = |event| events.contains(&event);
                assert!(has(BeaconEvent::Start) != has(BeaconEvent::Error), "{events:?}");
                assert!(!(has(BeaconEvent::Skip) && has(BeaconEvent::Complete)), "{events:?}");
                assert!(has(BeaconEvent::Impression) || !has(BeaconEvent::FirstQuartile), "{events:?}");
            }
            for step in steps {
                seen.insert(step.event);
                match step.fate {
                    Fate::Lost => lost += 1,
                    Fate::Late => late += 1,
                    Fate::Sent(times) => repeated += u32::from(times > 1),
                }
            }
        }
        assert_eq!(seen.len(), BeaconEvent::ALL.len() - 2, "all but void and not-used: {seen:?}");
        assert!(lost > 0 && late > 0 && repeated > 0);
    }
}
