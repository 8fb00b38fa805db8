//! Times over listeners.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Passes over the listeners, of which the least counts for each.
pub const PASSES: usize = 3;

/// How long something took, listener by listener.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// Of what `work` takes for each of `of`, the least of some passes. `work` times itself with [`timed`].
    pub fn least<T>(of: &[T], mut work: impl FnMut(usize, &T) -> Duration) -> Self {
        let mut took = vec![Duration::MAX; of.len()];
        for _ in 0..PASSES {
            for (place, (one, took)) in of.iter().zip(&mut took).enumerate() {
                *took = (*took).min(work(place, one));
            }
        }
        Self::of(took)
    }

    /// Of these.
    pub fn of(took: impl IntoIterator<Item = Duration>) -> Self {
        let mut histogram = Histogram::new(3).expect("three digits fit");
        for one in took {
            let nanoseconds = u64::try_from(one.as_nanos()).unwrap_or(u64::MAX);
            histogram.record(nanoseconds).expect("the histogram resizes");
        }
        Self(histogram)
    }

    /// Microseconds within which this share was done.
    #[must_use]
    pub fn us(&self, share: f64) -> f64 {
        micros(self.0.value_at_quantile(share))
    }

    /// Microseconds of the longest.
    #[must_use]
    pub fn longest_us(&self) -> f64 {
        micros(self.0.max())
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}

/// What came of some work, and how long it took.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = black_box(work());
    (result, start.elapsed())
}

/// A count in a figure.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^53")]
pub fn number(count: usize) -> f64 {
    count as f64
}
