//! The steps that are counted, each over fixed inputs of fixed seeds, on a midday catalogue of 10,000 line items.
//!
//! Each is run once before it is counted, so that memory has grown and what is made once is made. Nothing here is random but the seeds of the
//! standard library's hash maps, which move the counts by less than a thousandth.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use segue::catalog::{CatalogWriter, CategoryId, ResolvedBreak, ScanScratch, Snapshot};
use segue::decision::{Excluded, Scratch, Seed, decide};
use segue::impressions::TruncatedIp;
use segue::journal::{Clock, Drive, Durability, Entry, Identity, Journal, JournalConfig, RealDisk};
use segue::model::{
    AdvertiserId, AppKey, BootId, CampaignId, CreativeId, DecisionId, ImpressionId, LeaseId, LineItemId, ListenerKey,
    ListenerState, Micros, MonotonicMs, NetworkId, Now, PlacementKey, Platform, PriceModel, Pseudonym, ServerId, Tier,
    WallMs,
};
use segue::pod::{PodCandidate, PodLimits, PodProblem, PodScratch, solve};
use segue::tokens::{Claims, TokenKey, TokenKeys};
use segue::workload::Draws;
use segue::workload::reference::{Profile, ReferenceBreak, ReferenceCatalogue, endless_lease, spending_of};

const SEED: u64 = 7;
const LINE_ITEMS: usize = 10_000;
/// Listeners, and as many problems and tokens: enough that no single one shows.
const ROUNDS: usize = 100;
/// Candidates of a pod problem, as many as `decide` hands on in a crowded hour.
const CANDIDATES: u32 = 80;
/// About what a beacon takes in the journal, less its header.
const PAYLOAD_BYTES: usize = 294;

/// What is counted: callgrind collects from this function's beginning to its end, and writes down what it has when it ends. So it is never inlined, and
/// there is one of it.
#[inline(never)]
pub(crate) fn the_counted_step(work: &mut dyn FnMut()) {
    work();
}

/// Runs every step, and names it when it is over, with how often it did its work.
pub(crate) fn run(folder: &Path) {
    let catalogue = ReferenceCatalogue::generate(Profile::Midday, LINE_ITEMS, SEED);
    let mut writer = CatalogWriter::new();
    let snapshot = writer.apply(1, catalogue.clone().into_entities());
    let breaks = ReferenceCatalogue::breaks(Profile::Midday, ROUNDS, SEED);
    let resolved: Vec<ResolvedBreak> = breaks.iter().map(|one| snapshot.resolve(&one.request, now(one.at))).collect();
    resolving(&snapshot, &breaks);
    scanning("index/top-16", &snapshot, &resolved, 16);
    scanning("index/top-100", &snapshot, &resolved, 100);
    deciding(&catalogue, &snapshot, &breaks, &resolved);
    filling();
    sealing();
    appending(folder);
}

/// Runs it twice, and counts the second time.
fn count(name: &str, mut work: impl FnMut()) {
    work();
    the_counted_step(&mut work);
    println!("{name} {ROUNDS}");
}

fn now(at: WallMs) -> Now {
    Now { wall: at, monotonic: MonotonicMs(1) }
}

fn resolving(snapshot: &Snapshot, breaks: &[ReferenceBreak]) {
    count("resolve", || {
        for one in breaks {
            black_box(snapshot.resolve(&one.request, now(one.at)));
        }
    });
}

fn scanning(name: &str, snapshot: &Snapshot, resolved: &[ResolvedBreak], most: usize) {
    let mut scratch = ScanScratch::new();
    count(name, || {
        for one in resolved {
            let mut scan = snapshot.scan(one, &mut scratch);
            black_box((0..most).take_while(|_| scan.next().map(black_box).is_some()).count());
        }
    });
}

fn deciding(
    catalogue: &ReferenceCatalogue,
    snapshot: &Snapshot,
    breaks: &[ReferenceBreak],
    resolved: &[ResolvedBreak],
) {
    let spending = spending_of(snapshot, catalogue.standing_of_each(), endless_lease);
    let listener = ListenerState::new(Pseudonym([0; 16]));
    let none = Excluded::none();
    let seeds: Vec<Seed> = breaks.iter().map(|one| Seed::of(&one.request)).collect();
    let mut scratch = Scratch::new();
    count("decide", || {
        for (one, seed) in resolved.iter().zip(&seeds) {
            let decision = decide(snapshot, one, &listener, &spending, &none, one.now, *seed, &mut scratch);
            black_box(decision.ads.len());
        }
    });
}

fn filling() {
    let mut draws = Draws::new(SEED, 1);
    let problems: Vec<PodProblem> = (0..ROUNDS).map(|_| problem(&mut draws)).collect();
    let mut scratch = PodScratch::default();
    count("pod/solve", || {
        for problem in &problems {
            black_box(solve(problem, &mut scratch).keys.len());
        }
    });
}

/// Candidates of an auction: 60 advertisers, 25 categories, prices over a factor of 40, five durations.
fn problem(draws: &mut Draws) -> PodProblem {
    let mut problem = PodProblem::new(PodLimits { max_duration_ms: 120_000, max_ads: 6 });
    for key in 0..CANDIDATES {
        let candidate = PodCandidate {
            key,
            line_item_id: LineItemId::from_u128(u128::from(key)),
            advertiser_id: AdvertiserId::from_u128(u128::from(draws.below(60))),
            tier: Tier::Auction,
            value: 1_000 + i64::from(draws.below(39_000)),
            tie: draws.bits(),
            duration_ms: *draws.pick(&[10_000, 15_000, 20_000, 30_000, 45_000]),
            category: draws.chance(0.8).then(|| CategoryId(draws.below(25))),
        };
        let excluded = if draws.chance(0.1) { vec![CategoryId(draws.below(25))] } else { Vec::new() };
        problem.push(candidate, &excluded);
    }
    problem
}

fn sealing() {
    let keys = TokenKeys::new(TokenKey::new(2, &[2; 32]), Some(TokenKey::new(1, &[1; 32])));
    let claims: Vec<Claims> = (0..).take(ROUNDS).map(claims).collect();
    let sealed: Vec<String> = claims.iter().map(|claims| keys.seal(claims)).collect();
    count("token/seal", || {
        for claims in &claims {
            black_box(keys.seal(claims));
        }
    });
    count("token/open", || {
        for token in &sealed {
            black_box(keys.open(token).is_ok());
        }
    });
}

fn claims(ordinal: u32) -> Claims {
    Claims {
        network_id: NetworkId::from_u128(1),
        advertiser_id: AdvertiserId::from_u128(2),
        campaign_id: CampaignId::from_u128(3),
        line_item_id: LineItemId::from_u128(4),
        creative_id: CreativeId::from_u128(5),
        decision_id: DecisionId::from_u128(6),
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal },
        tier: Tier::Auction,
        price_model: PriceModel::Cpm,
        price: Micros(4_500),
        listener_key: ListenerKey([1; 16]),
        pseudonym: Pseudonym([2; 16]),
        placement: PlacementKey::new("between-tracks").expect("a key"),
        app: AppKey::new("android"),
        asked_from: Some(TruncatedIp::V4([192, 0, 2])),
        country: Some(*b"se"),
        platform: Platform::Android,
        decided_at: WallMs(1_790_000_000_000),
        billable_until: WallMs(1_790_003_600_000),
        duration_ms: 30_000,
        impression_at_start: false,
        preview: false,
    }
}

/// Written and not synced: what the disk does is no instruction of ours.
fn appending(folder: &Path) {
    let config = JournalConfig { durability: Durability::Written, ..JournalConfig::money() };
    let identity = Identity { server: ServerId::from_u128(1), boot: BootId::from_u128(2) };
    let clock: Clock = Box::new(|| WallMs(1_790_000_000_000));
    let journal = Journal::open(Arc::new(RealDisk), folder, config, identity, Drive::Inline, clock);
    let journal = journal.expect("an empty folder");
    count("journal/append", || {
        for _ in 0..ROUNDS {
            let entries = vec![Entry { kind: 1, payload: vec![7; PAYLOAD_BYTES] }];
            black_box(journal.append_blocking(entries).expect("appended"));
        }
    });
}
