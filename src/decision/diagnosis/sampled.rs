//! One sampled break as it is remembered: what was asked, what was known of the listener, and how each line item ended that was eligible.

use std::sync::Arc;

use super::super::answer::{ChosenAd, Decision, NoBreakReason, SpendRead};
use super::super::decide::out_of_pod;
use super::super::eligibility;
use super::super::excluded::{Excluded, StrictCaps};
use super::super::reason::NoFillReason;
use super::super::seed::Seed;
use crate::catalog::{LineSlot, Snapshot};
use crate::model::{AdBreakRequest, ListenerKey, ListenerState, Micros, Now, Pseudonym, RequestId, Tier};

/// Most line items of one break whose ends are remembered, those of the higher tiers first: a third of a megabyte. Of a million line items that sell to
/// everybody a survey finds more, and of the others it is said that it was not remembered.
pub const ENDS_MAX: usize = 65_536;

/// A place in the pod, among the reasons that there is none.
const IN_POD: u8 = u8::MAX;

/// A break that was evaluated to the end of its scan, less all that names the listener.
#[derive(Clone, Debug)]
pub struct SampledBreak {
    pub(super) request: Arc<AdBreakRequest>,
    pub(super) known: ListenerState,
    pub(super) now: Now,
    pub(super) seed: Seed,
    pub(super) excluded: Excluded,
    pub(super) stands_for: u64,
    pub(super) no_break: Option<NoBreakReason>,
    /// Tier and worth of each ad of the pod.
    pub(super) pod: Box<[(Tier, Micros)]>,
    /// Line items that were eligible before throttle and money, sorted, and how each ended, at the same place.
    slots: Box<[LineSlot]>,
    ends: Box<[u8]>,
    /// Whether there were more of them.
    pub(super) is_cut: bool,
}

/// How a line item ended that was eligible before throttle and money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    InPod,
    Refused(NoFillReason),
}

impl SampledBreak {
    /// A break that stands for so many, as a survey found it in `snapshot`. `known` is what the decision counted; of it only what caps and repeats need is
    /// kept, and of the request nothing that says who asked.
    #[must_use]
    pub fn new(
        request: &AdBreakRequest,
        known: &ListenerState,
        now: Now,
        stands_for: u64,
        (snapshot, decision): (&Snapshot, &Decision),
    ) -> Self {
        let seed = Seed::of(request);
        let is_session = request.listener_key.is_session();
        let nobody = if is_session { ListenerKey::of_session([0; 16]) } else { ListenerKey::of_account([0; 16]) };
        let request_id = RequestId::new("sampled").expect("a word of visible characters");
        let request = AdBreakRequest { listener_key: nobody, request_id, ..request.clone() };
        let known = ListenerState {
            exposures: known.exposures.clone(),
            last_break_at: known.last_break_at,
            last_break_creatives: known.last_break_creatives.clone(),
            ..ListenerState::new(Pseudonym([0; 16]))
        };
        let strict_caps = if is_session { StrictCaps::NotInSession } else { StrictCaps::Kept };
        let is_cut = decision.spend_reads.len() > ENDS_MAX;
        let mut ends = ends(snapshot, decision, seed);
        ends.sort_unstable_by_key(|(slot, _)| *slot);
        let (slots, ends): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        Self {
            request: Arc::new(request),
            known,
            now,
            seed,
            excluded: Excluded::by_strict_caps(strict_caps),
            stands_for,
            no_break: decision.no_break,
            pod: decision.ads.iter().map(|ad| (ad.tier, ad.worth)).collect(),
            slots: slots.into(),
            ends: ends.into(),
            is_cut,
        }
    }

    /// When it was decided.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// The network that was asked.
    #[must_use]
    pub fn network_id(&self) -> crate::model::NetworkId {
        self.request.network_id
    }

    /// About how much memory it takes, in bytes; never much less than it does.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let facts = &self.request.facts;
        let lists = [
            &facts.genres,
            &facts.moods,
            &facts.artists,
            &facts.content_categories,
            &facts.segments,
            &facts.taste_genres,
            &facts.taste_moods,
        ];
        let text = |text: &String| text.capacity() + size_of::<String>();
        let texts: usize = lists.into_iter().flatten().map(text).sum();
        let pairs: usize = facts.key_values.iter().map(|(key, value)| text(key) + text(value)).sum();
        let known = size_of_val(&*self.known.exposures) + size_of_val(&*self.known.last_break_creatives);
        let own = size_of_val(&*self.pod) + size_of_val(&*self.slots) + size_of_val(&*self.ends);
        // Single texts of the facts are short, and there are sixteen: 64 bytes each.
        size_of::<Self>() + size_of::<AdBreakRequest>() + 16 * 64 + texts + pairs + known + own
    }

    /// How the line item ended, if it was eligible when the break was decided, and is remembered.
    pub(super) fn end(&self, slot: LineSlot) -> Option<End> {
        let at = self.slots.binary_search(&slot).ok()?;
        let code = self.ends[at];
        Some(NoFillReason::ALL.get(usize::from(code)).map_or(End::InPod, |reason| End::Refused(*reason)))
    }
}

/// How each line item ended that was eligible before throttle and money.
fn ends(snapshot: &Snapshot, decision: &Decision, seed: Seed) -> Vec<(LineSlot, u8)> {
    let mut reads: Vec<&SpendRead> = decision.spend_reads.iter().collect();
    if reads.len() > ENDS_MAX {
        reads.select_nth_unstable_by_key(ENDS_MAX, |read| (read.tier, read.line_item_id));
        reads.truncate(ENDS_MAX);
    }
    reads.into_iter().map(|read| (read.slot, code(snapshot, decision, seed, read))).collect()
}

fn code(snapshot: &Snapshot, decision: &Decision, seed: Seed, read: &SpendRead) -> u8 {
    let entry = snapshot.line(read.slot);
    let reason = match eligibility::pays(entry, &read.view, seed) {
        Err(reason) => Some(reason),
        Ok(billing) => {
            let ad = ChosenAd {
                slot: read.slot,
                line_item_id: read.line_item_id,
                campaign_id: entry.campaign.id,
                advertiser_id: entry.advertiser.id,
                creative_id: crate::model::CreativeId::from_u128(0),
                duration_ms: 0,
                tier: read.tier,
                price: Micros::ZERO,
                drawn: Micros::ZERO,
                worth: entry.rank.worth,
                billing,
            };
            out_of_pod(snapshot, &ad, &decision.ads)
        }
    };
    reason.map_or(IN_POD, |reason| reason as u8)
}
