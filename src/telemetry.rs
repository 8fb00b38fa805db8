//! What is seen from outside: metrics, logs and request ids.
//!
//! All metrics stand in one table, so that what `/metrics` shows can be read in one place. Label values are fixed words of the program, never
//! what a client sent: the number of time series is bounded. The core knows nothing of this; its shells count what it returns.
//!
//! Logs go to standard error. At `info` nothing is said for each request; at `debug` each request is a span with its `request_id`, which the
//! answer repeats in `X-Request-Id`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};
use crate::model::BootId;

mod reading;

pub use reading::{Distribution, Reading};

/// What a metric measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of seconds, most of them small parts of one.
    Seconds,
    /// A distribution of seconds, of which there may be many.
    Ages,
    /// A distribution of seconds of the processor, in buckets so fine that a change by a fifth is seen.
    Cpu,
}

macro_rules! metric_table {
    ($($variant:ident $kind:ident $name:literal $labels:tt $help:literal)*) => {
        /// Everything that is counted or measured.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All metrics, in the table's order, which is the order of the variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that Prometheus sees.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => concat!("segue_", $name),)* }
            }

            /// What it measures, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// Counter, gauge or distribution.
            #[must_use]
            pub const fn kind(self) -> MetricKind {
                match self { $(Self::$variant => MetricKind::$kind,)* }
            }

            /// Names of its labels, in the order in which their values are given.
            #[must_use]
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &$labels,)* }
            }
        }
    };
}

metric_table! {
    HttpRequests      Counter "http_requests_total"          ["route", "status"] "HTTP requests answered."
    HttpSeconds       Seconds "http_seconds"                 ["route"]           "Time from a request's head to its answer."
    HttpRefused       Counter "http_refused_total"           ["reason"]          "Requests refused for what they contained or who sent them."
    InputWarnings     Counter "input_warnings_total"         ["code"]            "Optional fields that were dropped with a warning."
    Breaks            Counter "breaks_total"                 ["outcome"]         "Ad breaks answered, by outcome."
    LimitedBreaks     Counter "limited_breaks_total"         ["subject", "outcome"] "Ad breaks of apps and addresses whose ads are rarely heard: limited to house ads, or a probe with paid ones."
    UnwatchedDraws    Counter "unwatched_draws_total"        ["subject"]         "Ads drawn for apps and addresses that are not watched, since as many are as may be."
    Ads               Counter "ads_total"                    ["tier"]            "Ads put into pods, by tier."
    NoFill            Counter "no_fill_total"                ["reason"]          "Candidates not served, by reason."
    DecisionSeconds   Seconds "decision_seconds"             []                  "Time of one decision, draws included, HTTP not."
    Plays             Counter "plays_total"                  ["outcome"]         "Plays of segue.listening, by what became of them: they count, counted before, were too old, not allowed or not understood."
    ProfilePartitions Gauge   "profile_partitions"           []                  "Partitions of segue.listening that this process makes profiles of."
    DecisionCpu       Cpu     "decision_cpu_seconds"         []                  "The processor's time of one decision, draws included, HTTP not."
    DrawsRefused      Counter "draws_refused_total"          []                  "Leases found empty after a decision had chosen them."
    StrictReservations Counter "strict_reservations_total"   ["outcome"]         "Conditional writes for strict caps, by outcome."
    StrictSeconds     Seconds "strict_seconds"               []                  "Time that a break waited for its strict caps to be reserved."
    Beacons           Counter "beacons_total"                ["event", "answer"] "Beacons, by event and answer."
    InvalidBeacons    Counter "invalid_beacons_total"        ["reason"]          "Beacons classified as invalid traffic, by reason."
    InvalidBreaks     Counter "invalid_breaks_total"         ["reason"]          "Ad breaks answered without paid ads because their sender is no listener, by reason."
    ActivityForgotten Gauge   "activity_forgotten"           []                  "Listeners and addresses that the rules of invalid traffic had no room to remember, since the start."
    ForwardedUnclear  Counter "forwarded_unclear_total"      []                  "Requests from a trusted proxy that don't say for whom."
    BeaconSeconds     Seconds "beacon_seconds"               []                  "Time from a beacon's arrival to its record being on disk."
    JournalledRecords Counter "journalled_records_total"     ["journal"]         "Records that are durable in a journal, since it was made."
    JournalBatches    Counter "journal_batches_total"        ["journal"]         "Group commits of a journal since the start; of the money journal each is one sync."
    JournalUsedBytes  Gauge   "journal_used_bytes"           ["journal"]         "Bytes that a journal's segments take."
    JournalShed       Counter "journal_shed_total"           ["journal"]         "Records shed because a journal was full or slow; never of the money journal."
    CatalogVersion    Gauge   "catalog_version"              []                  "Version of the catalogue that decisions read."
    CatalogLineItems  Gauge   "catalog_line_items"           []                  "Line items in the snapshot."
    CatalogSwapSeconds Seconds "catalog_swap_seconds"        []                  "Time from a change's commit to its snapshot being served."
    CatalogChanges    Counter "catalog_changes_total"        ["outcome"]         "Writes through the campaign API, by outcome."
    CatalogFeedRecords Counter "catalog_feed_records_total"  []                  "Records of segue.catalog that this server has read."
    CatalogFeedUnreadable Counter "catalog_feed_unreadable_total" []             "Records of segue.catalog that could not be understood, and were left out."
    CatalogFeedErrors Counter "catalog_feed_errors_total"    []                  "Reads of segue.catalog that failed and were made again."
    OutboxWaiting     Gauge   "outbox_waiting_entities"      []                  "Entities of the catalogue with revisions that wait to be published, at the last look."
    OutboxOldest      Gauge   "outbox_oldest_ms"             []                  "Age of the oldest revision that this server is publishing, in milliseconds."
    OutboxPublished   Counter "outbox_published_total"       []                  "Revisions that this server has published."
    OutboxRetries     Counter "outbox_retries_total"         ["reason"]          "Revisions that are to be published again, since the log had no room for them or did not take them."
    ListenerCache     Counter "listener_cache_total"         ["outcome"]         "Look-ups of a listener's state: a hit, a miss, an old copy read again, or used as it was because that failed."
    ListenerChangesDropped Counter "listener_changes_dropped_total" []           "Changes of listeners that were not written: their writer was behind, or could not."
    ShippingLag       Gauge   "shipping_lag_records"         ["journal"]         "Records of this server's journals that are not known to be in the shared log yet."
    ShippingOldest    Gauge   "shipping_oldest_ms"           ["journal"]         "How long the oldest record has waited that is not known to be in the shared log yet, in milliseconds."
    ShippedRecords    Counter "shipped_records_total"        ["journal"]         "Records of a journal that are in the shared log, since the journal was made."
    ShippingRefused   Gauge   "shipping_refused_records"     ["journal"]         "Records that the shared log can never take, since the start; they stay in the journal."
    KafkaQueue        Gauge   "kafka_queue_records"          []                  "Records handed to Kafka and not acknowledged yet."
    KafkaQueueBytes   Gauge   "kafka_queue_bytes"            []                  "Bytes of the records handed to Kafka and not acknowledged yet, some seconds ago."
    KafkaRetries      Counter "kafka_retries_total"          []                  "Requests to brokers that had to be made again."
    KafkaReachable    Gauge   "kafka_reachable"              []                  "1 while a broker of Kafka answers and its topics are as they should be."
    AccountingLag     Gauge   "accounting_lag_records"       []                  "Records of the event log that accounting has not applied yet."
    AccountingPartitions Gauge "accounting_partitions"       []                  "Partitions of segue.events that this process owns."
    AccountingRestarts Counter "accounting_restarts_total"   []                  "Owners of partitions that failed and were begun anew."
    DeadLetters       Counter "dead_letters_total"           []                  "Records that could not be understood and were put aside."
    AccountingApplied Counter "accounting_applied_total"     ["event"]           "Records applied by accounting."
    AccountingRecords Counter "accounting_records_total"     ["made_by"]         "Records of segue.events that accounting has applied, repeated ones too, by who made them: servers or accounting."
    BeaconAge         Ages    "beacon_age_seconds"           []                  "Time from a beacon's receipt at its server to accounting's applying it."
    ServerClockSkew   Ages    "server_clock_skew_seconds"    []                  "By how much a server's clock differs at least from that of accounting, each time that it reports."
    SettledMicros     Counter "settled_micros_total"         []                  "Money settled, in micros."
    Unbilled          Counter "unbilled_total"               ["reason"]          "Impressions recorded and not charged, by reason."
    LeasesGranted     Counter "leases_granted_total"         []                  "Leases of budget granted."
    LeasesOpen        Gauge   "leases_open"                  []                  "Leases not closed yet."
    ServersRefused    Counter "servers_refused_total"        ["reason"]          "Registrations, reports and marks of servers that accounting refused."
    LeasesReturned    Counter "leases_returned_total"        []                  "Leases given back before they were closed."
    SamplesDropped    Counter "samples_dropped_total"        []                  "Exhaustive evaluations skipped because the ones before were not done."
    Up                Gauge   "up"                           ["version"]         "1 while the process serves."
}

/// Bounds of the distributions' buckets: from 10 µs, well under a decision, to 2.5 s, well over every deadline.
const SECONDS_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5,
];

/// Bounds of the buckets of ages: from 50 ms, sooner than anything that travels through the log, to a day.
const AGE_BUCKETS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

/// Bounds of the buckets of the processor's time: eight to a doubling, each a twelfth above the one before, from 5 µs to 5 ms.
const CPU_FIRST: f64 = 0.000_005;
const CPU_BUCKETS_A_DOUBLING: f64 = 8.0;
const CPU_BUCKETS: u32 = 81;

const TABLE: Metadata<'static> = Metadata::new("segue", Level::INFO, None);

/// Counts and measures. Cheap to clone; all clones count together. There is no global one: who counts is given it.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Handles of the metrics without labels, by place in the table: counting those takes no look-up.
    plain: Vec<Option<Plain>>,
}

enum Plain {
    Counter(Counter),
    Gauge(Gauge),
    Seconds(Histogram),
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut builder = PrometheusBuilder::new();
        let cpu: Vec<f64> =
            (0..CPU_BUCKETS).map(|at| CPU_FIRST * (f64::from(at) / CPU_BUCKETS_A_DOUBLING).exp2()).collect();
        for metric in Metric::ALL {
            let buckets = match metric.kind() {
                MetricKind::Counter | MetricKind::Gauge => continue,
                MetricKind::Seconds => SECONDS_BUCKETS,
                MetricKind::Ages => AGE_BUCKETS,
                MetricKind::Cpu => &cpu,
            };
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name().to_owned()), buckets)
                .expect("the buckets are not empty");
        }
        let recorder = builder.build_recorder();
        let plain = Metric::ALL.iter().map(|metric| register_plain(&recorder, *metric)).collect();
        Self(Arc::new(Inner { handle: recorder.handle(), recorder, plain }))
    }

    /// Adds to a counter without labels.
    pub fn add(&self, metric: Metric, by: u64) {
        match self.plain(metric) {
            Some(Plain::Counter(counter)) => counter.increment(by),
            _ => debug_assert!(false, "{metric:?} is no counter without labels"),
        }
    }

    /// Adds to a counter with labels, their values in the table's order.
    pub fn add_labelled(&self, metric: Metric, labels: &[&'static str], by: u64) {
        debug_assert_eq!(metric.kind(), MetricKind::Counter, "{metric:?}");
        self.0.recorder.register_counter(&key(metric, labels), &TABLE).increment(by);
    }

    /// Takes over a count that is kept elsewhere, for a counter without labels. It never goes back.
    pub fn total(&self, metric: Metric, count: u64) {
        match self.plain(metric) {
            Some(Plain::Counter(counter)) => counter.absolute(count),
            _ => debug_assert!(false, "{metric:?} is no counter without labels"),
        }
    }

    /// Takes over a count that is kept elsewhere, for a counter with labels, their values in the table's order. It never goes back.
    pub fn total_labelled(&self, metric: Metric, labels: &[&'static str], count: u64) {
        debug_assert_eq!(metric.kind(), MetricKind::Counter, "{metric:?}");
        self.0.recorder.register_counter(&key(metric, labels), &TABLE).absolute(count);
    }

    /// Sets a gauge without labels.
    pub fn set(&self, metric: Metric, value: u64) {
        match self.plain(metric) {
            Some(Plain::Gauge(gauge)) => gauge.set(as_float(value)),
            _ => debug_assert!(false, "{metric:?} is no gauge without labels"),
        }
    }

    /// Sets a gauge with labels, their values in the table's order.
    pub fn set_labelled(&self, metric: Metric, labels: &[&'static str], value: u64) {
        debug_assert_eq!(metric.kind(), MetricKind::Gauge, "{metric:?}");
        self.0.recorder.register_gauge(&key(metric, labels), &TABLE).set(as_float(value));
    }

    /// Adds a time to a distribution without labels.
    pub fn observe_seconds(&self, metric: Metric, seconds: f64) {
        match self.plain(metric) {
            Some(Plain::Seconds(histogram)) => histogram.record(seconds),
            _ => debug_assert!(false, "{metric:?} is no distribution without labels"),
        }
    }

    /// Adds a time to a distribution with labels, their values in the table's order.
    pub fn observe_seconds_labelled(&self, metric: Metric, labels: &[&'static str], seconds: f64) {
        debug_assert_eq!(metric.kind(), MetricKind::Seconds, "{metric:?}");
        self.0.recorder.register_histogram(&key(metric, labels), &TABLE).record(seconds);
    }

    /// The text of `/metrics`, in the Prometheus exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.handle.render()
    }

    /// Sorts observed times into their buckets. To be called every few seconds: until then each takes memory of its own.
    pub fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    fn plain(&self, metric: Metric) -> Option<&Plain> {
        // The variants are numbered in the order of the table.
        self.0.plain.get(metric as usize).and_then(Option::as_ref)
    }
}

fn register_plain(recorder: &PrometheusRecorder, metric: Metric) -> Option<Plain> {
    let (name, help) = (metric.name().into(), SharedString::from(metric.help()));
    match metric.kind() {
        MetricKind::Counter => recorder.describe_counter(name, None, help),
        MetricKind::Gauge => recorder.describe_gauge(name, None, help),
        MetricKind::Seconds | MetricKind::Ages | MetricKind::Cpu => recorder.describe_histogram(name, None, help),
    }
    if !metric.labels().is_empty() {
        return None;
    }
    let key = key(metric, &[]);
    Some(match metric.kind() {
        MetricKind::Counter => Plain::Counter(recorder.register_counter(&key, &TABLE)),
        MetricKind::Gauge => Plain::Gauge(recorder.register_gauge(&key, &TABLE)),
        MetricKind::Seconds | MetricKind::Ages | MetricKind::Cpu => {
            Plain::Seconds(recorder.register_histogram(&key, &TABLE))
        }
    })
}

fn key(metric: Metric, values: &[&'static str]) -> Key {
    debug_assert_eq!(metric.labels().len(), values.len(), "labels of {metric:?}");
    let labels = metric.labels().iter().zip(values).map(|(label, value)| Label::from_static_parts(label, value));
    Key::from_parts(metric.name(), labels.collect::<Vec<_>>())
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float by its format, and exact to 2^53")]
fn as_float(value: u64) -> f64 {
    value as f64
}

/// Logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one; the configuration checks it before.
    #[error("the log filter is not valid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Something else in the process logs already.
    #[error("logging was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard error, for the whole process, once.
///
/// # Errors
/// [`TelemetryError`] when the filter is wrong or logging runs already.
pub fn start_logging(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(&config.level).map_err(TelemetryError::Filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => lines.with_ansi(false).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(TelemetryError::Twice)
}

/// Longest request id taken over from a client.
const REQUEST_ID_LENGTH_MAX: usize = 64;

/// Gives each request an id: the client's `X-Request-Id` if it is a plain one, else one of our own, unique across servers and restarts.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of this boot.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        let bits = boot.as_u128();
        // The low half of a UUIDv7 is random, the high half mostly the year.
        Self { prefix: format!("{:08x}", bits & 0xffff_ffff), next: AtomicU64::new(0) }
    }

    /// The id of a request whose `X-Request-Id` header is this.
    pub fn of(&self, header: Option<&str>) -> String {
        let plain = |id: &&str| {
            (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        header.filter(plain).map_or_else(
            // Relaxed: only uniqueness is wanted, no order with other memory.
            || format!("{}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)),
            ToOwned::to_owned,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tell_their_kind() {
        for (index, metric) in Metric::ALL.iter().enumerate() {
            let name = metric.name();
            assert_eq!(*metric as usize, index, "{name}");
            assert!(Metric::ALL[..index].iter().all(|other| other.name() != name), "{name} twice");
            assert_eq!(name.ends_with("_total"), metric.kind() == MetricKind::Counter, "{name}");
            let is_time = matches!(metric.kind(), MetricKind::Seconds | MetricKind::Ages | MetricKind::Cpu);
            assert_eq!(name.ends_with("_seconds"), is_time, "{name}");
            assert!(metric.help().ends_with('.'), "{name}: help is a sentence");
        }
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.add(Metric::LeasesGranted, 2);
        metrics.add_labelled(Metric::Beacons, &["impression", "204"], 3);
        metrics.clone().add_labelled(Metric::Beacons, &["impression", "204"], 1);
        metrics.set(Metric::CatalogVersion, 17);
        metrics.observe_seconds(Metric::DecisionSeconds, 0.000_3);
        metrics.observe_seconds(Metric::BeaconAge, 45.0);
        for count in [7, 9] {
            metrics.total(Metric::OutboxPublished, count);
            metrics.total_labelled(Metric::ShippedRecords, &["money"], count);
        }
        metrics.upkeep();
        let text = metrics.render();
        for line in [
            "# HELP segue_leases_granted_total Leases of budget granted.",
            "segue_leases_granted_total 2",
            "segue_beacons_total{event=\"impression\",answer=\"204\"} 4",
            "segue_catalog_version 17",
            "segue_decision_seconds_bucket{le=\"0.00025\"} 0",
            "segue_decision_seconds_bucket{le=\"0.0005\"} 1",
            "segue_draws_refused_total 0",
            "segue_beacon_age_seconds_bucket{le=\"30\"} 0",
            "segue_beacon_age_seconds_bucket{le=\"60\"} 1",
            "segue_outbox_published_total 9",
            "segue_shipped_records_total{journal=\"money\"} 9",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn request_ids_are_the_clients_if_plain_and_else_our_own() {
        let ids = RequestIds::new(BootId::from_u128(0xabcd_0123_4567));
        assert_eq!(ids.of(Some("player-7.retry_2")), "player-7.retry_2");
        assert_eq!(ids.of(None), "01234567-0");
        for refused in ["", "a b", "x\ny", "é", &"x".repeat(65)] {
            assert!(ids.of(Some(refused)).starts_with("01234567-"), "{refused:?}");
        }
    }
}
