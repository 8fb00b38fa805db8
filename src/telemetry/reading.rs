//! What was counted, read back: for pages that show it and not for decisions.
//!
//! Read from the text of `/metrics`, so that both always say the same and counting costs nothing more. The text is ours: only what the recorder writes is
//! understood, and what isn't there is zero.

use std::collections::BTreeMap;

use super::{Metric, Metrics};

/// Some metrics as they stood at a moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reading {
    samples: Vec<Sample>,
}

/// One line of the text.
#[derive(Clone, PartialEq, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Observed times, sorted into buckets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Distribution {
    /// Upper bound of each bucket in seconds, ascending, and how many times were not above it. The last is infinite.
    buckets: Vec<(f64, u64)>,
}

impl Metrics {
    /// Reads some metrics. Takes as long as `/metrics` does: for whoever asks now and then.
    #[must_use]
    pub fn read(&self, metrics: &[Metric]) -> Reading {
        Reading::of(&self.render(), metrics)
    }
}

impl Reading {
    fn of(text: &str, metrics: &[Metric]) -> Self {
        let wanted = |sample: &Sample| {
            metrics.iter().any(|metric| {
                let rest = sample.name.strip_prefix(metric.name());
                matches!(rest, Some("" | "_bucket"))
            })
        };
        Self { samples: text.lines().filter_map(Sample::parse).filter(wanted).collect() }
    }

    /// A counter, all its labels together.
    #[must_use]
    pub fn count(&self, metric: Metric) -> u64 {
        self.of_metric(metric, "").map(|sample| whole(sample.value)).sum()
    }

    /// A counter by one of its labels.
    #[must_use]
    pub fn count_by(&self, metric: Metric, label: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sample in self.of_metric(metric, "") {
            if let Some(value) = sample.label(label) {
                *counts.entry(value.to_owned()).or_default() += whole(sample.value);
            }
        }
        counts
    }

    /// A distribution, where `label` has that value; without a label all of it.
    #[must_use]
    pub fn distribution(&self, metric: Metric, label: Option<(&str, &str)>) -> Distribution {
        let chosen = self
            .of_metric(metric, "_bucket")
            .filter(|sample| label.is_none_or(|(name, value)| sample.label(name) == Some(value)));
        let bucket = |sample: &Sample| {
            let bound = sample.label("le")?.parse().unwrap_or(f64::INFINITY);
            Some((bound, whole(sample.value)))
        };
        let mut buckets: Vec<_> = chosen.filter_map(bucket).collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Distribution { buckets }
    }

    fn of_metric<'r>(&'r self, metric: Metric, suffix: &'r str) -> impl Iterator<Item = &'r Sample> {
        self.samples.iter().filter(move |sample| sample.name.strip_prefix(metric.name()) == Some(suffix))
    }
}

impl Sample {
    /// `name{label="value",...} number`; none for comments. Label values are words of the program: nothing in them is escaped.
    fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let pairs = labels.strip_suffix('}')?.split(',').filter_map(|pair| pair.split_once('='));
        let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
        Some(Self { name: name.to_owned(), labels: labels.collect(), value: value.parse().ok()? })
    }

    fn label(&self, wanted: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

impl Distribution {
    /// How many times were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// What was observed after an earlier reading of the same distribution.
    #[must_use]
    pub fn after(&self, earlier: &Self) -> Self {
        if self.buckets.len() != earlier.buckets.len() {
            return self.clone();
        }
        let since = |((bound, now), (_, then)): (&(f64, u64), &(f64, u64))| (*bound, now.saturating_sub(*then));
        Self { buckets: self.buckets.iter().zip(&earlier.buckets).map(since).collect() }
    }

    /// The time in microseconds within which `percent` of those observed lie, as far as the buckets tell: straight between their bounds, and the last finite
    /// bound where it is beyond it. None without any.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times for people, positive and of some seconds at most"
    )]
    pub fn percentile_us(&self, percent: u8) -> Option<u64> {
        let rank = self.count() as f64 * f64::from(percent) / 100.0;
        let (mut lower, mut below) = (0.0, 0_u64);
        for &(bound, count) in &self.buckets {
            if count > 0 && count as f64 >= rank {
                let part = if count > below { (rank - below as f64) / (count - below) as f64 } else { 1.0 };
                let seconds = if bound.is_finite() { lower + (bound - lower) * part } else { lower };
                return Some((seconds * 1e6).round() as u64);
            }
            (lower, below) = (bound, count);
        }
        None
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is whole and never negative")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_read_back() {
        let metrics = Metrics::new();
        metrics.add_labelled(Metric::Breaks, &["filled"], 5);
        metrics.add_labelled(Metric::Breaks, &["empty"], 2);
        metrics.add_labelled(Metric::Beacons, &["start", "204"], 3);
        metrics.add_labelled(Metric::Beacons, &["impression", "204"], 1);
        metrics.add(Metric::SettledMicros, 12_000);
        let read = metrics.read(&[Metric::Breaks, Metric::Beacons, Metric::SettledMicros, Metric::Ads]);
        assert_eq!(read.count(Metric::Breaks), 7);
        assert_eq!(
            read.count_by(Metric::Breaks, "outcome"),
            BTreeMap::from([("filled".into(), 5), ("empty".into(), 2)])
        );
        assert_eq!(read.count_by(Metric::Beacons, "event")["start"], 3);
        assert_eq!((read.count(Metric::SettledMicros), read.count(Metric::Ads)), (12_000, 0));
        assert_eq!(metrics.read(&[Metric::Ads]).count(Metric::Breaks), 0, "only what is asked for");
    }

    #[test]
    fn percentiles_lie_between_the_bounds_of_their_bucket() {
        let metrics = Metrics::new();
        let observe = |route, seconds, times| {
            for _ in 0..times {
                metrics.observe_seconds_labelled(Metric::HttpSeconds, &[route], seconds);
            }
        };
        let read =
            || metrics.read(&[Metric::HttpSeconds]).distribution(Metric::HttpSeconds, Some(("route", "ad_breaks")));
        assert_eq!((read().count(), read().percentile_us(50)), (0, None));
        observe("ad_breaks", 0.000_2, 98);
        observe("ad_breaks", 0.003, 2);
        observe("reports", 1.0, 50);
        let before = read();
        assert_eq!(before.count(), 100);
        assert!((100..=250).contains(&before.percentile_us(50).expect("some")), "{before:?}");
        assert!((2_500..=5_000).contains(&before.percentile_us(99).expect("some")), "{before:?}");
        observe("ad_breaks", 9.0, 4);
        let after = read().after(&before);
        assert_eq!((after.count(), after.percentile_us(50)), (4, Some(2_500_000)), "beyond the last bound");
    }
}
