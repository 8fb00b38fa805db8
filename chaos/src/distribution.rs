//! A distribution as a server shows it on `/metrics`: how many were at most so much.

use std::collections::BTreeMap;

/// Counts by upper bound. Bounds are kept by their bits, which order floats above 0 as the floats are ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution(BTreeMap<u64, u64>);

impl Distribution {
    /// Adds what a server shows of a distribution without labels.
    pub(crate) fn add(&mut self, metrics: &str, name: &str) {
        let start = format!("{name}_bucket{{le=\"");
        for line in metrics.lines() {
            let Some((bound, count)) = line.strip_prefix(&start).and_then(|rest| rest.split_once("\"} ")) else {
                continue;
            };
            if let (Ok(bound), Ok(count)) = (bound.replace("+Inf", "inf").parse::<f64>(), count.trim().parse::<u64>()) {
                *self.0.entry(bound.to_bits()).or_default() += count;
            }
        }
    }

    /// What came to it since it was as `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let count =
            |(bound, count): (&u64, &u64)| (*bound, count - before.0.get(bound).copied().unwrap_or(0).min(*count));
        Self(self.0.iter().map(count).collect())
    }

    /// What 99 of 100 were at most, between two bounds in proportion. None of none, and of what lies above all bounds.
    #[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
    pub(crate) fn p99(&self) -> Option<f64> {
        let all = self.0.values().max().copied().filter(|all| *all > 0)?;
        let rank = all as f64 * 0.99;
        let (mut below, mut least) = (0, 0.0);
        for (bound, count) in &self.0 {
            let bound = f64::from_bits(*bound);
            if *count as f64 >= rank {
                let part = (rank - below as f64) / (count - below) as f64;
                return bound.is_finite().then_some(least + (bound - least) * part);
            }
            (below, least) = (*count, bound);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP x y\nx_bucket{le=\"0.5\"} 90\nx_bucket{le=\"1\"} 98\nx_bucket{le=\"2\"} 100\nx_bucket{le=\"+Inf\"} 100\nx_sum 3\n";

    #[test]
    fn what_99_of_100_are_at_most_lies_between_two_bounds() {
        let mut shown = Distribution::default();
        shown.add(TEXT, "x");
        assert_eq!(shown.p99(), Some(1.5));
        assert_eq!(shown.since(&shown).p99(), None);
        assert_eq!(Distribution::default().p99(), None);
        let before = shown.clone();
        shown.add("x_bucket{le=\"0.5\"} 0\nx_bucket{le=\"+Inf\"} 9\n", "x");
        assert_eq!(shown.since(&before).p99(), None, "above all bounds");
    }
}
