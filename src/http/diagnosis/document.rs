//! What the answers look like.

use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::LineSlot;
use crate::decision::{Blocker, Cause, Example, LevelMoney, Matches, OutrankedBy, Spending, Standing, Tally};
use crate::model::{Approval, Creative, Now, Status, WallMs};

/// Why a line item does or does not deliver.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiagnosisDocument {
    /// The line item.
    pub line_item_id: String,
    /// When this was found, RFC 3339.
    pub as_of: String,
    /// The single most important true cause, in one sentence. What keeps the line item from delivering at all goes first; then how it most often ends in
    /// breaks that its targeting matches; then its targeting.
    pub verdict: String,
    /// Its stable name: a reason of `standing.blockers` or `causes`, or `delivering`, `no_traffic`, `no_break_due`,
    /// `no_sample`, `not_in_catalogue`.
    pub verdict_reason: String,
    /// The cause's `predicate`, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_predicate: Option<String>,
    /// How it ended in the breaks sampled, the most frequent first. The line item is taken as it is now, requests and listeners as they were; throttle,
    /// lease and pod are those of the break.
    pub causes: Vec<CauseDocument>,
    /// Standing that need no sample.
    pub standing: StandingDocument,
    /// What was heard, from the books.
    pub delivery: DeliveryDocument,
    /// Which breaks `causes` speaks of.
    pub sample: SampleDocument,
}

/// One end and how often it came.
#[derive(Debug, Serialize, ToSchema)]
pub struct CauseDocument {
    /// `chosen` (it was in the pod), `changed_since` (it was changed since), `not_remembered`, or a reason as in `explain`.
    pub reason: String,
    /// Of `not_matched`: the condition in the way, as targeting names it; `not` before one that excludes, `or` between alternatives none of which holds. Of
    /// several conditions that each are in the way, the first. Of `capped`: what the cap counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    /// Share of the breaks in basis points.
    pub share_basis_points: u32,
    /// Breaks that ended so, as far as the sample says.
    pub breaks: u64,
    /// Breaks sampled that did.
    pub sampled_breaks: u32,
    /// In words.
    pub words: String,
    /// Of `not_matched`: breaks in which no other condition is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaks_but_for_this: Option<u64>,
    /// Of `not_matched`: breaks whose listener did not allow what is asked for to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaks_without_consent: Option<u64>,
    /// Of `outranked`: the lowest price of its own tier in the pod less its own, as CPM in micros, in the middle of the breaks lost on price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outranked_by_micros_cpm: Option<i64>,
    /// Of `outranked`: breaks sampled that were lost on price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_breaks_lost_on_price: Option<u32>,
    /// Of `outranked`: breaks sampled whose pods were full of a higher tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_breaks_lost_to_higher_tiers: Option<u32>,
}

/// Standing that need no sample, as of now.
#[derive(Debug, Serialize, ToSchema)]
pub struct StandingDocument {
    /// Each fact that is enough to keep it from delivering.
    pub blockers: Vec<BlockerDocument>,
    /// `active`, `paused` or `archived`.
    pub line_item_status: String,
    /// Its campaign's.
    pub campaign_status: String,
    /// Its advertiser's.
    pub advertiser_status: String,
    /// First moment of its flight, RFC 3339.
    pub flight_start: String,
    /// First moment after its flight, RFC 3339.
    pub flight_end: String,
    /// `not_started`, `running` or `ended`.
    pub flight: String,
    /// Its creatives.
    pub creatives: CreativesDocument,
    /// Its money at each level that has a limit; absent where the books can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<BudgetDocument>>,
    /// What this server may spend of it, as of now; absent where the server decides no breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spending: Option<SpendingDocument>,
}

/// One fact.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlockerDocument {
    /// Its stable name.
    pub reason: String,
    /// In words.
    pub words: String,
}

/// The creatives of a line item, counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreativesDocument {
    /// All of them.
    pub total: usize,
    /// Approved.
    pub approved: usize,
    /// Not looked at yet.
    pub pending: usize,
    /// Turned down.
    pub rejected: usize,
    /// Approved and active.
    pub servable: usize,
}

/// The money of a level.
#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetDocument {
    /// `advertiser`, `campaign` or `line_item`.
    pub level: String,
    /// The day of which it is (ISO 8601); absent where it is of the whole life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The most that may be spent, in micros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_micros: Option<i64>,
    /// Billed, in micros.
    pub settled_micros: i64,
    /// Held by open leases, in micros.
    pub open_leases_micros: i64,
    /// Budget less billed less held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_micros: Option<i64>,
    /// The most impressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal_impressions: Option<u64>,
    /// Impressions billed.
    pub settled_impressions: u64,
}

/// What this server may spend of a line item.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpendingDocument {
    /// Whether it holds a lease that it may draw from.
    pub has_lease: bool,
    /// Left in it, in micros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_left_micros: Option<i64>,
    /// Impressions left in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_impressions_left: Option<u32>,
    /// In how many of its breaks pacing lets it in, in basis points; 10,000 for all.
    pub throttle_basis_points: u32,
    /// Whether it was paused a moment ago.
    pub paused_just_now: bool,
}

/// What was heard, from the books as of accounting's last commit.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDocument {
    /// The hour that runs and the one before; the books count by hours. Absent where they can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_hour: Option<DeliveredDocument>,
    /// The hour that runs and the 24 before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_24_hours: Option<DeliveredDocument>,
}

/// Delivery of some hours.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct DeliveredDocument {
    /// Start of the first hour, RFC 3339.
    pub from: String,
    /// Ads heard, billed or not.
    pub impressions: i64,
    /// Impressions billed.
    pub billed_impressions: i64,
    /// What was billed, in micros.
    pub billed_micros: i64,
}

/// Which breaks an answer speaks of: those that this server sampled in the last hour.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct SampleDocument {
    /// Whether this server samples at all. Where not, ask one that decides breaks.
    pub available: bool,
    /// Breaks sampled in which ads were due.
    pub breaks: u32,
    /// Breaks that they stand for.
    pub stands_for_breaks: u64,
    /// Breaks, likewise, in which no ads were due: not in any share.
    pub stands_for_breaks_not_due: u64,
    /// When the first was decided, RFC 3339; absent without breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When the last was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Share of the breaks that the line item's targeting matches, in basis points; absent without breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_basis_points: Option<u32>,
    /// Of when throttle, lease and pod are in `causes`: always `break`. Those of `standing` are of now.
    pub money_as_of: String,
    /// Of when the line item is in `causes`: always `now`.
    pub line_item_as_of: String,
}

/// Who would match, from the breaks sampled.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchesDocument {
    /// The line item.
    pub line_item_id: String,
    /// When this was found, RFC 3339.
    pub as_of: String,
    /// Share of the breaks that its targeting matches, in basis points; absent without breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_basis_points: Option<u32>,
    /// Breaks that match, as far as the sample says.
    pub breaks: u64,
    /// Breaks sampled that do.
    pub sampled_breaks: u32,
    /// The newest of them.
    pub examples: Vec<ExampleDocument>,
    /// Which breaks this speaks of; those in which no ads were due included.
    pub sample: SampleDocument,
}

/// A break that matches, as far as may be told.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExampleDocument {
    /// Country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Hour of the day, UTC.
    pub hour: u8,
    /// Genres of what plays around it.
    pub genres: Vec<String>,
    /// The placement.
    pub placement: String,
}

impl From<Cause> for CauseDocument {
    fn from(cause: Cause) -> Self {
        let outranked = cause.outranked_by;
        let by = |of: fn(OutrankedBy) -> u32| outranked.map(of);
        Self {
            reason: cause.reason.to_owned(),
            predicate: cause.predicate,
            share_basis_points: cause.share,
            breaks: cause.breaks,
            sampled_breaks: cause.samples,
            words: cause.words,
            breaks_but_for_this: cause.breaks_sole,
            breaks_without_consent: cause.breaks_without_consent,
            outranked_by_micros_cpm: outranked.and_then(|by| by.median_micros_cpm).map(|gap| gap.0),
            sampled_breaks_lost_on_price: by(|by| by.samples_by_price),
            sampled_breaks_lost_to_higher_tiers: by(|by| by.samples_by_tier),
        }
    }
}

impl StandingDocument {
    pub(super) fn new(
        facts: &Standing<'_>,
        blockers: &[Blocker],
        has_books: bool,
        spending: Option<SpendingDocument>,
    ) -> Self {
        let flight = &facts.line_item.flight;
        let state = if facts.now < flight.start {
            "not_started"
        } else if facts.now < flight.end {
            "running"
        } else {
            "ended"
        };
        let blocker = |one: &Blocker| BlockerDocument { reason: one.reason.to_owned(), words: one.words.clone() };
        Self {
            blockers: blockers.iter().map(blocker).collect(),
            line_item_status: status(facts.line_item.status),
            campaign_status: status(facts.campaign.status),
            advertiser_status: status(facts.advertiser.status),
            flight_start: flight.start.to_rfc3339(),
            flight_end: flight.end.to_rfc3339(),
            flight: state.to_owned(),
            creatives: CreativesDocument::new(facts),
            budgets: has_books.then(|| facts.money.iter().map(BudgetDocument::from).collect()),
            spending,
        }
    }
}

impl CreativesDocument {
    fn new(facts: &Standing<'_>) -> Self {
        let count = |is_so: fn(&Creative) -> bool| facts.creatives.iter().filter(|creative| is_so(creative)).count();
        Self {
            total: facts.creatives.len(),
            approved: count(|creative| creative.approval == Approval::Approved),
            pending: count(|creative| creative.approval == Approval::Pending),
            rejected: count(|creative| creative.approval == Approval::Rejected),
            servable: count(|creative| creative.approval == Approval::Approved && creative.status == Status::Active),
        }
    }
}

impl From<&LevelMoney> for BudgetDocument {
    fn from(money: &LevelMoney) -> Self {
        Self {
            level: money.level.name().to_owned(),
            day: money.day.map(|day| day.to_string()),
            budget_micros: money.budget.map(|budget| budget.0),
            settled_micros: money.settled.0,
            open_leases_micros: money.open.0,
            available_micros: money.available().map(|left| left.0),
            goal_impressions: money.goal,
            settled_impressions: money.settled_count,
        }
    }
}

impl SpendingDocument {
    pub(super) fn read(spending: &Spending, slot: LineSlot, now: Now) -> Self {
        let view = spending.read(slot, now);
        let throttle = u128::from(view.throttle) * 10_000 / u128::from(u64::MAX);
        Self {
            has_lease: view.lease.is_some(),
            lease_left_micros: view.lease.map(|lease| lease.left.0),
            lease_impressions_left: view.lease.map(|lease| lease.ordinals_left),
            throttle_basis_points: u32::try_from(throttle).unwrap_or(10_000),
            paused_just_now: view.paused,
        }
    }
}

impl SampleDocument {
    /// There is none here.
    pub(super) fn none() -> Self {
        Self { money_as_of: "break".to_owned(), line_item_as_of: "now".to_owned(), ..Self::default() }
    }

    fn over(samples: u32, breaks: u64, matched: u64, span: Option<(WallMs, WallMs)>) -> Self {
        let share = u128::from(matched) * 10_000 / u128::from(breaks.max(1));
        Self {
            available: true,
            breaks: samples,
            stands_for_breaks: breaks,
            from: span.map(|(from, _)| from.to_rfc3339()),
            to: span.map(|(_, to)| to.to_rfc3339()),
            matched_basis_points: (samples > 0).then(|| u32::try_from(share).unwrap_or(10_000)),
            ..Self::none()
        }
    }

    pub(super) fn of_tally(tally: &Tally) -> Self {
        let stands_for_breaks_not_due = tally.breaks_not_due;
        Self { stands_for_breaks_not_due, ..Self::over(tally.samples, tally.breaks, tally.breaks_matched, tally.span) }
    }
}

impl MatchesDocument {
    pub(super) fn new(line_item_id: String, as_of: WallMs, found: Option<Matches>) -> Self {
        let is_here = found.is_some();
        let Matches { samples, breaks, samples_matched, breaks_matched, span, examples } = found.unwrap_or_default();
        let sample = SampleDocument::over(samples, breaks, breaks_matched, span);
        let example = |Example { country, platform, hour, genres, placement }| ExampleDocument {
            country,
            platform,
            hour,
            genres,
            placement,
        };
        Self {
            line_item_id,
            as_of: as_of.to_rfc3339(),
            share_basis_points: sample.matched_basis_points,
            breaks: breaks_matched,
            sampled_breaks: samples_matched,
            examples: examples.into_iter().map(example).collect(),
            sample: if is_here { sample } else { SampleDocument::none() },
        }
    }
}

fn status(status: Status) -> String {
    match status {
        Status::Active => "active",
        Status::Paused => "paused",
        Status::Archived => "archived",
    }
    .to_owned()
}
