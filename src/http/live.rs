//! What happens now: `GET /v1/live`, for operators and viewers.
//!
//! Counts of this process, since its start and over the last seconds, and what the plan of today asks for. The last seconds are the difference of two readings
//! of the metrics. Readings are made when somebody asks, at most one a second, and all who ask share them: who asks first after a pause gets no last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth;
use super::console::plan;
use super::problem::Problem;
use crate::clock::{Clock, Stopwatch};
use crate::model::{NetworkId, Role, WallMs};
use crate::roles::campaign::CampaignHandle;
use crate::telemetry::{Distribution, Metric, Metrics, Reading};

/// Least time between two readings, in microseconds: a page asks every two seconds.
const READING_EVERY_US: u64 = 1_000_000;
/// Oldest reading that the last seconds are counted from, in microseconds.
const WINDOW_US_MAX: u64 = 12_000_000;
/// Most readings kept: one a second over the window.
const READINGS_MAX: usize = 12;
/// How long the plan of today is taken for right, in microseconds: to make it again takes a look at every line item.
const PLAN_FOR_US: u64 = 30_000_000;
/// What is read.
const READ: &[Metric] = &[
    Metric::Breaks,
    Metric::Ads,
    Metric::NoFill,
    Metric::Beacons,
    Metric::InvalidBeacons,
    Metric::SettledMicros,
    Metric::Unbilled,
    Metric::HttpSeconds,
    Metric::DecisionSeconds,
];

/// What the handler needs.
#[derive(Clone)]
pub struct LiveApi {
    campaigns: CampaignHandle,
    metrics: Metrics,
    clock: Clock,
    /// Real time since the process began to serve.
    watch: Stopwatch,
    /// Held for a push or a copy, never while metrics are read.
    recent: Arc<Mutex<Recent>>,
}

/// What was read lately.
#[derive(Default)]
struct Recent {
    /// Oldest first, each with its time in microseconds.
    readings: VecDeque<(u64, Arc<Reading>)>,
    plan: Option<(u64, NetworkId, TodayDocument)>,
}

/// What happens now.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveDocument {
    /// The server's time, RFC 3339.
    pub now: String,
    /// Seconds of the server's time in a real one; more than 1 in demos only.
    pub clock_speed: u32,
    /// Since the process began to serve.
    pub total: SpanDocument,
    /// Over the last seconds; absent while nobody has asked within them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<SpanDocument>,
    /// What today asks for.
    pub today: TodayDocument,
}

/// What happened in a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpanDocument {
    /// How long it is, in real milliseconds.
    pub ms: u64,
    /// Ad breaks answered.
    pub breaks: u64,
    /// Ad breaks by outcome: `filled`, `empty`, `repeated`, or why none was due.
    pub breaks_by_outcome: BTreeMap<String, u64>,
    /// Ads in pods, by tier.
    pub ads: BTreeMap<String, u64>,
    /// Candidates not served, by reason.
    pub no_fill: BTreeMap<String, u64>,
    /// Beacons acknowledged, by event.
    pub beacons: BTreeMap<String, u64>,
    /// Beacons that are invalid traffic, by reason.
    pub invalid: BTreeMap<String, u64>,
    /// Impressions not billed, by reason.
    pub unbilled: BTreeMap<String, u64>,
    /// Money settled, in micros.
    pub settled_micros: u64,
    /// Times of ad breaks from request to answer.
    pub answer: TimesDocument,
    /// Times of decisions alone.
    pub decision: TimesDocument,
}

/// Times, as far as the buckets of the metrics tell.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimesDocument {
    /// How many.
    pub count: u64,
    /// Half were at most this, in microseconds; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// 95 % were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_us: Option<u64>,
    /// 99 % were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
}

/// What the plan of a day asks for: the paid line items that spread evenly, as they were sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TodayDocument {
    /// The first moment of the day in UTC, RFC 3339. `/v1/reports?from=` this tells what was spent.
    pub from: String,
    /// To be spent by the end of the day, in micros.
    pub plan_micros: i64,
    /// To be spent by now, in micros.
    pub due_micros: i64,
    /// Line items with a plan today.
    pub line_items: u32,
}

impl LiveApi {
    /// Nothing read yet.
    #[must_use]
    pub fn new(campaigns: CampaignHandle, metrics: Metrics, clock: Clock) -> Self {
        let watch = clock.stopwatch();
        Self { campaigns, metrics, clock, watch, recent: Arc::default() }
    }

    /// The newest reading, made if need be, and the oldest within the window.
    fn readings(&self) -> ((u64, Arc<Reading>), (u64, Arc<Reading>)) {
        let at = self.watch.elapsed_us();
        let newest = self.recent().readings.back().cloned();
        let newest = match newest {
            Some((then, reading)) if at.saturating_sub(then) < READING_EVERY_US => (then, reading),
            Some(_) | None => {
                let made = (at, Arc::new(self.metrics.read(READ)));
                self.recent().take(made.clone());
                made
            }
        };
        let oldest = self.recent().readings.front().cloned().unwrap_or_else(|| newest.clone());
        (newest, oldest)
    }

    fn today(&self, network_id: NetworkId, now: WallMs) -> TodayDocument {
        let at = self.watch.elapsed_us();
        if let Some((made, of, today)) = &self.recent().plan
            && *of == network_id
            && at.saturating_sub(*made) < PLAN_FOR_US
        {
            return today.clone();
        }
        let today = plan::today(&self.campaigns, network_id, now);
        self.recent().plan = Some((at, network_id, today.clone()));
        today
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        // Whoever panicked with it left whole readings.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn take(&mut self, made: (u64, Arc<Reading>)) {
        let first = made.0.saturating_sub(WINDOW_US_MAX);
        self.readings.push_back(made);
        while self.readings.len() > READINGS_MAX || self.readings.front().is_some_and(|(at, _)| *at < first) {
            self.readings.pop_front();
        }
    }
}

impl SpanDocument {
    fn of(ms: u64, now: &Reading, then: &Reading) -> Self {
        let by = |metric, label| {
            let before = then.count_by(metric, label);
            let mut counts = now.count_by(metric, label);
            for (word, count) in &mut counts {
                *count = count.saturating_sub(before.get(word).copied().unwrap_or(0));
            }
            counts.retain(|_, count| *count > 0);
            counts
        };
        let count = |metric| now.count(metric).saturating_sub(then.count(metric));
        let times = |metric, label| {
            TimesDocument::of(&now.distribution(metric, label).after(&then.distribution(metric, label)))
        };
        Self {
            ms,
            breaks: count(Metric::Breaks),
            breaks_by_outcome: by(Metric::Breaks, "outcome"),
            ads: by(Metric::Ads, "tier"),
            no_fill: by(Metric::NoFill, "reason"),
            beacons: by(Metric::Beacons, "event"),
            invalid: by(Metric::InvalidBeacons, "reason"),
            unbilled: by(Metric::Unbilled, "reason"),
            settled_micros: count(Metric::SettledMicros),
            answer: times(Metric::HttpSeconds, Some(("route", "ad_breaks"))),
            decision: times(Metric::DecisionSeconds, None),
        }
    }
}

impl TimesDocument {
    fn of(times: &Distribution) -> Self {
        Self {
            count: times.count(),
            p50_us: times.percentile_us(50),
            p95_us: times.percentile_us(95),
            p99_us: times.percentile_us(99),
        }
    }
}

/// Mounts it.
pub fn configure(api: LiveApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(Data::new(api)).service(web::resource("/v1/live").route(web::get().to(get_live)));
    }
}

/// What happens now: breaks, fill, times and reasons of this process, and the plan of today.
///
/// For operators and viewers.
#[utoipa::path(
    get,
    path = "/v1/live",
    tag = "operation",
    responses(
        (status = 200, description = "What happens.", body = LiveDocument),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an operator's or viewer's key.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_live(request: HttpRequest, api: Data<LiveApi>) -> Result<HttpResponse, Problem> {
    let answer = live(&request, &api).await;
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer.map(|document| HttpResponse::Ok().json(document))
}

async fn live(request: &HttpRequest, api: &LiveApi) -> Result<LiveDocument, Problem> {
    let actor = auth::authenticate(request, &api.campaigns.keys())?;
    if !matches!(actor.role, Role::Operator | Role::Viewer) {
        return Err(Problem::forbidden("what happens in the network is for an operator's or viewer's key"));
    }
    let api = api.clone();
    // To read metrics and to look at every line item takes milliseconds: not on a thread that answers.
    web::block(move || document(&api, actor.network_id)).await.map_err(|_| super::campaigns::internal())
}

fn document(api: &LiveApi, network_id: NetworkId) -> LiveDocument {
    let now = api.clock.now().wall;
    let ((newest_us, newest), (oldest_us, oldest)) = api.readings();
    let ms = newest_us.saturating_sub(oldest_us) / 1_000;
    LiveDocument {
        now: now.to_rfc3339(),
        clock_speed: api.clock.acceleration(),
        total: SpanDocument::of(newest_us / 1_000, &newest, &Reading::default()),
        last: (ms > 0).then(|| SpanDocument::of(ms, &newest, &oldest)),
        today: api.today(network_id, now),
    }
}

#[cfg(test)]
mod tests;
