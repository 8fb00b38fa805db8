//! Two servers' copies of one listener over a model of the store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::format;
use super::*;
use crate::impressions::listener;
use crate::model::{
    AdvertiserId, CampaignId, CreativeId, ImpressionId, LeaseId, LineItemId, OpenAd, OpenBreak, RequestId,
};

const KEY: ListenerKey = ListenerKey([1; 16]);
const PSEUDONYM: Pseudonym = Pseudonym([7; 16]);
const MAX_AGE_MS: i64 = 30_000;
const LATER: WallMs = WallMs(10_000_000);

fn exposure(number: u32) -> Exposure {
    Exposure {
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: number },
        at: WallMs(i64::from(number)),
        advertiser_id: AdvertiserId::from_u128(1),
        campaign_id: CampaignId::from_u128(2),
        line_item_id: LineItemId::from_u128(3),
        creative_id: CreativeId::from_u128(u128::from(number)),
        state: ExposureState::Reserved { until: LATER },
    }
}

fn opened(number: u32) -> OpenBreak {
    OpenBreak {
        request_id: RequestId::new(&format!("r{number}")).expect("a key"),
        decision_id: DecisionId::from_u128(u128::from(number)),
        ads: vec![OpenAd { impression_id: exposure(number).impression_id, token: "t".to_owned() }],
        decided_at: WallMs(i64::from(number)),
        expires_at: LATER,
        prefetch: true,
        answer: Vec::new(),
    }
}

/// A copy that was read at time 0, with these exposures and breaks stored.
fn read(exposures: &[Exposure], breaks: &[OpenBreak]) -> Known {
    let mut known = Known::unread(PSEUDONYM);
    let begun = known.begin();
    take(&mut known, begun, stored(exposures, breaks));
    known
}

fn stored(exposures: &[Exposure], breaks: &[OpenBreak]) -> ListenerState {
    ListenerState {
        exposures: exposures.to_vec(),
        open_breaks: breaks.to_vec(),
        last_break_at: breaks.last().map(|open| open.decided_at),
        ..ListenerState::new(PSEUDONYM)
    }
}

fn take(known: &mut Known, begun: Begun, stored: ListenerState) -> Option<ListenerChange> {
    known.take_over(KEY, begun, stored, StrictRow::default(), WallMs(0)).expect("nobody forgot them")
}

fn change(known: &mut Known, change: impl FnOnce(&mut ListenerState)) -> Option<ListenerChange> {
    let before = known.state.exposures.clone();
    change(&mut known.state);
    known.changed(KEY, &before, true)
}

fn numbers(known: &Known) -> Vec<i64> {
    known.state.exposures.iter().map(|one| one.at.0).collect()
}

fn breaks(known: &Known) -> Vec<i64> {
    known.state.open_breaks.iter().map(|open| open.decided_at.0).collect()
}

#[test]
fn a_copy_is_fresh_until_it_is_old_and_while_another_attempt_is_put_off() {
    let mut known = Known::unread(PSEUDONYM);
    assert!(!known.put_off(WallMs(0)) && !known.is_fresh(WallMs(0), MAX_AGE_MS), "never read");
    known = read(&[], &[]);
    assert!(known.is_fresh(WallMs(MAX_AGE_MS - 1), MAX_AGE_MS));
    assert!(!known.is_fresh(WallMs(MAX_AGE_MS), MAX_AGE_MS));
    assert!(!known.is_fresh(WallMs(-1), MAX_AGE_MS), "the clock was set back");
    assert!(known.put_off(WallMs(MAX_AGE_MS)));
    assert!(known.is_fresh(WallMs(MAX_AGE_MS + RETRY_MS - 1), MAX_AGE_MS));
    assert!(!known.is_fresh(WallMs(MAX_AGE_MS + RETRY_MS), MAX_AGE_MS));
    known.forget(Pseudonym([8; 16]));
    assert!(!known.is_fresh(WallMs(0), MAX_AGE_MS), "forgotten");
}

#[test]
fn nothing_is_written_where_nothing_changed() {
    let mut known = read(&[exposure(1)], &[opened(1)]);
    assert!(change(&mut known, |_| {}).is_none());
    let first = change(&mut known, |state| state.last_break_at = Some(WallMs(5))).expect("a change");
    assert!(first.head.is_some() && first.put.is_empty() && first.gone.is_empty());
    assert!(change(&mut known, |_| {}).is_none(), "handed over");
    drop(first);
    assert!(change(&mut known, |_| {}).expect("it failed").head.is_some());
}

#[test]
fn the_head_of_somebody_new_is_written_with_their_first_change_and_again_only_if_it_changed_or_failed() {
    let mut known = Known::unread(PSEUDONYM);
    let begun = Begun { is_stored: false, ..known.begin() };
    // Where nobody else writes, nothing is handed over for having read.
    drop(take(&mut known, begun, ListenerState::new(PSEUDONYM)));
    let mut heard = |number| {
        let before = known.state.exposures.clone();
        known.state.exposures.push(exposure(number));
        known.changed(KEY, &before, false).expect("an exposure")
    };
    let first = heard(1);
    assert!(first.head.is_some(), "their pseudonym is nowhere yet");
    first.receipt.written();
    let second = heard(2);
    assert!(second.head.is_none() && second.put == [exposure(2)]);
    drop(second);
    assert!(heard(3).head.is_none(), "what failed had no head");
    let before = known.state.exposures.clone();
    known.state.last_break_at = Some(WallMs(5));
    drop(known.changed(KEY, &before, false).expect("a head"));
    assert!(known.changed(KEY, &before, false).expect("it failed").head.is_some());
}

#[test]
fn what_may_not_be_stored_yet_is_laid_over_what_was_read() {
    let mut known = read(&[exposure(1), exposure(2)], &[]);
    let before = change(&mut known, |state| state.exposures.push(exposure(3))).expect("a change");
    before.receipt.written();
    let begun = known.begin();
    let during = change(&mut known, |state| {
        state.exposures.push(exposure(4));
        listener::release(state, exposure(1).impression_id);
    });
    // Written now, but perhaps after it was read.
    during.expect("a change").receipt.written();
    // Another server has given 3 up, and added 5.
    let change = take(&mut known, begun, stored(&[exposure(1), exposure(2), exposure(5)], &[]));
    assert_eq!(numbers(&known), [2, 4, 5]);
    assert!(change.is_none(), "all of it was written: {change:?}");
    // The next one sees it: it is the store's to say.
    let begun = known.begin();
    take(&mut known, begun, stored(&[exposure(2)], &[]));
    assert_eq!(numbers(&known), [2]);
}

#[test]
fn what_could_not_be_written_is_handed_over_again() {
    let mut known = read(&[exposure(1)], &[]);
    drop(change(&mut known, |state| {
        state.exposures.push(exposure(2));
        listener::release(state, exposure(1).impression_id);
    }));
    let begun = known.begin();
    let again = take(&mut known, begun, stored(&[exposure(1)], &[])).expect("to be written");
    assert_eq!((again.put.as_slice(), again.gone.as_slice()), ([exposure(2)].as_slice(), [exposure(1)].as_slice()));
    assert!(again.head.is_none(), "it did not change");
    assert_eq!(numbers(&known), [2]);
}

#[test]
fn breaks_merge_by_what_each_server_opened_and_closed() {
    let mut known = read(&[], &[opened(1), opened(2)]);
    let ours = change(&mut known, |state| {
        state.open_breaks.retain(|open| open.decided_at != WallMs(1));
        state.open_breaks.push(opened(4));
    });
    ours.expect("a change").receipt.written();
    let begun = known.begin();
    // The other server's head was the last: it knew of 1, closed 2 and opened 3.
    let written = take(&mut known, begun, stored(&[], &[opened(1), opened(3)])).expect("the store has it otherwise");
    assert_eq!(breaks(&known), [3, 4]);
    assert_eq!(written.head, Some(format::encode_head(&known.state)));
    let begun = known.begin();
    assert!(take(&mut known, begun, stored(&[], &[opened(3), opened(4)])).is_none());
}

#[test]
fn who_was_forgotten_elsewhere_is_somebody_else_and_what_was_written_since_is_erased() {
    let mut known = read(&[exposure(1)], &[opened(1)]);
    let since = change(&mut known, |state| state.exposures.push(exposure(2))).expect("a change");
    since.receipt.written();
    let begun = known.begin();
    assert_eq!(begun.candidate, None, "their pseudonym is not given again");
    let somebody = ListenerState::new(Pseudonym([9; 16]));
    let erase = take(&mut known, begun, somebody.clone()).expect("to be erased");
    assert_eq!(known.state, somebody);
    assert_eq!((erase.erased.as_slice(), erase.pseudonym), ([exposure(2)].as_slice(), PSEUDONYM));
    assert!(erase.head.is_none() && erase.put.is_empty() && erase.gone.is_empty());
    assert!(known.unwritten.is_empty());
}

#[test]
fn a_read_that_began_before_they_were_forgotten_here_is_worth_nothing() {
    let mut known = read(&[exposure(1)], &[]);
    let begun = known.begin();
    known.forget(Pseudonym([8; 16]));
    let taken = known.take_over(KEY, begun, stored(&[exposure(1)], &[]), StrictRow::default(), WallMs(0));
    assert_eq!(taken.expect_err("refused"), ForgottenMeanwhile);
    assert!(known.state.exposures.is_empty() && known.state.pseudonym == Pseudonym([8; 16]));
    assert_eq!(known.begin().candidate, Some(Pseudonym([8; 16])), "theirs, unless another server gives one first");
}

#[test]
fn a_strict_row_that_was_written_meanwhile_is_not_replaced_by_what_was_read() {
    let row = |version: u64| StrictRow { version: Some(StrictVersion(version)), exposures: Vec::new() };
    let mut known = read(&[], &[]);
    let begun = known.begin();
    known.state.strict = row(2);
    known.take_over(KEY, begun, stored(&[], &[]), row(1), WallMs(0)).expect("nobody forgot them");
    assert_eq!(known.state.strict, row(2));
    let begun = known.begin();
    known.take_over(KEY, begun, stored(&[], &[]), row(3), WallMs(0)).expect("nobody forgot them");
    assert_eq!(known.state.strict, row(3));
}

/// What was said of an impression, the strongest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Said {
    Reserved,
    Gone,
    Heard,
}

type Sayings = BTreeMap<u32, Said>;

struct Server {
    known: Known,
    waiting: Vec<ListenerChange>,
    said: Sayings,
    begun: Option<Begun>,
}

fn number(exposure: &Exposure) -> u32 {
    u32::try_from(exposure.at.0).expect("small")
}

fn sayings(change: &ListenerChange) -> Vec<(u32, Said)> {
    let put = change
        .put
        .iter()
        .map(|one| (number(one), if one.state == ExposureState::Heard { Said::Heard } else { Said::Reserved }));
    put.chain(change.gone.iter().map(|one| (number(one), Said::Gone))).collect()
}

fn join(into: &mut Sayings, change: &ListenerChange) {
    for (number, said) in sayings(change) {
        let known = into.entry(number).or_insert(said);
        *known = said.max(*known);
    }
}

/// The exposures that stand.
fn standing(sayings: &Sayings) -> Vec<Exposure> {
    let stands = sayings.iter().filter(|(_, said)| **said != Said::Gone);
    stands
        .map(|(&number, said)| match said {
            Said::Heard => Exposure { state: ExposureState::Heard, ..exposure(number) },
            Said::Reserved | Said::Gone => exposure(number),
        })
        .collect()
}

impl Server {
    fn new() -> Self {
        Self { known: read(&[], &[]), waiting: Vec::new(), said: Sayings::new(), begun: None }
    }

    fn say(&mut self, change: Option<ListenerChange>) {
        if let Some(change) = change {
            join(&mut self.said, &change);
            self.waiting.push(change);
        }
    }

    fn finish(&mut self, store: &Sayings) {
        let begun = self.begun.take().unwrap_or_else(|| self.known.begin());
        let change = take(&mut self.known, begun, stored(&standing(store), &[]));
        self.say(change);
    }

    fn write_all(&mut self, store: &mut Sayings) {
        for change in std::mem::take(&mut self.waiting) {
            join(store, &change);
            change.receipt.written();
        }
    }
}

proptest! {
    /// Whatever two servers do, whatever is late or lost: after each reading a copy has what is stored and what this server said; and once all is
    /// written both copies are the store's, which holds the strongest word on each impression.
    #[test]
    fn copies_of_two_servers_merge(steps in proptest::collection::vec((0_u8..8, 0_usize..2, any::<prop::sample::Index>()), 1..120)) {
        let mut store = Sayings::new();
        let mut servers = [Server::new(), Server::new()];
        for (next, (step, who, which)) in (0_u32..).zip(steps) {
            let server = &mut servers[who];
            let here = server.known.state.exposures.clone();
            let some = (!here.is_empty()).then(|| here[which.index(here.len())]);
            match step {
                0 | 1 => {
                    let made = change(&mut server.known, |state| state.exposures.push(exposure(next)));
                    server.say(made);
                }
                2 => if let Some(one) = some {
                    let made = change(&mut server.known, |state| { listener::release(state, one.impression_id); });
                    server.say(made);
                },
                3 => if let Some(one) = some {
                    let made = change(&mut server.known, |state| { listener::confirm(state, one); });
                    server.say(made);
                },
                4 if !server.waiting.is_empty() => {
                    let one = server.waiting.swap_remove(which.index(server.waiting.len()));
                    join(&mut store, &one);
                    one.receipt.written();
                }
                5 if !server.waiting.is_empty() => {
                    // Lost: it is tried again after the next reading.
                    drop(server.waiting.swap_remove(which.index(server.waiting.len())));
                }
                6 => server.begun = Some(server.known.begin()),
                7 => {
                    server.finish(&store);
                    let state = &server.known.state.exposures;
                    prop_assert!(state.is_sorted_by_key(|one| one.at));
                    for one in state {
                        let said = store.get(&number(one)).max(server.said.get(&number(one)));
                        prop_assert!(said.is_some());
                        prop_assert_eq!(one.state == ExposureState::Heard, said == Some(&Said::Heard));
                    }
                    let has = |number: u32| state.iter().any(|one| one.at.0 == i64::from(number));
                    for (&number, said) in server.said.iter().chain(&store) {
                        let strongest = *said.max(store.get(&number).unwrap_or(said)).max(server.said.get(&number).unwrap_or(said));
                        match strongest {
                            Said::Heard | Said::Reserved => prop_assert!(has(number), "{} is missing", number),
                            // The other server's word: not seen by a read that began before this one's was written.
                            Said::Gone if server.said.get(&number) == Some(&Said::Reserved) => {}
                            Said::Gone => prop_assert!(!has(number), "{} is back", number),
                        }
                    }
                }
                _ => {}
            }
        }
        // Once for what was lost, once to see the other's.
        for _ in 0..2 {
            for server in &mut servers {
                server.write_all(&mut store);
                server.begun = None;
                server.finish(&store);
                server.write_all(&mut store);
            }
        }
        for server in &mut servers {
            server.finish(&store);
            prop_assert_eq!(&server.known.state.exposures, &standing(&store));
        }
        let mut said = servers[0].said.clone();
        for (number, word) in &servers[1].said {
            let known = said.entry(*number).or_insert(*word);
            *known = *word.max(known);
        }
        prop_assert_eq!(said, store);
    }
}

proptest! {
    /// The walk finds what comparing each with each finds, whatever order the lists are in and whatever comes twice.
    #[test]
    fn what_a_list_lacks_is_what_no_element_of_the_other_is(
        ours in proptest::collection::vec((0_u32..12, any::<bool>()), 0..12),
        theirs in proptest::collection::vec((0_u32..12, any::<bool>()), 0..12),
    ) {
        let of = |(number, heard): (u32, bool)| {
            let reserved = exposure(number);
            if heard { Exposure { state: ExposureState::Heard, ..reserved } } else { reserved }
        };
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.into_iter().map(of).collect(), theirs.into_iter().map(of).collect());
        let new: Vec<_> = ours.iter().filter(|one| !theirs.contains(one)).copied().collect();
        prop_assert_eq!(lacking(&ours, &theirs, |one, other| one == other), new);
        let still = |one: &Exposure| theirs.iter().any(|other| one.impression_id == other.impression_id);
        let gone: Vec<_> = ours.iter().filter(|one| !still(one)).copied().collect();
        prop_assert_eq!(lacking(&ours, &theirs, |one, other| one.impression_id == other.impression_id), gone);
    }
}
