//! What a decision is made of: a catalogue with its pacing and money, and listeners who have heard something.

use std::sync::Arc;

use segue::catalog::{CatalogWriter, LineEntry, ScanScratch, Snapshot};
use segue::decision::{Seed, Spending};
use segue::model::{
    Exposure, ExposureState, ImpressionId, LeaseId, ListenerState, MonotonicMs, Now, Pseudonym, WallMs,
};
use segue::workload::Draws;
use segue::workload::reference::{Profile, ReferenceBreak, ReferenceCatalogue, capped, endless_lease, spending_of};

/// Ads that a listener heard in the day before.
const EXPOSURES: u32 = 200;
/// As many of one line item are as many as its cap allows.
const UNTIL_CAPPED: usize = 3;
/// A listener's best, of whom a fifth is capped at midday.
const BEST: usize = 100;
const STREAM: u64 = 77;

/// A catalogue, its money, and breaks to decide.
pub(crate) struct Stage {
    pub(crate) writer: CatalogWriter,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) spending: Spending,
    pub(crate) breaks: Vec<Asked>,
}

/// A break and who asks for it.
pub(crate) struct Asked {
    pub(crate) reference: ReferenceBreak,
    pub(crate) now: Now,
    pub(crate) seed: Seed,
    pub(crate) listener: ListenerState,
}

impl Stage {
    pub(crate) fn new(profile: Profile, line_items: usize, listeners: usize, seed: u64) -> Self {
        let catalogue = ReferenceCatalogue::generate(profile, line_items, seed);
        let standings: Vec<_> = catalogue.standing_of_each().collect();
        let mut writer = CatalogWriter::new();
        let snapshot = writer.apply(1, catalogue.into_entities());
        let spending = spending_of(&snapshot, standings, endless_lease);
        let mut scratch = ScanScratch::new();
        let lines: Vec<&LineEntry> = snapshot.lines().collect();
        let breaks = ReferenceCatalogue::breaks(profile, listeners, seed + 1).into_iter().enumerate();
        let breaks = breaks.map(|(number, reference)| {
            let now = Now { wall: reference.at, monotonic: MonotonicMs(1) };
            let mut draws = Draws::new(seed + 1, STREAM + number as u64);
            let capped = if profile == Profile::Midday {
                let resolved = snapshot.resolve(&reference.request, now);
                let mut scan = snapshot.scan(&resolved, &mut scratch);
                let best: Vec<&LineEntry> = std::iter::from_fn(|| scan.next())
                    .take(BEST)
                    .map(|candidate| snapshot.line(candidate.slot))
                    .collect();
                capped(&best, number, seed)
            } else {
                Vec::new()
            };
            let listener = listener(&capped, &lines, now.wall, &mut draws);
            Asked { seed: Seed::of(&reference.request), reference, now, listener }
        });
        let breaks = breaks.collect();
        Self { writer, snapshot: Arc::clone(&snapshot), spending, breaks }
    }
}

/// A listener who heard the capped as often as they may, and others of the catalogue.
fn listener(capped: &[&LineEntry], lines: &[&LineEntry], now: WallMs, draws: &mut Draws) -> ListenerState {
    let mut state = ListenerState::new(Pseudonym([0; 16]));
    let mut heard: Vec<&LineEntry> = capped.iter().flat_map(|entry| [*entry; UNTIL_CAPPED]).collect();
    while heard.len() < EXPOSURES as usize {
        heard.push(*draws.pick(lines));
    }
    draws.shuffle(&mut heard);
    for (number, entry) in (0_u32..).zip(heard) {
        let age_ms = i64::from(400 * (EXPOSURES - number)) * 1_000;
        state.exposures.push(Exposure {
            impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(1), ordinal: number },
            at: now.plus_ms(-age_ms),
            advertiser_id: entry.advertiser.id,
            campaign_id: entry.campaign.id,
            line_item_id: entry.line_item.id,
            creative_id: entry.creatives[0].0.id,
            state: ExposureState::Heard,
        });
    }
    state
}
